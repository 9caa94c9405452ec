"""Calls and cost: what language models took."""

from __future__ import annotations

from mmedpo.registry import register
from mmedpo.report.panel import call_costs
from mmedpo.report.parts import Part
from mmedpo.report.section import Section
from mmedpo.report.speakers import CallCost
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class Calls(Part):
    """Every endpoint, and what the numbers do and do not hold."""

    costs: tuple[CallCost, ...] = ()
    note: str = ""


@register("section", "calls")
class CallsSection(Section[Calls]):
    """Calls and cost."""

    heading = "Calls and cost"
    order = 800
    template = "calls.html.j2"

    def gather(self, run: Run, stored: Stored) -> Calls | None:
        """None where no language model spoke."""
        costs, note = call_costs(stored)
        return Calls(costs=costs, note=note) if costs or note else None
