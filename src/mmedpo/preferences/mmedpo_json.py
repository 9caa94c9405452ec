"""Import of the preference files released with MMedPO (Zhu et al., arXiv 2412.06141; aiming-lab/MMedPO).

A list of rows `{id, image, conversations, rejected_conversations, weighted_score, rejected_image?}`. The
released rows carry two answers to one clean image and a raw score; the noised images are not released.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from mmedpo.errors import PreferenceFormatError
from mmedpo.files import read_json_rows
from mmedpo.imaging.index import index_images
from mmedpo.records import Drop, Example, ImageRef, PreferencePair
from mmedpo.registry import register

ImageIndexer: TypeAlias = Callable[[Path, Sequence[str]], tuple[Mapping[str, ImageRef], Mapping[str, str]]]
"""(root, relative paths) to the usable images and, for every other one, what is wrong with it."""

PLACEHOLDER = "<image>"
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a surrogate pair: JSON can spell it, no file can hold it."""
NO_PLACEHOLDER = "image-placeholder-missing"


@dataclass(frozen=True)
class ParsedRow:
    """One usable row before its image was looked at."""

    pair_id: str
    """`mmedpo-<row index>-<id>/text`."""
    image: str
    """As written in the row, relative to the image folder; not yet trusted."""
    question: str
    """The human turn without its placeholder."""
    chosen: str
    rejected: str
    score: float | None
    """Raw `weighted_score` in [0, 1]."""
    unscored_reason: str
    """Why there is no score; empty when there is one."""
    rejected_image: bool
    """True when the row names a noised image."""


@dataclass(frozen=True)
class ImportedPreferences:
    """What a preference file held."""

    pairs: list[PreferencePair]
    """Usable text pairs, in the order of the file."""
    drops: list[Drop] = field(default_factory=list)
    """Rows left out, each with its reason."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user, one sentence each."""


def parse_rows(rows: Sequence[Any]) -> tuple[list[ParsedRow], list[Drop]]:
    """Checks and cleans rows. Pure; images are not looked at.

    Drop reasons: `malformed-row`, `multi-turn`, `image-placeholder-missing`, `several-image-placeholders`,
    `image-placeholder-in-answer`, `questions-differ`, `empty-question`, `empty-answer`, `identical-sides`.
    """
    kept: list[ParsedRow] = []
    drops: list[Drop] = []
    for number, row in enumerate(rows):
        parsed = _parse(number, row)
        if isinstance(parsed, Drop):
            drops.append(parsed)
        else:
            kept.append(parsed)
    return kept, drops


@register("preference-format", "mmedpo-json")
def read_mmedpo_json(
    path: Path,
    image_root: Path,
    examples: Sequence[Example] | None = None,
    *,
    index_images: ImageIndexer = index_images,
) -> ImportedPreferences:
    """Reads a preference file, its images and, if given, the examples its rows were made from.

    A row joins an example by image (same bytes, or same path below the folders) and question. With
    examples, a pair's image path is the example's, so that both lie below one root; without, it is
    relative to `image_root`.

    Args:
        path: the JSON file.
        image_root: folder the rows' `image` is relative to.
        examples: all examples of the dataset, or None to leave the pairs unjoined.
        index_images: decodes images; exchangeable for tests.

    Raises:
        PreferenceFormatError: not a JSON list, every row lacks the placeholder, or no pair is usable.
    """
    rows = read_json_rows(path, PreferenceFormatError, "MMedPO rows")
    parsed, drops = parse_rows(rows)
    if sum(drop.reason == NO_PLACEHOLDER for drop in drops) == len(rows):
        raise PreferenceFormatError(
            f"{path}: none of the {len(rows)} human turns holds {PLACEHOLDER!r}, so the model would never see an "
            "image; export the file with the placeholder"
        )
    images, failures = index_images(image_root, list(dict.fromkeys(row.image for row in parsed)))
    join = _Join(examples or ())
    pairs = []
    for row in parsed:
        image = images.get(row.image)
        if image is None:
            detail = failures.get(row.image, f"{row.image} was not indexed")
            drops.append(_drop(row.pair_id, "unreadable-image", detail))
            continue
        pairs.append(_pair(row, image, join))
    if not pairs:
        counts = Counter(drop.reason for drop in drops).most_common()
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
        raise PreferenceFormatError(
            f"{path}: none of {len(rows)} rows is usable ({reasons}; the first: {drops[0].detail}); "
            f"correct the file or the image folder {image_root}"
        )
    return ImportedPreferences(pairs, drops, _notes(pairs, parsed, drops, examples))


