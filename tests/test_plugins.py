"""One piece of every kind from outside, announced by entry point, used by name in a recipe: new files only."""

from __future__ import annotations

import json
import sqlite3
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mmedpo.config import load_settings
from mmedpo.errors import ConfigError
from mmedpo.imaging.images import read_image
from mmedpo.records import (
    Drop,
    Evaluation,
    Example,
    FactorValue,
    Grounding,
    PreferencePair,
    SourceWeights,
    Turn,
    Verdict,
)
from mmedpo.registry import Kind
from mmedpo.storage.tables import read_table
from outside import install, run_python

SMALL = {
    "train": {
        "objective": [{"loss": "squared-hinge", "beta": 0.5}],
        "factors": ["upside-down"],
        "epochs": 1,
        "learning_rate": 1e-4,
        "lora": {"rank": 4, "alpha": 8},
        "watch": {"every": 4, "questions": 2},
    },
    "evaluate": {
        "splits": ["test"],
        "protocol": "first-word",
        "bootstrap_samples": 200,
        "max_new_tokens": 4,
        "probes": {"in-the-dark": {"questions": 2}},
    },
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("outside") / "site")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the plug-in's dataset wants it, with one unreadable image."""
    folder = tmp_path_factory.mktemp("colours")
    rows = ["file,answer,split"]
    for number in range(16):
        image = np.random.default_rng([number]).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
        split = ("test", "validation")[number % 2] if number < 4 else "train"
        rows.append(f"{number}.png,{('red', 'blue')[number % 2]},{split}")
    (folder / "broken.png").write_text("not an image")
    (folder / "answers.csv").write_text("\n".join([*rows, "broken.png,red,train"]))
    return folder


def _recipe(folder: Path, root: Path, **content: Any) -> Path:
    path = folder / "recipe.yaml"
    data = {"dataset": "colours", "root": str(root), "colours": {"question": "Which colour is it?"}}
    path.write_text(yaml.safe_dump({"data": data, **SMALL, **content}))
    return path


PIECES = """
import json, typing
from mmedpo.registry import Kind, lookup, names
kinds = typing.get_args(Kind)
print(json.dumps({
    kind: [name for name in names(kind) if lookup(kind, name).__module__.startswith("mmedpo_colours.")]
    for kind in kinds
}))
"""


