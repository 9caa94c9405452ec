"""Which findings of a text are present, absent, resolved, uncertain, of the past, or not told of at all.

One engine over the cues of `cues`, in the manner of ConText: every term of the lexicon is a target, every cue
reaches the targets of its clause in its direction, and what reaches a target is weighed in `_weighed`. A clause
ends at a terminator ("but"), where a fresh statement begins ("and the ..."), and behind an answer ("effusion:
no, nodule: yes"). A cue that stands alone between marks answers what stands before it ("Pneumothorax - none").
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mmedpo.clinical.cues import FILLERS, TERMINATORS, Category, Cue, find_cues, may_hold
from mmedpo.clinical.entries import BREAKS
from mmedpo.clinical.lexicon import Match, Token, terms_at
from mmedpo.clinical.sentences import Sentence, sentences, tokens_of

Status = Literal["present", "absent", "resolved", "uncertain", "historical", "unknown"]
"""`resolved`: was there, is gone; `historical`: told of the past only; `unknown`: asked for, conditional, defined."""

_JOINERS = frozenset(["and", "with", "plus", "or", "nor"])
_FRESH_SUBJECT = frozenset(["the", "there", "it", "this", "these", "one"])
_FRESH_PHRASE = frozenset(
    ["a", "an", "two", "three", "four", "five", "multiple", "several", "small", "moderate", "large", "mild", "severe",
     "tiny", "massive", "left", "right", "new", "increased", "unchanged", "stable", "persistent"]
)  # fmt: skip
_VERBS = frozenset(
    ["is", "are", "was", "were", "has", "have", "had", "shows", "show", "demonstrates", "reveals", "there", "remains",
     "remain", "persists", "persist", "appears", "appear", "causes", "suggests"]
)  # fmt: skip
_PLURAL = frozenset(["are", "were", "have"])
_ELLIPTIC = frozenset(["present", "absent", "none", "not"])
_PREDICATES = re.compile(r"seen|identified|present|noted|visuali[sz]ed|visible|evident|found|demonstrated|observed")
_NEGATOR = re.compile(r"(?<!\S)(?:no|not|without|neither|never|\w+n t)(?!\S)")
_OF_A_PREDICATE = re.compile(r"(?:not|\w+n t|\w+nt|never|neither|nor|rather than|instead of|as opposed to)$")
"""Denials that may act on a place alone; "no" and "without" deny a thing."""
_NO_ADJECTIVES = _JOINERS | frozenset(["in", "on", "at", "of", "within", "there", "the", "a", "an", "any", "as", "to"])
"""Words behind "no longer" that leave it to take away the thing."""
_NEW = frozenset(["new", "newly", "additional", "further", "more"])
"""Denied with one of these in front, a finding may be there already."""
_OPEN: frozenset[Category] = frozenset(["uncertain", "unknown"])
"""What a question can ask to be guessed, or told in general."""
_STATES = frozenset(["normal", "enlarged"])
"""Attributes that state a finding of an organ, and so begin statements as findings do."""


@dataclass(frozen=True)
class Mention:
    """A term in a clause with what is said of it."""

    match: Match
    """The term; `first` and `last` count the tokens of the clause."""
    status: Status
    elsewhere: bool = False
    """A place where the finding before it is not, though it is there: "the catheter is not in the right atrium"."""


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence within which cues and modifiers act."""

    text: str
    """The whole text the offsets refer to."""
    tokens: tuple[Token, ...]
    """Its words and marks."""
    mentions: tuple[Mention, ...]
    """Its terms, in order."""
    negated: bool
    """Holds a cue of absence."""
    verdict: Status | None = None
    """What it says of the finding of the clause before: "..., but is not seen"."""


def clauses(text: str, framed: Set[Category] = frozenset()) -> list[Clause]:
    """The clauses of `text` with their terms and what is said of each; offsets refer to `text`.

    Args:
        text: an answer or a report.
        framed: categories of cues without effect, for the question has them: asked what is likely, "likely
            pneumonia" is an answer and no hedge (see `frame`).
    """
    return [clause for sentence in sentences(text) for clause in _clauses(text, sentence, framed)]


@lru_cache(maxsize=256)
def frame(question: str) -> frozenset[Category]:
    """What a question asks to be guessed or generalised: `uncertain`, `unknown`, both or neither."""
    words = [t.text for t in tokens_of(question) if t.text != "?"]
    told = {c.category for c in find_cues(words)} if may_hold(words, _OPEN) else set()
    return frozenset(told & _OPEN)


