"""Small finished run folders, written by hand: no model has run, every number is known."""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmedpo.config import RunSettings
from mmedpo.records import (
    AnswerType,
    Candidate,
    Difference,
    Drop,
    Evaluation,
    Example,
    Grounding,
    ImageRef,
    ItemScore,
    MetricSummary,
    NoiseSpec,
    Prediction,
    PreferencePair,
    ProbePart,
    ProbeSummary,
    SourceWeights,
    SplitScores,
    Summary,
    Turn,
    Verdict,
)
from mmedpo.report.gather import write_report
from mmedpo.run import Run
from mmedpo.run.manifest import Manifest, StageState

AGENTS = ("radiologist", "internist", "language")


def page(run: Run) -> str:
    """The visible words of the written report."""
    raw = re.sub(r"<style>.*?</style>|<[^>]+>", " ", write_report(run).read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(raw).split())


def write_image(path: Path, seed: int) -> str:
    """Writes a 48 x 40 radiograph of noise and returns its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng([seed]).integers(0, 255, (40, 48), np.uint8)).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def example(run: Run, number: int, split: str, kind: AnswerType = "closed", answer: str = "yes") -> Example:
    """Question `q<number>`, one image each."""
    name = f"images/{number}.png"
    sha = write_image(run.image_root / name, number)
    return Example(
        example_id=f"q{number}",
        dataset="phantom",
        split=split,
        image=ImageRef(path=name, sha256=sha, width=48, height=40),
        question=f"Is there an opacity in image {number}?",
        answer=answer,
        answer_type=kind,
        error_type="presence",
        choices=("yes", "no") if kind == "closed" else (),
    )


def text_pair(source: Example, origin: str, score: float | None, weight: float | None, rejected: str) -> PreferencePair:
    return PreferencePair(
        pair_id=f"{source.example_id}/text",
        example_id=source.example_id,
        kind="text",
        image=source.image,
        question=source.question,
        chosen=source.answer,
        rejected=rejected,
        error_type="presence",
        origin=origin,
        score=score,
        score_source="" if score is None else "debate" if origin != "imported" else "imported",
        unscored_reason="every agent abstained" if score is None else "",
        weight=weight,
    )


def visual_pair(source: Example, weight: float | None) -> PreferencePair:
    return text_pair(source, "patch-probe", 0.8, weight, source.answer).model_copy(
        update={
            "pair_id": f"{source.example_id}/visual",
            "kind": "visual",
            "score_source": "patch-probe",
            "rejected_noise": NoiseSpec(step=700, seed=1),
            "rejected_image_path": f"images/{source.image.sha256[:16]}.png",
        }
    )


def turns(pair_id: str, said: list[float | None]) -> list[Turn]:
    """A debate in which the agents, in order, leave these scores standing; None is an abstention."""
    found: list[Turn] = []
    standing: float | None = None
    for index, score in enumerate(said):
        found.append(
            Turn(
                pair_id=pair_id, agent=AGENTS[index % 3], round=index // 3 + 1, position=index + 1, score=score,
                agreed=score is not None and score == standing, reason=f"reason {index + 1}",
            )
        )  # fmt: skip
        standing = score if score is not None else standing
    return found


def summary(model: str, **means: float) -> Summary:
    metrics = {name: MetricSummary(mean=mean, n=12) for name, mean in means.items()}
    unscored = {"empty-reference": 2} if model == "base" else {}
    return Summary(
        model=model, protocol="strict", n_items=14, metrics=metrics, by_error_type={}, unscored=unscored, notes={}
    )


def evaluation(with_reliance: bool = True) -> Evaluation:
    base = summary("base", closed_accuracy=0.5, closed_majority_baseline=0.55, yes_rate=0.9, yes_rate_reference=0.4)
    tuned = summary("tuned", closed_accuracy=0.75, closed_majority_baseline=0.55, yes_rate=0.5, yes_rate_reference=0.4)
    released = {"base": summary("base", closed_accuracy=0.61), "tuned": summary("tuned", closed_accuracy=0.84)}
    change: dict[str, Any] = {
        "metric": "closed_accuracy", "model": "tuned", "against": "base", "before": 0.5, "after": 0.75,
        "difference": 0.25, "low": 0.1, "high": 0.4, "p_value": 0.01, "p_adjusted": 0.02, "questions": 12, "images": 12,
    }  # fmt: skip
    reliance: dict[tuple[str, ...], float] = {
        ("base", "lesion"): 0.3, ("base", "elsewhere"): 0.2, ("base", "contrast"): 0.1,
        ("tuned", "lesion"): 0.9, ("tuned", "elsewhere"): 0.1, ("tuned", "contrast"): 0.8,
        ("tuned", "lesion", "base"): 0.6, ("tuned", "elsewhere", "base"): -0.1, ("tuned", "contrast", "base"): 0.7,
    }  # fmt: skip
    return Evaluation(
        protocol="strict",
        models=("base", "tuned"),
        splits=(
            SplitScores(
                split="test-balanced", summaries={"base": base, "tuned": tuned}, other_protocols={"released": released}
            ),
            SplitScores(split="test", summaries={"base": base, "tuned": tuned}),
        ),
        differences=(
            Difference(split="test-balanced", **change),
            Difference(split="test", **{**change, "low": -0.1, "p_value": 0.2, "p_adjusted": 0.2}),
        ),
        by_error_type=(Difference(split="test-balanced", error_type="presence", **change),),
        probes=(_reliance(reliance),) if with_reliance else (),
        bootstrap_samples=10_000,
    )


def _reliance(means: dict[tuple[str, ...], float]) -> ProbeSummary:
    return ProbeSummary(
        probe="lesion-reliance",
        title="Lesion reliance",
        unit="nats",
        headline="contrast",
        about="fall of log pi(y_w) with the lesion noised minus elsewhere noised",
        split="test-balanced",
        parts=tuple(
            ProbePart(
                quantity=quantity, model=model, against="".join(against), mean=mean, low=mean - 0.05,
                high=mean + 0.05, questions=9, p_adjusted=0.03 if against else None,
            )
            for (model, quantity, *against), mean in means.items()
        ),
    )  # fmt: skip


def preference_log() -> list[dict[str, float]]:
    """Five looks; the best trained one is that of step 20, and the first of two equal ones."""
    looks = {0: 0.40, 10: 0.38, 20: 0.47, 30: 0.47, 40: 0.45}
    log: list[dict[str, float]] = []
    for step, score in looks.items():
        if step:
            log.append({"loss": 0.69 - step / 100, "learning_rate": 1e-4, "grad_norm": 1.5, "step": step})
            log.append({"chosen_reward": 0.1, "rejected_reward": -0.2, "reward_accuracy": 0.8, "step": step})
        log.append({"probe_score": score, "probe_logprob_per_token": -1.5 - step / 100, "step": step})
    return log


def empty_run(path: Path, settings: RunSettings) -> Run:
    manifest = Manifest(
        created="2026-03-14T09:12:33Z",
        versions={"mmedpo": "0.1.0", "torch": "2.13.0"},
        stages={
            "curate": StageState(fingerprint="f", outputs={"curated.parquet": "ab" * 32}, seconds=83.0),
            "train": StageState(fingerprint="f", outputs={}, seconds=61.0),
        },
    )
    path.mkdir()
    return Run(path, settings, manifest)


def write_predictions(run: Run, tests: list[Example], base: list[str], tuned: list[str]) -> None:
    for model, answers in (("base", base), ("tuned", tuned)):
        rows = [
            Prediction(example_id=e.example_id, model=model, text=t, finished=t != "no no")
            for e, t in zip(tests, answers, strict=True)
        ]
        run.write(f"predictions/{model}.parquet", Prediction, rows)
    run.write(
        "scores.parquet",
        ItemScore,
        [
            _scored(example, model, said)
            for model, answers in (("base", base), ("tuned", tuned))
            for example, said in zip(tests, answers, strict=True)
        ],
    )


def _scored(example: Example, model: str, said: str) -> ItemScore:
    return ItemScore(
        example_id=example.example_id, split=example.split, model=model, protocol="strict",
        answer_type=example.answer_type, error_type=example.error_type, image_sha256=example.image.sha256,
        values={"closed_accuracy": float(said == example.answer)},
    )  # fmt: skip


def full_run(path: Path) -> Run:
    """Text and visual pairs, debates, groundings, reliance: everything a run can hold.

    Training questions q0..q5. Text pairs: q0, q1, q2 picked, q3 injected, q4 unscored; q5 dropped. Visual: q0, q1;
    the noised view of q1 is missing. Test questions q10..q21: 4 gains, 2 losses, 6 the same.
    """
    settings = RunSettings(seed=7, description="A recipe by hand.", caveats=("The model is tiny.",))
    run = empty_run(path, settings)
    train = [example(run, number, "train") for number in range(6)]
    tests = [example(run, number, "test-balanced") for number in range(10, 22)]
    run.write("examples.parquet", Example, [*train, *tests])
    run.file("data.json").write_text(
        json.dumps({"notes": ["Two images are equal."], "questions": {}, "data_use": "open"})
    )
    _write_visual(run, train)
    picked = [("q0", 0.3, 0.75, "no"), ("q1", 0.9, 1.25, "no"), ("q2", 0.6, 1.0, "no, there is none")]
    by_id = {item.example_id: item for item in train}
    text = [text_pair(by_id[name], "picked", score, weight, said) for name, score, weight, said in picked]
    text += [
        text_pair(by_id["q3"], "injected", 0.5, 0.9, "no opacity at all"),
        text_pair(by_id["q4"], "picked", None, None, "no"),
    ]
    visual = [visual_pair(by_id["q0"], 1.0), visual_pair(by_id["q1"], 1.0)]
    run.write(
        "curated.parquet", PreferencePair, [pair.model_copy(update={"weight": None}) for pair in (*text, *visual)]
    )
    run.write("pairs.parquet", PreferencePair, [*text[:4], *visual])
    outcomes = [
        ("q0", "picked"),
        ("q1", "picked"),
        ("q2", "picked"),
        ("q3", "injected"),
        ("q4", "picked"),
        ("q5", "dropped"),
    ]
    run.write(
        "verdicts.parquet",
        Verdict,
        [
            Verdict(
                example_id=name, judge="contradiction", outcome=outcome, rejected="" if outcome == "dropped" else "no",
                error_type="presence", conflict=None if outcome == "dropped" else 0.8, reason=f"{outcome} for {name}",
            )
            for name, outcome in outcomes
        ],
    )  # fmt: skip
    run.write(
        "candidates.parquet",
        Candidate,
        [
            Candidate(example_id=f"q{n // 3}", index=n % 3, text="no", seed=n, temperature=1.0, finished=n != 4)
            for n in range(18)
        ],
    )
    debates = {
        "q0/text": [0.3, 0.3, 0.3],
        "q1/text": [0.2, 0.9, 0.9, 0.9],
        "q2/text": [0.4, 0.8] * 7 + [0.4],
        "q3/text": [0.5, 0.5, 0.5],
        "q4/text": [None] * 15,
    }
    run.write("debates.parquet", Turn, [turn for name, said in debates.items() for turn in turns(name, said)])
    numbers = {"mean": 0.575, "std": 0.2}
    equal = ("all 2 scores are equal",)
    rows = [
        SourceWeights(source="text", pairs=4, at_lower=1, at_upper=1, **numbers),
        SourceWeights(source="visual", pairs=2, at_lower=0, at_upper=0, warnings=equal, **numbers),
    ]
    run.write("weights.parquet", SourceWeights, rows)
    run.file("train").mkdir()
    run.file("train/log.json").write_text(json.dumps(preference_log()))
    run.file("evaluation.json").write_text(evaluation().model_dump_json())
    write_predictions(run, tests, ["no"] * 4 + ["yes"] * 8, ["yes"] * 4 + ["no"] + ["no no"] + ["yes"] * 6)
    drops = {
        "ground": [Drop(stage="ground", item=f"image {n}", reason="tool-not-applicable") for n in range(3)],
        "score": [Drop(stage="score", item="q4/text", reason="unscored", detail="every agent abstained")],
    }
    for stage, left_out in drops.items():
        name = f"drops/{stage}.parquet"
        run.write(name, Drop, left_out)
        run.manifest.stages[stage] = StageState(fingerprint="f", outputs={name: "cd" * 32}, seconds=1.0)
    return run


def _write_visual(run: Run, train: list[Example]) -> None:
    run.file("groundings").mkdir()
    rows = []
    for number, source in enumerate(train[:3]):
        sha = source.image.sha256
        path = f"groundings/{sha[:16]}.npy" if number < 2 else None
        if path:
            np.save(run.file(path), np.eye(40, 48, dtype=np.float32))
        rows.append(
            Grounding(
                image_sha256=sha, tool="patch-probe", heatmap_path=path, confidence=0.8 if path else None,
                calibrated=True, label="opacity", reason="" if path else "no finding above the threshold",
            )
        )  # fmt: skip
    run.write("groundings.parquet", Grounding, rows)
    write_image(run.file(f"images/{train[0].image.sha256[:16]}.png"), 99)


def imported_run(path: Path) -> Run:
    """Imported text pairs, supervised fine-tuning, no debates, no visual tool, no reliance, one split."""
    preferences = {"path": "pairs.json", "image_root": "."}
    settings = RunSettings.model_validate(
        {
            "preferences": preferences,
            "train": {"method": "sft"},
            "score": {"weights": "none"},
            "evaluate": {"splits": ["test-balanced"]},
        }
    )
    run = empty_run(path, settings)
    train = [example(run, number, "train") for number in range(4)]
    tests = [example(run, number, "test-balanced") for number in range(10, 12)]
    pairs = [text_pair(source, "imported", None, None, "no, not at all") for source in train]
    run.write("examples.parquet", Example, [*train, *tests])
    run.write("candidates.parquet", Candidate, [])
    run.write("verdicts.parquet", Verdict, [])
    run.write("debates.parquet", Turn, [])
    run.write("weights.parquet", SourceWeights, [])
    run.write("curated.parquet", PreferencePair, pairs)
    run.write("pairs.parquet", PreferencePair, [pair.model_copy(update={"weight": 1.0}) for pair in pairs])
    run.file("images").mkdir()
    run.file("train").mkdir()
    log = [{"probe_score": 0.4, "step": 0}, {"loss": 1.0, "step": 5}, {"probe_score": 0.4, "step": 10}]
    run.file("train/log.json").write_text(json.dumps(log))
    whole = evaluation(with_reliance=False)
    one = whole.model_copy(
        update={"splits": whole.splits[:1], "differences": whole.differences[:1], "by_error_type": ()}
    )
    run.file("evaluation.json").write_text(one.model_dump_json())
    write_predictions(run, tests, ["yes", "no"], ["yes", "no"])
    return run
