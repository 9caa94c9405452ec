"""Canonical rows to the pairs a run trains on: checked, joined to images and examples, kept off the test images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from mmedpo.errors import PreferenceFormatError, shown
from mmedpo.imaging.index import index_images
from mmedpo.preferences.layout import folded
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.turns import PLACEHOLDER
from mmedpo.records import Drop, Example, ImageRef, PreferencePair, PreferenceRow
from mmedpo.storage.embedded import EmbeddedImages
from mmedpo.storage.held import Held

ImageIndexer: TypeAlias = Callable[[Path, Sequence[str]], tuple[Mapping[str, ImageRef], Mapping[str, str]]]
"""(root, relative paths) to the usable images and, for every other one, what is wrong with it."""

NO_PLACEHOLDER = "image-placeholder-missing"


@dataclass(frozen=True)
class ImportedPreferences:
    """What a preference file holds for training."""

    pairs: list[PreferencePair]
    """Usable pairs, in the order of the file; a visual pair's image path is still relative to the image folder."""
    drops: list[Drop] = field(default_factory=list)
    """Rows left out, each with its reason."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user, one sentence each."""
    embedded: EmbeddedImages | None = None
    """Where the images that lay inside the file were written; the others are below the image folder."""


def read_pairs(
    path: Path,
    image_root: Path,
    examples: Sequence[Example] | None = None,
    *,
    format_name: str = "",
    extract: Path | None = None,
    index_images: ImageIndexer = index_images,
) -> ImportedPreferences:
    """Reads a preference file, its images and, if given, the examples its rows were made from.

    A row joins an example by image (same bytes, or same path below the folders) and question. With
    examples, a pair's image path is the example's, so that both lie below one root; without, it is
    relative to `image_root`.

    Drop reasons: those of `row_fault`, `unreadable-image`, and the format's own.

    Args:
        path: the preference file.
        image_root: folder the rows' images are relative to.
        examples: all examples of the dataset, or None to leave the pairs unjoined.
        format_name: registered format; empty to tell it from the rows.
        extract: folder that images inside the file are written to; None: such rows have no readable image.
        index_images: decodes images; exchangeable for tests.

    Raises:
        PreferenceFormatError: not readable, every row lacks the placeholder, or no pair is usable.
    """
    reading = read_rows(path, format_name, image_root, extract=extract)
    drops = list(reading.drops)
    good = _usable(reading.rows, drops)
    if sum(drop.reason == NO_PLACEHOLDER for drop in drops) == reading.total:
        raise PreferenceFormatError(
            f"{path}: none of the {reading.total} human turns holds {PLACEHOLDER!r}, so the model would never see an "
            "image; export the file with the placeholder"
        )
    images, failures = row_images(good, image_root, reading.embedded, index_images)
    join = ExampleJoin(examples or ())
    pairs = []
    for row in good:
        missing = next((name for name in (*row.images, *row.rejected_images) if name not in images), None)
        if missing is not None:
            detail = failures.get(missing, f"{missing} was not indexed")
            drops.append(_drop(f"{row.row_id}/{row.pair_type}", "unreadable-image", detail))
            continue
        pairs.append(_pair(row, [images[name] for name in row.images], join))
    if not pairs:
        raise _none_usable(path, reading.total, drops, image_root)
    return ImportedPreferences(pairs, drops, _notes(pairs, good, drops, examples), reading.embedded)


def _usable(rows: Sequence[PreferenceRow], drops: list[Drop]) -> list[PreferenceRow]:
    """The rows that can make a pair; the others are added to the drops."""
    good: list[PreferenceRow] = []
    for row in rows:
        fault = row_fault(row)
        if fault is None:
            good.append(row)
        else:
            texts = (shown(text) for text in (row.question, row.chosen_text, row.rejected_text))
            detail = "row {}: {} -> {} over {}".format(row.source_row, *texts)
            drops.append(_drop(f"{row.row_id}/text", fault, detail))
    return good


