"""The page of a comparison of runs: content for the report's own templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmedpo.records import Evaluation, Example, ItemScore
from mmedpo.report import ReportContent
from mmedpo.report.content import Fact, Head
from mmedpo.report.formatting import count
from mmedpo.report.parts import Part
from mmedpo.report.sections.changed import Changed, ChangedBetween
from mmedpo.report.sections.compared import Compared, ComparedRun, DifferentSetting
from mmedpo.report.sections.judged import Judged, one_judge
from mmedpo.report.sections.predictions import MAIN_METRIC, PredictionSample, prediction_sample
from mmedpo.report.sections.probes import Probes, one_probe
from mmedpo.report.sections.results import results
from mmedpo.report.stored import Stored
from mmedpo.run import Run

SHOWN = 6
"""Cases of each kind that are shown for each pair."""
_ABSENT = object()


class ComparedColumn(Protocol):
    """What the page asks of a column (`mmedpo.pipeline.comparing.Column`)."""

    @property
    def name(self) -> str:
        """As it is printed."""
        ...

    @property
    def run(self) -> Run:
        """Its run."""
        ...

    @property
    def stored(self) -> Stored:
        """The tables of that run."""
        ...

    @property
    def model(self) -> str:
        """Which of the run's models."""
        ...

    def scores(self, protocol: str) -> dict[str, ItemScore]:
        """Its scored answers, by question."""
        ...


def comparison_page(
    columns: Sequence[ComparedColumn], shared: Mapping[str, Example], evaluation: Evaluation, notes: Sequence[str]
) -> ReportContent:
    """The page.

    Args:
        columns: the compared models; the first is what the others are compared with.
        shared: the questions that all runs ask, by id.
        evaluation: what was found on these.
        notes: which questions are shared, and which were left out.
    """
    runs = {str(column.run.path): column for column in reversed(columns)}
    ordered = [column for column in columns if runs[str(column.run.path)] is column]
    told = [one_probe(summary) for summary in evaluation.probes]
    # What the page opens with is the answers; a probe's comparison is of the last column alone.
    probes = tuple(probe.model_copy(update={"comparison": None}) for probe in told if probe is not None)
    parts: dict[str, Part | None] = {
        "results": results(evaluation),
        "judged": _judged(evaluation),
        "compared": _compared(ordered, (*notes, *evaluation.notes)),
        "probes": Probes(probes=probes) if probes else None,
        "changed": _changed(columns, shared, evaluation),
    }
    versions = [tuple(column.run.manifest.versions.items()) for column in ordered]
    return ReportContent(
        title=f"{len(ordered)} runs: {', '.join(column.name for column in ordered)}",
        head=Head(
            run_name=f"against {columns[0].name}",
            dataset=columns[0].run.settings.data.dataset,
            versions=tuple(Fact(label=name, value=value) for name, value in versions[0])
            if len(set(versions)) == 1
            else (),
        ),
        caveats=tuple(dict.fromkeys(text for column in ordered for text in column.run.settings.caveats)),
        parts={name: part for name, part in parts.items() if part is not None},
    )


def _judged(evaluation: Evaluation) -> Judged | None:
    """Each run beside its own base as its judges saw it, and the runs by the marks that they got there."""
    if not evaluation.judged:
        return None
    arms = {item.model for item in evaluation.judged}
    judges = [one_judge(item) for item in evaluation.judged]
    apart = [one.model_copy(update={"turned": None}) if one.baseline in arms else one for one in judges]
    note = "Runs are compared by the marks that their answers got; each was marked beside the answer of its own base."
    several = any(one.baseline in arms for one in judges)
    return Judged(split=evaluation.judged[0].split, judges=tuple(apart), notes=(note,) if several else ())


def _compared(columns: Sequence[ComparedColumn], notes: Sequence[str]) -> Compared:
    return Compared(
        runs=tuple(_costs(column) for column in columns),
        settings=different_settings([column.run.settings.model_dump(mode="json") for column in columns]),
        notes=tuple(notes),
    )


def _costs(column: ComparedColumn) -> ComparedRun:
    stages, costs = column.run.manifest.stages, column.stored.costs
    training = [state.seconds for name, state in stages.items() if name.rpartition("/")[2] in ("train", "finetune")]
    return ComparedRun(
        name=column.name,
        created=column.run.manifest.created[:16].replace("T", " "),
        seconds=sum(state.seconds for state in stages.values()) if stages else None,
        training=sum(training) if training else None,
        calls=sum(cost.calls for cost in costs),
        input_tokens=sum(cost.input_tokens for cost in costs),
        output_tokens=sum(cost.output_tokens for cost in costs),
        usd=sum(cost.usd for cost in costs),
    )


def different_settings(settings: Sequence[Mapping[str, Any]]) -> tuple[DifferentSetting, ...]:
    """Settings that are not the same in all, by their dotted names, in the order of the recipes."""
    flat = [dict(_flat(one)) for one in settings]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = {name: [one.get(name, _ABSENT) for one in flat] for name in names}
    return tuple(
        DifferentSetting(name=name, values=tuple("" if value is _ABSENT else _spelled(value) for value in values))
        for name, values in rows.items()
        if any(value != values[0] for value in values)
    )


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        name = f"{before}{key}"
        found += _flat(value, f"{name}.") if isinstance(value, Mapping) and value else [(name, value)]
    return found


def _spelled(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _changed(
    columns: Sequence[ComparedColumn], shared: Mapping[str, Example], evaluation: Evaluation
) -> Changed | None:
    """On the first split, every column against the first."""
    split = evaluation.splits[0].split
    asked = {name: example for name, example in shared.items() if example.split == split}
    values = {column.name: _values(column, asked, evaluation.protocol) for column in columns}
    first, root = columns[0], columns[0].run.image_root
    pairs = []
    for column in columns[1:]:
        pair = (first, column)
        change = {
            name: values[column.name][name] - values[first.name][name]
            for name in asked
            if name in values[column.name] and name in values[first.name]
        }
        worse = sorted((name for name, by in change.items() if by < 0), key=lambda name: change[name])
        better = sorted((name for name, by in change.items() if by > 0), key=lambda name: -change[name])
        note = (
            f"Of {count(len(change))} questions of {split}, {column.name} scores lower than {first.name} on "
            f"{count(len(worse))}, higher on {count(len(better))} and the same on "
            f"{count(len(change) - len(worse) - len(better))}. Shown: the largest changes, at most {SHOWN} each way."
        )
        told = [[_sample(pair, asked[name], values, root) for name in names[:SHOWN]] for names in (worse, better)]
        title = f"{column.name} against {first.name}"
        pairs.append(ChangedBetween(title=title, note=note, worse=tuple(told[0]), better=tuple(told[1])))
    return Changed(pairs=tuple(pairs)) if pairs else None


def _values(column: ComparedColumn, asked: Mapping[str, Example], protocol: str) -> dict[str, float]:
    return {
        name: item.values[metric]
        for name, item in column.scores(protocol).items()
        for metric in [MAIN_METRIC[item.answer_type]]
        if name in asked and metric in item.values
    }


def _sample(
    pair: Sequence[ComparedColumn], example: Example, values: Mapping[str, Mapping[str, float]], root: Path
) -> PredictionSample:
    answers = {
        column.name: (
            column.stored.predictions[column.model][example.example_id].text,
            values[column.name][example.example_id],
        )
        for column in pair
    }
    return prediction_sample(root, example, answers)
