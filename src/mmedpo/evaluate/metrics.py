"""Numbers for one answer: token recall for questions, BLEU, ROUGE-L and METEOR for reports.

Pure functions of tokens or text. NLTK and rouge-score are imported inside the functions that need
them, and nothing is ever downloaded.
"""

from __future__ import annotations

import importlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

Tokens = Sequence[str]

MeteorStages = Literal["METEOR", "METEOR (exact+stem)"]


def clipped_recall(reference: Tokens, prediction: Tokens) -> float:
    """Share of the reference's tokens found in the prediction; a token counts at most as often as the reference has it.

    Raises:
        ValueError: the reference has no token, so that recall is undefined.
    """
    if not reference:
        raise ValueError("recall is undefined for a reference without tokens")
    return _overlap(reference, prediction) / len(reference)


def token_f1(reference: Tokens, prediction: Tokens) -> float:
    """Harmonic mean of clipped recall and clipped precision (Rajpurkar et al., SQuAD, EMNLP 2016); 0 without overlap.

    Recall alone rewards long answers; this does not.
    """
    if not reference:
        raise ValueError("F1 is undefined for a reference without tokens")
    return 2 * _overlap(reference, prediction) / (len(reference) + len(prediction))


def released_recall(reference: Tokens, prediction: Tokens) -> float:
    """The published open-question recall: tp / (tp + fn), where tp counts the *prediction's* multiplicities.

    A right word repeated ten times counts ten times, against one missing word counted once. Source: the
    `calculate_f1score` of LLaVA-Med's evaluation, reused by MMedPO; 0 when either side is empty.
    """
    said, wanted = Counter(prediction), Counter(reference)
    true_positives = sum(count for word, count in said.items() if word in wanted)
    false_negatives = sum(count for word, count in wanted.items() if word not in said)
    return true_positives / (true_positives + false_negatives) if true_positives else 0.0


def bleu(reference: Tokens, prediction: Tokens) -> float:
    """Mean of BLEU-1 to BLEU-4, each from its own n-gram order, unsmoothed, in [0, 1].

    BLEU-n = brevity penalty * clipped n-gram precision (Papineni et al., ACL 2002). Orders longer than the
    reference are left out, so that a text equal to its reference always scores 1. An arithmetic mean needs no
    smoothing: an order without a match is 0 and no logarithm is taken.
    """
    orders = range(1, min(4, len(reference)) + 1)
    if not reference or not prediction:
        return 0.0
    brevity = min(1.0, math.exp(1 - len(reference) / len(prediction)))
    precisions = [
        _overlap(_ngrams(reference, order), found) / max(1, len(found))
        for order in orders
        for found in [_ngrams(prediction, order)]
    ]
    return brevity * sum(precisions) / len(orders)


def bleu_released(reference: Tokens, prediction: Tokens) -> float:
    """Mean of NLTK's sentence BLEU with weights (1,0,0,0) ... (0,0,0,1) and smoothing method 7: the paper's BLEU.

    Not bounded by 1: method 7 averages each order with its neighbours and adds 1 to the first, so a long text
    equal to its reference scores 1.12, and BLEU-1 is at least 1/3 as soon as one word matches (before brevity).
    """
    if not reference or not prediction:
        return 0.0
    nltk_bleu = importlib.import_module("nltk.translate.bleu_score")
    # All four at once: the counts of n-grams are the same for each.
    scores = nltk_bleu.sentence_bleu(
        [list(reference)],
        list(prediction),
        weights=[tuple(float(position == order) for position in range(4)) for order in range(4)],
        smoothing_function=nltk_bleu.SmoothingFunction().method7,
    )
    return float(sum(scores)) / 4


