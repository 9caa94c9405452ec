"""Branches, log-probabilities and their accounting on a model of the tiny architecture, from pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmedpo.engine import Branch, Engine, FeatureStore, build_branch
from mmedpo.errors import ModelError, TrainingError

IMAGES = {
    Path(name): np.random.default_rng(i).integers(0, 256, (128, 128), dtype=np.uint8) for i, name in enumerate("ab")
}


@pytest.fixture
def engine(small_vlm):
    return Engine(small_vlm, FeatureStore(small_vlm, IMAGES.__getitem__), max_tokens=4096)


def branch(vlm, view, question, answer):
    return build_branch(vlm, [Path(view)], question, answer, max_length=1024, owner="example-1")


def plain(vlm, item):
    """log pi(answer + EOS | image, question) from pixels, one sequence, the stock forward."""
    ids = torch.tensor([[*item.prompt, *item.response]])
    logits = vlm.model(input_ids=ids, pixel_values=vlm.inputs(IMAGES[item.views[0]])["pixel_values"]).logits[0]
    logprobs = logits.log_softmax(-1)
    start = len(item.prompt)
    return [logprobs[start + t - 1, token].item() for t, token in enumerate(item.response)]


def questions_and_answers(vlm):
    return [
        branch(vlm, "a", "is there a nodule?", "yes"),
        branch(vlm, "b", "is there a nodule?", "yes"),
        branch(
            vlm, "a", "where is the mass in this long question about the left zone?", "a small mass in the right zone"
        ),
        branch(vlm, "b", "plane?", "AP"),
        branch(vlm, "a", "is there a nodule?", "no"),
        branch(vlm, "a", "is there a nodule?", "yes a small nodule"),
    ]


@pytest.mark.parametrize("form", ["packed", "dense", "plain"])
def test_every_form_equals_the_stock_forward_on_single_sequences_from_pixels(engine, form):
    branches = questions_and_answers(engine.vlm)
    engine.form = form
    result = engine.logprobs(branches)
    expected = [plain(engine.vlm, item) for item in branches]
    np.testing.assert_allclose(result.values.detach().numpy(), np.concatenate(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.totals().detach().numpy(), [sum(row) for row in expected], rtol=1e-5)
    assert result.tokens.tolist() == [len(item.response) for item in branches]
    assert abs(sum(expected[0]) - sum(expected[1])) > 1e-3, "the image must matter in this test"


def test_token_weights_scale_each_token(engine):
    branches = questions_and_answers(engine.vlm)[:2]
    result = engine.logprobs(branches)
    weights = torch.arange(len(result.values), dtype=torch.float32)
    n = len(branches[0].response)
    expected = (result.values * weights)[:n].sum()
    assert result.totals(weights)[0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_stock_generation_is_the_same_with_the_engine_around_the_model(small_vlm_folder):
    from mmedpo.config import ModelSettings
    from mmedpo.models.generation import Decoding, stock_answers
    from mmedpo.models.hub import load_model

    answers = []
    for wrap in (False, True):
        vlm = load_model(ModelSettings(name=str(small_vlm_folder), device="cpu"))
        features = FeatureStore(vlm, IMAGES.__getitem__)
        if wrap:
            Engine(vlm, features, max_tokens=4096)
        asked = ["is there a nodule?", "where is the mass in this long question?"]
        prompts = [vlm.prompt_ids(question) for question in asked]
        answers.append(stock_answers(vlm, prompts, features.each([[Path("a")], [Path("b")]]), Decoding(8)))
    assert answers[0] == answers[1]


def test_answer_ends_with_end_of_sequence(small_vlm):
    item = branch(small_vlm, "a", "is there a nodule?", "yes")
    assert item.response[-1] == small_vlm.tokenizer.eos_token_id
    assert item.prompt.count(small_vlm.image_token_id) == 64


@pytest.mark.parametrize("form", ["packed", "plain"])
def test_bins_and_repeats_change_nothing(engine, form):
    engine.form = form
    items = [
        branch(engine.vlm, view, "is there a mass?", answer) for view in "ab" for answer in ("yes", "no", "a left mass")
    ]
    together = engine.measure([*items, items[0]]).totals()
    engine.max_tokens = max(len(item.prompt) + len(item.response) for item in items)
    assert len(engine.bins([[item] for item in items])) > 1
    apart = engine.measure(items).totals()
    np.testing.assert_allclose(together[:-1].numpy(), apart.numpy(), rtol=1e-5)
    assert together[-1] == together[0]


@pytest.mark.parametrize("form", ["packed", "plain"])
def test_what_fits_no_forward_pass_says_which_setting_to_raise(engine, form):
    engine.form, engine.max_tokens = form, 50
    with pytest.raises(TrainingError, match=r"engine.max_tokens=50; raise engine.max_tokens"):
        engine.measure(questions_and_answers(engine.vlm))


def test_too_long_names_the_example_and_the_lengths(small_vlm):
    with pytest.raises(TrainingError, match=r"example-1: \d+ tokens .*64 image.*limit of 70"):
        build_branch(
            small_vlm, [Path("a")], "is there a nodule in the left upper zone?", "yes", max_length=70, owner="example-1"
        )


def test_longer_than_the_models_context_is_refused_whatever_the_setting(small_vlm):
    small_vlm.base.config.text_config.max_position_embeddings = 80
    with pytest.raises(TrainingError, match="limit of 80"):
        build_branch(small_vlm, [Path("a")], "is there a nodule? " * 8, "yes", max_length=4096, owner="example-1")


def test_a_question_with_a_placeholder_of_its_own_is_refused(small_vlm):
    with pytest.raises(ModelError, match="2 image placeholders"):
        small_vlm.prompt_ids("<image> is there a nodule?")


def test_an_empty_answer_is_refused(small_vlm):
    with pytest.raises(ModelError, match="no tokens"):
        small_vlm.answer_ids("  ")


def test_a_lost_image_token_is_an_error_not_a_shift(engine):
    item = branch(engine.vlm, "a", "is there a nodule?", "yes")
    cut = Branch(item.views, tuple(token for i, token in enumerate(item.prompt) if i != 5), item.response)
    with pytest.raises(ModelError, match="63 image placeholders for 1 image"):
        engine.logprobs([cut])
    hidden = Branch(item.views, item.prompt, (engine.vlm.image_token_id, item.response[-1]))
    with pytest.raises(ModelError, match="image placeholders"):
        engine.logprobs([hidden])
