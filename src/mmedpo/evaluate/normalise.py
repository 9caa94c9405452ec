"""Text normalisation before answers are compared: the careful one and the published one.

Both follow the idea of the VQA challenge's scorer (Antol et al., "VQA: Visual Question Answering",
ICCV 2015): lower case, no punctuation, no articles, digits for number words, apostrophes put back
into contractions. `strict_tokens` does that with defined edge cases; `released_text` reproduces what
the scorer that LLaVA-Med and MMedPO share really does, accidents included.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mmedpo.evaluate.chinese import parted

KNOWN = 1 << 14
"""Texts whose normal form is remembered: models answer many questions alike, each read under several protocols."""
ARTICLES = frozenset({"a", "an", "the"})
_COUNTED = "zero one two three four five six seven eight nine ten"
NUMBER_WORDS = {word: str(number) for number, word in enumerate(_COUNTED.split())} | {"none": "0"}

_RELEASED_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_RELEASED_PERIOD_LIMIT = 32
"""The published code passes a regex flag (value 32) where a substitution count is expected."""


_NT_STEMS = "ai are ca could did does do had has have is might must need ought sha should was were wo would"
_NT_HAVE_STEMS = "could had might should would"
_D_HAVE_STEMS = "he it she somebody someone something there they who you"
_ENDINGS = {
    "ve": "could might must not should they we what where who would you",
    "d": "he how it someone something there they where who you",
    "ll": "how it somebody someone something they what who why you",
    "re": "there they what why you",
    "s": "he how somebody someone that there what when where who why",
}


def _contractions() -> dict[str, str]:
    """Contractions without their apostrophe -> with it, the set of the VQA scorer, built from their parts."""
    table = {f"{stem}nt": f"{stem}n't" for stem in _NT_STEMS.split()}
    for stem in _NT_HAVE_STEMS.split():
        table[f"{stem}nt've"] = table[f"{stem}n'tve"] = f"{stem}n't've"
    for ending, stems in _ENDINGS.items():
        table |= {f"{stem}{ending}": f"{stem}'{ending}" for stem in stems.split()}
    for stem in _D_HAVE_STEMS.split():
        table[f"{stem}d've"] = table[f"{stem}'dve"] = f"{stem}'d've"
    return table | {
        "wed've": "we'd've",
        "somebody'd": "somebodyd",
        "maam": "ma'am",
        "oclock": "o'clock",
        "ow's'at": "'ow's'at",
        "'ows'at": "'ow's'at",
        "'ow'sat": "'ow's'at",
        "twas": "'twas",
        "yall": "y'all",
        "yall'll": "y'all'll",
        "y'allll": "y'all'll",
        "yall'd've": "y'all'd've",
        "y'alld've": "y'all'd've",
        "y'all'dve": "y'all'd've",
    }


CONTRACTIONS = _contractions()
_NEGATED_STEMS = {"ca": "can", "wo": "will", "sha": "shall", "ai": "is"}


@lru_cache(maxsize=KNOWN)
def strict_tokens(text: str, *, keep_articles: bool = False) -> tuple[str, ...]:
    """Tokens for the `strict` protocol.

    Unicode is folded (NFKC), everything is lower case, punctuation separates words except a decimal
    point between digits and an apostrophe inside a word, thousands separators vanish, number words
    become digits (`none` is 0, as in the VQA scorer), articles are dropped and negative contractions
    become two words (`isn't`, `isnt` -> `is not`).

    Args:
        text: any answer.
        keep_articles: keep `a`, `an`, `the`; needed where "A" is the name of an option.
    """
    words: list[str] = []
    for word in plain_tokens(text):
        word = CONTRACTIONS.get(word, word).strip("'")
        if word == "cannot":
            word = "can't"
        if word.endswith("n't"):
            stem = word.removesuffix("n't")
            words.extend(part for part in (_NEGATED_STEMS.get(stem, stem), "not") if part)
            continue
        words.append(NUMBER_WORDS.get(word, word))
    return tuple(word for word in words if word and (keep_articles or word not in ARTICLES))


@lru_cache(maxsize=KNOWN)
def plain_tokens(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation; articles, numbers and contractions stay as they are.

    A Chinese sign is a word of its own. Used for reports, where dropping articles would change every n-gram.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).replace("\u2019", "'")
    folded = parted(folded)
    folded = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", folded)
    folded = re.sub(r"(?<![\w.])\.(?=\d)", "0.", folded)
    folded = re.sub(r"[^\w\s.']|_", " ", folded)
    folded = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", folded)
    return tuple(word for word in (part.strip("'") for part in folded.split()) if word)


@lru_cache(maxsize=KNOWN)
def released_text(text: str) -> str:
    """The published normalisation, bug for bug (LLaVA-Med `normalize_word`, also MMedPO).

    Accidents that are kept: a punctuation mark is deleted rather than replaced by a blank as soon as
    one blank stands beside one such mark, or any digit-comma-digit occurs, anywhere in the text;
    a period is deleted, joining the words around it, unless a digit follows; only the first 32 periods are.
    """
    lowered = text.lower()
    grouped_digits = re.search(r"\d,\d", lowered) is not None
    cleaned = lowered
    for mark in _RELEASED_MARKS:
        delete = grouped_digits or f"{mark} " in lowered or f" {mark}" in lowered
        cleaned = cleaned.replace(mark, "" if delete else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned, count=_RELEASED_PERIOD_LIMIT)
    words = (NUMBER_WORDS.get(word, word) for word in cleaned.split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
