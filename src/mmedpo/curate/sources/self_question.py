"""`self-question`: the model asks its own question about an image, and answers it several times.

STLLaVA-Med (Sun et al. 2024, arXiv 2406.19280; METHOD section 4). One question is drawn for each training
question, on its images, so that a method that asks itself sees as many as one that is asked. Nothing of the
dataset's question is shown to the model, and no ground truth belongs to what it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmedpo.curate.sources.source import Sampling
from mmedpo.imaging.pictures import image_files
from mmedpo.records import ASK, Candidate, Example
from mmedpo.registry import register
from mmedpo.seeds import derive_seed


@register("source", "self-question")
class SelfQuestion:
    """K answers to a question of the model's own; a question that came to no end has none, and says so."""

    draws: ClassVar[bool] = True
    asks_itself: ClassVar[bool] = True

    def candidates(self, sampling: Sampling, examples: Sequence[Example]) -> list[Candidate]:
        """See `Source`."""
        from mmedpo.engine import Asked

        views = [image_files(sampling.image_root, example.images) for example in examples]
        seeds = [derive_seed(sampling.seed, "self-question", example.example_id) for example in examples]
        own = sampling.engine.answers([Asked(shown, ASK) for shown in views], sampling.decoding, seeds)
        asked = [number for number, question in enumerate(own) if question.finished and question.text]
        given = sampling.answers(
            [examples[number] for number in asked], [Asked(views[number], own[number].text) for number in asked]
        )
        text_of = {examples[number].example_id: own[number].text for number in asked}
        found = [one.model_copy(update={"question": text_of[one.example_id]}) for one in given]
        unasked = [
            Candidate(
                example_id=example.example_id,
                index=0,
                text="",
                seed=seed,
                temperature=sampling.settings.temperature,
                finished=False,
                question=question.text,
            )
            for example, seed, question in zip(examples, seeds, own, strict=True)
            if example.example_id not in text_of
        ]
        return [*found, *unasked]
