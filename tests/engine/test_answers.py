"""Decoding: greedy equals the stock loop, samples follow the model and their own seed, what is shared is read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedpo.engine import Asked, Branch, Engine, FeatureStore
from mmedpo.engine import answers as answers_module
from mmedpo.errors import ModelError
from mmedpo.models.generation import Decoding, read_answer, stock_answers

PICTURES = {
    Path(name): np.random.default_rng(seed).integers(0, 256, (128, 128), dtype=np.uint8)
    for seed, name in enumerate("abc")
}
QUESTIONS = ["is there a nodule?", "a much longer question about the mass in the left upper zone", "AP?"]
ON_ONE = [Asked((Path("a"),), question) for question in QUESTIONS]
IMAGE = 64
"""Tokens of an image."""


def engine_of(vlm, max_tokens=4096, kept_tokens=16_384):
    return Engine(vlm, FeatureStore(vlm, PICTURES.__getitem__), max_tokens, kept_tokens=kept_tokens)


@pytest.fixture
def engine(small_vlm):
    return engine_of(small_vlm)


@pytest.fixture(scope="module")
def exact_engine(small_vlm_folder):
    """In float64, where no two tokens tie; every fifth token ends an answer, so that they end one after the other."""
    from mmedpo.config import ModelSettings
    from mmedpo.models.hub import load_model

    vlm = load_model(ModelSettings(name=str(small_vlm_folder), device="cpu"))
    vlm.model.double()
    vlm.family.stops = frozenset(range(0, len(vlm.tokenizer), 5))
    return engine_of(vlm)


def by_stock(engine, asked, decoding, seeds=None):
    """The same by `model.generate`, each a batch of its own."""
    found = []
    for number, one in enumerate(asked):
        images = engine.features(one.views)
        ids = engine.vlm.prompt_ids(one.question, [image.size for image in images])
        own = None if seeds is None else [seeds[number]]
        found.append(read_answer(engine.vlm, stock_answers(engine.vlm, [ids], [images], decoding, own)[0]))
    return found


@pytest.fixture
def passes(small_vlm, monkeypatch):
    """Columns of every forward pass of the language model."""
    seen = []
    forward = small_vlm.model.forward

    def noting(*args, **inputs):
        seen.append(inputs["input_ids"].shape[1])
        assert inputs["input_ids"].shape[0] == 1
        return forward(*args, **inputs)

    monkeypatch.setattr(small_vlm.model, "forward", noting)
    return seen


def test_greedy_equals_step_by_step_argmax(small_vlm, engine):
    for asked, answer in zip(ON_ONE, engine.answers(ON_ONE, Decoding(6)), strict=True):
        ids, generated = small_vlm.prompt_ids(asked.question), []
        for _ in range(6):
            inputs = small_vlm.inputs(PICTURES[Path("a")])
            logits = small_vlm.model(input_ids=torch.tensor([[*ids, *generated]]), **inputs).logits[0, -1]
            token = int(logits.argmax())
            if token == small_vlm.tokenizer.eos_token_id:
                break
            generated.append(token)
        assert answer.text == small_vlm.decode(generated)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.builds(
            Asked,
            st.lists(st.sampled_from(list(PICTURES)), min_size=1, max_size=2).map(tuple),
            st.sampled_from(QUESTIONS),
        ),
        min_size=1,
        max_size=7,
    ),
    longest=st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_p=st.sampled_from([0.8, 1.0]),
    bounds=st.sampled_from([(4096, 16_384), (150, 16_384), (4096, 200), (1, 1)]),
    seed=st.integers(0, 1000),
)
@pytest.mark.long
def test_answers_are_those_of_stock_generation_one_by_one(
    exact_engine, asked, longest, temperature, top_p, bounds, seed
):
    decoding, seeds = Decoding(longest, temperature, top_p), [seed + number for number in range(len(asked))]
    exact_engine.max_tokens, exact_engine.kept_tokens = bounds
    assert exact_engine.answers(asked, decoding, seeds) == by_stock(exact_engine, asked, decoding, seeds)


def test_a_sample_does_not_depend_on_its_neighbours(engine):
    decoding = Decoding(5, temperature=1.0, top_p=0.9)
    together = engine.answers(ON_ONE, decoding, [11, 12, 13])
    assert together == [
        engine.answers([asked], decoding, [seed])[0] for asked, seed in zip(ON_ONE, [11, 12, 13], strict=True)
    ]
    assert engine.answers(ON_ONE, decoding, [21, 22, 23]) != together


def test_samples_follow_the_softmax(small_vlm, engine):
    n, temperature = 600, 0.25
    ids = torch.tensor([small_vlm.prompt_ids("AP?")])
    logits = small_vlm.model(input_ids=ids, **small_vlm.inputs(PICTURES[Path("a")])).logits[0, -1]
    probabilities = (logits / temperature).softmax(-1)
    likely = int(probabilities.argmax())
    share = probabilities[likely].item()
    assert 0.02 < share < 0.98, "the test needs a distribution that is neither flat nor certain"
    answers = engine.answers(ON_ONE[2:] * n, Decoding(1, temperature=temperature), list(range(n)))
    found = Counter(answer.text for answer in answers)[small_vlm.decode([likely])] / n
    assert abs(found - share) < 4 * (share * (1 - share) / n) ** 0.5 + 0.02


def test_an_image_and_a_question_are_read_once_and_then_only_new_tokens(small_vlm, engine, passes):
    asked = [one for one in ON_ONE for _ in range(4)]
    engine.answers(asked, Decoding(5, temperature=1.0), list(range(12)))
    once = [small_vlm.prompt_ids(question) for question in QUESTIONS]
    # `<image>` opens each prompt behind `<s>`: what follows may begin alike, which is shared as well.
    assert IMAGE < passes[0] <= sum(len(ids) for ids in once) - 2 * IMAGE
    assert len(passes) <= 5
    assert passes[1] <= 12
    assert passes[1:] == sorted(passes[1:], reverse=True), "an answer that has ended takes part in no pass"


def test_a_batch_holds_at_most_what_the_settings_say(small_vlm, passes):
    asked = [Asked((picture,), question) for picture in PICTURES for question in QUESTIONS for _ in range(3)]
    free = engine_of(small_vlm).answers(asked, Decoding(4))
    assert len([columns for columns in passes if columns > IMAGE]) == 1
    passes.clear()
    assert engine_of(small_vlm, max_tokens=200).answers(asked, Decoding(4)) == free
    assert max(passes) <= 200
    passes.clear()
    # A prompt of 75 tokens or so and 4 of its answer: two answers to a question fit, three do not.
    assert engine_of(small_vlm, kept_tokens=95).answers(asked, Decoding(4)) == free
    assert max(columns for columns in passes if columns < IMAGE) < 9


def test_a_penalty_of_the_checkpoint_is_followed(small_vlm, engine):
    plain = engine.answers(ON_ONE, Decoding(8))
    small_vlm.model.generation_config.repetition_penalty = 1.8
    penalised = engine.answers(ON_ONE, Decoding(8))
    assert penalised != plain
    assert penalised == by_stock(engine, ON_ONE, Decoding(8))


def test_whatever_else_a_checkpoint_asks_for_is_left_to_its_own_generate(small_vlm, engine, monkeypatch):
    plain = engine.answers(ON_ONE, Decoding(8))
    prompt, images = small_vlm.prompt_ids(ON_ONE[0].question), engine.features(ON_ONE[0].views)
    ((first,),) = stock_answers(small_vlm, [prompt], [images], Decoding(1))
    small_vlm.model.generation_config.suppress_tokens = [first]
    monkeypatch.setattr(answers_module, "_shared_batch", lambda *arguments: pytest.fail("shared"))
    own = engine.answers(ON_ONE, Decoding(8))
    assert own == by_stock(engine, ON_ONE, Decoding(8))
    assert own[0] != plain[0]


def test_stock_batches_are_bounded_too(small_vlm, monkeypatch):
    engine = engine_of(small_vlm, max_tokens=170)
    engine.form = "plain"
    sizes = []
    stock = answers_module.stock_answers
    monkeypatch.setattr(
        answers_module,
        "stock_answers",
        lambda vlm, prompts, *rest: sizes.append(len(prompts)) or stock(vlm, prompts, *rest),
    )
    assert engine.answers(ON_ONE[::2] * 2, Decoding(4)) == engine_of(small_vlm).answers(ON_ONE[::2] * 2, Decoding(4))
    assert sizes == [2, 2]


def test_an_answer_cut_by_the_limit_is_marked(engine):
    (answer,) = engine.answers(ON_ONE[2:], Decoding(1))
    assert answer.finished == (answer.text == "")


def test_sampling_without_seeds_is_refused(engine):
    with pytest.raises(ValueError, match="one seed per question"):
        engine.answers(ON_ONE, Decoding(1, temperature=1.0))


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(engine):
    with pytest.raises(ModelError, match=r"a prompt of \d+ tokens \(64 image\) and max_new_tokens=1000 exceed"):
        engine.answers(ON_ONE, Decoding(1000))


def test_no_questions_have_no_answers(engine):
    assert engine.answers([], Decoding(5)) == []


def test_answers_keep_no_graph_of_what_is_trained(engine, monkeypatch):
    import mmedpo.engine.engine as module

    engine.vlm.trained = frozenset({"projector"})
    engine.vlm.model.requires_grad_(True)
    seen = []

    def looking(vlm, asked, images, *rest, **more):
        seen.extend(value for image in images.values() for value in image.tensors().values())
        return []

    monkeypatch.setattr(module, "decode_answers", looking)
    engine.answers(ON_ONE, Decoding(max_new_tokens=2))
    assert seen
    assert not any(value.requires_grad for value in seen)


def greedy_branches(engine, asked, longest):
    """Each question with the model's own answer, up to the token that ends it or the limit."""
    found = []
    for one in asked:
        images = engine.features(one.views)
        ids = engine.vlm.prompt_ids(one.question, [image.size for image in images])
        row = stock_answers(engine.vlm, [ids], [images], Decoding(longest))[0]
        end = next((place for place, token in enumerate(row) if token in engine.vlm.family.stops), longest - 1)
        found.append(Branch(one.views, tuple(ids), tuple(row[: end + 1])))
    return found


