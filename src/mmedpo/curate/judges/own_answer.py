"""`own-answer`: only what the model itself said is ever rejected; nothing is written in its place."""

from __future__ import annotations

from dataclasses import dataclass

from mmedpo.curate.judges.contradiction import ContradictionJudge
from mmedpo.curate.perturb import written
from mmedpo.curate.validators import STAGE
from mmedpo.records import Drop, Example, Verdict
from mmedpo.registry import register

NO_CONFLICT = "no-own-answer-conflicts"


@register("judge", "own-answer")
@dataclass(frozen=True)
class OwnAnswerJudge(ContradictionJudge):
    """Picks as `contradiction` does; a question on which no answer conflicts with the truth gives no pair."""

    name: str = "own-answer"
    """Name recorded in the verdict."""

    def without_conflict(self, example: Example, seed: int) -> Verdict:
        """No pair, with the countable reason."""
        return written(Drop(stage=STAGE, item=example.example_id, reason=NO_CONFLICT), example, self.name)
