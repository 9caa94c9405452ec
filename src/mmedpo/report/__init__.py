"""One self-contained HTML page from the stored results of a run: no network, no script, no torch, no matplotlib.

`render(content)` is pure; `ReportContent` says what a report may hold.
"""

from mmedpo.report.content import ReportContent, count_drops
from mmedpo.report.render import render

__all__ = ["ReportContent", "count_drops", "render"]
