"""log pi(answer | images, question), token by token, end-of-sequence included: packed and plain.

Packed is what everything uses: one forward pass over the trie of all branches. Plain is one padded
row per branch through the model's stock forward pass, the definition that packed is checked against
and the way out for models it was not shown to be exact for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmedpo.engine.attention import TrieAttention
from mmedpo.engine.branches import Branch
from mmedpo.engine.features import FeatureStore
from mmedpo.engine.layout import Index, Layout, lay_out, visibility
from mmedpo.engine.support import layer_windows
from mmedpo.errors import ModelError
from mmedpo.models.encoding import ImageFeatures, as_encoded
from mmedpo.models.rows import image_inputs, row_inputs
from mmedpo.models.vlm import VisionLanguageModel

Features = Callable[[Sequence[Path]], Sequence[ImageFeatures]]
"""Gives the features of views, in order, as a `FeatureStore` does."""

EXTRA_INPUTS = frozenset({"token_type_ids", "mm_token_type_ids", "image_grid_thw"})
"""Inputs of families known to us without which a forward pass is wrong, and mostly silently."""


class TokenLogprobs(NamedTuple):
    """Log-probabilities of a batch of branches, answers one behind the other."""

    values: Tensor
    """[targets] of each answer token, nats, float32."""
    branch: Tensor
    """[targets] number of the branch it belongs to, ascending."""
    tokens: Tensor
    """[branches] answer tokens, end-of-sequence included."""
    logits: Tensor | None = None
    """[nodes, vocabulary] of every place that predicts a token; None of a measurement of many passes."""
    node: Tensor | None = None
    """[targets] the place that predicts each answer token: branches that share a beginning share it."""

    def totals(self, weights: Tensor | None = None) -> Tensor:
        """[branches] sum over each answer's tokens, each times its weight ([targets]) where given."""
        values = self.values if weights is None else self.values * weights
        return values.new_zeros(len(self.tokens)).index_add(0, self.branch, values)


def pairs_per_token(text_config: Any) -> float:
    """Query-key pairs of attention that cost one layer as much as passing a token through its linear maps.

    A token takes 2 (4 h^2 + 3 h m) operations in a layer of width h and feed-forward width m, a pair
    4 h (score and weighted sum).
    """
    return 2.0 * float(text_config.hidden_size) + 1.5 * float(text_config.intermediate_size)


def image_columns(vlm: VisionLanguageModel, branch: Branch) -> list[Index]:
    """Columns of each view's tokens in a branch's prompt.

    Raises:
        ModelError: other placeholders than the views' tokens: a sequence was truncated, or its template is wrong.
    """
    token = vlm.image_token_id
    placeholders = np.flatnonzero(np.array(branch.prompt) == token)
    counts = [vlm.family.image_tokens(size) for size in branch.pictures]
    if len(placeholders) != sum(counts) or token in branch.response:
        raise ModelError(
            f"{len(placeholders)} image placeholders for {len(counts)} image(s) of {', '.join(map(str, counts))} "
            "tokens; a sequence was truncated or its template is wrong"
        )
    return np.split(placeholders, np.cumsum(counts[:-1])) if counts else []


def layout_of(vlm: VisionLanguageModel, branches: Sequence[Branch]) -> Layout:
    """The packed layout of branches for a model."""
    return lay_out(branches, partial(image_columns, vlm), pairs_per_token(vlm.text_config), vlm.family.both_ways)


def packed_logprobs(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    features: FeatureStore,
    model: Any = None,
    *,
    dense: bool = False,
) -> TokenLogprobs:
    """Log-probabilities of distinct branches in one forward pass over their trie, differentiable.

    Args:
        vlm: model and tokenizer.
        branches: at least one; equal ones would share every column, so pass distinct ones.
        features: image features.
        model: the module to call instead of `vlm.model`, e.g. its data-parallel wrapper.
        dense: attend with one [columns, columns] mask, for models that take a mask but not our attention.
    """
    layout = layout_of(vlm, branches)
    device, dtype = vlm.device, vlm.base.dtype
    parents, row = np.unique(layout.parent, return_inverse=True)
    if dense:
        attention: dict[str, Any] = {"attention_mask": _dense_masks(vlm, layout)}
    else:
        # A four-dimensional mask is handed on as it is: it keeps `transformers` from building one of its own.
        untouched = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device)
        attention = {"attention_mask": untouched, "trie": TrieAttention(layout, device, dtype)}
    logits = (vlm.model if model is None else model)(
        input_ids=torch.from_numpy(layout.ids).unsqueeze(0).to(device),
        mm_encoder_outputs=_images(features, layout.pictures),
        position_ids=positions(vlm, branches, layout).to(device),
        logits_to_keep=torch.from_numpy(parents).to(device),
        use_cache=False,
        **attention,
    ).logits[0]
    target = torch.from_numpy(layout.target).to(device)
    return _collect(logits, torch.from_numpy(row).to(device), target, layout.branch, len(branches))


