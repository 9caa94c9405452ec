"""Language models that mark answers: blind, in both orders, and what is no mark, against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from chat.chat_server import ChatServer
from chat.scripts import Action, answer, canonical, status
from mmedpo.cli.main import app
from mmedpo.config import RunSettings, validate_settings
from mmedpo.errors import BudgetError, ConfigError, EgressError, Paused
from mmedpo.evaluate.judging import judge_answers, judge_stage
from mmedpo.evaluate.stage import evaluate
from mmedpo.records import Evaluation, Example, ImageRef, Prediction
from mmedpo.report.stored import read_stored
from mmedpo.report.summary import summary_lines
from mmedpo.run import CallOptions, Run, open_run
from mmedpo.run.layout import EXAMPLES, predictions_of
from report.finished_run import page

QUESTIONS = 12
WORTH = {"poor": 4, "good": 7, "same": 5}
"""What the judge thinks of an answer by its first word, of 10."""


def shown(body: dict[str, Any]) -> tuple[str, str]:
    """Answers A and B of a request."""
    text = body["messages"][1]["content"]
    a, b = (re.search(rf"answer_{side}>\n(.*?)\n</data", text, re.DOTALL) for side in "ab")
    assert a is not None
    assert b is not None
    return a.group(1), b.group(1)


def marks(a: int, b: int, relevance: int = 6) -> str:
    content = {"factuality_a": a, "relevance_a": relevance, "factuality_b": b, "relevance_b": relevance}
    return json.dumps({"reason": f"A {a}, B {b}", **content})


def leaning(bias: int) -> Callable[[dict[str, Any], int], Action]:
    """A judge that knows the worth of an answer, and gives whatever stands first `bias` more."""

    def script(body: dict[str, Any], number: int) -> Action:
        a, b = (WORTH[text.split()[0]] for text in shown(body))
        return answer(marks(a + bias, b), usage=(100, 10), model=f"{body['model']}@1")

    return script


def settings(urls: dict[str, str], **changes: Any) -> RunSettings:
    endpoint = {"longest_wait": 0.01, "timeout": 10, **changes.pop("endpoint", {})}
    endpoints = {name: {"model": name, "base_url": url, **endpoint} for name, url in urls.items()}
    evaluate = {
        "splits": ["test"],
        "judges": [f"chat:{name}" for name in urls],
        "bootstrap_samples": 200,
        "probes": {"attention": None, "lesion-reliance": None},
    }
    return validate_settings(
        {"chat": {"endpoints": endpoints, **changes.pop("chat", {})}, "evaluate": evaluate, **changes}, "test"
    )


def answered(
    path: Path, chosen: RunSettings, base: list[str], tuned: list[str], data_use: str = "open", **calls: Any
) -> Run:
    """A run folder with the answers of both models, ready to be judged."""
    with open_run(path, chosen) as run:
        examples = [
            Example(
                example_id=f"q{number:02}",
                dataset="phantom",
                split="test",
                image=ImageRef(path=f"{number}.png", sha256=f"{number:064}", width=8, height=8),
                question=f"What is seen in image {number}?",
                answer=f"finding {number}",
                answer_type="open",
            )
            for number in range(len(base))
        ]
        run.write(EXAMPLES, Example, examples)
        for model, texts in (("base", base), ("tuned", tuned)):
            rows = [
                Prediction(example_id=e.example_id, model=model, text=t) for e, t in zip(examples, texts, strict=True)
            ]
            run.write(predictions_of(model), Prediction, rows)
        run.file("data.json").write_text(json.dumps({"data_use": data_use}))
        run.stage = judge_stage(chosen)
        run.work_folder.mkdir(parents=True, exist_ok=True)
        run.calls = CallOptions(**calls)
        return run


def poor_and_good(path: Path, chosen: RunSettings, data_use: str = "open", **calls: Any) -> Run:
    texts = [[f"{word} answer {number}" for number in range(QUESTIONS)] for word in ("poor", "good")]
    return answered(path, chosen, *texts, data_use, **calls)


def evaluated(run: Run) -> Evaluation:
    run.stage = None
    return evaluate(run)


def test_what_stands_first_wins_nothing(tmp_path: Path) -> None:
    """A judge that gives A two marks more: 4 + 2 and 7, then 7 + 2 and 4; the means differ by what the worths do."""
    with ChatServer(leaning(2)) as server:
        rows = judge_answers(poor_and_good(tmp_path / "r", settings({"med": server.url})))
    assert len(server.requests) == 2 * QUESTIONS
    for row in rows:
        assert row.before == {"factuality": pytest.approx(0.5), "clinical relevance": pytest.approx(0.6)}
        assert row.after == {"factuality": pytest.approx(0.8), "clinical relevance": pytest.approx(0.6)}
        assert (row.judge, row.served, row.calls, row.turned) == ("chat:med", "med@1", 2, False)
        assert (row.input_tokens, row.output_tokens) == (200, 20)
        assert row.reason == "A 6, B 7"


def test_the_judge_is_not_told_whose_an_answer_is(tmp_path: Path) -> None:
    with ChatServer(leaning(0)) as server:
        judge_answers(poor_and_good(tmp_path / "r", settings({"med": server.url})))
    first = [shown(body)[0].split()[0] for body in server.requests]
    assert sorted(first) == ["good"] * QUESTIONS + ["poor"] * QUESTIONS
    assert not any(name in canonical(body) for body in server.requests for name in ("base", "tuned"))


def test_answers_alike_take_one_call_and_differ_by_nothing(tmp_path: Path) -> None:
    texts = [f"same answer {number}" for number in range(QUESTIONS)]
    with ChatServer(leaning(3)) as server:
        run = answered(tmp_path / "r", settings({"med": server.url}), texts, texts)
        rows = judge_answers(run)
        (found,) = evaluated(run).judged
    assert len(server.requests) == QUESTIONS
    assert all(row.before == row.after for row in rows)
    assert {(item.difference, item.low, item.high) for item in found.differences} == {(0.0, 0.0, 0.0)}
    # It prefers the first of two answers that are the same, and that is told.
    assert found.turned == QUESTIONS


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer("A is better."), "unparsable"),
        (answer(marks(11, 3)), "unparsable"),
        (answer(marks(7, -1)), "unparsable"),
        (answer(marks(7, 3).replace("7", "NaN")), "unparsable"),
        (answer('{"reason": "x", "factuality_a": 3}'), "unparsable"),
        (answer(marks(7, 3) + marks(3, 7)), "unparsable"),
        (answer(marks(7, 3), finish="length"), "cut"),
        (answer(None, refusal="I will not."), "refused"),
        (status(400), "failed: HTTP 400 (scripted)"),
    ],
)
def test_what_cannot_be_read_in_one_order_is_unscored_with_its_reason(
    tmp_path: Path, reply: Action, reason: str
) -> None:
    """The reply is bad for question 3 alone, and only where the tuned model's answer comes first."""

    def script(body: dict[str, Any], number: int) -> Action:
        return reply if shown(body)[0] == "good answer 3" else leaning(0)(body, number)

    with ChatServer(script) as server:
        run = poor_and_good(tmp_path / "r", settings({"med": server.url}, endpoint={"attempts": 1}))
        rows = judge_answers(run)
        evaluation = evaluated(run)
    bad = {row.example_id: row.unscored for row in rows if row.unscored}
    assert bad == {"q03": reason}
    assert all(not row.after and not row.before for row in rows if row.unscored)
    (found,) = evaluation.judged
    assert (found.questions, found.unscored) == (QUESTIONS, {reason: 1})
    by_name = {item.metric: item for item in found.differences}
    assert by_name["factuality"].questions == QUESTIONS - 1
    assert by_name["factuality"].difference == pytest.approx(0.3)


