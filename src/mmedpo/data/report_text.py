"""Sections of a free-text radiology report, and the settings of datasets that hold them. Pure.

Headings are told by their form (capitals and a colon at the beginning of a line) and sorted by their words:
those of the findings, of the impression, of the sections beside them (indication, comparison ...), and views
("CHEST, TWO VIEWS:"), behind which reports without a heading of their own state their findings. Misspelt words
count as what they resemble. Any other heading inside findings or impression is a sub-heading and stays in the
text; elsewhere it begins a section that is not read, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NamedTuple

from pydantic import Field

from mmedpo.config import Settings


class ReportSettings(Settings):
    """`data.reports.*`: datasets of radiographs with reports."""

    sections: tuple[Literal["findings", "impression"], ...] = Field(("findings", "impression"), min_length=1)
    """Sections that make up the reference report, in this order; a report without any of them is left out."""
    views: Literal["frontal", "first", "all"] = "frontal"
    """Images of a study that its one question shows: the first frontal one (where the dataset says which; else the
    first), the first, or all, frontal ones first."""
    question: str = "Describe the findings and the impression of this chest radiograph."
    """What is asked of every study."""


Kind = Literal["findings", "impression", "views", "other", "unknown"]

_WORDS: dict[str, Kind] = {
    **dict.fromkeys(("FINDINGS", "FINDING"), "findings"),
    **dict.fromkeys(("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS", "INTERPRETATION"), "impression"),
    **dict.fromkeys(
        (
            *(
                "EXAM",
                "EXAMINATION",
                "STUDY",
                "PROCEDURE",
                "INDICATION",
                "INDICATIONS",
                "HISTORY",
                "CLINICAL",
                "REASON",
            ),
            *("DIAGNOSIS", "COMPARISON", "COMPARISONS", "TECHNIQUE", "NOTIFICATION", "RECOMMENDATION"),
            *("RECOMMENDATIONS", "ADDENDUM", "REPORT", "WET", "READ", "DATE", "TIME", "DOSE", "ATTESTATION"),
        ),
        "other",
    ),
}
"""Word of a heading to the section it names (the headings of MIMIC-CXR and Open-i)."""
_VIEWS = frozenset(("CHEST", "VIEW", "VIEWS", "RADIOGRAPH", "RADIOGRAPHS", "FILM", "FILMS", "XRAY", "CXR", "PORTABLE"))
"""Words of which a heading that names the picture has at least one."""
_PROVISIONAL = frozenset(("PROVISIONAL", "PRELIMINARY"))
"""Words of a reading that the report itself replaces."""
_TITLES = frozenset(("FINAL", "REPORT", "RADIOLOGY", "RADIOGRAPHIC", "DIAGNOSTIC", "IMAGING"))
"""Words of a heading that names the report itself, behind which it may begin without a heading of its own."""
_BEFORE = frozenset(("EXAM", "EXAMINATION", "INDICATION", "INDICATIONS", "HISTORY", "CLINICAL", "REASON", "COMPARISON"))
"""Words of the sections that come before the findings."""
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_BESIDE = frozenset(("AND", "FINAL", ""))
_ALIKE = 0.84
"""A word of eight letters with one of them wrong, left out, doubled or swapped."""
_SHORTEST_MISSPELT = 6
"""Shorter words resemble too many others."""

_MARKUP = r"^[ \t]*(?:[#*_>]+[ \t]*)?(?P<number>(?:\(?(?:\d{1,2}|[IVX]{1,4})[.)]|[A-H][.)])[ \t]*[*_]*)?"
"""Beginning of a line, with what Markdown puts before a heading, and its number ("1.", "(2)", "IV.", "B)")."""
_HEADING = re.compile(_MARKUP + r"(?P<name>[A-Z][A-Z0-9 /,.()&'-]{1,80}?)[ \t*_]*[:：][*_]*", re.MULTILINE)
_TITLE = re.compile(_MARKUP + r"(?P<name>[A-Z][a-z]+(?: (?:and|[A-Z][a-z]+)){0,3})[ \t*_]*[:：][*_]*", re.MULTILINE)
"""A heading in small letters, which counts only where it names a known section."""
_ALONE = re.compile(_MARKUP + r"(?P<name>[A-Z][A-Z ]{3,40})[ \t*_]*$", re.MULTILINE)
"""A line of capitals without a colon; likewise."""
_MARKED = re.compile(r"^[ \t]*[#*_]+[ \t]*(?P<name>[A-Z][A-Za-z ]{3,40}?)[ \t*_]*$", re.MULTILINE)
"""A line that Markdown makes a heading; likewise."""
_LOOSE = re.compile(
    _MARKUP + r"([a-z]{7,20}(?: and [a-z]{7,20})?)[ \t]*[:：]|"  # no capital at all
    r"^[ \t]*([A-Z][a-z]{6,20})[ \t]*$|"  # one word, alone on its line
    r"^[ \t]*([A-Z][A-Z ]{6,40}?|[A-Z][a-z]{6,20})(?:[ \t]*;|[ \t]+[-–—])[ \t]|"  # another mark than a colon
    r"(?<=[A-Za-z_)\]][.!?] )([A-Z][A-Z /]{6,40}?)[ \t]*[:：]",  # behind a sentence on the same line
    re.MULTILINE,
)
"""Where a heading counts only if all its words speak of findings or impression."""
_SPELLINGS = (
    (re.compile(r"\r\n?|[ \t]*<(?:br|/?p|/?div)[ \t]*/?>[ \t]*", re.IGNORECASE), "\n"),
    (re.compile(r"\xa0|\u3000"), " "),
    (re.compile(r"</?(?:b|i|u|em|strong|h\d|span)>", re.IGNORECASE), ""),
    (re.compile(r"^[ \t]*[-=_~]{3,}[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*\[([A-Z][A-Za-z ]{3,40})\][ \t]*:?", re.MULTILINE), r"\1:"),
    (re.compile(r"^([ \t]*[A-Z][A-Z ]{3,40}?)[ \t]*(?:=|\.{3,}|\n[ \t]*:)", re.MULTILINE), r"\1:"),
)
"""What stands for a line break, a blank, a heading's colon or nothing in spreadsheets, web pages and by hand."""
_LETTERS = re.compile(r"[A-Z]+(?:-RAY)?")