def exclude_test_images(
    pairs: Sequence[PreferencePair],
    test_examples: Sequence[Example],
    examples: Sequence[Example] = (),
) -> tuple[list[PreferencePair], list[Drop]]:
    """Leaves out pairs whose image the model will be tested on.

    An image is the same when its bytes are, or when one path ends in the other (re-encoded copies). With
    `examples` (all of the dataset) a pair also goes when it was made from another image of a test patient.

    Returns:
        The kept pairs, and a drop (`image-in-test-split` or `patient-in-test-split`) for every other one.
    """
    hashes = {example.image.sha256 for example in test_examples}
    paths = {example.image.path for example in test_examples}
    endings = {ending for path in paths for ending in _endings(path)}
    tested = {example.patient_id for example in test_examples} - {None}
    of_test_patient = {e.example_id for e in [*test_examples, *examples] if e.patient_id in tested}
    kept, drops = [], []
    for pair in pairs:
        named = pair.image.path in endings or not paths.isdisjoint(_endings(pair.image.path))
        if named or pair.image.sha256 in hashes:
            drops.append(_drop(pair.pair_id, "image-in-test-split", pair.image.path))
        elif pair.example_id in of_test_patient:
            drops.append(_drop(pair.pair_id, "patient-in-test-split", pair.image.path))
        else:
            kept.append(pair)
    return kept, drops


def _endings(path: str) -> list[str]:
    """`a/b/c` to `a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


class _Join:
    """Finds the example a row was made from."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._asked: dict[str, list[Example]] = {}
        self._by_hash: dict[str, ImageRef] = {}
        for example in sorted(examples, key=lambda e: e.example_id):  # ties do not depend on the given order
            self._asked.setdefault(_folded(example.question), []).append(example)
            self._by_hash.setdefault(example.image.sha256, example.image)

    def example(self, row: ParsedRow, image: ImageRef) -> Example | None:
        same = [e for e in self._asked.get(_folded(row.question), []) if _same_image(e.image, row.image, image)]
        answered = [e for e in same if _folded(e.answer) == _folded(row.chosen)]
        return next(iter(answered or same), None)

    def image(self, image: ImageRef) -> ImageRef:
        return self._by_hash.get(image.sha256, image)


def _same_image(known: ImageRef, name: str, image: ImageRef) -> bool:
    return known.sha256 == image.sha256 or known.path == name or known.path.endswith(f"/{name}")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _pair(row: ParsedRow, image: ImageRef, join: _Join) -> PreferencePair:
    example = join.example(row, image)
    return PreferencePair(
        pair_id=row.pair_id,
        example_id=example.example_id if example else row.pair_id.removesuffix("/text"),
        kind="text",
        image=example.image if example else join.image(image),
        question=row.question,
        chosen=row.chosen,
        rejected=row.rejected,
        error_type=example.error_type if example else "other",
        origin="imported",
        score=row.score,
        score_source="imported" if row.score is not None else "",
        unscored_reason=row.unscored_reason,
    )


