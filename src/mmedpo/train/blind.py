"""What the model, before it is tuned, makes of the text pairs when it is given their questions and no image.

The image decides between two answers only where the question alone does not. Log-probabilities are kept for each
pair; shares and intervals are made of them where the other statistics are (`mmedpo.evaluate.blind`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mmedpo.engine import Branch, Engine, ReferenceCache, build_branch
from mmedpo.progress import Advance
from mmedpo.records import BlindPair, PreferencePair
from mmedpo.records.core import question_text

DRAWN = 1_000
"""Text pairs that are asked; of more, as many are drawn by their ids. A share of 1,000 is known to about 3 points."""


def drawn(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The text pairs that are asked, the same whatever stands beside them."""
    text = [pair for pair in pairs if pair.kind == "text"]
    return sorted(text, key=lambda pair: hashlib.sha256(pair.pair_id.encode()).digest())[:DRAWN]


def blind_pairs(
    engine: Engine, pairs: Sequence[PreferencePair], max_length: int, cache: ReferenceCache, advance: Advance
) -> list[BlindPair]:
    """log pi of both answers of the drawn text pairs, given the question alone.

    Args:
        engine: of the model before it is tuned.
        pairs: all pairs.
        max_length: `train.max_length`.
        cache: keeps what a killed run has measured.
        advance: progress.

    Raises:
        TrainingError: a pair longer than `max_length`.
    """

    def alone(pair: PreferencePair, answer: str) -> Branch:
        question = question_text(pair.question, 1)
        return build_branch(engine.vlm, (), question, answer, max_length=max_length, owner=pair.pair_id)

    asked = [(pair, alone(pair, pair.chosen), alone(pair, pair.rejected)) for pair in drawn(pairs)]
    branches = [branch for _, *sides in asked for branch in sides]
    cache.fill(engine, branches, advance)
    known = cache.take(branches)
    return [
        BlindPair(
            pair_id=pair.pair_id,
            example_id=pair.example_id,
            image_sha256=pair.image.sha256,
            chosen=float(known[chosen].sum()),
            rejected=float(known[rejected].sum()),
            chosen_tokens=len(known[chosen]),
            rejected_tokens=len(known[rejected]),
        )
        for pair, chosen, rejected in asked
    ]