def _none_usable(path: Path, total: int, drops: Sequence[Drop], image_root: Path) -> PreferenceFormatError:
    counts = Counter(drop.reason for drop in drops).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    return PreferenceFormatError(
        f"{path}: none of {total} rows is usable ({reasons}; the first: {drops[0].detail}); "
        f"correct the file or the image folder {image_root}"
    )


def row_images(
    rows: Sequence[PreferenceRow],
    image_root: Path,
    embedded: EmbeddedImages | None,
    index_images: ImageIndexer = index_images,
) -> tuple[dict[str, ImageRef], dict[str, str]]:
    """(usable images, what is wrong with the others) by the name the rows give them, wherever they lie.

    Args:
        rows: the table.
        image_root: folder its images are relative to.
        embedded: images that lay inside its file.
        index_images: decodes images; exchangeable for tests.
    """
    wanted = list(dict.fromkeys(name for row in rows for name in (*row.images, *row.rejected_images)))
    inside = embedded.names if embedded is not None else set()
    below, not_below = index_images(image_root, [name for name in wanted if name not in inside])
    images, failures = dict(below), dict(not_below)
    if embedded is not None and inside:
        found, failed = index_images(embedded.root, [name for name in wanted if name in inside])
        images.update(found)
        failures.update(failed)
    return images, failures


def row_fault(row: PreferenceRow) -> str | None:
    """Why a row cannot be trained on, or None.

    `held-out-row` (its file says it is for validation or test), `multi-turn`, `image-placeholder-missing`,
    `image-places` (another number of them than of images), `rejected-images` (not those of the chosen side with one
    replaced), `image-placeholder-in-answer`, `empty-question`, `empty-answer`, `identical-sides`.
    """
    if row.held_out:
        return "held-out-row"
    if len(row.prompt) != 1 or len(row.chosen) != 1 or len(row.rejected) != 1:
        return "multi-turn"
    shown = row.prompt[0].images
    if shown == 0 or not row.images:
        return NO_PLACEHOLDER
    if shown != len(row.images):
        return "image-places"
    if row.pair_type == "visual" and (len(row.rejected_images) != shown or len(_replaced(row)) > 1):
        return "rejected-images"
    if row.chosen[0].images or row.rejected[0].images:
        return "image-placeholder-in-answer"
    if not row.question:
        return "empty-question"
    chosen, rejected = row.chosen_text.strip(), row.rejected_text.strip()
    if not chosen or not rejected:
        return "empty-answer"
    return "identical-sides" if chosen == rejected and not row.rejected_images else None


def join_rows(
    rows: Sequence[PreferenceRow], images: Mapping[str, ImageRef], examples: Sequence[Example]
) -> tuple[Held[PreferenceRow], int, int]:
    """Notes in every row the hashes of its images and the example it was made from.

    Returns:
        The rows, how many of them have all their images, and how many were joined to an example.
    """
    join = ExampleJoin(examples)
    done, seen, joined = Held(PreferenceRow), 0, 0
    for row in rows:
        update: dict[str, object] = {
            "image_hashes": _hashes(row.images, images),
            "rejected_image_hashes": _hashes(row.rejected_images, images),
        }
        complete = bool(row.images) and all(name in images for name in (*row.images, *row.rejected_images))
        seen += complete
        example = join.example(row, [images[name] for name in row.images]) if complete else None
        if example is not None:
            joined += 1
            update |= {"example_id": example.example_id, "dataset": example.dataset, "split": example.split}
        done.append(row.model_copy(update=update))
    return done, seen, joined


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
    hashes = {image.sha256 for example in test_examples for image in example.images}
    paths = {image.path for example in test_examples for image in example.images}
    endings = {ending for path in paths for ending in _endings(path)}
    tested = {example.patient_id for example in test_examples} - {None}
    of_test_patient = {e.example_id for e in [*test_examples, *examples] if e.patient_id in tested}
    kept, drops = [], []
    for pair in pairs:
        held = [
            image.path
            for image in pair.images
            if image.sha256 in hashes or image.path in endings or not paths.isdisjoint(_endings(image.path))
        ]
        if held:
            drops.append(_drop(pair.pair_id, "image-in-test-split", held[0]))
        elif pair.example_id in of_test_patient:
            drops.append(_drop(pair.pair_id, "patient-in-test-split", pair.image.path))
        else:
            kept.append(pair)
    return kept, drops


