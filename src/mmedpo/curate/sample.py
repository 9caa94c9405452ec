"""Sampling the target model: K answers per question, candidates for the dispreferred response."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmedpo.config import CurateSettings
from mmedpo.engine import FeatureStore
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Candidate, Example
from mmedpo.seeds import derive_seed


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
        features([image_root / example.image.path for example, _ in wanted]),
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
