"""Where on the image an answer comes from: attention to the image tokens, and the gradient with respect to them.

Both are asked of one branch at a time, through the model's stock forward pass over a plain row. Attention is eager for
as long as the pass takes, for nothing else hands its weights out; what each layer gives is reduced at once, so that no
two layers' weights are held together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmedpo.engine.branches import Branch
from mmedpo.engine.logprobs import Features, image_columns, plain_logprobs
from mmedpo.errors import ModelError
from mmedpo.models.encoding import ImageFeatures
from mmedpo.models.vlm import VisionLanguageModel


class Attended(NamedTuple):
    """What the places that predict an answer attend to, mean over them, over heads and over layers."""

    tokens: Tensor
    """[image tokens of the first view] share of the attention of each, float32, on the CPU."""
    image: float
    """Their sum: what goes to that image, of all that is seen."""


@torch.no_grad()
def attended(vlm: VisionLanguageModel, branch: Branch, features: Features) -> Attended:
    """Attention from where an answer is predicted to the first image.

    Raises:
        ModelError: the model's layers hand no attention weights out.
    """
    first = len(branch.prompt) - 1
    asking = slice(first, first + len(branch.response))
    layers: list[Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if weights is not None:
            layers.append(weights[0, :, asking].float().mean(dim=(0, 1)).cpu())

    with _eager(vlm), _hooked(vlm, keep):
        plain_logprobs(vlm, [branch], features)
    if not layers:
        raise ModelError(f"{vlm.name!r} hands no attention weights out, so that none can be shown")
    tokens = torch.stack(layers).mean(dim=0)[torch.from_numpy(image_columns(vlm, branch)[0])]
    return Attended(tokens, float(tokens.sum()))


def relevance(vlm: VisionLanguageModel, branch: Branch, features: Features) -> Tensor:
    """[image tokens of the first view] how much each matters to log pi(answer), float32, on the CPU.

    The norm of the gradient with respect to the token's features, and to those that deeper layers get of it.
    """
    given: list[ImageFeatures] = []

    def leaves(views: Sequence[Path]) -> list[ImageFeatures]:
        given.extend(one.map(lambda value: value.detach().clone().requires_grad_()) for one in features(views))
        return given

    with torch.enable_grad():
        total = plain_logprobs(vlm, [branch], leaves).values.sum()
        shown = given[0]
        gradients = torch.autograd.grad(total, [*shown.rows, *shown.deepstack])
    norms = [gradient.float().norm(dim=-1).flatten().cpu() for gradient in gradients]
    deeper = norms[len(shown.rows) :]
    found = torch.cat(norms[: len(shown.rows)])
    return found + torch.stack(deeper).sum(dim=0) if deeper else found


@contextmanager
def _eager(vlm: VisionLanguageModel) -> Iterator[None]:
    """The language model attends eagerly, and afterwards as it did before."""
    before = vlm.text_config._attn_implementation
    vlm.base.set_attn_implementation({"text_config": "eager"})
    try:
        yield
    finally:
        vlm.base.set_attn_implementation({"text_config": before})


@contextmanager
def _hooked(vlm: VisionLanguageModel, hook: Any) -> Iterator[None]:
    """A hook on the attention of every layer of the language model."""
    layers = [getattr(layer, "self_attn", None) for layer in getattr(vlm.base.get_decoder(), "layers", ())]
    handles = [layer.register_forward_hook(hook) for layer in layers if layer is not None]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
