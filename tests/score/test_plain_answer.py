"""Cleaning leaves plain answers alone: real preference pairs end with the score they have without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmedpo.lint.text import leaked_prompt
from mmedpo.score.agents import rubric as rubric_agents
from mmedpo.score.agents.rubric import rubric_agents as agents
from mmedpo.score.debate import Case, debate


def released_cases(folder: Path) -> list[Case]:
    (file,) = sorted((folder / "mmedpo_vqa_rad_prefs").glob("*.json"))[:1]
    cases = []
    for number, row in enumerate(json.loads(file.read_text())):
        question, truth = (turn["value"] for turn in row["conversations"][:2])
        rejected = row["rejected_conversations"][1]["value"]
        cases.append(Case(f"r{number}/text", question.replace("<image>", "").strip(), truth, rejected))
    return cases


def final_scores(cases: list[Case]) -> list[float | None]:
    rubric_agents._read.cache_clear()
    return [debate(agents(), case).score for case in cases]


@pytest.mark.long
def test_released_pairs_keep_their_scores(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = released_cases(shared_data)
    assert len(cases) == 1797
    cleaned = final_scores(cases)
    monkeypatch.setattr(rubric_agents, "plain_answer", lambda text, *_: text)
    plain = final_scores(cases)
    rubric_agents._read.cache_clear()
    changed = [case for case, with_it, without in zip(cases, cleaned, plain, strict=True) if with_it != without]
    # Four truths hold the judge's own prompt ("-Candidate Answer1: No ..."); they are cleaned as any talk is.
    assert [case for case in changed if leaked_prompt(case.truth) is None] == []
    assert len(changed) == 4