@dataclass(frozen=True)
class ReportSections:
    """What a report holds, and what of it was not understood."""

    texts: Mapping[str, str]
    """`findings` and `impression`, where they are there; white space is single."""
    unread: tuple[str, ...] = ()
    """Headings of sections that are of no known kind, and second sections of a kind; their text is not read."""


class _Heading(NamedTuple):
    kind: Kind
    name: str
    start: int
    end: int
    numbered: bool = False


def report_sections(text: str) -> ReportSections:
    """Findings and impression of a report.

    "FINDINGS AND IMPRESSION:" counts as findings, as does, in a report without findings, what stands behind a heading
    of views or of the report itself, the whole of a report that has no headings, and, where nothing else is there,
    what follows behind a blank line in the last section that comes before findings ("HISTORY: Pain."). The first
    section of a kind that is not empty wins.
    """
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    found: dict[str, str] = {}
    unread: list[str] = []
    views = untitled = behind = ""
    for heading, raw in _parts(text):
        content = " ".join(raw.split())
        if heading.kind in ("findings", "impression") and content:
            if heading.kind in found:
                unread.append(heading.name)
            found.setdefault(heading.kind, content)
        elif heading.kind == "views" and _is_title(heading.name):
            untitled = untitled or content
        elif heading.kind == "views":
            views = views or content
        elif heading.kind == "unknown":
            unread.append(heading.name)
        elif not _BEFORE.isdisjoint(_LETTERS.findall(heading.name.upper())):
            behind = " ".join(_PARAGRAPH.sub("\0", raw.strip(), count=1).partition("\0")[2].split())
    if not _headings(text) and len(text.split()) > 1:  # a report that has no headings is one statement
        views = " ".join(text.split())
    stated = views or untitled or ("" if found else behind)
    if stated and "findings" not in found:
        found["findings"] = stated
    return ReportSections(found, tuple(unread))


def join_sections(sections: Mapping[str, str], wanted: Sequence[str]) -> str:
    """The wanted sections in their order, as one text; empty when none is there."""
    return " ".join(" ".join(sections[name].split()) for name in wanted if sections.get(name))


def _parts(text: str) -> Iterator[tuple[_Heading, str]]:
    """Every section with its text: a heading that is known, or that stands outside findings and impression."""
    open_sections: list[_Heading] = []
    for heading in _headings(text):
        inside = bool(open_sections) and open_sections[-1].kind in ("findings", "impression", "views")
        inside = inside and not _is_title(open_sections[-1].name)
        if inside and heading.kind in ("unknown", "views"):
            continue  # a sub-heading: its words stay in the text
        open_sections.append(heading)
    ends = [heading.start for heading in open_sections[1:]] + [len(text)]
    for heading, end in zip(open_sections, ends, strict=False):  # no heading at all leaves one end over
        yield heading, text[heading.end : end]


def _headings(text: str) -> list[_Heading]:
    found = {}
    for match in _LOOSE.finditer(text):
        name = next(group for group in match.groups()[1:] if group)
        kinds = {_word_kind(word) for word in re.split(r"[ /]+", name.upper()) if word not in _BESIDE}
        if kinds <= {"findings", "impression"}:
            found[match.start()] = _Heading(
                _kind(name.upper()), name, match.start(), match.end(), bool(match["number"])
            )
    for pattern in (_ALONE, _MARKED, _TITLE, _HEADING):
        for match in pattern.finditer(text):
            name = match["name"].strip()
            kind = _kind(name.upper())
            titled = kind == "views" and _is_title(name)
            if pattern is _HEADING or titled or kind in ("findings", "impression", "other"):
                numbered = bool(match.groupdict().get("number"))
                found[match.start()] = _Heading(kind, name, match.start(), match.end(), numbered)
    # Numbers before headings are those of a list ("2. RECOMMENDATION: CT."), unless the sections have them.
    listed = not any(h.numbered and h.kind in ("findings", "impression") for h in found.values())
    return [found[start] for start in sorted(found) if not (listed and found[start].numbered)]


def _kind(heading: str) -> Kind:
    words = _LETTERS.findall(heading)
    if not _PROVISIONAL.isdisjoint(words):
        return "unknown"
    if _is_title(heading):
        return "views"
    kinds = [kind for word in words if (kind := _word_kind(word))]
    for kind in ("findings", "impression", "other"):
        if kind in kinds:
            return kind
    if any(word.replace("-", "") in _VIEWS for word in words):
        return "views"
    return "unknown"


def _is_title(heading: str) -> bool:
    words = _LETTERS.findall(heading.upper())
    return "REPORT" in words and _TITLES.issuperset(words)


def _word_kind(word: str) -> Kind | None:
    known = _WORDS.get(word)
    if known is None and len(word) >= _SHORTEST_MISSPELT:
        near = get_close_matches(word, _WORDS, n=1, cutoff=_ALIKE)
        known = _WORDS[near[0]] if near else None
    return known
