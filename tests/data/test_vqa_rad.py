"""VQA-RAD: generated folders with the faults users meet, then the real release."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmedpo.data.dataset import DatasetReading, DatasetSettings, as_text
from mmedpo.data.readers.vqa_rad import VqaRad, error_type_of, parse_rows
from mmedpo.data.splits import leak_report
from mmedpo.errors import ConfigError, DataError
from mmedpo.imaging.index import index_images
from mmedpo.registry import lookup

OFFICIAL = DatasetSettings(split="official")


def _row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "qid": str(number),
        "phrase_type": "test_freeform" if number % 4 == 0 else "para",
        "image_case_url": f"https://medpix.nlm.nih.gov/case?id=case-{number}",
        "image_name": f"syn{number}.jpg",
        "image_organ": "CHEST",
        "question": "Is the heart enlarged?",
        "question_type": "SIZE",
        "answer": "Yes",
        "answer_type": "CLOSED",
    }
    return {**row, **changes}


def _folder(
    root: Path, rows: list[Any], file: str = "VQA_RAD Dataset Public.json", images: str = "VQA_RAD Image Folder"
) -> Path:
    (root / images).mkdir(parents=True)
    for number in range(12):
        pixels = np.full((8, 8), 20 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(root / images / f"syn{number}.jpg")
    (root / file).write_text(json.dumps(rows))
    return root


def _reasons(reading: DatasetReading) -> dict[str, str]:
    return {drop.item: drop.reason for drop in reading.drops}


@pytest.mark.parametrize("file", ["VQA_RAD Dataset Public.json", "VQA_RAD_Dataset_Public.json"])
@pytest.mark.parametrize("images", ["VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images"])
def test_every_spelling_of_the_download_is_found(tmp_path: Path, file: str, images: str) -> None:
    reading = VqaRad().read(_folder(tmp_path, [_row(n) for n in range(8)], file, images), OFFICIAL)
    assert len(reading.examples) == 8
    assert reading.examples[3].image.path == f"{images}/syn3.jpg"


def test_one_record_in_full(tmp_path: Path) -> None:
    rows = [_row(n) for n in range(8)]
    rows[0] = _row(0, phrase_type="test_para", answer_type="CLOSED ", question=" Is it big? ", answer=" Yes ")
    example = VqaRad().read(_folder(tmp_path, rows), OFFICIAL).examples[0]
    assert example.example_id == "vqa-rad-0"
    assert (example.split, example.question, example.answer) == ("test", "Is it big?", "Yes")
    assert (example.answer_type, example.error_type, example.choices) == ("closed", "size", ("yes", "no"))
    assert example.patient_id == "case-0"
    assert set(example.tags) == {"organ:chest", "phrase:para", "modality:xray"}


def test_each_bad_record_is_dropped_under_its_own_name_and_the_rest_is_read(tmp_path: Path) -> None:
    rows: list[Any] = [_row(n) for n in range(20, 60)]
    for number, row in enumerate(rows):
        row["image_name"] = f"syn{number % 8}.jpg"
    bad = [
        _row(100, image_name="gone.jpg"),
        _row(101, image_name="syn10.jpg"),
        _row(102, image_name="../../etc/passwd"),
        _row(103, image_name="link.jpg"),
        _row(104, answer="  "),
        _row(105, answer=["Yes"]),
        _row(106, answer=True),
        _row(107, question=""),
        _row(108, answer_type="MAYBE"),
        _row(25),
        {"qid": "110", "question": "What?"},
        "not a record",
        _row(112, question="\ud800"),
        _row(113, qid="../x"),
    ]
    root = _folder(tmp_path / "data", [*rows, *bad])
    images = root / "VQA_RAD Image Folder"
    content = (images / "syn10.jpg").read_bytes()
    (images / "syn10.jpg").write_bytes(content[: len(content) // 2])
    (images / "syn9.jpg").rename(tmp_path / "secret.jpg")
    (images / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    reading = VqaRad().read(root, OFFICIAL)
    assert _reasons(reading) == {
        "vqa-rad-100": "unreadable-image",
        "vqa-rad-101": "unreadable-image",
        "vqa-rad-102": "unreadable-image",
        "vqa-rad-103": "unreadable-image",
        "vqa-rad-104": "empty-answer",
        "vqa-rad-105": "answer-not-text",
        "vqa-rad-106": "answer-not-text",
        "vqa-rad-107": "empty-question",
        "vqa-rad-108": "unknown-answer-type",
        "vqa-rad-25": "duplicate-id",
        "row 50": "missing-key",
        "row 51": "not-a-record",
        "vqa-rad-112": "question-not-text",
        "row 53": "bad-key",
    }
    assert len(reading.examples) == 40
    assert any("14 of 54 records were dropped: 4 unreadable-image" in note for note in reading.notes)


def test_missing_image_folder_full_of_images_fails_loudly(tmp_path: Path) -> None:
    root = _folder(tmp_path, [_row(n, image_name=f"gone{n}.jpg") for n in range(5)])
    with pytest.raises(DataError, match=r"0 of 5 records are usable.*5 unreadable-image.*gone0\.jpg"):
        VqaRad().read(root, OFFICIAL)


def test_share_of_usable_records_is_a_setting(tmp_path: Path) -> None:
    root = _folder(tmp_path, [_row(n, image_name=f"syn{n}.jpg") for n in range(30)])  # 12 images exist
    with pytest.raises(DataError, match="12 of 30 records are usable, needed are 50%"):
        VqaRad().read(root, OFFICIAL)
    reading = VqaRad().read(root, DatasetSettings(split="official", min_usable=0.3))
    assert (len(reading.examples), len(reading.drops)) == (12, 18)


def test_what_is_not_the_download_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist.*VQA_RAD Dataset Public\.json"):
        VqaRad().read(tmp_path / "nowhere", OFFICIAL)
    with pytest.raises(DataError, match=r"no file 'VQA_RAD Dataset Public\.json'"):
        VqaRad().read(tmp_path, OFFICIAL)
    (tmp_path / "VQA_RAD Dataset Public.json").write_text("[]")
    with pytest.raises(DataError, match="no folder 'VQA_RAD Image Folder' or 'images'"):
        VqaRad().read(tmp_path, OFFICIAL)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="an empty list"):
        VqaRad().read(tmp_path, OFFICIAL)
    (tmp_path / "VQA_RAD Dataset Public.json").write_text('[{"qid": ')
    with pytest.raises(DataError, match="is not JSON"):
        VqaRad().read(tmp_path, OFFICIAL)
    (tmp_path / "VQA_RAD Dataset Public.json").write_text('{"qid": 1}')
    with pytest.raises(DataError, match="0 of 1 records are usable.*1 missing-key"):
        VqaRad().read(tmp_path, OFFICIAL)


def test_unknown_split_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'random'; allowed: image-disjoint, official"):
        VqaRad().read(tmp_path, DatasetSettings(split="random"))


def test_split_that_stays_empty_is_an_error_unless_asked_for(tmp_path: Path) -> None:
    root = _folder(tmp_path, [_row(n, image_name="syn0.jpg") for n in range(6)])
    with pytest.raises(DataError, match="empty"):
        VqaRad().read(root, DatasetSettings())
    reading = VqaRad().read(root, DatasetSettings(fractions=(1.0, 0.0, 0.0)))
    assert {example.split for example in reading.examples} == {"train"}


def test_leak_of_the_official_split_is_counted_not_quoted(tmp_path: Path) -> None:
    rows = [_row(0), _row(1, image_name="syn0.jpg"), _row(4), _row(5)]
    reading = VqaRad().read(_folder(tmp_path, rows), OFFICIAL)
    assert any("1 of the 2 images of split 'test' also occur in 'train'" in note for note in reading.notes)
    clean = tmp_path / "clean"
    reading = VqaRad().read(_folder(clean, [_row(n) for n in range(8)]), OFFICIAL)
    assert reading.notes == []


def test_cases_that_share_an_image_are_one_patient(tmp_path: Path) -> None:
    # syn0 has cases a and b, syn2 has b and c: one patient, named by the smallest.
    url = "https://medpix.nlm.nih.gov/case?id="
    rows = [
        _row(0, image_case_url=f"{url}b", image_name="syn0.jpg"),
        _row(1, image_case_url=f"{url}a", image_name="syn0.jpg"),
        _row(2, image_case_url=f"{url}c", image_name="syn2.jpg"),
        _row(3, image_case_url=f"{url}b", image_name="syn2.jpg"),
        _row(4, image_case_url=None, image_name="syn4.jpg"),
    ]
    reading = VqaRad().read(_folder(tmp_path, rows), OFFICIAL)
    assert [example.patient_id for example in reading.examples] == ["a", "a", "a", "a", None]


def test_each_image_is_decoded_once_and_progress_ends_at_the_total(tmp_path: Path) -> None:
    root = _folder(tmp_path, [_row(n, image_name=f"syn{n % 3}.jpg") for n in range(30)])
    calls: list[tuple[int, int]] = []
    VqaRad().read(root, OFFICIAL, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_index_keeps_going_past_bad_images_and_reports_in_the_given_order(tmp_path: Path) -> None:
    root = _folder(tmp_path, [])
    paths = [f"VQA_RAD Image Folder/syn{n}.jpg" for n in (5, 99, 2, 98, 5)]
    index = index_images(root, paths, workers=3)
    assert list(index.images) == [paths[0], paths[2]]
    assert list(index.failures) == [paths[1], paths[3]]


@pytest.mark.parametrize(
    ("kind", "question", "answer", "expected"),
    [
        ("PRES", "Is there a fracture?", "No", "presence"),
        ("PRSE", "Is there a fracture?", "No", "presence"),
        ("PRES, POS", "Where?", "Left lung", "presence"),
        ("POS, ABN", "Where?", "Left lung", "side"),
        ("POS", "Where?", "in both lungs", "side"),
        ("POS", "Where?", "Bilaterally", "side"),
        ("POS", "Where?", "Pancreatic head", "zone"),
        ("POS", "Where in the left lung?", "Apex", "zone"),
        ("POS", "Is it in the left lung?", "Yes", "side"),
        ("POS", "Is it in the cerebellum?", "no", "zone"),
        ("POS", "Where?", "cleft", "zone"),
        ("ATRIB", "What?", "round", "attribute"),
        ("COLOR", "What?", "black", "attribute"),
        ("Other", "What?", "x", "other"),
        ("", "What?", "x", "other"),
    ],
)
def test_question_type_becomes_error_type(kind: str, question: str, answer: str, expected: str) -> None:
    assert error_type_of(kind, question, answer) == expected


def test_numbers_become_text_and_nothing_else_does() -> None:
    assert [as_text(value) for value in (4, 5.6, " x ", "")] == ["4", "5.6", "x", ""]
    assert [as_text(value) for value in (True, None, [], {}, float("nan"), "\ud800")] == [None] * 6


def test_yes_no_choices_belong_to_closed_questions_only() -> None:
    rows, _ = parse_rows([_row(1, answer="Maybe"), _row(2, answer="no", answer_type="OPEN"), _row(3, answer=12)])
    assert [row.answer for row in rows] == ["Maybe", "no", "12"]


@pytest.fixture(scope="module")
def official(shared_data: Path, decoded_once: None) -> DatasetReading:
    return lookup("dataset", "vqa-rad")().read(shared_data / "vqa_rad", OFFICIAL)  # type: ignore[no-any-return]


class TestRealRelease:
    def test_all_questions_and_the_published_test_counts(self, official: DatasetReading) -> None:
        assert len(official.examples) == 2248
        assert official.drops == []
        test = [example for example in official.examples if example.split == "test"]
        assert Counter(example.answer_type for example in test) == {"closed": 272, "open": 179}

    def test_note_tells_of_the_202_test_images_that_are_trained_on(self, official: DatasetReading) -> None:
        assert any("202 of the 203 images of split 'test' also occur in 'train'" in note for note in official.notes)

    def test_integer_answers_are_text(self, official: DatasetReading, shared_data: Path) -> None:
        rows = json.loads((shared_data / "vqa_rad" / "VQA_RAD_Dataset_Public.json").read_text())
        numbers = {f"vqa-rad-{row['qid']}": str(row["answer"]) for row in rows if isinstance(row["answer"], int)}
        assert sorted(numbers.values()) == ["12", "12", "2", "2", "4"]
        answers = {example.example_id: example.answer for example in official.examples}
        assert {name: answers[name] for name in numbers} == numbers

    def test_counted_up_case_ids_are_merged(self, official: DatasetReading) -> None:
        patients = {example.image.path: set() for example in official.examples}  # type: ignore[var-annotated]
        for example in official.examples:
            patients[example.image.path].add(example.patient_id)
        assert len(patients) == 314  # the 315th image of the release is asked nothing
        assert all(len(ids) == 1 for ids in patients.values())

    def test_default_split_shares_nothing_and_is_near_its_fractions(
        self, shared_data: Path, decoded_once: None
    ) -> None:
        examples = VqaRad().read(shared_data / "vqa_rad", DatasetSettings()).examples
        assert leak_report(examples).clean
        images = {example.image.sha256: example.split for example in examples}
        counts = Counter(images.values())
        assert counts["train"] / len(images) == pytest.approx(0.7, abs=0.08)
        assert counts["test"] / len(images) == pytest.approx(0.2, abs=0.07)

    def test_all_images_of_the_folder_decode(self, shared_data: Path, decoded_once: None) -> None:
        root = shared_data / "vqa_rad"
        index = index_images(root, (f"images/{path.name}" for path in sorted((root / "images").iterdir())))
        assert len(index.images) == 315
        assert index.failures == {}
