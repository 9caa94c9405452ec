"""Phantom cases on disk, as the examples every stage reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mmedpo.data.phantom.case import PhantomCase, drawn, generate_case
from mmedpo.data.phantom.priors import Priors
from mmedpo.data.phantom.severity import Said, severities
from mmedpo.errors import DataError
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import Example, ImageRef
from mmedpo.storage.tables import partial_name

DATASET = "phantom"
_TAGS = {"x-ray": "modality:xray", "CT": "modality:ct", "MRI": "modality:mri"}


def case_seed(seed: int, split: str, index: int) -> int:
    """Seed of one case: a 63-bit hash of (seed, split, index), so that splits never share a picture."""
    digest = hashlib.sha256(f"{seed}/{split}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def write_phantoms(
    root: Path,
    split: str,
    count: int,
    seed: int,
    priors: Priors,
    size: int = 128,
    progress: Callable[[int, int], None] | None = None,
    grain: float = 1.0,
) -> list[Example]:
    """Write `count` cases under `root` and return their examples, in order.

    Pictures go to `images/<split>/<case>.png`, union lesion masks (0 or 255) to
    `masks/<split>/<case>.png`. A file that already holds the expected bytes is left alone; any other
    is replaced atomically. `progress(done, total)` is called after each case; `grain` is
    a factor on the noise. Raises DataError for a
    split name that is not a plain folder name and when the folder cannot be written.
    """
    if not split or not all(c.isalnum() or c in "-_" for c in split):
        raise DataError(f"split name is {split!r}; allowed: letters, digits, - and _; rename the split")
    examples: list[Example] = []
    for index in range(count):
        case = generate_case(case_seed(seed, split, index), priors, size, grain)
        examples.extend(_write_case(root, split, index, case))
        if progress is not None:
            progress(index + 1, count)
    return examples


def severity(example: Example, seed: int, priors: Priors) -> Mapping[Said, float]:
    """The words of a wrong answer to a question -> its true severity; see `mmedpo.data.phantom.severity`.

    Args:
        example: one of `write_phantoms`.
        seed: of the dataset.
        priors: of the split.

    Raises:
        DataError: the case was made from another seed or other priors.
    """
    case_id, _, number = example.example_id.rpartition("-q")
    index = case_id.removeprefix(f"{DATASET}-{example.split}-")
    structure, questions = drawn(case_seed(seed, example.split, int(index)), priors)
    question = questions[int(number)]
    if (question.question, question.answer) != (example.question, example.answer):
        raise DataError(f"{example.example_id} was not drawn from seed {seed} of these settings; give the run's own")
    return severities(structure, question)


def _write_case(root: Path, split: str, index: int, case: PhantomCase) -> list[Example]:
    case_id = f"{DATASET}-{split}-{index:05d}"
    image_path, mask_path = f"images/{split}/{case_id}.png", f"masks/{split}/{case_id}.png"
    data = png_bytes(case.image)
    _write(root / image_path, data)
    _write(root / mask_path, png_bytes(np.where(case.mask, np.uint8(255), np.uint8(0))))
    height, width = case.image.shape
    reference = ImageRef(path=image_path, sha256=hashlib.sha256(data).hexdigest(), width=width, height=height)
    return [
        Example(
            example_id=f"{case_id}-q{number:02d}",
            dataset=DATASET,
            split=split,
            image=reference,
            question=question.question,
            answer=question.answer,
            answer_type=question.answer_type,
            error_type=question.error_type,
            choices=question.choices,
            patient_id=case_id,
            boxes=tuple(finding.box for finding in case.findings if finding.box is not None),
            annotated=True,
            mask_path=mask_path,
            tags=(_TAGS[case.modality], "organ:chest"),
        )
        for number, question in enumerate(case.questions)
    ]


def _write(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename; nothing is written when the bytes are there already."""
    try:
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_name(path)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose a writable folder") from error
