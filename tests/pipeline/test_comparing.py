"""Several runs on one page: only what all of them asked, the worse cases first, every name whole."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.config import RunSettings, dump_settings
from mmedpo.errors import ConfigError
from mmedpo.evaluate.comparison import compare_judged
from mmedpo.pipeline.comparing import compare_runs
from mmedpo.pipeline.comparison_page import different_settings
from mmedpo.records import Evaluation, Example, ItemScore, JudgedAnswers, Prediction
from mmedpo.report import render
from mmedpo.report.summary import comparison_lines
from mmedpo.run import Run
from mmedpo.run.layout import JUDGED, RESOLVED
from mmedpo.storage.json_file import read_json
from report.finished_run import empty_run, evaluation, example, write_predictions

BASE = ["no"] * 4 + ["yes"] * 8


def run_of(path: Path, tuned: list[str], base: list[str] = BASE, beta: float = 0.1, protocol: str = "strict") -> Run:
    """Twelve closed questions, each on its image, whose truth is yes; answers as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = RunSettings.model_validate({"train": {"beta": beta}, "evaluate": {"protocol": protocol}})
    run = empty_run(path, settings)
    tests = [example(run, number, "test-balanced") for number in range(10, 22)]
    run.write("examples.parquet", Example, tests)
    run.file("evaluation.json").write_text(evaluation(with_reliance=False).model_dump_json())
    write_predictions(run, tests, base, tuned)
    run.save_manifest()
    (path / RESOLVED).write_text(dump_settings(settings))
    return run


def change(run: Run, name: str, **update: object) -> None:
    rows = run.read("examples.parquet", Example)
    run.write("examples.parquet", Example, [e.model_copy(update=update) if e.example_id == name else e for e in rows])
    if "split" in update:
        scores = run.read("scores.parquet", ItemScore)
        moved = [s.model_copy(update={"split": update["split"]}) if s.example_id == name else s for s in scores]
        run.write("scores.parquet", ItemScore, moved)


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


@pytest.fixture
def two(tmp_path: Path) -> tuple[Run, Run]:
    """The first is right on all but q20; the second loses q10 to q12 and q21, and gains q20."""
    first = run_of(tmp_path / "first", ["yes"] * 10 + ["no", "yes"])
    second = run_of(tmp_path / "second", ["no"] * 3 + ["yes"] * 8 + ["no"], beta=0.2)
    return first, second


def test_means_and_paired_differences_are_those_of_the_answers(two: tuple[Run, Run]) -> None:
    found = compare_runs([run.path for run in two]).evaluation
    assert found.models == ("first", "second", "base")
    (scores,) = found.splits
    means = {name: summary.metrics["closed_accuracy"].mean for name, summary in scores.summaries.items()}
    assert means == {"first": 11 / 12, "second": 8 / 12, "base": 8 / 12}
    second = found.differences[0]
    assert (second.model, second.against, second.questions, second.images) == ("second", "first", 12, 12)
    assert second.difference == pytest.approx(-3 / 12)
    assert second.low < -3 / 12 < second.high
    # Holm over both comparisons of the table.
    p_values = sorted(item.p_value for item in found.differences)
    assert min(item.p_adjusted for item in found.differences) == pytest.approx(min(1.0, 2 * p_values[0]))


def test_the_page_shows_settings_costs_and_the_worse_cases_first(two: tuple[Run, Run]) -> None:
    content = compare_runs([run.path for run in two]).content
    (pair, _) = content.parts["changed"].pairs  # type: ignore[attr-defined]
    assert [sample.example_id for sample in pair.worse] == ["q10", "q11", "q12", "q21"]
    assert [sample.example_id for sample in pair.better] == ["q20"]
    assert [(answer.model, answer.right) for answer in pair.worse[0].answers] == [("first", True), ("second", False)]
    page = render(content)
    text = words(page)
    assert "train.beta 0.1 0.2" in text
    assert "second scores lower than first on 4, higher on 1 and the same on 7" in text
    assert text.index("Worse") < text.index("Better")
    assert "2 min 24 s" in text or "144" in text
    assert "src=" not in page.replace('src="data:', "")


def marked(run: Run, tuned: list[float], served: str = "med42@1", base: float = 0.5) -> None:
    """A judge's marks of the first questions: those of tuned as given, those of base all alike."""
    rows = [
        JudgedAnswers(
            example_id=f"q{number}", judge="chat:med42", model="tuned", against="base", served=served,
            before={"factuality": base}, after={"factuality": mark},
        )
        for number, mark in enumerate(tuned, start=10)
    ]  # fmt: skip
    run.write(JUDGED, JudgedAnswers, rows)
    of_run = read_json(run.file("evaluation.json"), Evaluation)
    found = compare_judged(rows, "test-balanced", {row.example_id: row.example_id for row in rows}, 100)
    run.file("evaluation.json").write_text(of_run.model_copy(update={"judged": found}).model_dump_json())


