"""The injector: writes a plausible wrong answer in the style and length of the ground truth.

METHOD section 1: where no candidate conflicts, the judge writes the dispreferred answer itself. This
one changes one clinically meaningful thing and nothing else. Length must not tell the sides apart
(the published pairs have 13 words against 2), so an edit may change a short answer by one word and a
report by a tenth at most, and most edits keep the number of words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Set

import numpy as np

from mmedpo.clinical import conflict, extract_facts
from mmedpo.clinical.conflict import WEIGHTS
from mmedpo.clinical.lexicon import find_terms, words
from mmedpo.curate.edits import edits, match_case
from mmedpo.curate.validators import STAGE, validate
from mmedpo.records import Drop, ErrorType, Example, Record, Verdict

NOTHING_TO_PERTURB = "nothing-to-perturb"
_LONG = 12
"""Answers of more words than this may change by a tenth; shorter ones by one word."""

_YES_NO = re.compile(r"^(\W*)(yes|no)\b", re.IGNORECASE)
_DENY = (
    (re.compile(r"\b(there (?:is|are|was|were)) an?\b", re.IGNORECASE), r"\1 no"),
    (re.compile(r"\b(is|are|was|were|does|do|has|have|can)\b(?! not\b)", re.IGNORECASE), r"\1 not"),
)
_AFFIRM = (
    (re.compile(r"\b(there (?:is|was)) no\b", re.IGNORECASE), r"\1 a"),
    (re.compile(r"\b(there (?:are|were)) no\b", re.IGNORECASE), r"\1"),
    (re.compile(r"\b(is|are|was|were|does|do|has|have|can) not\b", re.IGNORECASE), r"\1"),
)


class Perturbation(Record):
    """A wrong answer written from the ground truth."""

    example_id: str
    """The question it answers."""
    text: str
    """The wrong answer."""
    error_type: ErrorType
    """What it gets wrong."""
    conflict: float
    """Its contradiction with the ground truth in (0, 1]."""
    reason: str
    """What was changed, in one line."""


def perturb(example: Example, seed: int, vocabulary: Set[str] | None = None) -> Perturbation | Drop:
    """A wrong answer for `example`, the same for the same example and seed whatever else was drawn.

    Tried in turn: another of the closed question's choices, the opposite polarity, an edit of the kind
    the question asks for, any other edit. In a report the kind is drawn first, so that common words
    do not crowd out rare ones.

    Args:
        example: the question with its ground truth.
        seed: drives every draw, together with the example's id.
        vocabulary: words of the dataset's ground truths (lower case, see `vocabulary_of`). Proposals
            within it come first: a word that never is the truth would give the answer away.

    Returns:
        The perturbation, or a `Drop` with reason `nothing-to-perturb`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(example.example_id.encode())])
    found = proposals(example, rng)
    if vocabulary is not None:
        found.sort(key=lambda proposal: not set(words(proposal[0])) <= vocabulary)
    for text, kind in found:
        made = accepted(example, text, kind)
        if made:
            return made
    detail = f"no term of {example.answer[:60]!r} can be exchanged"
    return Drop(stage=STAGE, item=example.example_id, reason=NOTHING_TO_PERTURB, detail=detail)


def written(made: Perturbation | Drop, example: Example, judge: str) -> Verdict:
    """The verdict where no answer of the model is picked: what was written in its place, or why nothing was."""
    told = {"example_id": example.example_id, "judge": judge, "reason": made.reason}
    if isinstance(made, Drop):
        return Verdict(outcome="dropped", rejected="", error_type=example.error_type, **told)
    return Verdict(outcome="injected", rejected=made.text, error_type=made.error_type, conflict=made.conflict, **told)


def vocabulary_of(examples: Iterable[Example]) -> frozenset[str]:
    """Lower-case words of all ground truths."""
    return frozenset(word for example in examples for word in words(example.answer))


