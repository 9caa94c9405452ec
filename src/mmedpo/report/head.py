"""The head of the page: what was run, when, and with what, in words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mmedpo.config import UNWEIGHTED, RunSettings, ScoreSettings, TermSettings, TrainSettings
from mmedpo.registry import lookup
from mmedpo.report.content import Fact, Head, StageTime
from mmedpo.report.formatting import count
from mmedpo.report.stored import Stored
from mmedpo.run import Run


def head(run: Run, stored: Stored) -> Head:
    """The head of one run."""
    settings, manifest = run.settings, run.manifest
    images = len({image.sha256 for example in stored.examples.values() for image in example.images})
    size = f", {count(len(stored.examples))} questions on {count(images)} images" if stored.examples else ""
    return Head(
        run_name=run.path.name,
        recipe=settings.description,
        date=f"{manifest.created[:16].replace('T', ' ')} UTC" if manifest.created else "",
        dataset=f"{settings.data.dataset}{size}",
        facts=_facts(stored),
        versions=tuple(Fact(label=name, value=value) for name, value in manifest.versions.items()),
        stages=tuple(
            StageTime(stage=name, seconds=state.seconds) for name, state in manifest.stages.items() if name != "report"
        ),
    )


def _facts(stored: Stored) -> tuple[Fact, ...]:
    settings = stored.settings
    model = Path(settings.model.name).name if "/" in settings.model.name else settings.model.name
    splits = Counter(example.split for example in stored.examples.values())
    kinds = Counter(pair.kind for pair in stored.pairs)
    adapted = " with an adapter" if settings.finetune and settings.finetune.lora else ""
    facts = {
        "Model": f"{model}, {settings.model.dtype}"
        + (f", fine-tuned {settings.finetune.epochs} epochs before{adapted}" if settings.finetune else ""),
        "Trained": trained(settings.train),
        "Objective": objective(settings.train),
        "Pairs": ", ".join(f"{count(kinds[kind])} {kind}" for kind in ("text", "visual", "answer") if kinds[kind]),
        **_origin_of_pairs(settings),
        "Weights": weighting(settings.score),
        "Questions": ", ".join(f"{split} {count(number_of)}" for split, number_of in splits.items()),
        "Seeds": f"run {settings.seed}, data {_data_seed(settings)}",
        "Data use": stored.data.data_use or "",
    }
    return tuple(Fact(label=label, value=value) for label, value in facts.items() if value)


def _origin_of_pairs(settings: RunSettings) -> dict[str, str]:
    if settings.preferences is not None:
        told = settings.preferences.format or "format told from its columns"
        imported = {"Imported from": f"{settings.preferences.path.name} ({told})"}
        if not settings.debates:
            return imported
        return imported | {"Debate": f"{', '.join(settings.score.agents)}; {settings.score.rescore} imported scores"}
    facts = {}
    if "text" in settings.curate.kinds:
        facts["Judge"] = settings.curate.judge
        if settings.score.weights != "none":
            facts["Debate"] = ", ".join(settings.score.agents)
    if "visual" in settings.curate.kinds:
        noise = settings.curate.noise
        facts["Visual tool"] = ", else ".join(settings.ground.tools)
        facts["Noise"] = f"{noise.kind}, {noise.region}, k = {noise.step}"
    return facts


def _data_seed(settings: RunSettings) -> int:
    """That of the dataset itself where it has one, as generated data does; else that of its split."""
    own = next((group["seed"] for group in settings.data.groups.values() if "seed" in group), None)
    return int(own) if own is not None else settings.data.split_seed


def weighting(settings: ScoreSettings) -> str:
    """The weighting mode in words."""
    if settings.weights == UNWEIGHTED:
        return "none, every pair weighs 1 and no score is used"
    told = str(lookup("weighting", settings.weights)().describe(settings))
    if not clipped(settings):
        return told
    return f"{told}, clipped to [{settings.lower:g}, {settings.upper:g}], statistics per source of scores"


def clipped(settings: ScoreSettings) -> bool:
    """Whether the weighting knows bounds; they mean nothing under the others."""
    return settings.weights != UNWEIGHTED and "lower" in lookup("weighting", settings.weights).options


def objective(settings: TrainSettings) -> str:
    """The objective in words; one sigmoid term is Eq. 3."""
    if settings.method == "sft":
        return "SFT on the chosen answers, no reference"
    if settings.objective == (TermSettings(),):
        return f"weighted DPO, beta {settings.beta:g}"
    return " + ".join(_term(term, settings.beta) for term in settings.objective)


WITHOUT_BETA = frozenset({"nll", "margin", "image-margin", "square", "token-kl"})
"""Losses of ours that know no temperature; of others that is not known without loading torch."""


def _term(term: TermSettings, beta: float) -> str:
    share = "" if term.weight == 1.0 else f"{term.weight:g} × "
    every = term.kinds == TermSettings().kinds
    kinds = "" if every else f" on {' and '.join(term.kinds)} pairs"
    form = "" if term.form == "given" else f", {term.form}"
    given = {name: getattr(term, name) for name in ("delta", "margin", "scale", "penalty", "mix")}
    told = [f"{name} {value:g}" for name, value in given.items() if value is not None]
    told += [f"per {term.per}"] if term.per else []
    told += ["weighted" if term.weighted else "not weighted"] if term.weighted is not None else []
    told += [f"{term.tokens} tokens"] if term.tokens != "all" else []
    if term.beta or term.loss not in WITHOUT_BETA:
        told.insert(0, f"beta {term.beta or beta:g}")
    told += [f"after {term.after:.0%} of the steps"] if term.after else []
    told += [f"until {term.until:.0%} of the steps"] if term.until < 1 else []
    details = f" ({', '.join(told)})" if told else ""
    return f"{share}{term.loss}{form}{details}{kinds}"


def trained(settings: TrainSettings) -> str:
    """What was trained, in words."""
    parts = " and ".join(part.replace("_", " ") for part in settings.parts)
    lora = settings.lora
    return f"all weights of the {parts}" if settings.tune == "full" else (
        f"LoRA r = {lora.rank}, alpha = {lora.alpha}, on the {parts}"
    )  # fmt: skip
