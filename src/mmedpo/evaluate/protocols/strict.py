"""`strict`, the default protocol: word boundaries, no credit for saying both alternatives, clipped recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmedpo.evaluate import chinese, metrics
from mmedpo.evaluate.findings import finding_agreement
from mmedpo.evaluate.normalise import (
    ARTICLES,
    plain_tokens,
    strict_tokens,
)
from mmedpo.evaluate.protocols.judgement import Judgement
from mmedpo.records import Example
from mmedpo.registry import register

Polarity = Literal["yes", "no", "both", "neither"]
"""What a prediction says as a word of its own: yes, no, both of them or neither."""

_CHINESE_NOTES = {"wrong": "other-alternative", "both": "both-alternatives", "neither": "no-alternative"}
_NEGATORS = frozenset({"not", "without", "never", "neither", "nor"})


def polarity(text: str) -> Polarity:
    """Whether a text says yes, no, both or neither, as words (so "normal" does not say "no")."""
    if chinese.is_chinese(text):
        return chinese.polarity(text)
    words = set(strict_tokens(text))
    if {"yes", "no"} <= words:
        return "both"
    return "yes" if "yes" in words else "no" if "no" in words else "neither"


def mentions(tokens: Sequence[str], alternatives: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Which of the alternatives the tokens assert, at word boundaries.

    Longer alternatives are matched first and use up their tokens ("left lung" is not also "lung"). A mention is
    not an assertion when it stands right after a negator ("not left", "no mass"), or after a negator and one more
    word that belongs to no other alternative ("not on left", but not "not right, left"). Nothing cleverer is tried.
    """
    owner: list[tuple[str, ...] | None] = [None] * len(tokens)
    starts: list[tuple[int, tuple[str, ...]]] = []
    for phrase in sorted(set(alternatives), key=lambda words: (-len(words), words)):
        for start in range(len(tokens) - len(phrase) + 1):
            span = slice(start, start + len(phrase))
            if phrase and tuple(tokens[span]) == phrase and not any(owner[span]):
                owner[span] = [phrase] * len(phrase)
                starts.append((start, phrase))
    return {phrase for start, phrase in starts if not _negated(tokens, owner, start)}


def _negated(tokens: Sequence[str], owner: Sequence[tuple[str, ...] | None], start: int) -> bool:
    if start == 0 or owner[start - 1]:
        return False
    if tokens[start - 1] in _NEGATORS or tokens[start - 1] == "no":
        return True
    return start > 1 and not owner[start - 2] and tokens[start - 2] in _NEGATORS


@register("protocol", "strict")
class Strict:
    """The default. Word boundaries, no credit for saying both alternatives, recall clipped to the reference.

    Closed: the ground truth must be asserted and no other alternative may be; the alternatives are yes and no for
    a yes/no question, else `example.choices`. Open: clipped recall, and token F1 beside it. Report: BLEU in [0, 1],
    the paper's BLEU beside it (`bleu_smoothed`), ROUGE-L F1 and METEOR, on lower-case words without punctuation, and
    how far the findings agree (`evaluate.findings`).
    Chinese: signs are the words, and closed answers are compared by stem and negation (`evaluate.chinese`).
    """

    def score(self, example: Example, text: str) -> Judgement:
        """See the class; a ground truth without any word is unscored."""
        if example.answer_type == "closed":
            return self._closed(example, text)
        if example.answer_type == "open":
            reference, said = strict_tokens(example.answer), strict_tokens(text)
            if not reference:
                return Judgement(unscored="empty-reference")
            return Judgement(
                {
                    "open_recall": metrics.clipped_recall(reference, said),
                    "open_f1": metrics.token_f1(reference, said),
                }
            )
        reference, said = plain_tokens(example.answer), plain_tokens(text)
        if not reference:
            return Judgement(unscored="empty-reference")
        return Judgement(
            {
                "bleu": metrics.bleu(reference, said),
                "bleu_smoothed": metrics.bleu_released(reference, said),
                "rouge_l": metrics.rouge_l(reference, said),
                "meteor": metrics.meteor(reference, said),
                **finding_agreement(example.answer, text),
            }
        )

    def _closed(self, example: Example, text: str) -> Judgement:
        if chinese.is_chinese(example.answer):
            told = chinese.closed(example.answer, example.choices, example.question, text)
            return Judgement({"closed_accuracy": float(told == "right")}, note=_CHINESE_NOTES.get(told, ""))
        options = (example.answer, *example.choices)
        # An option that is only an article ("A") would vanish with the other articles.
        keep = any(
            set(words) <= ARTICLES for words in (strict_tokens(option, keep_articles=True) for option in options)
        )
        truth, *choices = (strict_tokens(option, keep_articles=keep) for option in options)
        if not truth:
            return Judgement(unscored="empty-reference")
        yes_no: list[tuple[str, ...]] = [("yes",), ("no",)]
        if truth in yes_no:
            words = set(strict_tokens(text, keep_articles=keep))
            asserted = {option for option in yes_no if option[0] in words}
        else:
            asserted = mentions(strict_tokens(text, keep_articles=keep), [truth, *(c for c in choices if c)])
        if asserted == {truth}:
            return Judgement({"closed_accuracy": 1.0})
        note = "both-alternatives" if truth in asserted else "other-alternative" if asserted else "no-alternative"
        return Judgement({"closed_accuracy": 0.0}, note=note)
