"""The `curate` stage: from training examples to unscored preference pairs (paper, section 3.1)."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence

from mmedpo.chat.estimate import Ahead, estimate
from mmedpo.chat.opening import Chat, open_chat
from mmedpo.config import endpoint_of
from mmedpo.curate.judges.asking import AskedJudge
from mmedpo.curate.judges.judge import Judge
from mmedpo.curate.pairs import text_pair, visual_pair
from mmedpo.curate.sample import sample_candidates
from mmedpo.engine import FeatureStore
from mmedpo.errors import ConfigError, CurationError
from mmedpo.grounding.stage import by_image, heatmap_of
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import SHARE_NEARLY_NOTHING, noise_image, noised_share
from mmedpo.models.hub import load_model
from mmedpo.records import (
    Candidate,
    Drop,
    Example,
    Grounding,
    NoiseSpec,
    PreferencePair,
    Verdict,
)
from mmedpo.registry import lookup
from mmedpo.run import Run, run_async, settled, stream_chunks
from mmedpo.seeds import derive_seed
from mmedpo.storage.tables import write_bytes

IMAGES = "images"
CHUNK = 32
VERDICTS = 200
"""Verdicts saved together."""


def curate(run: Run) -> list[PreferencePair]:
    """Makes text pairs (D_t) and visual pairs (D_v) from the training examples.

    Reads examples and groundings; writes `candidates.parquet`, `verdicts.parquet`, `images/` (noised
    views) and `curated.parquet`. Every example that gives no pair is a counted drop.

    Raises:
        CurationError: not a single pair could be made.
    """
    kinds = run.settings.curate.kinds
    examples = [example for example in run.read("examples.parquet", Example) if example.split == "train"]
    drops: list[Drop] = []
    candidates: list[Candidate] = []
    verdicts: list[Verdict] = []
    text: list[PreferencePair] = []
    visual: list[PreferencePair] = []
    if "text" in kinds:
        _check_judge(run)
        candidates = _sample(run, examples)
        verdicts = _judge(run, examples, candidates)
        text, dropped = _text_pairs(examples, verdicts)
        drops += dropped
    shutil.rmtree(run.file(IMAGES), ignore_errors=True)
    run.file(IMAGES).mkdir()
    if "visual" in kinds:
        visual, dropped = _visual_pairs(run, examples)
        drops += dropped
    if not text and not visual:
        raise CurationError(f"no pair could be made from {len(examples)} training examples: {_reasons(drops)}")
    run.write("candidates.parquet", Candidate, candidates)
    run.write("verdicts.parquet", Verdict, verdicts)
    run.write("curated.parquet", PreferencePair, [*text, *visual])
    run.write_drops(drops)
    run.message(f"{len(text)} text and {len(visual)} visual pairs, {len(drops)} drops ({_reasons(drops) or 'none'})")
    return [*text, *visual]


def _sample(run: Run, examples: Sequence[Example]) -> list[Candidate]:
    vlm = load_model(run.target_model)
    features = FeatureStore(vlm, lambda path: read_image(path.parent, path.name))
    return run.chunks(
        "sampling answers",
        examples,
        CHUNK,
        lambda chunk: sample_candidates(vlm, chunk, features, run.image_root, run.settings.curate, run.settings.seed),
        Candidate,
    )


def _judge(run: Run, examples: Sequence[Example], candidates: Sequence[Candidate]) -> list[Verdict]:
    of_example: dict[str, list[Candidate]] = {example.example_id: [] for example in examples}
    for candidate in candidates:
        of_example[candidate.example_id].append(candidate)
    return run_async(_settle(run, examples, of_example))


async def _settle(
    run: Run, examples: Sequence[Example], of_example: Mapping[str, Sequence[Candidate]]
) -> list[Verdict]:
    """Many questions at once, where a language model judges."""
    async with open_chat(run, run.settings.used_endpoints("curate")) as chat:
        judge = _judge_of(run, chat, examples)
        if isinstance(judge, AskedJudge):
            firsts = [
                request for item in examples for request in judge.first_requests(item, of_example[item.example_id])
            ]
            open_calls = [request for request in firsts if not judge.line.is_cached(request)]
            ahead = [Ahead(request, 1, judge.most_calls) for request in open_calls]
            chat.check_estimate([estimate(judge.line, ahead, judge.growth, len(firsts) - len(ahead))])

        async def settle(example: Example) -> Verdict:
            seed = derive_seed(run.settings.seed, "judge", example.example_id)
            return await settled(judge.judge(example, of_example[example.example_id], seed))

        work = chat.until_deferred(settle)
        verdicts = await stream_chunks(run, "judging", examples, VERDICTS, work, Verdict, chat.in_flight)
        chat.check_complete()
        if chat.lines:
            run.message(chat.summary())
        return verdicts


def _check_judge(run: Run) -> None:
    """Refuses before the sampling, which can take hours, what the judging would refuse after it.

    Raises:
        ConfigError: unknown judge, no endpoint where it needs one, one where it takes none, or one it cannot use.
    """
    name = run.settings.curate.judge
    base, endpoint = name.partition(":")[0], endpoint_of(name)
    kind = lookup("judge", base)
    if not (isinstance(kind, type) and issubclass(kind, AskedJudge)):
        if endpoint:
            raise ConfigError(f"curate.judge={name!r}: {base!r} asks no language model; set curate.judge={base}")
    elif not endpoint:
        raise ConfigError(
            f"curate.judge={name!r} asks a language model; name its endpoint in chat.endpoints: "
            f"curate.judge={base}:NAME"
        )
    elif reason := kind.unfit(endpoint, run.settings.chat.endpoints[endpoint]):
        raise ConfigError(reason)


def _judge_of(run: Run, chat: Chat, examples: Sequence[Example]) -> Judge:
    name = run.settings.curate.judge
    kind = lookup("judge", name.partition(":")[0])
    if endpoint := endpoint_of(name):
        asked: Judge = kind(chat.lines[endpoint], run.image_root, run.settings.chat.retries, name)
        return asked
    judge: Judge = kind()
    if hasattr(judge, "prepare"):
        # What it writes itself should use words that true answers use, or the word gives the answer away.
        judge = judge.prepare(examples)
    return judge


def _text_pairs(examples: Sequence[Example], verdicts: Sequence[Verdict]) -> tuple[list[PreferencePair], list[Drop]]:
    by_id = {example.example_id: example for example in examples}
    pairs, drops = [], []
    for verdict in verdicts:
        if verdict.outcome == "dropped":
            drops.append(Drop(stage="curate", item=f"{verdict.example_id}/text", reason=verdict.reason))
        else:
            pairs.append(text_pair(by_id[verdict.example_id], verdict))
    return pairs, drops


def _visual_pairs(run: Run, examples: Sequence[Example]) -> tuple[list[PreferencePair], list[Drop]]:
    groundings = by_image(run.read("groundings.parquet", Grounding))
    advance = run.track("noising lesions")
    pairs, drops = [], []
    reasons: dict[str, str] = {}
    views: dict[str, tuple[NoiseSpec, str]] = {}
    for number, example in enumerate(examples, start=1):
        sha = example.image.sha256
        if sha not in reasons:
            reasons[sha] = _no_visual_pair(run, groundings.get(sha))
            if not reasons[sha]:
                views[sha] = _noised_view(run, example, groundings[sha])
        if reasons[sha]:
            drops.append(Drop(stage="curate", item=f"{example.example_id}/visual", reason=reasons[sha]))
        else:
            spec, path = views[sha]
            pairs.append(visual_pair(example, groundings[sha], spec, path))
        advance(number, len(examples))
    return pairs, drops


def _no_visual_pair(run: Run, grounding: Grounding | None) -> str:
    """Why an image gives no visual pair; empty when it does."""
    minimum = run.settings.ground.minimum_confidence
    if grounding is None:
        return "no-grounding"
    if grounding.heatmap_path is None:
        return grounding.reason or "no-heatmap"
    if minimum and (grounding.confidence is None or grounding.confidence < minimum):
        return "confidence-below-minimum"
    if run.settings.curate.noise.region == "lesion" and noised_share(heatmap_of(run, grounding)) < SHARE_NEARLY_NOTHING:
        # Both sides would show the same pixels: there is nothing to prefer.
        return "nothing-noised"
    return ""


def _noised_view(run: Run, example: Example, grounding: Grounding) -> tuple[NoiseSpec, str]:
    """One noised view per image: its questions share it, and policy and reference see the same pixels."""
    from PIL import Image

    settings = run.settings.curate.noise
    spec = NoiseSpec(
        kind=settings.kind,
        region=settings.region,
        step=settings.step,
        schedule=settings.schedule,
        seed=derive_seed(run.settings.seed, "noise", example.image.sha256),
    )
    noised = noise_image(read_image(run.image_root, example.image.path), heatmap_of(run, grounding), spec)
    buffer = io.BytesIO()
    Image.fromarray(noised).save(buffer, format="PNG")
    path = f"{IMAGES}/{example.image.sha256[:16]}.png"
    write_bytes(run.file(path), buffer.getvalue())
    return spec, path


def _reasons(drops: Sequence[Drop]) -> str:
    counts: dict[str, int] = {}
    for drop in drops:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items()))
