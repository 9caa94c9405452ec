"""Pairs carry where they come from; a missing score is a reason, never a number."""

from __future__ import annotations

import pytest

from curate.curation_examples import IMAGE, candidates, example
from mmedpo.curate.judges.contradiction import ContradictionJudge
from mmedpo.curate.pairs import text_pair, visual_pair
from mmedpo.errors import CurationError
from mmedpo.records import Grounding, NoiseSpec

TRUTH = example("left lung", error_type="side")


def grounding(confidence: float | None) -> Grounding:
    return Grounding(
        image_sha256=IMAGE.sha256, tool="annotation", heatmap_path="h.npy", confidence=confidence, reason="boxes only"
    )


def test_text_pair() -> None:
    pair = text_pair(TRUTH, ContradictionJudge().judge(TRUTH, candidates("right lung"), 0))
    assert (pair.pair_id, pair.chosen, pair.rejected) == ("e1/text", "left lung", "right lung")
    assert (pair.origin, pair.error_type, pair.score, pair.weight) == ("picked", "side", None, None)
    assert pair.unscored_reason
    assert pair.rejected_noise is None


def test_visual_pair_has_one_answer_and_two_images() -> None:
    pair = visual_pair(TRUTH, grounding(0.7), NoiseSpec(seed=5), "images/noised/e1.png")
    assert (pair.pair_id, pair.chosen, pair.rejected) == ("e1/visual", "left lung", "left lung")
    assert pair.rejected_noise == NoiseSpec(seed=5)
    assert (pair.score, pair.score_source, pair.unscored_reason) == (0.7, "annotation", "")


def test_a_confidence_of_zero_is_a_score() -> None:
    assert visual_pair(TRUTH, grounding(0.0), NoiseSpec(), "n.png").score == 0.0


def test_no_confidence_is_unscored_with_the_tools_reason() -> None:
    pair = visual_pair(TRUTH, grounding(None), NoiseSpec(), "n.png")
    assert (pair.score, pair.score_source, pair.unscored_reason) == (None, "", "boxes only")


def test_wrong_joins_are_refused() -> None:
    verdict = ContradictionJudge().judge(TRUTH, [], 0)
    with pytest.raises(CurationError, match="join by example_id"):
        text_pair(example("left lung", example_id="e2"), verdict)
    with pytest.raises(CurationError, match="was dropped"):
        text_pair(TRUTH, verdict.model_copy(update={"outcome": "dropped", "rejected": ""}))
    with pytest.raises(CurationError, match="join groundings by image_sha256"):
        visual_pair(TRUTH, grounding(0.5).model_copy(update={"image_sha256": "b" * 64}), NoiseSpec(), "n.png")
