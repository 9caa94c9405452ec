"""Answers that other programs wrote: told by their columns, joined by what they say, refused where they cannot be."""

from __future__ import annotations

import csv
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_of
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.config import validate_settings
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.given import GivenAnswer
from mmedpo.evaluate.joining import join_answers
from mmedpo.evaluate.reading import read_answers, read_questions
from mmedpo.evaluate.stage import evaluate, take_answers
from mmedpo.records import Evaluation, Example, ImageRef
from mmedpo.run import open_run
from mmedpo.run.layout import EXAMPLES


def example(number: int, question: str, answer: str, image: str = "", split: str = "test") -> Example:
    name = image or f"images/{number}.png"
    return Example(
        example_id=f"rad-{number}",
        dataset="rad",
        split=split,
        image=ImageRef(path=name, sha256=f"{number:064d}", width=4, height=4),
        question=question,
        answer=answer,
        answer_type="closed",
    )


DATA = [
    example(7, "Is there a mass?", "Yes"),
    example(8, "Is there a mass?", "Yes"),
    example(9, "Is there a mass?", "No"),
    example(10, "Which side?", "Left"),
    example(11, "Which side?", "Right", split="train"),
]
ASKED = [item.example_id for item in DATA if item.split == "test"]


def joined(*rows: GivenAnswer, **more: Any) -> dict[str, str]:
    return {p.example_id: p.text for p in join_answers(DATA, ASKED, rows, "m", **more).predictions}


def asking(item: Example, text: str, **changes: str) -> GivenAnswer:
    told = {"id": "", "question": item.question, "image": "", "truth": item.answer.lower(), **changes}
    return GivenAnswer(text, **told)


@pytest.mark.parametrize("prefix", ["rad-", ""])
@given_of(order=st.permutations(range(5)))
def test_ids_of_the_run_or_of_the_dataset_join_in_any_order(prefix: str, order: list[int]) -> None:
    rows = [GivenAnswer(f"a{n}", id=DATA[n].example_id.replace("rad-", prefix)) for n in order]
    assert joined(*rows) == {f"rad-{7 + n}": f"a{n}" for n in range(4)}


def test_a_prompt_may_hold_more_than_the_question_but_not_another() -> None:
    rows = [
        asking(item, "x", id=item.example_id, question=f"<image>\n{item.question} Answer briefly.") for item in DATA
    ]
    assert len(joined(*rows)) == 4
    rows[3] = rows[3]._replace(question="Is there a mass?")
    with pytest.raises(EvaluationError, match=r"1 row\(s\) ask another question .* row 3 \('rad-10'\)"):
        joined(*rows)


def test_positions_are_no_ids_where_the_rows_tell_other_questions() -> None:
    """0 .. 4 of another order would all be known ids of data that begin at 0."""
    data = [example(n, f"Question {n}?", "yes") for n in range(3)]
    rows = [asking(item, f"to {item.question}", id=str(n)) for n, item in enumerate(reversed(data))]
    found = join_answers(data, [item.example_id for item in data], rows, "m")
    assert {p.example_id: p.text for p in found.predictions} == {f"rad-{n}": f"to Question {n}?" for n in range(3)}
    assert "question and truth" in found.notes[0]


def test_without_ids_image_and_question_tell() -> None:
    rows = [asking(item, str(n), image=f"/data/{item.image.path}", truth="") for n, item in enumerate(DATA)]
    assert joined(*reversed(rows)) == {"rad-7": "0", "rad-8": "1", "rad-9": "2", "rad-10": "3"}


def test_the_prompt_of_a_row_that_names_its_image_may_hold_more_than_the_question() -> None:
    pick = " Please choose from the following two options: [yes, no]."
    longer = example(12, "Is there a mass? In the left lung?", "No", image=DATA[0].image.path)
    data, ids = [*DATA, longer], [*ASKED, "rad-12"]
    rows = [
        asking(item, item.example_id, image=item.image.path, question=f"<image>\n{item.question}{pick}")
        for item in data
    ]
    found = join_answers(data, ids, rows, "m").predictions
    assert {p.example_id: p.text for p in found} == {name: name for name in ids}


