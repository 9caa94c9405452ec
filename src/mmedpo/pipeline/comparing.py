"""Several runs on one page: measured on the questions they share, and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmedpo.errors import ConfigError, TooFewImages, listed, shown
from mmedpo.evaluate.comparison import (
    compare,
    compare_at_equal_length,
    compare_by_tag,
    compare_by_type,
    reports_in,
    split_scores,
    too_few,
)
from mmedpo.evaluate.probes import probes_of
from mmedpo.pipeline.compared_marks import Marked, compared_marks
from mmedpo.pipeline.comparison_page import comparison_page
from mmedpo.records import Evaluation, Example, ItemScore, ProbeSummary
from mmedpo.report import ReportContent
from mmedpo.report.stored import Stored, read_stored
from mmedpo.run import Run, read_run
from mmedpo.run.layout import measured_by

BASE = "base"
"""Name of the column of a base model that all runs share."""


class Column(NamedTuple):
    """One compared model: the last one of a run, a file of answers, or a base."""

    name: str
    run: Run
    stored: Stored
    model: str

    def scores(self, protocol: str) -> dict[str, ItemScore]:
        """Its scored answers, by question."""
        wanted = self.model, protocol
        return {item.example_id: item for item in self.stored.scores if (item.model, item.protocol) == wanted}


class Compared(NamedTuple):
    """What was found: the numbers, and the page that shows them."""

    evaluation: Evaluation
    content: ReportContent


def compare_runs(folders: Sequence[Path]) -> Compared:
    """Compares the last model of every run, and the base models, with that of the first run.

    Only questions that every run asks count: the same id, text, truth and images, in the same split.

    Args:
        folders: evaluated runs, two or more.

    Raises:
        ConfigError: fewer than two runs, one given twice, one that was not evaluated, no common protocol, or no
            common question.
        RunFolderError: no such run, or a damaged one.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"{len(folders)} run folder(s) given; give two or more, each once")
    runs = dict(zip(_names(folders), [read_run(folder) for folder in folders], strict=True))
    stored = {name: read_stored(run) for name, run in runs.items()}
    for name, found in stored.items():
        if found.evaluation is None or not found.scores:
            raise ConfigError(f"{shown(name)} was not evaluated; run `mmedpo evaluate {runs[name].path}` first")
    arms = [column for name, run in runs.items() for column in _arms(name, run, stored[name])]
    protocol = _protocol(arms)
    shared, notes = _shared(arms, protocol)
    columns = [*arms, *_bases(runs, stored, shared)]
    evaluation = _evaluated(columns, shared, protocol)
    return Compared(evaluation, comparison_page(columns, shared, evaluation, notes))


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; with as many of the folders above as tell them apart."""
    resolved = [folder.resolve() for folder in folders]
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            break
    return names


def _arms(name: str, run: Run, stored: Stored) -> list[Column]:
    models = stored.evaluation.models if stored.evaluation else ()
    if run.settings.evaluate.answers:
        return [Column(f"{name} {model}", run, stored, model) for model in models]
    return [Column(name, run, stored, models[-1])]


def _protocol(arms: Sequence[Column]) -> str:
    """The first run's, if all answers were scored by it."""
    known = [{item.protocol for item in arm.stored.scores} for arm in arms]
    wanted = arms[0].run.settings.evaluate.protocol
    lacking = [arm.name for arm, protocols in zip(arms, known, strict=True) if wanted not in protocols]
    if lacking:
        common = ", ".join(sorted(set.intersection(*known))) or "none"
        raise ConfigError(
            f"protocol {shown(wanted)} of {arms[0].name} has no scores in {listed(lacking)}; common are: {common}; "
            "give all runs one evaluate.protocol and evaluate again"
        )
    return wanted


def _shared(arms: Sequence[Column], protocol: str) -> tuple[dict[str, Example], list[str]]:
    """The questions that all runs ask, in the order of the first, and what was left out, in words.

    Raises:
        ConfigError: there is none.
    """
    asked = [arm.scores(protocol).keys() for arm in arms]
    by_id = {name: [arm.stored.examples[name] for arm in arms] for name in asked[0] if all(name in a for a in asked)}
    reasons: Counter[str] = Counter()
    shared: dict[str, Example] = {}
    for name, examples in by_id.items():
        if len({_content(example) for example in examples}) > 1:
            reasons["differ in text, truth, kind or images under the same id"] += 1
        elif len({example.split for example in examples}) > 1:
            reasons["lie in different splits"] += 1
        else:
            shared[name] = examples[0]
    for arm, ids in zip(arms, asked, strict=True):
        if alone := len(ids - by_id.keys()):
            reasons[f"of {arm.name} are not asked in every run"] += alone
    left_out = [f"{count:,} question(s) {reason}; they are left out." for reason, count in reasons.items()]
    if not shared:
        told = "; ".join(line.removesuffix("; they are left out.") for line in left_out)
        raise ConfigError(f"the runs share no question ({told}); compare runs on the same data and splits")
    splits = Counter(example.split for example in shared.values())
    counts = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    return shared, [f"Questions that all runs ask: {counts}.", *left_out]


