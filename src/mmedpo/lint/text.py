"""Reading answers as text: words, yes or no, text of a prompt that leaked in, and taking it out again."""

from __future__ import annotations

import re
from functools import lru_cache

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
_ABOUT = r"(?:\w+ly\ |very\ |itself\ |also\ )?"
_ANSWER = (
    r"(?:answers?|responses?|repl(?:y|ies)|statements?|descriptions?|captions?|conclusions?|interpretations?"
    r"|completions?|versions?|annotations?|labels?|prompts?|options?|texts?)"
)
_MADE = (
    r"(?:original|preferred|dis-?preferred|rejected|chosen|provided|reference|gold|ground-?truth|expected"
    r"|candidate|incorrect|wrong|false|inaccurate|erroneous|hallucinated|fabricated|modified|altered|rewritten"
    r"|misleading|contradictory|true|correct|actual|accurate|model(?:'s)?|generated|above)"
)
_TRUE = r"(?:original|preferred|reference|correct|actual|true|gold|expected|chosen|intended)"
_TALK = re.compile(
    rf"""
      \b(?:contradict\w*|in\ contradiction)\ (?:the|an?|what|that|this|these|those|its|all|to|with)\b
    | \b(?:conflict(?:s|ed|ing)?\ with|inconsistent\ with|deviat\w+\ from|differ(?:s|ent|ing)?\ from|disagree\w*\ with
        |oppos(?:es|ed|ing|ite)(?:\ (?:of|to))?|misrepresent\w*|contrary\ to|unlike|match(?:es)?|aligns?\ with
        |in\ contrast\ (?:to|with)|instead\ of|rather\ than)
      \ (?:the|an?|what|that|this|its|all)\ (?:(?:{_TRUE}\ \w+|reference)\b|(?:\w+\ ){{0,2}}?{_ANSWER}\b)
    | \b(?:the|an?|this|that|your|my|its|their|any|each)\ (?:\w+\ )?{_MADE}\ {_ANSWER}\b  # "the incorrect answer"
    | \b(?:answer|response|statement|description)s?\ {_ABOUT}(?:is|are|was|would\ be|should\ be)\ {_ABOUT}
      (?:in)?(?:correct|wrong|false|accurate|misleading|plausible|factual|harmful|preferred|rejected)\b
    | \b(?:this|the|my|your)\ (?:answer|response|statement|description)\ {_ABOUT}(?:contradicts|implies|fails|introduces
        |misleads|ignores|omits|assumes|claims|misses|overlooks|hallucinates)\b
    | \b(?:rewritten|modified|altered|hallucinated|fabricated|counterfactual|dispreferred)\ (?:\w+\ )?{_ANSWER}\b
    | \bhallucinat\w+ | \bas\ an?\ (?:\w+\ )?(?:judge|evaluator|grader|rater|language\ model)\b
    | \bthe\ (?:question|prompt|user|instruction)s?\ (?:asks?|asked|is\ asking|states?|requires?|requests?)\b
    | \bas\ (?:stated|mentioned|described|given|noted|indicated)\ in\ the\ (?:original|reference|answer|question|prompt
        |correct|ground)\b
    | (?:^|\n)\W*(?:reasoning|explanation|rationale|justification|verdict|judge?ment|chosen|rejected|preferred)\s*:
    | \b(?:more|less|most|least|clinically|medically|factually)\ (?:in)?(?:correct|accurate|plausible)\ {_ANSWER}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Talk about answers instead of an image: a judge explaining, comparing or announcing what it wrote."""

_DECORATION = re.compile(r"^[\s*\-•>]+")


def words(text: str) -> list[str]:
    """Lower-case words; numbers with their decimals and hyphenated words are one."""
    return list(_words(text))


@lru_cache(maxsize=16)
def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def polarity(text: str) -> str | None:
    """`yes` or `no` when the answer begins with it, else None."""
    first = next(iter(words(text)), "")
    return first if first in ("yes", "no") else None


def contains_phrase(text: list[str], phrase: list[str]) -> bool:
    """True when the words of `phrase` follow each other somewhere in `text`."""
    size = len(phrase)
    return bool(phrase) and any(text[start : start + size] == phrase for start in range(len(text) - size + 1))


@lru_cache(maxsize=16)
def leaked_prompt(text: str) -> str | None:
    """The piece of a prompt, a template or a judge's answer that stands in an answer, or None."""
    found = _LEAK.search(text) or _TALK.search(text)
    return " ".join(found.group().split()) if found else None


def without_prompt(text: str) -> str | None:
    """The answer behind a leaked prompt: what follows the last line break, without list marks; None if unclear."""
    last = _DECORATION.sub("", text.rstrip().rsplit("\n", 1)[-1]).strip()
    return last if words(last) and leaked_prompt(last) is None else None
