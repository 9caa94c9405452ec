"""`sampled`: K answers to each question on its own images (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmedpo.curate.sources.source import Sampling
from mmedpo.records import Candidate, Example
from mmedpo.registry import register


@register("source", "sampled")
class Sampled:
    """What the model says when it is asked."""

    draws: ClassVar[bool] = True

    def candidates(self, sampling: Sampling, examples: Sequence[Example]) -> list[Candidate]:
        """See `Source`."""
        from mmedpo.engine import Asked

        return sampling.answers(examples, [Asked.of(example, sampling.image_root) for example in examples])
