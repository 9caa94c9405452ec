"""What a reader learns of the judges and agents of a run, and of what they took."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmedpo.records import Turn, Verdict
from mmedpo.report.gather import report_content, write_report
from mmedpo.report.panel import call_costs, judges, most_frequent, panel
from mmedpo.report.stored import Stored, read_stored
from mmedpo.run import Run
from report.finished_run import full_run, page
from report.spoken_run import HOSTILE, chat_run
from report.test_render import Page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return chat_run(tmp_path_factory.mktemp("runs") / "spoken")


@pytest.fixture(scope="module")
def stored(run: Run) -> Stored:
    return read_stored(run)


def counted(reasons) -> list[tuple[str, int]]:
    return [(item.reason, item.count) for item in reasons]


def test_each_agent_has_its_turns_abstentions_and_effort(stored: Stored) -> None:
    told = panel(stored)
    assert told is not None
    med42, biomistral = told.agents
    assert (med42.agent, counted(med42.models)) == ("chat:med42", [("m42-health/Llama3-Med42-8B", 15)])
    # Turns: q0 1, q1 2, q2 5, q3 2, q4 5. Agreed: q1 and q3 once each. Refused: q1 once, q4 five times.
    assert (med42.turns, med42.rescored, med42.agreed, med42.abstained) == (15, 7, 2, 6)
    assert counted(med42.abstentions) == [("refused", 6)]
    # One call a turn, two for a refusal: 15 + 6 calls of 400 and 30 tokens over five debates.
    assert (med42.per_debate.calls, med42.per_debate.input_tokens, med42.per_debate.output_tokens) == (4.2, 1680, 126)
    assert (biomistral.turns, biomistral.rescored, biomistral.agreed, biomistral.abstained) == (14, 6, 2, 6)
    assert counted(biomistral.abstentions) == [("failed: HTTP 500, 8 times", 5), ("unparsable", 1)]
    assert counted(biomistral.models) == [("BioMistral-7B#b4521", 9)], "five turns got no answer from any model"
    assert biomistral.per_debate.calls == 2.0
    assert (told.together.calls, told.together.input_tokens) == (6.2, 2480)


def test_endings_of_debates_are_counted_each_once(stored: Stored) -> None:
    told = panel(stored)
    assert told is not None
    assert (told.debates, told.consensus, told.means) == (5, ((1, 1), (2, 2)), 1)
    assert counted(told.unscored) == [("every agent abstained", 1)], "the reason of a dropped pair lies in its drop"
    assert sum(number for _, number in told.consensus) + told.means + 1 == told.debates


def test_the_table_is_the_same_whoever_paid(stored: Stored) -> None:
    unpaid = dataclasses.replace(stored, costs=[])
    assert panel(unpaid) == panel(stored)
    assert call_costs(unpaid) == ((), "Every answer came from the cache: this run paid for no call.")


def test_the_judge_is_told_by_outcome_reason_and_effort(stored: Stored) -> None:
    (row,) = judges(list(stored.verdicts.values()))
    assert (row.judge, counted(row.models)) == ("chat:gpt", [("gpt-4o-2024-08-06#fp_1", 6)])
    assert (row.questions, row.picked, row.injected, row.dropped) == (6, 4, 1, 1)
    assert counted(row.reasons) == [("same-polarity", 1)]
    # 4 + 2 + 3 calls over six questions.
    assert (row.per_question.calls, row.per_question.input_tokens, row.per_question.output_tokens) == (1.5, 1350, 90)


def test_a_preferred_candidate_is_counted() -> None:
    verdicts = [
        Verdict(example_id=f"q{n}", judge="chat:critic", outcome="picked", rejected="no", chosen="yes" if n else "")
        for n in range(3)
    ]
    assert judges(verdicts)[0].own_chosen == 2


def test_rare_reasons_are_counted_together() -> None:
    from collections import Counter

    assert counted(most_frequent(Counter(a=5, b=4, c=3, d=2, e=1), most=4)) == [
        ("a", 5), ("b", 4), ("c", 3), ("other reasons", 3)
    ]  # fmt: skip
    assert counted(most_frequent(Counter(a=1, b=2), most=2)) == [("b", 2), ("a", 1)]


def test_costs_come_from_the_run_or_from_a_shared_cache(stored: Stored, tmp_path: Path) -> None:
    costs, note = call_costs(stored)
    assert [(row.endpoint, row.calls, row.attempts, row.usd) for row in costs] == [
        ("biomistral", 10, 10, None), ("gpt", 9, 9, pytest.approx(0.027)), ("med42", 21, 23, None)
    ]  # fmt: skip
    assert "a provider may have billed them" in note
    shared = chat_run(tmp_path / "spoken", cache=tmp_path / "shared.sqlite")
    assert not shared.file("calls.sqlite").exists()
    assert call_costs(read_stored(shared)) == (costs, note)


def test_a_report_leaves_the_cache_alone(tmp_path: Path) -> None:
    run = chat_run(tmp_path / "spoken")
    before = run.file("calls.sqlite").read_bytes()
    write_report(run)
    assert run.file("calls.sqlite").read_bytes() == before
    assert [path.name for path in run.path.glob("calls*")] == ["calls.sqlite"]


def test_a_run_without_its_cache_has_no_costs_and_makes_no_file(tmp_path: Path) -> None:
    run = chat_run(tmp_path / "spoken")
    run.file("calls.sqlite").unlink()
    assert report_content(run).parts["calls"].costs == ()
    assert not run.file("calls.sqlite").exists()


def test_the_page_shows_tables_and_the_reply_behind_every_turn(run: Run) -> None:
    text = page(run)
    assert "chat:med42 m42-health/Llama3-Med42-8B 15 7 2 6 6 × refused 4.20 1,680 126" in text
    assert "together 29 13 4 12 6.20 2,480 186" in text
    assert "chat:gpt gpt-4o-2024-08-06#fp_1 6 4 1 1 1 × same-polarity 1.50 1,350 90" in text
    assert "Consensus in round 2 2 Mean of the scores, no consensus 1 Unscored 1 1 × every agent abstained" in text
    assert "gpt 9 9 0 8,100 540 0 $0.0270" in text
    assert (
        'unparsable reply as received </pre></details><script>alert(1)</script><img src=x onerror="alert(2)">' in text
    )
    assert "unscored: every agent abstained (shown as the longest)" in text
    assert "mean conflict" not in text, "this judge measures none"


def test_markup_in_replies_is_text_and_nothing_else(run: Run) -> None:
    parsed = Page(write_report(run).read_text())
    assert parsed.errors == []
    assert HOSTILE in "".join(parsed.words)
    assert parsed.all("script") == []
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]
    assert not [image for image in parsed.all("img") if not image["src"].startswith("data:image/")]
    assert parsed.all("b") == [{}] * len(parsed.all("b")), "only the page's own"
    assert "<b>grave</b>" in "".join(parsed.words)


def test_rules_have_no_models_calls_tokens_or_costs(tmp_path: Path) -> None:
    run = full_run(tmp_path / "rules")
    text = page(run)
    for absent in (
        "model as served",
        "calls and tokens",
        "tokens in",
        "reply as received",
        "Calls and cost",
        "US dollars",
    ):
        assert absent not in text
    assert "agent turns scored anew agreed abstained radiologist" in text
    assert "contradiction 6 4 1 1 1 × dropped for q5" in text


def test_agents_that_never_abstain_have_no_column_for_it(tmp_path: Path) -> None:
    run = full_run(tmp_path / "rules")
    run.write("debates.parquet", Turn, [turn for turn in run.read("debates.parquet", Turn) if turn.score is not None])
    assert "agent turns scored anew agreed radiologist" in page(run)
