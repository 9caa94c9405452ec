"""From a finished run folder to `report.html`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmedpo.config import RunSettings, dump_settings, load_settings
from mmedpo.errors import ConfigError
from mmedpo.recipes import shipped_recipes
from mmedpo.records.looks import best_step, watch_log
from mmedpo.report import content as c
from mmedpo.report import count_drops, numbers, panel, render, samples
from mmedpo.report.formatting import count, share
from mmedpo.report.stored import Stored, read_stored
from mmedpo.run import Run
from mmedpo.run.layout import RESOLVED
from mmedpo.storage.tables import write_text

REPORT = "report.html"

LENGTH_SHORTCUT = 0.75
"""Share of text pairs whose rejected answer is the longer one, above which length alone tells the sides apart."""


def write_report(run: Run) -> Path:
    """Writes `report.html` from what is stored in the run; what a recipe did not make is left out.

    Args:
        run: a run whose evaluation is done; without one the report claims nothing.

    Raises:
        RunFolderError: a stored file is damaged.
    """
    path = run.file(REPORT)
    write_text(path, render(report_content(run)))
    run.message(f"report: {path}")
    return path


def report_content(run: Run) -> c.ReportContent:
    """Everything the report says of a run."""
    stored = read_stored(run)
    evaluation = stored.evaluation
    sources, debates = numbers.score_sources(stored), samples.debates(stored)
    calls, calls_note = panel.call_costs(stored)
    groundings, groundings_note = samples.groundings(run, stored)
    pairs, pairs_note = samples.pair_samples(run, stored)
    predictions, predictions_note = samples.prediction_samples(run, stored)
    return c.ReportContent(
        title=f"{run.path.name}: {'base against tuned model' if evaluation else 'not evaluated yet'}",
        head=_head(run, stored),
        caveats=(*stored.settings.caveats, *stored.data.get("notes", ())),
        warnings=tuple(warnings(stored)),
        drops=count_drops(stored.drops),
        results=numbers.results(evaluation) if evaluation else None,
        reliance=numbers.reliance(evaluation) if evaluation else None,
        training=numbers.training(stored),
        curation=numbers.curation(stored),
        scores=c.Scores(
            sources=sources,
            panel=panel.panel(stored),
            debates=debates,
            mode=numbers.weighting(stored.settings.score),
        ),
        calls=calls,
        calls_note=calls_note,
        groundings=groundings,
        groundings_note=groundings_note,
        pairs=pairs,
        pairs_note=pairs_note,
        predictions=predictions,
        predictions_note=predictions_note,
        reproduce=_reproduce(run),
    )


def warnings(stored: Stored) -> list[c.StageWarning]:
    """What a reader must know before believing the numbers, in the order of the stages."""
    found = [("curate", text) for text in _curation_warnings(stored)]
    found += [("score", f"{report.source} weights: {text}") for report in stored.weights for text in report.warnings]
    found += [("train", text) for text in _training_warnings(stored)]
    for scores in stored.evaluation.splits if stored.evaluation else ():
        for model, summary in scores.summaries.items():
            for reason, number_of in summary.unscored.items():
                text = f"{scores.split}: {count(number_of)} answers of {model} could not be scored ({reason})"
                found.append(("evaluate", text))
    for model, answers in stored.predictions.items():
        cut = sum(not answer.finished for answer in answers.values())
        if cut:
            limit = stored.settings.evaluate.max_new_tokens
            text = f"{count(cut)} of {count(len(answers))} answers of {model} were cut at {limit} tokens"
            found.append(("evaluate", text))
    return [c.StageWarning(stage=stage, message=message) for stage, message in found]


def _curation_warnings(stored: Stored) -> list[str]:
    if stored.settings.train.method == "sft":
        return []  # supervised fine-tuning never sees a rejected answer
    found = []
    text = [pair for pair in stored.pairs if pair.kind == "text"]
    written = sum(pair.origin == "injected" for pair in text)
    if 2 * written > len(text):
        found.append(
            f"{count(written)} of {count(len(text))} rejected answers were written by the judge, not given by the "
            "model: they teach less about the model's own errors"
        )
    for row in numbers.lengths(text)[-1:]:
        if row.rejected_longer is not None and row.rejected_longer > LENGTH_SHORTCUT:
            found.append(
                f"the rejected answer is the longer one in {share(row.rejected_longer)} of the text pairs: "
                "a model can win by being short"
            )
    return found


def _training_warnings(stored: Stored) -> list[str]:
    seen, best = watch_log(stored.log), best_step(stored.log)
    if not seen or best is None:
        return []
    start, top, end = seen[0]["probe_score"], max(look["probe_score"] for look in seen[1:]), seen[-1]["probe_score"]
    found = []
    if not stored.trained:
        found.append(f"training stopped at step {seen[-1]['step']} without an adapter: it collapsed or was interrupted")
    if top <= start:
        found.append("no look at the validation probe was better than the start: expect no gain")
    elif best == seen[-1]["step"] and len(seen) > 2:
        found.append(f"the last look (step {best}) was the best: longer training might still have gained")
    if end < start:
        found.append(
            f"the validation probe ended at {share(end, 1)}, below its start of {share(start, 1)} (best: "
            f"{share(top, 1)} at step {best}): the learning rate is too high or training too long"
        )
    return found


def _head(run: Run, stored: Stored) -> c.Head:
    settings, manifest = run.settings, run.manifest
    images = len({example.image.sha256 for example in stored.examples.values()})
    size = f", {count(len(stored.examples))} questions on {count(images)} images" if stored.examples else ""
    return c.Head(
        run_name=run.path.name,
        recipe=settings.description,
        date=f"{manifest.created[:16].replace('T', ' ')} UTC" if manifest.created else "",
        dataset=f"{settings.data.dataset}{size}",
        facts=_facts(stored),
        versions=tuple(c.Fact(label=name, value=value) for name, value in manifest.versions.items()),
        stages=tuple(
            c.StageTime(stage=name, seconds=state.seconds)
            for name, state in manifest.stages.items()
            if name != "report"
        ),
    )


def _facts(stored: Stored) -> tuple[c.Fact, ...]:
    settings = stored.settings
    model = Path(settings.model.name).name if "/" in settings.model.name else settings.model.name
    splits = Counter(example.split for example in stored.examples.values())
    kinds = Counter(pair.kind for pair in stored.pairs)
    facts = {
        "Model": f"{model}, {settings.model.dtype}"
        + (f", fine-tuned {settings.finetune.epochs} epochs before" if settings.finetune else ""),
        "Trained": numbers.trained(settings.train),
        "Objective": numbers.objective(settings.train),
        "Pairs": ", ".join(f"{count(kinds[kind])} {kind}" for kind in ("text", "visual") if kinds[kind]),
        **_origin_of_pairs(settings),
        "Weights": numbers.weighting(settings.score),
        "Questions": ", ".join(f"{split} {count(number_of)}" for split, number_of in splits.items()),
        "Seeds": f"run {settings.seed}, data {_data_seed(settings)}",
        "Data use": str(stored.data.get("data_use", "")),
    }
    return tuple(c.Fact(label=label, value=value) for label, value in facts.items() if value)


def _origin_of_pairs(settings: RunSettings) -> dict[str, str]:
    if settings.preferences is not None:
        told = settings.preferences.format or "format told from its columns"
        return {"Imported from": f"{settings.preferences.path.name} ({told})"}
    facts = {}
    if "text" in settings.curate.kinds:
        facts["Judge"] = settings.curate.judge
        if settings.score.weights != "none":
            facts["Debate"] = ", ".join(settings.score.agents)
    if "visual" in settings.curate.kinds:
        noise = settings.curate.noise
        facts["Visual tool"] = settings.ground.tool
        facts["Noise"] = f"{noise.kind}, {noise.region}, k = {noise.step}"
    return facts


def _data_seed(settings: RunSettings) -> int:
    return settings.data.phantom.seed if settings.data.dataset == "phantom" else settings.data.split_seed


def _reproduce(run: Run) -> c.Reproduce:
    hashes = [
        c.Fact(label=f"{name} ({stage})", value=digest)
        for stage, state in run.manifest.stages.items()
        for name, digest in state.outputs.items()
        if stage != "report" and not name.startswith("drops/")
    ]
    return c.Reproduce(commands=_commands(run), config=dump_settings(run.settings), hashes=tuple(hashes))


def _commands(run: Run) -> tuple[str, ...]:
    """The shipped recipe when it gives exactly these settings, else the resolved configuration of the run."""
    settings = run.settings
    overrides = [f"seed={settings.seed}"] if settings.seed else []
    if settings.data.root is not None:
        overrides.append(f"data.root={settings.data.root}")
    name = next((name for name in shipped_recipes() if _same(name, overrides, settings)), None)
    again = f"--name {run.path.name}-again"
    if name is None:
        return (f"mmedpo run {run.path.name}/{RESOLVED} {again}",)
    return (" ".join(("mmedpo run", name, again, *(f"--set {override}" for override in overrides))),)


def _same(recipe: str, overrides: Sequence[str], settings: RunSettings) -> bool:
    try:
        return load_settings(recipe, list(overrides)) == settings
    except ConfigError:
        return False