def joins(tokens: Sequence[Token], i: int) -> bool:
    """True when word i starts a new member of a coordination: it is a joiner or follows a mark."""
    return tokens[i].text in _JOINERS or tokens[i].text == "without" or (i > 0 and tokens[i - 1].text in BREAKS)


@dataclass(frozen=True)
class _Line:
    """A sentence with the terms and cues in it, all by token index."""

    words: tuple[str, ...]
    matches: tuple[Match, ...]
    cues: tuple[Cue, ...]


def _clauses(text: str, sentence: Sentence, framed: Set[Category]) -> list[Clause]:
    tokens = sentence.tokens
    words = tuple(t.text for t in tokens)
    matches = terms_at(text, tokens)
    named = {i for m in matches if m.term.kind == "finding" for i in range(m.first, m.last + 1)}
    every = [c for c in find_cues(words, named) if c.category not in framed]
    cues = tuple(c for c in every if not any(_inside(c, m) for m in matches))
    line = _Line(words, matches, cues)
    found: list[Clause] = []
    for start, end in _stretches(line):
        part = _Line(
            words[start:end],
            tuple(m._replace(first=m.first - start, last=m.last - start) for m in matches if start <= m.first < end),
            tuple(c.behind(start) for c in cues if start <= c.first < end),
        )
        mentions = []
        for match in part.matches:
            status = _status(part, match)
            if status is not None:
                mentions.append(Mention(match, _below(status, sentence), _denies_place(part, match)))
        negated = any(c.category in ("absent", "resolved") or _says_no(part, c) for c in part.cues)
        found.append(Clause(text, tokens[start:end], tuple(mentions), negated, _verdict(part)))
    return found


def _below(status: Status, sentence: Sentence) -> Status:
    """The status under a heading of history or of a request, and in a question nobody answered."""
    if sentence.below == "unknown":
        return "unknown"
    if sentence.asked:
        return "uncertain"
    return "historical" if sentence.below == "historical" and status == "present" else status


def _inside(cue: Cue, match: Match) -> bool:
    """A cue that is part of a term ("without contrast") is none; a term inside a cue is dealt with in `_status`."""
    overlap = cue.first <= match.last and match.first <= cue.last
    return overlap and not (cue.first <= match.first and match.last <= cue.last)


def _is_target(match: Match) -> bool:
    return match.term.kind == "finding" or match.term.name in _STATES


def _stretches(line: _Line) -> list[tuple[int, int]]:
    """Where the clauses of a sentence begin and end."""
    joined = " ".join(line.words)
    cut = {joined.count(" ", 0, m.start()): m.group().count(" ") + 1 for m in TERMINATORS.finditer(joined)}
    for cue in line.cues:
        for i in range(cue.first, cue.last + 1):
            cut.pop(i, None)
    found: list[tuple[int, int]] = []
    start = i = 0
    while i < len(line.words):
        if i in cut:
            found.append((start, i))
            i += cut[i]
            start = i
            continue
        if i > start and _fresh(line, start, i):
            found.append((start, i))
            start = i
        i += 1
    return [(a, b) for a, b in [*found, (start, len(line.words))] if a < b]


def _fresh(line: _Line, start: int, i: int) -> bool:
    """Word i begins a statement of its own: ", there is ...", "and a nodule ..." (unless "or" follows)."""
    words = line.words
    after_and = words[i - 1] == "and"
    if words[i] in _JOINERS or words[i] in BREAKS or any(c.first < i <= c.last for c in line.cues):
        return False
    if _begins_label(line, i):
        return any(c.first >= start and c.last < i for c in line.cues)
    after_with = words[i - 1] == "with" and words[max(i - 2, 0)] in BREAKS
    if not after_and and not after_with and words[i - 1] not in BREAKS:
        return False
    if words[i] in _FRESH_SUBJECT:
        return True
    end = next((j for j in range(i, len(words)) if words[j] in (",", "and")), len(words))
    within = [m for m in line.matches if i <= m.first < end]
    if not any(_is_target(m) for m in within):  # ", present on the right", ", is present on the right", "and small on"
        said = words[i + 1] if words[i] in _VERBS and i + 1 < len(words) else words[i]
        sized = any(m.first == i and m.term.kind == "size" for m in within)
        placed = after_and and any(m.term.kind == "side" for m in line.matches if start <= m.first < i - 1)
        answered = words[i - 1] == "," or any(_answers(line, start, c) and start <= c.first < i for c in line.cues)
        told = (said in _ELLIPTIC and (answered or placed)) or (sized and answered)
        return told and any(m.term.kind == "side" for m in within)
    named = {m.term.name for m in line.matches if start <= m.first < i and m.term.kind == "finding"}
    if words[i - 1] in BREAKS and any(m.term.name in named for m in within) and "or" not in words[i:]:
        return True  # "no acute fracture, old fracture of the rib"
    if words[i - 1] in BREAKS and {"organ", "attribute"} <= {m.term.kind for m in within}:
        return not any(m.term.kind == "finding" for m in within)  # ", lungs clear"
    answered = any(_answers(line, start, c) and start <= c.first and c.last < i for c in line.cues)
    alternatives = any(w in ("or", "nor") for w in words[i:])
    if answered and not alternatives:
        return True
    side_pair = after_and and i > 1 and words[i - 2] in ("left", "right")
    own_verb = any(w in _VERBS - (_PLURAL if after_and else set()) for w in words[i:end])
    shared_verb = any(_PREDICATES.fullmatch(w) for w in words[i:end])
    stated = words[i] in _FRESH_PHRASE or (own_verb and not (after_and and shared_verb and not _hedged(line, start, i)))
    return stated and not alternatives and not side_pair


