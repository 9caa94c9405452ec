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
from mmedpo.clinical.bearing import marked_by, rests_on, shares
from mmedpo.clinical.labels import about_organ, findings_asked
from mmedpo.config import RunSettings, speaker
from mmedpo.curate.judges.judge import Judge, JudgeByAsking
from mmedpo.curate.judges.mirrored import unturned
from mmedpo.curate.noising import noised_views
from mmedpo.curate.pairs import answer_pair, text_pair, visual_pair
from mmedpo.curate.self_asked import self_asked
from mmedpo.curate.served import ask_server
from mmedpo.errors import ConfigError, CurationError
from mmedpo.grounding.library import by_image
from mmedpo.models.checkpoints import model_identity
from mmedpo.records import AnswerType, Candidate, Drop, Example, Grounding, NoisedView, PreferencePair, Verdict
from mmedpo.registry import lookup
from mmedpo.run import ItemWork, Run, Stage, picked, run_async, settled
from mmedpo.run.layout import CANDIDATES, CURATED, EXAMPLES, GROUNDINGS, HEATMAPS, IMAGES, VERDICTS
from mmedpo.seeds import derive_seed

CHUNK = 96
"""Questions sampled, and saved, together."""
VERDICT_CHUNK = 200
"""Verdicts saved together."""


def stage(settings: RunSettings, model: str) -> Stage:
    """What curation is made from.

    Args:
        settings: the run's.
        model: the model of the run that is sampled.
    """
    grounds = settings.grounds
    return Stage(
        "curate",
        curate,
        {
            **picked(settings, "curate", "seed", *(("ground.minimum_confidence", "ground.assume") if grounds else ())),
            **model_identity(settings.model),
            **asked_models(settings, "curate"),
        },
        reads=(EXAMPLES, *((GROUNDINGS, HEATMAPS) if grounds else ())),
        writes=(CANDIDATES, VERDICTS, IMAGES, CURATED),
        models=(model,),
    )


