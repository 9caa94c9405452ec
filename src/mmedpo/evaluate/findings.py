"""Whether a report names the findings of its reference: by the rules of the clinical room, no model.

Presence and absence come from the assertion engine, whose precision and recall on report sentences are measured in
docs/results/clinical-language.md; what it cannot read counts neither way.
"""

from __future__ import annotations

from mmedpo.clinical import Facts, extract_facts
from mmedpo.clinical.facts import LUNG_ABNORMALITY


def finding_agreement(reference: str, prediction: str) -> dict[str, float]:
    """How far the findings of two reports agree. A quantity without anything to count is absent, never 0.

    `finding_f1`: of findings said to be present. `absence_f1`: of findings denied. `hallucinated_findings`: share of
    the prediction's present findings that the reference does not name at all, or denies; one that it calls uncertain or
    past is none. `missed_findings`: share of the reference's present findings that the prediction does not say are
    present. `side_agreement`: share with equal sides, of findings that both place.
    """
    truth, said = extract_facts(reference), extract_facts(prediction)
    wanted, given = _named(truth, present=True), _named(said, present=True)
    found = {}
    if wanted or given:
        found["finding_f1"] = 2 * len(wanted & given) / (len(wanted) + len(given))
    if given:
        open_in_truth = {fact.name for fact in truth.unsettled}
        found["hallucinated_findings"] = len(given - wanted - open_in_truth) / len(given)
    if wanted:
        found["missed_findings"] = len(wanted - given) / len(wanted)
    denied, denied_too = _named(truth, present=False), _named(said, present=False)
    if denied or denied_too:
        found["absence_f1"] = 2 * len(denied & denied_too) / (len(denied) + len(denied_too))
    sides, sides_said = _sides(truth), _sides(said)
    placed = sides.keys() & sides_said.keys() & wanted & given
    if placed:
        found["side_agreement"] = sum(sides[name] == sides_said[name] for name in placed) / len(placed)
    return found


def _named(facts: Facts, *, present: bool) -> frozenset[str]:
    names = {fact.name for fact in facts.findings if fact.present == present}
    # A finding that is there somewhere and denied elsewhere is there.
    there = {fact.name for fact in facts.findings if fact.present}
    return frozenset((names if present else names - there) - {LUNG_ABNORMALITY})


def _sides(facts: Facts) -> dict[str, frozenset[str]]:
    sides: dict[str, frozenset[str]] = {}
    for fact in facts.findings:
        if fact.present and fact.sides:
            sides[fact.name] = sides.get(fact.name, frozenset()) | fact.sides
    return sides
