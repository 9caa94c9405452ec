"""Examples for the tests of this folder."""

from __future__ import annotations

from typing import Any

from mmedpo.records import Candidate, Example, ImageRef

IMAGE = ImageRef(path="images/a.png", sha256="a" * 64, width=64, height=64)


def example(answer: str, question: str = "What is seen?", **more: Any) -> Example:
    fields: dict[str, Any] = {
        "example_id": "e1",
        "dataset": "test",
        "split": "train",
        "image": IMAGE,
        "question": question,
        "answer": answer,
        "answer_type": "open",
    }
    return Example(**{**fields, **more})


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(example_id="e1", index=i, text=t, seed=i, temperature=1.0) for i, t in enumerate(texts)]
