"""Models made by hand, which stand in front of a probe as one of the run does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedpo.evaluate.probes import Subject
from mmedpo.records import Example

Belief = Callable[[Path | None, Example], float]
"""log pi of an example's answer, of its question, shown a picture or none."""


@dataclass(frozen=True)
class Constructed(Subject):
    """Its belief is a function."""

    belief: Belief

    def log_probabilities(self, shown: Sequence[tuple[Path | None, Example]]) -> list[float]:
        return [self.belief(path, example) for path, example in shown]


def constructed(root: Path, folder: Path, belief: Belief) -> Constructed:
    return Constructed("m", None, root, folder, print, belief)  # type: ignore[arg-type]
