"""Reading answers as text: words, yes or no, text of a prompt that leaked in, and taking it out again."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['.,-][^\W_]+)*")
_LEAK = re.compile(
    r"""
      candidate\ ?answers?\ ?\d?          # the judge's prompt of the released files
    | dispreferred
    | \b(?:original|preferred)\ answer
    | \bcorrect\ answer\ ?:
    | ^\s*(?:question|answer|image|prompt)\ ?\d?:
    | \n\s*-?\s*(?:question|answer)\ ?\d?:
    | \bquestion:
    | ^\s*\*{2,}                          # rest of a bold heading
    | ground[- ]truth\b
    | <image>|</?s>|<\|[^|]{0,30}\|>|\[/?inst\]|<start_of_turn>|<end_of_turn>
    | \#{3}|\b(?:assistant|human|user):
    | \bas\ an\ ai\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DECORATION = re.compile(r"^[\s*\-•>]+")


def words(text: str) -> list[str]:
    """Lower-case words; numbers with their decimals and hyphenated words are one."""
    return _WORD.findall(text.casefold())


def polarity(text: str) -> str | None:
    """`yes` or `no` when the answer begins with it, else None."""
    first = next(iter(words(text)), "")
    return first if first in ("yes", "no") else None


def contains_phrase(text: list[str], phrase: list[str]) -> bool:
    """True when the words of `phrase` follow each other somewhere in `text`."""
    size = len(phrase)
    return bool(phrase) and any(text[start : start + size] == phrase for start in range(len(text) - size + 1))


def leaked_prompt(text: str) -> str | None:
    """The piece of a prompt, a template or a judge's answer that stands in an answer, or None."""
    found = _LEAK.search(text)
    return " ".join(found.group().split()) if found else None


def without_prompt(text: str) -> str | None:
    """The answer behind a leaked prompt: what follows the last line break, without list marks; None if unclear."""
    last = _DECORATION.sub("", text.rstrip().rsplit("\n", 1)[-1]).strip()
    return last if words(last) and leaked_prompt(last) is None else None
