"""A section of the report: the picture of the probe `in-the-dark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.registry import register
from mmedpo.report import Section, svg
from mmedpo.report.figures import ForestRow, forest
from mmedpo.report.parts import Part
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class Falls(Part):
    """Model, fall, and its interval."""

    rows: tuple[tuple[str, float, float, float], ...]
    about: str


@register("section", "in-the-dark")
class DarkSection(Section[Falls]):
    """A dot and an interval for every model, right after lesion reliance."""

    heading = "In the dark"
    order = 210
    template = "section.html.j2"

    def gather(self, run: Run, stored: Stored) -> Falls | None:
        """See `Section`."""
        summary = stored.probe("in-the-dark")
        if summary is None:
            return None
        rows = ((part.model, part.mean, part.low, part.high) for part in summary.parts if not part.against)
        return Falls(rows=tuple(rows), about=summary.about)

    def draw(self, part: Falls) -> Mapping[str, object]:
        """See `Section`."""
        rows = [ForestRow(model, mean, low, high) for model, mean, low, high in part.rows]
        return {"plot": svg(forest(rows, title=self.heading, axis="nats", width=600))}

    def says(self, part: Falls) -> Sequence[str]:
        """See `Section`."""
        return (f"Without a picture the truth becomes less likely by {part.rows[-1][1]:.2f} nats.",)
