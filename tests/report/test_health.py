"""What the report says of the pairs and of the tool before anybody trusts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import BlindPairs, BlindShare, Box, Evaluation, Example, Grounding
from mmedpo.report.sections.curation import lengths
from mmedpo.report.sections.groundings import tool_calibrations, without_calibration
from mmedpo.report.stored import read_stored
from mmedpo.run import Run
from mmedpo.storage.json_file import read_json
from mmedpo.storage.tables import write_bytes
from report.finished_run import example, full_run, page, text_pair


def test_blind_judges_find_the_word_that_gives_the_answer_away(tmp_path: Path) -> None:
    """Chosen answers hold `seen`, rejected ones do not; both have three words, so that length tells nothing."""
    run = full_run(tmp_path / "run")
    sources = [example(run, number, "train", answer=f"seen on film{number}") for number in range(40, 60)]
    pairs = [text_pair(source, "picked", 0.5, 1.0, f"not on film{n}") for n, source in enumerate(sources, start=40)]
    (row,) = lengths(pairs)
    assert row.by_words == 1.0
    assert row.by_length == 0.5
    assert row.edit_distance == pytest.approx(1 / 3)


def test_too_few_images_for_the_word_judge_are_not_measured(tmp_path: Path) -> None:
    text = page(full_run(tmp_path / "run"))
    assert "told by words" in text
    assert "not measured" in text[text.index("told by words") :]


def annotated(tmp_path: Path, confidences: list[float], lesions: list[bool]) -> Run:
    """A run whose tool says these of annotated images."""
    tmp_path.mkdir(exist_ok=True)
    run = full_run(tmp_path / "run")
    examples, said = [], []
    for number, (confidence, lesion) in enumerate(zip(confidences, lesions, strict=True), start=100):
        box = (Box(x0=1, y0=1, x1=5, y1=5),) if lesion else ()
        one = example(run, number, "train").model_copy(update={"annotated": True, "boxes": box})
        examples.append(one)
        said.append(
            Grounding(
                image_sha256=one.image.sha256, tool="probe", heatmap_path=None, confidence=confidence, calibrated=True,
                label="opacity", reason="",
            )
        )  # fmt: skip
    run.write("examples.parquet", Example, [*run.read("examples.parquet", Example), *examples])
    run.write("groundings.parquet", Grounding, said)
    return run


def calibrated(tmp_path: Path, confidences: list[float], lesions: list[bool]) -> list[tuple[float, float, int]]:
    """The bins of such a tool."""
    run = annotated(tmp_path, confidences, lesions)
    return [
        (row.confidence or 0.0, row.share or 0.0, row.images)
        for tool in tool_calibrations(read_stored(run), run.image_root)
        for row in tool.bins
    ]


def test_confidence_is_held_against_annotated_lesions(tmp_path: Path) -> None:
    bins = calibrated(tmp_path, [0.9] * 10 + [0.1] * 10, [True] * 9 + [False] + [True] + [False] * 9)
    assert bins == [(pytest.approx(0.1), pytest.approx(0.1), 10), (pytest.approx(0.9), pytest.approx(0.9), 10)]


def test_a_mask_that_marks_nothing_is_an_image_without_a_lesion(tmp_path: Path) -> None:
    """As generated images have them: every image has a mask, and some masks are black."""
    run = annotated(tmp_path, [0.9] * 10 + [0.1] * 10, [False] * 20)
    for name, value in (("black", 0), ("white", 255)):
        write_bytes(run.image_root / f"{name}.png", png_bytes(np.full((8, 8), value, dtype=np.uint8)))
    rows = [
        item.model_copy(update={"mask_path": "white.png" if int(item.example_id[1:]) < 110 else "black.png"})
        if item.annotated
        else item
        for item in run.read("examples.parquet", Example)
    ]
    run.write("examples.parquet", Example, rows)
    (tool,) = [tool for tool in tool_calibrations(read_stored(run), run.image_root) if tool.tool == "probe"]
    found = [(row.confidence, row.share, row.images) for row in tool.bins]
    assert found == [(pytest.approx(0.1), 0.0, 10), (pytest.approx(0.9), 1.0, 10)]


def test_why_a_confidence_was_not_held_against_lesions_is_said(tmp_path: Path) -> None:
    def told(run: Run) -> list[str]:
        return [
            line
            for line in without_calibration(read_stored(run), run.image_root)
            if line.startswith("Calibration of probe ")
        ]

    assert told(annotated(tmp_path / "a", [n / 30 for n in range(30)], [True] * 21 + [False] * 9)) == [
        "Calibration of probe not measured: of its images that annotators looked at, 21 have a lesion and 9 have none, "
        "and at least 10 of each are needed."
    ]
    assert told(annotated(tmp_path / "b", [1.0] * 30, [True] * 15 + [False] * 15)) == [
        "Calibration of probe not measured: it is always as sure."
    ]
    assert told(annotated(tmp_path / "c", [n / 30 for n in range(30)], [True] * 15 + [False] * 15)) == []


def test_a_tool_that_is_always_as_sure_or_images_of_one_kind_say_nothing(tmp_path: Path) -> None:
    assert calibrated(tmp_path / "a", [1.0] * 30, [True] * 15 + [False] * 15) == []
    assert calibrated(tmp_path / "b", [n / 30 for n in range(30)], [True] * 21 + [False] * 9) == []


def test_the_model_without_the_images_is_told_with_its_interval_and_what_it_means(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    assert "Blind:" not in page(run)
    told = read_json(run.file("evaluation.json"), Evaluation)
    shares = BlindShare(share=0.68, low=0.64, high=0.71), BlindShare(share=0.5, low=0.46, high=0.54)
    blind = BlindPairs(pairs=4, images=3, summed=shares[0], per_token=shares[1])
    run.file("evaluation.json").write_text(told.model_copy(update={"blind": blind}).model_dump_json())
    text = " ".join(page(run).split())
    assert "whole answers 4 4 3 68 % 64–71" in text
    assert "per token 4 4 3 50 % 46–54" in text
    assert "50 %: without the image it cannot tell the two apart." in text
