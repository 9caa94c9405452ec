"""From pictures to image features, through the model's own `get_image_features`, for any family.

Pictures whose inputs have the same shapes go through together. What comes out is kept per picture in
the type it came in, and put together again as the model's encoder would have handed it on
(`mm_encoder_outputs`). Where the projector is trained and the tower is not, the tower's output is
kept, and the model's own code runs on it with the tower's forward replaced by what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmedpo.models.family import Size


@dataclass(frozen=True)
class ImageFeatures:
    """One picture as the language model reads it."""

    rows: tuple[Tensor, ...]
    """[image tokens, hidden] each where the model hands on a list, else one [tiles, tokens, hidden]."""
    size: Size
    """Of the picture, pixels."""
    deepstack: tuple[Tensor, ...] = ()
    """[image tokens, hidden] for each layer of the language model that gets features of its own."""

    @property
    def tokens(self) -> int:
        """Rows of features: placeholders they replace."""
        return sum(row.shape[:-1].numel() for row in self.rows)

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, for a file."""
        return {
            **_numbered("rows", self.rows),
            **_numbered("deepstack", self.deepstack),
            "size": torch.tensor(self.size),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> ImageFeatures:
        """Back from `tensors`."""
        size = Size(*tensors["size"].tolist())
        return cls(_taken("rows", tensors), size, _taken("deepstack", tensors))

    def map(self, change: Callable[[Tensor], Tensor]) -> ImageFeatures:
        """The same with every tensor changed."""
        return ImageFeatures(tuple(map(change, self.rows)), self.size, tuple(map(change, self.deepstack)))


@dataclass(frozen=True)
class TowerOutput:
    """One picture as the vision tower leaves it, for a projector that changes."""

    inputs: dict[str, Tensor]
    """[1, ...] inputs of `get_image_features`; pixels are left out but for their shape."""
    pixels: tuple[int, ...]
    """Shape of the pixels."""
    states: dict[str, Tensor]
    """What the tower returned, [1 or tiles, ...] each; `hidden_states.2` is the third entry of that tuple."""
    size: Size
    """Of the picture, pixels."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, for a file."""
        inputs = {f"inputs.{name}": value for name, value in self.inputs.items()}
        states = {f"states.{name}": value for name, value in self.states.items()}
        return {**inputs, **states, "pixels": torch.tensor(self.pixels), "size": torch.tensor(self.size)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> TowerOutput:
        """Back from `tensors`."""
        inputs, states = (
            {name.removeprefix(mark): value for name, value in tensors.items() if name.startswith(mark)}
            for mark in ("inputs.", "states.")
        )
        return cls(inputs, tuple(tensors["pixels"].tolist()), states, Size(*tensors["size"].tolist()))

    def map(self, change: Callable[[Tensor], Tensor]) -> TowerOutput:
        """The same with every tensor changed."""
        inputs, states = ({n: change(v) for n, v in named.items()} for named in (self.inputs, self.states))
        return TowerOutput(inputs, self.pixels, states, self.size)


Kept = ImageFeatures | TowerOutput
"""What of a picture can be kept while training goes on."""


def image_features(model: Any, inputs: Sequence[dict[str, Tensor]], sizes: Sequence[Size]) -> list[ImageFeatures]:
    """Features of pictures, in order.

    Args:
        model: the `...ForConditionalGeneration` itself.
        inputs: of each picture, what `get_image_features` takes, on the model's device and in its type.
        sizes: of the pictures.
    """
    found: dict[int, ImageFeatures] = {}
    for numbers, joined in _batches(inputs):
        output = model.get_image_features(**joined, return_dict=True)
        found.update(zip(numbers, _apart(output, [sizes[number] for number in numbers]), strict=True))
    return [found[number] for number in range(len(inputs))]


def tower_outputs(model: Any, inputs: Sequence[dict[str, Tensor]], sizes: Sequence[Size]) -> list[TowerOutput]:
    """What the vision tower makes of pictures, in order; arguments as of `image_features`."""
    found: dict[int, TowerOutput] = {}
    for numbers, joined in _batches(inputs):
        states = _tower_states(model, joined)
        parts = {name: value.chunk(len(numbers)) for name, value in states.items()}
        for place, number in enumerate(numbers):
            own = {name: value for name, value in inputs[number].items() if name != "pixel_values"}
            found[number] = TowerOutput(
                own,
                tuple(inputs[number]["pixel_values"].shape),
                {name: values[place] for name, values in parts.items()},
                sizes[number],
            )
    return [found[number] for number in range(len(inputs))]


def project(model: Any, towers: Sequence[TowerOutput], like: Tensor) -> list[ImageFeatures]:
    """Features from kept outputs of the tower, differentiable with respect to everything behind it.

    Args:
        model: the `...ForConditionalGeneration` itself.
        towers: of each picture.
        like: any tensor on the model's device and in its type.
    """
    # Of the pixels only the shape is read: one number seen from everywhere takes no memory.
    inputs = [{"pixel_values": like.new_ones(()).expand(tower.pixels), **tower.inputs} for tower in towers]
    found: dict[int, ImageFeatures] = {}
    for numbers, joined in _batches(inputs):
        states = {name: torch.cat([towers[n].states[name] for n in numbers]) for name in towers[numbers[0]].states}
        with _stub(model, states):
            output = model.get_image_features(**joined, return_dict=True)
        found.update(zip(numbers, _apart(output, [towers[number].size for number in numbers]), strict=True))
    return [found[number] for number in range(len(towers))]


def as_encoded(features: Sequence[ImageFeatures]) -> dict[str, Any]:
    """`mm_encoder_outputs`: features as the model's own encoder would hand them on, in order."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    rows = [row for one in features for row in one.rows]
    pooled: Any = rows if rows[0].dim() == 2 else torch.cat(rows)
    output: Any = BaseModelOutputWithPooling(pooler_output=pooled)
    if features[0].deepstack:
        output.deepstack_features = [list(layer) for layer in zip(*(one.deepstack for one in features), strict=True)]
    return {"image": output}


def _batches(inputs: Sequence[dict[str, Tensor]]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Numbers of pictures whose inputs have the same shapes, and those inputs joined."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, one in enumerate(inputs):
        alike.setdefault(tuple((name, value.shape) for name, value in one.items()), []).append(number)
    for numbers in alike.values():
        yield numbers, {name: torch.cat([inputs[n][name] for n in numbers]) for name in inputs[numbers[0]]}


def _apart(output: Any, sizes: Sequence[Size]) -> Iterator[ImageFeatures]:
    """Pictures of the same shape have equal shares of what came out."""
    pooled = output.pooler_output
    share = len(pooled) // len(sizes)
    deep = getattr(output, "deepstack_features", None) or []
    for number, size in enumerate(sizes):
        part = pooled[number * share : (number + 1) * share]
        rows = (part,) if isinstance(part, Tensor) else tuple(part)
        yield ImageFeatures(rows, size, tuple(layer[number] for layer in deep))


def _tower_states(model: Any, joined: dict[str, Tensor]) -> dict[str, Tensor]:
    """Runs the model's `get_image_features` and keeps what its tower returned."""
    kept: list[Any] = []
    handle = model.get_encoder(modality="image").register_forward_hook(lambda *call: kept.append(call[2]))
    try:
        model.get_image_features(**joined, return_dict=True)
    finally:
        handle.remove()
    states: dict[str, Tensor] = {}
    (output,) = kept
    if output.get("last_hidden_state") is not None:
        states["last_hidden_state"] = output["last_hidden_state"]
    for number, state in enumerate(output.get("hidden_states") or ()):
        if state is not None:
            states[f"hidden_states.{number}"] = state
    states["hidden_states"] = torch.tensor(
        [[len(output.get("hidden_states") or ())]] * len(states["last_hidden_state"])
    )
    return states


@contextmanager
def _stub(model: Any, states: Mapping[str, Tensor]) -> Iterator[None]:
    """The tower answers with what was kept of it."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    hidden: list[Any] = [None] * int(states["hidden_states"].flatten()[0])
    for name, value in states.items():
        if name.startswith("hidden_states."):
            hidden[int(name.split(".")[1])] = value
    output = BaseModelOutputWithPooling(
        last_hidden_state=states.get("last_hidden_state"), hidden_states=tuple(hidden) if hidden else None
    )
    tower = model.get_encoder(modality="image")
    tower.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del tower.forward


def _numbered(name: str, values: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{number}": value for number, value in enumerate(values)}


def _taken(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    count = sum(key.startswith(f"{name}.") for key in tensors)
    return tuple(tensors[f"{name}.{number}"] for number in range(count))
