"""What autograd keeps of a pass: less of it, and the same gradients to the last bit."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from engine.families import EOS, IMAGE, IMAGE_TOKENS, TEXTS, VIEWS, read_view, small_model
from mmedpo.config import LoraSettings, TrainSettings
from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.engine import engine as of_engine
from mmedpo.engine.accounting import kept_bytes
from mmedpo.engine.rebuild import Rebuilding, copied
from mmedpo.models.hub import make_trainable


def feed_forward(seed=0):
    """silu(x G) * (x U), then D: the weights, and a function of them."""
    generator = torch.Generator().manual_seed(seed)
    x, *weights = (torch.randn(*shape, generator=generator) for shape in [(64, 8), (8, 32), (8, 32), (32, 8)])
    weights = [weight.requires_grad_() for weight in weights]

    def compute():
        gate, up = x @ weights[0], x @ weights[1]
        return ((silu(gate) * up).view(2, 32, 32).view(64, 32) @ weights[2]).square().sum()

    return weights, compute


def test_a_feed_forward_layer_keeps_its_two_halves_alone_and_gives_the_same_gradients():
    weights, compute = feed_forward()
    expected = torch.autograd.grad(compute(), weights)
    with Rebuilding():
        loss = compute()
    for _ in range(2):  # a graph that is kept can be gone through again
        ours = torch.autograd.grad(loss, weights, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))

    def without_copies():
        with Rebuilding():
            return compute()

    wide = 64 * 32 * 4
    assert kept_bytes(compute, weights) - kept_bytes(without_copies, weights) == 2 * wide


def test_heads_of_keys_shared_by_queries_get_the_gradient_of_all_their_copies():
    parts = [torch.randn(1, 2, length, 3, requires_grad=True) for length in (4, 5)]
    with Rebuilding():
        joined = copied(parts, 2, shared=3)
        loss = (joined.square() * torch.arange(6.0).view(1, 6, 1, 1)).sum()
    whole = torch.cat(parts, dim=2)
    assert torch.equal(joined, whole.repeat_interleave(3, dim=1))
    # Copies 0, 1, 2 are of head 0 and 3, 4, 5 of head 1: their factors add up to 3 and to 12.
    expected = 2 * whole * torch.tensor([3.0, 12.0]).view(1, 2, 1, 1)
    gradients = torch.autograd.grad(loss, parts)
    torch.testing.assert_close(torch.cat(gradients, dim=2), expected)


@pytest.mark.parametrize("family", TEXTS)
def test_a_pass_keeps_less_and_gives_the_same_gradients_to_the_last_bit(family, monkeypatch):
    vlm = small_model(family)
    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    trained = [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
    torch.manual_seed(1)
    for parameter in trained:
        parameter.data.normal_(0.0, 0.2)
    engine = Engine(vlm, FeatureStore(vlm, read_view), max_tokens=4096)
    prompts = [(1, *[IMAGE] * IMAGE_TOKENS, *words) for words in ([10, 11] * 20, [11, 12] * 20, [12] * 30)]
    branches = [Branch((VIEWS[0],), prompt, (answer, EOS)) for prompt in prompts for answer in (20, 21)]
    found = {}
    for way in (Rebuilding, nullcontext):
        monkeypatch.setattr(of_engine, "Rebuilding", way)
        values = engine.logprobs(branches).values
        kept = kept_bytes(lambda: engine.logprobs(branches).values, vlm.model.parameters())
        found[way] = values, torch.autograd.grad(values.sum(), trained), kept
    ours, theirs = found[Rebuilding], found[nullcontext]
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(a, b) for a, b in zip(ours[1], theirs[1], strict=True))
    assert ours[2] < 0.75 * theirs[2]
    assert np.isfinite(ours[2])
