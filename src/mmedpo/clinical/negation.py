"""Which words of a sentence are denied.

A rule-based scope in the spirit of NegEx: a cue ("no", "without", "not") denies what follows until
the clause ends ("but", a fresh noun phrase after a comma or "and"); "is not seen" denies what stands
before it. Sentences that only define or hedge ("fat stranding would indicate ...", "cannot be
excluded") assert nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmedpo.clinical.lexicon import Token, tokenize

_SENTENCE_END = re.compile(r"[;!?\n]|\.(?!\d)")
_ASSERTS_NOTHING = re.compile(
    r"\b(?:would (?:indicate|show|appear|suggest|be|typically)|is a term|refers? to|is defined as|typically|usually"
    r"|cannot (?:be )?(?:rule|exclude)|can not be (?:ruled|excluded)|not (?:be )?excluded|not ruled out)",
    re.IGNORECASE,
)

_CUES = frozenset(
    [
        "no",
        "not",
        "without",
        "never",
        "neither",
        "nor",
        "cannot",
        "isn",
        "aren",
        "doesn",
        "don",
        "didn",
        "wasn",
        "weren",
        "lack",
        "lacks",
        "lacking",
        "absence",
        "nothing",
        "denies",
        "none",
    ]
)
_TERMINATORS = frozenset(["but", "however", "although", "though", "except", "yet", "whereas", "while", "instead"])
_JOINERS = frozenset(["and", "with", "plus", "or"])
_FRESH_SUBJECT = frozenset(["the", "there", "it", "this", "these", "one"])
_FRESH_PHRASE = frozenset(
    [
        "a",
        "an",
        "two",
        "three",
        "four",
        "five",
        "multiple",
        "several",
        "small",
        "moderate",
        "large",
        "mild",
        "severe",
        "tiny",
        "massive",
        "left",
        "right",
    ]
)
_SEEN = frozenset(
    [
        "seen",
        "present",
        "visible",
        "identified",
        "visualized",
        "visualised",
        "evident",
        "observed",
        "appreciated",
        "noted",
        "detected",
        "found",
        "shown",
        "demonstrated",
        "viewed",
        "depicted",
        "apparent",
    ]
)
_FILLERS = frozenset(["be", "been", "clearly", "definitely", "obviously", "currently", "readily", "well", "being", "t"])
_GONE = frozenset(["absent", "resolved", "excluded"])


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence within which modifiers belong together."""

    text: str
    """The whole text the offsets refer to."""
    tokens: tuple[Token, ...]
    """Its words."""
    denied: tuple[bool, ...]
    """Per word: inside the scope of a negation."""


def clauses(text: str) -> list[Clause]:
    """The asserting clauses of `text` with the denied words marked; offsets refer to `text`."""
    found: list[Clause] = []
    start = 0
    for end in [m.end() for m in _SENTENCE_END.finditer(text)] + [len(text)]:
        sentence = text[start:end]
        if sentence.strip() and not _ASSERTS_NOTHING.search(sentence):
            shift = start
            tokens = [Token(t.text, t.start + shift, t.end + shift) for t in tokenize(sentence)]
            found += [_mark(text, part) for part in _split(text, tokens) if part]
        start = end
    return found


def comma_before(text: str, tokens: list[Token] | tuple[Token, ...], i: int) -> bool:
    """True when a comma (or a colon) stands between word i - 1 and word i."""
    return i > 0 and any(mark in text[tokens[i - 1].end : tokens[i].start] for mark in ",:")


def joins(text: str, tokens: list[Token] | tuple[Token, ...], i: int) -> bool:
    """True when word i starts a new member of a coordination: it is a joiner or follows a comma."""
    return tokens[i].text in _JOINERS or comma_before(text, tokens, i)


def _split(text: str, tokens: list[Token]) -> list[list[Token]]:
    """Cuts a sentence at "but" and the like, and where a fresh statement begins."""
    parts: list[list[Token]] = [[]]
    for i, token in enumerate(tokens):
        if token.text in _TERMINATORS:
            parts.append([])
            continue
        if parts[-1] and _fresh(text, tokens, i):
            parts.append([])
        parts[-1].append(token)
    return parts


def _fresh(text: str, tokens: list[Token], i: int) -> bool:
    """Word i begins a statement of its own: ", there is ...", "and a nodule ..." (unless "or" follows)."""
    after_and = i > 0 and tokens[i - 1].text == "and"
    if not (after_and or comma_before(text, tokens, i)) or tokens[i].text in _JOINERS:
        return False
    if tokens[i].text in _FRESH_SUBJECT:
        return True
    alternatives = any(t.text in ("or", "nor") for t in tokens[i:])
    side_pair = after_and and i > 1 and tokens[i - 2].text in ("left", "right")
    return tokens[i].text in _FRESH_PHRASE and not alternatives and not side_pair


def _mark(text: str, tokens: list[Token]) -> Clause:
    denied = [False] * len(tokens)
    scope = False
    for i, token in enumerate(tokens):
        if _is_cue(tokens, i):
            target = _skip(tokens, i + 1)
            if target < len(tokens) and tokens[target].text in _SEEN and i > 0:
                denied[:i] = [True] * i
            scope = True
        elif token.text in _GONE or (token.text == "ruled" and _next(tokens, i) == "out"):
            denied[:i] = [True] * i
        denied[i] = denied[i] or scope
    return Clause(text, tuple(tokens), tuple(denied))


def _is_cue(tokens: list[Token], i: int) -> bool:
    word, after = tokens[i].text, _next(tokens, i)
    if word == "not" and after in ("only", "just"):
        return False
    if word == "free":
        return after in ("of", "from")
    if word == "negative":
        return after == "for"
    if word == "rather":
        return after == "than"
    return word in _CUES or (word == "can" and after == "t")


def _next(tokens: list[Token], i: int) -> str:
    return tokens[i + 1].text if i + 1 < len(tokens) else ""


def _skip(tokens: list[Token], i: int) -> int:
    while i < len(tokens) and tokens[i].text in _FILLERS:
        i += 1
    return i
