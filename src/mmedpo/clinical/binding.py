"""Which side, place and size belongs to which finding of a clause."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmedpo.clinical.assertion import Clause, Mention, joins
from mmedpo.clinical.lexicon import Match

_MOVES = re.compile(
    r"(?:shift|deviat|displac|push|rotat|mov|cross|pull|turn|tilt|herniat|bow|deflect|migrat|drift|retract)\w*"
)
_TOWARDS = frozenset(["to", "toward", "towards", "from", "the", "patient", "s"])
_OF_A_PLACE = frozenset(["in", "on", "at", "of", "the", "within", "along", "involving", "base", "side"])
"""Words between a finding and the place it is at."""
_ALTERNATIVES = frozenset(["or", "versus", "vs", "nor"])
_COPULAS = frozenset(["is", "are", "was", "were", "be", "appears", "appear", "remains", "remain", "looks", "look"])
_PREDICATED = frozenset(["not", "also", "now", "still", "currently", "clearly", "again", "neither"])
"""Words between a copula and what it says of its subject."""
_VERBS = _COPULAS | frozenset(
    ["may", "might", "could", "can", "would", "has", "have", "had", "causes", "causing", "suggests", "suggest",
     "suggesting", "represents", "represent", "representing", "indicates", "indicating", "reflects", "reflecting"]
)  # fmt: skip
"""Words that end the subject: a place before them is the subject's."""


@dataclass(frozen=True)
class Bound:
    """A term with the number of its coordination member: modifiers belong to the findings of their own member."""

    mention: Mention
    member: int
    moved: bool
    """A side that something moves to."""
    shared: tuple[int, ...] = ()
    """Other members that a place belongs to: in "the infarct on the left is not hemorrhagic" both are on the left."""


def bind(clause: Clause) -> list[Bound]:
    """Every term of a clause with the member of its coordination."""
    findings = [m.match for m in clause.mentions if m.match.term.kind == "finding"]
    cuts, ties = [], []
    for a, b in itertools.pairwise(findings):
        between = range(a.last + 1, b.first + 1)
        if any(clause.tokens[i].text in _ALTERNATIVES for i in between) and not _sided(clause, a, b):
            continue
        joiners = [i for i in between if joins(clause.tokens, i)]
        verb = next((i for i in between if clause.tokens[i].text in _VERBS), a.last + 1)
        cuts.append(joiners[-1] if joiners else verb)
        if b.first == a.last + 1 or (not joiners and _predicated(clause, a, b)):
            ties.append(len(cuts))
    members = [sum(m.match.first >= cut for cut in cuts) for m in clause.mentions]
    found = [Bound(m, n, is_moved(clause, m)) for m, n in zip(clause.mentions, members, strict=True)]
    hosted = [Bound(b.mention, _host(clause, found, b), b.moved) for b in found]
    return [replace(b, shared=_shared(b, ties)) for b in hosted] if ties else hosted


def _predicated(clause: Clause, a: Match, b: Match) -> bool:
    """The second finding is said of the first: "the nodule is not calcified"."""
    words = [t.text for t in clause.tokens[a.last + 1 : b.first]]
    while words and words[-1] in _PREDICATED:
        words.pop()
    return bool(words) and words[-1] in _COPULAS and "there" not in words[-2:]


def _shared(one: Bound, ties: Sequence[int]) -> tuple[int, ...]:
    """The neighbours that a place belongs to as well; `ties` are members said of the one before."""
    if one.mention.match.term.kind not in ("side", "zone"):
        return ()
    return tuple(n for tie in ties if one.member in (tie - 1, tie) for n in (tie - 1, tie) if n != one.member)


def _host(clause: Clause, found: Sequence[Bound], one: Bound) -> int:
    """The member a place belongs to: behind "a nodule without calcification" it is the nodule's, if that has none."""
    if one.member == 0 or one.mention.match.term.kind not in ("side", "zone", "organ"):
        return one.member
    own = next(b.mention.match for b in found if b.member == one.member and b.mention.match.term.kind == "finding")
    before = [t.text for t in clause.tokens[: own.first]]
    lacked = "without" in before[-3:] or before[-2:] == ["with", "no"] or before[-3:-1] == ["with", "no"]
    between = [
        clause.tokens[i].text
        for i in range(own.last + 1, one.mention.match.first)
        if not any(b.mention.match.first <= i <= b.mention.match.last for b in found)
    ]
    placed = any(b.member == one.member - 1 and b.mention.match.term.kind == "side" for b in found)
    behind = one.mention.match.first > own.last + 1 and _OF_A_PLACE.issuperset(between)
    return one.member - 1 if lacked and behind and not placed else one.member


def _sided(clause: Clause, *findings: Match) -> bool:
    """Both of two alternatives have a side of their own: "left effusion or right pneumothorax"."""
    sides = [m.match for m in clause.mentions if m.match.term.kind == "side"]
    return sum(any(s.last == f.first - 1 for s in sides) for f in findings) == len(findings)


def is_moved(clause: Clause, mention: Mention) -> bool:
    """The side names a direction: "shifted to the left", "left mediastinal shift" is read as its place."""
    if mention.match.term.kind != "side":
        return False
    i = mention.match.first - 1
    if i < 0 or clause.tokens[i].text not in _TOWARDS:
        return False
    while i >= 0 and clause.tokens[i].text in _TOWARDS:
        i -= 1
    if i >= 0 and clause.tokens[i].text in ("due", "secondary", "owing", "related", "next", "adjacent"):
        return False
    towards = any(t.text in ("to", "toward", "towards", "from") for t in clause.tokens[i + 1 : mention.match.first])
    return towards and any(_MOVES.fullmatch(t.text) for t in clause.tokens[: i + 1])