def plain_logprobs(
    vlm: VisionLanguageModel, branches: Sequence[Branch], features: Features, model: Any = None
) -> TokenLogprobs:
    """The same by definition: every branch a row of its own, padded on the right."""
    views = [view for branch in branches for view in branch.views]
    return _rows_logprobs(vlm, branches, {"mm_encoder_outputs": _images(features, views)}, model)


def missing_inputs(vlm: VisionLanguageModel, branch: Branch) -> list[str]:
    """Inputs that the model takes beside ids and pictures, and that its family leaves out."""
    given = {*vlm.family.token_types(branch.prompt, len(branch.prompt)), *image_inputs(vlm, branch.pictures)}
    return sorted(EXTRA_INPUTS & inspect.signature(vlm.base.forward).parameters.keys() - given)


def pixel_logprobs(vlm: VisionLanguageModel, branch: Branch, features: FeatureStore) -> TokenLogprobs:
    """The same of one branch from pixels: whatever the model needs beside ids and pixels stands in its own code."""
    each = [vlm.inputs(features.read(view)) for view in branch.views]
    return _rows_logprobs(vlm, [branch], {name: _joined([one[name] for one in each]) for name in each[0]}, None)


def _joined(inputs: Sequence[Tensor]) -> Tensor:
    """[images, ...] from [1, ...] each; images of fewer tiles are filled up with zeros, as the processors do."""
    if inputs[0].dim() < 4 or len({one.shape[1:] for one in inputs}) == 1:
        return torch.cat(list(inputs))
    most = max(one.shape[1] for one in inputs)
    return torch.cat([torch.cat([one, one.new_zeros(1, most - one.shape[1], *one.shape[2:])], dim=1) for one in inputs])


def _rows_logprobs(
    vlm: VisionLanguageModel, branches: Sequence[Branch], images: dict[str, Any], model: Any
) -> TokenLogprobs:
    sequences = [[*branch.prompt, *branch.response[:-1]] for branch in branches]
    rows, columns, targets = [], [], []
    for number, branch in enumerate(branches):
        first = len(branch.prompt) - 1
        columns.append(np.arange(first, first + len(branch.response)))
        rows.append(np.full(len(branch.response), number))
        targets.append(np.array(branch.response))
    row, target = np.concatenate(rows), np.concatenate(targets)
    kept, column = np.unique(np.concatenate(columns), return_inverse=True)
    inputs = row_inputs(vlm, sequences, [len(branch.prompt) for branch in branches], left=False)
    inputs.update(image_inputs(vlm, [size for branch in branches for size in branch.pictures]))
    logits = (vlm.model if model is None else model)(
        **{**inputs, **images},
        logits_to_keep=torch.from_numpy(kept).to(vlm.device),
        use_cache=False,
    ).logits
    flat = torch.from_numpy(row * len(kept) + column).to(vlm.device)
    return _collect(logits.flatten(0, 1), flat, torch.from_numpy(target).to(vlm.device), row, len(branches))


def _collect(logits: Tensor, row: Tensor, target: Tensor, branch: np.ndarray, branches: int) -> TokenLogprobs:
    """Log-softmax once per predicting node; each child takes its own entry."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values = logits[row, target] - logits.logsumexp(-1)[row]
    owner = torch.from_numpy(branch).to(values.device)
    return TokenLogprobs(values, owner, torch.bincount(owner, minlength=branches), logits, row)


def _images(features: Features, views: Sequence[Path]) -> Any:
    return as_encoded(features(views)) if views else None


def positions(vlm: VisionLanguageModel, branches: Sequence[Branch], layout: Layout) -> Tensor:
    """[1, columns], or [axes, 1, columns]: what a family counts in its own rows, moved to their columns."""
    rows = [vlm.family.positions(branch.prompt, branch.pictures) for branch in branches]
    positions = layout.depth[None] if rows[0] is None else np.zeros((len(rows[0]), layout.columns), dtype=np.int64)
    for own, columns in zip(rows, layout.columns_of, strict=True):
        if own is not None:
            prompt = own.shape[1]
            positions[:, columns[:prompt]] = own
            positions[:, columns[prompt:]] = own.max() + 1 + np.arange(len(columns) - prompt)
    found = torch.from_numpy(positions)
    return found if len(found) == 1 else found.unsqueeze(1)


def _dense_masks(vlm: VisionLanguageModel, layout: Layout) -> Any:
    """[1, 1, columns, columns] added to the scores; one per kind of layer where a kind looks back only so far."""
    every = np.arange(layout.columns)

    def mask(window: int | None) -> Tensor:
        hidden = torch.from_numpy(~visibility(layout, every, every, window)).to(vlm.device)
        lowest = torch.finfo(vlm.base.dtype).min
        return torch.zeros(hidden.shape, dtype=vlm.base.dtype, device=vlm.device).masked_fill(hidden, lowest)[
            None, None
        ]

    windows = layer_windows(vlm.text_config, int(layout.depth.max()) + 1)
    masks = {window: mask(window) for window in set(windows.values())}
    return next(iter(masks.values())) if len(masks) == 1 else {kind: masks[w] for kind, w in windows.items()}
