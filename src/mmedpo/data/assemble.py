"""From the parsed rows of any dataset to examples: images indexed once, official or drawn splits, leaks told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmedpo.clinical.labels import apart
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, require_usable
from mmedpo.data.splits import disjoint_split, leak_report
from mmedpo.errors import ConfigError, DataError, brief
from mmedpo.imaging.images import split_frame
from mmedpo.imaging.index import index_images
from mmedpo.records import IMAGE_PLACE, AnswerType, Box, Drop, ErrorType, Example, ImageRef
from mmedpo.storage.embedded import EmbeddedImages
from mmedpo.storage.paths import safe_join

DISJOINT = "image-disjoint"
"""Drawn: train, validation and test share neither an image nor a patient."""
OFFICIAL = "official"
"""As published; what it shares is told in a note."""
_OF_FILES = ("image", "other_images", "split")
"""Fields of a question that an example has in another form."""


@dataclass(frozen=True)
class Question:
    """One usable row of a dataset before its image was looked at."""

    example_id: str
    """Unique in the dataset."""
    image: str
    """Path relative to the dataset's root; not yet trusted. Of several images the one the rest speaks of."""
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
    organs: tuple[Box, ...] = ()
    organ_mask_path: str | None = None
    choices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()
    """What is shown behind `image`, in this order."""

    @property
    def images(self) -> tuple[str, ...]:
        """Every image, in order."""
        return (self.image, *self.other_images)


@dataclass
class Parsed:
    """What a dataset's parser found."""

    questions: list[Question] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: EmbeddedImages = field(default_factory=lambda: EmbeddedImages(None))
    """Where images that lie inside the dataset's tables are written."""

    def drop(self, item: str, reason: str, detail: str) -> None:
        """Counts a record that is left out."""
        self.drops.append(Drop(stage="data", item=item, reason=reason, detail=detail))

    def add(self, question: Question) -> None:
        """Keeps a question, or drops it under the reason that makes it unusable.

        Files of several splits often count their questions from 0 anew: an id of another split is told apart by it.
        """
        if self._splits.get(question.example_id, question.split) != question.split:
            question = replace(question, example_id=f"{question.example_id}-{question.split or 'none'}")
        if question.example_id in self._splits:
            self.drop(question.example_id, "duplicate-id", "an earlier record has the same id")
        elif not question.question:
            self.drop(question.example_id, "empty-question", "it asks nothing")
        elif not question.answer:
            self.drop(question.example_id, "empty-answer", "it has no answer")
        elif len(question.images) > 1 and question.question.count(IMAGE_PLACE) not in (0, len(question.images)):
            told = f"{question.question.count(IMAGE_PLACE)} places for {len(question.images)} images"
            self.drop(question.example_id, "image-places", told)
        else:
            self._splits[question.example_id] = question.split
            self.questions.append(question)

    def __post_init__(self) -> None:
        self._splits: dict[str, str] = {}


def assemble(
    name: str,
    root: Path,
    parsed: Parsed,
    settings: DatasetSettings,
    progress: Progress | None,
    *,
    data_use: DataUse = "open",
    default: str = DISJOINT,
    redraw: bool = False,
) -> DatasetReading:
    """Indexes the images of the questions and gives them their split.

    What is published as validation or test stays so, whatever is drawn.

    Args:
        name: registered name of the dataset.
        root: its folder.
        parsed: what its parser found.
        settings: the user's choices.
        progress: called after every image.
        data_use: images of restricted data must not have text burned in, unless allowed.
        default: split scheme where the user names none.
        redraw: the published test part shares nearly every image with the rest, so a drawn split disregards it.

    Raises:
        ConfigError: unknown split scheme, or no official split.
        DataError: too little is usable, or a split is left empty.
    """
    scheme = _scheme(name, parsed.questions, settings, default)
    images, failures = _index(root, parsed, settings, progress, data_use)
    examples = []
    for question in parsed.questions:
        missing = next((image for image in question.images if image not in images), None)
        if missing is not None:
            parsed.drop(question.example_id, "unreadable-image", failures[missing])
            continue
        shown = tuple(images[image] for image in question.images)
        fields = {name: value for name, value in vars(question).items() if name not in _OF_FILES}
        findings, organs = apart(question.boxes)
        fields |= {"boxes": findings, "organs": (*organs, *question.organs)}
        fields |= {"image": shown[0], "other_images": shown[1:], "split": question.split or "train"}
        examples.append(Example(dataset=name, **fields))
    reading = DatasetReading(examples, parsed.drops, parsed.notes, parsed.images if parsed.images.names else None)
    reading = require_usable(reading, root, settings.min_usable)
    return split_reading(name, reading, scheme, settings, default=default, redraw=redraw)


