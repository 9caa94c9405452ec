"""The report's numbers: results, reliance, training curves, curation, scores. Pure, from stored tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mmedpo.config import ScoreSettings, TermSettings, TrainSettings
from mmedpo.records import Difference, Evaluation, PreferencePair, ReliancePart, SplitScores, Summary, Verdict
from mmedpo.records.evaluation import LABELS, METRICS
from mmedpo.records.looks import best_step, watch_log
from mmedpo.report import content as c
from mmedpo.report.formatting import count, number, share
from mmedpo.report.panel import judges
from mmedpo.report.stored import Stored

CLIPPED = ("rescale", "zscore", "literal")
"""Weighting modes that clip; the bounds mean nothing under the others."""


def results(evaluation: Evaluation) -> c.Results:
    """Base and tuned model per split and metric, with paired differences; the first split is the headline."""
    metrics = []
    values: dict[str, dict[str, c.Interval]] = {"base": {}, "tuned": {}}
    for scores in evaluation.splits:
        for name in METRICS:
            means = {model: summary.metrics.get(name) for model, summary in scores.summaries.items()}
            known = [mean for mean in means.values() if mean is not None]
            if not known:
                continue
            key = _key(scores.split, name)
            metrics.append(
                c.Metric(
                    key=key, name=LABELS[name], split=scores.split, protocol=evaluation.protocol,
                    n=max(mean.n for mean in known),
                )
            )  # fmt: skip
            for model, mean in means.items():
                if mean is not None:
                    values[model][key] = c.Interval(value=mean.mean)
    first = evaluation.splits[0].split if evaluation.splits else ""
    return c.Results(
        metrics=tuple(metrics),
        arms=tuple(c.Arm(name=model, values=cells) for model, cells in values.items() if cells),
        comparisons=tuple(_comparison(item, headline=item.split == first) for item in evaluation.differences),
        by_error_type=tuple(_comparison(item, headline=False) for item in evaluation.by_error_type),
        level=evaluation.level,
        interval_method=f"paired bootstrap over images, {count(evaluation.bootstrap_samples)} resamples",
        notes=(
            "The intervals cover the chance in which test images were drawn. A run has one training seed; what another "
            "seed would change is not in them.",
            *(note for scores in evaluation.splits for note in _answer_rates(scores)),
            *(note for scores in evaluation.splits for note in _other_protocols(scores)),
        ),
    )


def reliance(evaluation: Evaluation) -> c.Reliance | None:
    """Fall of log pi(y_w) with the lesion noised against elsewhere noised; None when it was not measured."""
    parts = {(part.model, part.region): part for part in evaluation.reliance}
    rows = tuple(
        c.RelianceRow(
            model=model,
            lesion=_interval(parts[model, "lesion"]),
            elsewhere=_interval(parts[model, "elsewhere"]),
            n=parts[model, "lesion"].questions,
        )
        for model in ("base", "tuned")
        if {(model, "lesion"), (model, "elsewhere")} <= set(parts)
    )
    if not rows:
        return None
    change = parts.get(("tuned-base", "contrast"))
    before, after = (parts.get((model, "contrast")) for model in ("base", "tuned"))
    contrast = change and c.Comparison(
        metric="reliance",
        before=before and before.mean,
        after=after and after.mean,
        difference=_interval(change),
        n=change.questions,
    )
    split = evaluation.splits[0].split
    note = (
        f"Questions about annotated lesions of {split}; the noise is the same for every run, whatever it trained with."
    )
    return c.Reliance(rows=rows, contrast=contrast, level=evaluation.level, notes=(note,))


def training(stored: Stored) -> c.Training | None:
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
            },
        ),
        _panel(log, "Validation log π(y_w)", "per token, nats", {"probe_logprob_per_token": "log π(y_w)"}),
        _panel(log, "Implicit rewards", "batch mean", {"chosen_reward": "chosen", "rejected_reward": "rejected"}),
        _panel(log, "Reward accuracy", "share chosen > rejected", {"reward_accuracy": "accuracy"}),
        _panel(log, "Gradient norm", "before the clip", {"grad_norm": "norm"}),
        _panel(log, "Learning rate", "", {"learning_rate": "rate"}),
    ]
    drawn = tuple(panel for panel in panels if panel.series)
    if not drawn:
        return None
    best = best_step(log)
    kept = best if settings.watch.keep == "best" and stored.trained else None
    markers = [] if best is None else [c.CurveMarker(step=best, label=f"best, step {best}", kind="best")]
    if not stored.trained:
        markers.append(c.CurveMarker(step=_last_step(log), label=f"stopped, step {_last_step(log)}", kind="collapse"))
        note = "Training did not finish, so this run has no adapter."
    elif kept is not None:
        note = f"The adapter of this run is that of step {kept}, the best look at the validation probe."
    else:
        note = "The adapter of this run is that of the last step."
    return c.Training(
        panels=drawn,
        markers=tuple(markers),
        x_label="optimizer step",
        facts=_training_facts(stored, kept),
        notes=(note,),
    )


def curation(stored: Stored) -> c.Curation | None:
    """Judges, lengths and conflicts of the pairs; None when there are no pairs."""
    pairs, verdicts = stored.pairs or stored.curated, list(stored.verdicts.values())
    if not pairs and not verdicts:
        return None
    kinds = Counter(pair.kind for pair in pairs)
    counts = [
        c.CurationCount(
            label=f"{kind} pairs", count=kinds[kind], note="" if kind == "text" and verdicts else _origins(pairs, kind)
        )
        for kind in ("text", "visual")
        if kinds[kind]
    ]
    if stored.candidates:
        cut = sum(not candidate.finished for candidate in stored.candidates)
        note = f"{count(cut)} cut by the length limit, never picked" if cut else "none cut by the length limit"
        counts.append(c.CurationCount(label="answers sampled", count=len(stored.candidates), note=note))
    unknown = "The pairs were imported: how their rejected answers were found is not known to this run."
    return c.Curation(
        counts=tuple(counts),
        judges=judges(verdicts),
        lengths=lengths(pairs),
        conflicts=_conflicts(verdicts),
        notes=(unknown,) if stored.settings.preferences is not None else (),
    )


def lengths(pairs: Sequence[PreferencePair]) -> tuple[c.LengthRow, ...]:
    """Words of chosen against rejected answers of the text pairs, by origin, and of all when there are several."""
    groups: dict[str, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        if pair.kind == "text":
            groups[pair.origin or "unknown origin"].append(pair)
    rows = [_length_row(name, groups[name]) for name in sorted(groups, reverse=True)]
    if len(groups) > 1:
        rows.append(_length_row("all text pairs", [pair for group in groups.values() for pair in group]))
    return tuple(rows)


def score_sources(stored: Stored) -> tuple[c.ScoreSource, ...]:
    """Raw scores and weights per kind of pair; an unscored pair counts as such, also when it was then dropped."""
    final = {pair.pair_id: pair for pair in stored.pairs}
    reports = {report.source: report for report in stored.weights}
    settings = stored.settings.score
    clipped = settings.weights in CLIPPED
    sources = []
    for kind in ("text", "visual"):
        pairs = [final.get(pair.pair_id, pair) for pair in stored.curated or stored.pairs if pair.kind == kind]
        if not pairs:
            continue
        given = " and ".join(sorted({pair.score_source for pair in pairs if pair.score_source}))
        report = reports.get(kind)
        scored = any(pair.score is not None for pair in pairs)
        if not scored and settings.weights == "none":
            continue
        sources.append(
            c.ScoreSource(
                source=f"{kind} pairs: {given or 'not scored'}",
                scores=tuple(pair.score for pair in pairs) if scored else (),
                weights=tuple(pair.weight for pair in pairs if pair.pair_id in final)
                if settings.weights != "none"
                else (),
                lower=settings.lower if clipped else None,
                upper=settings.upper if clipped else None,
                at_lower=report.at_lower / report.pairs if report and report.pairs and clipped else None,
                at_upper=report.at_upper / report.pairs if report and report.pairs and clipped else None,
                warnings=(*(report.warnings if report else ()), *_calibration(stored, kind, given)),
            )
        )
    return tuple(sources)


def weighting(settings: ScoreSettings) -> str:
    """The weighting mode in words."""
    bounds = f"clipped to [{settings.lower:g}, {settings.upper:g}], statistics per kind of pair"
    return {
        "rescale": f"rescaled to mean {settings.mu:g} and variance {settings.sigma**2:.3g}, {bounds}",
        "zscore": f"z-scores of the raw scores, {bounds}",
        "literal": f"(score − {settings.mu:g}) / {settings.sigma:.3g} as printed in the paper, {bounds}",
        "raw": "the raw score itself",
        "none": "none, every pair weighs 1 and no score is used",
    }[settings.weights]


def objective(settings: TrainSettings) -> str:
    """The objective in words; one sigmoid term is Eq. 3."""
    if settings.method == "sft":
        return "SFT on the chosen answers, no reference"
    if settings.objective == (TermSettings(),):
        return f"weighted DPO, beta {settings.beta:g}"
    return " + ".join(_term(term, settings.beta) for term in settings.objective)


def _term(term: TermSettings, beta: float) -> str:
    share = "" if term.weight == 1.0 else f"{term.weight:g} × "
    kinds = "" if len(term.kinds) > 1 else f" on {term.kinds[0]} pairs"
    return f"{share}{term.loss} (beta {term.beta or beta:g}){kinds}" if term.loss != "nll" else f"{share}nll{kinds}"


def trained(settings: TrainSettings) -> str:
    """What was trained, in words."""
    parts = " and ".join(part.replace("_", " ") for part in settings.parts)
    lora = settings.lora
    return f"all weights of the {parts}" if settings.tune == "full" else (
        f"LoRA r = {lora.rank}, alpha = {lora.alpha}, on the {parts}"
    )  # fmt: skip


def _key(split: str, metric: str) -> str:
    return f"{split}/{metric}"


def _interval(item: Difference | ReliancePart) -> c.Interval:
    value = item.difference if isinstance(item, Difference) else item.mean
    return c.Interval(value=value, low=item.low, high=item.high)


def _comparison(item: Difference, headline: bool) -> c.Comparison:
    return c.Comparison(
        metric=_key(item.split, item.metric),
        before=item.base,
        after=item.tuned,
        difference=_interval(item),
        n=item.questions,
        headline=headline,
        error_type=item.error_type or "",
    )


def _answer_rates(scores: SplitScores) -> list[str]:
    """What guessing would reach, and how often each model says yes: the reading aids of an accuracy."""
    some = next(iter(scores.summaries.values()), None)
    if some is None:
        return []
    notes = []
    majority = some.metrics.get("closed_majority_baseline")
    if majority is not None:
        notes.append(
            f"{scores.split}: always giving the most frequent closed answer would score {share(majority.mean, 1)}."
        )
    truth = some.metrics.get("yes_rate_reference")
    rates = [
        f"{model} {share(summary.metrics['yes_rate'].mean, 1)}"
        for model, summary in scores.summaries.items()
        if "yes_rate" in summary.metrics
    ]
    if truth is not None and rates:
        notes.append(
            f"{scores.split}: yes/no questions answered with yes: {', '.join(rates)}; the truth is yes in "
            f"{share(truth.mean, 1)} (n = {count(truth.n)})."
        )
    return notes


def _other_protocols(scores: SplitScores) -> list[str]:
    notes = []
    for protocol, summaries in scores.other_protocols.items():
        base, tuned = summaries.get("base"), summaries.get("tuned")
        if base is None or tuned is None:
            continue
        shown = [
            f"{LABELS[name]} {_hundred(base, name)} → {_hundred(tuned, name)}"
            for name in METRICS
            if name in base.metrics and name in tuned.metrics
        ]
        if shown:
            notes.append(f"{scores.split} under protocol {protocol}, base → tuned, %: {', '.join(shown)}.")
    return notes


def _hundred(summary: Summary, metric: str) -> str:
    return number(100 * summary.metrics[metric].mean)


def _panel(log: Sequence[Mapping[str, Any]], title: str, unit: str, fields: Mapping[str, str]) -> c.CurvePanel:
    series = []
    for field, name in fields.items():
        points = tuple((float(entry["step"]), entry[field]) for entry in log if field in entry)
        if points:
            series.append(c.CurveSeries(name=name, points=points))
    return c.CurvePanel(title=title, y_label=unit, series=tuple(series))


def _last_step(log: Sequence[Mapping[str, Any]]) -> int:
    return max(int(entry["step"]) for entry in log)


def _training_facts(stored: Stored, kept: int | None) -> tuple[c.Fact, ...]:
    settings, seen = stored.settings.train, watch_log(stored.log)
    facts = [
        c.Fact(label="Objective", value=objective(settings)),
        c.Fact(label="Learning rate", value=f"{settings.learning_rate:g}, {settings.schedule}"),
        c.Fact(label="Steps", value=count(_last_step(stored.log))),
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
                facts.append(c.Fact(label=label, value=f"{start} at the start, {then} at {where}"))
    return tuple(facts)


def _origins(pairs: Sequence[PreferencePair], kind: str) -> str:
    origins = Counter(pair.origin for pair in pairs if pair.kind == kind and pair.origin)
    if len(origins) == 1:
        return next(iter(origins))
    return ", ".join(f"{count(number_of)} {origin}" for origin, number_of in origins.most_common())


def _length_row(name: str, pairs: Sequence[PreferencePair]) -> c.LengthRow:
    words = [(len(pair.chosen.split()), len(pair.rejected.split())) for pair in pairs]
    n = len(words)
    return c.LengthRow(
        group=name,
        n=n,
        chosen_words=sum(chosen for chosen, _ in words) / n,
        rejected_words=sum(rejected for _, rejected in words) / n,
        rejected_longer=sum(rejected > chosen for chosen, rejected in words) / n,
    )


def _conflicts(verdicts: Sequence[Verdict]) -> tuple[c.ConflictRow, ...]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.outcome != "dropped":
            groups[verdict.error_type].append(verdict)
    rows = []
    for name, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        known = [verdict.conflict for verdict in group if verdict.conflict is not None]
        rows.append(
            c.ConflictRow(
                error_type=name,
                n=len(group),
                picked=sum(verdict.outcome == "picked" for verdict in group),
                injected=sum(verdict.outcome == "injected" for verdict in group),
                conflict=c.Interval(value=sum(known) / len(known) if known else None),
            )
        )
    return tuple(rows)


def _calibration(stored: Stored, kind: str, given: str) -> tuple[str, ...]:
    loose = [item for item in stored.groundings if item.confidence is not None and not item.calibrated]
    if kind != "visual" or not loose:
        return ()
    return (f"the confidence of {given or 'the tool'} is not calibrated for {count(len(loose))} images",)