def _notes(
    pairs: Sequence[PreferencePair],
    parsed: Sequence[ParsedRow],
    drops: Sequence[Drop],
    examples: Sequence[Example] | None,
) -> list[str]:
    notes = []
    if drops:
        counts = ", ".join(f"{count} {reason}" for reason, count in Counter(d.reason for d in drops).most_common())
        notes.append(f"{len(drops)} of {len(pairs) + len(drops)} rows were dropped: {counts}")
    unscored = sum(pair.score is None for pair in pairs)
    if unscored:
        notes.append(f"{unscored} of {len(pairs)} pairs have no usable weighted_score")
    zero = sum(pair.score == 0 for pair in pairs)
    if zero:
        notes.append(f"{zero} of {len(pairs)} pairs have the score 0: as a raw weight it gives them no gradient")
    noised = sum(row.rejected_image for row in parsed)
    if noised:
        notes.append(f"{noised} rows name a rejected_image; only their answers were imported, as text pairs")
    if examples is not None:
        known = {example.example_id for example in examples}
        unjoined = sum(pair.example_id not in known for pair in pairs)
        if unjoined:
            notes.append(f"{unjoined} of {len(pairs)} pairs were made from no known example")
    return notes


def _parse(number: int, row: object) -> ParsedRow | Drop:
    if not isinstance(row, dict):
        return _drop(f"row {number}", "malformed-row", f"row {number} is a {type(row).__name__}, not an object")
    name = _name(number, row.get("id"))
    image = _text(row.get("image"))
    if not image:
        return _drop(name, "malformed-row", f"row {number} names no image")
    sides = [_side(row.get(key)) for key in ("conversations", "rejected_conversations")]
    for side, key in zip(sides, ("conversations", "rejected_conversations"), strict=True):
        if isinstance(side, str):
            return _drop(name, side, f"row {number}: {key} must be one human and one gpt turn with text")
    (human, chosen), (human_again, rejected) = [side for side in sides if not isinstance(side, str)]
    fault = _turn_fault(human, human_again, chosen, rejected)
    if fault is not None:
        return _drop(name, fault, f"row {number}: {human!r} -> {chosen!r} over {rejected!r}"[:300])
    score, unscored_reason = _score(row)
    return ParsedRow(
        pair_id=name,
        image=image,
        question=_question(human),
        chosen=chosen,
        rejected=rejected,
        score=score,
        unscored_reason=unscored_reason,
        rejected_image=bool(row.get("rejected_image")),
    )


def _name(number: int, row_id: object) -> str:
    # Ids become file names further on, so nothing but letters, digits, dot, dash and underscore is kept.
    label = "" if row_id is None else "-" + re.sub(r"[^\w.-]", "_", str(row_id))[:80]
    return f"mmedpo-{number}{label}/text"


def _side(turns: object) -> tuple[str, str] | str:
    """(human turn, answer) of one side, or the reason why not."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "malformed-row"
    speakers = [turn.get("from") for turn in turns]
    if len(speakers) > 2 and speakers[:2] == ["human", "gpt"]:
        return "multi-turn"
    if speakers != ["human", "gpt"]:
        return "malformed-row"
    human, answer = (_text(turn.get("value")) for turn in turns)
    return "malformed-row" if human is None or answer is None else (human, answer)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return None if _SURROGATE.search(value) else value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)


def _turn_fault(human: str, human_again: str, chosen: str, rejected: str) -> str | None:
    counts = (human.count(PLACEHOLDER), human_again.count(PLACEHOLDER))
    if 0 in counts:
        return NO_PLACEHOLDER
    if counts != (1, 1):
        return "several-image-placeholders"
    if PLACEHOLDER in chosen or PLACEHOLDER in rejected:
        return "image-placeholder-in-answer"
    if _folded(_question(human)) != _folded(_question(human_again)):
        return "questions-differ"
    if not _question(human):
        return "empty-question"
    if not chosen or not rejected:
        return "empty-answer"
    return "identical-sides" if chosen == rejected else None


def _question(human: str) -> str:
    return human.replace(PLACEHOLDER, "").strip()


def _score(row: Mapping[str, object]) -> tuple[float | None, str]:
    value = row.get("weighted_score")
    if value is None:
        return None, "the row has no weighted_score"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, f"weighted_score {value!r:.40} is not a number"
    if not 0 <= value <= 1:  # refuses NaN as well
        return None, f"weighted_score {value!r:.40} lies outside [0, 1]"
    return float(value), ""


def _drop(item: str, reason: str, detail: str) -> Drop:
    return Drop(stage="preferences", item=item, reason=reason, detail=detail)
