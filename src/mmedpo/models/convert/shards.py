"""Weights on disk: read shard by shard, renamed, written shard by shard. One shard is in memory at a time."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmedpo.errors import ModelError, brief, shown
from mmedpo.storage.paths import safe_join

TOWER = "model.vision_tower.vision_tower."
"""What the vision tower's weights begin with in the LLaVA code base."""
_RENAMED = (
    (TOWER, "vision_tower."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
)
_BUFFERS = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""What older versions stored and newer ones compute."""


def new_name(name: str) -> str | None:
    """Name of a weight in the published LLaVA layout of `transformers`; None: it is computed, not stored.

    Raises:
        ModelError: no weight of a LLaVA.
    """
    if name.endswith(_BUFFERS):
        return None
    for old, new in _RENAMED:
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise ModelError(f"weight {shown(name)} belongs to no part of a LLaVA; the checkpoint is of another architecture")


def runtime_name(name: str) -> str:
    """Name of the same weight in the model in memory."""
    for old, new in (
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "model.language_model."),
        ("vision_tower.vision_model.", "model.vision_tower."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def shard_files(folder: Path) -> list[Path]:
    """Weight files of a checkpoint, in order: those its index names, else all of one kind.

    Raises:
        ModelError: there are none, or one that the index names is missing.
    """
    for ending in ("safetensors", "bin"):
        indices = sorted(folder.glob(f"*.{ending}.index.json"))
        if indices:
            files = sorted(set(_index(indices[0]).values()))
            missing = [name for name in files if not safe_join(folder, name, "shard", ModelError).is_file()]
            if missing:
                raise ModelError(
                    f"{folder} lacks {len(missing)} of {len(files)} weight files, first {missing[0]}; download them"
                )
            return [folder / name for name in files]
        found = [*sorted(folder.glob(f"*.{ending}"))]
        kept = [file for file in found if file.name != "training_args.bin"]
        if kept:
            return kept
    raise ModelError(f"{folder} holds no *.safetensors and no *.bin; download its weights")


def _index(file: Path) -> dict[str, str]:
    try:
        return {str(name): str(shard) for name, shard in json.loads(file.read_text("utf-8"))["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{file} is damaged; download it again") from None


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's weights, without reading them where the file allows it."""
    if file.suffix == ".safetensors":
        with _open(file) as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    return {name: tuple(value.shape) for name, value in read_shard(file).items()}


def read_shard(file: Path) -> dict[str, Tensor]:
    """The weights of one file. Pickled ones are read as data: nothing in them is run.

    Raises:
        ModelError: damaged, or it holds something else than weights.
    """
    import torch

    if file.suffix == ".safetensors":
        with _open(file) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        why = brief(" ".join(str(error).split()), 120)
        raise ModelError(f"{file} holds no plain weights or is damaged ({why}); download it again") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{file} holds something else than weights; download it again")
    return content


def _open(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged or cut off ({brief(str(error), 80)}); download it again") from None


class Writer:
    """Writes shards beside each other, and at the end the index that says where each weight lies."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._where: dict[str, str] = {}
        self._bytes = 0
        self._written = 0

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """The next shard; names are those of the published layout.

        Raises:
            ModelError: a weight stands in two shards, or the disk refuses.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        self._written += 1
        file = f"model-{self._written:05}-of-{self.number:05}.safetensors"
        twice = self._where.keys() & tensors.keys()
        if twice:
            raise ModelError(f"weight {shown(min(twice))} stands in two files; download the checkpoint again")
        try:
            save_file({name: v.contiguous() for name, v in tensors.items()}, self.folder / file, {"format": "pt"})
        except SafetensorError as error:
            raise ModelError(f"{file} cannot be written ({brief(str(error), 120)}); make room and try again") from None
        for name, value in tensors.items():
            self._where[name], self.shapes[name] = file, tuple(value.shape)
            self._bytes += value.nbytes

    def finish(self) -> None:
        """Writes the index."""
        content = {"metadata": {"total_size": self._bytes}, "weight_map": dict(sorted(self._where.items()))}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
