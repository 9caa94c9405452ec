"""What the growth of an answer's cost is shown as."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from bench.generation import Counts, Result
from bench.generation_growth import draw, figures, page, tasks
from bench.throughput.models import SHAPES


@pytest.fixture
def found() -> dict[str, dict[str, Any]]:
    def task(answers: int, prompts: int, ours: int) -> dict[str, Any]:
        texts = ["a"] * answers
        stock = Result([4.0, 2.0, 3.0], texts, Counts(prompts=prompts))
        return figures({"generate": stock, "mmedpo": Result([1.0], ["b", *texts[1:]], Counts(prompts=ours))})

    return {"samples": {"1": task(4, 80, 40), "2": task(8, 160, 40)}, "images": {"1": task(4, 80, 40)}}


def test_figures_are_those_of_one_answer(found: dict[str, dict[str, Any]]) -> None:
    two = found["samples"]["2"]
    # 160 and 40 tokens for 8 answers; the median of 4, 2 and 3 seconds; one answer of eight differs.
    assert (two["generate"]["prompt_tokens"], two["mmedpo"]["prompt_tokens"]) == (20.0, 5.0)
    assert two["generate"]["seconds"] == 3.0 / 8
    assert (two["same"], two["answers"]) == (7, 8)
    row = page(found, {"cores": "2", "cpu": "x", "memory": "y"}, SHAPES["test"], "make it")
    assert "| 2 | 20 | 5 | 4.0 x | 0.375 | 0.125 | 3.0 x | 7 of 8 |" in row


def test_the_picture_has_a_line_of_each_side_in_every_panel(found: dict[str, dict[str, Any]]) -> None:
    found["images"]["2"] = found["images"]["1"]
    drawn = ElementTree.fromstring(draw(found))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 2 * 2 * 2


def test_questions_on_several_images_share_them_all() -> None:
    shape = SHAPES["test"]
    asked = tasks(shape)["images"][3].asked()
    assert len(asked) == 4
    assert len({one.views for one in asked}) == 1
    assert len(set(asked[0].views)) == 3
