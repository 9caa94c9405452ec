"""Collapse is seen in the answers, and in the log-probabilities where the answers still hold."""

from __future__ import annotations

import pytest

from mmedpo.config import WatchSettings
from mmedpo.records.looks import LOGPROB, SCORE
from mmedpo.train.looks import collapse

SETTINGS = WatchSettings(collapse_drop=0.5, collapse_logprob=3.0)


def look(step: int, score: float, logprob: float) -> dict[str, float]:
    return {"step": step, SCORE: score, LOGPROB: logprob}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (look(30, 0.8, -0.3), ""),
        (look(30, 0.4, -0.3), ""),  # half of 0.8 is not below half of it
        (look(30, 0.39, -0.3), "at step 30 the validation probe fell from 0.800 to 0.390, below 0.5 of its start"),
        (look(60, 0.8, -3.3), ""),  # 3.0 nats lower is not more than 3.0
        (look(60, 0.8, float("nan")), "at step 60 log pi(y_w) per token is not a finite number"),
        (look(60, 0.8, -3.31), "at step 60 log pi(y_w) per token fell from -0.30 to -3.31 nats, by more than 3"),
    ],
)
def test_a_model_that_degenerates_is_told_by_either_sign(now: dict[str, float], said: str) -> None:
    assert collapse([look(0, 0.8, -0.3), look(15, 0.9, -0.2), now], SETTINGS) == said
