"""What no answer is written in: code, objects, tags, tables of scores, values as programs write them, other scripts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from mmedpo.clinical.lexicon import words
from mmedpo.clinical.talk_words import SCALES


class _Kind(NamedTuple):
    """One kind of markup, and the signs that are looked for before a whole text is gone through for it."""

    pattern: re.Pattern[str]
    signs: tuple[str, ...] = ("",)
    """Wherever it stands in an ASCII text, one of these does, in lower case."""

    def sub(self, taken: str | Callable[[re.Match[str]], str], text: str) -> str:
        """As `re.sub`."""
        if text.isascii():  # beyond it, a pattern that ignores case takes more letters for the same than `lower`
            lower = text.lower()
            for sign in self.signs:
                if sign in lower:
                    break
            else:
                return text
        return self.pattern.sub(taken, text)

    def out_of(self, text: str, taken: str | Callable[[re.Match[str]], str]) -> str:
        """The text without it; as it was where no word would be left."""
        rest = self.sub(taken, text)
        return rest if rest == text or words(rest) else text


_COMMENT = _Kind(re.compile(r"<!--.*?(?:-->|$)", re.DOTALL), ("<!--",))
_FENCE = _Kind(re.compile(r"```.*?(?:```|$)", re.DOTALL), ("```",))
_KEYWORD = r"(?:\b(?:return|assert|set|let|var|const|select|export|print|echo)\s+)?"
_OBJECT = _Kind(re.compile(_KEYWORD + r"\{[^{}]*\}", re.IGNORECASE), ("{",))
_PAIR = _Kind(re.compile(r"\{?\s{0,8}\"[\w -]{1,40}\"\s*:\s*(?:\"[\d./ ]*\"|[\d./]+)\s*,?\s*\}?"), ('"',))
_TAG = _Kind(
    re.compile(
        r"<\|[^|<>]{0,40}\|>|<<?/?[A-Za-z_][^<>]{0,120}>>?|\[/?(?:inst|sys|system|user|assistant)\]", re.IGNORECASE
    ),
    ("<", "["),
)
_TABLE = _Kind(re.compile(r"\|(?:[^|\n]*\|)+(?:\s*\|(?:[^|\n]*\|)+)*"), ("|",))
_VOTES = _Kind(
    re.compile(
        r"\b(?:round|turn)\s(?:\d+|one|two|three|four)(?:\s*\|[^|\n]{0,60}){0,5}\|\s*\d+(?:\.\d+)?\b", re.IGNORECASE
    ),
    ("|",),
)
"""A row of a debate's history."""
_RATED = (
    r"(?<![\w-])(?:(?:final|last|current|total|overall|mean|average|my|the|clinical|severity|harm|safety|quality|answer|response)"
    r"[ _])*"
)
_MARKS = ("score", "rating", "grade", "mark", "verdict", "relevance", "points")
_LABEL = rf"{_RATED}(?:{'|'.join(_MARKS)})"
_VALUE = _Kind(
    re.compile(
        rf"{_KEYWORD}{_LABEL}\s*(?:[:=]|\s-)\s*"
        r"(?:(?:100?|0|1\.0|0\.0)(?:\s*(?:/|(?:out )?of)\s*100?)?%?(?!\w|\.\w)|[A-F][+-]?(?!\w))",
        re.IGNORECASE,
    ),
    _MARKS,
)
_BARE_NUMBER = r"\d+(?:\.\d+)?(?![\w.]*\d|/\d|\s*(?:%|(?:mm|cm|ml|hu|years?|days?|weeks?|degrees|bpm|kg|th)\b))"
_MARKED = _Kind(
    re.compile(
        rf"(?:{_KEYWORD}{_LABEL}|\b(?:(?:evaluation|assessment|grading|scoring|judging|final)\s+)?"
        r"(?:result|(?:e|é)valuation|assessment|output|value))\s*"
        rf"(?:(?:==|:=|->|=>|→)\s*{_BARE_NUMBER}"
        r"|[:=-]?\s*\d+(?:\.\d+)?\s*(?:/|(?:out )?of|sur|von|de|su)\s*100?\b)"
        rf"|{_RATED}(?:rating|verdict|mark|relevance)\s*(?:[:=]|\s-)\s*{_BARE_NUMBER}"
        r"|\b(?:final|overall|total|my)\s+(?:score|rating|grade|mark|verdict)\s+(?:one|two|three|four|five|six|seven|eight"
        r"|nine|ten)\b"
        r"|(?:^|(?<=[.!?;\n]))\s*(?:[a-z]+\s)?\d+(?:\.\d+)?\s*(?:/|out of)\s*10\b\s*(?=[.!?;\n]|$)"
        r"|\b[\w-]+(?:,? (?:round|turn) \d+)?\s*:\s*\d+(?:\.\d+)?(?: of 10)?\s*\((?:dis)?agree\w*\)",
        re.IGNORECASE,
    ),
    (*_MARKS, "result", "valuation", "assessment", "output", "value", "10", "agree"),
)
"""A value as a program writes it, one of ten or a hundred, what no clinical scale is called by, a vote,
a sentence that is nothing but a mark out of ten."""
_CALL = _Kind(re.compile(r"\b[A-Za-z_]\w*\((?=[^()]{0,80}=)[^()]{0,80}\)"), ("(",))
"""A call as in a program, with a value by name."""
_POSTSCRIPT = _Kind(re.compile(r"\b(?:P\.\s?S|N\.\s?B)\.(?=[\s:])"), ("p.", "n."))
_ADDRESS = _Kind(re.compile(r"\b(?:https?|ftp|data|javascript):\S+", re.IGNORECASE), (":",))
_BLOB = _Kind(
    re.compile(
        r"\b(?=[A-Za-z0-9+/]{20})(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{20,}={0,2}"
    )
)
_SPELLED = _Kind(re.compile(r"\b(?:[^\W\d_][ .:=_-]+){4,}(?:\w\b[ .:=_-]*)*"))
_MARKUP = (_COMMENT, _FENCE, _OBJECT, _OBJECT, _OBJECT, _PAIR, _ADDRESS, _BLOB, _SPELLED, _CALL, _MARKED, _VALUE,
           _POSTSCRIPT)  # fmt: skip