def test_an_answer_that_is_the_models_own_is_not_decoded(exact_engine, monkeypatch):
    exact_engine.max_tokens, exact_engine.kept_tokens = 4096, 16_384
    asked = [Asked((picture,), question) for picture in PICTURES for question in QUESTIONS]
    own = greedy_branches(exact_engine, asked, 20)
    assert len({len(branch.response) for branch in own}) > 1, "the test needs answers that end, and others"
    expected, decoded = exact_engine.answers(asked, Decoding(20)), []
    answers = exact_engine.answers
    monkeypatch.setattr(exact_engine, "answers", lambda some, how: decoded.extend(some) or answers(some, how))
    # Of the first two another token is given: one in the midst, and the end itself.
    first, second = own[0].response, own[1].response
    given = [
        replace(own[0], response=((first[0] + 1) % 100, *first[1:])),
        replace(own[1], response=(*second[:-1], second[-1] + 5)),
        *own[2:],
    ]
    measured, found = exact_engine.measure_and_answer(given, asked, Decoding(20))
    assert found == expected
    assert decoded == asked[:2]
    assert torch.equal(measured.values, exact_engine.measure(given).values)
    # Cut by the limit, it would not be the answer.
    decoded.clear()
    shortest = min(len(branch.response) for branch in own)
    longer = [one for one, branch in zip(asked, own, strict=True) if len(branch.response) > shortest]
    assert exact_engine.measure_and_answer(own, asked, Decoding(shortest))[1] == answers(asked, Decoding(shortest))
    assert decoded == longer
    with pytest.raises(ModelError, match="exceed"):
        exact_engine.measure_and_answer(own, asked, Decoding(1000))


def test_where_the_likeliest_is_not_what_is_chosen_every_answer_is_decoded(exact_engine, monkeypatch):
    own = greedy_branches(exact_engine, ON_ONE, 20)
    monkeypatch.setattr(exact_engine.vlm.base.generation_config, "repetition_penalty", 1.8)
    found = exact_engine.measure_and_answer(own, ON_ONE, Decoding(20))[1]
    assert found == exact_engine.answers(ON_ONE, Decoding(20))
    assert [exact_engine.vlm.decode(branch.response[:-1]) for branch in own] != [one.text for one in found]
