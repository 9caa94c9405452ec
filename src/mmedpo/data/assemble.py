"""From the parsed rows of any dataset to examples: images indexed once, official or drawn splits, leaks told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, require_usable
from mmedpo.data.splits import disjoint_split, leak_report
from mmedpo.errors import ConfigError, DataError
from mmedpo.imaging.index import index_images
from mmedpo.records import AnswerType, Box, Drop, ErrorType, Example

DISJOINT = "image-disjoint"
"""Drawn: train, validation and test share neither an image nor a patient."""
OFFICIAL = "official"
"""As published; what it shares is told in a note."""


@dataclass(frozen=True)
class Question:
    """One usable row of a dataset before its image was looked at."""

    example_id: str
    """Unique in the dataset."""
    image: str
    """Path relative to the dataset's root; not yet trusted."""
    question: str
    answer: str
    answer_type: AnswerType
    split: str
    """Official split: `train`, `validation` or `test`; empty where the dataset has none."""
    error_type: ErrorType = "other"
    patient_id: str | None = None
    boxes: tuple[Box, ...] = ()
    annotated: bool = False
    mask_path: str | None = None
    choices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass
class Parsed:
    """What a dataset's parser found."""

    questions: list[Question] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def drop(self, item: str, reason: str, detail: str) -> None:
        """Counts a record that is left out."""
        self.drops.append(Drop(stage="data", item=item, reason=reason, detail=detail))

    def add(self, question: Question) -> None:
        """Keeps a question, or drops it under the reason that makes it unusable."""
        if question.example_id in self._ids:
            self.drop(question.example_id, "duplicate-id", "an earlier record has the same id")
        elif not question.question:
            self.drop(question.example_id, "empty-question", "it asks nothing")
        elif not question.answer:
            self.drop(question.example_id, "empty-answer", "it has no answer")
        else:
            self._ids.add(question.example_id)
            self.questions.append(question)

    def __post_init__(self) -> None:
        self._ids: set[str] = set()


def assemble(
    name: str,
    root: Path,
    parsed: Parsed,
    settings: DatasetSettings,
    progress: Progress | None,
    *,
    data_use: DataUse = "open",
    default: str = DISJOINT,
) -> DatasetReading:
    """Indexes the images of the questions and gives them their split.

    Args:
        name: registered name of the dataset.
        root: its folder.
        parsed: what its parser found.
        settings: the user's choices.
        progress: called after every image.
        data_use: images of restricted data must not have text burned in, unless allowed.
        default: split scheme where the user names none.

    Raises:
        ConfigError: unknown split scheme, or no official split.
        DataError: too little is usable, or a split is left empty.
    """
    scheme = _scheme(name, parsed.questions, settings, default)
    index = index_images(
        root,
        (question.image for question in parsed.questions),
        burned_in=data_use == "open" or settings.allow_burned_in,
        progress=progress,
    )
    examples = []
    for question in parsed.questions:
        image = index.images.get(question.image)
        if image is None:
            parsed.drop(question.example_id, "unreadable-image", index.failures[question.image])
            continue
        fields = {key: value for key, value in vars(question).items() if key not in ("image", "split")}
        examples.append(Example(dataset=name, image=image, split=question.split or "train", **fields))
    reading = require_usable(DatasetReading(examples, parsed.drops, parsed.notes), root, settings.min_usable)
    return split_reading(name, reading, scheme, settings, default=default)


def split_reading(
    name: str, reading: DatasetReading, scheme: str, settings: DatasetSettings, *, default: str
) -> DatasetReading:
    """Applies a split scheme and notes what the splits share.

    Raises:
        DataError: a wanted split is left empty.
    """
    examples, wanted = reading.examples, ["train", "test"]
    if scheme == DISJOINT:
        fractions = dict(zip(("train", "validation", "test"), settings.fractions, strict=True))
        examples = disjoint_split(examples, fractions, settings.split_seed)
        wanted = [split for split, share in fractions.items() if share > 0]
    counts = Counter(example.split for example in examples)
    empty = [split for split in wanted if not counts[split]]
    if empty:
        raise DataError(
            f"{name} split {scheme!r} of {len(examples)} questions leaves {' and '.join(empty)} empty; "
            "use another seed, other fractions (0 for a split that is not wanted) or more data"
        )
    advice = f": use split {DISJOINT!r}" if scheme != DISJOINT else ""
    notes = [
        f"{name} split {scheme!r}: {line}; scores on it partly measure memory{advice}"
        for line in leak_report(examples).lines()
    ]
    return DatasetReading(examples, reading.drops, [*notes, *reading.notes])


def closed_or_open(answer: str) -> AnswerType:
    """Datasets that do not say: a yes or no is closed, everything else open."""
    return "closed" if answer.casefold().strip(" .") in ("yes", "no") else "open"


def yes_no_choices(answer_type: AnswerType, answer: str) -> tuple[str, ...]:
    """The alternatives of a yes/no question; empty otherwise."""
    return ("yes", "no") if answer_type == "closed" and answer.casefold() in ("yes", "no") else ()


def official_name(split: str) -> str:
    """`val`, `validate`, `valid`, `dev` to `validation`; other names as they are."""
    plain = split.strip().casefold()
    return "validation" if plain in ("val", "validate", "valid", "dev", "validation") else plain


def _scheme(name: str, questions: Sequence[Question], settings: DatasetSettings, default: str) -> str:
    scheme = settings.split or default
    if scheme not in (DISJOINT, OFFICIAL):
        raise ConfigError(f"{name} has no split {scheme!r}; allowed: {DISJOINT}, {OFFICIAL}")
    if scheme == OFFICIAL and not any(question.split for question in questions):
        if settings.split:
            raise ConfigError(f"{name} as found has no official split; use {DISJOINT!r}")
        return DISJOINT
    return scheme


def first_of(values: Iterable[str | None]) -> str:
    """The first non-empty text."""
    return next((value for value in values if value), "")
