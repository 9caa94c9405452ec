"""Which vision tower a converted checkpoint gets: the one in the shards, or the CLIP its configuration names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mmedpo.errors import ModelError, shown
from mmedpo.models.convert.layouts import Layout
from mmedpo.models.convert.shards import TOWER, read_shard, shard_files

TowerChoice = Literal["authors", "shards", "clip"]
"""`authors`: the one the authors' own loader takes, where it is there."""
HEAD = 64
"""Width of an attention head in every CLIP of OpenAI: weights do not tell it."""
_MARK = "vision_model."
_SIDES = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")
Shapes = Mapping[str, tuple[int, ...]]


class Tower(NamedTuple):
    """A decision."""

    source: Literal["shards", "clip"]
    config: dict[str, Any]
    """Of a `clip_vision_model`."""
    folder: Path | None
    """The CLIP folder, where there is one."""
    has_weights: bool
    """Whether that folder holds weights."""
    why: str
    """One sentence for the user."""


def choose_tower(
    layout: Layout, config: Mapping[str, Any], src: Path, sizes: Shapes, clip: Path | None, choice: TowerChoice
) -> Tower:
    """Decides for a tower.

    Args:
        layout: of the checkpoint.
        config: its config.json.
        src: its folder.
        sizes: shapes of its weights by name.
        clip: a local folder of the CLIP model; None: what the configuration names, where that is a folder.
        choice: what the user asked for.

    Raises:
        ModelError: the tower asked for is not there, or no tower is.
    """
    own = {name.removeprefix(TOWER): size for name, size in sizes.items() if name.startswith(TOWER)}
    named = str(config.get("mm_vision_tower") or config.get("vision_tower") or "a CLIP model")
    folder = clip if clip is not None else _local(src, named)
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json; give the folder of {shown(named)} as downloaded")
    weights = folder is not None and any(file.suffix in (".safetensors", ".bin") for file in folder.iterdir())
    from_shards = layout.tower_in_shards or bool(config.get("unfreeze_mm_vision_tower"))
    theirs: Literal["shards", "clip"] = "shards" if from_shards and own else "clip"
    there = [source for source, is_there in (("shards", bool(own)), ("clip", weights)) if is_there]
    if not there:
        raise ModelError(f"the shards hold no vision tower; give --clip FOLDER with {shown(named)}")
    if choice != "authors" and choice not in there:
        missing = "the shards hold no vision tower" if choice == "shards" else f"{shown(named)} is no local folder"
        raise ModelError(f"--tower {choice}: {missing}; " + ("use --tower clip" if own == {} else "give --clip FOLDER"))
    if choice == "authors":
        source: Literal["shards", "clip"] = theirs if theirs in there else ("shards" if own else "clip")
        why = "as the authors' own loader does"
        if source != theirs:
            why = f"the authors' own loader takes {shown(named)} instead: give --clip FOLDER to compare the two"
    else:
        source, why = choice, "as --tower asks for"
    found = _clip_config(folder) if folder is not None else _guessed(own, named)
    return Tower(source, found, folder, weights, why)


def clip_tensors(folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights of the vision side of a CLIP folder, by their names behind `vision_tower.`."""
    found: dict[str, Tensor] = {}
    for file in shard_files(folder):
        for name, value in read_shard(file).items():
            # A vision model saved by itself has no level above it.
            own = name.removeprefix(_MARK)
            if (name.startswith(_MARK) or own.startswith(_SIDES)) and not own.endswith("position_ids"):
                found[_MARK + own] = value.to(dtype)
    if not found:
        raise ModelError(f"{folder} holds no vision side of a CLIP model; give --clip another folder")
    return found


class Comparison:
    """The largest absolute difference between two towers' weights, seen one by one."""

    def __init__(self, clip: Mapping[str, Tensor]) -> None:
        self._clip = clip
        self._seen: set[str] = set()
        self._worst = (0.0, "")

    def see(self, name: str, value: Tensor) -> None:
        """One weight of the shards' tower, by its name behind `vision_tower.`."""
        other = self._clip.get(name)
        self._seen.add(name)
        same = other is not None and other.shape == value.shape
        apart = float((value.float() - other.float()).abs().max()) if same and other is not None else float("inf")
        self._worst = max(self._worst, (apart, name))

    def result(self) -> tuple[float, str]:
        """The difference, infinite where only one tower has a weight or its shape differs, and where it is."""
        lacking = self._clip.keys() - self._seen
        return (float("inf"), min(lacking)) if lacking else self._worst


def _local(src: Path, named: str) -> Path | None:
    """The folder a configuration names, where it is one here."""
    try:
        return next((path for path in (src / named, Path(named)) if (path / "config.json").is_file()), None)
    except OSError:
        return None


def _clip_config(folder: Path) -> dict[str, Any]:
    """Configuration of the vision side of a CLIP folder."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        vision = content.get("vision_config") if "vision_config" in content else content
        kept = {key: value for key, value in dict(vision).items() if key not in ("model_type", "architectures")}
    except (ValueError, TypeError, AttributeError):
        raise ModelError(f"{folder / 'config.json'} is no configuration of a CLIP model; download it again") from None
    return kept


def _guessed(sizes: Shapes, named: str) -> dict[str, Any]:
    """Configuration of a tower from the shapes of its weights, where no folder tells it."""
    try:
        hidden, _, patch, _ = sizes[f"{_MARK}embeddings.patch_embedding.weight"]
        places = sizes[f"{_MARK}embeddings.position_embedding.weight"][0]
        inner = sizes[f"{_MARK}encoder.layers.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError):
        raise ModelError("the vision tower in the shards is no CLIP; give --clip FOLDER to take another") from None
    layers = len({name.split("layers.")[1].split(".")[0] for name in sizes if "layers." in name})
    if hidden % HEAD:
        raise ModelError(
            f"the vision tower in the shards is {hidden} wide, which does not tell its number of heads; give --clip "
            f"FOLDER with the config.json of {shown(named)}"
        )
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "image_size": round((places - 1) ** 0.5) * patch,
        "patch_size": patch,
    }