def _content(example: Example) -> tuple[object, ...]:
    images = tuple(image.sha256 for image in example.images)
    return example.question, example.answer, example.answer_type, example.error_type, images


def _bases(runs: Mapping[str, Run], stored: Mapping[str, Stored], shared: Mapping[str, Example]) -> list[Column]:
    """The models before tuning; those that give the same answers are one column."""
    found: dict[tuple[str, ...], Column] = {}
    for name, run in runs.items():
        evaluation = stored[name].evaluation
        if evaluation is None or run.settings.evaluate.answers or len(evaluation.models) < 2:
            continue
        model = evaluation.models[0]
        texts = tuple(stored[name].predictions[model][example].text for example in shared)
        found.setdefault(texts, Column(f"{name} {BASE}", run, stored[name], model))
    columns = list(found.values())
    return [columns[0]._replace(name=BASE)] if len(columns) == 1 and BASE not in runs else columns


def _evaluated(columns: Sequence[Column], shared: Mapping[str, Example], protocol: str) -> Evaluation:
    settings = columns[0].run.settings.evaluate
    common = set.intersection(*({item.protocol for item in column.stored.scores} for column in columns))
    first = columns[0].scores(protocol)
    items = [
        # The first run's clusters are everybody's: they were made of all its questions.
        item.model_copy(update={"model": column.name, "image_sha256": first[name].image_sha256})
        for column in columns
        for used in sorted(common)
        for name, item in column.scores(used).items()
        if name in shared
    ]
    names = tuple(column.name for column in columns)
    splits = list(dict.fromkeys(example.split for example in shared.values()))
    splits.sort(key=lambda split: settings.splits.index(split) if split in settings.splits else len(settings.splits))
    samples = settings.bootstrap_samples
    tags = {name: example.tags for name, example in shared.items()}
    texts = {c.name: {key: said.text for key, said in c.stored.predictions[c.model].items()} for c in columns}
    scores = [
        split_scores(
            [i for i in items if i.split == split], names, protocol, split, reports_in(shared.values(), split), texts
        )
        for split in splits
    ]
    of_image = {name: first[name].image_sha256 for name, example in shared.items() if example.split == splits[0]}
    judged, unlike = compared_marks(_marked(columns), splits[0], of_image, samples)
    return Evaluation(
        protocol=protocol,
        models=names,
        splits=tuple(scores),
        differences=compare(items, names, protocol, splits, samples),
        by_error_type=compare_by_type(items, names, protocol, splits[0], samples),
        by_tag=compare_by_tag(items, names, protocol, splits[0], samples, tags),
        equal_length=compare_at_equal_length(items, names, protocol, splits, texts),
        judged=judged,
        probes=_probes(columns, shared, splits[0], samples),
        bootstrap_samples=samples,
        notes=(*too_few(items, names, protocol, splits), *unlike),
    )


def _marked(columns: Sequence[Column]) -> list[Marked]:
    """The marks of every column, and the name of what stood beside it: a column, or the first model of its run."""
    bases = [column.name for column in columns if column.name == BASE]
    found = []
    for column in columns:
        rows = [row for row in column.stored.judged if row.model == column.model]
        beside = {(c.run.path, c.model): c.name for c in columns}
        for against in dict.fromkeys(row.against for row in rows):
            name = beside.get((column.run.path, against)) or next(iter(bases), f"{column.name} {against}")
            found.append(Marked(column.name, name, [row for row in rows if row.against == against]))
    return found


def _probes(
    columns: Sequence[Column], shared: Mapping[str, Example], split: str, samples: int
) -> tuple[ProbeSummary, ...]:
    """Probes that measured the same in all runs, on the questions that all measured."""
    found = []
    for name, probe in probes_of(columns[0].run.settings.evaluate).items():
        told = [column.run.settings.evaluate.probes.get(name) for column in columns]
        if any(own != told[0] for own in told) or not all(
            column.run.file(measured_by(name, column.model)).exists() for column in columns
        ):
            continue
        rows = {c.name: c.run.read(measured_by(name, c.model), probe.record) for c in columns}
        common = set.intersection(*({row.example_id for row in own} for own in rows.values())) & shared.keys()
        kept = {column: [row for row in own if row.example_id in common] for column, own in rows.items()}
        try:
            summary = probe.summarise(name, kept, split, samples)
        except TooFewImages:
            continue
        if summary is not None:
            found.append(summary)
    return tuple(found)
