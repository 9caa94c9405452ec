"""The `curate` stage: from training examples to unscored preference pairs (paper, section 3.1)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeGuard

from mmedpo.chat.estimate import Ahead, estimate
from mmedpo.chat.identity import asked_models
from mmedpo.chat.opening import Chat, open_chat
from mmedpo.config import RunSettings, speaker
from mmedpo.curate.judges.judge import Judge, JudgeByAsking
from mmedpo.curate.noising import noised_views
from mmedpo.curate.pairs import text_pair, visual_pair
from mmedpo.errors import ConfigError, CurationError
from mmedpo.grounding.library import by_image
from mmedpo.models.checkpoints import model_identity
from mmedpo.records import Candidate, Drop, Example, Grounding, PreferencePair, Verdict
from mmedpo.run import ItemWork, Run, Stage, picked, run_async, settled
from mmedpo.run.layout import CANDIDATES, CURATED, EXAMPLES, GROUNDINGS, HEATMAPS, IMAGES, VERDICTS
from mmedpo.seeds import derive_seed

CHUNK = 32
"""Questions sampled together."""
VERDICT_CHUNK = 200
"""Verdicts saved together."""


def stage(settings: RunSettings, model: str) -> Stage:
    """What curation is made from.

    Args:
        settings: the run's.
        model: the model of the run that is sampled.
    """
    visual = "visual" in settings.curate.kinds
    return Stage(
        "curate",
        curate,
        {
            **picked(settings, "curate", "seed", *(("ground.minimum_confidence",) if visual else ())),
            **model_identity(settings.model),
            **asked_models(settings, "curate"),
        },
        reads=(EXAMPLES, *((GROUNDINGS, HEATMAPS) if visual else ())),
        writes=(CANDIDATES, VERDICTS, IMAGES, CURATED),
        models=(model,),
    )


def curate(run: Run) -> list[PreferencePair]:
    """Makes text pairs (D_t) and visual pairs (D_v) from the training examples.

    Reads examples and groundings; writes `candidates.parquet`, `verdicts.parquet`, `images/` (noised
    views) and `curated.parquet`. Every example that gives no pair is a counted drop.

    Raises:
        CurationError: not a single pair could be made.
    """
    kinds = run.settings.curate.kinds
    examples = [example for example in run.read(EXAMPLES, Example) if example.split == "train"]
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
    run.file(IMAGES).mkdir(parents=True)
    if "visual" in kinds:
        visual, dropped = _visual_pairs(run, examples)
        drops += dropped
    if not text and not visual:
        raise CurationError(f"no pair could be made from {len(examples)} training examples: {_reasons(drops)}")
    run.write(CANDIDATES, Candidate, candidates)
    run.write(VERDICTS, Verdict, verdicts)
    run.write(CURATED, PreferencePair, [*text, *visual])
    run.write_drops(drops)
    run.message(f"{len(text)} text and {len(visual)} visual pairs, {len(drops)} drops ({_reasons(drops) or 'none'})")
    return [*text, *visual]


def _sample(run: Run, examples: Sequence[Example]) -> list[Candidate]:
    from mmedpo.curate.sample import sampler

    return run.map("sampling answers", examples, CHUNK, partial(sampler, run), Candidate)


def _judge(run: Run, examples: Sequence[Example], candidates: Sequence[Candidate]) -> list[Verdict]:
    of_example: dict[str, list[Candidate]] = {example.example_id: [] for example in examples}
    for candidate in candidates:
        of_example[candidate.example_id].append(candidate)
    if run.settings.used_endpoints("curate"):
        run_async(_check_estimate(run, examples, of_example))
    return run.stream("judging", examples, VERDICT_CHUNK, partial(judging, run, examples, of_example), Verdict)


@asynccontextmanager
async def judging(
    run: Run, examples: Sequence[Example], of_example: Mapping[str, Sequence[Candidate]]
) -> AsyncIterator[ItemWork[Example, Verdict]]:
    """The judge of a run, open: settles many questions at once, where a language model judges.

    Args:
        run: the run.
        examples: every question, for a judge that looks at all of them first.
        of_example: candidates by example id.
    """
    async with open_chat(run, run.settings.used_endpoints("curate")) as chat:
        judge = _judge_of(run, chat, examples)

        async def settle(example: Example) -> Verdict:
            seed = derive_seed(run.settings.seed, "judge", example.example_id)
            return await settled(judge.judge(example, of_example[example.example_id], seed))

        async with chat.items(settle) as work:
            yield work


async def _check_estimate(run: Run, examples: Sequence[Example], of_example: Mapping[str, Sequence[Candidate]]) -> None:
    async with open_chat(run, run.settings.used_endpoints("curate"), sends=False) as chat:
        judge = _judge_of(run, chat, examples)
        if _asks(judge):
            firsts = [
                request for item in examples for request in judge.first_requests(item, of_example[item.example_id])
            ]
            open_calls = [request for request in firsts if not judge.line.is_cached(request)]
            ahead = [Ahead(request, 1, judge.most_calls) for request in open_calls]
            chat.check_estimate([estimate(judge.line, ahead, judge.growth, len(firsts) - len(ahead))])


def _check_judge(run: Run) -> None:
    """Refuses before the sampling, which can take hours, what the judging would refuse after it.

    Raises:
        ConfigError: unknown judge, no endpoint where it needs one, one where it takes none, or one it cannot use.
    """
    kind, endpoint = speaker("judge", run.settings.curate.judge, "curate.judge")
    if endpoint and hasattr(kind, "unfit") and (reason := kind.unfit(endpoint, run.settings.chat.endpoints[endpoint])):
        raise ConfigError(reason)


def _asks(judge: Judge) -> TypeGuard[JudgeByAsking]:
    return bool(getattr(judge, "asks", False))


def _judge_of(run: Run, chat: Chat, examples: Sequence[Example]) -> Judge:
    name = run.settings.curate.judge
    kind, endpoint = speaker("judge", name, "curate.judge")
    if endpoint:
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
    groundings = by_image(run.read(GROUNDINGS, Grounding))
    views = noised_views(run, examples)
    pairs, drops = [], []
    for example in examples:
        noised = [(groundings[i.sha256], views[i.sha256]) for i in example.images if views[i.sha256].noise is not None]
        if not noised:
            reason = views[example.image.sha256].reason
            drops.append(Drop(stage="curate", item=f"{example.example_id}/visual", reason=reason))
            continue
        # Of several images the one whose region the tool is surest of: the first of a series rarely holds the lesion.
        grounding, view = max(noised, key=lambda found: -1.0 if found[0].confidence is None else found[0].confidence)
        assert view.noise is not None
        pairs.append(visual_pair(example, grounding, view.noise, view.path))
    return pairs, drops


def _reasons(drops: Sequence[Drop]) -> str:
    counts: dict[str, int] = {}
    for drop in drops:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items()))
