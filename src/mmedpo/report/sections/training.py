"""Training: curves of the trainer's log, with the best look at the validation probe marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmedpo.records.looks import best_step, watch_log
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Fact
from mmedpo.report.formatting import count, number, share
from mmedpo.report.head import objective
from mmedpo.report.parts import Measured, Part
from mmedpo.report.section import Section, svg
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class CurveSeries(Part):
    """One line: (step, value) points; a value that is None or not finite leaves a gap."""

    name: str
    points: tuple[tuple[float, Measured], ...]


class CurvePanel(Part):
    """One small chart of the training."""

    title: str
    y_label: str = ""
    series: tuple[CurveSeries, ...]


class CurveMarker(Part):
    """A step worth a vertical line in every panel."""

    step: float
    label: str
    kind: Literal["best", "collapse", "note"] = "note"


class Training(Part):
    """The training log."""

    panels: tuple[CurvePanel, ...]
    markers: tuple[CurveMarker, ...] = ()
    x_label: str = "step"
    stopped: str = ""
    """Set when training ended without a tuned model: a sentence that says so."""
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()


@register("section", "training")
class TrainingSection(Section[Training]):
    """Training."""

    heading = "Training"
    order = 500
    template = "training.html.j2"

    def gather(self, run: Run, stored: Stored) -> Training | None:
        """None without a log."""
        return training(stored)

    def draw(self, part: Training) -> Mapping[str, object]:
        """One small chart a panel."""
        return {"plots": [(panel, svg(training_plot(panel, part))) for panel in part.panels]}

    def says(self, part: Training) -> Sequence[str]:
        """That there is no tuned model, where there is none."""
        return (part.stopped,) if part.stopped else ()


def training(stored: Stored) -> Training | None:
    """Curves of the trainer's log with the best look marked; None without a log."""
    log, settings = stored.log, stored.settings.train
    panels = [
        _panel(log, "Training loss", "batch mean, nats", {"loss": "loss"}),
        _panel(
            log,
            "Validation probe",
            "share right, greedy answers",
            {
                "probe_score": "score",
                "probe_closed_accuracy": "closed accuracy",
                "probe_open_recall": "open recall",
                "probe_rouge_l": "ROUGE-L of reports",
            },
        ),
        _panel(log, "Validation log π(y_w)", "per token, nats", {"probe_logprob_per_token": "log π(y_w)"}),
        _panel(log, "Implicit rewards", "batch mean", {"chosen_reward": "chosen", "rejected_reward": "rejected"}),
        _panel(log, "Reward accuracy", "share chosen > rejected", {"reward_accuracy": "accuracy"}),
        _panel(log, "Put to another image", "share of the pairs", {"contrasted": "share"}),
        _panel(log, "Gradient norm", "before the clip", {"grad_norm": "norm"}),
        _panel(log, "Learning rate", "", {"learning_rate": "rate"}),
    ]
    drawn = tuple(panel for panel in panels if panel.series)
    if not drawn:
        return None
    best = best_step(log)
    kept = best if settings.watch.keep == "best" and stored.trained else None
    markers = [] if best is None else [CurveMarker(step=best, label=f"best, step {best}", kind="best")]
    if not stored.trained:
        markers.append(CurveMarker(step=_last_step(log), label=f"stopped, step {_last_step(log)}", kind="collapse"))
        note = "Training did not finish, so this run has no adapter."
    elif kept is not None:
        note = f"The adapter of this run is that of step {kept}, the best look at the validation probe."
    else:
        note = "The adapter of this run is that of the last step."
    return Training(
        panels=drawn,
        markers=tuple(markers),
        x_label="optimizer step",
        stopped="" if stored.trained else _stopped(log),
        facts=_training_facts(stored, kept),
        notes=(note,),
    )


def _stopped(log: Sequence[Mapping[str, Any]]) -> str:
    seen = watch_log(log)
    ends = [share(float(look["probe_score"]), 1) for look in (seen[0], seen[-1])] if seen else []
    fell = f" The validation probe stood at {ends[0]} at the start and at {ends[1]} at the end." if ends else ""
    return (
        f"Training stopped at step {_last_step(log)} without a tuned model: it collapsed or was interrupted.{fell} "
        "Nothing is claimed."
    )


def _panel(log: Sequence[Mapping[str, Any]], title: str, unit: str, fields: Mapping[str, str]) -> CurvePanel:
    series = []
    for field, name in fields.items():
        points = tuple((float(entry["step"]), entry[field]) for entry in log if field in entry)
        if points:
            series.append(CurveSeries(name=name, points=points))
    return CurvePanel(title=title, y_label=unit, series=tuple(series))


def _last_step(log: Sequence[Mapping[str, Any]]) -> int:
    return max(int(entry["step"]) for entry in log)


def _training_facts(stored: Stored, kept: int | None) -> tuple[Fact, ...]:
    settings, seen = stored.settings.train, watch_log(stored.log)
    facts = [
        Fact(label="Objective", value=objective(settings)),
        Fact(label="Learning rate", value=f"{settings.learning_rate:g}, {settings.schedule}"),
        Fact(label="Steps", value=count(_last_step(stored.log))),
    ]
    if seen:
        end = next((look for look in seen if look["step"] == kept), seen[-1])
        where = f"step {end['step']}"
        for field, label, decimals, scale in (
            ("probe_score", "Validation probe, %", 1, 100.0),
            ("probe_logprob_per_token", "log π(y_w) per token, nats", 2, 1.0),
        ):
            if field in seen[0] and field in end:
                start, then = (number(scale * float(look[field]), decimals) for look in (seen[0], end))
                facts.append(Fact(label=label, value=f"{start} at the start, {then} at {where}"))
    return tuple(facts)


def training_plot(panel: CurvePanel, training: Training) -> str:
    """One panel of curves with the run's markers."""
    colours = {"best": 3, "collapse": 1, "note": None}
    steps = [x for other in training.panels for series in other.series for x, _ in series.points]
    return figures.lines(
        [figures.Line(series.name, series.points) for series in panel.series],
        title=panel.title,
        x_label=training.x_label,
        y_label=panel.y_label,
        markers=[figures.Marker(marker.step, marker.label, colours[marker.kind]) for marker in training.markers],
        x_range=(min(steps), max(steps)) if steps else None,
    )