def test_two_judges_in_table_terminal_and_report(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Action:
        return answer("no idea") if body["model"] == "mute" else leaning(2)(body, number)

    with ChatServer(script) as server:
        run = poor_and_good(tmp_path / "r", settings({"med": server.url, "mute": server.url}))
        judge_answers(run)
        evaluation = evaluated(run)
    heard, mute = evaluation.judged
    assert (heard.judge, heard.served, heard.unscored) == ("chat:med", ("med@1",), {})
    assert [item.metric for item in heard.differences] == ["factuality", "clinical relevance"]
    factual, relevant = heard.differences
    assert (factual.before, factual.after) == (pytest.approx(0.5), pytest.approx(0.8))
    assert (factual.low, factual.high, factual.images) == (pytest.approx(0.3), pytest.approx(0.3), QUESTIONS)
    # Holm over both criteria: twice the smaller p, and the other as it is.
    assert factual.p_adjusted == pytest.approx(min(1, 2 * factual.p_value))
    assert relevant.p_adjusted == relevant.p_value == 1.0
    assert (mute.differences, mute.unscored) == ((), {"unparsable": QUESTIONS})
    told = summary_lines(evaluation)
    assert max(map(len, told)) <= 80
    assert any(line.split()[:4] == ["factuality", "12", "50.0", "80.0"] for line in told)
    assert told[told.index("test: base against tuned by chat:mute, of 100, 12 of 12 unscored") + 1].strip() == (
        "not computed"
    )
    words = page(run)
    assert "Answers judged by language models" in words
    assert "factuality 12 50.0 80.0 +30.0 +30.0 to +30.0" in words
    assert "0 of 12 preferences turned with the order" in words
    assert "12 × unparsable" in words
    assert "not computed no question has marks" in words


def test_the_answers_that_lost_most_are_shown_with_the_judges_words(tmp_path: Path) -> None:
    base = [f"good answer {number}" for number in range(QUESTIONS)]
    tuned = [f"{'poor' if number == 5 else 'good'} answer {number}!" for number in range(QUESTIONS)]
    with ChatServer(leaning(0)) as server:
        run = answered(tmp_path / "r", settings({"med": server.url}), base, tuned)
        judge_answers(run)
        evaluated(run)
    words = page(run)
    shown = words[words.index("Answers that lost most by chat:med") :]
    assert "What is seen in image 5? truth finding 5 A, base good answer 5 B, tuned poor answer 5! judge A 7, B 4" in (
        shown
    )
    assert "15.0 marks of 100 lost" in shown
    assert "A, base good answer 4" not in shown


def test_a_run_without_judges_says_nothing_of_them(tmp_path: Path) -> None:
    run = poor_and_good(tmp_path / "r", settings({}))
    evaluation = evaluated(run)
    assert evaluation.judged == ()
    assert "judged by language models" not in page(run)
    assert read_stored(run).judged == []
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_rerun_asks_nothing_that_was_answered(tmp_path: Path) -> None:
    with ChatServer(leaning(1)) as server:
        chosen = settings({"med": server.url})
        first = judge_answers(poor_and_good(tmp_path / "r", chosen))
        again = poor_and_good(tmp_path / "r", chosen)
        for part in again.work_folder.iterdir():
            part.unlink()
        assert judge_answers(again) == first
    assert set(server.paid.values()) == {1}


def test_an_estimate_counts_both_orders_and_sends_nothing(tmp_path: Path) -> None:
    lines: list[str] = []

    class Lines:
        def message(self, text: str) -> None:
            lines.append(text)

        def track(self, label: str) -> Callable[[int, int], None]:
            return lambda done, total: None

    texts = [f"same answer {number}" for number in range(4)]
    prices = {"usd_per_million_input": 2.5, "usd_per_million_output": 10.0}
    with ChatServer(leaning(0)) as server:
        chosen = settings({"med": server.url}, endpoint=prices, chat={"retries": 0})
        other = [*texts[:1], *(f"good answer {number}" for number in range(3))]
        run = answered(tmp_path / "r", chosen, texts, other, estimate_only=True)
        run.reporter = Lines()
        with pytest.raises(Paused, match="nothing was sent"):
            judge_answers(run)
    assert server.requests == []
    # One question with answers alike, three with both orders; a reply may be mended once.
    assert lines[0].startswith("[judge-answers] med: 7 to 14 calls, about ")
    assert "$" in lines[0]


def test_a_budget_too_small_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with ChatServer(leaning(0)) as server:
        run = poor_and_good(tmp_path / "r", settings({"med": server.url}, chat={"max_calls": 23}))
        with pytest.raises(BudgetError, match="at least 24 calls are needed and 23"):
            judge_answers(run)
    assert server.requests == []


def test_restricted_answers_stay_in_the_building(tmp_path: Path) -> None:
    run = poor_and_good(tmp_path / "r", settings({"med": "https://api.example.com/v1"}), data_use="restricted")
    with pytest.raises(EgressError, match="so nothing was sent"):
        judge_answers(run)


def test_both_orders_go_into_the_batch_file(tmp_path: Path) -> None:
    chosen = settings({"med": "http://127.0.0.1:9/v1"})
    with pytest.raises(Paused, match=f"{2 * QUESTIONS} requests for {QUESTIONS} items"):
        judge_answers(poor_and_good(tmp_path / "r", chosen, batch_out=tmp_path / "out"))
    (file,) = (tmp_path / "out").glob("*.jsonl")
    results = tmp_path / "results.jsonl"
    results.write_text("".join(_answered(line) for line in file.read_text().splitlines()))
    rows = judge_answers(poor_and_good(tmp_path / "r", chosen, batch_in=results))
    assert {row.after["factuality"] for row in rows} == {0.7}


def test_files_of_answers_are_judged_from_the_command_line(tmp_path: Path) -> None:
    for n in range(3):
        Image.new("L", (8, 8), 60 * n).save(tmp_path / f"{n}.png")
    asked = [{"id": n, "image": f"{n}.png", "question": f"Sign {n}?", "answer": "x", "split": "test"} for n in range(3)]
    (tmp_path / "q.json").write_text(json.dumps(asked))
    for word in ("poor", "good"):
        lines = [{"question_id": n, "prompt": f"Sign {n}?", "text": f"{word} answer {n}"} for n in range(3)]
        (tmp_path / f"{word}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe = {
        "data": {"dataset": "table", "root": str(tmp_path), "table": {"file": "q.json", "images": "."}},
        "evaluate": {"splits": ["test"], "bootstrap_samples": 100, "judges": ["chat:med"]},
    }
    files = [item for word in ("poor", "good") for item in ("--predictions", str(tmp_path / f"{word}.jsonl"))]
    command = ["evaluate", *files, "--data", str(tmp_path / "r.yaml"), "--runs", str(tmp_path / "runs")]
    with ChatServer(leaning(0)) as server:
        recipe["chat"] = {"endpoints": {"med": {"model": "m", "base_url": server.url}}}
        (tmp_path / "r.yaml").write_text(json.dumps(recipe))
        stopped = CliRunner().invoke(app, [*command, "--estimate"])
        assert isinstance(stopped.exception, Paused)
        assert server.requests == []
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert len(server.requests) == 6
        # Again from the run folder: judged already, so that nobody is asked.
        again = CliRunner().invoke(app, ["evaluate", str(tmp_path / "runs/answers")])
        assert again.exit_code == 0, again.exception
        assert len(server.requests) == 6
    found = Evaluation.model_validate_json((tmp_path / "runs/answers/evaluation.json").read_text())
    (judged,) = found.judged
    assert (judged.against, judged.model, judged.differences[0].difference) == ("poor", "good", pytest.approx(0.3))
    assert "test: poor against good by chat:med, of 100" in done.output


def _answered(line: str) -> str:
    entry = json.loads(line)
    reply = leaning(0)(entry["body"], 0).reply
    assert reply is not None
    response = {"status_code": 200, "request_id": "r", "body": json.loads(reply.partition(b"\r\n\r\n")[2])}
    return json.dumps({"id": "b", "custom_id": entry["custom_id"], "response": response, "error": None}) + "\n"


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"judges": ["chat:med", "chat"]}, "chat:NAME"),
        ({"judges": ["chat:nobody"]}, "'nobody' is not among chat.endpoints"),
        ({"judges": ["rubric:med"]}, "unknown answer-judge"),
        ({"judges": ["chat:med", "chat:med"]}, "stands twice"),
        ({"judges": ["chat:med"], "answers": {"a": {"path": "a.jsonl"}}}, "evaluate.judges has no effect"),
    ],
)
def test_judges_that_cannot_work_are_one_clear_line(evaluate: dict[str, Any], said: str) -> None:
    chat = {"endpoints": {"med": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}}
    with pytest.raises(ConfigError, match=said) as caught:
        validate_settings({"chat": chat, "evaluate": evaluate}, "test")
    assert "\n" not in str(caught.value)
