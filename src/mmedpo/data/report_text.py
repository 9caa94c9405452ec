"""Sections of a free-text radiology report. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_HEADER = re.compile(r"^[ \t]*([A-Z][A-Z /,()&-]{2,60}):", re.MULTILINE)
_KINDS = (("findings", ("FINDINGS", "FINDING")), ("impression", ("IMPRESSION", "CONCLUSION", "IMPRESSIONS")))


def report_sections(text: str) -> dict[str, str]:
    """`findings` and `impression` of a report whose sections have headings in capitals.

    "FINDINGS AND IMPRESSION:" counts as findings. The first section of a kind wins; white space is single.
    """
    found: dict[str, str] = {}
    headings = list(_HEADER.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=False):  # no heading at all leaves one end over
        content = " ".join(text[heading.end() : end].split())
        for kind, names in _KINDS:
            if content and any(name in heading.group(1) for name in names):
                found.setdefault(kind, content)
                break
    return found


def join_sections(sections: Mapping[str, str], wanted: Sequence[str]) -> str:
    """The wanted sections in their order, as one text; empty when none is there."""
    return " ".join(" ".join(sections[name].split()) for name in wanted if sections.get(name))
