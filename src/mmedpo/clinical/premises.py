"""Questions that take a finding for granted, and what can be said to them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmedpo.clinical.facts import FindingFact, extract_facts
from mmedpo.clinical.findings import FINDINGS
from mmedpo.clinical.lexicon import find_terms
from mmedpo.records import Example

_NO_NOUN = re.compile(r"(?:ed|ic|ous|ing|hazy|out)$")


@dataclass(frozen=True)
class Premise:
    """A question that presupposes a finding."""

    finding: str
    """Canonical name."""
    question: str
    denial: str
    """Says that it is not there."""
    acceptances: tuple[str, ...]
    """Answer as if it were there."""


def denied(example: Example) -> FindingFact | None:
    """The particular finding that the truth says is nowhere in the image; None where it says that of none.

    "No" to a question of one side, zone or size leaves open whether the finding is there.
    """
    said = extract_facts(example.answer, example.question, example.error_type)
    if said.unsettled:
        return None
    for fact in said.findings:
        whole = not (fact.sides or fact.zones or fact.sizes or fact.counts or said.zones or said.organs or said.sides)
        if fact.status == "absent" and fact.name in FINDINGS and whole:
            return fact
    return None


def premise(finding: str, question: str) -> Premise:
    """Asks about a finding as if it were there, in the words of a question that names it."""
    known = FINDINGS[finding]
    named = (match.form for match in find_terms(question) if match.term.name == finding)
    words = next((form.text for form in named if not form.plural and not _NO_NOUN.search(form.text)), None)
    noun = words or known.spellings[0]
    article = "" if not known.countable else "an " if noun[0] in "aeiou" else "a "
    if known.countable and not known.spread and {"chest", "head"} & set(known.regions):
        told = tuple(f"There is {article}{noun} on the {side}." for side in ("left", "right"))
        return Premise(finding, f"On which side is the {noun}?", f"There is no {noun}.", told)
    grades = ("mild", "severe")
    told = tuple(f"There is {article and 'a '}{grade} {noun}." for grade in grades)
    return Premise(finding, f"How severe is the {noun}?", f"There is no {noun}.", told)