class ExampleJoin:
    """Finds the example a row was made from: same question, same images, and the same answer if there is one."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._asked: dict[str, list[Example]] = {}
        self._by_hash: dict[str, ImageRef] = {}
        for example in sorted(examples, key=lambda e: e.example_id):  # ties do not depend on the given order
            self._asked.setdefault(folded(example.question), []).append(example)
            for image in example.images:
                self._by_hash.setdefault(image.sha256, image)

    def example(self, row: PreferenceRow, images: Sequence[ImageRef]) -> Example | None:
        """The example, or None."""
        asked = self._asked.get(folded(row.question), [])
        same = [
            e for e in asked if len(e.images) == len(images) and all(map(_same_image, e.images, row.images, images))
        ]
        answered = [e for e in same if folded(e.answer) == folded(row.chosen_text)]
        return next(iter(answered or same), None)

    def image(self, image: ImageRef) -> ImageRef:
        """The dataset's own reference to an image, if it has it."""
        return self._by_hash.get(image.sha256, image)


def _hashes(names: Sequence[str], images: Mapping[str, ImageRef]) -> tuple[str, ...]:
    if not any(name in images for name in names):
        return ()
    return tuple(images[name].sha256 if name in images else "" for name in names)


def _endings(path: str) -> list[str]:
    """`a/b/c` to `a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _same_image(known: ImageRef, name: str, image: ImageRef) -> bool:
    return known.sha256 == image.sha256 or known.path == name or known.path.endswith(f"/{name}")


def _replaced(row: PreferenceRow) -> list[int]:
    """Numbers of the images that are others on the rejected side."""
    return [number for number, name in enumerate(row.rejected_images) if name != row.images[number]]


def _pair(row: PreferenceRow, images: Sequence[ImageRef], join: ExampleJoin) -> PreferencePair:
    example = join.example(row, images)
    visual = row.pair_type == "visual"
    shown = example.images if example else tuple(map(join.image, images))
    noised = next(iter(_replaced(row)), 0) if visual else 0
    return PreferencePair(
        pair_id=f"{row.row_id}/{'visual' if visual else 'text'}",
        example_id=example.example_id if example else row.example_id or row.row_id,
        kind="visual" if visual else "text",
        image=shown[0],
        other_images=shown[1:],
        question=row.question,
        chosen=row.chosen_text.strip(),
        rejected=row.rejected_text.strip(),
        rejected_image_path=row.rejected_images[noised] if visual else None,
        noised_image=noised,
        error_type=example.error_type if example else "other",
        origin=row.origin or "imported",
        score=row.score,
        score_source="imported" if row.score is not None else "",
        unscored_reason=row.unscored_reason,
    )


def _notes(
    pairs: Sequence[PreferencePair],
    rows: Sequence[PreferenceRow],
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
    noised = sum(row.pair_type == "both" for row in rows)
    if noised:
        notes.append(f"{noised} rows name a rejected_image; only their answers were imported, as text pairs")
    weighted = sum(row.weight is not None for row in rows)
    if weighted:
        notes.append(f"{weighted} rows bring a weight of their own; a run derives weights from the scores anew")
    if examples is not None:
        known = {example.example_id for example in examples}
        unjoined = sum(pair.example_id not in known for pair in pairs)
        if unjoined:
            notes.append(f"{unjoined} of {len(pairs)} pairs were made from no known example")
    return notes


def _drop(item: str, reason: str, detail: str) -> Drop:
    return Drop(stage="preferences", item=item, reason=reason, detail=detail)
