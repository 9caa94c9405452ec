"""Files written for other programs say the same answers when they are read back, and nothing else."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.errors import ConfigError, EvaluationError
from mmedpo.evaluate.given import AnsweredQuestion, AnswerFormat, ModelAnswers, file_name
from mmedpo.evaluate.joining import join_answers
from mmedpo.evaluate.reading import read_answers
from mmedpo.evaluate.writing import writing
from mmedpo.records import Example, ImageRef, Prediction
from mmedpo.registry import lookup
from mmedpo.storage.bounds import LONGEST_ROW
from mmedpo.storage.workbook_writing import LONGEST_CELL

WRITTEN = ("vlmevalkit", "lmms-eval", "inspect-ai")


def answered(texts: Sequence[tuple[str, str]]) -> ModelAnswers:
    """Questions and answers; every question on an image of its own."""
    items = []
    for number, (question, text) in enumerate(texts):
        example = Example(
            example_id=f"rad-{number}",
            dataset="rad",
            split="test",
            image=ImageRef(path=f"images/{number}.png", sha256=f"{number:064d}", width=4, height=4),
            question=question,
            answer="yes",
            answer_type="closed",
        )
        answer = Prediction(example_id=example.example_id, model="tuned", text=text)
        items.append(AnsweredQuestion(example, answer, {"closed_accuracy": number % 2}))
    return ModelAnswers("night run-tuned", "rad", "strict", "2026-03-14T09:12:00+00:00", items)


def layout(name: str) -> AnswerFormat:
    found: AnswerFormat = lookup("answer-format", name)()
    return found


def read_back(name: str, own: ModelAnswers, folder: Path) -> dict[str, str]:
    path = layout(name).write(own, folder)
    examples = [item.example for item in own.answers]
    given = read_answers(path)
    joined = join_answers(examples, [example.example_id for example in examples], given, "m")
    assert joined.notes == [f"answers of m: {len(examples)} joined by id"]
    return {prediction.example_id: prediction.text for prediction in joined.predictions}


WILD = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(
        st.sampled_from(["=1+1", "_x000D_", "_x", "\r\n", "\x0b", "\ufffe", "007", "TRUE", "<", "&amp;", " ", "[]"])
    ).map("".join),
).map(str.strip)


@pytest.mark.parametrize("name", WRITTEN)
@given(texts=st.lists(st.tuples(WILD, WILD), min_size=1, max_size=6))
def test_what_is_written_is_read_back(name: str, texts: list[tuple[str, str]]) -> None:
    own = answered(texts)
    with TemporaryDirectory() as folder:
        found = read_back(name, own, Path(folder))
    assert found == {item.example.example_id: item.answer.text for item in own.answers}


@pytest.mark.parametrize("name", WRITTEN)
def test_equal_answers_are_equal_bytes_and_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    own = answered([("Is it?", "yes")])._replace(model="../../x", dataset="a/b")
    first = layout(name).write(own, tmp_path / "a")
    second = layout(name).write(own, tmp_path / "b")
    assert first.parent == tmp_path / "a"
    assert first.read_bytes() == second.read_bytes()
    assert not file_name("..", "/").startswith((".", "/"))


def test_a_sheet_refuses_what_excel_would_not_open(tmp_path: Path) -> None:
    longest = answered([("Is it?", "😀" * (LONGEST_CELL // 2))])
    assert read_back("vlmevalkit", longest, tmp_path)["rad-0"] == longest.answers[0].answer.text
    with pytest.raises(EvaluationError, match="a cell of a workbook holds 32,767 characters") as told:
        layout("vlmevalkit").write(answered([("Is it?", "x" * (LONGEST_CELL + 1))]), tmp_path / "b")
    assert len(str(told.value)) < 300
    assert list((tmp_path / "b").iterdir()) == []


def test_a_log_says_means_and_what_was_not_scored(tmp_path: Path) -> None:
    own = answered([("A?", "yes"), ("B?", "no"), ("C?", "no")])
    own = own._replace(answers=[*own.answers[:2], own.answers[2]._replace(values={})])
    with zipfile.ZipFile(layout("inspect-ai").write(own, tmp_path)) as archive:
        parts = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    (score,) = parts["header.json"]["results"]["scores"]
    assert (score["scored_samples"], score["unscored_samples"]) == (2, 1)
    assert score["metrics"]["mean"]["value"] == 0.5
    assert [sample["scores"] for sample in parts["summaries.json"]][2] == {}
    assert parts["samples/rad-2_epoch_1.json"]["scores"] == {}
    assert parts["_journal/start.json"]["eval"] == parts["header.json"]["eval"]


def test_logs_of_the_program_itself_are_read_and_errors_are_no_answers(tmp_path: Path) -> None:
    """Messages of several parts as input, and other lists beside the samples."""
    parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Is it?"}]
    sample = {
        "id": 7,
        "epoch": 1,
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}],
        "target": "yes",
        "output": {"completion": "Yes."},
    }
    log = {"version": 2, "eval": {}, "reductions": [{"scorer": "a", "samples": []}], "samples": [sample]}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    (answer,) = read_answers(path)
    assert (answer.id, answer.question, answer.truth, answer.text) == ("7", "Is it?", "yes", "Yes.")
    path.write_text(json.dumps({**log, "samples": [sample, {**sample, "id": 8, "error": {"message": "out"}}]}))
    with pytest.raises(EvaluationError, match="1 of 2 rows hold no answer: row 1: the sample ended in an error"):
        read_answers(path)


def test_an_id_that_is_a_way_out_names_no_part_of_the_archive(tmp_path: Path) -> None:
    own = answered([("A?", "yes"), ("B?", "no")])
    first = own.answers[0]
    bad = first._replace(example=first.example.model_copy(update={"example_id": "../../rad-0"}))
    path = layout("inspect-ai").write(own._replace(answers=[bad, own.answers[1]]), tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert not any(".." in name for name in archive.namelist())
    assert [answer.id for answer in read_answers(path)] == ["../../rad-0", "rad-1"]


def test_an_archive_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.EVAL"
    for content, message in ((b"", "is no readable archive"), (b"PK\x03\x04 and no more", "is no readable archive")):
        path.write_bytes(content)
        with pytest.raises(EvaluationError, match=message) as told:
            read_answers(path)
        assert "inspect log convert --to json" in str(told.value)
    for method, message in ((zipfile.ZIP_BZIP2, "zip method 12, which is not read"), (None, "holds no row")):
        with zipfile.ZipFile(path, "w", method or zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("samples/1_epoch_1.json" if method else "header.json", "{}")
        with pytest.raises(EvaluationError, match=message):
            read_answers(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1_epoch_1.json", b" " * (LONGEST_ROW + 1))
    with pytest.raises(EvaluationError, match="more than 67,108,864"):
        read_answers(path)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["lmms-eval"], "give LAYOUT=FOLDER"),
        (["lmms-eval=a", "lmms-eval=b"], "every layout once"),
        (["medevalkit=a"], "read, not written; written are inspect-ai, lmms-eval, vlmevalkit"),
        (["lmms=a"], "did you mean 'lmms-eval'"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_done(targets: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        writing(targets)
