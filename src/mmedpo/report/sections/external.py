"""Metrics of reports that RadEval computed in its own environment, or why it did not."""

from __future__ import annotations

from collections.abc import Mapping

from mmedpo.records import ExternalMetric
from mmedpo.registry import register
from mmedpo.report.content import Metric
from mmedpo.report.parts import Part
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class External(Part):
    """All such metrics of a run."""

    models: tuple[str, ...]
    metrics: tuple[ExternalMetric, ...]
    level: float = 0.95


@register("section", "external")
class ExternalSection(Section[External]):
    """Report metrics of RadEval."""

    heading = "Reports, scored by RadEval"
    order = 160
    template = "external.html.j2"

    def gather(self, run: Run, stored: Stored) -> External | None:
        """None where a recipe asks for none."""
        if stored.evaluation is None or not stored.evaluation.external:
            return None
        return External(models=stored.evaluation.models, metrics=stored.evaluation.external)

    def draw(self, part: External) -> Mapping[str, object]:
        """How the values are printed."""
        return {"metric": Metric(key="external", name="", percent=True)}
