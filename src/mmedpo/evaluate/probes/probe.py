"""What a probe is, and what it is given.

A probe is one class with `@register("probe", name)`: a record for what it measures of one question, `measure`, and
`values`, which says what quantities these measurements hold. Intervals, paired differences, their p-values and the
comparison over the seeds of a study follow from these; a probe whose quantities are no means over questions
overrides `summarise`. Its picture in the report is a section of its own (`mmedpo.report.sections`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import Field, ValidationError

from mmedpo.config import EvaluateSettings
from mmedpo.config.groups import Settings
from mmedpo.errors import ConfigError
from mmedpo.evaluate.statistics import holm, mean_interval, paired_difference
from mmedpo.imaging.pictures import image_files, read_image_file
from mmedpo.progress import Advance
from mmedpo.records import Drop, Example, Measurement, ProbePart, ProbeSummary
from mmedpo.registry import lookup

if TYPE_CHECKING:
    from mmedpo.engine import Engine
    from mmedpo.run import Run

M = TypeVar("M", bound=Measurement)


@dataclass(frozen=True)
class Workplace:
    """What a probe has while it prepares its questions; no model yet."""

    image_root: Path
    """What image and mask paths of the questions are relative to."""
    folder: Path
    """For pictures that the model is to look at; kept while the stage works, gone when it is done."""
    stage: str
    """Name of the stage, for drops."""
    track: Callable[[str], Advance]
    """Progress of something with a name."""


@dataclass(frozen=True)
class Prepared:
    """The questions a probe will ask, and what it leaves out, with reasons."""

    examples: Sequence[Example]
    drops: Sequence[Drop] = ()


@dataclass(frozen=True)
class Subject:
    """One model, loaded, and what a probe may work with."""

    model: str
    """Its slot in the run: what `Measurement.model` says."""
    engine: Engine
    """For what `log_probabilities` does not do; the model itself is `engine.vlm`."""
    image_root: Path
    """As in `Workplace`."""
    folder: Path
    """As in `Workplace`: what `prepare` put there."""
    message: Callable[[str], None]
    """One line for the user."""

    def log_probabilities(self, shown: Sequence[tuple[Path | None, Example]]) -> list[float]:
        """log pi of the true answer, nats, summed over it: of each question, shown a picture.

        Args:
            shown: each picture takes the place of the question's first image; its other images stay. None: the
                question alone, without any image.
        """
        from mmedpo.engine import build_branch

        vlm = self.engine.vlm
        branches = [
            build_branch(
                vlm,
                () if view is None else (view, *image_files(self.image_root, example.other_images)),
                example.question,
                example.answer,
                max_length=vlm.context_length,
                owner=example.example_id,
            )
            for view, example in shown
        ]
        if not branches:
            return []
        self.engine.settle(branches[:6], strict=False, message=self.message)
        return [float(total) for total in self.engine.measure(branches).totals().tolist()]

    def of_each(self, shown: Sequence[Sequence[tuple[Path | None, Example]]]) -> list[list[float]]:
        """As `log_probabilities`, for questions that are each asked in several ways, all computed together."""
        totals = iter(self.log_probabilities([way for ways in shown for way in ways]))
        return [[next(totals) for _ in ways] for ways in shown]


class SampleSettings(Settings):
    """Of a probe that asks a sample of the questions."""

    questions: int = Field(200, ge=2, le=1_000_000)
    """How many are asked."""


class Probe(ABC, Generic[M]):
    """Measures one model at a time."""

    title: ClassVar[str]
    """In words, e.g. `Lesion reliance`."""
    unit: ClassVar[str]
    """Of its quantities, e.g. `nats`."""
    quantities: ClassVar[Mapping[str, str]]
    """What `values` gives, in the order of a table, and each in words."""
    headline: ClassVar[str]
    """The quantity by which models are compared."""
    about: ClassVar[str]
    """What the headline is, as one clause."""
    record: ClassVar[type[Measurement]]
    """Row of its table, `probes/<name>/<model>.parquet`."""
    options: ClassVar[type[Settings]] = Settings
    """Its settings: `evaluate.probes.<name>`."""
    together: ClassVar[int | None] = 64
    """Questions measured at a time, which is what another process may do and a killed run keeps; None: all."""
    several: ClassVar[bool] = False
    """Whether it asks questions on several images: one that changes the whole of what is shown does not."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Chooses among all questions of the headline split, the same for every model; all of them by default."""
        return Prepared(examples)

    def sample(self, examples: Sequence[Example], usable: Callable[[Example], bool] = lambda _: True) -> list[Example]:
        """As many usable questions as `SampleSettings` says, of those that are no reports; the same for every model."""
        questions = [example for example in examples if example.answer_type != "report"]
        drawn = sorted(questions, key=lambda e: hashlib.sha256(e.example_id.encode()).digest())
        chosen = {e.example_id for e in islice(filter(usable, drawn), self.settings.questions)}
        return [example for example in questions if example.example_id in chosen]

    @abstractmethod
    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[M]:
        """Measures one model on the prepared questions, `together` at a time, one row each."""

    @abstractmethod
    def values(self, rows: Sequence[M]) -> Mapping[str, Mapping[str, float]]:
        """Quantity -> question -> value, of one model."""

    def summarise(
        self, name: str, measured: Mapping[str, Sequence[M]], split: str, samples: int
    ) -> ProbeSummary | None:
        """Means of all models and their paired differences to the first, clustered by image; None without rows.

        Args:
            name: registered name of the probe.
            measured: model -> rows, in the order of the run.
            split: where they were measured.
            samples: resamples behind each interval.
        """
        first, *later = measured
        if not all(measured.values()):
            return None
        clusters = {row.example_id: row.image_sha256 for row in measured[first]}
        values = {model: self.values(rows) for model, rows in measured.items()}
        parts = []
        for quantity in self.quantities:
            for model in measured:
                found = mean_interval(values[model][quantity], clusters, samples=samples, seed=0)
                parts.append(_part(quantity, model, found.estimate, found.low, found.high, found.n_items))
            for model in later:
                a, b = values[model][quantity], values[first][quantity]
                found = paired_difference(a, b, clusters, samples=samples, seed=0)
                part = _part(quantity, model, found.estimate, found.low, found.high, found.n_items)
                parts.append(part.model_copy(update={"against": first, "p_value": found.p_value}))
        return ProbeSummary(
            probe=name,
            title=self.title,
            unit=self.unit,
            headline=self.headline,
            about=self.about,
            split=split,
            words=dict(self.quantities),
            parts=_adjusted(parts),
        )


