"""Whether the model degenerated while it was trained, from the looks at the validation probe. Pure, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmedpo.config import WatchSettings
from mmedpo.records.looks import LOGPROB, SCORE


def collapse(looks: Sequence[Mapping[str, Any]], settings: WatchSettings) -> str:
    """One line that says how the model degenerated since the start, or an empty string."""
    start, now = looks[0], looks[-1]
    if now[SCORE] < settings.collapse_drop * start[SCORE]:
        return (
            f"at step {now['step']} the validation probe fell from {start[SCORE]:.3f} to {now[SCORE]:.3f}, "
            f"below {settings.collapse_drop:g} of its start"
        )
    if not math.isfinite(now[LOGPROB]):
        return f"at step {now['step']} log pi(y_w) per token is not a finite number"
    if now[LOGPROB] < start[LOGPROB] - settings.collapse_logprob:
        return (
            f"at step {now['step']} log pi(y_w) per token fell from {start[LOGPROB]:.2f} to {now[LOGPROB]:.2f} nats, "
            f"by more than {settings.collapse_logprob:g}"
        )
    return ""
