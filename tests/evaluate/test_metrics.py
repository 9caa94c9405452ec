"""Metrics against values derived by hand."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.evaluate import metrics

tokens = str.split

words = st.lists(st.sampled_from(tokens("heart lung clear no effusion left right")), min_size=1, max_size=12)


def test_recall_is_clipped_to_the_reference() -> None:
    assert metrics.clipped_recall(["left", "lung"], ["left"]) == 0.5
    assert metrics.clipped_recall(["left", "lung"], ["left"] * 9) == 0.5
    assert metrics.clipped_recall(["left", "left"], ["left"]) == 0.5


def test_released_recall_rewards_repetition() -> None:
    assert metrics.released_recall(["left", "lung"], ["left"]) == 0.5
    assert metrics.released_recall(["left", "lung"], ["left"] * 9) == 0.9
    assert metrics.released_recall(["left"], []) == 0.0


def test_undefined_recall_is_refused() -> None:
    with pytest.raises(ValueError, match="undefined"):
        metrics.clipped_recall([], ["left"])
    with pytest.raises(ValueError, match="undefined"):
        metrics.token_f1([], ["left"])


def test_token_f1_punishes_dumping() -> None:
    # precision 2/8, recall 2/2 -> 2 * 2 / (2 + 8)
    assert metrics.token_f1(["left", "lung"], tokens("left lung right heart liver spleen brain bone")) == 0.4


@given(words)
def test_equal_texts_score_one(text: list[str]) -> None:
    assert metrics.clipped_recall(text, text) == metrics.token_f1(text, text) == 1.0
    assert metrics.bleu(text, text) == pytest.approx(1.0)


@given(words, words)
def test_strict_metrics_stay_in_the_unit_interval(reference: list[str], prediction: list[str]) -> None:
    for metric in (metrics.clipped_recall, metrics.token_f1, metrics.bleu):
        assert 0.0 <= metric(reference, prediction) <= 1.0


def test_bleu_by_hand() -> None:
    # Unigrams 3/4, bigrams 1/3 ("the heart"), no trigram; lengths 4 and 5 -> brevity e^(1 - 5/4).
    reference, prediction = tokens("the heart is not enlarged"), tokens("the heart not large")
    assert metrics.bleu(reference, prediction) == pytest.approx(math.exp(-0.25) * (3 / 4 + 1 / 3) / 4)


@pytest.mark.filterwarnings("ignore:.*counts of .*-gram overlaps")
def test_bleu_agrees_with_nltk_without_smoothing() -> None:
    nltk_bleu = import_module("nltk.translate.bleu_score")
    reference = tokens("no focal consolidation pleural effusion or pneumothorax is seen today")
    prediction = tokens("no focal consolidation or pleural effusion or pneumothorax seen today at all")
    expected = [
        nltk_bleu.sentence_bleu([reference], prediction, weights=[float(n == k) for n in range(4)]) for k in range(4)
    ]
    assert expected[2] > 0
    matched = [value if value > 1e-100 else 0.0 for value in expected]
    assert metrics.bleu(reference, prediction) == pytest.approx(sum(matched) / 4)


def test_smoothed_bleu_of_the_paper_exceeds_one() -> None:
    # Method 7 on an exact match of more than 4 words: p1 = (2+1+1)/3, p2 = (p1+1+1)/3, p3 = (p2+2)/3, p4 = (p3+2)/3.
    text = tokens("the heart is normal in size")
    p1 = 4 / 3
    p2 = (p1 + 2) / 3
    p3 = (p2 + 2) / 3
    p4 = (p3 + 2) / 3
    assert metrics.bleu_released(text, text) == pytest.approx((p1 + p2 + p3 + p4) / 4)
    assert metrics.bleu_released(text, text) > 1.12


def test_smoothed_bleu_survives_short_and_empty_predictions() -> None:
    reference = tokens("the heart is normal")
    assert metrics.bleu_released(reference, []) == 0.0
    assert metrics.bleu_released(reference, ["lesion"]) == 0.0
    assert 0.0 < metrics.bleu_released(reference, ["heart"]) < 0.1


def test_rouge_l_by_hand() -> None:
    # LCS "the heart normal" = 3 of 4 and 3 of 5 -> 2 * 3 / (4 + 5).
    reference, prediction = tokens("the heart is normal"), tokens("the heart size normal today")
    assert metrics.rouge_l(reference, prediction) == pytest.approx(6 / 9)
    assert metrics.rouge_l(reference, []) == 0.0


def test_released_rouge_l_counts_distinct_words() -> None:
    # The package divides by distinct words: reference {no, effusion}, prediction {no}; LCS words {no}.
    assert metrics.rouge_l_released("no no effusion", "no no") == pytest.approx(2 * (1 / 2 * 1) / (1 / 2 + 1), abs=1e-6)
    assert metrics.rouge_l(tokens("no no effusion"), tokens("no no")) == pytest.approx(2 * 2 / 5)


def test_released_rouge_l_cuts_at_every_period() -> None:
    # "2.5" becomes two sentences, and words match across sentence order: distinct {2, 5, cm} on both sides.
    assert metrics.rouge_l_released("2.5 cm", "5 cm.2") == pytest.approx(1.0, abs=1e-6)
    assert metrics.rouge_l_released("left", "...") == 0.0


def test_meteor_by_hand_exact_and_stem() -> None:
    # "lungs" and "lung" share a stem; all 3 words match in one chunk: P = R = 1, penalty 0.5 * (1/3)^3.
    assert metrics.meteor(tokens("lungs are clear"), tokens("lung are clear")) == pytest.approx(1 - 0.5 / 27)
    assert metrics.meteor(["clear"], ["effusion"]) == 0.0
    assert metrics.meteor(["clear"], []) == 0.0


def test_meteor_names_its_stages_when_wordnet_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    nltk_data = import_module("nltk.data")
    monkeypatch.setattr(nltk_data, "path", [])
    corpora = import_module("nltk.corpus")
    if corpora.wordnet.__class__.__name__ != "LazyCorpusLoader":
        pytest.skip("WordNet is installed and already loaded here")
    metrics._wordnet.cache_clear()
    assert metrics.meteor_label() == "METEOR (exact+stem)"
    assert metrics.meteor(["mass"], ["lump"]) == 0.0
    metrics._wordnet.cache_clear()


REPORTS = [
    "The lungs are clear. No pleural effusion, no pneumothorax.",
    "Heart size is 1.5 times normal; there's a left-sided opacity.",
]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (REPORTS, 1.0),
        (
            [
                "Lungs are clear without pleural effusion or pneumothorax.",
                "The heart size is normal. There's a left-sided opacity (2-3 cm).",
            ],
            0.10917088607119526,
        ),
        (["The lungs are clear", ""], 0.0067379469990854705),
        (["clear", "opacity"], 0.0),
    ],
)
def test_corpus_bleu_is_that_of_sacrebleu(said: list[str], expected: float) -> None:
    """Values of `sacrebleu.metrics.BLEU().corpus_score` (2.6.0) over 100."""
    assert metrics.corpus_bleu(REPORTS, said) == pytest.approx(expected, abs=1e-12)


def test_corpus_bleu_needs_a_prediction_for_every_reference() -> None:
    with pytest.raises(ValueError, match="2 references and 1 predictions"):
        metrics.corpus_bleu(REPORTS, REPORTS[:1])
