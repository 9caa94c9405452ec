"""Reference log-probabilities: computed once, stored in the run, refused when they are not this run's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmedpo.engine import Branch, FeatureStore, logprobs_in_batches
from mmedpo.errors import TrainingError
from mmedpo.files import hash_path
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.progress import Advance
from mmedpo.tables import atomic_path

ReferenceLogprobs = dict[Branch, float]
"""log pi_0 of every branch, nats."""


def reference_key(model_hash: str, dtype: str, branches: Sequence[Branch]) -> str:
    """Identity of a reference: weights, dtype, and every branch with the bytes of its image."""
    hashes: dict[Path, str] = {}
    digest = hashlib.sha256(json.dumps([model_hash, dtype]).encode())
    for branch in branches:
        hashes.setdefault(branch.view, hash_path(branch.view) if branch.view not in hashes else "")
        digest.update(json.dumps([hashes[branch.view], branch.prompt, branch.response]).encode())
    return digest.hexdigest()


def distinct_branches(branches: Iterable[Branch]) -> list[Branch]:
    """Every branch once, in first-seen order."""
    return list(dict.fromkeys(branches))


def compute_reference(
    vlm: VisionLanguageModel, branches: Sequence[Branch], features: FeatureStore, advance: Advance | None = None
) -> ReferenceLogprobs:
    """log pi_0 of every branch; the model must not carry an adapter yet."""
    totals = logprobs_in_batches(vlm, branches, features, advance=advance).total.tolist()
    return dict(zip(branches, totals, strict=True))


def save_reference(path: Path, reference: ReferenceLogprobs, branches: Sequence[Branch], key: str) -> None:
    """Writes the log-probabilities in the order of `branches`, with their key."""
    values = torch.tensor([reference[branch] for branch in branches], dtype=torch.float64)
    with atomic_path(path) as partial:
        save_file({"logprobs": values}, partial, metadata={"key": key})


def load_reference(path: Path, branches: Sequence[Branch], key: str) -> ReferenceLogprobs:
    """Reads what `save_reference` wrote.

    Raises:
        TrainingError: unreadable, or made with other weights, images or answers.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("key")
            values = file.get_tensor("logprobs").tolist()
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"reference cache {path} is unreadable ({error}); delete it and train again") from None
    if found != key:
        raise TrainingError(f"reference cache {path} was made with other weights or data; delete it and train again")
    return dict(zip(branches, values, strict=True))