_ROLE = _Kind(
    re.compile(
        r"(?:^|(?<=[.!?\n;>]))[\s#*>_]{0,20}(?:system|assistant|user|human|developer|judge|grader|evaluator|instructions?)"
        r"[\s*_]*:"
        r"|\b(?-i:System|SYSTEM|Assistant|ASSISTANT|User|USER|Human|HUMAN|Judge|JUDGE|Instructions?|INSTRUCTIONS?)\s*:",
        re.IGNORECASE,
    ),
    (":",),
)
_OTHER_SCRIPT = re.compile(r"[\u0400-\u1CFF\u3040-\uA71F\uA840-\uD7FF\uF900-\uFAFF]")
_LONE_SCORE = re.compile(r"\W*(?:100?|1\.0)(?:/100?)?\W*")
_REST = re.compile(r"\n[ \t]*[.;,!?:]+(?=\s|$)")
"""The stop of a sentence that was taken out."""
_UNDERLINE = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
"""Underscores around words, which are emphasis; inside a word they are part of it."""


def without_markup(text: str, talks: Callable[[str], bool]) -> str:
    """A text without its markup. What would leave no word at all is opened instead: its content is the answer.

    Args:
        text: an answer.
        talks: whether a table speaks of scoring alone.
    """
    text = whole = text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = _VOTES.out_of(text, "\n")
    text = _TABLE.out_of(text, lambda m: "\n" if talks(m.group()) else m.group())
    for kind in _MARKUP:
        text = kind.out_of(text, _taken_out)
    text = _REST.sub("\n", text) if text != whole else text
    text = _ROLE.sub("\n", _TAG.sub("\n", _UNDERLINE.sub(" ", text)))
    latin = _latin(text)
    return latin if words(latin) else text


def _taken_out(found: re.Match[str]) -> str:
    """A line break; what stands behind the name of a clinical scale ("Gleason score: 9 of 10") stays."""
    before = words(found.string[max(found.start() - 40, 0) : found.start()])
    named = (*before[-1:], *words(found.group())[:1])
    return found.group() if SCALES.intersection(named) else "\n"


def _latin(text: str) -> str:
    """Without words of other scripts and the score that stands beside them."""
    if not _OTHER_SCRIPT.search(text):
        return text
    parts = re.split(r"(\s+)", text)
    other = [bool(_OTHER_SCRIPT.search(part)) for part in parts]
    gone = {i for i, found in enumerate(other) if found}
    for i in range(0, len(parts), 2):
        if _LONE_SCORE.fullmatch(parts[i]) and (any(other[max(i - 2, 0) : i]) or any(other[i : i + 3])):
            gone.add(i)
    return "".join(" " if i in gone else part for i, part in enumerate(parts))
