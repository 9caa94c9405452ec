"""The engine against its definition: plain sequences, one per branch, through the model's stock forward.

Property-based over random batches: shared images, shared questions, answers that begin alike or are
beginnings of each other, one-token answers, several images in one prompt.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.families import EOS, IMAGE, IMAGE_TOKENS, TEXTS, VIEWS, read_view, small_model
from mmedpo.config import LoraSettings, TermSettings, TrainSettings
from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.engine.support import TRIE_TYPES
from mmedpo.errors import TrainingError
from mmedpo.models.hub import make_trainable

# Two letters make common beginnings frequent.
WORDS = st.lists(st.sampled_from([10, 11]), max_size=5)
PICTURE = st.sampled_from(VIEWS)


@st.composite
def branch(draw):
    """`<s> text (image text)* answer </s>` with one or two images."""
    prompt, views = [1, *draw(WORDS)], []
    for view in draw(st.lists(PICTURE, min_size=1, max_size=2)):
        views.append(view)
        prompt += [IMAGE] * IMAGE_TOKENS + draw(WORDS)
    answer = draw(WORDS)
    return Branch(tuple(views), tuple(prompt), (*answer, EOS))


BATCHES = st.lists(branch(), min_size=1, max_size=8, unique=True)


def tuned_engine(family):
    """A model with a LoRA adapter whose both matrices are away from zero."""
    vlm = small_model(family)
    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    torch.manual_seed(1)
    for parameter in vlm.model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0.0, 0.2)
    return Engine(vlm, FeatureStore(vlm, read_view), max_tokens=4096)


BUILT = [pytest.param(text, marks=pytest.mark.long) if text in ("phi3", "qwen2") else text for text in TEXTS]
"""Those that differ least from another one, or that no model of the field has, take a minute and are long tests."""


@pytest.fixture(scope="module", params=BUILT)
def engine(request):
    return tuned_engine(request.param)


@pytest.fixture(scope="module", params=BUILT)
def double_engine(request):
    engine = tuned_engine(request.param)
    engine.vlm.model.double()
    return engine


def plainly(vlm, item):
    """[answer tokens] log-probs of one branch from ids and pixels, nothing of the engine involved."""
    ids = torch.tensor([[*item.prompt, *item.response]])
    pixels = torch.cat([vlm.inputs(read_view(view))["pixel_values"] for view in item.views])
    logits = vlm.model(input_ids=ids, pixel_values=pixels).logits[0].log_softmax(-1)
    rows = range(len(item.prompt) - 1, len(item.prompt) + len(item.response) - 1)
    return torch.stack([logits[row, token] for row, token in zip(rows, item.response, strict=True)])


def adapter_gradients(vlm, loss):
    parameters = [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss, parameters)


def apart(ours, theirs):
    """Norm of the difference of two lists of gradients, over the norm of the second."""
    norm = sum(float(gradient.norm()) ** 2 for gradient in theirs) ** 0.5
    difference = sum(float((a - b).norm()) ** 2 for a, b in zip(ours, theirs, strict=True)) ** 0.5
    return difference / norm if norm else difference


@pytest.mark.parametrize("form", ["packed", "dense"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=BATCHES, seed=st.integers(0, 99))
def test_logprobs_and_every_adapter_gradient_equal_single_sequences(engine, form, batch, seed):
    engine.form = form
    result = engine.logprobs(batch)
    expected = torch.cat([plainly(engine.vlm, item) for item in batch])
    torch.testing.assert_close(result.values, expected, rtol=1e-5, atol=1e-5)
    coefficients = torch.randn(len(expected), generator=torch.Generator().manual_seed(seed))
    ours = adapter_gradients(engine.vlm, (result.values * coefficients).sum())
    theirs = adapter_gradients(engine.vlm, (expected * coefficients).sum())
    assert apart(ours, theirs) < 1e-5


@pytest.mark.parametrize("form", ["packed", "dense"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=BATCHES)
def test_in_double_precision_they_are_equal_to_ten_digits(double_engine, form, batch):
    """A wrong mask or position could not hide in the rounding of these. (Gradients are no sharper than in single
    precision: normalisation inside the language models is computed in it.)"""
    double_engine.form = form
    values = double_engine.logprobs(batch).values
    with torch.no_grad():
        expected = torch.cat([plainly(double_engine.vlm, item) for item in batch])
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(batch=BATCHES, max_tokens=st.integers(40, 80))
def test_bins_do_not_change_the_summed_gradient(engine, batch, max_tokens):
    engine.form = "packed"
    whole = adapter_gradients(engine.vlm, engine.logprobs(batch).values.sum())
    engine.max_tokens = max_tokens
    try:
        parts = engine.bins([[item] for item in batch])
    finally:
        engine.max_tokens = 4096
    assert sorted(number for part in parts for number in part) == list(range(len(batch)))
    summed = [torch.zeros_like(gradient) for gradient in whole]
    for part in parts:
        loss = engine.logprobs([batch[number] for number in part]).values.sum()
        summed = [a + b for a, b in zip(summed, adapter_gradients(engine.vlm, loss), strict=True)]
    assert apart(summed, whole) < 1e-5


def test_activation_checkpointing_and_training_mode_change_nothing(engine):
    batch = [Branch((view,), (1, *[IMAGE] * IMAGE_TOKENS, 10), (answer, EOS)) for view in VIEWS for answer in (20, 21)]
    engine.form = "packed"
    before = engine.logprobs(batch)
    expected = adapter_gradients(engine.vlm, before.totals().square().sum())
    engine.vlm.base.activation_checkpointing_enable({"use_reentrant": False})
    engine.vlm.model.train()
    try:
        after = engine.logprobs(batch)
        again = adapter_gradients(engine.vlm, after.totals().square().sum())
    finally:
        engine.vlm.base.activation_checkpointing_disable()
        engine.vlm.model.eval()
    torch.testing.assert_close(after.values, before.values, rtol=1e-6, atol=1e-6)
    for left, right in zip(again, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_the_frozen_tower_never_requires_a_gradient(engine):
    features = engine.features([VIEWS[0]])
    assert not features[0].rows[0].requires_grad
    assert not any(p.requires_grad for name, p in engine.vlm.model.named_parameters() if "vision_tower" in name)


def test_a_batch_of_one_image_costs_its_distinct_prefixes(engine):
    image = [IMAGE] * IMAGE_TOKENS
    questions = [(1, *image, 10 + q, 20, 21) for q in range(5)]
    batch = [Branch((VIEWS[0],), prompt, (a, EOS)) for prompt in questions for a in (30, 31)]
    # Opening and image once, three tokens per question, one per answer (EOS predicts nothing).
    expected = 1 + IMAGE_TOKENS + 5 * 3 + 10
    from mmedpo.engine.logprobs import layout_of

    assert layout_of(engine.vlm, batch).columns == expected


def test_agreement_is_rounding_for_shown_families(engine):
    batch = [Branch((VIEWS[0],), (1, *[IMAGE] * IMAGE_TOKENS, 10), (answer, EOS)) for answer in (20, 21, 22)]
    engine.form = "packed"
    agreement = engine.settle(batch, strict=True, message=pytest.fail)
    assert agreement.logprob < 1e-4
    assert agreement.gradient < 1e-4
    assert engine.form == "packed"


def _unshown(strict):
    vlm = small_model("olmo2")
    engine = Engine(vlm, FeatureStore(vlm, read_view), max_tokens=4096)
    batch = [Branch((VIEWS[0],), (1, *[IMAGE] * IMAGE_TOKENS, 10), (answer, EOS)) for answer in (20, 21)]
    said = []
    engine.settle(batch, strict=strict, message=said.append)
    values = engine.logprobs(batch).values
    np.testing.assert_allclose(
        values.detach(), torch.cat([plainly(vlm, item) for item in batch]).detach(), rtol=1e-5, atol=1e-5
    )
    return engine, said


def test_another_family_falls_back_to_plain_sequences_with_one_line():
    engine, said = _unshown(strict=False)
    assert engine.form == "plain"
    assert len(said) == 1
    assert f"'olmo2' were not shown to be exact (shown: {', '.join(TRIE_TYPES)})" in said[0]


def test_strict_stops_instead_of_falling_back():
    with pytest.raises(TrainingError, match=r"'olmo2' were not shown.*engine.packing=off"):
        _unshown(strict=True)


def _settled_with_attention_that(monkeypatch, forward):
    """The engine after it met a model whose last layer attends by `forward(stock, self, trie, mask, arguments)`."""
    vlm = small_model("llama")
    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    engine = Engine(vlm, FeatureStore(vlm, read_view), max_tokens=4096)
    batch = [Branch((VIEWS[0],), (1, *[IMAGE] * IMAGE_TOKENS, 10), (answer, 12, EOS)) for answer in (20, 21)]
    layer = vlm.base.model.language_model.layers[1].self_attn
    stock = type(layer).forward

    def replaced(self, *args, trie=None, attention_mask=None, **kwargs):
        return forward(lambda **chosen: stock(self, *args, **chosen, **kwargs), trie, attention_mask)

    monkeypatch.setattr(layer, "forward", replaced.__get__(layer))
    said = []
    engine.settle(batch, strict=False, message=said.append)
    assert len(said) == 1
    return engine, said[0]


def test_a_model_whose_attention_is_not_ours_shares_prefixes_by_a_dense_mask(monkeypatch):
    engine, said = _settled_with_attention_that(
        monkeypatch,
        lambda stock, trie, mask: stock(attention_mask=None if trie is not None else mask),
    )
    assert engine.form == "dense"
    assert "one dense mask, which takes more memory: packed and plain log-probs differ by" in said


def test_a_model_that_lets_packed_answers_see_each_other_is_caught_and_computed_plainly(monkeypatch):
    engine, said = _settled_with_attention_that(
        monkeypatch,
        lambda stock, trie, mask: stock(attention_mask=None if mask is not None and mask.dim() == 4 else mask),
    )
    assert engine.form == "plain"
    assert "prefix sharing is off: packed and plain log-probs differ by" in said


def test_one_token_weight_zero_gives_no_gradient_and_ln_2_at_the_reference(engine):
    from mmedpo.train.forms import View
    from mmedpo.train.groups import BranchPair
    from mmedpo.train.objectives import Objective
    from mmedpo.train.values import pair_values

    engine.form = "packed"
    prompt = (1, *[IMAGE] * IMAGE_TOKENS, 10)
    chosen, rejected = Branch((VIEWS[0],), prompt, (20, EOS)), Branch((VIEWS[1],), prompt, (20, EOS))
    policy = engine.logprobs([chosen, rejected])
    reference = dict(zip([chosen, rejected], torch.split(policy.values.detach(), policy.tokens.tolist()), strict=True))
    objective = Objective((TermSettings(),), beta=0.1)
    for weight in (1.25, 0.0):
        pairs = [BranchPair("p", "visual", chosen, rejected, weight)]
        loss = objective.sum({View(): pair_values(pairs, [chosen, rejected], policy, reference)})
        assert loss.item() == pytest.approx(weight * math.log(2), abs=1e-6)
        gradients = torch.autograd.grad(loss, policy.values, retain_graph=True)[0]
        assert bool((gradients != 0).any()) == (weight > 0)


def test_changing_only_the_rejected_image_changes_loss_and_gradient(engine):
    from mmedpo.train.forms import View
    from mmedpo.train.groups import BranchPair
    from mmedpo.train.objectives import Objective
    from mmedpo.train.values import pair_values

    engine.form = "packed"
    prompt = (1, *[IMAGE] * IMAGE_TOKENS, 10)
    chosen = Branch((VIEWS[0],), prompt, (20, 21, EOS))
    results = []
    for view in VIEWS[1:]:
        rejected = Branch((view,), prompt, (20, 21, EOS))
        policy = engine.logprobs([chosen, rejected])
        reference = {item: torch.zeros(3) for item in (chosen, rejected)}
        pairs = [BranchPair("p", "visual", chosen, rejected, 1.0)]
        values = pair_values(pairs, [chosen, rejected], policy, reference)
        loss = Objective((TermSettings(),), beta=0.1).sum({View(): values})
        results.append((loss.item(), adapter_gradients(engine.vlm, loss)))
    assert abs(results[0][0] - results[1][0]) > 1e-4
    assert any(float((a - b).abs().max()) > 1e-5 for a, b in zip(results[0][1], results[1][1], strict=True))


def test_whole_distributions_are_those_of_plain_sequences_and_bring_their_gradient(engine):
    from mmedpo.train.values import divergences

    prompt = (1, *[IMAGE] * IMAGE_TOKENS, 10)
    branches = [Branch((VIEWS[0],), prompt, answer) for answer in ((20, 21, EOS), (20, 22, EOS))]
    found = {}
    for form in ("packed", "plain"):
        engine.form = form
        policy = engine.logprobs(branches)
        with torch.no_grad(), engine.vlm.model.disable_adapter():
            frozen = engine.logprobs(branches)
        found[form] = divergences(policy, frozen)
    for packed, plain in zip(found["packed"], found["plain"], strict=True):
        assert torch.allclose(packed, plain, atol=1e-5)
        assert bool((plain > 0).all())
    # The first token of both answers is predicted at one place.
    assert found["packed"][0][0] == found["packed"][0][3]
    gradients = adapter_gradients(engine.vlm, found["plain"][0].sum() + found["plain"][1].sum())
    assert any(float(gradient.abs().max()) > 1e-6 for gradient in gradients)
