"""What the label of a marked region names: an organ, or a finding in it. Pure.

Data sets mark both with the same boxes. An organ is not a lesion: noise in it, or a map measured against it, would
answer another question. A label is an organ's only when every word of it is anatomy, a side or a position, so that
"colon polyp" and "enlarged heart" stay findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from mmedpo.clinical.bearing import rests_on
from mmedpo.clinical.findings import FINDINGS
from mmedpo.clinical.lexicon import Match, find_terms, tokenize
from mmedpo.clinical.vocabulary import PARTS
from mmedpo.records import Box, Example

_NOUNS = frozenset(
    {"lobe", "cord", "spine", "spinal", "larynx", "pharynx", "esophagus", "oesophagus", "rectum", "bowel",
     "intestine", "mandible", "maxilla", "parotid", "face", "neck", "eye", "orbit", "optic", "chiasm",
     "chiasma", "nerve", "retina", "macula", "disc", "fovea", "thyroid", "prostate", "uterus", "ovary",
     "cervix", "breast", "testis", "femur", "femoral", "humerus", "tibia", "vertebra", "vertebrae",
     "sternum", "scapula", "shoulder", "hip", "knee", "bone", "muscle", "skin", "artery", "vein", "vessel",
     "ureter", "bronchus", "carina", "pleura", "pericardium", "atrium", "hippocampus", "pituitary",
     "cochlea", "tongue", "tonsil", "gland", "stem"}
)  # fmt: skip
"""Anatomy that labels name and that no answer alone rests on; the rest is the lexicon's."""
_JOINING = frozenset({"of", "the", "and", "in", "a", "an", "region", "area", "head", "body", "tail"})
_CLASSES = ("organ", "side", "zone")
BRAIN_PARTS = "brain-part"

B = TypeVar("B", bound=Box)


@lru_cache(maxsize=1 << 12)
def names_organ(label: str) -> bool:
    """True for "Left Lung" or "Temporal Lobe", False for "Lung Cancer", "colon polyp" and an empty label."""
    plain = label.replace("_", " ")
    tokens, matches = tokenize(plain), find_terms(plain)
    if not tokens or any(match.term.kind == "finding" for match in matches):
        return False
    anatomy = [match for match in matches if match.term.kind in _CLASSES or match.term.name == "normal"]
    covered = {place for match in anatomy for place in range(match.first, match.last + 1)}
    rest = [token.text for place, token in enumerate(tokens) if place not in covered]
    named = any(_is_anatomy(match) for match in anatomy) or any(_singular(word) in _NOUNS for word in rest)
    return named and all(_singular(word) in _NOUNS or word in _JOINING for word in rest)


def apart(boxes: Iterable[B]) -> tuple[tuple[B, ...], tuple[B, ...]]:
    """Boxes of findings, and boxes of organs, each in their order."""
    findings: list[B] = []
    organs: list[B] = []
    for box in boxes:
        (organs if names_organ(box.label) else findings).append(box)
    return tuple(findings), tuple(organs)


def organs_in(text: str) -> frozenset[str]:
    """Organs that a text or a label names; a body region stands for the organs in it, a part of the brain for it."""
    found: set[str] = set()
    for match in find_terms(text.replace("_", " ")):
        if match.term.kind == "organ":
            found |= {match.term.name, *PARTS.get(match.term.name, ())}
        elif match.term.group == BRAIN_PARTS:
            found |= {match.term.name, "head"}
    return frozenset(found | {_singular(token.text) for token in tokenize(text) if _singular(token.text) in _NOUNS})


def about_organ(example: Example, organs: Sequence[str]) -> bool:
    """Whether a question or its truth names one of the organs, or rests on a finding that lies in it.

    Args:
        organs: labels of what is marked.
    """
    marked = frozenset(name for label in organs for name in organs_in(label))
    named = organs_in(f"{example.question} {example.answer}")
    for finding in (*rests_on(example.question, example.answer, example.error_type), *findings_asked(example)):
        told = FINDINGS.get(finding)
        if told is not None:
            named |= {"lung"} if told.lung else frozenset(told.regions if len(told.regions) == 1 else ())
    return bool(marked & named)


def findings_asked(example: Example) -> frozenset[str]:
    """Findings that a question names, there or not."""
    return frozenset(match.term.name for match in find_terms(example.question) if match.term.kind == "finding")


def _is_anatomy(match: Match) -> bool:
    return match.term.kind == "organ" or match.term.group == BRAIN_PARTS


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and word[:-1] in _NOUNS else word
