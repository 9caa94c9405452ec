"""Canonical rows for tests."""

from __future__ import annotations

from typing import Any

from mmedpo.preferences.turns import assistant, parts_of, user
from mmedpo.records import PreferenceRow


def preference_row(
    number: int = 0,
    question: str = "Is it big?",
    chosen: str = "Yes",
    rejected: str = "No",
    images: tuple[str, ...] = ("a.png",),
    **changes: Any,
) -> PreferenceRow:
    """A text pair on one image; `changes` are fields of the record."""
    fields: dict[str, Any] = {
        "row_id": f"row-{number}",
        "pair_type": "text",
        "prompt": (user(parts_of("<image>\n" * len(images) + question)),),
        "chosen": (assistant(chosen),),
        "rejected": (assistant(rejected),),
        "images": images,
        "score": 0.5,
        "source_row": number,
    }
    return PreferenceRow(**{**fields, **changes})
