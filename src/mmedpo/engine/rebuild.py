"""What autograd keeps between forward and backward, without what its other kept tensors give again at once.

A feed-forward layer keeps gate, its activation, their product with the other half: the last two are a few
operations element by element away from the first. A normed input, keys copied behind the keys of a trunk, the
pieces of an attention joined: likewise. These are left out when they are to be kept, and made again when the
backward pass asks for them, by the same operations on the same numbers: results are the same to the last bit,
and no matrix product is done twice. What is not recognised is kept as it is.

Source: "Hooks for saved tensors" of torch's notes on autograd; Chen et al. 2016 (arXiv:1604.06174), who drop the
results of operations that cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Node = Any
"""A step of autograd's graph: `grad_fn` of the tensor it made."""


WATCHERS: list[Callable[[Tensor], object]] = []
"""Told of every tensor that is kept as it is: of hooks within each other, torch calls the innermost alone."""


class Rebuilding(torch.autograd.graph.saved_tensors_hooks):
    """While entered, what a graph keeps is kept this way."""

    def __init__(self) -> None:
        super().__init__(self.pack, unpack)
        self._values: dict[Node, _Value] = {}

    def __exit__(self, *error: object) -> None:
        """Forgets the steps seen; what was kept lives as long as its graph."""
        self._values.clear()
        super().__exit__(*error)

    def pack(self, tensor: Tensor) -> Tensor | _Again:
        """The tensor, or how it is made again."""
        node = tensor.grad_fn
        while node is not None and node.name() in _SAME_ORDER:
            node = node.next_functions[0][0]
        if node is None or not _known(node):
            for told in WATCHERS:
                told(tensor)
            return tensor
        value = self._values.setdefault(node, _Value(node))
        value.wanted += 1
        return _Again(value, tensor.shape)


def unpack(kept: Tensor | _Again) -> Tensor:
    """What was packed."""
    return kept.value.take().reshape(kept.shape) if isinstance(kept, _Again) else kept


class _Value:
    """The result of a step; made at the first call, and let go with the last."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.wanted = 0
        self._given = 0
        self._made: Tensor | None = None

    def take(self) -> Tensor:
        """The result."""
        if self._made is None:
            with torch.no_grad():
                self._made = _rebuilt(self.node)
        made, self._given = self._made, self._given + 1
        if self._given % self.wanted == 0:
            self._made = None
        return made


class _Again:
    """A kept tensor that is made again: a step's result in some shape."""

    def __init__(self, value: _Value, shape: torch.Size) -> None:
        self.value, self.shape = value, shape


class Copied(torch.autograd.Function):
    """Tensors behind each other in one: memory that no graph keeps where it keeps the parts."""

    @staticmethod
    def forward(ctx: Any, dim: int, shared: int, *parts: Tensor) -> Tensor:
        """[1, heads * shared, ...].

        Args:
            ctx: of autograd.
            dim: along which the parts lie behind each other.
            shared: how often each entry of dimension 1 stands behind itself: queries that share a head of keys.
            parts: [1, heads, ...] each.
        """
        ctx.save_for_backward(*parts)
        ctx.dim, ctx.shared, ctx.sizes = dim, shared, [part.shape[dim] for part in parts]
        return _copied(dim, shared, parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of the parts."""
        (gradient,) = gradients
        if ctx.shared > 1:
            gradient = gradient.reshape(len(gradient), -1, ctx.shared, *gradient.shape[2:]).sum(2)
        return None, None, *torch.split(gradient, ctx.sizes, dim=ctx.dim)


def copied(parts: Sequence[Tensor], dim: int, shared: int = 1) -> Tensor:
    """See `Copied`; a single part without repeats is no copy."""
    if len(parts) == 1 and shared == 1:
        return parts[0]
    joined: Any = Copied
    return torch.as_tensor(joined.apply(dim, shared, *parts))


def _copied(dim: int, shared: int, parts: Sequence[Tensor]) -> Tensor:
    joined = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)
    return joined.repeat_interleave(shared, dim=1) if shared > 1 else joined


_SAME_ORDER = {"ViewBackward0", "UnsafeViewBackward0"}
"""Steps that give the same numbers in the same order in another shape."""


def _inputs(node: Node) -> list[Tensor]:
    """Both factors of a product. One is kept by its step where the other one has a gradient."""
    first, second = (source for source, _ in node.next_functions)
    return [
        node._saved_self if second is not None else _rebuilt(first),
        node._saved_other if first is not None else _rebuilt(second),
    ]


def _only(node: Node) -> Tensor:
    return _rebuilt(node.next_functions[0][0])


def _signed(dimension: int) -> int:
    """A dimension counted from the end is kept as a number without a sign, of 64 bits."""
    return dimension - 2**64 if dimension >= 2**63 else dimension


_MADE: dict[str, Callable[[Node], Tensor]] = {
    "MulBackward0": lambda node: torch.mul(*_inputs(node)),
    "SiluBackward0": lambda node: torch.nn.functional.silu(node._saved_self),
    "GeluBackward0": lambda node: torch.nn.functional.gelu(node._saved_self, approximate=node._saved_approximate),
    "ToCopyBackward0": lambda node: _only(node).to(node._input_metadata[0].dtype),
    "TransposeBackward0": lambda node: _only(node).transpose(_signed(node._saved_dim0), _signed(node._saved_dim1)),
    "CopiedBackward": lambda node: _copied(node.dim, node.shared, node.saved_tensors),
    **dict.fromkeys(_SAME_ORDER, lambda node: _only(node).reshape(node._input_metadata[0].shape)),
}
"""How the result of a step is made of what the step, or one before it, keeps."""


def _rebuilt(node: Node) -> Tensor:
    return _MADE[node.name()](node)


def _known(node: Node | None) -> bool:
    """Whether a step's result can be made again. Nothing is read yet: that would make it now."""
    if node is None or node.name() not in _MADE:
        return False
    if node.name() == "MulBackward0":
        first, second = (source for source, _ in node.next_functions)
        return (second is not None or _known(first)) and (first is not None or _known(second))
    if node.name() in {"ToCopyBackward0", "TransposeBackward0", *_SAME_ORDER}:
        return _known(node.next_functions[0][0])
    return True