def _hedged(line: _Line, start: int, i: int) -> bool:
    """A target before word i is hedged in front, and needs no predicate: "cannot exclude a mass and edema is seen"."""
    cues = [c for c in line.cues if c.category == "uncertain" and c.direction == "forward" and start <= c.first]
    return any(_is_target(m) and c.last < m.first and m.last < i for c in cues for m in line.matches)


def _begins_label(line: _Line, i: int) -> bool:
    """A finding and then a colon or an equals sign: a new entry of a list written without full stops."""
    match = next((m for m in line.matches if m.first == i and m.term.kind == "finding"), None)
    return match is not None and match.last + 1 < len(line.words) and line.words[match.last + 1] in (":", "=")


def _answers(line: _Line, start: int, cue: Cue) -> bool:
    """The cue settles what stands before it in the clause that begins at `start`."""
    told = cue.category not in ("nothing", "persists", "historical")
    return told and (cue.direction == "backward" or _alone(line, start, cue)) and _target_before(line, start, cue)


def _target_before(line: _Line, start: int, cue: Cue) -> bool:
    return any(_is_target(m) and start <= m.first and m.last < cue.first for m in line.matches)


def _alone(line: _Line, start: int, cue: Cue) -> bool:
    """Nothing but fillers follows a forward cue up to the next mark, and it stands behind a mark or a finding."""
    if cue.direction != "forward" or cue.category in ("nothing", "unknown") or cue.first == 0:
        return False
    i = cue.last + 1
    while i < len(line.words) and line.words[i] in FILLERS:
        i += 1
    ends = i >= len(line.words) or line.words[i] in BREAKS or line.words[i] == "?"
    return ends and (_target_before(line, start, cue) or _only_sides(line, start))


def _only_sides(line: _Line, start: int) -> bool:
    """ "Left: none" answers for the left where no finding is named."""
    first = next((m for m in line.matches if m.first >= start), None)
    named = any(_is_target(m) for m in line.matches)
    return not named and first is not None and first.first == start and first.term.kind == "side"


def _status(line: _Line, match: Match) -> Status | None:
    """What the cues of a clause say of a term; None for a term that a cue has used up."""
    inside = next((c for c in line.cues if c.first <= match.first and match.last <= c.last), None)
    if inside is not None:
        if _says_no(line, inside):
            return "absent"
        return None if inside.category == "absent" else "present"
    if match.first and line.words[match.first - 1] == "non":
        return "absent"
    before, after = _before(line, match), _after(line, match)
    status = _weighed(before, after)
    return "unknown" if status == "absent" and _denied_as_new(line, match) else status


def _denied_as_new(line: _Line, match: Match) -> bool:
    """ "No new nodule or mass", "new fracture is not seen": what was there before is not spoken of."""
    if not _is_target(match):
        return False
    before = [c for c in line.cues if c.last < match.first and c.category == "absent" and c.direction == "forward"]
    marks = [i for i in range(match.first) if line.words[i] in BREAKS]
    begin = before[-1].first if before else (marks or [0])[-1]
    return not _NEW.isdisjoint(line.words[begin : match.first])


def _denies_place(line: _Line, match: Match) -> bool:
    """A denial stands between a finding and this place, and denies nothing else."""
    if match.term.kind not in ("side", "zone", "organ"):
        return False
    cue = next((c for c in reversed(line.cues) if c.last < match.first), None)
    if cue is None or cue.category != "absent" or cue.direction != "forward" or not _target_before(line, 0, cue):
        return False
    if not _OF_A_PREDICATE.search(" ".join(line.words[cue.first : cue.last + 1])):
        return False
    return not any(_is_target(m) and cue.last < m.first < match.first for m in line.matches)


