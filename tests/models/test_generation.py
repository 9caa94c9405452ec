"""Decoding: greedy equals the stock loop, samples follow the model's distribution and their own seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mmedpo.config import ModelSettings
from mmedpo.errors import ModelError
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.hub import load_model

IMAGE = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
QUESTIONS = ["is there a nodule?", "a much longer question about the mass in the left upper zone", "AP?"]


@pytest.fixture
def features(small_vlm):
    return [small_vlm.encode([IMAGE])]


def test_greedy_equals_step_by_step_argmax(small_vlm, features):
    batch = generate_answers(small_vlm, QUESTIONS, features * 3, Decoding(6))
    for question, answer in zip(QUESTIONS, batch, strict=True):
        ids, generated = small_vlm.prompt_ids(question), []
        for _ in range(6):
            logits = small_vlm.model(input_ids=torch.tensor([[*ids, *generated]]), **small_vlm.inputs(IMAGE)).logits[
                0, -1
            ]
            token = int(logits.argmax())
            if token == small_vlm.tokenizer.eos_token_id:
                break
            generated.append(token)
        assert answer.text == small_vlm.decode(generated)


def test_a_sample_does_not_depend_on_its_neighbours(small_vlm, features):
    decoding = Decoding(5, temperature=1.0, top_p=0.9)
    together = generate_answers(small_vlm, QUESTIONS, features * 3, decoding, [11, 12, 13])
    alone = [
        generate_answers(small_vlm, [question], features, decoding, [seed])[0]
        for question, seed in zip(QUESTIONS, [11, 12, 13], strict=True)
    ]
    assert together == alone
    other = generate_answers(small_vlm, QUESTIONS, features * 3, decoding, [21, 22, 23])
    assert other != together


def test_samples_follow_the_softmax(small_vlm, features):
    n, temperature = 600, 0.25
    ids = torch.tensor([small_vlm.prompt_ids("AP?")])
    logits = small_vlm.model(input_ids=ids, **small_vlm.inputs(IMAGE)).logits[0, -1]
    probabilities = (logits / temperature).softmax(-1)
    likely = int(probabilities.argmax())
    share = probabilities[likely].item()
    assert 0.02 < share < 0.98, "the test needs a distribution that is neither flat nor certain"
    answers = generate_answers(
        small_vlm, ["AP?"] * n, features * n, Decoding(1, temperature=temperature), list(range(n))
    )
    found = Counter(answer.text for answer in answers)[small_vlm.decode([likely])] / n
    assert abs(found - share) < 4 * (share * (1 - share) / n) ** 0.5 + 0.02


def test_an_answer_cut_by_the_limit_is_marked(small_vlm, features):
    answers = generate_answers(small_vlm, ["AP?"], features, Decoding(1))
    assert answers[0].finished == (answers[0].text == "")


def test_sampling_without_seeds_is_refused(small_vlm, features):
    with pytest.raises(ValueError, match="one seed per question"):
        generate_answers(small_vlm, ["AP?"], features, Decoding(1, temperature=1.0))


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelError, match="expected 'tiny' or a local folder"):
        load_model(ModelSettings(name=str(tmp_path)))


def test_pickled_weights_are_never_loaded(small_vlm_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((small_vlm_folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no \\*.safetensors"):
        load_model(ModelSettings(name=str(tmp_path)))
