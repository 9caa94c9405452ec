"""`noised-argmax`: the likeliest token at every place of the true answer, the image drowned in noise.

The second stage of POVID (Zhou et al. 2024, t = 500): what the model would say from language alone, word
by word behind the true beginning. POVID draws them anew in every training step; here they are drawn once,
from the model that is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mmedpo.curate.sources.source import Sampling
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import noise_image
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import Candidate, Example, ImageRef, NoiseSpec
from mmedpo.registry import register
from mmedpo.seeds import derive_seed
from mmedpo.storage.tables import write_bytes

STEP = 500
"""Diffusion step of the noise."""


@register("source", "noised-argmax")
class NoisedArgmax:
    """One answer per question; nothing is drawn but the noise."""

    draws: ClassVar[bool] = False

    def candidates(self, sampling: Sampling, examples: Sequence[Example]) -> list[Candidate]:
        """See `Source`."""
        from mmedpo.engine import build_branch
        from mmedpo.models.generation import read_answer

        engine = sampling.engine
        branches = [
            build_branch(
                engine.vlm,
                [_noised(sampling, image) for image in example.images],
                example.question,
                example.answer,
                max_length=engine.vlm.context_length,
                owner=example.example_id,
            )
            for example in examples
        ]
        likeliest = engine.likeliest(list(dict.fromkeys(branches)))
        answers = [read_answer(engine.vlm, likeliest[branch]) for branch in branches]
        return [
            Candidate(
                example_id=example.example_id,
                index=0,
                text=answer.text,
                seed=_seed(sampling, example.image),
                temperature=0.0,
            )
            for example, answer in zip(examples, answers, strict=True)
        ]


def _noised(sampling: Sampling, image: ImageRef) -> Path:
    """The noised view of an image, written once."""
    view = sampling.folder / f"{image.sha256[:16]}.png"
    if not view.exists():
        spec = NoiseSpec(kind="diffusion", region="global", step=STEP, seed=_seed(sampling, image))
        view.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(view, png_bytes(noise_image(read_image(sampling.image_root, image.path), None, spec)))
    return view


def _seed(sampling: Sampling, image: ImageRef) -> int:
    return derive_seed(sampling.seed, "noised-argmax", image.sha256)