def _verdict(line: _Line) -> Status | None:
    """The status that a clause gives which is nothing but a predicate with a cue."""
    cue = line.cues[0] if line.cues else None
    if cue is None or cue.first or cue.direction == "forward" or any(_is_target(m) for m in line.matches):
        return None
    if line.words[0] not in _VERBS or cue.category not in ("absent", "resolved", "uncertain"):
        return None
    return _weighed([], [cue.category])


def _says_no(line: _Line, cue: Cue) -> bool:
    return bool(_NEGATOR.search(" ".join(line.words[cue.first : cue.last + 1])))


def _before(line: _Line, match: Match) -> list[Category]:
    """What the cues in front of a term say that still holds where it stands."""
    active: list[Category] = []
    previous: Cue | None = None
    for cue in line.cues:
        if cue.last >= match.first:
            break
        joined = cue.first > 0 and line.words[cue.first - 1] in (*BREAKS, "and", "with")
        if cue.direction == "backward" and cue.category == "absent" and not _is_target(match):
            active = ["absent"]  # "not seen on the left" denies the left
        leading = cue.category in ("absent", "resolved") and not _target_before(line, 0, cue)
        if (cue.direction == "backward" and not leading) or cue.category == "nothing" or _alone(line, 0, cue):
            continue
        adjacent = previous is not None and previous.last == cue.first - 1 and previous.category == "uncertain"
        previous = cue
        if cue.category == "absent":
            active = active if adjacent or "unknown" in active else ["absent"]
        elif cue.category == "present":  # "no difference in shape" asserts no shape
            active = ["absent"] if match.term.kind == "attribute" and _says_no(line, cue) else []
        elif joined or not active or cue.category == "unknown" or (cue.category == "uncertain" and _says_no(line, cue)):
            active = [cue.category]
        elif cue.category == "resolved" and active != ["unknown"]:
            active = ["resolved"]
        elif "historical" in active and cue.category == "persists":
            active = ["persists"]
    return active


def _after(line: _Line, match: Match) -> list[Category]:
    """What the cues behind a term say of it."""
    found: list[Category] = []
    for cue in line.cues:
        if cue.first <= match.last:
            if cue.direction == "around" and cue.last < match.first and cue.category in ("unknown", "uncertain"):
                found.append(cue.category)
            continue
        if (cue.direction in ("backward", "around") or _alone(line, 0, cue)) and not _parted(line, match, cue):
            found.append("persists" if _only_changed(line, cue) else cue.category)
    return found


def _only_changed(line: _Line, cue: Cue) -> bool:
    """ "No longer" takes away what an adjective says ("no longer dense"), not the thing ("no longer in the duct")."""
    behind = line.words[cue.last + 1] if cue.last + 1 < len(line.words) else ""
    if cue.category != "resolved" or line.words[cue.last] != "longer" or not behind.isalpha():
        return False
    return behind not in _NO_ADJECTIVES and not behind.endswith(("ble", "ly"))


def _parted(line: _Line, match: Match, cue: Cue) -> bool:
    """Between term and cue another statement begins: "there is a nodule and no effusion is seen"."""
    between = range(match.last + 1, cue.first)
    targets = [m for m in line.matches if _is_target(m) and match.last < m.first < cue.first]
    if not targets:
        return False
    if any(line.words[i] in ("and", "with", ",") and _has_verb(line.words[:i]) for i in between):
        return True
    if any(c.category == "absent" and c.direction == "forward" and match.last < c.first < cue.first for c in line.cues):
        return True
    listed = any(line.words[i] in ("and", "or", "nor") for i in between) or line.words[cue.first - 1] == ":"
    return not listed and any(line.words[i] == "," for i in between)


def _has_verb(words: Sequence[str]) -> bool:
    return any(w in _VERBS for w in words)


def _weighed(before: Sequence[Category], after: Sequence[Category]) -> Status:
    """One status from all that reaches a term."""
    every = (*before, *after)
    if "unknown" in every:
        return "unknown"
    if "resolved" in every:
        return "resolved"
    if "absent" in before:
        return "resolved" if "persists" in after else "absent"
    if "absent" in after:
        return "resolved" if "historical" in every else "absent"
    if "uncertain" in every:
        return "uncertain"
    if "persists" in every or ("present" in after and "historical" in before):
        return "present"
    return "historical" if "historical" in every else "present"
