"""Rounds: what each round of the loop began with and came to, where a run has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.config import RunSettings
from mmedpo.records import PreferencePair
from mmedpo.records.looks import LOGPROB, SCORE, LogEntry, kept_look, watch_log
from mmedpo.registry import register
from mmedpo.report.section import Section, svg
from mmedpo.report.sections.training import CurvePanel, CurveSeries, Training, training_plot
from mmedpo.report.stored import Stored
from mmedpo.run import Run
from mmedpo.run.layout import LOG, PAIRS
from mmedpo.run.slots import round_folder
from mmedpo.storage.json_file import read_json

Points = list[tuple[float, float | None]]


@register("section", "rounds")
class RoundsSection(Section[Training]):
    """Rounds."""

    heading = "Rounds"
    order = 490
    template = "training.html.j2"

    def gather(self, run: Run, stored: Stored) -> Training | None:
        """None of a single round, or before the first has trained."""
        return rounds(run) if stored.settings.rounds > 1 else None

    def draw(self, part: Training) -> Mapping[str, object]:
        """One small chart a panel."""
        return {"plots": [(panel, svg(training_plot(panel, part))) for panel in part.panels]}


def rounds(run: Run) -> Training | None:
    """Curves over the finished rounds; None where there is none."""
    made: Points = []
    curves: dict[str, dict[str, Points]] = {SCORE: {"start": [], "kept": []}, LOGPROB: {"start": [], "kept": []}}
    for number, own in enumerate(run.settings.every_round, start=1):
        log, pairs = (run.file(f"{round_folder(number)}/{name}") for name in (LOG, PAIRS))
        if not log.exists() or not pairs.exists():
            break
        found = run.read(f"{round_folder(number)}/{PAIRS}", PreferencePair)
        made.append((float(number), float(sum(pair.kind == "text" for pair in found))))
        _add(curves, number, watch_log(read_json(log, list[LogEntry])), own.train.watch.keep == "best")
    if not made:
        return None
    titles = {SCORE: ("Validation probe", "share right"), LOGPROB: ("Validation log π(y_w)", "per token, nats")}
    panels = [
        CurvePanel(
            title=title,
            y_label=unit,
            series=tuple(CurveSeries(name=n, points=tuple(p)) for n, p in curves[field].items() if p),
        )
        for field, (title, unit) in titles.items()
    ]
    panels.append(
        CurvePanel(title="Text pairs", y_label="made", series=(CurveSeries(name="pairs", points=tuple(made)),))
    )
    return Training(
        panels=tuple(panel for panel in panels if panel.series),
        x_label="round",
        notes=_notes(run.settings),
    )


def _notes(settings: RunSettings) -> tuple[str, ...]:
    """What a round begins with, and what it has of its own."""
    refers = {own.train.reference for own in settings.every_round}
    begins = {
        frozenset({"previous"}): "samples, and refers to, the model that the round before kept",
        frozenset({"first"}): "samples the model that the round before kept, and refers to the first",
    }.get(frozenset(refers), "samples the model that the round before kept")
    own = [
        f"Round {number} has of its own: {', '.join(f'{group}.{name}={value}' for name, value in given.items())}."
        for number, groups in enumerate(settings.each_round, start=1)
        for group, given in groups.items()
    ]
    return (f"Each round {begins}; the last one is evaluated.", *own)


def _add(
    curves: dict[str, dict[str, Points]], number: int, looks: Sequence[Mapping[str, float | None]], best: bool
) -> None:
    """The first look of a round, and the one whose adapter it kept."""
    kept = kept_look(looks, "best" if best else "last") or (looks[-1] if looks else None)
    for field, lines in curves.items():
        for name, look in (("start", looks[0] if looks else None), ("kept", kept)):
            if look is not None and field in look:
                lines[name].append((float(number), look[field]))
