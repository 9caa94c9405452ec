"""Cuts a text into sentences the way reports are written: wrapped lines, lists, headings, tables, question and answer.

A line break ends a sentence unless the line was only wrapped; "Effusion? No." is one statement; the lines of a
list below "No:" belong to their heading; what stands below "Indication:" or "History:" says nothing of the image.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from mmedpo.clinical.cues import Category, find_cues, heading
from mmedpo.clinical.entries import BREAKS, continued, heads, statements
from mmedpo.clinical.lexicon import Token, find_terms

_ENDS = frozenset([";", "!", ".", "?", "\n"])
_TOKEN = re.compile(r"\d+\.\d+|[a-z0-9]+|\.{3,}|[\[\](),:;|=+.?!\n/–—☐☑✓✔✗✘…-]")
_LIST_MARK = re.compile(
    r"(?m)(?:^[ \t>]*|(?<=[.:;]\s))(?:[-*•·–—▪‣](?=\s)|\(?\d{1,2}[.)](?=\s+[A-Za-z]))[ \t]*"
)  # fmt: skip
_ABBREVIATION = frozenset(["vs", "approx", "dr", "mr", "mrs", "esp", "incl", "cf", "resp", "e", "g", "i", "ca"])
_OPEN_END = frozenset([",", "and", "or", "the", "of", "with", "without", "no", "in", "to", "a", "an", "for", "nor"])
_TABULAR = re.compile(r"[:|=]|\s-\s")
_WRAPPED = 40
"""Characters a line has at least before it is taken for a wrapped one."""
_LONGEST = 250
"""Tokens of a sentence; a longer one is cut, for every word is weighed against every other."""
_LONGEST_ANSWER = 6
_LONGEST_LABEL = 5


@dataclass(frozen=True)
class Sentence:
    """One statement: its words and marks with their places in the text."""

    tokens: tuple[Token, ...]
    below: Category | None
    """What the heading it stands under says of it."""
    asked: bool
    """Ends with a question mark and is not answered."""


def sentences(text: str) -> list[Sentence]:
    """The sentences of `text` in order; offsets refer to `text`."""
    blank = _LIST_MARK.sub(lambda m: " " * len(m.group()), text)
    breaks = [m.start() for m in re.finditer("\n", text)]
    bullets = {bisect_left(breaks, m.end()) for m in _LIST_MARK.finditer(text)}
    parts = _joined(_parts(blank, breaks, bullets), breaks, bullets)
    several = "\n" in blank.strip()
    found: list[Sentence] = []
    mode: Category | None = None
    mode_line = -1
    earlier: list[Token] = []
    for part in parts:
        line = bisect_left(breaks, part[0].start)
        words = _words(part)
        label = _label(words)
        mode = mode if line <= mode_line else None
        if label:
            told = heading(" ".join(t.text for t in words[:label]))
            mode = None if told == "nothing" else told
            if told:
                part = [t for t in part if t.start > words[label - 1].start][1:]
                mode_line = line + (not _words(part)) if several else -1
        asked = len(part) > 1 and part[-1].text == "?"
        tokens = [t for t in part if t.text not in _ENDS or t.text == "?"]
        again = continued(text, earlier, tokens)
        if again and found and heads(text, earlier):
            found.pop()
        earlier = again or tokens
        if _words(part):
            found += [Sentence(tuple(said), mode, asked) for said in statements(text, earlier)]
    return found


def tokens_of(text: str) -> list[Token]:
    """Words, numbers and marks in lower case; apostrophes and marks inside a word ("right-sided", "r/o") are none."""
    lower = text.lower()
    found: list[Token] = []
    for m in _TOKEN.finditer(lower):
        word, start, end = m.group(), m.start(), m.end()
        if word in "-/–" and start and lower[start - 1].isalnum() and lower[end : end + 1].isalnum():
            continue
        found.append(Token("…" if word.startswith("...") else word, start, end))
    return found


def _words(tokens: Sequence[Token]) -> list[Token]:
    return [t for t in tokens if t.text not in _ENDS]


def _label(words: Sequence[Token]) -> int:
    """Number of words before a colon that opens the sentence; 0 where there is none."""
    at = next((i for i, t in enumerate(words[: _LONGEST_LABEL + 1]) if t.text == ":"), 0)
    return at if at and all(t.text.isalnum() for t in words[:at]) else 0


def _parts(text: str, breaks: list[int], bullets: set[int]) -> list[list[Token]]:
    """Stretches up to an end mark, which stays as the last token."""
    parts: list[list[Token]] = [[]]
    tokens = tokens_of(text)
    for i, token in enumerate(tokens):
        leading = token.text == "?" and not _words(parts[-1])
        if token.text == "." and i and tokens[i - 1].text in _ABBREVIATION:
            continue
        if token.text == "\n" and not leading and _is_wrapped(text, token.start, breaks, bullets):
            continue
        parts[-1].append(token)
        if (token.text in _ENDS and not leading) or len(parts[-1]) >= _LONGEST:
            parts.append([])
    return [part for part in parts if _words(part) or any(t.text == "?" for t in part[:-1])]


def _is_wrapped(text: str, at: int, breaks: list[int], bullets: set[int]) -> bool:
    """The line break at `at` only wraps a long line."""
    line = bisect_left(breaks, at)
    before = text[breaks[line - 1] + 1 if line else 0 : at].rstrip()
    after = text[at + 1 : breaks[line + 1] if line + 1 < len(breaks) else len(text)]
    if not before or not after.strip() or line + 1 in bullets or before[-1] in ".:;!?|":
        return False
    if _TABULAR.search(after):
        return False
    if (before[-1] == "," or before.split()[-1].lower() in _OPEN_END) and len(before.split()) > 1:
        return _TABULAR.search(before) is None
    return len(before) >= _WRAPPED and after.lstrip()[0].islower()


def _joined(parts: list[list[Token]], breaks: list[int], bullets: set[int]) -> list[list[Token]]:
    """Answers put behind their question, and list lines behind a heading that is nothing but a cue."""
    found: list[list[Token]] = []
    listing = False
    for part in parts:
        line = bisect_left(breaks, part[0].start)
        if found and _is_answer(part, found[-1][-1].text):
            mark = found[-1][-1]
            found[-1] = [*found[-1][:-1], Token(":", mark.start, mark.end), *part]
            continue
        if listing and line in bullets and len(found[-1]) < _LONGEST:
            found[-1] = [*_words(found[-1]), Token(",", part[0].start, part[0].start), *_words(part)]
            continue
        found.append(part)
        listing = len(part) > 2 and part[-1].text == "\n" and part[-2].text == ":" and _is_cue(part[:-2])
    return found


def _is_cue(tokens: Sequence[Token]) -> bool:
    cues = find_cues([t.text for t in tokens])
    return bool(cues) and cues[0].first == 0 and cues[0].last == len(tokens) - 1 and cues[0].direction != "around"


def _is_answer(part: Sequence[Token], mark: str) -> bool:
    """ "Effusion? No, ..." and "Effusion; no." answer what stands before the mark."""
    words = _words(part)
    if not words:  # another question mark
        return False
    text = " ".join(t.text for t in words)
    short = len(words) <= _LONGEST_ANSWER and not any(m.term.kind == "finding" for m in find_terms(text))
    alone = len(words) == 1 or (mark == "?" and (words[1].text in BREAKS or short))
    if mark not in ("?", ";"):
        return False
    return words[0].text in ("yes", "no", "none", "negative", "positive", "absent", "present", "nil") and alone
