"""Cases that changed: questions that one model answers better or worse than another, the worse ones first."""

from __future__ import annotations

from mmedpo.registry import register
from mmedpo.report.parts import Part
from mmedpo.report.section import Section
from mmedpo.report.sections.predictions import PredictionSample
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class ChangedBetween(Part):
    """The cases between two models."""

    title: str
    note: str
    worse: tuple[PredictionSample, ...] = ()
    """The largest losses first."""
    better: tuple[PredictionSample, ...] = ()
    """The largest gains first."""


class Changed(Part):
    """Every compared model against the first."""

    pairs: tuple[ChangedBetween, ...]


@register("section", "changed")
class ChangedSection(Section[Changed]):
    """Cases that changed."""

    heading = "Cases that changed"
    order = 250
    template = "changed.html.j2"

    def gather(self, run: Run, stored: Stored) -> Changed | None:
        """None: the page of one run draws a sample of them (`predictions`)."""
        return None
