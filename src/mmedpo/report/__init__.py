"""One self-contained HTML page from the stored results of a run: no network, no script, no torch, no matplotlib.

`render(content)` is pure; what a page may hold is `ReportContent` and the parts of its sections (`report.sections`).
"""

from mmedpo.report.content import ReportContent
from mmedpo.report.page import render
from mmedpo.report.section import Section, svg

__all__ = ["ReportContent", "Section", "render", "svg"]
