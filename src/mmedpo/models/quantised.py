"""QLoRA: the frozen language model in 4 bits (NF4, double quantisation; Dettmers et al. 2023), adapters in full.

The kernels are those of bitsandbytes (extra `[qlora]`). A backend whose kernels give a wrong gradient, or
none, says nothing of it, so one layer is compared with its own weights read back before anything is trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmedpo.errors import ModelError
from mmedpo.models.family import Family

BLOCK, BLOCKS = 64, 256
"""Weights that share a scale; scales that share one of their own."""
_SCALES_MEAN, _CODES = 4, 4 * (16 + 256)
"""Bytes beside a layer's scales: their mean; the values that 4 and 8 bits stand for."""
_TOLERANCE = {torch.float32: 1e-4}
"""Relative difference of a gradient that rounding explains; half precision is coarser."""


def quantise(model: Any, family: Family, device: str) -> None:
    """Holds every linear layer of a frozen language model in 4 bits, in place; the head stays as it is.

    Layers go to the device one by one: it never holds the model in full.

    Raises:
        ModelError: bitsandbytes is missing, or its gradient on this device is wrong.
    """
    layers = language_layers(model, family)
    for number, name in enumerate(layers):
        parent, _, own = name.rpartition(".")
        held = in_four_bits(layers[name], device)
        if number == 0:
            _refuse_wrong_gradient(held)
        setattr(model.get_submodule(parent), own, held)
        layers[name].weight.data = torch.empty(0)
    # What peft asks before it puts an adapter that knows 4 bits on a layer.
    model.is_loaded_in_4bit = True


def in_four_bits(layer: nn.Linear, device: str) -> Any:
    """The same layer with its weight in 4 bits, on a device.

    Raises:
        ModelError: bitsandbytes is missing.
    """
    try:
        import bitsandbytes
    except ImportError:
        raise ModelError("model.quantise=nf4 needs bitsandbytes; install mmedpo[qlora]") from None
    held = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=layer.weight.dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    held.weight = bitsandbytes.nn.Params4bit(
        layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
    )
    held.bias = layer.bias
    return held.to(device)


def read_back(held: Any) -> Tensor:
    """[out, in] weight that a 4-bit layer computes with."""
    from bitsandbytes.functional import dequantize_4bit

    return torch.as_tensor(dequantize_4bit(held.weight, held.weight.quant_state))


def held_bytes(model: Any, family: Family) -> int:
    """Bytes of all weights once they are held so; a model without content (`load_outline`) will do."""
    layers = language_layers(model, family)
    in_full = sum(value.nbytes for value in model.parameters())
    return int(in_full + sum(_held(layer.weight.numel()) - layer.weight.nbytes for layer in layers.values()))


def language_layers(model: Any, family: Family) -> dict[str, nn.Linear]:
    """Frozen linear layers of the language model by name, without the head that predicts tokens."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {
        name: module
        for name, module in linear.items()
        if not module.weight.requires_grad and not name.endswith("lm_head") and family.part(name) == "language_model"
    }


def _held(weights: int) -> int:
    """Bytes of that many weights: half a byte each, a byte for each block's scale, and the scales of these."""
    scales = -(-weights // BLOCK)
    return -(-weights // 2) + scales + 4 * -(-scales // BLOCKS) + _SCALES_MEAN + _CODES


def _refuse_wrong_gradient(held: Any) -> None:
    weight = read_back(held).float()
    given = torch.linspace(-1, 1, weight.shape[1], device=weight.device, dtype=held.compute_dtype).requires_grad_()
    result = held(given[None])
    (found,) = torch.autograd.grad(result.float().sum(), given, allow_unused=True) if result.requires_grad else (None,)
    expected = weight.sum(0)
    apart = float("inf") if found is None else float((found.float() - expected).norm() / expected.norm())
    if not apart <= _TOLERANCE.get(held.compute_dtype, 2e-2):
        raise ModelError(
            f"the 4-bit kernels of bitsandbytes give a wrong gradient on {weight.device.type} (relative difference "
            f"{apart:.2g}); set model.quantise=none, or use another device or version"
        )
