"""How often a model that sees no image prefers the chosen answer of a pair. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.evaluate.statistics import mean_interval
from mmedpo.records import BlindPair, BlindPairs, BlindShare


def blind_shares(rows: Sequence[BlindPair], clusters: Mapping[str, str], samples: int) -> BlindPairs | None:
    """Shares of pairs whose chosen answer is the likelier one, clustered by image; None without pairs.

    Args:
        rows: log-probabilities without the image.
        clusters: question -> its image, where the data know the question.
        samples: resamples behind each interval.

    Raises:
        TooFewImages: all pairs stand on one image.
    """
    if not rows:
        return None
    of_pair = {row.pair_id: clusters.get(row.example_id, row.image_sha256) for row in rows}
    summed = {row.pair_id: row.chosen - row.rejected for row in rows}
    per_token = {row.pair_id: row.chosen / row.chosen_tokens - row.rejected / row.rejected_tokens for row in rows}
    return BlindPairs(
        pairs=len(rows),
        images=len(set(of_pair.values())),
        summed=_share(summed, of_pair, samples),
        per_token=_share(per_token, of_pair, samples),
    )


def _share(margins: Mapping[str, float], clusters: Mapping[str, str], samples: int) -> BlindShare:
    """Of margins above 0; a tie counts half, as for the other judges of pairs."""
    told = {name: 0.5 if margin == 0 else float(margin > 0) for name, margin in margins.items()}
    found = mean_interval(told, clusters, samples=samples, seed=0)
    return BlindShare(share=found.estimate, low=found.low, high=found.high)
