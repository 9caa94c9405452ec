"""What `mmedpo lint` looks at besides the rows: images, noised areas, tokens, weights, held-out questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmedpo.config.lint import LintSettings
from mmedpo.errors import ConfigError, ImageError
from mmedpo.imaging.images import read_image
from mmedpo.imaging.index import ImageIndex, index_images
from mmedpo.lint.linter import Evidence
from mmedpo.preferences.pairs import join_rows
from mmedpo.progress import Reporter
from mmedpo.records import Drop, Example, Message, PreferenceRow
from mmedpo.registry import lookup, names


def gather(
    rows: Sequence[PreferenceRow],
    drops: Sequence[Drop],
    folders: Sequence[Path],
    examples: Sequence[Example] | None,
    tokenizer: Path | None,
    settings: LintSettings,
    reporter: Reporter,
) -> tuple[Sequence[PreferenceRow], Evidence]:
    """Looks at everything the given options allow.

    Args:
        rows: rows of the file.
        drops: rows of it that are no preference.
        folders: where images may lie, first match wins.
        examples: all examples of the dataset; None where none was named.
        tokenizer: local checkpoint, or None.
        settings: thresholds.
        reporter: progress.

    Returns:
        The rows with the hashes of their images and the example they were made from, and the evidence.
    """
    index, home = index_rows(rows, folders, reporter)
    joined = join_rows(rows, index.images, examples or ())[0]
    return joined, Evidence(
        drops=drops,
        images=index.images,
        failures=index.failures,
        noised=noised_shares(joined, home, reporter),
        tokens=None if tokenizer is None else token_counts(joined, tokenizer, settings),
        derived=derived_weights(joined),
        held_out=None if examples is None else [example for example in examples if example.split != "train"],
    )


def index_rows(
    rows: Sequence[PreferenceRow], folders: Sequence[Path], reporter: Reporter
) -> tuple[ImageIndex, dict[str, Path]]:
    """Reads every image of the rows from the first folder that has it.

    Returns:
        The index, and for every image the folder it was read from.
    """
    wanted = dict.fromkeys(name for row in rows for name in (*row.images, *row.rejected_images))
    home: dict[str, Path] = {}
    for name in wanted:
        home[name] = next((folder for folder in folders[:-1] if _holds(folder, name)), folders[-1])
    images, failures = {}, {}
    for folder in folders:
        here = [name for name in wanted if home[name] == folder]
        if here:
            index = index_images(folder, here, progress=reporter.track("reading images"))
            images.update(index.images)
            failures.update(index.failures)
    return ImageIndex(images, failures), home


def noised_shares(rows: Sequence[PreferenceRow], home: Mapping[str, Path], reporter: Reporter) -> dict[str, float]:
    """Row id to share of pixels in which the rejected image differs; unreadable ones are left out."""
    visual = [row for row in rows if row.rejected_images and row.images]
    advance = reporter.track("comparing noised images") if visual else None
    shares: dict[str, float] = {}
    for number, row in enumerate(visual):
        try:
            sides = list(zip(row.images, row.rejected_images, strict=False))
            changed = next((pair for pair in sides if pair[0] != pair[1]), sides[0])
            clean, noised = (read_image(home[name], name) for name in changed)
        except ImageError:
            continue
        if clean.shape[:2] != noised.shape[:2]:
            shares[row.row_id] = 1.0
        else:
            # Files of either side may be grey or RGB; what is seen is compared.
            grey = [image if image.ndim == 2 else image.max(axis=2) for image in (clean, noised)]
            shares[row.row_id] = float((grey[0] != grey[1]).mean())
        if advance is not None:
            advance(number + 1, len(visual))
    return shares


def token_counts(rows: Sequence[PreferenceRow], folder: Path, settings: LintSettings) -> dict[str, int]:
    """Row id to tokens of the longer side under a local tokenizer, image tokens included.

    Raises:
        ConfigError: the folder holds no tokenizer.
    """
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise ConfigError(f"--tokenizer {folder} is not a folder; give a local checkpoint with its tokenizer")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"--tokenizer {folder} holds no tokenizer ({' '.join(str(error).split())[:150]})") from error
    return {
        row.row_id: max(_tokens(tokenizer, row, side, settings) for side in (row.chosen, row.rejected)) for row in rows
    }


def derived_weights(rows: Sequence[PreferenceRow]) -> dict[str, Sequence[float]]:
    """The weights that each mode which clips would give the scores, text and visual apart as in a run."""
    from mmedpo.score.weights import clinical_weights

    found: dict[str, Sequence[float]] = {}
    for kind in ("text", "visual"):
        scores = [
            row.score for row in rows if row.score is not None and (row.pair_type == "visual") == (kind == "visual")
        ]
        if len(set(scores)) > 1:
            for mode in names("weighting"):
                if "lower" in lookup("weighting", mode).options:
                    found[mode if kind == "text" else f"{mode}-visual"] = clinical_weights(scores, mode).weights
    return found


def _holds(folder: Path, name: str) -> bool:
    from mmedpo.imaging.images import split_frame
    from mmedpo.storage.paths import safe_join

    try:
        return safe_join(folder, split_frame(name)[0]).exists()
    except (ImageError, OSError):
        return False


def _tokens(tokenizer: Any, row: PreferenceRow, answer: tuple[Message, ...], settings: LintSettings) -> int:
    turns = (*row.prompt, *answer)
    images = sum(turn.images for turn in turns)
    texts = ["".join(part.text or "" for part in turn.content) for turn in turns]
    if tokenizer.chat_template is not None:
        try:
            messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, texts, strict=True)]
            spelled = tokenizer.apply_chat_template(messages, tokenize=False)
            return len(tokenizer(spelled, add_special_tokens=False).input_ids) + images * settings.image_tokens
        except Exception:
            # Templates refuse what they were not written for (a system turn, plain content): count the texts then.
            pass
    return sum(len(tokenizer(text).input_ids) for text in texts) + images * settings.image_tokens
