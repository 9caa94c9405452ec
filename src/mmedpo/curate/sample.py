"""Sampling the target model: K answers per question, candidates for the dispreferred response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmedpo.config import CurateSettings
from mmedpo.engine import FeatureStore
from mmedpo.imaging.pictures import image_files, read_image_file
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.slots import load_slot
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Candidate, Example
from mmedpo.run import Run
from mmedpo.seeds import derive_seed


def sampler(run: Run) -> Callable[[Sequence[Example]], list[Candidate]]:
    """The model of the stage, loaded: answers a chunk of questions K times each."""
    vlm = load_slot(run.model)
    features = FeatureStore(vlm, read_image_file)
    root, settings, seed = run.image_root, run.settings.curate, run.settings.seed
    return lambda examples: sample_candidates(vlm, examples, features, root, settings, seed)


def sample_candidates(
    vlm: VisionLanguageModel,
    examples: Sequence[Example],
    features: FeatureStore,
    image_root: Path,
    settings: CurateSettings,
    seed: int,
) -> list[Candidate]:
    """K answers to every question, each from a seed of its own (METHOD section 1, D_t)."""
    wanted = [(example, index) for example in examples for index in range(settings.candidates)]
    seeds = [derive_seed(seed, "sample", example.example_id, index) for example, index in wanted]
    answers = generate_answers(
        vlm,
        [example.question for example, _ in wanted],
        features.each([image_files(image_root, example.images) for example, _ in wanted]),
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
