"""What holds for every dataset, on a generated folder in its exact layout."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.layouts import IMAGES, LAYOUTS, Layout, dataset_of, settings_of, split_name
from mmedpo.data.dataset import DatasetReading, DatasetSettings
from mmedpo.data.splits import leak_report
from mmedpo.errors import ConfigError, DataError, MMedPOError
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import read_mask
from mmedpo.records import Example
from mmedpo.registry import names
from mmedpo.storage.tables import read_table, write_table

every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def _read(layout: Layout, root: Path, **changes: object) -> DatasetReading:
    layout.write(root)
    return dataset_of(layout).read(root, settings_of(layout, **changes))


def test_every_registered_dataset_is_under_contract() -> None:
    known = {layout.dataset for layout in LAYOUTS.values()}
    assert known == set(names("dataset")) - {"phantom", "colours"}


@every_layout
def test_every_question_is_read_with_a_usable_image(layout: Layout, tmp_path: Path) -> None:
    reading = _read(layout, tmp_path)
    assert reading.drops == []
    assert len(reading.examples) == IMAGES
    assert len({example.example_id for example in reading.examples}) == IMAGES
    for example in reading.examples:
        assert example.dataset == layout.dataset
        assert example.question == example.question.strip()
        assert "<image>" not in example.question
        assert example.answer == example.answer.strip() != ""
        picture = read_image(reading.extracted.root if reading.extracted else tmp_path, example.image.path)
        assert picture.shape[:2] == (example.image.height, example.image.width)
        assert (example.answer_type == "report") == layout.report


@every_layout
def test_examples_survive_the_table(layout: Layout, tmp_path: Path) -> None:
    examples = _read(layout, tmp_path / "data").examples
    write_table(tmp_path / "examples.parquet", Example, examples)
    assert read_table(tmp_path / "examples.parquet", Example) == examples


@every_layout
def test_reading_twice_gives_the_same(layout: Layout, tmp_path: Path) -> None:
    first = _read(layout, tmp_path)
    assert dataset_of(layout).read(tmp_path, settings_of(layout)) == first


@every_layout
def test_official_split_has_its_own_names_and_sizes(layout: Layout, tmp_path: Path) -> None:
    if not layout.official:
        layout.write(tmp_path)
        with pytest.raises(ConfigError, match=r"no official split; use 'image-disjoint'"):
            dataset_of(layout).read(tmp_path, settings_of(layout, split="official"))
        return
    counts = Counter(example.split for example in _read(layout, tmp_path, split="official").examples)
    expected = Counter(split_name(n) for n in range(IMAGES))
    if layout.dataset == "vqa-rad":  # its release has no validation part
        expected = Counter(train=10, test=2)
    assert counts == expected


@every_layout
def test_drawn_split_shares_neither_image_nor_patient(layout: Layout, tmp_path: Path) -> None:
    reading = _read(layout, tmp_path, split="image-disjoint")
    assert leak_report(reading.examples).clean
    assert {"train", "test"} <= {example.split for example in reading.examples}


@every_layout
def test_what_is_published_as_held_out_is_never_drawn_into_training(layout: Layout, tmp_path: Path) -> None:
    if not layout.official or layout.dataset == "vqa-rad":  # whose test part shares nearly every image
        pytest.skip("nothing is published as held out, or it is known to leak")
    published = {e.example_id: e.split for e in _read(layout, tmp_path, split="official").examples}
    for seed in range(5):
        drawn = dataset_of(layout).read(tmp_path, settings_of(layout, split="image-disjoint", split_seed=seed))
        for example in drawn.examples:
            if published[example.example_id] != "train":
                assert example.split == published[example.example_id]
        assert any("that stays, the rest was drawn" in note for note in drawn.notes)


@every_layout
def test_unknown_split_and_wrong_folder_are_one_clear_line(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path / "data")
    with pytest.raises(ConfigError, match="no split 'random'"):
        dataset_of(layout).read(tmp_path / "data", settings_of(layout, split="random"))
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(DataError) as error:
            dataset_of(layout).read(folder, settings_of(layout))
        assert "\n" not in str(error.value)
        assert str(folder) in str(error.value)


@every_layout
def test_a_missing_image_is_a_counted_drop_and_a_folder_without_images_an_error(layout: Layout, tmp_path: Path) -> None:
    examples = _read(layout, tmp_path).examples
    if not (tmp_path / examples[0].image.path).exists():
        pytest.skip("images lie inside the table")
    (tmp_path / examples[3].image.path).unlink()
    reading = dataset_of(layout).read(tmp_path, settings_of(layout))
    assert [(drop.item, drop.reason) for drop in reading.drops] == [(examples[3].example_id, "unreadable-image")]
    assert len(reading.examples) == IMAGES - 1
    assert any("1 of 12 records were dropped: 1 unreadable-image" in note for note in reading.notes)
    for example in examples:
        (tmp_path / example.image.path).unlink(missing_ok=True)
    with pytest.raises(DataError, match="12 unreadable-image|holds no"):
        dataset_of(layout).read(tmp_path, settings_of(layout))


@every_layout
def test_every_dataset_says_whether_its_records_may_leave(layout: Layout) -> None:
    dataset = dataset_of(layout)
    assert dataset.data_use == ("restricted" if layout.restricted else "open")
    assert dataset.licence


@every_layout
def test_any_damaged_annotation_is_a_clear_error_or_a_counted_drop(layout: Layout, tmp_path: Path) -> None:
    """Every annotation file in turn: cut in the middle, and overwritten with noise."""
    layout.write(tmp_path / "good")
    annotations = [
        path
        for path in sorted((tmp_path / "good").rglob("*"))
        if path.suffix in (".json", ".jsonl", ".csv", ".gz", ".xml", ".txt", ".parquet", ".arrow")
    ]
    kinds = list({path.suffix + path.parent.name[:5]: path for path in annotations}.values())[:6]
    for file in kinds:
        content = file.read_bytes()
        for damaged in (content[: len(content) // 2], bytes(range(256)) * 4, b"null", b"[[1, {}], null]"):
            root = tmp_path / "damaged"
            shutil.copytree(tmp_path / "good", root)
            (root / file.relative_to(tmp_path / "good")).write_bytes(damaged)
            try:
                reading = dataset_of(layout).read(root, settings_of(layout, min_usable=0.0))
                assert len(reading.examples) <= IMAGES
            except MMedPOError as error:
                assert "\n" not in str(error)  # noqa: PT017
            shutil.rmtree(root)


# What is particular to one of them.


def _one(name: str, root: Path, **changes: object) -> dict[str, Example]:
    reading = _read(LAYOUTS[name], root, **changes)
    return {example.example_id: example for example in reading.examples}


def test_slake_reads_chinese_where_asked_and_notes_it_otherwise(tmp_path: Path) -> None:
    reading = _read(LAYOUTS["slake"], tmp_path)
    assert "12 questions in another language than en were not read" in reading.notes
    both = dataset_of(LAYOUTS["slake"], slake={"languages": ["en", "zh"]})
    examples = {e.example_id: e for e in both.read(tmp_path, DatasetSettings()).examples}
    assert len(examples) == 24
    assert (examples["slake-103"].question, examples["slake-103"].answer) == ("肺部健康吗？", "是")


def test_slake_grounds_findings_not_organs(tmp_path: Path) -> None:
    examples = _one("slake", tmp_path)
    lesion, organ = examples["slake-1"], examples["slake-2"]
    assert [(b.x0, b.y0, b.x1, b.y1, b.label) for b in lesion.boxes] == [(2.0, 3.0, 7.0, 9.0, "Lung Cancer")]
    assert lesion.annotated
    assert (lesion.mask_path, lesion.organs, lesion.organ_mask_path) == ("imgs/xmlab1/mask.png", (), None)
    assert (organ.boxes, organ.annotated, organ.mask_path) == ((), False, None)
    assert [box.label for box in organ.organs] == ["Left Lung"]
    assert organ.organ_mask_path == "imgs/xmlab2/mask.png"
    assert {"organ:lung", "modality:xray", "language:en"} <= set(lesion.tags)
    assert lesion.error_type == "abnormality"


def test_slake_parts_a_mask_of_both_by_its_legend(tmp_path: Path) -> None:
    LAYOUTS["slake"].write(tmp_path)
    folder = tmp_path / "imgs" / "xmlab1"
    told = [{"Left Lung": [0, 0, 8, 8]}, {"Lung Cancer": [2, 2, 2, 2]}, {"Heart": [9, 9, 3, 3]}]
    (folder / "detection.json").write_text(json.dumps(told))
    mask = np.zeros((16, 16, 3), dtype=np.uint8)
    mask[:8, :8], mask[2:4, 2:4], mask[9:12, 9:12] = 4, 37, 5
    Image.fromarray(mask).save(folder / "mask.png")

    def read() -> Example:
        reading = dataset_of(LAYOUTS["slake"]).read(tmp_path, DatasetSettings())
        return next(example for example in reading.examples if example.example_id == "slake-1")

    without = read()
    assert (without.mask_path, without.organ_mask_path) == (None, "imgs/xmlab1/mask.png")
    (tmp_path / "mask.txt").write_text("4:Left Lung\n5: Heart \n37:Lung Cancer\n\nno line of it\n38:Liver Cancer\n")
    both = read()
    assert [box.label for box in both.boxes] == ["Lung Cancer"]
    assert [box.label for box in both.organs] == ["Left Lung", "Heart"]
    assert (both.mask_path, both.organ_mask_path) == ("imgs/xmlab1/mask.png#values=37+38", "imgs/xmlab1/mask.png")
    assert np.argwhere(read_mask(tmp_path, str(both.mask_path))).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_path_vqa_pickles_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "qas").mkdir()
    (tmp_path / "qas" / "train_qa.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match="pickles, which are never loaded"):
        dataset_of(LAYOUTS["path-vqa json"]).read(tmp_path, DatasetSettings())


def test_iu_xray_asks_once_per_study_on_one_view_or_all(tmp_path: Path) -> None:
    examples = _one("iu-xray r2gen", tmp_path)
    first = examples["iu-xray-CXR3_IM-0003-1001"]
    assert first.image.path == "images/CXR3_IM-0003-1001/0.png"
    assert (first.patient_id, first.answer) == ("CXR3", "The heart is normal in size. Case 3.")
    every = dataset_of(LAYOUTS["iu-xray r2gen"], reports={"views": "all"})
    reading = every.read(tmp_path, DatasetSettings())
    assert {name.example_id: name.model_copy(update={"other_images": ()}) for name in reading.examples} == examples
    assert [image.path for image in reading.examples[3].images] == [f"images/CXR3_IM-0003-1001/{n}.png" for n in (0, 1)]
    (tmp_path / "images" / "CXR3_IM-0003-1001" / "1.png").write_bytes(b"cut")
    reading = every.read(tmp_path, DatasetSettings())
    assert [(drop.item, drop.reason) for drop in reading.drops] == [("iu-xray-CXR3_IM-0003-1001", "unreadable-image")]


def test_open_i_sections_are_chosen_and_entities_refused(tmp_path: Path) -> None:
    examples = _one("iu-xray open-i", tmp_path)
    assert examples["iu-xray-CXR3"].answer == "The lungs are clear. Case 3. No acute disease."
    only = dataset_of(LAYOUTS["iu-xray open-i"], reports={"sections": ["impression"]})
    answers = {e.answer for e in only.read(tmp_path, settings_of(LAYOUTS["iu-xray open-i"])).examples}
    assert answers == {"No acute disease."}
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><eCitation><uId id="&a;"/></eCitation>'
    (tmp_path / "ecgen-radiology" / "3.xml").write_text(bomb)
    drops = dataset_of(LAYOUTS["iu-xray open-i"]).read(tmp_path, settings_of(LAYOUTS["iu-xray open-i"])).drops
    assert [(drop.item, drop.reason) for drop in drops] == [("3.xml", "unreadable-report")]


@pytest.mark.parametrize("name", ["mimic-cxr", "mimic-cxr-jpg"])
def test_mimic_takes_the_frontal_view_and_the_sections(name: str, tmp_path: Path) -> None:
    examples = _one(name, tmp_path)
    example = examples[f"{name}-50000003"]
    assert "/00000003-00000001-" in example.image.path, "the PA view, not the lateral one listed first"
    assert example.answer == "The lungs are clear. Case 3. No acute process."
    assert example.patient_id == "p10000003"
    assert {"view:pa", "finding:edema"} <= set(example.tags)
    assert "finding:pneumonia" not in example.tags, "uncertain is not stated"
    every = dataset_of(LAYOUTS[name], reports={"views": "all"}).read(tmp_path, DatasetSettings()).examples
    (both,) = (one for one in every if one.example_id == example.example_id)
    assert both.model_copy(update={"other_images": ()}) == example, "frontal first, whatever the listing's order"
    assert ["/00000003-00000000-" in image.path for image in both.images] == [False, True]
    report = tmp_path / "files" / "p10" / "p10000003" / "s50000003.txt"
    report.write_text("WET READ: pending")
    reading = dataset_of(LAYOUTS[name]).read(tmp_path, DatasetSettings())
    assert [drop.reason for drop in reading.drops] == ["section-missing"]


def test_mimic_refuses_burned_in_text_unless_allowed(tmp_path: Path) -> None:
    from pydicom import dcmread

    layout = LAYOUTS["mimic-cxr"]
    example = _read(layout, tmp_path).examples[0]
    file = tmp_path / example.image.path
    dataset = dcmread(file)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(file)
    reading = dataset_of(layout).read(tmp_path, DatasetSettings())
    assert [drop.item for drop in reading.drops] == [example.example_id]
    assert "BurnedInAnnotation = YES" in reading.drops[0].detail
    assert dataset_of(layout).read(tmp_path, DatasetSettings(allow_burned_in=True)).drops == []


def test_table_columns_that_do_not_exist_are_named(tmp_path: Path) -> None:
    layout = LAYOUTS["table csv"]
    layout.write(tmp_path)
    for columns, line in (
        ({"image": "picture"}, "maps image to 'picture', the table has ask, file, part, truth, who"),
        ({"picture": "file"}, "maps 'picture'; known are image, question"),
    ):
        with pytest.raises(ConfigError, match=line):
            dataset_of(layout, table={"columns": columns}).read(tmp_path, DatasetSettings())
    with pytest.raises(DataError, match=r"no column 'image'.*data\.table\.columns\.image=COLUMN"):
        dataset_of(layout, table={}).read(tmp_path, DatasetSettings())


def test_table_outside_its_folder_is_refused(tmp_path: Path) -> None:
    layout = LAYOUTS["table csv"]
    layout.write(tmp_path / "data")
    shutil.copy(tmp_path / "data" / "questions.csv", tmp_path / "outside.csv")
    outside = dataset_of(layout, table={"file": "../outside.csv", "columns": {"image": "file"}})
    with pytest.raises(DataError, match="outside"):
        outside.read(tmp_path / "data", settings_of(layout))


def test_restricted_table_is_told_apart(tmp_path: Path) -> None:
    from mmedpo import load_settings, open_run
    from mmedpo.data.stage import load_data
    from mmedpo.run import Stage

    LAYOUTS["table csv"].write(tmp_path / "data")
    columns = json.dumps(LAYOUTS["table csv"].settings["table"]["columns"])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {{dataset: table, root: {tmp_path / 'data'}, split: official, "
        f"table: {{restricted: true, columns: {columns}}}}}\nground: {{tool: none}}\ncurate: {{kinds: [text]}}"
    )
    with open_run(tmp_path / "run", load_settings(recipe)) as run:
        run.execute(Stage("data", lambda r: load_data(r) and None, {}, writes=("examples.parquet", "data.json")))
        assert json.loads(run.file("data.json").read_text())["data_use"] == "restricted"
