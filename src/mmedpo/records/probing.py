"""What probes measure of a model, and what is made of it."""

from __future__ import annotations

from pydantic import Field

from mmedpo.records.core import Record


class Measurement(Record):
    """What every row of a probe's table holds; a probe adds what it measured."""

    example_id: str
    """The question."""
    model: str
    """Which model, by its slot in the run."""
    image_sha256: str
    """Cluster of the intervals."""


class Reliance(Measurement):
    """log pi(y_w) of one question of one model under the clean and the two noised views."""

    clean: float
    """log pi(y_w | clean image), nats, summed over the answer."""
    lesion: float
    """The same with the lesion noised."""
    elsewhere: float
    """The same with an equal area elsewhere noised."""


class ProbePart(Record):
    """Mean of one quantity of a probe for one model, or the difference between two models."""

    quantity: str
    """One of the probe's quantities."""
    model: str
    """The model."""
    against: str = ""
    """The model that was subtracted, question by question; empty for the mean of one model."""
    mean: float
    """Mean over the questions."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p_value: float | None = None
    """Two-sided, of a difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for the differences of this probe."""
    questions: int
    """Questions measured."""


class ProbeSummary(Record):
    """What one probe found, with all that a reader who does not know it needs."""

    probe: str
    """Its registered name."""
    title: str
    """Its name in words, e.g. `Lesion reliance`."""
    unit: str
    """Unit of its quantities, e.g. `nats`."""
    headline: str
    """The quantity by which models are compared."""
    about: str
    """What the headline is, as one clause."""
    split: str
    """The split it was measured on."""
    words: dict[str, str] = Field(default_factory=dict)
    """Quantity -> what it is, in a few words."""
    parts: tuple[ProbePart, ...]
    """Every quantity of every model, and the differences to the first model."""

    def part(self, quantity: str, model: str, against: str = "") -> ProbePart | None:
        """One of the parts; None where it was not measured."""
        wanted = quantity, model, against
        return next((part for part in self.parts if (part.quantity, part.model, part.against) == wanted), None)


MAP_SIDE = 24
"""Rows and columns of a map of where a model looks."""


class Looking(Measurement):
    """Where on the image a true answer comes from. Shares are of the image tokens that stand for a place."""

    attention: float
    """Share of the answer's attention to the image that lies inside the annotated lesion, 0..1."""
    relevance: float
    """The same of the size of the gradient of log pi(y_w) with respect to the image tokens."""
    chance: float
    """The same of tokens that all weigh alike: the lesion's share of what the model is shown."""
    image: float
    """Share of the answer's attention that goes to image tokens at all, of all it sees."""
    attention_map: tuple[float, ...] = ()
    """[MAP_SIDE * MAP_SIDE] the attention's shares over the picture, row by row."""
    relevance_map: tuple[float, ...] = ()
    """The same of the gradient."""


class LooksPart(Record):
    """One probe that the score of looking is made of."""

    probe: str
    """Its registered name."""
    title: str
    """Its name in words."""
    missing: str = ""
    """Why it has no value in this run; empty when it has."""


class LooksMean(Record):
    """The score of one model, or the difference between two."""

    model: str
    """The model."""
    against: str = ""
    """The model that was subtracted; empty for the score of one."""
    mean: float
    """Mean of the parts' headlines, each weighing the same."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p_value: float | None = None
    """Two-sided, of a difference."""


class LooksScore(Record):
    """Does the model look at the image? One number, or which parts of it are missing."""

    parts: tuple[LooksPart, ...]
    """What it is made of, missing ones included."""
    means: tuple[LooksMean, ...] = ()
    """Of every model, and the differences to the first; empty while a part is missing."""
    questions: int = 0
    """Distinct questions behind it."""
    images: int = 0
    """Images they stand on."""
