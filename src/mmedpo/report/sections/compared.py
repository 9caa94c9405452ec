"""The runs of a comparison: in which settings they differ, and what each took."""

from __future__ import annotations

from mmedpo.registry import register
from mmedpo.report.parts import Measured, Part
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class ComparedRun(Part):
    """One run and its costs."""

    name: str
    created: str = ""
    seconds: Measured = None
    """Wall time of all its stages; None where none was timed."""
    training: Measured = None
    """That of its training."""
    calls: int = 0
    """Calls of language models that it paid for."""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


class DifferentSetting(Part):
    """A setting that is not the same in all runs."""

    name: str
    values: tuple[str, ...]
    """In the order of the runs; empty where a run has no such setting."""


class Compared(Part):
    """The runs in their order."""

    runs: tuple[ComparedRun, ...]
    settings: tuple[DifferentSetting, ...] = ()
    notes: tuple[str, ...] = ()
    """Which questions they share, and which were left out."""


@register("section", "compared")
class ComparedSection(Section[Compared]):
    """The runs."""

    heading = "The runs"
    order = 150
    template = "compared.html.j2"

    def gather(self, run: Run, stored: Stored) -> Compared | None:
        """None: one run is compared with none."""
        return None
