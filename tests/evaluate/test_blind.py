"""How often a model that sees no image finds the chosen answer likelier: by hand, and what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmedpo.errors import TooFewImages
from mmedpo.evaluate.blind import blind_shares
from mmedpo.records import BlindPair, PreferencePair
from mmedpo.train.blind import DRAWN, drawn
from report.finished_run import empty_run, example, text_pair


def seen(number: int, chosen: tuple[float, int], rejected: tuple[float, int], image: str = "") -> BlindPair:
    return BlindPair(
        pair_id=f"q{number}/text",
        example_id=f"q{number}",
        image_sha256=image or f"{number:064d}",
        chosen=chosen[0],
        chosen_tokens=chosen[1],
        rejected=rejected[0],
        rejected_tokens=rejected[1],
    )


def test_sums_and_means_per_token_are_told_apart_and_a_tie_counts_half() -> None:
    """q1: the longer chosen answer loses by its sum and wins per token. q2 wins both. q3 ties in the sum alone."""
    rows = [seen(1, (-6.0, 6), (-4.0, 2)), seen(2, (-1.0, 1), (-2.0, 1)), seen(3, (-3.0, 3), (-3.0, 2))]
    found = blind_shares(rows, {}, 200)
    assert found is not None
    assert (found.pairs, found.images) == (3, 3)
    assert found.summed.share == pytest.approx(1.5 / 3)
    assert found.per_token.share == pytest.approx(1.0)
    assert found.summed.low <= 0.5 <= found.summed.high


def test_questions_that_share_an_image_are_drawn_together() -> None:
    """Forty pairs on two images, of which one tells them all and the other none, say as little as two draws."""
    rows = [seen(n, (-1.0 - n % 2, 1), (-1.5, 1), image=f"{n % 2:064d}") for n in range(40)]
    found = blind_shares(rows, {}, 500)
    apart = blind_shares(rows, {row.example_id: row.example_id for row in rows}, 500)
    assert found is not None
    assert apart is not None
    assert (found.images, apart.images) == (2, 40)
    assert found.summed.high - found.summed.low > 2 * (apart.summed.high - apart.summed.low)
    with pytest.raises(TooFewImages):
        blind_shares(rows[::2], {}, 100)
    assert blind_shares([], {}, 100) is None


def test_a_thousand_text_pairs_are_drawn_the_same_ones_in_any_order(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run", _settings())
    pair = text_pair(example(run, 1, "train", answer="yes"), "picked", 0.5, 1.0, "no")
    many = [pair.model_copy(update={"pair_id": f"q{n}/text"}) for n in range(DRAWN + 200)]
    visual = pair.model_copy(update={"pair_id": "q1/visual", "kind": "visual"})
    assert len(drawn([visual, *many])) == DRAWN
    assert drawn(many) == drawn([visual, *reversed(many)])
    assert _kinds(drawn([visual, *many[:5]])) == {"text"}


def _kinds(pairs: list[PreferencePair]) -> set[str]:
    return {pair.kind for pair in pairs}


def _settings():
    from mmedpo.config import RunSettings

    return RunSettings()
