"""What a section of the report is: it gathers from the stored tables, draws, and names its template.

A section is one class with `@register("section", name)` in a file that has its template beside it; the page renders
whatever is registered, in order. The name is the section's anchor.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from markupsafe import Markup

from mmedpo.registry import lookup, names
from mmedpo.report.parts import Part
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import Headline
from mmedpo.run import Run

P = TypeVar("P", bound=Part)

WIDE, NARROW = 780.0, 340.0
"""Figure widths in CSS pixels: on a desktop, and on a phone of 390 px."""


class Section(ABC, Generic[P]):
    """One section of the page."""

    heading: ClassVar[str]
    """As it is printed."""
    order: ClassVar[int]
    """Its place: sections are sorted by it, then by name. Ours are 100 (results), 200 ... 1100 (how to reproduce)."""
    template: ClassVar[str]
    """File beside the section's own; it sees `part`, what `draw` gives, and `macros.html.j2`."""
    probe: ClassVar[str] = ""
    """The probe whose picture it is, if it is one's: the table of all others leaves that out."""

    @abstractmethod
    def gather(self, run: Run, stored: Stored) -> P | None:
        """What the section says of a run; None when it has nothing to say, and is left out."""

    def draw(self, part: P) -> Mapping[str, object]:
        """Names for the template: figures (as `svg(...)`), and whatever it computes with."""
        return {}

    def says(self, part: P) -> Sequence[str]:
        """Further sentences for the paragraph under the title."""
        return ()

    def compares(self, part: P) -> Sequence[Headline]:
        """Comparisons the page opens with: what its first sentences speak of, and rows of the table below them."""
        return ()

    def points(self, part: P) -> str:
        """Text of a link under the title that leads here, for what must be read before the numbers."""
        return ""


def svg(figure: str) -> Markup:
    """A figure for a template; figures escape their own texts, so that their markup passes the autoescape as it is."""
    return Markup(figure)


def sections() -> dict[str, Section[Any]]:
    """Every registered section, in the order of the page."""
    known: dict[str, Section[Any]] = {name: lookup("section", name)() for name in names("section")}
    return dict(sorted(known.items(), key=lambda item: (item[1].order, item[0])))


def files_of(section: Section[Any]) -> tuple[Path, Path]:
    """The file of its class, and its template beside it."""
    code = Path(inspect.getfile(type(section)))
    return code, code.with_name(section.template)
