"""Reference log-probabilities: computed once per branch, kept by content, refused when they are others'.

An entry's key is a hash of the branch: the bytes of its images, its prompt, its answer. A cache file
carries the hash of the weights (and the arithmetic) it was made with. Values are kept per token, so
that another objective, or other token weights, need no new forward pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmedpo.engine.branches import Branch
from mmedpo.engine.engine import Engine
from mmedpo.errors import TrainingError
from mmedpo.progress import Advance
from mmedpo.storage.files import hash_path
from mmedpo.storage.tables import atomic_path

METADATA = "mmedpo"
"""Key of the one metadata entry of a cache file."""

CHUNK = 512
"""Branches computed between two saves: what a kill can cost."""


class BranchKeys:
    """Content hashes of branches; every image file is read once."""

    def __init__(self) -> None:
        self._images: dict[Path, str] = {}

    def __call__(self, branch: Branch) -> str:
        """32 hexadecimal digits."""
        for view in branch.views:
            if view not in self._images:
                self._images[view] = hash_path(view)
        content = json.dumps([[self._images[view] for view in branch.views], branch.prompt, branch.response])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


class ReferenceCache:
    """log pi_0 of every answer token, in one safetensors file.

    Args:
        path: the file; may not exist yet.
        weights: hash of the reference weights and of the arithmetic they are used in.

    Raises:
        TrainingError: the file is unreadable, or was made with other weights.
    """

    def __init__(self, path: Path, weights: str) -> None:
        self.path = path
        self.weights = weights
        self.keys = BranchKeys()
        self._values: dict[str, Tensor] = _read(path, weights) if path.exists() else {}

    def fill(self, engine: Engine, branches: Iterable[Branch], advance: Advance | None = None) -> None:
        """Computes what is missing, saving as it goes; the engine's model must be the reference."""
        distinct = list(dict.fromkeys(branches))
        missing = [(key, branch) for branch in distinct if (key := self.keys(branch)) not in self._values]
        done = len(distinct) - len(missing)
        if advance and distinct:
            advance(done, len(distinct))
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            result = engine.measure([branch for _, branch in part])
            self._values.update(
                zip([key for key, _ in part], torch.split(result.values, result.tokens.tolist()), strict=True)
            )
            self.save()
            if advance:
                advance(done + start + len(part), len(distinct))

    def merge(self, other: ReferenceCache) -> None:
        """Takes over another cache's entries, in memory."""
        self._values.update(other._values)

    def save(self, path: Path | None = None) -> None:
        """Writes every entry to the cache's file or another one, atomically."""
        keys = sorted(self._values)
        values = [self._values[key] for key in keys]
        tensors = {
            "logprobs": torch.cat(values) if values else torch.empty(0),
            "tokens": torch.tensor([len(value) for value in values], dtype=torch.int64),
        }
        # One entry: the order of several differs from process to process.
        about = json.dumps({"weights": self.weights, "branches": keys})
        with atomic_path(path or self.path) as partial:
            save_file(tensors, partial, metadata={METADATA: about})

    def take(self, branches: Sequence[Branch]) -> Mapping[Branch, Tensor]:
        """log pi_0 of every token of every branch: [tokens] each, nats, float32.

        Raises:
            TrainingError: a branch has no entry: the cache was made with other data.
        """
        found = {branch: self._values.get(self.keys(branch)) for branch in branches}
        missing = sum(values is None for values in found.values())
        if missing:
            raise TrainingError(
                f"reference cache {self.path} lacks {missing} of {len(found)} answers: it was made with other images, "
                "questions or answers; delete it and train again"
            )
        return {branch: values for branch, values in found.items() if values is not None}


def _read(path: Path, weights: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[METADATA])
            values, tokens = file.get_tensor("logprobs"), file.get_tensor("tokens").tolist()
            keys = about["branches"]
        entries = dict(zip(keys, torch.split(values, tokens), strict=True))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainingError(f"reference cache {path} is unreadable ({error}); delete it and train again") from None
    if about.get("weights") != weights:
        raise TrainingError(f"reference cache {path} was made with other weights; delete it and train again")
    return entries
