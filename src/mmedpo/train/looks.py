"""What a training log tells: the looks at the validation probe, the best of them, and collapse. Pure, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmedpo.config import WatchSettings

SCORE, LOGPROB = "probe_score", "probe_logprob_per_token"


def watch_log(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The probe's entries of a trainer's log."""
    return [entry for entry in history if SCORE in entry]


def best_look(looks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first entry with the highest score among the trained steps; None before the first."""
    trained = [look for look in looks if look["step"] > 0]
    return max(trained, key=lambda look: float(look[SCORE])) if trained else None


def collapse(looks: Sequence[Mapping[str, Any]], settings: WatchSettings) -> str:
    """One line that says how the model degenerated since the start, or an empty string."""
    start, now = looks[0], looks[-1]
    if now[SCORE] < settings.collapse_drop * start[SCORE]:
        return (
            f"at step {now['step']} the validation probe fell from {start[SCORE]:.3f} to {now[SCORE]:.3f}, "
            f"below {settings.collapse_drop:g} of its start"
        )
    if now[LOGPROB] < start[LOGPROB] - settings.collapse_logprob:
        return (
            f"at step {now['step']} log pi(y_w) per token fell from {start[LOGPROB]:.2f} to {now[LOGPROB]:.2f} nats, "
            f"by more than {settings.collapse_logprob:g}"
        )
    return ""


def best_step(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The step whose adapter `keep: best` keeps; None before the first look at a trained step."""
    best = best_look(watch_log(history))
    return None if best is None else int(best["step"])
