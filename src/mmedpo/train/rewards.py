"""Rewards of the tokens of own answers from what the model itself sees (FiSAO, Cui et al. 2024), a reconstruction.

FiSAO scores a token by how much the vision encoder finds it in the image, with a text encoder of the same space. A
model that is tuned here has no text encoder beside its vision tower; its projector puts the image among its own words,
so a token is compared with the image there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmedpo.engine import Branch, Engine
from mmedpo.train.groups import BranchPair, Group, edited_tokens

MARGIN = 0.1
"""lambda of FiSAO, in standard deviations of the similarity."""


def token_rewards(similarity: Tensor, right: float, wrong: float, margin: float = MARGIN) -> Tensor:
    """[tokens] s - mu_right where s > mu_right + margin, s - mu_wrong where s < mu_wrong - margin, else 0.

    Args:
        similarity: [tokens] of token and image, standardised.
        right: its mean over tokens of true answers.
        wrong: its mean over tokens of hallucinated ones.
        margin: lambda.
    """
    zero = torch.zeros_like(similarity)
    praised = torch.where(similarity > right + margin, similarity - right, zero)
    return torch.where(similarity < wrong - margin, similarity - wrong, praised)


def rewarded(engine: Engine, groups: Sequence[Group]) -> list[Group]:
    """The groups with a reward for every token of the sampled side of their text pairs.

    mu_right and mu_wrong are means over the tokens in which truth and sampled answer differ.
    """
    pairs = [pair for group in groups for pair in group if pair.kind == "text" and pair.rejected is not None]
    seen = {branch: similarity(engine, branch) for pair in pairs for branch in (pair.chosen, pair.rejected) if branch}
    every = torch.cat(list(seen.values()))
    mean, deviation = every.mean(), every.std().clamp(min=1e-6)
    scaled = {branch: (values - mean) / deviation for branch, values in seen.items()}
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for pair in pairs:
        assert pair.rejected is not None
        edited = edited_tokens(pair.chosen.response, pair.rejected.response, 1.0, kept=0.0)
        for side, branch, weights in zip(sides, (pair.chosen, pair.rejected), edited, strict=True):
            side.append(scaled[branch][torch.tensor(weights) > 0])
    right, wrong = (float(torch.cat(side).nan_to_num().mean()) for side in sides)

    def given(pair: BranchPair) -> BranchPair:
        if pair.kind != "text" or pair.rejected is None:
            return pair
        return replace(pair, rewards=tuple(token_rewards(scaled[pair.rejected], right, wrong).tolist()))

    return [[given(pair) for pair in group] for group in groups]


@torch.no_grad()
def similarity(engine: Engine, branch: Branch) -> Tensor:
    """[tokens] largest cosine of each answer token's word vector and a place of the image, on the CPU."""
    rows = [row.flatten(0, -2) for image in engine.features(branch.views) for row in image.rows]
    places = normalize(torch.cat(rows).float(), dim=-1)
    words = engine.vlm.base.get_input_embeddings().weight
    tokens = torch.tensor(branch.response, device=words.device)
    return (normalize(words[tokens].float(), dim=-1) @ places.to(words.device).T).max(-1).values.cpu()
