"""What a training log (`train/log.json`) tells: the looks at the validation probe, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

SCORE, LOGPROB = "probe_score", "probe_logprob_per_token"
STEP = "step"
MOST_STEPS = 10**12


def _placed(entry: dict[str, float | None]) -> dict[str, float | None]:
    """An entry stands at a whole step, and a look has a score.

    Raises:
        ValueError: it does not.
    """
    step = entry.get(STEP)
    if step is None or not 0 <= step <= MOST_STEPS or step != int(step):
        raise ValueError("an entry without a step")
    if SCORE in entry and entry[SCORE] is None:
        raise ValueError("a look without a score")
    return {**entry, STEP: int(step)}


LogEntry = Annotated[dict[str, float | None], AfterValidator(_placed)]
"""What a training log holds at one step; a value that is None was not finite."""


def watch_log(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The probe's entries of a trainer's log."""
    return [entry for entry in history if SCORE in entry]


def best_look(looks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first entry with the highest score among the trained steps; None before the first."""
    trained = [look for look in looks if look["step"] > 0]
    return max(trained, key=lambda look: float(look[SCORE])) if trained else None


def kept_look(looks: Sequence[Mapping[str, Any]], keep: str) -> Mapping[str, Any] | None:
    """The look at the adapter that a run ends with, by its `train.watch.keep`; None before the first."""
    if keep == "best" or best_look(looks) is None:
        return best_look(looks)
    return looks[-1]


def best_step(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The step whose adapter `keep: best` keeps; None before the first look at a trained step."""
    best = best_look(watch_log(history))
    return None if best is None else int(best["step"])
