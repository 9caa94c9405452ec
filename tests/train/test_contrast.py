"""Which other image of a step a question is put to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from mmedpo.engine import Branch
from mmedpo.train.contrast import Asked, Contrast
from mmedpo.train.groups import BranchPair

VIEWS = {name: (Path(f"{name}.png"),) for name in "abc"}
VLM = SimpleNamespace(context_length=100, prompt_ids=lambda question, sizes: [9] * (3 + len(sizes[0])))


def pair(name, view, **sizes):
    return BranchPair(name, "answer", Branch(VIEWS[view], (1, 2), (3,), **sizes), None, 1.0)


def contrast(shows, limit=100, **findings):
    asked = {name: Asked("where?", frozenset(found)) for name, found in findings.items()}
    return Contrast(VLM, asked, {VIEWS[view]: frozenset(found) for view, found in shows.items()}, limit)


def test_a_question_goes_to_the_next_image_that_does_not_share_its_finding():
    step = [pair("p", "a"), pair("q", "b"), pair("r", "c"), pair("s", "a")]
    shows = {"a": ["opacity"], "b": ["opacity", "nodule"], "c": ["pneumothorax"]}
    put = contrast(shows, p=["opacity"], q=["nodule"], r=["pneumothorax"], s=[]).put(step)
    assert [one.other and one.other.views for one in put] == [VIEWS["c"], VIEWS["c"], VIEWS["a"], None]
    assert put[0].other == Branch(VIEWS["c"], (1, 2), (3,))
    assert put[3] is step[3]


def test_where_every_image_shares_the_finding_there_is_no_other():
    step = [pair("p", "a"), pair("q", "b")]
    alike = contrast({"a": ["opacity"], "b": ["opacity"]}, p=["opacity"], q=["opacity"])
    assert [one.other for one in alike.put(step)] == [None, None]
    assert not alike.fits(step[0])
    # "Is there an abnormality?" is shared by any image that shows one.
    general = contrast({"a": ["opacity"], "b": ["nodule"], "c": []}, p=["abnormality"], r=[])
    assert [one.other and one.other.views for one in general.put([pair("p", "a"), pair("r", "c")])] == [
        VIEWS["c"],
        None,
    ]
    assert general.fits(step[0])


def test_a_picture_of_another_size_has_a_prompt_of_its_own_and_one_that_is_too_long_is_passed_over():
    small, large = ((2, 2),), ((2, 2, 2, 2),)
    step = [pair("p", "a", sizes=small), pair("q", "b", sizes=large)]
    found = contrast({"a": ["x"], "b": []}, p=["nodule"], q=[])
    assert found.put(step)[0].other == Branch(VIEWS["b"], (9,) * 7, (3,), large)
    assert contrast({"a": ["x"], "b": []}, limit=7, p=["nodule"], q=[]).put(step)[0].other is None
