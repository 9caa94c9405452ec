"""Tables of questions as hubs and other tools have them: split, choices and images that lie inside are kept."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.layouts import LAYOUTS, encoded, settings_of, write_image
from mmedpo import load_settings, open_run
from mmedpo.config import DataSettings
from mmedpo.data.dataset import DatasetReading, DatasetSettings, InRun, make_dataset
from mmedpo.data.stage import stage
from mmedpo.errors import ConfigError, DataError, PreferenceFormatError
from mmedpo.imaging.images import read_image
from mmedpo.preferences.reading import read_rows
from mmedpo.records import Example
from mmedpo.registry import lookup


def _read(
    name: str, root: Path, table: dict[str, Any] | None = None, extracted: Path | None = None, **changes: Any
) -> DatasetReading:
    told = {"fractions": (0.6, 0.2, 0.2), **changes}
    settings = DatasetSettings.model_validate(told) if extracted is None else InRun(extracted=extracted, **told)
    dataset = make_dataset(
        DataSettings.model_validate({"dataset": name, **({} if table is None else {"table": table})})
    )
    return dataset.read(root, settings)


def _lines(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _delimited(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


# Splits.


def _split_by_files(root: Path) -> None:
    for n in range(16):
        write_image(root / "images" / f"{n}.png", n)
        part = "train" if n < 12 else "test"
        row = {"question_id": n % 12, "image": f"{n}.png", "text": f"Q{n}?", "gpt4_answer": "no"}
        with (root / f"VQA_{part}_llavamed_format.jsonl").open("a") as handle:
            handle.write(json.dumps(row) + "\n")


def _split_by_column(root: Path) -> None:
    rows = []
    for n in range(16):
        write_image(root / "images" / f"{n}.png", n)
        row = {"id": n, "image": f"{n}.png", "split": "Train" if n < 12 else "TEST"}
        turns = [{"from": "human", "value": f"<image>\nQ{n}?"}, {"from": "gpt", "value": "no"}]
        rows.append({**row, "conversations": turns})
    _lines(root / "pairs.jsonl", rows)


def _split_by_key(root: Path) -> None:
    rows: dict[str, list[Any]] = {"train": [], "test": []}
    for n in range(16):
        write_image(root / "images" / f"{n}.png", n)
        row = {"id": n, "image": f"{n}.png", "text": f"Q{n}?", "answer": "no"}
        rows["train" if n < 12 else "test"].append(row)
    (root / "all.json").write_text(json.dumps(rows))


@pytest.mark.parametrize("write", [_split_by_files, _split_by_column, _split_by_key])
@pytest.mark.parametrize("split", ["", "official", "image-disjoint"])
def test_published_test_questions_are_never_drawn_into_training(write: Any, split: str, tmp_path: Path) -> None:
    write(tmp_path)
    reading = _read("llava-med", tmp_path, split=split)
    held = {f"Q{n}?" for n in range(12, 16)}
    assert len(reading.examples) == 16, "ids that begin anew in the other file are not the same question"
    assert {e.question for e in reading.examples if e.split == "test"} == held
    assert {e.split for e in reading.examples if e.question not in held} <= {"train", "validation"}


def test_training_rows_that_share_an_image_with_the_test_go_there(tmp_path: Path) -> None:
    _split_by_files(tmp_path)
    extra = {"question_id": 99, "image": "15.png", "text": "Leak?", "gpt4_answer": "yes"}
    with (tmp_path / "VQA_train_llavamed_format.jsonl").open("a") as handle:
        handle.write(json.dumps(extra) + "\n")
    reading = _read("llava-med", tmp_path, split="image-disjoint")
    assert {e.split for e in reading.examples if e.question == "Leak?"} == {"test"}
    assert any(note.startswith("1 further questions share an image") for note in reading.notes)


def test_a_file_that_is_all_test_is_read_as_that(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", 1)
    turns = [
        {"from": "Human", "value": "Is it big?\n<image>"},
        {"from": "GPT", "value": "No"},
        {"from": "Human", "value": "Where?"},
        {"from": "GPT", "value": "Left lobe"},
    ]
    (tmp_path / "test.json").write_text(json.dumps([{"id": "x", "image": "a.png", "conversations": turns}]))
    reading = _read("llava-med", tmp_path)
    assert [(e.example_id, e.question, e.answer, e.split) for e in reading.examples] == [
        ("llava-med-x-0", "Is it big?", "No", "test"),
        ("llava-med-x-1", "Where?", "Left lobe", "test"),
    ]
    assert any("none of its 2 questions that it is for training" in note for note in reading.notes)
    with pytest.raises(DataError, match="holds conversations; read it with data.dataset=llava-med"):
        _read("table", tmp_path)


# Choices.


def _pmc(root: Path) -> None:
    write_image(root / "f.png", 1)
    row = {"Figure_path": "f.png", "Question": "What?", "Answer": "Magnetic resonance", "Answer_label": "B"}
    options = {"Choice A": " A:Computed tomography ", "Choice B": " B:Magnetic resonance", "Choice C": " C:X-ray "}
    _delimited(root / "clean.csv", [{**row, **options}])


_PMC = {"image": "Figure_path", "question": "Question", "answer": "Answer"}


@pytest.mark.parametrize("more", [{}, {"choices": "Choice A,Choice B,Choice C"}])
def test_columns_of_alternatives_are_kept(more: dict[str, str], tmp_path: Path) -> None:
    _pmc(tmp_path)
    (example,) = _read("table", tmp_path, fractions=(1, 0, 0), table={"columns": {**_PMC, **more}}).examples
    assert (example.answer_type, example.answer) == ("closed", "Magnetic resonance")
    assert example.choices == ("Computed tomography", "Magnetic resonance", "X-ray")


@pytest.mark.parametrize(
    ("choices", "words"),
    [("Choice A", "is no list of two or more"), ("Choice Z", "'Choice Z', the table has"), ("Choice A,Nope", "'Nope'")],
)
def test_a_mapping_that_gives_no_choices_is_refused(choices: str, words: str, tmp_path: Path) -> None:
    _pmc(tmp_path)
    with pytest.raises(ConfigError, match=words):
        _read("table", tmp_path, fractions=(1, 0, 0), table={"columns": {**_PMC, "choices": choices}})


def test_an_answer_that_is_none_of_its_choices_is_a_counted_drop(tmp_path: Path) -> None:
    write_image(tmp_path / "f.png", 1)
    rows = [{"image": "f.png", "question": f"Q{n}?", "answer": a, "choices": "left;right"} for n, a in enumerate("abc")]
    rows[2]["answer"] = "up"
    _delimited(tmp_path / "q.csv", rows)
    reading = _read("table", tmp_path, fractions=(1, 0, 0))
    assert [e.answer for e in reading.examples] == ["left", "right"]
    assert [drop.reason for drop in reading.drops] == ["answer-not-among-choices"]


# Images.


def test_vlmevalkit_table_is_read_with_its_base64_images(tmp_path: Path) -> None:
    content = base64.b64encode(encoded(1)).decode()
    rows = [
        {"index": "0", "image": content, "question": "What?", "A": "CT", "B": "MRI", "answer": "B", "category": "m"},
        {"index": "1", "image": "0", "question": "Which?", "A": "Lung", "B": "Heart", "answer": "A", "category": "o"},
        {
            "index": "2",
            "image": content[:-9] + "@",
            "question": "How?",
            "A": "1",
            "B": "2",
            "answer": "A",
            "category": "o",
        },
    ]
    _delimited(tmp_path / "OmniMed.tsv", rows, "\t")
    reading = _read("table", tmp_path, fractions=(1, 0, 0), min_usable=0.5)
    assert [(e.answer, e.choices) for e in reading.examples] == [("MRI", ("CT", "MRI")), ("Lung", ("Lung", "Heart"))]
    assert len({e.image.sha256 for e in reading.examples}) == 1, "a row may name the row that holds its image"
    assert reading.extracted is not None
    assert read_image(reading.extracted.root, reading.examples[0].image.path).shape == (24, 24)
    assert [len(drop.detail) < 300 for drop in reading.drops] == [True], [d.detail[:400] for d in reading.drops]
    assert [path.name for path in tmp_path.iterdir()] == ["OmniMed.tsv"], "nothing is written into the user's folder"


def test_names_of_columns_stay_on_the_line_of_a_message(tmp_path: Path) -> None:
    _lines(tmp_path / "q.jsonl", [{"im\nage\x1b[2J": "a.png", "x" * 500: "Q?", "answer": "a"}])
    with pytest.raises(DataError, match="the table has no column") as caught:
        _read("table", tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    with pytest.raises(PreferenceFormatError, match="of no known preference format") as other:
        read_rows(tmp_path / "q.jsonl")
    assert str(other.value).isprintable()


def test_a_list_of_images_is_all_of_them_in_order_with_their_places(tmp_path: Path) -> None:
    for n in range(3):
        write_image(tmp_path / "i" / f"{n}.png", n)
    both = ["i/1.png", "i/0.png"]
    asked = {
        "Q?": "Q?",
        "<image>\n<image>\nWhat is new?": "What is new?",
        "What is new?<image><image>": "What is new?",
        "What is in <image> and not in <image>?": "What is in <image> and not in <image>?",
    }
    rows: list[dict[str, Any]] = [{"image": both, "question": question, "answer": "a"} for question in asked]
    rows.append({"image": ["i/2.png"], "question": "Is <image> new?", "answer": "a"})
    rows.append({"image": both, "question": "Is <image> a mass?", "answer": "a"})
    _lines(tmp_path / "q.jsonl", rows)
    reading = _read("table", tmp_path, fractions=(1, 0, 0))
    *several, one = reading.examples
    assert [[image.path for image in example.images] for example in several] == [both] * 4
    assert [example.question for example in several] == list(asked.values())
    assert ([image.path for image in one.images], one.question) == (["i/2.png"], "Is  new?")
    assert [(drop.reason, drop.detail) for drop in reading.drops] == [("image-places", "1 places for 2 images")]


def test_images_stand_in_several_columns(tmp_path: Path) -> None:
    for n in range(2):
        write_image(tmp_path / "i" / f"{n}.png", n)
    rows = [{"pa": "i/0.png", "lat": lateral, "question": "Q?", "answer": "a"} for lateral in ("i/1.png", "", None)]
    _lines(tmp_path / "q.jsonl", rows)
    table = {"columns": {"image": "pa, lat"}}
    reading = _read("table", tmp_path, fractions=(1, 0, 0), table=table)
    assert [[image.path for image in example.images] for example in reading.examples] == [
        ["i/0.png", "i/1.png"],
        ["i/0.png"],
        ["i/0.png"],
    ]
    with pytest.raises(ConfigError, match="maps image to 'side', the table has answer, lat, pa, question"):
        _read("table", tmp_path, table={"columns": {"image": "pa,side"}})


def test_splits_share_no_further_image_either(tmp_path: Path) -> None:
    for n in range(24):
        write_image(tmp_path / "i" / f"{n}.png", n)
    rows = [
        {"image": [f"i/{n}.png", f"i/{n + 1 - 2 * (n % 2)}.png"], "question": "Q?", "answer": "a"} for n in range(24)
    ]
    _lines(tmp_path / "q.jsonl", rows)
    split = {example.image.path: example.split for example in _read("table", tmp_path).examples}
    assert all(split[f"i/{n}.png"] == split[f"i/{n + 1}.png"] for n in range(0, 24, 2))
    assert len(set(split.values())) == 3


def test_images_beside_and_inside_a_table_lie_below_one_folder(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    write_image(root / "i" / "0.png", 0)
    rows = [
        {"image": {"bytes": encoded(1), "path": "x.png"}, "question": "Q?", "answer": "a"},
        {"image": {"bytes": None, "path": "i/0.png"}, "question": "Q?", "answer": "b"},
        {"image": {"bytes": None, "path": "../../etc/passwd"}, "question": "Q?", "answer": "c"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "q.parquet")
    reading = _read("table", root, fractions=(1, 0, 0), extracted=out)
    assert [e.answer for e in reading.examples] == ["a", "b"]
    assert [drop.reason for drop in reading.drops] == ["unreadable-image"]
    for example, number in zip(reading.examples, (1, 0), strict=True):
        assert (out / example.image.path).read_bytes() == (
            encoded(1) if number else (root / "i" / "0.png").read_bytes()
        )
    assert sorted(path.name for path in root.iterdir()) == ["i", "q.parquet"]


@pytest.mark.parametrize("name", ["path-vqa parquet", "hugging face"])
def test_a_run_takes_the_images_of_a_table_into_its_own_folder_once(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    layout.write(tmp_path / "data")
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "data").rglob("*"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {{dataset: {layout.dataset}, root: {tmp_path / 'data'}, split: official}}\n"
        "ground: {tool: none}\ncurate: {kinds: [text]}"
    )
    resolved = load_settings(recipe)
    with open_run(tmp_path / "run", resolved) as run:
        assert run.execute(stage(resolved))
        assert not run.execute(stage(resolved)), "done: reading it has not changed the dataset's folder"
        for example in run.read("examples.parquet", Example):
            assert read_image(run.image_root, example.image.path).shape == (24, 24)
        assert run.image_root == tmp_path / "run" / "data"
        assert "data" in run.manifest.stages["data"].outputs
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "data").rglob("*")) == before


def test_slake_is_read_under_the_names_of_the_hub(tmp_path: Path) -> None:
    LAYOUTS["slake"].write(tmp_path)
    (tmp_path / "validate.json").rename(tmp_path / "validation.json")
    reading = lookup("dataset", "slake")().read(tmp_path, settings_of(LAYOUTS["slake"]))
    assert sum(e.split == "validation" for e in reading.examples) == 2
    (tmp_path / "imgs").rename(tmp_path / "elsewhere")
    (tmp_path / "imgs.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"holds imgs\.zip but no folder .*; unpack it there"):
        lookup("dataset", "slake")().read(tmp_path, settings_of(LAYOUTS["slake"]))


@pytest.mark.parametrize("base", ["Slake1.0", "SLAKE", ""])
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_slake_is_read_as_lines_and_from_the_folder_above_it(tmp_path: Path, base: str, ending: str) -> None:
    folder = tmp_path / "unpacked" / base
    folder.mkdir(parents=True)
    LAYOUTS["slake"].write(folder)
    if ending == "jsonl":
        for file in folder.glob("*.json"):
            lines = [json.dumps(row, ensure_ascii=False) for row in json.loads(file.read_text())]
            file.with_suffix(".jsonl").write_text("\n".join(lines))
            file.unlink()
    (tmp_path / "unpacked" / "__MACOSX").mkdir()
    plain = lookup("dataset", "slake")().read(folder, settings_of(LAYOUTS["slake"]))
    reading = lookup("dataset", "slake")().read(tmp_path / "unpacked", settings_of(LAYOUTS["slake"]))
    assert [(e.example_id, e.split, e.boxes) for e in reading.examples] == [
        (e.example_id, e.split, e.boxes) for e in plain.examples
    ]
    prefix = f"{base}/imgs/" if base else "imgs/"
    assert all(e.image.path.startswith(prefix) for e in reading.examples)


def test_of_two_folders_that_could_be_the_dataset_none_is_taken(tmp_path: Path) -> None:
    for base in ("a", "b"):
        LAYOUTS["slake"].write(tmp_path / base)
    with pytest.raises(DataError, match="holds no folder 'imgs' or 'images'"):
        lookup("dataset", "slake")().read(tmp_path, settings_of(LAYOUTS["slake"]))


def test_a_report_file_that_is_none_is_no_report(tmp_path: Path) -> None:
    layout = LAYOUTS["mimic-cxr-jpg"]
    layout.write(tmp_path)
    report = next((tmp_path / "files").rglob("s50000003.txt"))
    report.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 100\n")
    reading = lookup("dataset", "mimic-cxr-jpg")().read(tmp_path, settings_of(layout))
    assert [(drop.item, drop.reason) for drop in reading.drops if "50000003" in drop.item] == [
        ("mimic-cxr-jpg-50000003", "no-report")
    ]


def test_what_of_the_reports_is_not_read_is_noted(tmp_path: Path) -> None:
    layout = LAYOUTS["mimic-cxr-jpg"]
    layout.write(tmp_path)
    report = next((tmp_path / "files").rglob("s50000003.txt"))
    report.write_text("FINAL REPORT\n BRONCHOSCOPY NOTE: Blood.\n FINDNGS: Clear.\n")
    reading = lookup("dataset", "mimic-cxr-jpg")().read(tmp_path, settings_of(layout))
    (note,) = [note for note in reading.notes if note.startswith("not read of the reports")]
    assert "'heading BRONCHOSCOPY NOTE' (1)" in note
    assert "'no section impression' (1)" in note


@pytest.mark.parametrize(
    ("column", "train", "test"),
    [
        ("is_test", False, True),
        ("in_train", 1, 0),
        ("train", True, False),
        ("mode", "train", "test"),
        ("data_type", "training", "testing"),
        ("source", "VQA_RAD train", "VQA_RAD test"),
        ("dataset_split", "official/train", "official/test"),
        ("subset", "train", "test"),
        ("Split", "TRAIN", "Test"),
        ("partition", "training", "held-out"),
        ("phrase_type", "freeform", "test_freeform"),
    ],
)
def test_a_split_told_in_a_column_nobody_mapped_is_kept(tmp_path: Path, column: str, train: Any, test: Any) -> None:
    for n in range(4):
        write_image(tmp_path / f"{n}.png", n)
    told = [train, train, test, test]
    _lines(
        tmp_path / "q.jsonl",
        [{"image": f"{n}.png", "question": f"Q{n}?", "answer": "no", column: told[n]} for n in range(4)],
    )
    found = {e.image.path: e.split for e in _read("table", tmp_path, fractions=(1, 0, 0)).examples}
    assert found == {"0.png": "train", "1.png": "train", "2.png": "test", "3.png": "test"}


@pytest.mark.parametrize(
    "more", [{"status": "valid"}, {"note": "a test was done"}, {"is_valid": True, "val": 3}, {"x": None}]
)
def test_what_is_no_split_is_not_taken_for_one(tmp_path: Path, more: dict[str, Any]) -> None:
    write_image(tmp_path / "a.png", 1)
    _lines(tmp_path / "q.jsonl", [{"image": "a.png", "question": "Q?", "answer": "test", **more}])
    assert [e.split for e in _read("table", tmp_path, fractions=(1, 0, 0)).examples] == ["train"]


def test_an_alternative_that_is_left_empty_keeps_its_letter(tmp_path: Path) -> None:
    for n in range(2):
        write_image(tmp_path / f"{n}.png", n)
    rows = [{"image": "0.png", "answer": "C", "B": ""}, {"image": "1.png", "answer": "B", "B": ""}]
    _delimited(tmp_path / "q.csv", [{"question": "Q?", "A": "CT", "C": "US", "D": "", **row} for row in rows])
    reading = _read("table", tmp_path, fractions=(1, 0, 0), min_usable=0.1)
    assert [(e.answer, e.choices) for e in reading.examples] == [("US", ("CT", "US"))]
    assert [drop.reason for drop in reading.drops] == ["answer-not-among-choices"], "nobody chose what is empty"


def test_a_split_that_is_no_name_is_no_training_row(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1)
    row = {"image": "a.png", "question": "Q?", "answer": "no"}
    _lines(tmp_path / "q.jsonl", [row, {**row, "split": ["test"]}])
    reading = _read("table", tmp_path, fractions=(1, 0, 0))
    assert (len(reading.examples), [drop.reason for drop in reading.drops]) == (1, ["bad-split"])


@pytest.mark.parametrize("column", ["options", "Choices", "answer_choices"])
def test_alternatives_in_one_column_are_kept_under_any_of_its_names(tmp_path: Path, column: str) -> None:
    write_image(tmp_path / "a.png", 1)
    _lines(tmp_path / "q.jsonl", [{"image": "a.png", "question": "Q?", "answer": "B", column: ["CT", "MRI"]}])
    (example,) = _read("table", tmp_path, fractions=(1, 0, 0)).examples
    assert (example.answer, example.choices, example.answer_type) == ("MRI", ("CT", "MRI"), "closed")
