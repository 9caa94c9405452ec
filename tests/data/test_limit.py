"""`data.max_train_examples`: whole images, in a seeded order, and everything left out is told."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mmedpo.data.stage import limit_training
from mmedpo.records import Example, ImageRef


def _examples(questions: list[int], split: str = "train") -> list[Example]:
    """Image number n with `questions[n]` questions; questions of an image do not stand together."""
    found = [
        Example(
            example_id=f"{split}-{image}-{number}",
            dataset="d",
            split=split,
            image=ImageRef(path=f"{image}.png", sha256=f"{split}{image}", width=8, height=8),
            question="Is it big?",
            answer="yes",
            answer_type="closed",
        )
        for number in range(max(questions, default=0))
        for image, count in enumerate(questions)
        if number < count
    ]
    return found


counts = st.lists(st.integers(1, 6), min_size=1, max_size=12)


@given(counts, st.integers(1, 40), st.integers(0, 5))
def test_an_image_is_kept_with_all_its_questions_or_not_at_all(questions: list[int], most: int, seed: int) -> None:
    examples = _examples(questions)
    kept, drops = limit_training(examples, most, seed)
    assert len(kept) <= most
    of_image = Counter(example.image.sha256 for example in kept)
    for sha, number in of_image.items():
        assert number == questions[int(sha.removeprefix("train"))], "cut within an image"
    assert {e.example_id for e in kept} | {d.item for d in drops} == {e.example_id for e in examples}
    assert len(kept) + len(drops) == len(examples)
    assert {(drop.stage, drop.reason, drop.detail) for drop in drops} <= {
        ("data", "over-the-limit", f"data.max_train_examples={most}")
    }
    # No image that was left out would still have fitted.
    left_out = {e.image.sha256 for e in examples} - set(of_image)
    assert all(len(kept) + questions[int(sha.removeprefix("train"))] > most for sha in left_out)


@given(counts, counts, st.integers(1, 10))
def test_other_splits_stay_whole_and_the_order_stays(train: list[int], test: list[int], most: int) -> None:
    examples = [*_examples(test, "test"), *_examples(train)]
    kept, drops = limit_training(examples, most, 0)
    assert [e for e in kept if e.split == "test"] == _examples(test, "test")
    assert [e for e in examples if e in kept] == kept
    assert all(drop.item.startswith("train-") for drop in drops)


def test_the_seed_draws_the_images() -> None:
    examples = _examples([2] * 20)
    drawn = {frozenset(e.image.sha256 for e in limit_training(examples, 10, seed)[0]) for seed in range(8)}
    assert len(drawn) > 1
    assert all(len(images) == 5 for images in drawn)
    assert limit_training(examples, 10, 3) == limit_training(examples, 10, 3)
