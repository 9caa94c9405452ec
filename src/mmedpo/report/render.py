"""`render`: content in, one HTML page out. Jinja2 with autoescape; a name missing in a template is an error."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmedpo.report import charts, formatting
from mmedpo.report.content import (
    Metric,
    Reliance,
    ReportContent,
    Results,
    ScoreSource,
    Training,
)
from mmedpo.report.verdict import RELIANCE, direction, multiplicity_note, tone, verdict

TEMPLATES = Path(__file__).parent / "templates"


class Section(NamedTuple):
    """One section of the page: anchor, heading, and whether the content has anything for it."""

    anchor: str
    heading: str
    present: bool


def sections(content: ReportContent) -> list[Section]:
    """The sections that are not empty, in reading order."""
    curation, scores, reproduce = content.curation, content.scores, content.reproduce
    every = [
        Section("results", "Results", content.results is not None and bool(content.results.metrics)),
        Section("reliance", "Lesion reliance", content.reliance is not None and bool(content.reliance.rows)),
        Section("predictions", "Sample predictions", bool(content.predictions)),
        Section("drops", "Warnings and drops", bool(content.warnings or content.drops)),
        Section("training", "Training", content.training is not None and bool(content.training.panels)),
        Section(
            "curation",
            "Curation",
            curation is not None and bool(curation.counts or curation.judges or curation.lengths or curation.conflicts),
        ),
        Section(
            "scores",
            "Scores and weights",
            scores is not None and bool(scores.sources or scores.panel or scores.debates),
        ),
        Section("calls", "Calls and cost", bool(content.calls or content.calls_note)),
        Section("groundings", "Groundings and noise", bool(content.groundings)),
        Section("pairs", "Preference pairs", bool(content.pairs)),
        Section("reproduce", "How to reproduce", reproduce is not None and reproduce != type(reproduce)()),
    ]
    return [section for section in every if section.present]


def render(content: ReportContent) -> str:
    """The report as one HTML document that needs nothing else: styles inline, images as data URIs, no script.

    All texts are escaped; control characters and lone surrogates become U+FFFD, so that the result always encodes
    as UTF-8.
    """
    page = _environment().get_template("page.html.j2")
    return formatting.printable(page.render(content=content, sections=sections(content), verdict=verdict(content)))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formatting.number, count=formatting.count, share=formatting.share, duration=formatting.duration,
        level=formatting.level, money=formatting.money, data_uri=formatting.data_uri, png_size=formatting.png_size,
    )  # fmt: skip
    environment.globals.update(
        style=Markup((TEMPLATES / "page.css").read_text("utf-8")),
        measured=formatting.measured, interval=formatting.interval, differing_words=formatting.differing_words,
        direction=direction, tone=tone, multiplicity_note=multiplicity_note, reliance_metric=RELIANCE,
        metric_groups=metric_groups, difference_plots=_difference_plots, error_type_rows=_error_type_rows,
        reliance_plots=_reliance_plots, training_plots=_training_plots, score_plots=_score_plots,
    )  # fmt: skip
    return environment


def metric_groups(results: Results) -> list[tuple[str, str, list[Metric]]]:
    """Neighbouring metrics of the same split and protocol, for the table's upper header."""
    return [
        (split, protocol, list(group))
        for (split, protocol), group in groupby(results.metrics, key=lambda metric: (metric.split, metric.protocol))
    ]


# Figures escape their own texts, so their markup passes the autoescape as it is: here, and nowhere else.


def _difference_plots(results: Results) -> list[tuple[Markup, Markup]]:
    return [(Markup(wide), Markup(narrow)) for _, wide, narrow in charts.difference_plots(results)]


def _error_type_rows(results: Results) -> list[tuple[object, Markup]]:
    bars = charts.error_type_bars(results.by_error_type, results)
    return [(item, Markup(bar)) for item, bar in zip(results.by_error_type, bars, strict=True)]


def _reliance_plots(reliance: Reliance) -> tuple[Markup, Markup]:
    return (
        Markup(charts.reliance_plot(reliance, charts.WIDE)),
        Markup(charts.reliance_plot(reliance, charts.NARROW, narrow=True)),
    )


def _training_plots(training: Training) -> list[tuple[object, Markup]]:
    return [(panel, Markup(charts.training_plot(panel, training))) for panel in training.panels]


def _score_plots(source: ScoreSource) -> list[Markup]:
    plots = []
    if source.scores:
        plots.append(Markup(charts.score_plot(source)))
    if source.weights:
        plots.append(Markup(charts.weight_plot(source)))
    return plots
