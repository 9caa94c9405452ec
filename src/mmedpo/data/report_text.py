"""Sections of a free-text radiology report, and the settings of datasets that hold them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from mmedpo.config import Settings

_HEADER = re.compile(r"^[ \t]*([A-Z][A-Z /,()&-]{2,60}):", re.MULTILINE)
_KINDS = (("findings", ("FINDINGS", "FINDING")), ("impression", ("IMPRESSION", "CONCLUSION", "IMPRESSIONS")))


class ReportSettings(Settings):
    """`data.reports.*`: datasets of radiographs with reports."""

    sections: tuple[Literal["findings", "impression"], ...] = Field(("findings", "impression"), min_length=1)
    """Sections that make up the reference report, in this order; a report without any of them is left out."""
    views: Literal["frontal", "first", "all"] = "frontal"
    """Images of a study: the first frontal one (where the dataset says which; else the first), the first, or each."""
    question: str = "Describe the findings and the impression of this chest radiograph."
    """What is asked of every image."""


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
