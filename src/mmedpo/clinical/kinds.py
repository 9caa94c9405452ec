"""Which kind of a finding a text speaks of: "no acute fracture" denies no old one, "not displaced" denies no fracture.

A kind is an attribute of the vocabulary in the finding's own phrase or said of it. Poles of one axis exclude each
other, so that what is said of one kind says nothing of the other.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from mmedpo.clinical.assertion import Clause, Mention
from mmedpo.clinical.entries import BREAKS

_OF_ANY_KIND = frozenset(["extent"])
"""Axes that make no kinds: "no focal consolidation" denies a diffuse one too, as radiologists use it."""

_ENDS = frozenset(
    ["and", "or", "nor", "with", "without", "plus", "of", "in", "for", "is", "are", "was", "were", "no", "not"]
)
"""Words that do not stand inside a phrase of adjectives and a noun."""


def kinds(clause: Clause, finding: Mention, near: Sequence[Mention]) -> frozenset[str]:
    """`axis=pole` of the attributes of a finding, `axis=-pole` of those that are denied of it while it is there.

    Args:
        clause: where it stands.
        finding: it.
        near: all terms of its member of a coordination.
    """
    ours = [m for m in _phrase(clause, finding) if _is_kind(m)]
    behind = finding.match.last + 2
    if behind < len(clause.tokens) and clause.tokens[behind - 1].text == "(":  # "hemorrhage (acute): none"
        ours += [m for m in near if _is_kind(m) and m.match.first == behind]
    found = {f"{m.match.term.group}={m.match.term.name}" for m in ours}
    if finding.status in ("absent", "resolved"):
        return frozenset(found)
    said = [m for m in near if _is_kind(m) and m.match.first > finding.match.last]
    return frozenset(found | {f"{m.match.term.group}={'-' * (m.status == 'absent')}{m.match.term.name}" for m in said})


def _is_kind(mention: Mention) -> bool:
    return mention.match.term.kind == "attribute" and mention.match.term.group not in _OF_ANY_KIND


def same_kind(a: Set[str], b: Set[str]) -> bool:
    """Whether two findings of a name may be the same thing: no axis on which they differ."""
    poles = [{axis: {k for k in every if k.startswith(f"{axis}=")} for axis in _axes(every)} for every in (a, b)]
    return all(poles[0][axis] & poles[1][axis] for axis in poles[0].keys() & poles[1].keys())


def _axes(every: Set[str]) -> set[str]:
    return {kind.split("=")[0] for kind in every}


def _phrase(clause: Clause, finding: Mention) -> list[Mention]:
    """The terms in front of a finding that belong to its noun: "no subacute or acute left infarct"."""
    found: list[Mention] = []
    i = finding.match.first - 1
    while i >= 0:
        term = next((m for m in clause.mentions if m.match.first <= i <= m.match.last), None)
        if term is not None and term.match.term.kind == "finding":
            break
        if term is not None:
            found.append(term)
            i = term.match.first - 1
        elif clause.tokens[i].text in ("or", "and", ",") and found and _joins(clause, found[-1], i):
            i -= 1
        elif clause.tokens[i].text in _ENDS or clause.tokens[i].text in BREAKS:
            break
        else:
            i -= 1
    return found


def _joins(clause: Clause, behind: Mention, i: int) -> bool:
    """The word before a joiner is an adjective of the same axis as the one behind it."""
    before = next((m for m in clause.mentions if m.match.last == i - 1), None)
    return before is not None and before.match.term.group == behind.match.term.group