def corpus_bleu(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Corpus BLEU-4 of texts as written, in [0, 1]: counts of all texts are added up before they are divided.

    As sacrebleu 2 computes it by default (Post, WMT 2018; `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`), divided by
    100: mteval's 13a tokens, and where an order has no match half of one, a quarter for the next such order ...

    Raises:
        ValueError: no texts, or not as many predictions as references.
    """
    if not references or len(references) != len(predictions):
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions; give as many, at least one")
    matched, said, lengths = [0] * 4, [0] * 4, [0, 0]
    for reference, prediction in zip(references, predictions, strict=True):
        wanted, found = _tokens_13a(reference), _tokens_13a(prediction)
        lengths = [lengths[0] + len(wanted), lengths[1] + len(found)]
        for order in range(4):
            grams = _ngrams(found, order + 1)
            matched[order] += _overlap(_ngrams(wanted, order + 1), grams)
            said[order] += len(grams)
    if not any(matched) or not all(said):
        return 0.0
    half, logarithm = 1.0, 0.0
    for count, number in zip(matched, said, strict=True):
        half = half if count else half / 2
        logarithm += math.log((count or half) / number) / 4
    return min(1.0, math.exp(1 - lengths[0] / lengths[1])) * math.exp(logarithm)


_MARKS_13A = (
    (re.compile(r"([\{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""Marks are tokens of their own, but for the point and comma between digits and the apostrophe."""


def _tokens_13a(text: str) -> list[str]:
    """Tokens of mteval-v13a: what NIST's script, and BLEU of machine translation since, counts."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for name, mark in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(name, mark)
    text = f" {text} "
    for pattern, spaced in _MARKS_13A:
        text = pattern.sub(spaced, text)
    return text.split()


def rouge_l(reference: Tokens, prediction: Tokens) -> float:
    """ROUGE-L F1 of one text against one reference (Lin, 2004), by the `rouge-score` package, no stemming."""
    if not reference or not prediction:
        return 0.0
    scorer = _rouge_scorer()
    return float(scorer.score(" ".join(reference), " ".join(prediction))["rougeL"].fmeasure)


def rouge_l_released(reference: str, prediction: str) -> float:
    """ROUGE-L F as the `rouge` package (1.0.1) computes it, without depending on it.

    Both texts are cut into sentences at every period, the longest common subsequences of all sentence pairs
    are united as a *set* of words, and that is divided by the number of *distinct* words of either side:
    F = 2pr / (p + r + 1e-8). Repeated words therefore count once, unlike in `rouge_l`. Where the package raises
    (a side without any sentence) the score here is 0.
    """
    sentences = [[" ".join(part.split()) for part in text.split(".") if part] for text in (reference, prediction)]
    if not all(sentences):
        return 0.0
    wanted, said = ([sentence.split(" ") for sentence in side] for side in sentences)
    united: set[str] = set()
    for reference_words in wanted:
        for predicted_words in said:
            united |= _common_words(reference_words, predicted_words)
    recall = len(united) / len({word for words in wanted for word in words})
    precision = len(united) / len({word for words in said for word in words})
    return 2.0 * (precision * recall) / (precision + recall + 1e-8)


def meteor(reference: Tokens, prediction: Tokens) -> float:
    """METEOR of NLTK on the given tokens (Lavie and Agarwal, 2007; alpha 0.9, beta 3, gamma 0.5).

    Without WordNet data on this machine the synonym stage is skipped; see `meteor_label`.
    """
    if not reference or not prediction:
        return 0.0
    nltk_meteor = importlib.import_module("nltk.translate.meteor_score")
    return float(nltk_meteor.single_meteor_score(list(reference), list(prediction), wordnet=_wordnet()[0]))


def meteor_label() -> MeteorStages:
    """How METEOR is to be labelled in a table made on this machine."""
    return "METEOR" if _wordnet()[1] else "METEOR (exact+stem)"


class _NoSynonyms:
    """Stands in for WordNet: no word has synonyms, so only exact and stem matches remain."""

    def synsets(self, word: str) -> tuple[()]:
        return ()


@cache
def _wordnet() -> tuple[Any, bool]:
    wordnet = importlib.import_module("nltk.corpus").wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _NoSynonyms(), False
    return wordnet, True


class _BlankTokenizer:
    """Tokens were made before; rouge-score only has to split them again."""

    def tokenize(self, text: str) -> list[str]:
        return text.split(" ")


@cache
def _rouge_scorer() -> Any:
    rouge_scorer = importlib.import_module("rouge_score.rouge_scorer")
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_BlankTokenizer())


def _overlap(reference: Sequence[Any], prediction: Sequence[Any]) -> int:
    return (Counter(reference) & Counter(prediction)).total()


def _ngrams(tokens: Tokens, order: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]


def _common_words(reference: Tokens, prediction: Tokens) -> set[str]:
    """Words of one longest common subsequence; among several, the one the `rouge` package walks back to."""
    rows, columns = len(reference), len(prediction)
    length = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            if reference[row - 1] == prediction[column - 1]:
                length[row][column] = length[row - 1][column - 1] + 1
            else:
                length[row][column] = max(length[row - 1][column], length[row][column - 1])
    words: set[str] = set()
    row, column = rows, columns
    while row and column:
        if reference[row - 1] == prediction[column - 1]:
            words.add(reference[row - 1])
            row, column = row - 1, column - 1
        elif length[row - 1][column] > length[row][column - 1]:
            row -= 1
        else:
            column -= 1
    return words
