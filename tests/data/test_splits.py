"""Splits: nothing is ever shared, nothing moves, and leaks are counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.data.splits import disjoint_split, leak_report
from mmedpo.errors import ConfigError
from mmedpo.imaging.perceptual import perceptual_hash
from mmedpo.linking import linked
from mmedpo.records import Example, ImageRef

FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}


def _example(number: int, patient: str | None, image: str, split: str = "none", question: str = "") -> Example:
    return Example(
        example_id=f"e{number}",
        dataset="d",
        split=split,
        image=ImageRef(path=f"{image}.png", sha256=image, width=1, height=1),
        question=question or f"q{number}?",
        answer="a",
        answer_type="open",
        patient_id=patient,
    )


_LINKS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 12).map(lambda n: f"p{n}")), st.integers(0, 15).map(lambda n: f"i{n}")
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(links=_LINKS, seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_no_patient_or_image_is_ever_shared_and_order_does_not_matter(links, seed, order) -> None:  # type: ignore[no-untyped-def]
    examples = [_example(n, patient, image) for n, (patient, image) in enumerate(links)]
    split = disjoint_split(examples, FRACTIONS, seed)
    assert leak_report(split).clean
    for attribute in (lambda e: e.patient_id, lambda e: e.image.sha256):
        where: dict[str, set[str]] = {}
        for example in split:
            if attribute(example) is not None:
                where.setdefault(attribute(example), set()).add(example.split)
        assert all(len(splits) == 1 for splits in where.values())
    shuffled = list(examples)
    order.shuffle(shuffled)
    assert {e.example_id: e.split for e in disjoint_split(shuffled, FRACTIONS, seed)} == {
        e.example_id: e.split for e in split
    }


@settings(max_examples=50, deadline=None)
@given(links=_LINKS, seed=st.integers(0, 1000))
def test_a_new_patient_moves_nobody(links, seed) -> None:  # type: ignore[no-untyped-def]
    examples = [_example(n, patient, image) for n, (patient, image) in enumerate(links)]
    before = disjoint_split(examples, FRACTIONS, seed)
    more = [*examples, _example(900, "a-new-patient", "a-new-image"), _example(901, None, "another-image")]
    assert disjoint_split(more, FRACTIONS, seed)[: len(before)] == before


def test_a_further_image_of_a_known_patient_moves_nobody() -> None:
    before = disjoint_split([_example(n, f"p{n}", f"i{n}") for n in range(100)], FRACTIONS, 0)
    further = [_example(100 + n, f"p{n}", f"a-smaller-hash-{n}") for n in range(100)]
    after = disjoint_split([*before, *further], FRACTIONS, 0)
    assert after[:100] == before
    assert [e.split for e in after[100:]] == [e.split for e in before]


def test_chain_through_patients_and_images_stays_together() -> None:
    chain = [_example(0, "p0", "i0"), _example(1, "p1", "i0"), _example(2, "p1", "i1"), _example(3, None, "i1")]
    for seed in range(30):
        assert len({e.split for e in disjoint_split(chain, FRACTIONS, seed)}) == 1


def test_split_by_image_only_may_part_a_patient() -> None:
    examples = [_example(n, "p", f"i{n}") for n in range(50)]
    assert {e.split for e in disjoint_split(examples, FRACTIONS, 0, by=("image",))} == set(FRACTIONS)
    assert len({e.split for e in disjoint_split(examples, FRACTIONS, 0)}) == 1


def test_sizes_follow_the_fractions_and_the_seed_matters() -> None:
    examples = [_example(n, f"p{n}", f"i{n}") for n in range(2000)]
    first, second = (disjoint_split(examples, FRACTIONS, seed) for seed in (0, 1))
    counts = Counter(e.split for e in first)
    for name, share in FRACTIONS.items():
        assert abs(counts[name] / 2000 - share) < 0.04  # four standard deviations of a binomial share
    moved = sum(a.split != b.split for a, b in zip(first, second, strict=True))
    assert 0.5 < moved / 2000 < 0.75  # independent draws differ with 1 - (0.25 + 0.04 + 0.09) = 0.62


def test_split_with_share_zero_gets_nothing() -> None:
    examples = [_example(n, f"p{n}", f"i{n}") for n in range(200)]
    split = disjoint_split(examples, {"train": 1.0, "validation": 0.0, "test": 0.0}, 3)
    assert {e.split for e in split} == {"train"}


@pytest.mark.parametrize(
    "fractions", [{}, {"train": 0.7}, {"train": 1.2, "test": -0.2}, {"train": float("nan"), "test": 1.0}]
)
def test_impossible_fractions_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        disjoint_split([], fractions, 0)


def test_split_by_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="allowed: patient, image"):
        disjoint_split([], FRACTIONS, 0, by=())


def test_linked_gives_the_smallest_key_of_the_group() -> None:
    assert linked([["c", "b"], ["x"], ["b", "a"], ["y", "x"], ["z"]]) == ["a", "x", "a", "x", "z"]


def test_leak_report_counts_by_hand() -> None:
    examples = [
        _example(0, "p0", "i0", "train", "Is it big?"),
        _example(1, "p1", "i1", "train"),
        _example(2, "p0", "i0", "test", "is  it BIG?"),  # same image, patient and question
        _example(3, "p1", "i2", "test"),  # same patient only
        _example(4, None, "i3", "test"),  # nothing shared, no patient
        _example(5, "p9", "i3", "validation"),  # same image as in test
    ]
    report = leak_report(examples)
    by_name = {(o.fit, o.held): o for o in report.overlaps}
    assert set(by_name) == {("train", "validation"), ("train", "test"), ("validation", "test")}
    leak = by_name["train", "test"]
    assert (leak.images, leak.held_images) == (1, 3)
    assert (leak.patients, leak.held_patients) == (2, 2)
    assert leak.questions == 1
    assert by_name["train", "validation"].clean
    assert by_name["validation", "test"].images == 1
    assert not report.clean
    assert "1 of the 3 images of split 'test' also occur in 'train'" in report.lines()[0]
    assert len(report.lines()) == 2


def test_leak_report_tells_a_copy_under_other_bytes() -> None:
    """A re-encoded copy shares no hash of bytes; it is told by its looks."""
    look = perceptual_hash(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    other = perceptual_hash(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8))
    assert look != other

    def seen(number: int, image: str, split: str, perceptual: str) -> Example:
        example = _example(number, None, image, split)
        return example.model_copy(update={"image": example.image.model_copy(update={"perceptual": perceptual})})

    copied = leak_report([seen(0, "i0", "train", look), seen(1, "i1", "test", look), seen(2, "i2", "test", other)])
    (leak,) = copied.overlaps
    assert (leak.images, leak.lookalikes) == (0, 1)
    assert not copied.clean
    assert copied.lines()[0].endswith("; 1 more look the same under other bytes")
