"""A yes/no question as a statement, and as its negation: the same facts, asked in other words. Pure.

Grammar proposes, the clinical reader disposes: a rewording counts only when the facts it asks for are read as those of
the question, each with the same place and size, and with the status turned round where it is negated.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from mmedpo.clinical.facts import FindingFact, extract_facts
from mmedpo.clinical.lexicon import find_terms, is_yes_no_question

_OPENING = re.compile(
    r"^\s*(is|are|was|were|do|does|did|can|could|has|have|had)\s+(.+?)\s*[?.]*\s*$", re.IGNORECASE | re.DOTALL
)
_ARTICLE = re.compile(r"^(?:a|an|any|some)\s+", re.IGNORECASE)
_LOOSE = re.compile(r"^(?:any|some)\s+", re.IGNORECASE)
_NOT_NO = re.compile(r"^(?:any\w+|only|more|less|the|both|one|two|three|[\d<>])\b", re.IGNORECASE)
"""What "no" cannot stand before."""
_PRONOUNS = frozenset(["it", "they", "you", "we", "i", "one", "anyone"])
_POINTING = frozenset(["this", "that", "these", "those"])
_DETERMINERS = frozenset(["a", "an", "the", "any", "some", "normal", "abnormal"])
_SMALL = frozenset(["a", "an", "the", "any", "some", "this", "that", "these", "those", "left", "right", "both"])
_VERBS = frozenset(
    ["show", "have", "demonstrate", "reveal", "look", "contain", "appear", "exhibit", "suggest", "indicate", "display",
     "depict", "see", "suffer", "present", "lie", "seem", "affect", "involve", "be", "had", "been"]
)  # fmt: skip
_PREDICATES = frozenset(
    ["present", "visible", "seen", "noted", "evident", "shown", "found", "absent", "there", "apparent", "clear",
     "normal", "abnormal", "large", "small", "bigger", "larger", "smaller", "too", "consistent", "a", "an"]
)  # fmt: skip
_PREPOSITIONS = frozenset(["in", "on", "at", "within", "near", "behind", "above", "below", "inside", "along", "by"])
_AUXILIARIES = frozenset(["do", "does", "did", "can", "could"])


@lru_cache(maxsize=1 << 14)
def affirmed(question: str) -> str | None:
    """ "Is a mass seen?" -> "Is it true that a mass is seen?"; None where it is not understood."""
    return _checked(question, _statement(question, negated=False), turned=False)


@lru_cache(maxsize=1 << 14)
def negated(question: str) -> str | None:
    """ "Is there a mass?" -> "Is it true that there is no mass?"; None where it is not understood.

    The answer is turned round: "is it true that" leaves open neither what yes means, nor what no does.
    """
    return _checked(question, _statement(question, negated=True), turned=True)


def _statement(question: str, *, negated: bool) -> str | None:
    """The question as a statement, without capital and full stop."""
    opening = _OPENING.match(question)
    if opening is None or not is_yes_no_question(question):
        return None
    verb, rest = opening[1].lower(), opening[2]
    if rest.split()[0].lower() == "there":
        return _there(verb, " ".join(rest.split()[1:]), negated=negated)
    words = rest.split()
    end = _subject(words, verb)
    if end is None:
        return None
    first = words[0] if words[0].isupper() and len(words[0]) > 1 else words[0][0].lower() + words[0][1:]
    denial = ["not"] if negated else []
    if first == "any":  # "any ribs are fractured" is no statement
        first, denial = ("no" if negated else "some"), []
    return " ".join([first, *words[1:end], verb, *denial, *words[end:]])


def _there(verb: str, what: str, *, negated: bool) -> str | None:
    if not what:
        return None
    if not negated:
        return f"there {verb} {_LOOSE.sub('', what)}"
    if _NOT_NO.match(what):
        return f"there {verb} not {what}"
    return f"there {verb} no {_ARTICLE.sub('', what)}"


def _subject(words: list[str], verb: str) -> int | None:
    """How many words the subject of a question takes; None where that is not clear."""
    plain = [word.lower().strip(",;:") for word in words]
    if plain[0] in _PRONOUNS and len(words) > 1:
        return 1
    if plain[0] in _POINTING and len(words) > 1 and plain[1] in _DETERMINERS:
        return 1
    ends = _VERBS if verb in _AUXILIARIES else _PREDICATES
    said = [i for i in range(1, len(words)) if plain[i] in ends or (verb not in _AUXILIARIES and _state(plain[i]))]
    placed = [i for i in range(1, len(words)) if plain[i] in _PREPOSITIONS and verb not in _AUXILIARIES]
    # The first that says something of what was named: "the silhouette | within normal limits".
    for places in (said, placed):
        for i in places:
            if _names_something(plain[:i]) and plain[i - 1] not in _PREPOSITIONS:
                return i
    return None


def _state(word: str) -> bool:
    """A participle or an attribute: what is said of a subject."""
    if len(word) > 4 and word.endswith("ed"):
        return True
    found = find_terms(word)
    return bool(found) and found[0].term.kind == "attribute"


def _names_something(words: list[str]) -> bool:
    return any(word not in _SMALL and not _state(word) for word in words)


def _checked(question: str, statement: str | None, *, turned: bool) -> str | None:
    if statement is None:
        return None
    asked = f"Is it true that {statement}?"
    before, after = _asked(question), _asked(asked)
    if turned:
        before = frozenset(replace(fact, status="absent" if fact.present else "present") for fact in before)
    return asked if before and before == after else None


def _asked(question: str) -> frozenset[FindingFact]:
    """What a yes would settle; empty where it settles nothing, or leaves something open."""
    said = extract_facts("yes", question)
    return frozenset() if said.unsettled else frozenset(said.findings)
