"""Minimal edits of an answer that change one clinically meaningful thing.

An edit replaces one span by another of the same class, form and number of words wherever the lexicon
has one, so that neither style nor length tells the two answers apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mmedpo.clinical.conflict import related
from mmedpo.clinical.findings import DEVICES, FINDINGS, WIDER
from mmedpo.clinical.lexicon import NUMBER_WORDS, Form, Match, find_terms, forms
from mmedpo.records import ErrorType

_ACRONYMS = frozenset(
    [
        "ct",
        "mri",
        "mr",
        "cta",
        "pet",
        "pa",
        "ap",
        "flair",
        "dwi",
        "adc",
        "t1",
        "t2",
        "aca",
        "mca",
        "pca",
        "pica",
        "copd",
        "icd",
        "cns",
        "gi",
        "gu",
        "msk",
        "iv",
    ]
)
_PAIRED = frozenset({"lung", "rib", "kidney", "clavicle", "adrenal gland", "diaphragm"})
_RARE = frozenset({"pet"})
"""Never offered instead: nobody would take a radiograph for a PET image."""
_LOBES = frozenset({"frontal", "temporal", "parietal", "occipital"})
_SPREAD = frozenset(name for name, finding in FINDINGS.items() if finding.spread)
_COMMON = frozenset(name for name, finding in FINDINGS.items() if finding.offered)
_KINDS: dict[str, ErrorType] = {
    "side": "side",
    "zone": "zone",
    "organ": "organ",
    "size": "size",
    "modality": "modality",
    "sequence": "modality",
    "plane": "plane",
    "attribute": "attribute",
    "finding": "abnormality",
    "count": "count",
}
_LENGTH = re.compile(r"\b(\d+(?:\.\d+)?)(?=\s*-?\s*(?:cm|mm)\b)", re.IGNORECASE)
_ORDINAL = re.compile(r"\b(\d{1,2})(st|nd|rd|th)\b", re.IGNORECASE)
_VERTEBRA = re.compile(r"\b([TLC])([2-9]|1[0-2])\b(?!-)")
_NO_ABNORMALITY = re.compile(r"\bno (?=abnormality\b|lung abnormality\b)", re.IGNORECASE)
_NO_LIST = re.compile(r"\bno ([a-z ]+?) or (?=[a-z])", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(?:an?|the) +(?=(?:[a-z-]+ +){0,3}$)", re.IGNORECASE)


@dataclass(frozen=True)
class Edit:
    """Replace `text[start:end]` by `replacement`."""

    start: int
    end: int
    replacement: str
    error_type: ErrorType
    """What the edited answer gets wrong."""

    def apply(self, text: str) -> str:
        """The edited text, with a/an and capitals put right."""
        before, after = text[: self.start], text[self.end :]
        m = re.search(r"\b(an?)( +)$", before, re.IGNORECASE)
        if m and self.replacement:
            article = "an" if _vowel(self.replacement) else "a"
            article = article.capitalize() if m.group(1)[0].isupper() else article
            before = before[: m.start()] + article + m.group(2)
        return before + match_case(text[self.start : self.end], self.replacement) + after


def match_case(model: str, text: str) -> str:
    """`text` written like `model`: acronyms upper, a capital where the model has one that is no acronym's."""
    text = " ".join(w.upper() if w.lower() in _ACRONYMS else w for w in text.split(" "))
    shouting = model.isupper() and len(model) > 2 and model.lower() not in _ACRONYMS
    if shouting or (len(model) == 1 and model.isupper()):
        return text.upper()
    first = model.lstrip()[:1]
    acronym = any(w in _ACRONYMS for w in model.lower().split())
    if first.isupper() and not acronym:
        return text[:1].upper() + text[1:]
    return text


def edits(text: str, question: str, report: bool, regions: frozenset[str]) -> list[Edit]:
    """Every edit of `text` the lexicon offers, in order of position.

    Args:
        text: the ground truth.
        question: its question: what it names as given is not edited in a short answer.
        report: whether statements may also be negated or affirmed.
        regions: body regions (chest, head, abdomen) that findings may be swapped within.
    """
    matches = find_terms(text)
    given = {(m.term.kind, m.term.name) for m in find_terms(question)}
    found: list[Edit] = []
    for i, match in enumerate(matches):
        kind = match.term.kind
        if kind == "organ" and (report or (kind, match.term.name) in given):
            continue
        if kind == "finding":
            found += _swap_finding(text, match, matches, regions)
        elif kind == "count":
            found += _swap_count(text, match, matches[i + 1 :])
        elif kind == "side":
            found += _swap_side(text, match)
        elif match.term.name == "normal" or (match.term.name == "enlarged" and _near_heart(text, match)):
            found += _swap_state(text, match)
        else:
            named = {m.term.name for m in matches if m.term.kind == kind} | _RARE
            found += [_edit(match, form.text) for form in _siblings(match.form) if form.term.name not in named]
    found += _numbers(text) + _affirm_normal(text, regions)
    if report:
        found += _presence(text, matches)
    return sorted(found, key=lambda e: (e.start, e.end, e.replacement))


