"""Our side with FlexAttention in place of slices: one call a layer, a block mask over the whole layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bench.throughput import our_side
from bench.throughput.side import Options, SideResult
from bench.throughput.workloads import Workload
from mmedpo.engine import logprobs
from mmedpo.engine.attention import Heads, Scores
from mmedpo.engine.layout import Layout


class FlexTrieAttention:
    """`engine.attention.PackedAttention` by `torch.nn.attention.flex_attention`; it is compiled on a GPU alone."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype) -> None:
        from torch.nn.attention.flex_attention import flex_attention

        self._end, self._depth, self._block = (
            torch.from_numpy(values).to(device) for values in (layout.end, layout.depth, layout.block)
        )
        self.columns, self.device = layout.columns, device
        self._attend: Any = _compiled() if device.type == "cuda" else flex_attention
        self._masks: dict[int | None, Any] = {}

    def __call__(self, layer: int, query: Heads, key: Heads, value: Heads, window: int | None, scores: Scores) -> Heads:
        """See `PackedAttention`.

        Raises:
            ValueError: scores are capped or dropped, which no shape of the benchmark asks for.
        """
        if scores.softcap is not None or scores.dropout:
            raise ValueError("the benchmark's FlexAttention neither caps scores nor drops them")
        if window not in self._masks:
            self._masks[window] = self._mask(window)
        answer: Heads = self._attend(
            query, key, value, block_mask=self._masks[window], scale=scores.scaling, enable_gqa=True
        )
        return answer

    def _mask(self, window: int | None) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        end, depth, block = self._end, self._depth, self._block

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            before = (key <= query) & (query < end[key])
            if window is not None:
                before = before & (depth[query] - depth[key] < window)
            return before | ((block[query] == block[key]) & (block[query] > 0))

        return create_block_mask(seen, None, None, self.columns, self.columns, device=self.device)


_COMPILED: list[Any] = []


def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    if not _COMPILED:
        _COMPILED.append(torch.compile(flex_attention, dynamic=True))
    return _COMPILED[0]


def run(
    folder: Path, workload: Workload, *, steps: int, checkpointing: bool, device: str, options: Options
) -> SideResult:
    """As `our_side.run`."""
    with mock.patch.object(logprobs, "TrieAttention", FlexTrieAttention):
        found = our_side.run(folder, workload, steps=steps, checkpointing=checkpointing, device=device, options=options)
    return replace(found, settings=f"{found.settings}; FlexAttention instead of slices")
