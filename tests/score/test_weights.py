"""Weights by hand, and what the published scores become under each reading of the formula."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.errors import ConfigError, ScoringError
from mmedpo.records import ImageRef, PreferencePair
from mmedpo.score.weights import DEFAULTS, clinical_weights, weigh_pairs

IMAGE = ImageRef(path="a.png", sha256="a" * 64, width=8, height=8)


def pair(name: str, kind: str, score: float | None) -> PreferencePair:
    return PreferencePair(
        pair_id=f"{name}/{kind}", example_id=name, kind=kind, image=IMAGE, question="q", chosen="a", rejected="b",
        score=score, unscored_reason="" if score is not None else "every agent abstained",
    )  # fmt: skip


def test_rescale_by_hand() -> None:
    # mean 0.5, population std sqrt((0.01 + 0 + 0.01) / 3) = 0.0816; z = -1.2247, 0, 1.2247; sigma 0.1.
    report = clinical_weights([0.4, 0.5, 0.6], sigma=0.1)
    assert report.weights == pytest.approx((1 - 0.1 * math.sqrt(1.5), 1.0, 1 + 0.1 * math.sqrt(1.5)))
    assert (report.mean, report.std) == pytest.approx((0.5, math.sqrt(0.02 / 3)))
    assert (report.at_lower, report.at_upper, report.warnings) == (0, 0, ())


def test_rescale_clips_at_the_papers_bounds() -> None:
    # z = -1 and 1, sigma = 0.316: 0.684 -> 0.75 and 1.316 -> 1.25.
    report = clinical_weights([0.2, 0.8])
    assert report.weights == (0.75, 1.25)
    assert (report.at_lower, report.at_upper) == (1, 1)
    assert "2 of 2 weights sit on a bound" in report.warnings[0]


def test_literal_puts_everything_on_the_lower_bound() -> None:
    report = clinical_weights([0.1, 0.9, 1.0], "literal")
    assert report.weights == (0.75, 0.75, 0.75)
    assert report.at_lower == 3
    assert report.warnings


def test_zscore_by_hand() -> None:
    # z = -1.2247, 0, 1.2247 -> 0.75, 0.75, 1.2247.
    assert clinical_weights([0.4, 0.5, 0.6], "zscore").weights == pytest.approx((0.75, 0.75, math.sqrt(1.5)))


def test_raw_and_none() -> None:
    report = clinical_weights([0.0, 0.3, 1.0], "raw")
    assert report.weights == (0.0, 0.3, 1.0)
    assert "1 of 3 weights are exactly 0" in report.warnings[0]
    assert clinical_weights([0.0, 0.3, 1.0], "none").weights == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("mode", ["rescale", "zscore"])
def test_equal_scores_give_mu_and_a_warning(mode: str) -> None:
    report = clinical_weights([0.7] * 3, mode, mu=1.1)  # type: ignore[arg-type]
    assert report.weights == (1.1, 1.1, 1.1)
    assert report.std == 0.0
    assert "std 0" in report.warnings[0]


@given(st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=2, max_size=40))
def test_rescale_keeps_order_and_bounds(scores: list[float]) -> None:
    weights = clinical_weights(scores).weights
    assert all(0.75 <= w <= 1.25 for w in weights)
    order = np.argsort(scores, kind="stable")
    assert all(weights[a] <= weights[b] for a, b in itertools.pairwise(order))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40).filter(lambda s: np.std(s) > 1e-6))
def test_unclipped_rescale_has_the_promised_mean_and_variance(scores: list[float]) -> None:
    weights = clinical_weights(scores, mu=10.0, lower=0.0, upper=20.0).weights
    assert np.mean(weights) == pytest.approx(10.0)
    assert np.std(weights) == pytest.approx(0.1**0.5)
    assert DEFAULTS.sigma == pytest.approx(0.1**0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": []}, "no scores"),
        ({"scores": [0.5, 8.0]}, "outside"),
        ({"scores": [float("nan")]}, "outside"),
        ({"scores": [0.5], "sigma": 0.0}, "sigma"),
        ({"scores": [0.5], "lower": 1.5}, "bounds"),
    ],
)
def test_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        clinical_weights(**arguments)  # type: ignore[arg-type]


def test_an_unknown_weighting_is_refused_and_the_near_one_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown weighting 'rescal'; did you mean 'rescale'[?] known: literal, raw"):
        clinical_weights([0.5], "rescal")


def test_statistics_are_taken_per_source() -> None:
    pairs = [pair("a", "text", 0.2), pair("a", "visual", 0.90), pair("b", "text", 0.8), pair("b", "visual", 0.92)]
    done = weigh_pairs(pairs, sigma=0.1)
    assert [p.weight for p in done.pairs] == pytest.approx([0.9, 0.9, 1.1, 1.1])
    assert [p.pair_id for p in done.pairs] == ["a/text", "a/visual", "b/text", "b/visual"]
    assert done.reports["visual"].mean == pytest.approx(0.91)
    assert [p.score for p in done.pairs] == [0.2, 0.90, 0.8, 0.92]  # the raw score stays


def test_unscored_pairs_are_dropped_with_their_reason_or_kept_at_mu() -> None:
    pairs = [pair("a", "text", 0.2), pair("b", "text", None), pair("c", "text", 0.8)]
    done = weigh_pairs(pairs, sigma=0.1)
    assert [p.weight for p in done.pairs] == pytest.approx([0.9, 1.1])
    assert [(d.item, d.reason, d.detail) for d in done.drops] == [("b/text", "unscored", "every agent abstained")]
    kept = weigh_pairs(pairs, sigma=0.1, unscored="mu")
    assert [p.weight for p in kept.pairs] == pytest.approx([0.9, 1.0, 1.1])
    assert not kept.drops


def test_a_source_without_any_score_has_no_report() -> None:
    done = weigh_pairs([pair("a", "visual", None)])
    assert (done.pairs, len(done.drops), done.reports) == ((), 1, {})


def test_unweighted_training_needs_no_scores() -> None:
    done = weigh_pairs([pair("a", "text", None), pair("b", "text", 0.1)], "none")
    assert [p.weight for p in done.pairs] == [1.0, 1.0]
    assert not done.drops


def test_published_scores(shared_data: Path) -> None:
    rows = json.loads((shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json").read_text())
    scores = [float(row["weighted_score"]) for row in rows]
    zscore = clinical_weights(scores, "zscore")
    assert (len(scores), zscore.at_lower) == (1797, 1133)  # 63 % on the lower bound
    assert zscore.warnings
    assert clinical_weights(scores, "literal").at_lower == 1797
    rescale = clinical_weights(scores)
    assert (rescale.at_lower, rescale.at_upper, rescale.warnings) == (303, 0, ())
    assert "12 of 1797 weights are exactly 0" in clinical_weights(scores, "raw").warnings[0]
