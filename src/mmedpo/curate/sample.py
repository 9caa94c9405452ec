"""Sampling the target model: K answers per question, candidates for the dispreferred response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmedpo.config import CurateSettings
from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.generation import Decoding
from mmedpo.models.slots import load_slot
from mmedpo.records import Candidate, Example
from mmedpo.run import Run
from mmedpo.seeds import derive_seed


def sampler(run: Run) -> Callable[[Sequence[Example]], list[Candidate]]:
    """The model of the stage, loaded: answers a chunk of questions K times each."""
    vlm = load_slot(run.model)
    engine = Engine.from_settings(vlm, FeatureStore(vlm, read_image_file), run.settings)
    root, settings, seed = run.image_root, run.settings.curate, run.settings.seed

    def sample(examples: Sequence[Example]) -> list[Candidate]:
        engine.settle_on([Asked.of(example, root) for example in examples[:2]], run.settings.engine, run.message)
        return sample_candidates(engine, examples, root, settings, seed)

    return sample


def sample_candidates(
    engine: Engine,
    examples: Sequence[Example],
    image_root: Path,
    settings: CurateSettings,
    seed: int,
) -> list[Candidate]:
    """K answers to every question, each from a seed of its own (METHOD section 1, D_t)."""
    wanted = [(example, index) for example in examples for index in range(settings.candidates)]
    seeds = [derive_seed(seed, "sample", example.example_id, index) for example, index in wanted]
    answers = engine.answers(
        [Asked.of(example, image_root) for example, _ in wanted],
        Decoding(settings.max_new_tokens, settings.temperature, settings.top_p),
        seeds,
    )
    return [
        Candidate(
            example_id=example.example_id,
            index=index,
            text=answer.text,
            seed=sample_seed,
            temperature=settings.temperature,
            finished=answer.finished,
        )
        for (example, index), sample_seed, answer in zip(wanted, seeds, answers, strict=True)
    ]
