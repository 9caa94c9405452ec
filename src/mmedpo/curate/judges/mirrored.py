"""`mirrored`: the rejected answer is what would be true of the mirrored image; the model is not sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mmedpo.clinical.mirrored import turned, turns
from mmedpo.curate.perturb import accepted, written
from mmedpo.curate.validators import STAGE
from mmedpo.records import Candidate, Drop, Example, Verdict
from mmedpo.registry import register

NO_SIDE = "truth-names-no-side"


def unturned(example: Example) -> str:
    """Why a mirrored image does not turn a question's truth round; empty when it does."""
    one_side = example.answer_type != "report" and turns(example.question, example.answer)
    return "" if one_side else NO_SIDE


@register("judge", "mirrored")
@dataclass(frozen=True)
class MirroredJudge:
    """Left and right exchanged in the truth; a question whose truth does not name one side is a counted drop."""

    reads_candidates: ClassVar[bool] = False
    """The model is not sampled for it."""
    name: str = "mirrored"
    """Name recorded in the verdicts."""

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""
        made = None if unturned(example) else accepted(example, turned(example.answer), "side", least=-1.0)
        return written(made or Drop(stage=STAGE, item=example.example_id, reason=NO_SIDE), example, self.name)