def test_without_images_question_and_truth_tell_and_equal_ones_go_in_order() -> None:
    rows = [asking(item, str(n)) for n, item in enumerate(DATA)]
    assert joined(*rows) == {"rad-7": "0", "rad-8": "1", "rad-9": "2", "rad-10": "3"}
    with pytest.raises(EvaluationError, match="another number of times in the file than in the data: 'rad-7'"):
        joined(*rows[1:])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GivenAnswer("x", id="rad-7")], r"3 question\(s\) have no answer: 'rad-8', 'rad-9', 'rad-10'"),
        ([GivenAnswer("x", id="rad-7")] * 2, r"1 question\(s\) are answered more than once: 'rad-7'"),
        (
            [
                GivenAnswer("x", id="rad-7", question="Is there a mass?"),
                GivenAnswer("x", id="rad-77", question="Which?"),
            ],
            r"1 row\(s\) have an id that the data do not: 'rad-77'",
        ),
        ([GivenAnswer("x", id="other")], "neither a question nor an id of the data: 'other'"),
        ([GivenAnswer("x", question="What?", truth="yes")], "fit no question of the data: 'What"),
    ],
)
def test_what_cannot_be_joined_is_listed(rows: list[GivenAnswer], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        joined(*rows)


@pytest.mark.parametrize("prefix", ["rad-", ""])
@pytest.mark.parametrize(("bad", "named"), [("77", "'{}77'"), ("", "row 2 (none)")])
def test_one_id_that_is_wrong_or_missing_is_named_and_not_the_whole_file(prefix: str, bad: str, named: str) -> None:
    rows = [asking(item, "x", id=item.example_id.replace("rad-", prefix)) for item in DATA]
    rows[2] = rows[2]._replace(id=bad and prefix + bad)
    with pytest.raises(
        EvaluationError, match=re.escape(f"1 row(s) have an id that the data do not: {named.format(prefix)};")
    ):
        joined(*rows)


def test_a_column_of_ids_with_a_gap_holds_whole_numbers_spelled_as_fractions(tmp_path: Path) -> None:
    """pandas makes 7 a 7.0 where another row has none; in JSON a number, in a table a text."""
    rows = [{"index": float(item.example_id[4:]), "prediction": "x", "question": item.question} for item in DATA]
    (tmp_path / "a.json").write_text(json.dumps([*rows]))
    (tmp_path / "a.tsv").write_text(
        "\n".join(["index\tprediction\tquestion", *("\t".join(map(str, row.values())) for row in rows)])
    )
    for suffix in ("json", "tsv"):
        found = join_answers(DATA, ASKED, read_answers(tmp_path / f"a.{suffix}"), "m")
        assert found.notes[0] == "answers of m: 4 joined by id"
    (tmp_path / "a.json").write_text(json.dumps([*rows[:4], {**rows[4], "index": math.nan}]))
    with pytest.raises(EvaluationError, match=r"do not: row 4 \(none\)"):
        join_answers(DATA, ASKED, read_answers(tmp_path / "a.json"), "m")


def test_a_prompt_without_id_and_image_is_told_by_its_truth_and_the_question_that_it_holds() -> None:
    rows = [
        asking(item, item.example_id, question=f"<image>\n{item.question}\nAnswer with a single word.") for item in DATA
    ]
    assert joined(*rows) == {name: name for name in ASKED}


def test_samples_of_lmms_eval_are_read_bare_in_their_log_and_in_a_results_object(tmp_path: Path) -> None:
    rows = [
        {"doc_id": n, "doc": {"qid": int(item.example_id[4:])}, "target": item.answer, "resps": [[item.example_id]]}
        for n, item in enumerate(DATA)
    ]
    wrapped = {
        "lines.jsonl": "\r\n".join(map(json.dumps, rows)),
        "log.json": json.dumps({"args": {"tasks": "x"}, "model_configs": {"metrics": [{"metric": "a"}]}, "logs": rows}),
        "results.json": "\ufeff" + json.dumps({"results": {"x": {}}, "samples": {"x": rows}}),
    }
    for name, text in wrapped.items():
        (tmp_path / name).write_text(text, newline="")
        assert joined(*read_answers(tmp_path / name)) == {one: one for one in ASKED}, name


def test_a_call_that_failed_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("index\tprediction\n7\tyes\n8\tFailed to obtain answer via API.\n")
    with pytest.raises(EvaluationError, match=r"1 of 2 rows hold no answer: row 1: the call failed"):
        read_answers(path)


def test_a_question_file_says_what_its_ids_mean(tmp_path: Path) -> None:
    lines = [
        {"question_id": 100 + n, "image": Path(item.image.path).name, "text": f"<image>\n{item.question}"}
        for n, item in enumerate(DATA)
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = [GivenAnswer(str(n), id=str(100 + n)) for n in range(5)]
    assert joined(*rows, questions=read_questions(path)) == {"rad-7": "0", "rad-8": "1", "rad-9": "2", "rad-10": "3"}
    with pytest.raises(EvaluationError, match="the question file has no id '1'"):
        joined(GivenAnswer("x", id="1"), questions=read_questions(path))


ROWS: dict[str, dict[str, Any]] = {
    "mmedpo": {"example_id": "rad-7", "model": "base", "text": " Yes. ", "finished": True},
    "llava-med": {"question_id": 7, "prompt": "Is there a mass?", "text": "Yes.", "answer_id": "b", "metadata": {}},
    "medevalkit": {"question": "Is there a mass?", "answer": "yes", "response": "Yes.", "correct": True},
    "vlmevalkit": {"index": 7, "question": "Is there a mass?", "answer": "yes", "prediction": "Yes."},
    "lmms-eval": {
        "doc_id": 0,
        "doc": {"question": "Is there a mass?", "qid": 7},
        "target": "yes",
        "resps": [["Yes. </s>"]],
        "filtered_resps": ["Yes."],
    },
}


@pytest.mark.parametrize("layout", ROWS)
def test_a_layout_is_told_by_its_columns(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROWS[layout]))
    (answer,) = read_answers(path)
    assert answer.text == "Yes."
    assert read_answers(path, layout) == [answer]
    assert answer.id in ("7", "rad-7", "")
    assert answer.question in ("Is there a mass?", "")


def test_a_model_that_says_nothing_leaves_an_empty_cell(tmp_path: Path) -> None:
    """Even in the first row, by which the layout is told."""
    (tmp_path / "a.tsv").write_text("index\tquestion\tprediction\n7\tMass?\t\n8\tMass?\tyes\n")
    assert [(answer.id, answer.text) for answer in read_answers(tmp_path / "a.tsv")] == [("7", ""), ("8", "yes")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}], "no known layout; its columns are 'a'"),
        ([ROWS["mmedpo"], {"example_id": "rad-8"}], "1 of 2 rows hold no answer: row 1: no column 'text'"),
        ([ROWS["mmedpo"], {"example_id": "rad-8", "text": ["a", "b"]}], "row 1: 'text' holds"),
        ([ROWS["mmedpo"], {"example_id": "rad-8", "text": None}], "row 1: 'text' holds None"),
        ([ROWS["mmedpo"], 3], "row 1: no object"),
    ],
)
def test_a_row_without_an_answer_is_an_error(rows: list[Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(EvaluationError, match=message):
        read_answers(path)


def test_files_of_several_programs_become_columns_of_one_comparison(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    from PIL import Image

    for n in range(4):
        Image.new("L", (8, 8), 60 * n).save(tmp_path / "images" / f"{n}.png")
    questions = [
        {"id": n, "image": f"{n}.png", "question": f"Is sign {n} there?", "answer": "yes", "split": "test"}
        for n in range(4)
    ]
    (tmp_path / "q.json").write_text(json.dumps(questions))
    data = {"dataset": "table", "root": str(tmp_path), "table": {"file": "q.json", "images": "images"}}
    recipe = {"description": "answers", "data": data, "evaluate": {"splits": ["test"], "bootstrap_samples": 100}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    lines = [{"question_id": n, "prompt": f"Is sign {n} there?", "text": "no" if n else "yes"} for n in range(4)]
    (tmp_path / "weak.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with (tmp_path / "strong.tsv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["index", "question", "answer", "prediction"])
        rows.writerows([n, f"Is sign {n} there?", "yes", "Yes, it is."] for n in range(4))
    files = ["--predictions", str(tmp_path / "weak.jsonl"), "--predictions", f"ours={tmp_path / 'strong.tsv'}"]
    files += ["--write", f"vlmevalkit={tmp_path / 'out'}", "--write", f"lmms-eval={tmp_path / 'out'}"]
    done = CliRunner().invoke(
        app, ["evaluate", *files, "--data", str(tmp_path / "recipe.yaml"), "--runs", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    for file in (tmp_path / "out/answers-weak_table.xlsx", tmp_path / "out/answers-weak_samples_table.jsonl"):
        assert [answer.text for answer in read_answers(file)] == ["yes", "no", "no", "no"]
    found = Evaluation.model_validate_json((tmp_path / "runs/answers/evaluation.json").read_text())
    (difference,) = [item for item in found.differences if item.metric == "closed_accuracy"]
    assert (difference.against, difference.model) == ("weak", "ours")
    assert (difference.before, difference.after) == (0.25, 1.0)
    assert "weak against ours" in (tmp_path / "runs/answers/report.html").read_text()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fifty_thousand_answers_take_less_than_a_minute_of_one_core(tmp_path: Path) -> None:
    """Read, joined, scored under every protocol, with baselines; 31 s of processor time on two shared cores."""
    words = ("left lower lobe", "right upper zone", "no pleural effusion is seen", "a small nodule", "normal")
    examples = [
        Example(
            example_id=f"q{n}", dataset="d", split="test", question=f"Question {n}?", answer_type="open",
            image=ImageRef(path=f"{n // 5}.png", sha256=f"{n // 5:064}", width=8, height=8), answer=words[n % 5],
        )
        if n % 2
        else Example(
            example_id=f"q{n}", dataset="d", split="test", question=f"Question {n}?", answer_type="closed",
            image=ImageRef(path=f"{n // 5}.png", sha256=f"{n // 5:064}", width=8, height=8),
            answer=("yes", "no")[n // 2 % 2], choices=("yes", "no"),
        )
        for n in range(50_000)
    ]  # fmt: skip
    lines = [
        {"question_id": e.example_id, "prompt": e.question, "text": e.answer if n % 3 else "yes, a left opacity"}
        for n, e in enumerate(examples)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    answers = {"a": {"path": str(tmp_path / "a.jsonl")}}
    settings = validate_settings({"evaluate": {"splits": ["test"], "answers": answers}}, "test")
    with open_run(tmp_path / "r", settings) as run:
        run.write(EXAMPLES, Example, examples)
        began = time.process_time()
        take_answers(run, "a")
        found = evaluate(run)
        took = time.process_time() - began
    assert found.splits[0].summaries["a"].n_items == 50_000
    assert took < 60


def test_the_run_keeps_its_name_inside_the_folder_of_runs(tmp_path: Path) -> None:
    command = ["evaluate", "--predictions", "a.json", "--data", "phantom-mmedpo", "--runs", str(tmp_path / "runs")]
    (tmp_path / "a.json").write_text("[]")
    command[2] = str(tmp_path / "a.json")
    done = CliRunner().invoke(app, [*command, "--name", "../outside"])
    assert "is no name of a folder inside" in str(done.exception)
    assert not (tmp_path / "outside").exists()


def test_neither_or_both_is_refused() -> None:
    for command in (["evaluate"], ["evaluate", "--data", "vqa-rad"], ["evaluate", "runs/x", "--predictions", "a.json"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code != 0
        assert "give a run folder, or both" in str(done.exception)
