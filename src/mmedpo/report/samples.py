"""The report's examples: debates, groundings, pairs and predictions, drawn with the run's seed and said so."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmedpo.errors import MMedPOError
from mmedpo.grounding.overlay import overlay
from mmedpo.grounding.stage import heatmap_of
from mmedpo.imaging.images import read_image
from mmedpo.records import AnswerType, Example, Grounding, PreferencePair, Turn
from mmedpo.records.shapes import Pixels
from mmedpo.registry import lookup
from mmedpo.report import content as c
from mmedpo.report.formatting import count
from mmedpo.report.panel import consensus, debated, pairs_of, unscored_reasons
from mmedpo.report.speakers import Debate
from mmedpo.report.stored import Stored
from mmedpo.run import Run
from mmedpo.seeds import derive_seed

GROUNDINGS = 6
PAIRS = 8
PREDICTIONS = 8
LONGEST_SIDE = 256
"""Pixels of an embedded picture; larger images are scaled down so that the page stays small."""

MAIN_METRIC: Mapping[AnswerType, str] = {"closed": "closed_accuracy", "open": "open_recall", "report": "rouge_l"}
"""The metric by which one answer is called better than another."""

T = TypeVar("T")


def debates(stored: Stored) -> tuple[Debate, ...]:
    """A few whole debates: agreed in round 1, the longest, the highest score, one with an abstention; each once."""
    turns, pairs, reasons = debated(stored), pairs_of(stored), unscored_reasons(stored)
    ids = _shuffled(turns, stored.settings.seed, "debates", str)
    agents = len({turn.agent for turn in stored.turns})

    def quick(name: str) -> bool:
        return turns[name][-1].round == 1 and consensus(turns[name], agents)

    chosen: dict[str, str] = {}
    for why, candidates in (
        ("agreed at once", [name for name in ids if quick(name)]),
        ("the longest", sorted(ids, key=lambda name: -len(turns[name]))),
        ("the highest score", sorted(ids, key=lambda name: -(pairs[name].score or 0.0))),
        ("one with an abstention", [name for name in ids if any(turn.score is None for turn in turns[name])]),
    ):
        fresh = next((name for name in candidates if name not in chosen), None)
        if fresh is not None:
            chosen[fresh] = why
    return tuple(
        Debate(
            pair_id=name,
            question=pairs[name].question,
            chosen=pairs[name].chosen,
            rejected=pairs[name].rejected,
            turns=tuple(turns[name]),
            score=pairs[name].score,
            weight=pairs[name].weight,
            outcome=f"{_outcome(turns[name], agents, reasons.get(name, ''))} (shown as {why})",
        )
        for name, why in chosen.items()
    )


def _outcome(turns: Sequence[Turn], agents: int, unscored: str) -> str:
    """How a debate ended, in words."""
    if unscored:
        return f"unscored: {unscored}"
    rounds = turns[-1].round
    return f"consensus in round {rounds}" if consensus(turns, agents) else f"mean after {rounds} rounds"


def groundings(run: Run, stored: Stored) -> tuple[tuple[c.GroundingSample, ...], str]:
    """Contact rows of images with a heatmap, and a line on how they were drawn."""
    marked = [item for item in stored.groundings if item.heatmap_path is not None]
    if not stored.groundings:
        return (), ""
    seed = stored.settings.seed
    drawn = _shuffled(marked, seed, "groundings", lambda item: item.image_sha256)[:GROUNDINGS]
    without = len(stored.groundings) - len(marked)
    note = f"{len(drawn)} of {count(len(marked))} training images with a heatmap, drawn with seed {seed}."
    if without:
        note += f" {count(without)} more have none and give no visual pair."
    of_image: dict[str, Example] = {}
    for example in stored.examples.values():
        of_image.setdefault(example.image.sha256, example)
    noised = {pair.image.sha256: pair for pair in stored.curated if pair.kind == "visual"}
    return tuple(
        _grounding(run, item, of_image.get(item.image_sha256), noised.get(item.image_sha256)) for item in drawn
    ), note


def pair_samples(run: Run, stored: Stored) -> tuple[tuple[c.PairSample, ...], str]:
    """Text and visual pairs in equal parts (as far as there are any), and a line on how they were drawn."""
    seed = stored.settings.seed
    by_kind = {
        kind: _shuffled([p for p in stored.pairs if p.kind == kind], seed, "pairs", lambda pair: pair.pair_id)
        for kind in ("text", "visual")
    }
    half = PAIRS // 2
    text = min(len(by_kind["text"]), max(half, PAIRS - len(by_kind["visual"])))
    drawn = by_kind["text"][:text] + by_kind["visual"][: PAIRS - text]
    if not drawn:
        return (), ""
    shown = [
        f"{sum(pair.kind == kind for pair in drawn)} of {count(len(pairs))} {kind} pairs"
        for kind, pairs in by_kind.items()
        if pairs
    ]
    # Turn and turn about, so that whoever looks at the first few sees both kinds.
    order = sorted(range(len(drawn)), key=lambda i: (i if i < text else i - text, i))
    return tuple(_pair(run, stored, drawn[i]) for i in order), f"{' and '.join(shown)}, drawn with seed {seed}."


def prediction_samples(run: Run, stored: Stored) -> tuple[tuple[c.PredictionSample, ...], str]:
    """Answers of both models on the first split, where their scores differ, gains and losses in proportion."""
    if stored.evaluation is None or not stored.evaluation.splits:
        return (), ""
    split, seed = stored.evaluation.splits[0].split, stored.settings.seed
    protocol = lookup("protocol", stored.evaluation.protocol)()
    values: dict[str, tuple[float | None, float | None]] = {}
    for name, example in stored.examples.items():
        answers = [stored.predictions.get(model, {}).get(name) for model in ("base", "tuned")]
        if example.split == split and all(answers):
            base, tuned = (_value(protocol, example, answer.text) for answer in answers if answer is not None)
            values[name] = base, tuned
    known = {name: (b, t) for name, (b, t) in values.items() if b is not None and t is not None}
    ids = _shuffled(known, seed, "predictions", str)
    rose = [name for name in ids if known[name][1] > known[name][0]]
    fell = [name for name in ids if known[name][1] < known[name][0]]
    same = [name for name in ids if known[name][1] == known[name][0]]
    gains, losses = proportional(len(rose), len(fell), PREDICTIONS)
    drawn = [*rose[:gains], *fell[:losses]]
    drawn += same[: PREDICTIONS - len(drawn)]
    if not drawn:
        return (), ""
    unchanged = len(drawn) - gains - losses
    shown = [f"{n} {what}" for n, what in ((gains, "gains"), (losses, "losses"), (unchanged, "without change")) if n]
    proportion = " with gains and losses in about this proportion" if gains and losses else ""
    note = (
        f"Of {count(len(known))} questions of {split}, the tuned model scores higher on {count(len(rose))}, lower on "
        f"{count(len(fell))} and the same on {count(len(same))}. Shown: {', '.join(shown)}, drawn with seed {seed}"
        f"{proportion}."
    )
    return tuple(_prediction(run, stored, name, values[name]) for name in drawn), note


def proportional(rose: int, fell: int, places: int) -> tuple[int, int]:
    """Places for gains and losses in their true proportion; at least one for each kind that occurs."""
    if rose + fell <= places:
        return rose, fell
    gains = round(places * rose / (rose + fell))
    gains = min(max(gains, 1 if rose else 0), places - (1 if fell else 0))
    return min(gains, rose), min(places - gains, fell)


def picture(pixels: Pixels) -> bytes:
    """PNG bytes, scaled down to `LONGEST_SIDE`."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _shuffled(items: Iterable[T], seed: int, purpose: str, key: Callable[[T], str]) -> list[T]:
    """In an order that depends on seed and keys alone."""
    return sorted(items, key=lambda item: derive_seed(seed, "report", purpose, key(item)))


