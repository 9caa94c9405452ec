"""What answered questions on an image tell of another answer to it: right, wrong, or nothing.

An answer is wrong where it contradicts a known fact, right where known facts say all that it says, and undecided
otherwise: what nobody said of the image is not taken to be absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mmedpo.clinical.conflict import Conflict, conflict
from mmedpo.clinical.facts import LUNG_ABNORMALITY, Facts, FindingFact, extract_facts
from mmedpo.clinical.findings import LUNG_FINDINGS
from mmedpo.clinical.lexicon import find_terms, words
from mmedpo.records import ErrorType

LEAST = 0.5
"""Least conflict that makes an answer wrong: a whole aspect, not a part of one (`conflict.WEIGHTS`)."""
_WIDE: dict[str, frozenset[str]] = {"abnormality": frozenset(), LUNG_ABNORMALITY: LUNG_FINDINGS}
"""What speaks of many findings at once, and which; empty: all."""
_ATTRIBUTES = ("sides", "zones", "sizes", "counts", "kinds")


class Settled(NamedTuple):
    """What is known of one answer."""

    state: Literal["right", "wrong", "undecided"]
    error_type: ErrorType = "other"
    """What a wrong answer gets wrong."""
    conflict: float = 0.0
    """How clearly, in [0, 1]."""
    reason: str = ""
    """The contradiction, in one line."""


class Answered(NamedTuple):
    """A question on the image with its true answer."""

    question: str
    answer: str
    error_type: ErrorType = "other"


@dataclass(frozen=True)
class Known:
    """Everything that true answers say of one image."""

    answered: tuple[Answered, ...]
    findings: tuple[FindingFact, ...]
    """One per finding that is there, with all that is said of it; and each that is not."""
    image: Facts
    """Modality and plane."""

    @classmethod
    def of(cls, answered: Iterable[Answered]) -> Known:
        """Of true answers to questions on one image."""
        given = tuple(answered)
        read = [_read(one.question, one.answer, one.error_type) for one in given]
        there: dict[str, list[FindingFact]] = {}
        for fact in (fact for facts in read for fact in facts.findings if fact.present):
            there.setdefault(fact.name, []).append(fact)
        absent = dict.fromkeys(fact for facts in read for fact in facts.findings if not fact.present)
        image = Facts(
            "",
            modalities=frozenset().union(*(facts.modalities for facts in read)),
            planes=frozenset().union(*(facts.planes for facts in read)),
        )
        return cls(given, (*map(_merged, there.values()), *absent), image)

    def settle(self, question: str, answer: str, error_type: ErrorType = "other") -> Settled:
        """Whether an answer to a question on the same image is right."""
        said = _read(question, answer, error_type)
        same = [one for one in self.answered if words(one.question) == words(question)]
        for one in same:
            truth = extract_facts(one.answer, one.question, error_type)
            if words(one.answer) == words(answer):
                return Settled("right")
            if (found := conflict(truth, extract_facts(answer, question, error_type))).score >= LEAST:
                return _wrong(found)
            if truth.polarity is not None and truth.polarity == said.polarity:
                return Settled("right")
        clashes = [clash for fact in said.findings for known in self.findings if (clash := _clash(known, fact))]
        clashes += [clash] if (clash := _of_image(self.image, said)) else []
        if clashes:
            return _wrong(max(clashes, key=lambda clash: clash.score))
        wholly = all(any(_says(known, fact) for known in self.findings) for fact in said.findings)
        seen = said.modalities <= self.image.modalities and said.planes <= self.image.planes
        spoken = said.findings or said.modalities or said.planes
        return Settled("right" if spoken and wholly and seen and not said.unsettled else "undecided")


def _read(question: str, answer: str, error_type: ErrorType) -> Facts:
    """The facts of an answer; a bare place, size or number belongs to the one finding that the question names."""
    facts = extract_facts(answer, question, error_type)
    denied = {name for name, covered in _WIDE.items() if facts.present & covered or (facts.present and not covered)}
    # "No other abnormality" speaks of what is left.
    kept = tuple(fact for fact in facts.findings if fact.present or fact.name not in denied)
    facts = replace(facts, findings=kept)
    if facts.findings or facts.unsettled or facts.polarity is not None:
        return facts
    named = {match.term.name for match in find_terms(question) if match.term.kind == "finding"}
    if len(named) != 1 or not (facts.sides or facts.zones or facts.sizes or facts.counts):
        return facts
    fact = FindingFact(named.pop(), "present", facts.sides, facts.zones, facts.sizes, facts.counts)
    return replace(facts, findings=(fact,))


def _merged(facts: list[FindingFact]) -> FindingFact:
    """One finding with all that is said of it; where two sayings clash there are several: only the name is known."""
    first = facts[0]
    if any(_clash(a, b) for a in facts for b in facts):
        return FindingFact(first.name, "present")
    sides, zones, sizes, counts, kinds = (
        frozenset().union(*(getattr(fact, name) for fact in facts)) for name in _ATTRIBUTES
    )
    return FindingFact(first.name, first.status, sides, zones, sizes, counts, kinds)


def _clash(known: FindingFact, said: FindingFact) -> Conflict | None:
    """The contradiction of one fact by another, if there is one whatever else is on the image."""
    wide = known.name in _WIDE or said.name in _WIDE
    if known.name != said.name and not wide:
        return None
    if known.name == LUNG_ABNORMALITY != said.name and said.name not in LUNG_FINDINGS:
        return None
    denial = next((fact for fact in (known, said) if not fact.present), None)
    claim = said if denial is known else known
    if denial is not None and claim.present and _narrower(denial, claim):
        return None
    if known.name != said.name and (denial is None or denial.name not in _WIDE):
        return None  # "no nodule" contradicts no "abnormality"
    found = conflict(Facts("", findings=(known,)), Facts("", findings=(said,)))
    return found if found.score >= LEAST else None


def _narrower(denial: FindingFact, claim: FindingFact) -> bool:
    """A denial of one side, size or kind says nothing of a finding that may be another."""
    return any(
        getattr(denial, name) and not (getattr(claim, name) and getattr(claim, name) <= getattr(denial, name))
        for name in _ATTRIBUTES
    )


def _of_image(known: Facts, said: Facts) -> Conflict | None:
    """Another modality or plane than that of the image."""
    pairs = (
        (Facts("", asked="modality", modalities=known.modalities), Facts("", modalities=said.modalities)),
        (Facts("", asked="plane", planes=known.planes), Facts("", planes=said.planes)),
    )
    for true, other in pairs:
        if (found := conflict(true, other)).score >= LEAST:
            return found
    return None


def _says(known: FindingFact, said: FindingFact) -> bool:
    """Whether a known fact says all that another says."""
    if (known.name, known.present) != (said.name, said.present):
        return False
    if said.present and said.sides and said.sides != known.sides:
        return False  # one side of a finding on both is not what was to be said
    wide, narrow = (said, known) if said.present else (known, said)
    return all(getattr(wide, name) <= getattr(narrow, name) for name in _ATTRIBUTES)


def _wrong(found: Conflict) -> Settled:
    return Settled("wrong", found.error_type, found.score, found.reason)