def test_marks_of_language_models_are_compared_on_what_both_runs_were_marked_on(two: tuple[Run, Run]) -> None:
    """The first gains 0.3 over its base, the second 0.1 on three of four questions and 0.5 on the last of them."""
    first, second = two
    marked(first, [0.8, 0.8, 0.8, 0.8, 0.2])
    marked(second, [0.6, 0.6, 0.6, 1.0])
    found = compare_runs([first.path, second.path])
    told = {(item.model, item.against): item.differences[0] for item in found.evaluation.judged}
    assert told.keys() == {("first", "base"), ("second", "base"), ("second", "first")}
    assert told["first", "base"].difference == pytest.approx((4 * 0.3 - 0.3) / 5)
    between = told["second", "first"]
    assert (between.before, between.after, between.questions) == (pytest.approx(0.8), pytest.approx(0.7), 4)
    assert between.difference == pytest.approx(-0.1)
    assert between.low < -0.1 < between.high
    text = words(render(found.content))
    assert "chat:med42, second minus first" in text
    assert "Runs are compared by the marks that their answers got" in text
    assert any("first against second by chat:med42" in line for line in comparison_lines(found.evaluation))


def test_judges_that_were_other_models_are_not_compared_and_that_is_told(two: tuple[Run, Run]) -> None:
    first, second = two
    marked(first, [0.8] * 4)
    marked(second, [0.6] * 4, served="med42@2")
    found = compare_runs([first.path, second.path])
    assert {(item.model, item.against) for item in found.evaluation.judged} == {("first", "base"), ("second", "base")}
    notes = found.content.parts["compared"].notes  # type: ignore[attr-defined]
    assert any("chat:med42 was not one model in first and second (med42@1, med42@2)" in note for note in notes)


def test_a_base_that_differs_is_a_column_of_its_own(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "a", BASE), run_of(tmp_path / "b", BASE, base=["yes"] * 12)]
    assert compare_runs([run.path for run in runs]).evaluation.models == ("a", "b", "a base", "b base")


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "x" / "run", BASE), run_of(tmp_path / "y" / "run", BASE)]
    assert compare_runs([run.path for run in runs]).evaluation.models == ("x/run", "y/run", "base")


def test_only_what_all_runs_ask_alike_counts_and_the_rest_is_told(two: tuple[Run, Run]) -> None:
    first, second = two
    change(second, "q10", answer="no")
    change(second, "q11", split="test")
    for table, kind in (("scores.parquet", ItemScore), ("predictions/tuned.parquet", Prediction)):
        rows = first.read(table, kind)
        first.write(
            table, kind, [row for row in rows if row.example_id != "q12" or getattr(row, "model", "") == "base"]
        )
    found = compare_runs([first.path, second.path])
    assert found.evaluation.differences[0].questions == 9
    notes = found.content.parts["compared"].notes  # type: ignore[attr-defined]
    assert notes == (
        "Questions that all runs ask: test-balanced 9.",
        "1 question(s) differ in text, truth, kind or images under the same id; they are left out.",
        "1 question(s) lie in different splits; they are left out.",
        "1 question(s) of second are not asked in every run; they are left out.",
    )


def test_what_cannot_be_compared_is_refused_in_one_line(two: tuple[Run, Run], tmp_path: Path) -> None:
    first, second = two
    for folders in ([first.path], [first.path, first.path / ".." / "first"]):
        with pytest.raises(ConfigError, match="give two or more, each once"):
            compare_runs(folders)
    other = run_of(tmp_path / "other", BASE, protocol="released")
    with pytest.raises(
        ConfigError, match="protocol 'released' of other has no scores in other, first; common are: strict"
    ):
        compare_runs([other.path, first.path])
    for number in range(10, 22):
        change(second, f"q{number}", question="Another one?")
    with pytest.raises(ConfigError, match=r"share no question \(12 question\(s\) differ in text"):
        compare_runs([first.path, second.path])
    second.file("evaluation.json").unlink()
    with pytest.raises(ConfigError, match="'second' was not evaluated; run `mmedpo evaluate"):
        compare_runs([first.path, second.path])


def test_the_terminal_table_fits_80_columns_with_every_name_whole(tmp_path: Path) -> None:
    names = ["a" * 70, "vqa-rad-mmedpo-with-a-long-name-of-its-own", "b"]
    runs = [run_of(tmp_path / name, BASE) for name in names]
    lines = comparison_lines(compare_runs([run.path for run in runs]).evaluation)
    assert max(map(len, lines)) <= 80
    assert all(name in "\n".join(lines) for name in names)


def test_settings_are_compared_by_their_dotted_names() -> None:
    found = different_settings([{"a": {"b": 1, "c": [1]}, "d": None}, {"a": {"b": 2, "c": [1]}, "e": {}, "d": None}])
    assert [(row.name, row.values) for row in found] == [("a.b", ("1", "2")), ("e", ("", "{}"))]


def test_the_command_writes_the_page_and_prints_the_table(two: tuple[Run, Run], tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(app, ["compare", *(str(run.path) for run in two), "--out", str(out)])
    assert done.exit_code == 0, done.exception
    assert "test-balanced: closed accuracy" in done.output
    assert re.search(r"second\s+12\s+66\.7\s+-25\.0", done.output)
    assert out.read_text().startswith("<!doctype html>")
