"""Curves over the rounds of a run: its looks, read from every round's own log."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from mmedpo.config import load_settings
from mmedpo.report.sections.rounds import RoundsSection, rounds
from train.test_methods import record


def run_of(folder: Path, logs: list[list[dict[str, float]]], *overrides: str) -> SimpleNamespace:
    """What the section asks of a run of three rounds, some of which have trained."""
    pairs: dict[str, list[object]] = {}
    for number, log in enumerate(logs, start=1):
        place = folder / f"rounds/{number}"
        (place / "train").mkdir(parents=True)
        (place / "train/log.json").write_text(json.dumps(log))
        (place / "pairs.parquet").touch()
        pairs[f"rounds/{number}/pairs.parquet"] = [record(number=n) for n in range(number)] + [record("visual")]
    settings = load_settings("phantom-dpo", ["rounds=3", *overrides])
    return SimpleNamespace(settings=settings, file=lambda name: folder / name, read=lambda name, kind: pairs[name])


def look(step: int, score: float) -> dict[str, float]:
    return {"step": step, "probe_score": score, "probe_logprob_per_token": -score}


LOGS = [[look(0, 0.5), look(4, 0.8), look(8, 0.6)], [look(0, 0.8), {"step": 1, "loss": 0.1}, look(4, 0.7)]]


def points(part, title):
    panel = next(panel for panel in part.panels if panel.title == title)
    return {series.name: list(series.points) for series in panel.series}


def test_each_round_shows_where_it_began_and_what_it_kept(tmp_path):
    part = rounds(run_of(tmp_path, LOGS))
    assert points(part, "Validation probe") == {"start": [(1, 0.5), (2, 0.8)], "kept": [(1, 0.8), (2, 0.7)]}
    assert points(part, "Text pairs") == {"pairs": [(1, 1), (2, 2)]}
    assert part.x_label == "round"
    assert all("<svg" in str(plot) for _, plot in RoundsSection().draw(part)["plots"])


def test_the_last_adapter_counts_where_it_is_kept(tmp_path):
    part = rounds(run_of(tmp_path, LOGS, "train.watch.keep=last"))
    assert points(part, "Validation probe")["kept"] == [(1, 0.6), (2, 0.7)]


def test_nothing_is_said_before_the_first_round_or_of_a_single_one(tmp_path):
    assert rounds(run_of(tmp_path, [])) is None
    single = SimpleNamespace(settings=SimpleNamespace(rounds=1))
    assert RoundsSection().gather(SimpleNamespace(), single) is None
