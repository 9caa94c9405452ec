"""Branch log-probabilities against the plain Hugging Face forward on one unpadded sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmedpo.engine import FeatureStore, branch_logprobs, build_branch, logprobs_in_batches
from mmedpo.errors import ModelError, TrainingError

IMAGES = {
    Path(name): np.random.default_rng(i).integers(0, 256, (128, 128), dtype=np.uint8) for i, name in enumerate("ab")
}


@pytest.fixture
def features(small_vlm):
    return FeatureStore(small_vlm, IMAGES.__getitem__)


def branch(vlm, view, question, answer):
    return build_branch(vlm, Path(view), question, answer, max_length=1024, owner="example-1")


def plain(vlm, item):
    """log pi(answer + EOS | image, question) from pixels, one sequence, the stock forward."""
    ids = torch.tensor([[*item.prompt, *item.response]])
    logits = vlm.model(input_ids=ids, pixel_values=vlm.pixel_values([IMAGES[item.view]])).logits[0]
    logprobs = logits.log_softmax(-1)
    start = len(item.prompt)
    return sum(logprobs[start + t - 1, token].item() for t, token in enumerate(item.response))


def test_padded_batch_equals_single_plain_forwards(small_vlm, features):
    branches = [
        branch(small_vlm, "a", "is there a nodule?", "yes"),
        branch(small_vlm, "b", "is there a nodule?", "yes"),
        branch(
            small_vlm,
            "a",
            "where is the mass in this long question about the left zone?",
            "a small mass in the right zone",
        ),
        branch(small_vlm, "b", "plane?", "AP"),
        # The same question on the same image: these share a row with the first, and one is the other's beginning.
        branch(small_vlm, "a", "is there a nodule?", "no"),
        branch(small_vlm, "a", "is there a nodule?", "yes a small nodule"),
    ]
    result = branch_logprobs(small_vlm, branches, features)
    expected = [plain(small_vlm, item) for item in branches]
    np.testing.assert_allclose(result.total.detach().numpy(), expected, rtol=1e-5)
    assert result.tokens.tolist() == [len(item.response) for item in branches]
    assert abs(expected[0] - expected[1]) > 1e-3, "the image must matter in this test"


def test_gradients_equal_single_plain_forwards(small_vlm, features):
    weight = small_vlm.model.get_parameter("model.language_model.layers.0.mlp.up_proj.weight")
    weight.requires_grad_(True)
    items = [branch(small_vlm, "a", "is there a mass?", answer) for answer in ("yes", "no", "a left mass")]
    items.append(branch(small_vlm, "b", "is there a mass?", "yes"))
    coefficients = torch.tensor([1.0, -1.0, 0.5, -2.0])
    (branch_logprobs(small_vlm, items, features).total * coefficients).sum().backward()
    shared, weight.grad = weight.grad, None
    for item, coefficient in zip(items, coefficients, strict=True):
        (branch_logprobs(small_vlm, [item], features).total * coefficient).sum().backward()
    torch.testing.assert_close(shared, weight.grad, rtol=1e-4, atol=1e-5 * float(weight.grad.abs().max()))


def test_answer_ends_with_end_of_sequence(small_vlm):
    item = branch(small_vlm, "a", "is there a nodule?", "yes")
    assert item.response[-1] == small_vlm.tokenizer.eos_token_id
    assert item.prompt.count(small_vlm.image_token_id) == 64


def test_batches_and_repeats_change_nothing(small_vlm, features):
    items = [
        branch(small_vlm, view, "is there a mass?", answer) for view in "ab" for answer in ("yes", "no", "a left mass")
    ]
    together = logprobs_in_batches(small_vlm, [*items, items[0]], features, batch_size=64).total
    apart = logprobs_in_batches(small_vlm, items, features, batch_size=1).total
    np.testing.assert_allclose(together[:-1].numpy(), apart.numpy(), rtol=1e-5)
    assert together[-1] == together[0]


def test_too_long_names_the_example_and_the_lengths(small_vlm):
    with pytest.raises(TrainingError, match=r"example-1: \d+ tokens .*64 image.*limit of 70"):
        build_branch(
            small_vlm, Path("a"), "is there a nodule in the left upper zone?", "yes", max_length=70, owner="example-1"
        )


def test_a_question_with_a_placeholder_of_its_own_is_refused(small_vlm):
    with pytest.raises(ModelError, match="2 image placeholders"):
        small_vlm.prompt_ids("<image> is there a nodule?")


def test_an_empty_answer_is_refused(small_vlm):
    with pytest.raises(ModelError, match="no tokens"):
        small_vlm.answer_ids("  ")


def test_a_lost_image_token_is_an_error_not_a_shift(small_vlm, features):
    item = branch(small_vlm, "a", "is there a nodule?", "yes")
    cut = torch.tensor([[token for i, token in enumerate(item.prompt) if i != 5]])
    with pytest.raises(ModelError, match="do not match 64 image features"):
        small_vlm.embed(cut, features([Path("a")]))
