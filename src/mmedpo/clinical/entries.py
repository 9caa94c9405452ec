"""Lines that say several things of one subject: boxes to tick, and sides that each have a value.

"[x] effusion [ ] pneumothorax", "Effusion: [x] yes [ ] no" and "Effusion - right: small, left: none" are taken
apart into statements that stand for themselves; every one is made of tokens of the line, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmedpo.clinical.lexicon import Match, Token, terms_at

BREAKS = frozenset([",", ":", "(", ")", "|", "-", "=", "–", "—", "/", "…"])
"""Marks that part a sentence; all else that is no word, number or end is no token."""
_LABELS = frozenset([":", "=", "-", "–", "—"])
"""Marks between a side and its value, or a finding and its sides."""
_TICKED = frozenset(["☑", "✓", "✔"])
_EMPTY = frozenset(["☐", "✗", "✘"])
_BRACKETS = {"[": "]", "(": ")"}
_ANSWERS = frozenset(["yes", "no", "none", "present", "absent", "positive", "negative", "seen", "unknown"])


@dataclass(frozen=True)
class _Box:
    first: int
    last: int
    ticked: bool


def statements(text: str, line: Sequence[Token]) -> list[list[Token]]:
    """The statements of a line; the line itself where it is one."""
    return [part for ticked in _by_box(text, line) for part in _by_side(text, ticked)]


def continued(text: str, before: Sequence[Token], line: Sequence[Token]) -> list[Token] | None:
    """The line with the finding of the one before it: "Effusion - right: small; left: none", or a list below it.

    None where it begins with no side that has a value, or names a finding itself.
    """
    words = _bare(line)
    terms = terms_at(text, words)
    if any(m.term.kind == "finding" for m in terms) or not terms or terms[0].term.kind != "side" or terms[0].first:
        return None
    head = _headed(text, before)
    after = words[terms[0].last + 1 :]
    return [*head, *words] if head and after and after[0].text in _LABELS else None


def heads(text: str, line: Sequence[Token]) -> bool:
    """The line is a finding and no more, so that what stands below it may be said of it."""
    head = _headed(text, line)
    return bool(head) and not _bare(line[len(head) :])


def _headed(text: str, line: Sequence[Token]) -> list[Token]:
    """The finding that a line is about: it says nothing else, or goes on with sides that have values."""
    found = [m for m in terms_at(text, line) if m.term.kind == "finding"]
    if len(found) != 1:
        return []
    head = list(line[: found[0].last + 1])
    rest = _bare(line[found[0].last + 1 :])
    return head if not rest or len(_starts(text, line, found[0])) else []


def _bare(line: Sequence[Token]) -> list[Token]:
    """Without the marks around it."""
    words = list(line)
    while words and (words[0].text in BREAKS or not words[0].text.strip()):
        words.pop(0)
    while words and (words[-1].text in BREAKS or words[-1].text == "and"):
        words.pop()
    return words


# Sides.


def _by_side(text: str, line: Sequence[Token]) -> list[list[Token]]:
    found = [m for m in terms_at(text, line) if m.term.kind == "finding"]
    if not found:
        return _sides_alone(text, line)
    starts = _starts(text, line, found[0]) if len(found) == 1 else []
    if not starts:
        return [list(line)]
    head = list(line[: found[0].last + 1])
    ends = [*(m.first for m in starts[1:]), len(line)]
    return [[*head, *_bare(line[m.first : end])] for m, end in zip(starts, ends, strict=True)]


def _sides_alone(text: str, line: Sequence[Token]) -> list[list[Token]]:
    """ "right: small, left: none" as an answer that names no finding."""
    sides = [m for m in terms_at(text, line) if m.term.kind == "side"]
    starts = [m for m in sides if m.first == 0 or line[m.first - 1].text in (*BREAKS, "and")]
    ends = [*(m.first for m in starts[1:]), len(line)]
    rests = [list(line[m.last + 1 : end]) for m, end in zip(starts, ends, strict=False)]
    labelled = all(rest and rest[0].text in _LABELS and _bare(rest) for rest in rests)
    answered = all(map(_bare, rests)) and any(_ANSWERS.issuperset(t.text for t in _bare(rest)) for rest in rests)
    if len(starts) < 2 or starts[0].first or not (labelled or answered):
        return [list(line)]
    return [_bare(line[m.first : end]) for m, end in zip(starts, ends, strict=True)]


def _starts(text: str, line: Sequence[Token], finding: Match) -> list[Match]:
    """The sides that begin an entry behind a finding; none where the line is not made of such entries."""
    sides = [m for m in terms_at(text, line) if m.term.kind == "side" and m.first > finding.last]
    starts = [m for m in sides if m.first == finding.last + 1 or line[m.first - 1].text in (*BREAKS, "and")]
    if not starts:
        return []
    lead = [token.text for token in line[finding.last + 1 : starts[0].first]]
    if not BREAKS.issuperset(lead):
        return []
    ends = [*(m.first for m in starts[1:]), len(line)]
    rests = [list(line[m.last + 1 : end]) for m, end in zip(starts, ends, strict=True)]
    if all(rest and rest[0].text in _LABELS and _bare(rest) for rest in rests):
        return starts
    labelled = bool(lead) and lead[-1] in (*_LABELS, "(")
    return starts if labelled and len(starts) > 1 and all(_bare(rest) for rest in rests) else []


# Boxes.


def _by_box(text: str, line: Sequence[Token]) -> list[list[Token]]:
    boxes = _boxes(line)
    if not boxes:
        return [list(line)]
    findings = [m for m in terms_at(text, line) if m.term.kind == "finding" and m.first > boxes[0].last]
    again = next((m.first for m in findings if line[min(m.last + 1, len(line) - 1)].text in (":", "=")), 0)
    if again:  # another entry begins: "Fracture: [ ] yes [x] no  Effusion: [x] yes [ ] no"
        return [*_by_box(text, line[:again]), *_by_box(text, line[again:])]
    leads = boxes[0].first == 0 or line[boxes[0].first - 1].text in _LABELS
    if not leads and _bare(line[boxes[-1].last + 1 :]):
        return [list(line)]  # a box somewhere in a sentence
    head, items = _items(line, boxes, leads)
    about = {m.term.kind for m in terms_at(text, head)}
    if "finding" in about and any(m.term.kind == "finding" for _, words in items for m in terms_at(text, words)):
        return [list(line)]
    found: list[list[Token]] = []
    for box, words in items:
        mark = list(line[box.first : box.last + 1])
        if "finding" not in about and not all(token.text in _ANSWERS for token in words):
            own = [*_bare(head), *words] if about & {"side", "zone"} else words
            found.append(sorted([*mark, *own], key=lambda token: token.start))
        elif box.ticked and head:
            found.append([*head, *words])
    return found


def _items(
    line: Sequence[Token], boxes: Sequence[_Box], leads: bool
) -> tuple[list[Token], list[tuple[_Box, list[Token]]]]:
    """What stands before all boxes, and every box with its words: those behind it, or, where words lead, before it."""
    if leads:
        ends = [*(box.first for box in boxes[1:]), len(line)]
        items = [(box, _bare(line[box.last + 1 : end])) for box, end in zip(boxes, ends, strict=True)]
        return list(line[: boxes[0].first]), [(box, words) for box, words in items if words]
    colon = max((i for i in range(boxes[0].first) if line[i].text in (":", "=")), default=-1)
    begins = [colon + 1, *(box.last + 1 for box in boxes[:-1])]
    items = [(box, _bare(line[begin : box.first])) for box, begin in zip(boxes, begins, strict=True)]
    return list(line[: colon + 1]), [(box, words) for box, words in items if words]


def _boxes(line: Sequence[Token]) -> list[_Box]:
    found: list[_Box] = []
    i = 0
    while i < len(line):
        word = line[i].text
        inner = [token.text for token in line[i + 1 : i + 3]]
        if word in _TICKED | _EMPTY:
            found.append(_Box(i, i, word in _TICKED))
        elif word in _BRACKETS and inner[:1] == [_BRACKETS[word]]:
            found.append(_Box(i, i + 1, False))
        elif word in _BRACKETS and inner[1:] == [_BRACKETS[word]] and inner[0] in {"x", *_TICKED}:
            found.append(_Box(i, i + 2, True))
        i = found[-1].last + 1 if found and found[-1].first == i else i + 1
    return found
