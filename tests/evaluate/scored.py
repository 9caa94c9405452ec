"""Scored answers and measurements by hand, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.records import ErrorType, ItemScore, Reliance


def items(
    values: Sequence[float],
    model: str = "base",
    error_type: ErrorType = "presence",
    split: str = "test",
    protocol: str = "strict",
    start: int = 0,
) -> list[ItemScore]:
    """Closed questions `q<n>`, one image each."""
    return [
        ItemScore(
            example_id=f"q{number}",
            split=split,
            model=model,
            protocol=protocol,
            answer_type="closed",
            error_type=error_type,
            image_sha256=f"{number:064d}",
            values={"closed_accuracy": value},
        )
        for number, value in enumerate(values, start=start)
    ]


def relied(falls: Sequence[tuple[float, float]], model: str = "base") -> list[Reliance]:
    """log pi of -1 on the clean image of `q<n>`, falling by (lesion noised, elsewhere noised)."""
    return [
        Reliance(
            example_id=f"q{number}",
            model=model,
            image_sha256=f"{number:064d}",
            clean=-1.0,
            lesion=-1.0 - lesion,
            elsewhere=-1.0 - elsewhere,
        )
        for number, (lesion, elsewhere) in enumerate(falls)
    ]
