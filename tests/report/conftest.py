"""A rich report, filled with made-up but plausible numbers, shared by the tests of this folder."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from mmedpo.records import Difference, Drop, ExternalMetric, ImageRef, NoiseSpec, PreferencePair, Turn
from mmedpo.report import content as c
from mmedpo.report import speakers as sp
from mmedpo.report.sections.calls import Calls
from mmedpo.report.sections.curation import ConflictRow, Curation, CurationCount, LengthRow
from mmedpo.report.sections.drops import Drops, StageWarning, count_drops
from mmedpo.report.sections.external import External
from mmedpo.report.sections.groundings import Groundings, GroundingSample
from mmedpo.report.sections.judged import Judged, LostMarks, OneJudge
from mmedpo.report.sections.pairs import Pairs, PairSample
from mmedpo.report.sections.predictions import ModelAnswer, Predictions, PredictionSample
from mmedpo.report.sections.reliance import Reliance, RelianceRow
from mmedpo.report.sections.reproduce import Reproduce
from mmedpo.report.sections.results import Arm, Results
from mmedpo.report.sections.scores import Scores, ScoreSource
from mmedpo.report.sections.training import CurveMarker, CurvePanel, CurveSeries, Training


def radiograph(seed: int, *, lesion: bool = False, noise: bool = False, overlay: bool = False) -> bytes:
    """PNG bytes of two dark lungs on a bright ground, with a lesion, its overlay or noise on it when asked."""
    generator = np.random.default_rng([seed])
    y, x = np.mgrid[0:128, 0:128] / 128
    body = 0.72 - 0.5 * ((y - 0.5) ** 2 + (x - 0.5) ** 2)
    for centre in (0.3, 0.7):
        body -= 0.5 * np.exp(-(((x - centre) / 0.14) ** 4) - (((y - 0.48) / 0.33) ** 4))
    where = np.exp(-((x - 0.3 - 0.05 * seed % 0.4) ** 2 + (y - 0.55) ** 2) / 0.006)
    picture = body + (0.3 * where if lesion else 0) + generator.normal(0, 0.015, body.shape)
    if noise:
        picture = picture * (1 - 0.5 * where) + 0.6 * where * generator.normal(0.3, 0.6, body.shape)
    grey = np.clip(picture, 0, 1)
    rgb = np.stack([grey, grey, grey], axis=-1)
    if overlay:
        rgb = np.clip(rgb + where[..., None] * np.array([0.7, 0.15, -0.2]), 0, 1)
    buffer = io.BytesIO()
    Image.fromarray((rgb * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def interval(value: float, half: float) -> c.Interval:
    return c.Interval(value=value, low=value - half, high=value + half)


def head() -> c.Head:
    return c.Head(
        run_name="phantom-mmedpo-seed0",
        recipe="phantom/mmedpo",
        date="2026-03-14 09:12 UTC",
        dataset="phantom 2,400 questions on 800 images",
        facts=(
            c.Fact(label="Model", value="tiny-llava 3.1 M parameters"),
            c.Fact(label="Adapter", value="LoRA r = 16, alpha = 32, language model only"),
            c.Fact(label="Objective", value="mmedpo, beta 0.1"),
            c.Fact(label="Pairs", value="812 text, 790 visual"),
            c.Fact(label="Seeds", value="data 0, curate 0, train 0, bootstrap 7"),
            c.Fact(label="Device", value="CPU, 2 threads, float32"),
            c.Fact(label="Splits", value="by image; no image is in two splits"),
            c.Fact(label="Reference", value="SFT checkpoint, adapter merged"),
        ),
        versions=(
            c.Fact(label="mmedpo", value="0.1.0"),
            c.Fact(label="torch", value="2.13.0"),
            c.Fact(label="peft", value="0.21.2"),
        ),
        stages=(
            c.StageTime(stage="ground", seconds=4.21),
            c.StageTime(stage="curate", seconds=192.4),
            c.StageTime(stage="score", seconds=61.0, note="from cache"),
            c.StageTime(stage="train", seconds=3912.0),
            c.StageTime(stage="evaluate", seconds=410.3),
            c.StageTime(stage="review", seconds=None),
        ),
    )


def results() -> Results:
    metrics = tuple(
        c.Metric(key=f"{name}/{split}", name=f"{name} {what}", split=split, protocol="strict", n=n)
        for split, n_closed, n_open in (("test", 318, 282), ("test-balanced", 240, 200))
        for name, what, n in (("closed", "accuracy", n_closed), ("open", "recall", n_open))
    )
    base = {"closed/test": 0.642, "open/test": 0.401, "closed/test-balanced": 0.612, "open/test-balanced": 0.388}
    gains = {
        "sft": (0.031, 0.052, 0.012, 0.041),
        "dpo": (0.022, 0.031, 0.019, 0.012),
        "tuned": (0.051, 0.044, 0.048, 0.021),
    }
    arms = [Arm(name="base", values={key: interval(value, 0.05) for key, value in base.items()}, note="before tuning")]
    comparisons = []
    for arm, deltas in gains.items():
        values = dict(zip(base, deltas, strict=True))
        cells = {key: interval(base[key] + delta, 0.05) for key, delta in values.items()}
        if arm == "dpo":
            del cells["open/test-balanced"]
        arms.append(Arm(name=arm, values=cells))
        for key, delta in values.items():
            half = 0.0265 if key.startswith("closed") else 0.034
            missing = arm == "dpo" and key == "open/test-balanced"
            comparisons.append(
                c.Comparison(
                    metric=key,
                    arm=arm,
                    baseline="base",
                    before=base[key],
                    after=None if missing else base[key] + delta,
                    difference=c.Interval() if missing else interval(delta, half),
                    n=240,
                    headline=arm == "tuned" and key in ("closed/test-balanced", "open/test-balanced"),
                )
            )
    kinds = {"presence": 0.06, "side": 0.11, "zone": 0.02, "count": -0.09, "size": -0.01}
    by_error = tuple(
        c.Comparison(
            metric="closed/test-balanced",
            arm="tuned",
            baseline="base",
            error_type=kind,
            before=0.6,
            after=0.6 + delta,
            n=40 + 3 * i,
            difference=interval(delta, 0.05 + 0.01 * i),
        )
        for i, (kind, delta) in enumerate(kinds.items())
    )
    return Results(
        metrics=metrics,
        arms=tuple(arms),
        comparisons=tuple(comparisons),
        by_error_type=by_error,
        interval_method="paired bootstrap over images, 10,000 resamples",
        notes=("Closed answers that name both alternatives get no credit (protocol strict).",),
    )


def training() -> Training:
    steps = range(0, 1200, 4)
    generator = np.random.default_rng([3])
    loss = tuple((float(s), 0.45 + 0.25 * math.exp(-s / 250) + float(generator.normal(0, 0.02))) for s in steps)
    rate = tuple((float(s), 1e-6 * min(s / 40, 0.5 * (1 + math.cos(math.pi * s / 1200)))) for s in steps)
    probe = range(0, 1200, 100)
    chosen = tuple((float(s), -4.1 + 0.9 * (1 - math.exp(-s / 300)) - max(0, s - 800) * 0.001) for s in probe)
    rejected = tuple((float(s), -6.0 - 2.2 * s / 1200) for s in probe)
    accuracy = tuple((float(s), None if s == 300 else 0.61 + 0.05 * math.sin(s / 500)) for s in probe)
    return Training(
        panels=(
            CurvePanel(
                title="Training loss", y_label="batch mean, nats", series=(CurveSeries(name="loss", points=loss),)
            ),
            CurvePanel(
                title="Validation probe",
                y_label="mean log π, nats",
                series=(
                    CurveSeries(name="log π(y_w)", points=chosen),
                    CurveSeries(name="log π(y_l)", points=rejected),
                ),
            ),
            CurvePanel(
                title="Generation probe",
                y_label="closed accuracy",
                series=(CurveSeries(name="accuracy", points=accuracy),),
            ),
            CurvePanel(title="Learning rate", series=(CurveSeries(name="lr", points=rate),)),
        ),
        markers=(
            CurveMarker(step=800, label="best checkpoint, step 800", kind="best"),
            CurveMarker(step=1150, label="collapse warning", kind="collapse"),
        ),
        notes=("The adapter written to the run is that of step 800, chosen on the validation probe.",),
    )


def scores() -> Scores:
    generator = np.random.default_rng([5])
    raw = [round(float(x), 1) for x in np.clip(generator.normal(0.62, 0.2, 400), 0, 1)]
    weights = [float(np.clip(1 + 0.316 * (s - 0.62) / 0.2, 0.75, 1.25)) for s in raw]
    tool = [float(x) for x in generator.beta(5, 2, 380)]
    turns = (
        Turn(
            pair_id="q17/text",
            agent="med42-8b",
            round=1,
            position=1,
            score=0.7,
            agreed=False,
            reason="The side is swapped.",
        ),
        Turn(
            pair_id="q17/text",
            agent="med42-70b",
            round=1,
            position=2,
            score=0.9,
            agreed=False,
            reason="A laterality error in a pneumothorax is dangerous; it deserves more.",
        ),
        Turn(
            pair_id="q17/text",
            agent="biomistral-7b",
            round=1,
            position=3,
            score=None,
            agreed=False,
            reason="unparsable reply",
        ),
        Turn(pair_id="q17/text", agent="med42-8b", round=2, position=4, score=0.9, agreed=True, reason="Agreed."),
        Turn(pair_id="q17/text", agent="med42-70b", round=2, position=5, score=0.9, agreed=True, reason="No change."),
    )
    return Scores(
        mode="rescale to mean 1, variance 0.1, clipped to [0.75, 1.25], statistics per source",
        sources=(
            ScoreSource(
                source="debate (text pairs)",
                scores=(*raw, None, None, None),
                weights=tuple(weights),
                lower=0.75,
                upper=1.25,
                at_lower=0.22,
                at_upper=0.24,
            ),
            ScoreSource(
                source="annotation confidence (visual pairs)",
                scores=tuple(tool),
                weights=tuple(0.75 + 0.5 * t for t in tool),
                lower=0.75,
                upper=1.25,
                at_lower=0.0,
                at_upper=None,
                warnings=("The tool's confidence is not calibrated.",),
            ),
        ),
        debates=(
            sp.Debate(
                pair_id="q17/text",
                question="Which side is the pneumothorax on?",
                chosen="It is on the right side.",
                rejected="It is on the left side.",
                turns=turns,
                score=0.9,
                weight=1.25,
                outcome="consensus in round 2",
            ),
        ),
    )


def pair(kind: str, index: int) -> PreferencePair:
    visual = kind == "visual"
    return PreferencePair(
        pair_id=f"phantom-{index:05d}/{kind}",
        example_id=f"phantom-{index:05d}",
        kind="visual" if visual else "text",
        image=ImageRef(path=f"images/{index}.png", sha256="0" * 64, width=128, height=128),
        question="Where is the opacity?",
        chosen="The opacity is in the lower zone of the right lung.",
        rejected="The opacity is in the lower zone of the right lung."
        if visual
        else "The opacity is in the upper zone of the left lung, and a fracture is seen.",
        rejected_noise=NoiseSpec(step=500, seed=index) if visual else None,
        rejected_image_path=f"images/{index}-noised.png" if visual else None,
        error_type="zone",
        origin="annotation" if visual else "picked",
        score=None if index == 3 else 0.7,
        score_source="" if index == 3 else "debate",
        unscored_reason="no agent gave a parsable score" if index == 3 else "",
        weight=None if index == 3 else 1.08,
    )


def predictions() -> tuple[PredictionSample, ...]:
    rows = [
        ("Is there an effusion?", "no", ("yes", False), ("no", True), "presence"),
        ("Which side is the opacity on?", "right", ("left", False), ("right", True), "side"),
        ("How many nodules are there?", "two", ("two", True), ("one", False), "count"),
        (
            "What does the image show?",
            "An opacity in the right lower zone.",
            ("An opacity.", None),
            ("An opacity in the right zone.", None),
            "other",
        ),
    ]
    return tuple(
        PredictionSample(
            example_id=f"phantom-{900 + i}",
            question=question,
            answer=answer,
            split="test-balanced",
            error_type=kind,
            image=radiograph(i, lesion=True),
            answers=(
                ModelAnswer(model="base", text=base[0], right=base[1], score=None if base[1] is not None else 0.33),
                ModelAnswer(model="tuned", text=tuned[0], right=tuned[1], score=None if tuned[1] is not None else 0.83),
            ),
        )
        for i, (question, answer, base, tuned, kind) in enumerate(rows)
    )


def rich() -> c.ReportContent:
    drops = [Drop(stage="data", item=f"row {i}", reason="unreadable-image", detail="truncated PNG") for i in range(4)]
    drops += [
        Drop(stage="curate", item=f"phantom-{i:05d}", reason="no-conflict", detail="all 5 samples right")
        for i in range(61)
    ]
    drops += [Drop(stage="score", item="phantom-00003/text", reason="unparsable-verdict")]
    return c.ReportContent(
        title="Clinically weighted preference tuning on phantom radiographs",
        head=head(),
        caveats=(
            "The model is tiny (3.1 M parameters) and the radiographs are generated: nothing here is clinical.",
            "One training seed: the intervals hold sampling of test questions, not the variance of training.",
        ),
        parts={
            "drops": Drops(
                warnings=(StageWarning(stage="score", message="3 of 403 pairs are unscored and do not train."),),
                drops=count_drops(drops),
            ),
            "results": results(),
            "judged": judged(),
            "external": external(),
            "reliance": Reliance(
                rows=(
                    RelianceRow(model="base", lesion=interval(0.31, 0.09), elsewhere=interval(0.22, 0.08), n=190),
                    RelianceRow(model="tuned", lesion=interval(0.84, 0.12), elsewhere=interval(0.19, 0.07), n=190),
                ),
                contrast=c.Comparison(
                    metric="reliance",
                    arm="tuned",
                    baseline="base",
                    before=0.09,
                    after=0.65,
                    difference=interval(0.56, 0.13),
                ),
            ),
            "training": training(),
            "curation": Curation(
                counts=(
                    CurationCount(label="picked from samples", count=604),
                    CurationCount(label="injected by the judge", count=208),
                    CurationCount(label="dropped", count=61, note="no sample conflicts"),
                    CurationCount(label="reviewed by people", count=None),
                ),
                judges=(
                    sp.JudgeRow(
                        judge="chat:gpt",
                        models=(sp.ReasonCount(reason="gpt-4o-2024-08-06", count=873),),
                        questions=873,
                        picked=604,
                        injected=208,
                        dropped=61,
                        reasons=(sp.ReasonCount(reason="same-polarity", count=61),),
                        per_question=sp.Effort(calls=1.25, input_tokens=912.4, output_tokens=61.0),
                    ),
                ),
                lengths=(
                    LengthRow(group="picked", n=604, chosen_words=2.1, rejected_words=2.4, rejected_longer=0.31),
                    LengthRow(group="injected", n=208, chosen_words=2.2, rejected_words=9.7, rejected_longer=0.94),
                ),
                conflicts=(
                    ConflictRow(error_type="presence", n=320, picked=260, injected=60, conflict=interval(0.91, 0.02)),
                    ConflictRow(error_type="side", n=180, picked=150, injected=30, conflict=c.Interval(value=0.95)),
                    ConflictRow(error_type="zone", n=112),
                ),
            ),
            "scores": scores(),
            "calls": Calls(
                costs=(
                    sp.CallCost(
                        endpoint="gpt", calls=1091, attempts=1102, input_tokens=796_525, output_tokens=53_253, usd=2.52
                    ),
                    sp.CallCost(endpoint="med42", calls=4, attempts=4, input_tokens=1_600, output_tokens=120),
                ),
                note="Calls this run paid for.",
            ),
            "groundings": Groundings(
                samples=tuple(
                    GroundingSample(
                        name=f"phantom-{i:05d}",
                        clean=radiograph(i, lesion=True),
                        overlay=radiograph(i, lesion=True, overlay=True),
                        noised=None if i == 3 else radiograph(i, lesion=True, noise=True),
                        tool="annotation",
                        label="opacity",
                        confidence=None if i == 3 else 0.7 + 0.05 * i,
                        calibrated=True,
                        step=None if i == 3 else 500,
                        region="lesion",
                        kind="diffusion",
                        reason="no lesion marked, so no noised view" if i == 3 else "",
                    )
                    for i in range(4)
                ),
                note="4 of 790 visual pairs, drawn with seed 0.",
            ),
            "pairs": Pairs(
                samples=tuple(
                    PairSample(
                        pair=pair(kind, i),
                        image=radiograph(i, lesion=True),
                        rejected_image=radiograph(i, lesion=True, noise=True) if kind == "visual" else None,
                        wrong="Names the wrong lung and the wrong zone, and adds a fracture." if kind == "text" else "",
                    )
                    for i, kind in enumerate(("text", "visual", "visual", "text"))
                ),
                note="4 of 1,602 pairs, drawn with seed 0.",
            ),
            "predictions": Predictions(
                samples=predictions(),
                note="4 of 440 questions of test-balanced, drawn with seed 0 among those where the answers differ.",
            ),
            "reproduce": Reproduce(
                commands=(
                    "mmedpo run phantom/mmedpo --set train.seed=0 --out runs/phantom-mmedpo-seed0",
                    "mmedpo report runs/phantom-mmedpo-seed0",
                ),
                config="dataset: phantom\ntrain:\n  beta: 0.1\n  learning_rate: 1.0e-6\n",
                hashes=(
                    c.Fact(label="examples.parquet", value="9f2c" * 16),
                    c.Fact(label="pairs.parquet", value="01ab" * 16),
                ),
            ),
        },
    )


def difference(metric: str, before: float, after: float, half: float) -> Difference:
    change = after - before
    return Difference(
        split="test-balanced", metric=metric, model="tuned", against="base", before=before, after=after,
        difference=change, low=change - half, high=change + half, p_value=0.01, p_adjusted=0.04, effect=0.2,
        questions=440, images=220,
    )  # fmt: skip


def judged() -> Judged:
    """Two judges, of which one could not be read."""
    compared = [
        c.Comparison(
            metric=name, arm="tuned", baseline="base", before=before, after=before + 0.07, adjusted=0.02, effect=0.3,
            difference=interval(0.07, half), n=430,
        )
        for name, before, half in (("factuality", 0.55, 0.03), ("clinical relevance", 0.61, 0.09))
    ]  # fmt: skip
    lost = LostMarks(
        question="Is there a fracture of the left clavicle?", truth="no", before="No.", after="Yes, displaced.",
        loss="80.0", reason="B names a fracture that is not there.",
    )  # fmt: skip
    heard = OneJudge(
        judge="chat:med42", served=("m42-health/Llama3-Med42-8B",), arm="tuned", baseline="base", questions=440,
        turned=31, unscored=(sp.ReasonCount(reason="unparsable", count=10),), comparisons=tuple(compared), lost=(lost,),
    )  # fmt: skip
    mute = OneJudge(
        judge="chat:biomistral", arm="tuned", baseline="base", questions=440, turned=0,
        unscored=(sp.ReasonCount(reason="failed: HTTP 400", count=440),),
    )  # fmt: skip
    return Judged(split="test-balanced", judges=(heard, mute))


def external() -> External:
    """One metric that was computed, one of all reports together, one that was not."""
    found = [
        ExternalMetric(
            metric="RadGraph-F1", split="test", reports=120, means={"base": 0.21, "tuned": 0.24},
            differences=(difference("RadGraph-F1", 0.21, 0.24, 0.02),), left_out=2,
            reasons=("the process ended with code 9: Segmentation fault",),
        ),
        ExternalMetric(metric="CheXbert-F1", split="test", means={"base": 0.4, "tuned": 0.41}),
        ExternalMetric(
            metric="GREEN", split="test", reasons=("RadEval is not installed: mmedpo metrics install radeval",)
        ),
    ]  # fmt: skip
    return External(models=("base", "tuned"), metrics=tuple(found))


@pytest.fixture(scope="session")
def rich_content() -> c.ReportContent:
    """The made-up report; its numbers are hand-known to the tests."""
    return rich()
