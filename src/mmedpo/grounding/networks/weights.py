"""Weights from files the user has: safetensors, or torch files of tensors only. Never a download, never a pickle."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmedpo.errors import GroundingError, brief
from mmedpo.grounding.grounder import resize_map
from mmedpo.records.shapes import Heatmap, Pixels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

T = TypeVar("T")


def whole(read: Callable[[], T], folder: Path, what: str = "model of transformers") -> T:
    """What `read` reads of a model's folder.

    Raises:
        GroundingError: it fails, in one line.
    """
    try:
        return read()
    except Exception as error:
        # Damaged or foreign files fail in whatever way transformers and what lies below it happen to.
        why = brief(" ".join(str(error).split()) or type(error).__name__, 160)
        raise GroundingError(f"{folder} cannot be loaded as a {what} ({why}); give its whole folder") from error


def checked_folder(folder: Path, what: str) -> None:
    """Refuses what is no folder.

    Raises:
        GroundingError: nothing there, or a file.
    """
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise GroundingError(f"model folder {folder} {fault}; give the folder of a downloaded {what}")


def from_folder(kind: Any, folder: Path, what: str) -> Any:
    """A model of `transformers` with every weight from the folder: what is missing is never drawn at random.

    Args:
        kind: class of the model, e.g. `AutoModelForSemanticSegmentation`.
        what: names it in messages.

    Raises:
        GroundingError: no such folder, another kind of model in it, or a weight that the file does not have.
    """
    checked_folder(folder, what)
    told = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    with _silent():  # its table of what it did not find is told in one line below
        model, loaded = whole(lambda: kind.from_pretrained(folder, **told, output_loading_info=True), folder, what)
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise GroundingError(
            f"{folder} lacks {brief(missing[0], 80)} ({len(missing)} such weights); it holds no whole {what}"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the words and bars of transformers on the terminal."""
    from transformers.utils import logging as module

    spoken: Any = module  # it has no types
    before, bars = spoken.get_verbosity(), spoken.is_progress_bar_enabled()
    spoken.set_verbosity(logging.CRITICAL)
    spoken.disable_progress_bar()
    try:
        yield
    finally:
        spoken.set_verbosity(before)
        if bars:
            spoken.enable_progress_bar()


def normalisation(
    folder: Path, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels that a model's image processor takes off; those given without one.

    Raises:
        GroundingError: a file that is no image processor's.
    """
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return mean, std
    told = whole(lambda: json.loads(file.read_text(encoding="utf-8")), folder, "model with its image processor")
    told = told.get("image_processor", told) if isinstance(told, dict) else {}
    return tuple(told.get("image_mean") or mean), tuple(told.get("image_std") or std)


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a weights file, by name; `model` or `state_dict` inside it is looked into, `module.` dropped.

    Raises:
        GroundingError: missing, unreadable, or holding anything that would have to be executed.
    """
    if not path.is_file():
        raise GroundingError(f"{what} {path} cannot be read as tensors: there is no such file; give the weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files fail in whatever way they happen to; a pickled model is refused by weights_only.
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise GroundingError(
            f"{what} {path} cannot be read as tensors ({why}); give a state dict (torch or safetensors): of a pickled "
            "model, torch.save(model.state_dict(), FILE) where you trust it"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise GroundingError(f"{what} {path} holds a {type(content).__name__}; allowed: tensors by name")
    found = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise GroundingError(f"{what} {path} holds no tensor; give the published weights")
    return found


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, unused: tuple[str, ...] = ()) -> None:
    """Copies the tensors into the network; every parameter must be there, with its shape.

    Args:
        unused: beginnings of names that the file may hold and nothing needs.

    Raises:
        GroundingError: a tensor is missing, left over, or has another shape; the message names the first.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    over = [name for name in tensors if name not in wanted and not name.startswith(unused)]
    other = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    for names, fault in ((missing, "lacks"), (over, "holds the unknown"), (other, "has another shape for")):
        if names:
            raise GroundingError(
                f"{path} {fault} {names[0]} ({len(names)} such tensors); it is no file of this network"
            )
    network.load_state_dict({name: tensors[name] for name in wanted if name in tensors}, strict=False)
    network.eval().requires_grad_(False)


def as_rgb(image: Pixels, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """float32 [1, 3, side, side], standardised; the image is resized without keeping its aspect ratio."""
    from PIL import Image

    picture = Image.fromarray(image).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255.0).permute(2, 0, 1)
    return ((pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def heat_from(values: Tensor, height: int, width: int) -> Heatmap | None:
    """Scores [h, w] as heat [height, width]: smallest to 0, largest to 1; None when they do not differ."""
    scores = values.detach().to(torch.float32).numpy()
    low, high = float(scores.min()), float(scores.max())
    if not np.isfinite([low, high]).all() or high - low < 1e-12:
        return None
    large = resize_map((scores - low) / (high - low), height, width)
    floor, peak = float(large.min()), float(large.max())
    return np.asarray(np.clip((large - floor) / (peak - floor), 0.0, 1.0), dtype=np.float32) if peak > floor else None
