"""Debates against models nobody here scripted: a real server's checkpoint, and a checkpoint in the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat.model_server import ModelServer, make_checkpoint
from mmedpo.config import validate_settings
from mmedpo.records import Turn
from mmedpo.score.stage import score
from score.panel import debating_run, pair


def settings(endpoints: dict[str, dict[str, object]], rounds: int = 2):
    return validate_settings(
        {
            "curate": {"kinds": ["text"]},
            "chat": {"endpoints": endpoints},
            "score": {"agents": [f"chat:{name}" for name in endpoints], "rounds": rounds},
        },
        "test",
    )


def test_models_behind_a_real_server_debate(model_server: ModelServer, tmp_path: Path) -> None:
    """One answers the first question, one agrees with it, one cannot answer in JSON."""
    each = {"base_url": model_server.url, "max_tokens": 64, "timeout": 60, "concurrency": 2}
    first = model_server.model('{"reason": "side", "score": 7}')
    agrees = model_server.model('{"reason": "so", "agree": true, "score": 7}')
    babble = model_server.model(None)
    chosen = settings(
        {name: {"model": model, **each} for name, model in zip("abc", (first, agrees, babble), strict=True)}
    )
    run = debating_run(tmp_path / "r", chosen, [pair(1), pair(2)])
    pairs = score(run)
    turns = run.read("debates.parquet", Turn)
    assert [item.score for item in pairs] == pytest.approx([0.7, 0.7])
    spoken = {turn.agent: turn for turn in turns if turn.round == 1}
    assert spoken["chat:a"].model == f"{first}@main"
    assert (spoken["chat:a"].score, spoken["chat:a"].calls) == (0.7, 1)
    assert spoken["chat:a"].input_tokens > 500
    assert (spoken["chat:b"].score, spoken["chat:b"].agreed) == (0.7, True)
    assert spoken["chat:c"].score is None
    assert spoken["chat:c"].reason in ("unparsable", "cut")
    # Asked again in round 2, `a` gives a first score where a response is asked for: no score either.
    assert {turn.score for turn in turns if turn.agent == "chat:a" and turn.round == 2} == {None}


def test_a_checkpoint_in_the_process_debates(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_checkpoint(folder, '{"reason": "side", "score": 4}')
    local = {"kind": "transformers", "model": str(folder), "max_tokens": 64}
    run = debating_run(tmp_path / "r", settings({"mine": local}), [pair(1)], data_use="restricted")
    (scored,) = score(run)
    (turn,) = run.read("debates.parquet", Turn)
    assert scored.score == 0.4
    assert turn.model == str(folder)
    assert turn.output_tokens > 3
