"""Imported pairs that are debated: which, what becomes of the file's scores, how scores of two origins are weighed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat.chat_server import ChatServer
from data.layouts import LAYOUTS
from mmedpo import load_settings, open_run, run_stages
from mmedpo.errors import ConfigError
from mmedpo.records import Drop, PreferencePair, SourceWeights, Turn
from mmedpo.score.weights import clinical_weights
from score.panel import panellist

COLUMNS = {"image": "file", "question": "ask", "answer": "truth", "split": "part"}
GIVEN: tuple[Any, ...] = (0.9, None, 0.2, "high", 7, 0.6, None, float("nan"))
"""`weighted_score` of each row: three scores, two missing, three that are none."""
VALID = (0, 2, 5)


def _file(folder: Path, given: tuple[Any, ...]) -> Path:
    """A file in MMedPO's layout on the images of a table."""
    rows = [
        {
            "id": str(n),
            "image": f"{n}.png",
            "conversations": [
                {"from": "human", "value": "<image>\nIs there an effusion?"},
                {"from": "gpt", "value": f"yes, there is a small left pleural effusion, case {n}"},
            ],
            "rejected_conversations": [
                {"from": "human", "value": "<image>\nIs there an effusion?"},
                {"from": "gpt", "value": ("no, there is none", "a right one", "a large pneumothorax")[n % 3]},
            ],
            **({} if score is None else {"weighted_score": score}),
        }
        for n, score in enumerate(given)
    ]
    path = folder / "prefs.json"
    path.write_text(json.dumps(rows))
    return path


def _scored(folder: Path, given: tuple[Any, ...] = GIVEN, **score: Any) -> dict[str, list[Any]]:
    """The tables of a run on such a file, up to the weights, by name."""
    folder.mkdir(exist_ok=True)
    root = folder / "data"
    if not root.exists():
        LAYOUTS["table csv"].write(root)
    endpoints = score.pop("endpoints", {})
    recipe = folder / "recipe.yaml"
    content = {
        "data": {"dataset": "table", "root": str(root), "split": "official", "table": {"columns": COLUMNS}},
        "preferences": {"path": str(_file(folder, given))},
        "chat": {"endpoints": endpoints},
        "score": score,
        "evaluate": {"splits": ["test"]},
    }
    recipe.write_text(yaml.safe_dump(content))
    with open_run(folder / "run", load_settings(recipe)) as run:
        run_stages(run, until="score")
        return {
            "curated": run.read("curated.parquet", PreferencePair),
            "pairs": run.read("pairs.parquet", PreferencePair),
            "turns": run.read("debates.parquet", Turn),
            "weights": run.read("weights.parquet", SourceWeights),
            "drops": run.read("drops/score.parquet", Drop),
        }


def _by_number(pairs: list[PreferencePair]) -> dict[int, PreferencePair]:
    return {int(pair.pair_id.split("/")[0].rsplit("-", 1)[-1]): pair for pair in pairs}


def test_without_rescoring_the_scores_of_the_file_stand_and_nobody_debates(tmp_path: Path) -> None:
    done = _scored(tmp_path, weights="raw")
    pairs = _by_number(done["pairs"])
    assert {n: pair.score for n, pair in pairs.items()} == {0: 0.9, 2: 0.2, 5: 0.6}
    assert [pair.weight for pair in pairs.values()] == [0.9, 0.2, 0.6]
    assert done["turns"] == []
    assert {drop.reason for drop in done["drops"]} == {"unscored"}
    assert len(done["drops"]) == 5


def test_missing_and_invalid_scores_are_filled_by_debate_and_the_others_stay(tmp_path: Path) -> None:
    done = _scored(tmp_path, rescore="missing", weights="raw")
    pairs = _by_number(done["pairs"])
    assert sorted(pairs) == list(range(8))
    assert done["drops"] == []
    for n, pair in pairs.items():
        assert pair.score_source == ("imported" if n in VALID else "debate")
        assert pair.unscored_reason == ""
        assert pair.score == (GIVEN[n] if n in VALID else pair.score)
        assert pair.score is not None
    debated = {turn.pair_id for turn in done["turns"]}
    assert debated == {pair.pair_id for n, pair in pairs.items() if n not in VALID}
    # What the file gave stays as it was read.
    assert {n: pair.score for n, pair in _by_number(done["curated"]).items() if pair.score is not None} == {
        0: 0.9,
        2: 0.2,
        5: 0.6,
    }


