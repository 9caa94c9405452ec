"""Phantoms on disk: right hashes, whole files, disjoint splits, and nothing written twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, case_seed, generate_case, write_phantoms
from mmedpo.errors import DataError

SPLIT = "test-balanced"


def test_examples_point_to_the_files_and_the_files_to_the_case(tmp_path: Path) -> None:
    examples = write_phantoms(tmp_path, SPLIT, 5, 9, BALANCED_PRIORS, 96)
    by_case: dict[str, list[str]] = {}
    for example in examples:
        assert example.patient_id is not None
        assert example.mask_path is not None
        by_case.setdefault(example.patient_id, []).append(example.example_id)
        data = (tmp_path / example.image.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == example.image.sha256
        assert (example.image.width, example.image.height) == (96, 96)
        assert example.annotated
        assert example.split == SPLIT
    assert list(by_case) == [f"phantom-{SPLIT}-{index:05d}" for index in range(5)]
    for index, (case_id, ids) in enumerate(by_case.items()):
        case = generate_case(case_seed(9, SPLIT, index), BALANCED_PRIORS, 96)
        assert ids == [f"{case_id}-q{number:02d}" for number in range(len(case.questions))]
        with Image.open(tmp_path / f"images/{SPLIT}/{case_id}.png") as image:
            assert (np.asarray(image) == case.image).all()
        with Image.open(tmp_path / f"masks/{SPLIT}/{case_id}.png") as mask:
            assert ((np.asarray(mask) == 255) == case.mask).all()
        mine = [example for example in examples if example.patient_id == case_id]
        assert [(e.question, e.answer) for e in mine] == [(q.question, q.answer) for q in case.questions]
        assert {box.label for e in mine for box in e.boxes} == {finding.kind for finding in case.findings}


def test_writing_again_touches_nothing_but_what_was_damaged(tmp_path: Path) -> None:
    first = write_phantoms(tmp_path, "train", 3, 1, TRAINING_PRIORS, 96)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.suffix for path in files] == [".png"] * 6, "no temporary file stays behind"
    files[0].write_bytes(b"half a picture")
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-1] + b"?")
    kept = {path: path.stat().st_ino for path in files[2:]}
    assert write_phantoms(tmp_path, "train", 3, 1, TRAINING_PRIORS, 96) == first
    assert hashlib.sha256(files[0].read_bytes()).hexdigest() == first[0].image.sha256
    assert files[1].read_bytes() == whole
    assert {path: path.stat().st_ino for path in files[2:]} == kept


def test_splits_and_seeds_never_share_a_picture(tmp_path: Path) -> None:
    hashes: list[str] = []
    for split, seed in (("train", 0), ("test", 0), ("train", 1)):
        examples = write_phantoms(tmp_path / str(seed), split, 6, seed, TRAINING_PRIORS, 96)
        hashes += sorted({example.image.sha256 for example in examples})
    assert len(hashes) == len(set(hashes)) == 18


def test_more_cases_extend_a_split_without_changing_the_first_ones(tmp_path: Path) -> None:
    few = write_phantoms(tmp_path, "train", 2, 4, TRAINING_PRIORS, 96)
    more = write_phantoms(tmp_path, "train", 4, 4, TRAINING_PRIORS, 96)
    assert more[: len(few)] == few


def test_progress_counts_cases(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_phantoms(tmp_path, "train", 3, 0, TRAINING_PRIORS, 96, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("split", ["", "../train", "a/b", "."])
def test_a_split_name_cannot_leave_the_folder(tmp_path: Path, split: str) -> None:
    with pytest.raises(DataError, match="split name"):
        write_phantoms(tmp_path, split, 1, 0, TRAINING_PRIORS, 96)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_root_is_one_clear_error(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot write .*choose a writable folder"):
        write_phantoms(root, "train", 1, 0, TRAINING_PRIORS, 96)
