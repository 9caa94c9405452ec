"""Settings of clinical relevance scoring."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Named, Settings, refuse_set

Unscored = Literal["drop", "mu"]
UNWEIGHTED = "none"
"""The one value of `score.weights` that is no registered weighting: every pair weighs 1, and no score is needed."""


class ScoreSettings(Settings):
    """Clinical relevance scores and weights (paper, section 3.2; METHOD section 2)."""

    agents: tuple[Annotated[str, Named("agent", speaks=True)], ...] = (
        "rubric-radiologist",
        "rubric-internist",
        "rubric-language",
    )
    """Registered names of the debating agents, in speaking order; `NAME:ENDPOINT` where it asks a language model. None:
    no debate, where nothing reads the weights of text pairs."""
    rounds: int = Field(5, ge=1, le=100)
    """r, rounds without consensus after which the history is averaged."""
    agreement: float = Field(0.0, ge=0, le=1)
    """Largest distance from the standing score at which another score counts as agreeing with it, which then stands; 0:
    only the same score agrees (paper)."""
    rescore: Literal["missing", "all"] | None = None
    """Imported text pairs that are debated: those whose score is `missing` (or invalid), or `all`, whatever score the
    file gives; None: none, the scores of the file stand as they are."""
    weights: Annotated[str, Named("weighting", also=(UNWEIGHTED,))] = "rescale"
    """How a raw score becomes s': registered name, see `mmedpo.score.weightings`; `none`: it does not, all weigh 1."""
    mu: float = Field(1.0, ge=0, le=1000)
    """Mean the scores are rescaled to."""
    sigma: float = Field(0.1**0.5, ge=1e-6, le=1000)
    """Standard deviation they are rescaled to (the paper: sigma^2 = 0.1)."""
    lower: float = Field(0.75, ge=0, le=1000)
    """Lower clip of s'."""
    upper: float = Field(1.25, gt=0, le=1000)
    """Upper clip of s'."""
    unscored: Unscored = "drop"
    """What to do with a pair that has no score."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.weights == UNWEIGHTED:
            idle = {"agents", "rounds", "agreement", "rescore", "mu", "sigma", "lower", "upper", "unscored"}
            refuse_set(self, idle, "score", f"score.weights is {self.weights!r}")
        if not self.agents:
            refuse_set(self, {"rounds", "agreement", "rescore"}, "score", "score.agents is empty")
        if self.lower >= self.upper:
            raise ValueError(f"score.lower ({self.lower}) must be below score.upper ({self.upper})")
        return self