def _run(recipe: Path, folder: Path, outside: Path, until: str = "", then: str = "") -> list[str]:
    """Runs a recipe in a process of its own, and `then` what is given; returns the lines that were printed."""
    code = f"""
from pathlib import Path
import mmedpo
from mmedpo.registry import lookup

settings = mmedpo.load_settings({str(recipe)!r})
with mmedpo.open_run(Path({str(folder)!r}), settings) as run:
    run.executor = lookup("executor", "counting")()
    mmedpo.run_stages(run, until={until or None!r})
    print(*run.executor.jobs, sep=";")
{then}
"""
    done = run_python(code, outside)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, root: Path, outside: Path) -> Path:
    """A run from data to report in which every piece that can be is one of the package's."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = _recipe(
        folder,
        root,
        chat={"endpoints": {"m": {"kind": "parrot", "model": "m"}}},
        ground={"tool": "middle"},
        curate={"judge": "liar:m", "noise": {"kind": "stripes"}, "candidates": 2, "max_new_tokens": 4},
        score={"agents": ["by-length", "percent:m"], "weights": "ranks", "rounds": 1},
        evaluate={**SMALL["evaluate"], "judges": ["brevity:m"]},
    )
    *_, jobs, pieces = _run(recipe, folder / "r", outside, then=PIECES)
    (folder / "r" / "jobs.txt").write_text(jobs)
    (folder / "r" / "pieces.json").write_text(pieces)
    return folder / "r"


def test_the_package_holds_a_piece_of_every_kind(whole: Path) -> None:
    found = json.loads((whole / "pieces.json").read_text())
    assert set(found) == set(typing.get_args(Kind))
    assert [kind for kind, pieces in found.items() if not pieces] == []


def test_announcing_a_package_loads_no_torch(outside: Path) -> None:
    code = "import sys; from mmedpo.registry import names; names('dataset'); print('torch' in sys.modules)"
    assert run_python(code, outside).stdout == "False\n"


def test_a_probe_with_its_picture_in_the_report(whole: Path) -> None:
    evaluation = Evaluation.model_validate_json((whole / "evaluation.json").read_text())
    (summary,) = evaluation.probes
    assert (summary.probe, summary.headline) == ("in-the-dark", "fall")
    assert {(part.model, part.against, part.questions) for part in summary.parts} == {
        ("base", "", 2), ("tuned", "", 2), ("tuned", "base", 2),
    }  # fmt: skip
    assert (whole / "probes" / "in-the-dark" / "tuned.parquet").exists()
    page = (whole / "report.html").read_text()
    assert '<section id="in-the-dark"' in page
    assert "Fall of log pi of the truth when the picture is black." in page
    assert "Without a picture the truth becomes less likely by" in page


def test_a_judge_of_answers_with_a_criterion_of_its_own(whole: Path) -> None:
    evaluation = Evaluation.model_validate_json((whole / "evaluation.json").read_text())
    (found,) = evaluation.judged
    (difference,) = found.differences
    # The parrot marks what stands first 1 and the other 0.5, in both orders.
    assert (found.judge, found.served, difference.metric) == ("brevity:m", ("m@1",), "brevity")
    assert (difference.before, difference.after, found.turned) == (0.75, 0.75, difference.questions)


def test_a_factor_multiplies_the_weights_and_is_stored_apart(whole: Path) -> None:
    rows = read_table(whole / "train" / "factors.parquet", FactorValue)
    pairs = read_table(whole / "pairs.parquet", PreferencePair)
    assert {row.pair_id for row in rows} == {pair.pair_id for pair in pairs}
    assert {row.factor for row in rows} == {"upside-down"}
    assert all(0.0 <= row.probability <= 1.0 and row.value > 0 for row in rows)
    page = (whole / "report.html").read_text()
    assert "upside-down" in page
    assert "clinical relevance" in page


def test_a_dataset_with_settings_of_its_own(whole: Path) -> None:
    examples = read_table(whole / "examples.parquet", Example)
    assert len(examples) == 16
    assert {(e.dataset, e.question) for e in examples} == {("colours", "Which colour is it?")}
    (drop,) = read_table(whole / "drops" / "data.parquet", Drop)
    assert (drop.item, drop.reason) == ("broken.png", "unreadable-image")
    resolved = yaml.safe_load((whole / "config.resolved.yaml").read_text())
    assert resolved["data"]["colours"] == {"question": "Which colour is it?", "most": 1000}


def test_a_visual_tool_and_a_kind_of_noise(whole: Path, root: Path) -> None:
    assert {g.tool for g in read_table(whole / "groundings.parquet", Grounding)} == {"middle"}
    visual = [p for p in read_table(whole / "pairs.parquet", PreferencePair) if p.kind == "visual"]
    assert len(visual) == 12
    for pair in visual:
        assert pair.rejected_noise is not None
        assert pair.rejected_noise.kind == "stripes"
        clean, noised = read_image(root, pair.image.path), read_image(whole, pair.rejected_image_path or "")
        assert not noised[9:24:2, 8:24].any()
        assert np.array_equal(noised[::2], clean[::2])


def test_a_judge_and_agents_that_ask_a_language_model(whole: Path) -> None:
    verdicts = read_table(whole / "verdicts.parquet", Verdict)
    assert {v.judge for v in verdicts} == {"liar:m"}
    assert {v.rejected for v in verdicts} == {"blue", "a dark red"}
    turns = read_table(whole / "debates.parquet", Turn)
    assert {turn.agent for turn in turns} == {"by-length", "percent:m"}
    with sqlite3.connect(whole / "calls.sqlite") as calls:
        assert set(calls.execute("SELECT model FROM calls")) == {("m@1",)}, "a kind of language model of the package"
    # `blue` has 4 letters, 0.4, and 40 percent is the same: consensus. `a dark red` has 10: the mean of 1 and 0.4.
    pairs = [p for p in read_table(whole / "pairs.parquet", PreferencePair) if p.kind == "text"]
    assert {(p.rejected, p.score) for p in pairs} == {("blue", 0.4), ("a dark red", 0.7)}


def test_a_weighting(whole: Path) -> None:
    pairs = read_table(whole / "pairs.parquet", PreferencePair)
    # Half of the text pairs score 0.4 and half 0.7; all visual pairs score 0.8.
    weights = {(p.kind, p.rejected if p.kind == "text" else ""): p.weight for p in pairs}
    assert weights == {("text", "blue"): 0.5, ("text", "a dark red"): 1.0, ("visual", ""): 1.0}
    rows = {row.source: row for row in read_table(whole / "weights.parquet", SourceWeights)}
    assert (rows["text"].at_lower, rows["text"].at_upper) == (0, 0), "nothing is clipped"


def test_a_loss_trains(whole: Path) -> None:
    assert (whole / "adapter").is_dir()
    log = json.loads((whole / "train" / "log.json").read_text())
    # Before the first step every margin is 0 and the loss of a pair its weight: steps of 4 examples, a text pair of
    # 0.5 or 1 and a visual pair of 1 each, so between (4 x 0.5 + 4) / 8 and 1.
    first = next(entry["loss"] for entry in log if "loss" in entry)
    assert 0.75 <= first <= 1.0


def test_a_protocol_and_the_page_of_the_run(whole: Path) -> None:
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert evaluation["protocol"] == "first-word"
    assert {summary["protocol"] for split in evaluation["splits"] for summary in split["summaries"].values()} == {
        "first-word"
    }
    page = (whole / "report.html").read_text()
    for piece in ("liar:m", "by-length, percent:m", "the rank of the score", "stripes", "middle", "squared-hinge"):
        assert piece in page, piece


def test_an_executor(whole: Path) -> None:
    jobs = (whole / "jobs.txt").read_text().split(";")
    assert {"judging", "debating", "noising lesions"} <= set(jobs)


def test_a_preference_format_and_its_pairs_debated(root: Path, outside: Path, tmp_path: Path) -> None:
    lines = [
        {"picture": f"{n}.png", "asked": "Which colour is it?", "right": "red", "wrong": "blue", "badness": badness}
        for n, badness in ((4, 0.9), (6, None), (8, 0.1), (10, 0.5))
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    recipe = _recipe(
        tmp_path,
        root,
        preferences={"path": str(tmp_path / "pairs.jsonl"), "format": "flat"},
        score={"agents": ["by-length"], "rescore": "missing", "weights": "raw"},
    )
    _run(recipe, tmp_path / "r", outside, until="score")
    pairs = read_table(tmp_path / "r" / "pairs.parquet", PreferencePair)
    assert [(p.score, p.score_source, p.weight) for p in pairs] == [
        (0.9, "imported", 0.9),
        (0.4, "debate", 0.4),
        (0.1, "imported", 0.1),
        (0.5, "imported", 0.5),
    ]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"data": {"dataset": "colours", "root": "/d", "colours": {"qestion": "?"}}}, "did you mean 'question'?"),
    ({"data": {"dataset": "colours", "root": "/d", "colours": {"most": 0}}}, "data.colours.most=0: Input should"),
    ({"data": {"dataset": "colours", "root": "/d", "phantom": {"seed": 1}}}, "data.phantom has no effect"),
    ({"curate": {"judge": "liar"}}, "name its endpoint in chat.endpoints: liar:NAME"),
    ({"curate": {"noise": {"kind": "stripes", "step": 3}}}, "curate.noise.step has no effect because curate.noise"),
    ({"score": {"agents": ["percent"]}}, "name its endpoint in chat.endpoints: percent:NAME"),
    ({"score": {"weights": "ranks", "mu": 2}}, "score.mu has no effect because score.weights is 'ranks'"),
    ({"evaluate": {"protocol": "first-wrd"}}, "did you mean 'first-word'?"),
]


def test_pieces_from_outside_are_held_to_the_same_rules(tmp_path: Path, outside: Path) -> None:
    for number, (change, _) in enumerate(REFUSED):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(change))
    code = f"""
from mmedpo.config import load_settings
from mmedpo.errors import ConfigError
for number in range({len(REFUSED)}):
    try:
        load_settings(f"{tmp_path}/{{number}}.yaml")
    except ConfigError as error:
        print(error)
"""
    done = run_python(code, outside)
    lines = done.stdout.splitlines()
    assert len(lines) == len(REFUSED), done.stdout + done.stderr
    for line, (_, said) in zip(lines, REFUSED, strict=True):
        assert said in line, line


def test_without_the_package_its_names_are_unknown_but_its_runs_can_be_looked_at(whole: Path) -> None:
    from mmedpo import read_run

    with pytest.raises(ConfigError, match="data.dataset: unknown dataset 'colours'; known: "):
        load_settings(whole / "config.resolved.yaml")
    assert read_run(whole).settings.data.dataset == "colours"
