"""The methods that ask a language model, whole, against a real server that answers by rule."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from chat.chat_server import ChatServer
from chat.scripts import answer
from e2e.test_loop import SMALL
from mmedpo import load_settings, open_run, run_stages
from mmedpo.records import PreferencePair
from mmedpo.storage.tables import read_table


def _worth(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 6


def _script(body, number):
    """A critic and a judge with the same taste, which is chance, but never changes its mind."""
    told = body["messages"][1]["content"]
    found = dict(re.findall(r"(answer\w*)>\n(.*?)\n</data", told, re.DOTALL))
    if "answer_a" in found:
        first, second = found["answer_a"], found["answer_b"]
        better = "A" if (_worth(first), first) > (_worth(second), second) else "B"
        return answer(json.dumps({"reason": "r", "better": better}))
    return answer(json.dumps({"reason": "r", "score": _worth(found["answer"])}))


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "endpoint"), [("phantom-self-rewarding", "self"), ("phantom-sima", "critic")])
def test_a_method_that_asks_runs_to_its_report(recipe: str, endpoint: str, tmp_path: Path) -> None:
    with ChatServer(_script) as server:
        described = f"chat.endpoints.{endpoint}={{model: m, base_url: '{server.url}', temperature: 0.7}}"
        settings = load_settings(recipe, [*SMALL, described])
        with open_run(tmp_path / "run", settings) as run:
            run_stages(run)
    assert (tmp_path / "run" / "report.html").stat().st_size > 20_000
    for number in range(1, settings.rounds + 1):
        place = tmp_path / "run" / "rounds" / str(number) if settings.rounds > 1 else tmp_path / "run"
        pairs = read_table(place / "pairs.parquet", PreferencePair)
        assert {pair.kind for pair in pairs} == {"text"}
        # Both sides are the model's own, and the server's taste decides which is which.
        assert all(_worth(pair.chosen) >= _worth(pair.rejected) for pair in pairs)