def probes_of(settings: EvaluateSettings) -> dict[str, Probe[Any]]:
    """The probes of a recipe by name, each with its settings.

    Raises:
        ConfigError: no such probe, or a setting it does not have.
    """
    return {name: _probe(name, given) for name, given in settings.probes.items() if given is not None}


def prober(run: Run, model: str, name: str, folder: Path) -> Callable[[Sequence[Example]], list[Any]]:
    """A model of the run, loaded, in front of one probe: made where the work runs."""
    from mmedpo.engine import Engine, FeatureStore
    from mmedpo.models.slots import load_asked

    probe = probes_of(run.settings.evaluate)[name]
    vlm = load_asked(run.slot(model))
    features = FeatureStore(vlm, read_image_file, place="recompute")
    subject = Subject(model, Engine.from_settings(vlm, features, run.settings), run.image_root, folder, run.message)
    return lambda examples: probe.measure(subject, examples)


def _probe(name: str, given: Mapping[str, Any]) -> Probe[Any]:
    kind: type[Probe[Any]] = lookup("probe", name)
    try:
        return kind(kind.options.model_validate(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("evaluate.probes", name, *(str(part) for part in first["loc"])))
        known = ", ".join(kind.options.model_fields) or "no settings"
        raise ConfigError(f"{where}: {first['msg']}; {name} has {known}") from None


def _part(quantity: str, model: str, mean: float, low: float, high: float, questions: int) -> ProbePart:
    return ProbePart(quantity=quantity, model=model, mean=mean, low=low, high=high, questions=questions)


def _adjusted(parts: Sequence[ProbePart]) -> tuple[ProbePart, ...]:
    p_values = holm({str(n): part.p_value for n, part in enumerate(parts) if part.p_value is not None})
    return tuple(part.model_copy(update={"p_adjusted": p_values.get(str(n))}) for n, part in enumerate(parts))