def _stored_picture(root: Path, relative: str) -> tuple[bytes | None, str]:
    """The picture, or why there is none: a moved dataset must not cost the report."""
    try:
        return picture(read_image(root, relative)), ""
    except MMedPOError as error:
        return None, str(error)


def _grounding(run: Run, item: Grounding, example: Example | None, noised: PreferencePair | None) -> c.GroundingSample:
    fields: dict[str, Any] = {}
    reasons = [item.reason]
    if example is None:
        reasons.append("its image is in no example")
    else:
        try:
            pixels = read_image(run.image_root, example.image.path)
            fields["clean"] = picture(pixels)
            fields["overlay"] = picture(overlay(pixels, heatmap_of(run, item), item.boxes))
        except (MMedPOError, OSError, ValueError) as error:
            reasons.append(str(error))
    if noised is None:
        reasons.append("no visual pair was made from it")
    else:
        if noised.rejected_noise is not None:
            noise = noised.rejected_noise
            fields.update(step=noise.step, region=noise.region, kind=noise.kind)
        if noised.rejected_image_path is not None:
            fields["noised"], reason = _stored_picture(run.path, noised.rejected_image_path)
            reasons.append(reason)
    return c.GroundingSample(
        name=item.image_sha256[:12] if example is None else example.image.path,
        tool=item.tool,
        label=item.label,
        confidence=item.confidence,
        calibrated=item.calibrated,
        reason="; ".join(reason for reason in reasons if reason),
        **fields,
    )


def _pair(run: Run, stored: Stored, pair: PreferencePair) -> c.PairSample:
    verdict = stored.verdicts.get(pair.example_id) if pair.kind == "text" else None
    rejected, missing = None, ""
    if pair.rejected_image_path is not None:
        rejected, missing = _stored_picture(run.path, pair.rejected_image_path)
    image, why = _stored_picture(run.image_root, pair.image.path)
    wrong = [f"judge: {verdict.reason}" if verdict and verdict.reason else "", why, missing]
    return c.PairSample(
        pair=pair, image=image, rejected_image=rejected, wrong="; ".join(part for part in wrong if part)
    )


def _value(protocol: Any, example: Example, text: str) -> float | None:
    value: float | None = protocol.score(example, text).values.get(MAIN_METRIC[example.answer_type])
    return value


def _prediction(run: Run, stored: Stored, name: str, values: tuple[float | None, float | None]) -> c.PredictionSample:
    example = stored.examples[name]
    closed = example.answer_type == "closed"
    return c.PredictionSample(
        example_id=name,
        question=example.question,
        answer=example.answer,
        image=_stored_picture(run.image_root, example.image.path)[0],
        split=example.split,
        error_type=example.error_type,
        answers=tuple(
            c.ModelAnswer(
                model=model,
                text=stored.predictions[model][name].text,
                right=bool(value == 1.0) if closed and value is not None else None,
                score=None if closed else value,
            )
            for model, value in zip(("base", "tuned"), values, strict=True)
        ),
    )
