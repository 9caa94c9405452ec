"""Settings of evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from mmedpo.config.groups import IdleSetting, Named, Settings, UserPath, refuse_set
from mmedpo.records import AnswerType

SHIPPED_PROBES: Mapping[str, Mapping[str, Any]] = {"lesion-reliance": {"images": 80}, "attention": {"questions": 40}}
"""Probes of every run, on images with annotated lesions; attention takes passes of its own, so it asks fewer."""


ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]
"""Name of a column of a comparison, which also names a file."""


class AnswerFileSettings(Settings):
    """Answers that another program made: one column of the comparison."""

    path: UserPath
    """The file."""
    format: Annotated[str, Named("answer-format", also=("",))] = ""
    """Registered name of its layout; empty: told from its columns."""
    questions: UserPath | None = None
    """Question file (`question_id, image, text`) whose ids the answers use; None: they use the data's, or none."""


RadEvalMetric = Literal["radgraph", "f1chexbert", "ratescore", "green", "crimson"]
"""Names of RadEval's metrics that are known here (docs/protocols.md)."""


class RadEvalSettings(Settings):
    """Metrics of reports that RadEval computes in an environment of its own (`mmedpo metrics install radeval`)."""

    metrics: tuple[RadEvalMetric, ...] = ()
    """Which; none: RadEval is not started."""
    batch_size: int = Field(32, ge=1, le=100_000)
    """Reports scored at a time."""
    timeout: float = Field(1800.0, ge=0.1, le=864_000)
    """Seconds for a batch, or for all reports at once where a metric has one value for them; then it is given up."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if not self.metrics:
            refuse_set(self, {"batch_size", "timeout"}, "evaluate.radeval", "evaluate.radeval.metrics is empty")
        return self


class EvaluateSettings(Settings):
    """Generation, protocol and statistics."""

    splits: tuple[str, ...] = Field(("test-balanced", "test"), min_length=1)
    """Splits that are scored; the first is the headline."""
    protocol: Annotated[str, Named("protocol")] = "strict"
    """Registered scoring protocol of the headline; every table names it."""
    max_new_tokens: int = Field(96, ge=1, le=100_000)
    """Length limit of an answer."""
    batch_size: int = Field(96, ge=1, le=100_000)
    """Questions answered, and saved, together; their image features are held meanwhile, what is
    decoded at once is bounded by `engine.kept_tokens`."""
    answer_types: tuple[AnswerType, ...] = Field(("closed", "open", "report"), min_length=1)
    """Which questions are asked."""
    bootstrap_samples: int = Field(10_000, ge=100, le=1_000_000)
    """Resamples behind every interval: of the paired bootstrap over images, and over seeds in a study."""
    probes: dict[str, dict[str, Any] | None] = Field(default_factory=dict, validate_default=True)
    """Probe -> its settings, e.g. `lesion-reliance: {images: 20}`; null leaves out one that ships."""

    judges: tuple[Annotated[str, Named("answer-judge", speaks=True)], ...] = ()
    """Language models that score the answers to the first split's questions, `chat:ENDPOINT`; none: nobody is asked."""

    radeval: RadEvalSettings = RadEvalSettings()

    answers: dict[ColumnName, AnswerFileSettings] = Field(default_factory=dict)
    """Answers made elsewhere, by the name of their column; then no model is trained or asked. The first is what the
    others are compared with."""

    @model_validator(mode="after")
    def _two_to_judge(self) -> Self:
        if self.judges and len(self.answers) == 1:
            raise IdleSetting(("evaluate", "judges"), "answers of two models are judged; give another file of answers")
        return self

    @field_validator("probes", mode="before")
    @classmethod
    def _with_shipped(cls, given: Any) -> Any:
        """A recipe that adds a probe keeps the others, one that changes a setting of a probe keeps its others."""
        if not isinstance(given, Mapping):
            return given
        changed = {
            name: {**SHIPPED_PROBES.get(name, {}), **own} if isinstance(own, Mapping) else own
            for name, own in given.items()
        }
        return {**SHIPPED_PROBES, **changed}