def allowed_change(n_words: int) -> int:
    """How many words a wrong answer may be longer or shorter than a truth of `n_words` words."""
    return 1 if n_words <= _LONG else max(1, n_words // 10)


def proposals(example: Example, rng: np.random.Generator) -> list[tuple[str, ErrorType]]:
    """Edits of an answer that change one thing, best first, each with its kind; not yet checked (see `perturb`)."""
    found = [(text, example.error_type) for text in other_choices(example, rng)]
    turned = opposite(example.answer)
    if turned is not None:
        return [*found, (turned, "presence" if example.error_type == "other" else example.error_type)]
    report = example.answer_type == "report"
    by_kind: dict[ErrorType, list[str]] = {}
    for edit in edits(example.answer, example.question, report, regions_of(example)):
        by_kind.setdefault(edit.error_type, []).append(edit.apply(example.answer))
    kinds = [sorted(by_kind)[i] for i in rng.permutation(len(by_kind))]
    if not report:
        kinds.sort(key=lambda kind: kind != example.error_type)  # stable: the asked kind first
    for kind in kinds:
        found += [(by_kind[kind][i], kind) for i in rng.permutation(len(by_kind[kind]))]
    return found


def other_choices(example: Example, rng: np.random.Generator) -> list[str]:
    """The wrong ones of a question's choices, written like the truth, those of its length first."""
    truth = words(example.answer)
    if truth not in [words(choice) for choice in example.choices]:
        return []
    others = [c for c in example.choices if words(c) != truth]
    others = [others[i] for i in rng.permutation(len(others))]
    others.sort(key=lambda c: abs(len(c.split()) - len(example.answer.split())))
    if example.answer in example.choices:
        return others
    end = example.answer[len(example.answer.rstrip(".")) :]
    return [match_case(example.answer, c) + ("" if c.endswith(".") else end) for c in others]


def opposite(answer: str) -> str | None:
    """The answer with the other polarity; None when it opens with neither yes nor no."""
    m = _YES_NO.match(answer)
    if not m or (m.group(2).lower() == "no" and re.match(r" +(?!there|it|the)\w", answer[m.end() :])):
        return None
    yes = m.group(2).lower() == "yes"
    flipped = m.group(1) + match_case(m.group(2), "no" if yes else "yes")
    if m.group(2).isupper():
        flipped = flipped.upper()
    rest = answer[m.end() :]
    if not words(rest):
        return flipped + rest
    for pattern, replacement in _DENY if yes else _AFFIRM:
        if pattern.search(rest):
            return flipped + re.sub(r"\ba(?= [aeiou])", "an", pattern.sub(replacement, rest, count=1))
    return None


def regions_of(example: Example) -> frozenset[str]:
    """Body regions named by the tags, else by question and answer."""
    text = " ".join([*(t.partition(":")[2] for t in example.tags if t.startswith(("organ:", "region:")))])
    for source in (text, f"{example.question} {example.answer}"):
        found = {m.term.name if m.term.group == "body-region" else m.term.group for m in find_terms(source)}
        named = {
            "chest" if n in ("chest", "chest-organ") else "abdomen" if n == "abdominal-organ" else n for n in found
        }
        named |= {"head"} if "brain-part" in found else set()
        if named & {"chest", "head", "abdomen"}:
            return frozenset(named & {"chest", "head", "abdomen"})
    return frozenset()


def accepted(example: Example, text: str, kind: ErrorType, least: float = 0.0) -> Perturbation | None:
    """A proposed wrong answer as it is recorded; None where its length is another, or it contradicts too little.

    Args:
        example: the question with its truth.
        text: the proposal.
        kind: what it gets wrong.
        least: its conflict must be greater; below 0 it is wrong by its making, and weighs what its kind weighs.
    """
    n = len(example.answer.split())
    if abs(len(text.split()) - n) > allowed_change(n) or validate(example, text):
        return None
    truth = extract_facts(example.answer, example.question, example.error_type)
    found = conflict(truth, extract_facts(text, example.question, example.error_type))
    if found.score <= least:
        return None
    score = found.score or WEIGHTS[kind]
    reason = found.reason or f"{kind}: {text} instead of {example.answer}"
    return Perturbation(example_id=example.example_id, text=text, error_type=kind, conflict=score, reason=reason)