def _index(
    root: Path, parsed: Parsed, settings: DatasetSettings, progress: Progress | None, data_use: DataUse
) -> tuple[dict[str, ImageRef], dict[str, str]]:
    """Image as the questions name it to its reference, or to what is wrong with it.

    Where some images lay inside a table, the others join them: all images of a reading lie below one folder.
    """
    inside, images, failures = parsed.images.names.copy(), dict[str, ImageRef](), dict[str, str]()
    for folder, held in ((root, False), (parsed.images.root if inside else root, True)):
        named = (image for question in parsed.questions for image in question.images)
        wanted = [image for image in named if (image in inside) == held]
        if wanted:
            index = index_images(
                folder,
                wanted,
                burned_in=data_use == "open" or settings.allow_burned_in,
                progress=progress,
            )
            failures.update(index.failures)
            images.update(index.images)
    if inside:
        images = {name: ref if name in inside else _joined(root, ref, parsed.images) for name, ref in images.items()}
    return images, failures


def _joined(root: Path, ref: ImageRef, store: EmbeddedImages) -> ImageRef:
    name, frame = split_frame(ref.path)
    kept = store.keep(safe_join(root, name).read_bytes())
    return ref.model_copy(update={"path": kept if frame is None else f"{kept}#frame={frame}"})


def split_reading(
    name: str,
    reading: DatasetReading,
    scheme: str,
    settings: DatasetSettings,
    *,
    default: str,
    redraw: bool = False,
) -> DatasetReading:
    """Applies a split scheme and notes what the splits share.

    Raises:
        DataError: a wanted split is left empty.
    """
    examples, notes = reading.examples, list[str]()
    if scheme == DISJOINT:
        fractions = dict(zip(("train", "validation", "test"), settings.fractions, strict=True))
        held = {} if redraw else {e.example_id: e.split for e in examples if e.split != "train"}
        drawn = disjoint_split(examples, fractions, settings.split_seed, held=held)
        notes = _kept(name, examples, drawn, held)
        wanted = [split for split, share in fractions.items() if share > 0] if not held else []
        examples = drawn
        counts = Counter(example.split for example in examples)
        empty = [split for split in wanted if not counts[split]]
        if empty:
            raise DataError(
                f"{name} split {scheme!r} of {len(examples)} questions leaves {' and '.join(empty)} empty; "
                "use another seed, other fractions (0 for a split that is not wanted) or more data"
            )
    if not any(example.split == "train" for example in examples):
        notes.append(f"{name} says of none of its {len(examples)} questions that it is for training")
    advice = f": use split {DISJOINT!r}" if scheme != DISJOINT else ""
    notes += [
        f"{name} split {scheme!r}: {line}; scores on it partly measure memory{advice}"
        for line in leak_report(examples).lines()
    ]
    return replace(reading, examples=examples, notes=[*notes, *reading.notes])


def _kept(name: str, before: Sequence[Example], after: Sequence[Example], held: Mapping[str, str]) -> list[str]:
    """What a drawn split keeps of the published one, in words."""
    if not held:
        return []
    counts = ", ".join(f"{count} {brief(split, 40)}" for split, count in Counter(held.values()).items())
    notes = [f"{name} says what is held out ({counts} questions): that stays, the rest was drawn"]
    taken = set(held.values())
    moved = sum(a.split == "train" and b.split in taken for a, b in zip(before, after, strict=True))
    if moved:
        notes.append(f"{moved} further questions share an image or a patient with what is held out, and went there")
    return notes


def closed_or_open(answer: str) -> AnswerType:
    """Datasets that do not say: a yes or no is closed, everything else open."""
    return "closed" if answer.casefold().strip(" .") in ("yes", "no") else "open"


def yes_no_choices(answer_type: AnswerType, answer: str) -> tuple[str, ...]:
    """The alternatives of a yes/no question; empty otherwise."""
    return ("yes", "no") if answer_type == "closed" and answer.casefold() in ("yes", "no") else ()


def check_scheme(name: str, settings: DatasetSettings) -> None:
    """Raises `ConfigError` for an unknown split scheme."""
    if settings.split not in ("", DISJOINT, OFFICIAL):
        raise ConfigError(f"{name} has no split {settings.split!r}; allowed: {DISJOINT}, {OFFICIAL}")


def _scheme(name: str, questions: Sequence[Question], settings: DatasetSettings, default: str) -> str:
    check_scheme(name, settings)
    scheme = settings.split or default
    if scheme == OFFICIAL and questions and not any(question.split for question in questions):
        if settings.split:
            raise ConfigError(f"{name} as found has no official split; use {DISJOINT!r}")
        return DISJOINT
    return scheme


def first_of(values: Iterable[str | None]) -> str:
    """The first non-empty text."""
    return next((value for value in values if value), "")