def curate(run: Run) -> list[PreferencePair]:
    """Makes text pairs (D_t), visual pairs (D_v) and ground truths alone from the training examples.

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
        if _reads_candidates(run):
            candidates = _sample(run, examples)
        verdicts = _judge(run, examples, candidates)
        text, dropped = _text_pairs(examples, verdicts)
        drops += dropped
    shutil.rmtree(run.file(IMAGES), ignore_errors=True)
    run.file(IMAGES).mkdir(parents=True)
    if "visual" in kinds:
        visual, dropped = _visual_pairs(run, examples, {pair.example_id: pair.chosen for pair in text})
        drops += dropped
    answers = [answer_pair(example) for example in examples] if "answer" in kinds else []
    made = [*text, *visual, *answers]
    if not made:
        raise CurationError(f"no pair could be made from {len(examples)} training examples: {_reasons(drops)}")
    run.write(CANDIDATES, Candidate, candidates)
    run.write(VERDICTS, Verdict, verdicts)
    run.write(CURATED, PreferencePair, made)
    run.write_drops(drops)
    alone = f", {len(answers)} ground truths alone" if answers else ""
    drop_note = f"{len(drops)} drops ({_reasons(drops) or 'none'})"
    run.message(f"{len(text)} text and {len(visual)} visual pairs{alone}, {drop_note}")
    return made


def _sample(run: Run, examples: Sequence[Example]) -> list[Candidate]:
    if run.settings.model.server:
        return ask_server(run, examples)
    from mmedpo.curate.sample import sampler

    # Questions on one image together, for it is read once for all of them.
    ordered = sorted(examples, key=lambda example: (example.image.path, example.example_id))
    sampled = run.map("sampling answers", ordered, CHUNK, partial(sampler, run, ordered), Candidate)
    place = {example.example_id: number for number, example in enumerate(examples)}
    return sorted(sampled, key=lambda candidate: (place[candidate.example_id], candidate.index))


def _judge(run: Run, examples: Sequence[Example], candidates: Sequence[Candidate]) -> list[Verdict]:
    """A verdict on every training question, or on what the model asked in its place."""
    of_example: dict[str, list[Candidate]] = {example.example_id: [] for example in examples}
    for candidate in candidates:
        of_example[candidate.example_id].append(candidate)
    asked: Sequence[Example] = examples
    refused: Sequence[Verdict] = ()
    if getattr(lookup("source", run.settings.curate.source), "asks_itself", False):
        asked, refused = self_asked(examples, of_example, run.settings.curate.judge)
    if run.settings.judging:
        run_async(_check_estimate(run, asked, of_example))
    work = partial(judging, run, examples, of_example)
    return [*run.stream("judging", asked, VERDICT_CHUNK, work, Verdict), *refused]


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
    async with open_chat(run, run.settings.judging) as chat:
        judge = _judge_of(run, chat, examples)

        async def settle(example: Example) -> Verdict:
            seed = derive_seed(run.settings.seed, "judge", example.example_id)
            candidates = of_example[example.example_id]
            verdict = await settled(judge.judge(example, candidates, seed))
            # Noted here, so that no judge need know of questions of the model's own.
            own = next((candidate.question for candidate in candidates), "")
            return verdict.model_copy(update={"question": own}) if own else verdict

        async with chat.items(settle) as work:
            yield work


async def _check_estimate(run: Run, examples: Sequence[Example], of_example: Mapping[str, Sequence[Candidate]]) -> None:
    async with open_chat(run, run.settings.judging, sends=False) as chat:
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


def _reads_candidates(run: Run) -> bool:
    """Whether the judge looks at answers of the model; one that writes every wrong answer itself says it does not."""
    kind, _ = speaker("judge", run.settings.curate.judge, "curate.judge")
    return bool(getattr(kind, "reads_candidates", True))


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


def _visual_pairs(
    run: Run, examples: Sequence[Example], preferred: Mapping[str, str]
) -> tuple[list[PreferencePair], list[Drop]]:
    """Of every question, or of those that the lesion decides; `preferred`: y_w of the text pair, by example id."""
    groundings = by_image(run.read(GROUNDINGS, Grounding)) if run.settings.grounds else {}
    asked = run.settings.curate.visual_questions
    views = noised_views(run, examples)
    pairs, drops = [], []
    for example in examples:
        # Of several images the one whose region the tool is surest of: the first of a series rarely holds the lesion.
        images = example.images if groundings else example.images[:1]
        noised = [(groundings.get(i.sha256), views[i.sha256]) for i in images if views[i.sha256].noise is not None]
        grounding, view = max(noised, key=_confidence) if noised else (None, views[example.image.sha256])
        decides = _not_of_organ if run.settings.maps_organs else _undecided
        reason = view.reason or _of_form(example, run.settings.curate.visual_answers)
        reason = reason or (unturned(example) if asked == "side" else decides(example, grounding, asked == "lesion"))
        if view.noise is None or reason:
            drops.append(Drop(stage="curate", item=f"{example.example_id}/visual", reason=reason))
        else:
            answer = preferred.get(example.example_id, "")
            pairs.append(visual_pair(example, grounding, view.noise, view.path, answer))
    return pairs, drops


def _confidence(found: tuple[Grounding | None, NoisedView]) -> float:
    grounding = found[0]
    return -1.0 if grounding is None or grounding.confidence is None else grounding.confidence


def _not_of_organ(example: Example, grounding: Grounding | None, of_lesion: bool) -> str:
    """Why noise in the organ tells nothing of a question; a question about a finding elsewhere never is asked."""
    if grounding is None or not (of_lesion or findings_asked(example) or rests_on(example.question, example.answer)):
        return ""
    return "" if about_organ(example, grounding.organ.split(", ")) else "question-not-about-the-organ"


def _of_form(example: Example, wanted: Sequence[AnswerType]) -> str:
    return "" if example.answer_type in wanted else f"answer-is-{example.answer_type}"


def _undecided(example: Example, grounding: Grounding | None, of_lesion: bool) -> str:
    """Why what is marked does not decide a question's truth; empty when it does, or where that is not asked."""
    if not of_lesion:
        return ""
    findings = rests_on(example.question, example.answer, example.error_type)
    marked = marked_by(box.label for box in grounding.boxes) if grounding is not None else frozenset()
    if findings and (not marked or shares(findings, marked)):
        return ""
    return "answer-does-not-rest-on-lesion"


def _reasons(drops: Sequence[Drop]) -> str:
    counts: dict[str, int] = {}
    for drop in drops:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.items()))
