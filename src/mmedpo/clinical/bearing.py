"""What an answer rests on: the findings an image must show for the answer to be the truth. Pure.

A visual pair asks whether the model looked at the lesion, so it may only be made of questions whose truth the
lesion decides: not of modality, plane, or a finding that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from functools import lru_cache

from mmedpo.clinical.conflict import related
from mmedpo.clinical.facts import LUNG_ABNORMALITY, Facts, extract_facts
from mmedpo.clinical.findings import GENERIC_FINDINGS
from mmedpo.clinical.lexicon import find_terms, is_yes_no_question, words
from mmedpo.records import ErrorType, Example

OF_THE_PICTURE: frozenset[ErrorType] = frozenset({"modality", "plane"})
"""Questions about the picture itself: no finding decides them, whichever they name."""
_NOTHING = frozenset({"no", "none", "nil", "not", "nothing", "zero", "neither", "nowhere", "absent", "negative"})
"""Words of an answer that names nothing, to a question that takes something for granted."""
_NULL = re.compile(r"(?<![\d.,])0(?![.,]?\d)|\bn/a\b", re.IGNORECASE)
_ASKS_WHAT_IS_NOT = re.compile(
    r"\b(?:absent|missing|lacking|excluded|ruled out|"
    r"(?:not|n't) (?:present|seen|visible|shown|found|there|identified|demonstrated|noted))\b"
)


@lru_cache(maxsize=1 << 16)
def rests_on(question: str, answer: str, error_type: ErrorType = "other") -> frozenset[str]:
    """Names of the findings that are there and that the answer rests on; empty when it rests on none.

    A question that presupposes a finding ("on which side is the effusion?") rests on it unless the answer denies it.
    What the lexicon does not know is not guessed. A particular finding stands for the general one that holds it.

    Args:
        question: plain text.
        answer: the ground truth.
        error_type: what the question asks for.
    """
    if error_type in OF_THE_PICTURE:
        return frozenset()
    if not is_yes_no_question(question) and _ASKS_WHAT_IS_NOT.search(question.lower()):
        return frozenset()
    said = extract_facts(answer, question, error_type)
    found = _there(said)
    denied = any(not fact.present for fact in said.findings)
    if not is_yes_no_question(question) and _names_nothing(answer):
        return frozenset()
    if said.polarity is None and not is_yes_no_question(question) and not denied:
        found |= _there(extract_facts(question.rstrip("? "), "", error_type))
    return _particular(found) or found


def _names_nothing(answer: str) -> bool:
    """Whether an answer denies and says nothing else: "none", "0", "not applicable"."""
    named = any(match.term.kind != "count" for match in find_terms(answer))
    return not named and bool(_NOTHING & set(words(answer)) or _NULL.search(answer))


def shown_in(examples: Iterable[Example]) -> Mapping[str, frozenset[str]]:
    """Findings that each image is known to show, by its hash: those that any true answer on it rests on."""
    found: dict[str, frozenset[str]] = {}
    for example in examples:
        here = rests_on(example.question, example.answer, example.error_type)
        found[example.image.sha256] = found.get(example.image.sha256, frozenset()) | here
    return found


def marked_by(labels: Iterable[str]) -> frozenset[str]:
    """Findings that labels of regions name; empty where one may be any finding ("lesion") or the lexicon knows none."""
    named = [{match.term.name for match in find_terms(label) if match.term.kind == "finding"} for label in labels]
    if any(names and not _particular(names) for names in named):
        return frozenset()
    return frozenset().union(*map(_particular, named))


def shares(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether an image that shows `theirs` may show one of `ours` too: the same, or a name that may mean the same."""
    others = tuple(theirs)
    return any(related(one, other) for one in ours for other in others)


def _particular(names: Set[str]) -> frozenset[str]:
    return frozenset(names - GENERIC_FINDINGS.keys() - {LUNG_ABNORMALITY})


def _there(facts: Facts) -> frozenset[str]:
    return frozenset(fact.name for fact in facts.findings if fact.present)
