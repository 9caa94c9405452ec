"""COCO's run-length masks: cases worked out by hand, and every mask comes back from its own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmedpo.errors import GroundingError
from mmedpo.grounding.annotations import read_annotations
from mmedpo.grounding.marking import lesion_mask
from mmedpo.grounding.runlength import read_runs


def decoded(size: list[int], counts: object) -> np.ndarray:
    return read_runs({"size": size, "counts": counts}, "a.png").mask()


def text_of(lengths: list[int]) -> str:
    """COCO's text, written digit by digit from its description."""
    out = ""
    for place, length in enumerate(lengths):
        number = length - lengths[place - 2] if place > 2 else length
        while True:
            group, number = number & 31, number >> 5
            done = number == (-1 if group & 16 else 0)
            out += chr(48 + group + (0 if done else 32))
            if done:
                break
    return out


def lengths_of(mask: np.ndarray) -> list[int]:
    """Runs of 0 and 1 in turn down the columns, beginning with 0."""
    flat = mask.T.ravel().tolist()
    lengths, value = [0], False
    for pixel in flat:
        if pixel == value:
            lengths[-1] += 1
        else:
            lengths.append(1)
            value = pixel
    return lengths


def test_columns_are_read_from_left_to_right() -> None:
    # Two rows, three columns: 1 0 0 / 1 1 0. Down the columns: 1 1, 0 1, 0 0.
    assert decoded([2, 3], [0, 2, 1, 1, 2]).tolist() == [[True, False, False], [True, True, False]]


def test_the_text_of_coco_is_read() -> None:
    # By hand: 6 -> '6', 1 -> '1', 40 = 8 + 32 * 1 -> 'X' '1', 4 - 1 = 3 -> '3', 5 - 40 = -35 = 29 + 32 * -2 -> 'm' 'N',
    # 4 - 4 -> '0', 5 - 5 -> '0', 4 - 4 -> '0', 21 - 5 = 16 -> '`' '0' (a second group keeps it positive).
    lengths = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert text_of(lengths) == "61X13mN000`0"
    mask = decoded([9, 10], "61X13mN000`0")
    assert (mask == decoded([9, 10], lengths)).all()
    assert mask.shape == (9, 10)
    assert mask[6, 0], "the seventh pixel of the first column"
    assert mask.sum() == 1 + 4 + 4 + 4


@given(arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_a_mask_comes_back_from_its_runs(mask: np.ndarray) -> None:
    size, lengths = list(mask.shape), lengths_of(mask)
    assert (decoded(size, lengths) == mask).all()
    assert (decoded(size, text_of(lengths)) == mask).all()


@pytest.mark.parametrize(
    ("size", "counts", "said"),
    [
        ([2, 3], [0, 2, 1, 1, 1], "add up to 5; allowed: 2 x 3 = 6 pixels"),
        ([2, 3], [7, -1], "hold a negative length"),
        ([2, 3], [], "add up to 0"),
        ([2, 3], [6.0], "counts of its run-length mask are"),
        ([2, 3], {"a": 1}, "counts of its run-length mask are"),
        ([2, 3], "6 ", "have ' ' at place 1, which COCO does not write"),
        ([2, 3], "6\u00e9", "at place 1"),
        ([2, 3], "o" * 50, "at place 8"),
        ([2, 3], "f", "end within a number"),
        ([10**6, 10**6], [10**12], "at most 64,000,000 pixels"),
        ([-2, -3], [6], r"has size \[-2, -3\]"),
        ([2, True], [2], r"has size \[2, True\]"),
        (["2", 3], [6], "has size"),
        ([2, 3, 1], [6], "is not usable; allowed"),
    ],
)
def test_runs_that_are_no_mask_are_one_line(size: list[int], counts: object, said: str) -> None:
    with pytest.raises(GroundingError, match=said) as caught:
        decoded(size, counts)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def coco(folder: Path, *told: dict[str, Any]) -> Path:
    rows = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], **one} for one in told]
    images = [{"id": 1, "file_name": "a.png", "width": 6, "height": 4}]
    path = folder / "c.json"
    categories = [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Left Lung"}]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return path


def test_what_an_image_holds_is_joined_whatever_it_is_drawn_as(tmp_path: Path) -> None:
    """A run-length mask, a polygon, a box without either, and an organ, which is no lesion."""
    first, organ = np.zeros((4, 6), bool), np.ones((4, 6), bool)
    first[0, 0] = first[1, 1] = True
    told = [
        {"segmentation": {"size": [4, 6], "counts": text_of(lengths_of(first))}},
        {"segmentation": [[4, 0, 5, 0, 5, 1, 4, 1]], "bbox": [4, 0, 2, 2]},
        {"bbox": [0, 3, 3, 1]},
        {"segmentation": {"size": [4, 6], "counts": lengths_of(organ)}, "category_id": 2, "bbox": [0, 0, 6, 4]},
    ]
    (row,) = read_annotations(coco(tmp_path, *told))
    expected = first.copy()
    expected[0:2, 4:6] = True
    expected[3, 0:3] = True
    assert (lesion_mask(row, 4, 6, tmp_path) == expected).all()
    assert [box.label for box in row.organs] == ["Left Lung"]
    with pytest.raises(
        GroundingError, match=r"run-length mask has shape \[4, 6\], the image \[8, 12\]; both must agree"
    ):
        lesion_mask(row, 8, 12, tmp_path)


def test_a_box_without_segmentation_stays_a_box(tmp_path: Path) -> None:
    (row,) = read_annotations(coco(tmp_path, {"segmentation": []}))
    assert lesion_mask(row, 4, 6, tmp_path).sum() == 4
