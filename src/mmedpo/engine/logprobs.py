"""log pi(answer | images, question), token by token, end-of-sequence included: packed and plain.

Packed is what everything uses: one forward pass over the trie of all branches. Plain is one padded
row per branch through the model's stock forward pass, the definition that packed is checked against
and the way out for models it was not shown to be exact for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmedpo.engine.attention import trie_attention
from mmedpo.engine.branches import Branch
from mmedpo.engine.features import FeatureStore
from mmedpo.engine.layout import Layout, dense_visibility, lay_out
from mmedpo.models.vlm import VisionLanguageModel


class TokenLogprobs(NamedTuple):
    """Log-probabilities of a batch of branches, answers one behind the other."""

    values: Tensor
    """[targets] of each answer token, nats, float32."""
    branch: Tensor
    """[targets] number of the branch it belongs to, ascending."""
    tokens: Tensor
    """[branches] answer tokens, end-of-sequence included."""

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


def layout_of(vlm: VisionLanguageModel, branches: Sequence[Branch]) -> Layout:
    """The packed layout of branches for a model."""
    cost = pairs_per_token(vlm.base.config.text_config)
    return lay_out(branches, vlm.image_token_id, vlm.image_tokens, cost)


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
        hidden = torch.from_numpy(~dense_visibility(layout)).to(device)
        attention: dict[str, Any] = {
            "attention_mask": torch.zeros(hidden.shape, dtype=dtype, device=device)
            .masked_fill(hidden, torch.finfo(dtype).min)
            .expand(1, 1, -1, -1)
        }
    else:
        # A four-dimensional mask is handed on as it is: it keeps `transformers` from building one of its own.
        untouched = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device)
        attention = {"attention_mask": untouched, "trie": trie_attention(layout, device, dtype)}
    logits = (vlm.model if model is None else model)(
        input_ids=_ids(layout, vlm.image_token_id).to(device),
        mm_encoder_outputs=_images(layout, vlm.image_tokens, features),
        position_ids=torch.from_numpy(layout.depth).unsqueeze(0).to(device),
        logits_to_keep=torch.from_numpy(parents).to(device),
        use_cache=False,
        **attention,
    ).logits[0]
    target = torch.from_numpy(layout.target).to(device)
    return _collect(logits, torch.from_numpy(row).to(device), target, layout.branch, len(branches))


def plain_logprobs(
    vlm: VisionLanguageModel, branches: Sequence[Branch], features: FeatureStore, model: Any = None
) -> TokenLogprobs:
    """The same by definition: every branch a row of its own, padded on the right."""
    width = max(len(branch.prompt) + len(branch.response) - 1 for branch in branches)
    ids = torch.full((len(branches), width), int(vlm.tokenizer.pad_token_id))
    visible = torch.zeros(len(branches), width, dtype=torch.long)
    rows, columns, targets = [], [], []
    for number, branch in enumerate(branches):
        sequence = [*branch.prompt, *branch.response[:-1]]
        ids[number, : len(sequence)] = torch.tensor(sequence)
        visible[number, : len(sequence)] = 1
        first = len(branch.prompt) - 1
        columns.append(np.arange(first, first + len(branch.response)))
        rows.append(np.full(len(branch.response), number))
        targets.append(np.array(branch.response))
    row, target = np.concatenate(rows), np.concatenate(targets)
    kept, column = np.unique(np.concatenate(columns), return_inverse=True)
    views = [view for branch in branches for view in branch.views]
    logits = (vlm.model if model is None else model)(
        input_ids=ids.to(vlm.device),
        mm_encoder_outputs=_as_encoded(features(views)) if views else None,
        attention_mask=visible.to(vlm.device),
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
    return TokenLogprobs(values, owner, torch.bincount(owner, minlength=branches))


def _ids(layout: Layout, image_token_id: int) -> Tensor:
    return torch.from_numpy(np.where(layout.symbols < 0, image_token_id, layout.symbols)).unsqueeze(0)


def _images(layout: Layout, image_tokens: int, features: FeatureStore) -> Any:
    """Features of the images in the order of their columns; an image at the head of two trees comes twice."""
    if not layout.views:
        return None
    view = (-layout.symbols[layout.image_columns] - 1).reshape(-1, image_tokens)[:, 0] // image_tokens
    return _as_encoded(features([layout.views[i] for i in view]))


def _as_encoded(features: Tensor) -> Any:
    """Features [images, image tokens, hidden] as the model's own encoder would hand them on."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    rows: Any = list(features)
    return {"image": BaseModelOutputWithPooling(pooler_output=rows)}