def _edit(match: Match, replacement: str) -> Edit:
    return Edit(match.start, match.end, replacement, _KINDS[match.term.kind])


@lru_cache(maxsize=1024)
def _siblings(form: Form) -> tuple[Form, ...]:
    """Forms of the other terms of the swap group written alike: same words, number and part of speech."""
    mine = _spellings(form)
    index = next((i for i, f in enumerate(mine) if f.text == form.text), 0)
    others: dict[str, list[Form]] = {}
    for f in forms():
        alike = f.term.kind == form.term.kind and f.term.group == form.term.group and f.term.name != form.term.name
        if f.plural and f.term.kind == "organ" and f.term.name not in _PAIRED:
            continue
        alike = alike and f.plural == form.plural and (f.term.name in _LOBES) == (form.term.name in _LOBES)
        same_shape = len(f.text.split()) == len(form.text.split()) and _adjective(f.text) == _adjective(form.text)
        if alike and same_shape:
            others.setdefault(f.term.name, []).append(f)
    best = []
    for candidates in others.values():
        same_index = [f for f in candidates if _position(f) == index]
        best.append((same_index or candidates)[0])
    extremes = [f for f in best if {f.term.name, form.term.name} == {"small", "large"}]
    return tuple(extremes or best)


def _spellings(form: Form) -> list[Form]:
    return [f for f in forms() if f.term == form.term]


def _position(form: Form) -> int:
    return [f.text for f in _spellings(form)].index(form.text)


def _adjective(word: str) -> bool:
    return word.endswith(("ic", "al", "ar", "ary", "ly", "verse"))


def _swap_side(text: str, match: Match) -> list[Edit]:
    surface = text[match.start : match.end]
    if match.term.name != "bilateral":
        other = {"left": "right", "right": "left"}[match.term.name]
        if len(surface) == 1:
            return [_edit(match, other[0])]
        return [_edit(match, re.sub(match.term.name, other, surface.lower()))]
    noun = re.match(r"(?:both) ([a-z]+?)s\b", text[match.start :], re.IGNORECASE)
    if noun:
        end = match.start + noun.end()
        return [Edit(match.start, end, f"{side} {noun.group(1)}", "side") for side in ("left", "right")]
    if len(surface.split()) > 1 or surface.lower() not in ("bilateral", "both"):
        return []
    return [_edit(match, side) for side in ("left", "right")]


def _swap_count(text: str, match: Match, later: list[Match]) -> list[Edit]:
    surface = text[match.start : match.end].lower()
    value = int(surface) if surface.isdigit() else NUMBER_WORDS.index(surface) if surface in NUMBER_WORDS else 0
    if not value:
        return []
    noun = (
        later[0] if later and text[match.end : later[0].start].isspace() and later[0].term.kind == "finding" else None
    )
    options = [n for n in (value - 1, value + 1) if 1 <= n <= 12]
    if noun or re.match(r"\s+[a-z]", text[match.end :]):
        options = [n for n in options if n > 1 and value > 1] or [value + 1] * (value > 1)
    if value <= 3:
        options = [n for n in options if n <= 3] or options
    return [_edit(match, str(n) if surface.isdigit() else NUMBER_WORDS[n]) for n in options]


def _swap_finding(text: str, match: Match, matches: list[Match], regions: frozenset[str]) -> list[Edit]:
    term = match.term
    if term.group != "finding":
        return []
    named = {m.term.name for m in matches if m.term.kind == "finding"}
    named |= WIDER.get(match.form.text, frozenset())
    where = frozenset(term.regions) & regions or frozenset(term.regions)
    located = any(m.term.kind in ("side", "zone") for m in matches)
    counted = bool(
        re.search(r"\b(?:an?|one|two|three|multiple|small|large)(?: [a-z]+){0,3} $", text[: match.start], re.IGNORECASE)
    )
    words = len(match.form.text.split())
    options: dict[str, list[Form]] = {}
    for form in forms():
        t = form.term
        if t.kind != "finding" or t.group != "finding" or t.name in named or t.name not in _COMMON:
            continue
        unfit = not where & set(t.regions) or any(related(t.name, n) for n in named) or form.plural != match.form.plural
        if unfit or (counted and not t.countable) or (located and t.name in _SPREAD) or _adjectival(form.text):
            continue
        options.setdefault(t.name, []).append(form)
    if _adjectival(match.form.text):
        return []
    # The preferred spelling of each, one word longer or shorter at most: drawing uniformly among them is
    # as likely to lengthen as to shorten, while insisting on equal length would force rare synonyms.
    best = [fs[0] for fs in options.values()]
    return [_edit(match, f.text) for f in best if abs(len(f.text.split()) - words) <= 1]


