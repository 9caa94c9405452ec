"""What a source of candidates is given and what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from mmedpo.config import CurateSettings
from mmedpo.records import Candidate, Example
from mmedpo.registry import optional
from mmedpo.seeds import derive_seed

if TYPE_CHECKING:
    from mmedpo.engine import Asked, Engine
    from mmedpo.models.generation import Decoding


@dataclass(frozen=True)
class Sampling:
    """What a source works with."""

    engine: Engine
    """Of the model that is sampled."""
    image_root: Path
    """Folder the examples' image paths are relative to."""
    folder: Path
    """Where views may be written that the model is shown instead."""
    settings: CurateSettings
    """How many answers, and how they are decoded."""
    seed: int
    """Of the run."""

    @property
    def decoding(self) -> Decoding:
        """How the model is decoded."""
        from mmedpo.models.generation import Decoding

        return Decoding(self.settings.max_new_tokens, self.settings.temperature, self.settings.top_p)

    def answers(self, examples: Sequence[Example], asked: Sequence[Asked]) -> list[Candidate]:
        """K answers to every question as it is asked here, each from a seed of its own.

        Args:
            examples: whose candidates they are.
            asked: of each, what the model is shown and asked.
        """
        settings = self.settings
        wanted = [(number, index) for number in range(len(examples)) for index in range(settings.candidates)]
        seeds = [derive_seed(self.seed, "sample", examples[number].example_id, index) for number, index in wanted]
        answers = self.engine.answers([asked[number] for number, _ in wanted], self.decoding, seeds)
        return [
            Candidate(
                example_id=examples[number].example_id,
                index=index,
                text=answer.text,
                seed=seed,
                temperature=settings.temperature,
                finished=answer.finished,
            )
            for (number, index), seed, answer in zip(wanted, seeds, answers, strict=True)
        ]


class Source(Protocol):
    """Registered as a class without constructor arguments, `@register("source", NAME)`.

    One whose questions are the model's own too says `asks_itself = True`; its candidates then say what they answer.
    """

    draws: ClassVar[bool]
    """Whether it decodes answers as `curate.candidates`, `temperature` and `top_p` say; else it gives one by rule."""

    def candidates(self, sampling: Sampling, examples: Sequence[Example]) -> list[Candidate]:
        """Answers to some questions, each question's one behind the other."""
        ...

    @optional
    def prepare(self, sampling: Sampling, examples: Sequence[Example]) -> None:
        """Sees every training question first."""
        ...
