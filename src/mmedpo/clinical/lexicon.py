"""The words radiologists use, by class, and how to find them in a text.

A term has one canonical name, a class (`kind`), a swap `group` (terms of one group exclude each
other and can stand for each other in a sentence) and its written forms. The vocabulary covers chest,
head and abdomen imaging as met in VQA-RAD and in the generated phantom; it is a lexicon, not a
language model: what it does not know it does not guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from mmedpo.clinical.findings import FINDINGS, GENERIC_FINDINGS
from mmedpo.clinical.vocabulary import ATTRIBUTES, OTHER_TERMS

TermKind = Literal["finding", "side", "zone", "organ", "size", "count", "modality", "sequence", "plane", "attribute"]

NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
"""Number words by value."""

_TOKEN = re.compile(r"\d+\.\d+|[a-z0-9]+")
_YES_NO_OPENING = re.compile(
    r"^\s*(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|might|am|isn'?t|aren'?t)\b",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(r"\bor\b", re.IGNORECASE)


@dataclass(frozen=True)
class Term:
    """One concept of the lexicon."""

    name: str
    """Canonical name, unique within its kind."""
    kind: TermKind
    """Class of the term."""
    group: str
    """Swap group: terms of one group exclude each other."""
    regions: tuple[str, ...] = ()
    """Body regions a finding occurs in; empty when anywhere."""
    countable: bool = True
    """Whether "a" or a plural can stand with it."""


@dataclass(frozen=True)
class Form:
    """One way to write a term."""

    term: Term
    text: str
    """Lower-case surface."""
    plural: bool
    """Whether this surface is a plural."""


class Token(NamedTuple):
    """A lower-case word with its place in the text."""

    text: str
    start: int
    end: int


class Match(NamedTuple):
    """A term found in a text."""

    form: Form
    start: int
    """First character."""
    end: int
    """Character after the last."""
    first: int
    """Index of the first token."""
    last: int
    """Index of the last token."""

    @property
    def term(self) -> Term:
        """The term that was found."""
        return self.form.term


def tokenize(text: str) -> list[Token]:
    """Lower-case words and numbers of `text` with character offsets; hyphens and slashes separate."""
    return [Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text.lower())]


def words(text: str) -> list[str]:
    """The token texts of `text`, for comparing answers without case and punctuation."""
    return _TOKEN.findall(text.lower())


def is_yes_no_question(question: str) -> bool:
    """True for "Is there an effusion?", False for "Is it left or right?" and "Where is it?"."""
    return bool(_YES_NO_OPENING.match(question)) and not _ALTERNATIVE.search(question)


def pluralize(noun: str) -> str:
    """Plural of the last word of `noun` by the regular rules of English and medicine's Latin -is."""
    if noun.endswith("is"):
        return noun[:-2] + "es"
    if noun.endswith("stomach"):
        return noun + "s"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


@lru_cache(maxsize=1)
def forms() -> tuple[Form, ...]:
    """Every written form of every term, singular before plural, preferred spelling first."""
    found: list[Form] = []
    for name, finding in FINDINGS.items():
        term = Term(name, "finding", "finding", finding.regions, finding.countable)
        found += _spell(term, finding.spellings, plural=True)
    for name, spellings in GENERIC_FINDINGS.items():
        found += _spell(Term(name, "finding", "generic"), spellings, plural=True)
    for (kind, group), terms in OTHER_TERMS.items():
        for name, spellings in terms.items():
            found += _spell(Term(name, kind, group), spellings, plural=kind == "organ" or group == "brain-part")
    for axis, poles in ATTRIBUTES.items():
        for name, spellings in poles.items():
            found += _spell(Term(name, "attribute", axis), spellings, plural=False)
    for value, word in enumerate(NUMBER_WORDS):
        if value:
            found.append(Form(Term(str(value), "count", "count"), word, plural=value > 1))
    return tuple(found)


def _spell(term: Term, spellings: Iterable[str], plural: bool) -> list[Form]:
    singular = [Form(term, s.rstrip("*"), plural=s.endswith("*")) for s in spellings]
    written = {form.text for form in singular}
    more = [Form(term, pluralize(f.text), plural=True) for f in singular if plural and not f.plural]
    return singular + [form for form in more if form.text not in written]


@lru_cache(maxsize=1)
def _index() -> dict[str, dict[tuple[str, ...], Form]]:
    """First token -> (all tokens -> form), for longest-match look-up."""
    index: dict[str, dict[tuple[str, ...], Form]] = {}
    for form in forms():
        key = tuple(words(form.text))
        index.setdefault(key[0], {}).setdefault(key, form)
    return index


def find_terms(text: str) -> list[Match]:
    """Terms of `text` in order, longest match first, never overlapping.

    Digits count as numbers unless a unit follows ("3 nodules", not "3 cm"); `lateral` is a plane only
    beside "view", "projection" and the like, since "lateral ventricle" is not.
    """
    return list(_terms(text))


@lru_cache(maxsize=256)
def _terms(text: str) -> tuple[Match, ...]:
    tokens = tokenize(text)
    spelled = tuple(token.text for token in tokens)
    index = _index()
    found: list[Match] = []
    i = 0
    while i < len(tokens):
        begun = index.get(spelled[i])
        if begun is None and not spelled[i].isdigit():
            i += 1
            continue
        best: tuple[int, Form] | None = None
        for key, form in (begun or {}).items():
            n = len(key)
            if (best is None or n > best[0]) and spelled[i : i + n] == key:
                best = n, form
        if best is None:
            number = _digit(tokens, i)
            best = (1, number) if number else None
        if best is None or _abbreviation(tokens, i, text, best[1]):
            i += 1
            continue
        n, form = best
        found.append(Match(form, tokens[i].start, tokens[i + n - 1].end, i, i + n - 1))
        i += n
    return tuple(found)


def terms_at(text: str, tokens: Sequence[Token]) -> tuple[Match, ...]:
    """The terms of `text` that are made of some of its tokens; `first` and `last` count these tokens."""
    if not tokens:
        return ()
    offset = tokens[0].start
    starts = {token.start: i for i, token in enumerate(tokens)}
    ends = {token.end: i for i, token in enumerate(tokens)}
    found = []
    for m in find_terms(text[offset : tokens[-1].end]):
        first, last = starts.get(m.start + offset), ends.get(m.end + offset)
        if first is not None and last is not None:
            found.append(Match(m.form, m.start + offset, m.end + offset, first, last))
    return tuple(found)


_UNITS = frozenset(
    {"cm", "mm", "x", "ml", "hu", "degrees", "percent", "years", "year", "weighted", "th", "st", "nd", "rd"}
)
_LEVEL_OR_LABEL = frozenset({"t", "l", "c", "s", "level", "segment", "type", "grade", "stage", "x"})


def _digit(tokens: list[Token], i: int) -> Form | None:
    text = tokens[i].text
    if not text.isdigit() or not 0 < int(text) <= 99:
        return None
    after = tokens[i + 1].text if i + 1 < len(tokens) else ""
    before = tokens[i - 1].text if i else ""
    if after in _UNITS or before in _LEVEL_OR_LABEL:
        return None
    return Form(Term(text, "count", "count"), text, plural=int(text) > 1)


def _abbreviation(tokens: list[Token], i: int, text: str, form: Form) -> bool:
    """True when a one-letter form is no side: "R frontal lobe" is, "L2" and "r" alone are not."""
    if form.term.kind != "side" or len(form.text) > 1:
        return False
    token = tokens[i]
    return i + 1 >= len(tokens) or not text[token.start].isupper()