def test_all_replaces_every_score_and_leaves_the_imported_ones_in_the_curated_table(tmp_path: Path) -> None:
    done = _scored(tmp_path, rescore="all")
    pairs, curated = _by_number(done["pairs"]), _by_number(done["curated"])
    assert {pair.score_source for pair in pairs.values()} == {"debate"}
    assert {turn.pair_id for turn in done["turns"]} == {pair.pair_id for pair in pairs.values()}
    assert [curated[n].score for n in VALID] == [0.9, 0.2, 0.6]
    # One source of scores: the statistics of a run that curates for itself.
    (weights,) = done["weights"]
    assert (weights.source, weights.pairs) == ("text", 8)
    expected = clinical_weights([pair.score for pair in pairs.values() if pair.score is not None]).weights
    assert [pair.weight for pair in pairs.values()] == pytest.approx(expected)


def test_scores_of_two_origins_are_rescaled_apart(tmp_path: Path) -> None:
    done = _scored(tmp_path, rescore="missing", lower=0.5, upper=1.5)
    pairs = _by_number(done["pairs"])
    assert {row.source: row.pairs for row in done["weights"]} == {"text (imported)": 3, "text (debate)": 5}
    # Imported 0.9, 0.2, 0.6: mean 0.5667, population std 0.2867; z = 1.1626, -1.2789, 0.1163; sigma 0.31623.
    expected = [1 + 0.1**0.5 * z for z in (1.16265, -1.27891, 0.11626)]
    assert [pairs[n].weight for n in VALID] == pytest.approx(expected, abs=1e-4)
    debated = [n for n in pairs if n not in VALID]
    alone = clinical_weights([pairs[n].score or 0.0 for n in debated], lower=0.5, upper=1.5).weights
    assert [pairs[n].weight for n in debated] == pytest.approx(alone)


def test_a_file_without_any_score_is_debated_whole(tmp_path: Path) -> None:
    done = _scored(tmp_path, (None,) * 6, rescore="missing")
    assert [pair.score_source for pair in done["pairs"]] == ["debate"] * 6
    assert [(row.source, row.pairs) for row in done["weights"]] == [("text", 6)]
    assert _scored(tmp_path / "all", (None,) * 6, rescore="all")["pairs"] == done["pairs"]


def test_language_models_rescore_what_a_file_brings(tmp_path: Path) -> None:
    with ChatServer(panellist) as server:
        endpoint = {"model": "a", "base_url": server.url}
        done = _scored(tmp_path, rescore="missing", weights="raw", agents=["chat:a"], endpoints={"a": endpoint})
        assert len(server.requests) == 5
    assert {turn.agent for turn in done["turns"]} == {"chat:a"}
    assert {pair.score_source for pair in done["pairs"]} == {"imported", "debate"}


def test_an_outcome_that_is_no_score_replaces_the_imported_one_by_its_reason(tmp_path: Path) -> None:
    """A failure is never a number: not even the number that stood there before."""
    from chat.scripts import always, answer

    with ChatServer(always(answer("no JSON at all"))) as server:
        endpoint = {"model": "a", "base_url": server.url}
        done = _scored(
            tmp_path, rescore="all", weights="raw", unscored="mu", agents=["chat:a"], endpoints={"a": endpoint}
        )
    assert {(pair.score, pair.score_source) for pair in done["pairs"]} == {(None, "")}
    assert all("abstained" in pair.unscored_reason for pair in done["pairs"])


@pytest.mark.parametrize(
    ("content", "overrides", "line"),
    [
        ({}, ["score.rescore=all"], "score.rescore has no effect because no pairs are imported"),
        ({"path": "/p"}, ["score.agents=[rubric-internist]"], "give score.rescore=missing or all"),
        ({"path": "/p"}, ["score.rescore=some"], "score.rescore='some': Input should be 'missing' or 'all'"),
        ({"path": "/p"}, ["score.rescore=all", "score.weights=none"], "score.rescore has no effect because score.weig"),
        ({"path": "/p"}, ["score.rescore=all", "score.agents=[chat:x]"], "endpoint 'x' is not among chat.endpoints"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, content: dict[str, str], overrides: list[str], line: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"preferences": content} if content else {}))
    with pytest.raises(ConfigError) as caught:
        load_settings(recipe, overrides)
    assert line in str(caught.value)