def _adjectival(text: str) -> bool:
    """Forms that are no nouns and so cannot stand for one."""
    return text.endswith(("ed", "ic", "ous", "hazy", "out", "ling", "ding"))


def _near_heart(text: str, match: Match) -> bool:
    return bool(re.search(r"\b(?:heart|cardiac)\b[^.;]*$", text[: match.start], re.IGNORECASE))


def _swap_state(text: str, match: Match) -> list[Edit]:
    """normal <-> abnormal, clear <-> hazy, and normal <-> enlarged for the heart."""
    surface = text[match.start : match.end].lower()
    if _near_heart(text, match):
        new = "normal" if surface == "enlarged" else "enlarged"
        return [Edit(match.start, match.end, new, "presence")] if surface in ("normal", "enlarged") else []
    new = {"normal": "abnormal", "clear": "hazy", "unremarkable": "abnormal", "healthy": "diseased"}.get(surface, "")
    return [Edit(match.start, match.end, new, "abnormality")] if new else []


def _numbers(text: str) -> list[Edit]:
    found: list[Edit] = []
    for m in _LENGTH.finditer(text):
        places = len(m.group(1).partition(".")[2])
        for factor in (0.5, 2.0):
            value = float(m.group(1)) * factor
            if round(value, places) > 0:
                found.append(Edit(m.start(), m.end(), f"{value:.{places}f}", "size"))
    for m in _ORDINAL.finditer(text):
        n = int(m.group(1)) + 1
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if not 10 < n < 14 else "th"
        found.append(Edit(m.start(), m.end(), f"{n}{suffix}", "zone"))
    for m in _VERTEBRA.finditer(text):
        if m.group().lower() not in ("t1", "t2"):
            found.append(Edit(m.start(2), m.end(2), str(int(m.group(2)) + (1 if m.group(2) == "2" else -1)), "zone"))
    return found


def _affirm_normal(text: str, regions: frozenset[str]) -> list[Edit]:
    """ "no abnormality" -> "a nodule": the same length, a claim instead of none."""
    found: list[Edit] = []
    for m in _NO_ABNORMALITY.finditer(text):
        if text[m.end() :].lower().startswith("lung"):
            found.append(Edit(m.start(), m.end(), "a ", "presence"))
            continue
        for form in _claims(regions or frozenset({"chest"})):
            article = "an" if _vowel(form.text) else "a"
            found.append(Edit(m.start(), m.end() + len("abnormality"), f"{article} {form.text}", "abnormality"))
    return found


def _claims(regions: frozenset[str]) -> Iterable[Form]:
    seen: set[str] = set()
    for form in forms():
        t = form.term
        fit = (
            t.kind == "finding"
            and t.group == "finding"
            and t.countable
            and not form.plural
            and regions & set(t.regions)
        )
        if fit and t.name in _COMMON - DEVICES and t.name not in seen and len(form.text.split()) == 1:
            seen.add(t.name)
            yield form


def _presence(text: str, matches: list[Match]) -> list[Edit]:
    """Negates or affirms one stated finding of a report without changing its length."""
    found: list[Edit] = []
    for m in _NO_LIST.finditer(text):
        if any(f.term.kind == "finding" and m.start() < f.start < m.end() for f in matches):
            found.append(Edit(m.start(), m.end(), f"{m.group(1)} but no ", "presence"))
    for match in matches:
        if match.term.kind != "finding" or match.term.group != "finding":
            continue
        sentence = max(text.rfind(".", 0, match.start), text.rfind(",", 0, match.start)) + 1
        head = text[sentence : match.start]
        denial = re.search(r"\bno (?=$)", head, re.IGNORECASE)
        alternatives = re.match(r"[^.;]*\b(?:or|nor)\b", text[match.end :])
        if denial and not alternatives and match.term.countable and not match.form.plural:
            article = "an " if _vowel(match.form.text) else "a "
            found.append(Edit(sentence + denial.start(), sentence + denial.end(), article, "presence"))
        phrase = _ARTICLE.search(head)
        if phrase and not re.search(r"\b(?:no|not|without)\b", head, re.IGNORECASE):
            found.append(Edit(sentence + phrase.start(), sentence + phrase.end(), "no ", "presence"))
    return found


def _vowel(word: str) -> bool:
    return word[:1].lower() in "aeiou" and not word.lower().startswith(("uni", "us"))
