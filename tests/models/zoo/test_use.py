"""Every family: prompts as its own processor writes them, generation, adapters, parts, trained projectors."""

from __future__ import annotations

import re
from itertools import zip_longest

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.config import LoraSettings, ModelSettings, TrainSettings
from mmedpo.engine import Asked, Branch, Engine, FeatureStore
from mmedpo.engine.accounting import kept_bytes, pass_cost
from mmedpo.engine.support import trie_refusal
from mmedpo.errors import ModelError
from mmedpo.models.family import Size
from mmedpo.models.generation import Decoding
from mmedpo.models.hub import load_model, load_outline, load_tuned, make_trainable, open_parts
from mmedpo.records import IMAGE_PLACE
from models.zoo.pictures import SIZES, VIEWS, read, stock_inputs, stock_logprobs
from models.zoo.processors import own_processor

QUESTION = "is there a nodule?"
ASKED = [(VIEWS[:1], QUESTION), (VIEWS[1:2], "which plane is shown?"), (VIEWS[2:], QUESTION)]
SEVERAL = [(VIEWS[:2], QUESTION), (VIEWS[1:], "is there a nodule in <image> or in <image>?")]
"""Views and question; two views stand before a question, or between its words."""


def asked_of(vlm):
    return [*ASKED, *(SEVERAL if vlm.family.several else ())]


def test_several_pictures_are_refused_where_each_would_be_cut_up_otherwise_than_alone(zoo_folder):
    vlm = load_model(ModelSettings(name=str(zoo_folder("llava_onevision")), device="cpu"))
    with pytest.raises(ModelError, match="several images in a question in another way than one"):
        vlm.prompt_ids(QUESTION, [SIZES["wide"], SIZES["tall"]])


def test_prompt_ids_are_those_of_the_checkpoints_own_processor(vlm, monkeypatch):
    processor = own_processor(vlm, monkeypatch)
    for views, question in asked_of(vlm):
        pictures = [Image.fromarray(read(view)).convert("RGB") for view in views]
        ours = vlm.prompt_ids(question, [SIZES[view.name] for view in views])
        if vlm.family.templated:
            pieces = question.split(IMAGE_PLACE) if IMAGE_PLACE in question else [*[""] * len(views), question]
            content = [part for piece, picture in zip_longest(pieces, pictures) for part in typed(piece, picture)]
            turns = [{"role": "user", "content": content}]
            theirs = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=True)
        else:
            asked = question.replace(IMAGE_PLACE, "")
            theirs = processor(images=[pictures], text=f"{IMAGE_PLACE * len(views)}{asked}")["input_ids"]
        assert ours == list(np.array(theirs).flatten())


def typed(piece, picture):
    """A text and the picture behind it as parts of a message; what is empty is no part."""
    return [
        *([{"type": "text", "text": piece}] if piece else []),
        *([{"type": "image", "image": picture}] if picture is not None else []),
    ]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.tuples(st.integers(1, 400), st.integers(1, 400)))
@example(size=(1, 1))
@example(size=(1, 400))
def test_the_number_of_image_tokens_follows_from_the_size_alone(shared_vlm, size):
    picture = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    try:
        counted = shared_vlm.family.image_tokens(Size(*size))
    except ModelError as refused:
        with pytest.raises(ModelError, match=re.escape(str(refused))):
            shared_vlm.encode([picture])
        assert max(size) / min(size) > 100
        return
    assert shared_vlm.encode([picture])[0].tokens == counted


@torch.no_grad()
def test_batched_answers_are_those_of_one_by_one_and_of_the_stock_loop_from_pixels(vlm):
    asked = asked_of(vlm)
    engine = Engine(vlm, FeatureStore(vlm, read), max_tokens=4096)
    together = engine.answers([Asked(*one) for one in asked], Decoding(6))
    for answer, (views, question) in zip(together, asked, strict=True):
        assert engine.answers([Asked(views, question)], Decoding(6)) == [answer]
        ids = vlm.prompt_ids(question, [SIZES[view.name] for view in views])
        prompt, generated = len(ids), []
        for _ in range(6):
            logits = vlm.model(**stock_inputs(vlm, views, [*ids, *generated], prompt)).logits[0, -1]
            generated.append(int(logits.argmax()))
            if generated[-1] in vlm.family.stops:
                break
        assert answer.text == vlm.decode([token for token in generated if token not in vlm.family.stops])


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    longest=st.integers(1, 14),
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_shared_answers_are_those_of_stock_generation(exact_vlm, data, longest, temperature, seed):
    picked = st.lists(st.sampled_from(asked_of(exact_vlm)), min_size=2, max_size=6)
    asked = [Asked(*one) for one in data.draw(picked)]
    engine = Engine(exact_vlm, FeatureStore(exact_vlm, read), max_tokens=4096)
    decoding, seeds = Decoding(longest, temperature, 0.95), [seed + number for number in range(len(asked))]
    assert not trie_refusal(exact_vlm.text_config)
    shared = engine.answers(asked, decoding, seeds)
    engine.form = "plain"
    assert engine.answers(asked, decoding, seeds) == shared


@torch.no_grad()
def test_an_adapter_is_loaded_by_plain_peft_as_it_was(vlm, folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    for parameter in vlm.model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0.0, 0.2)
    adapted = [name for name, module in vlm.base.named_modules() if hasattr(module, "lora_A")]
    assert adapted
    assert {vlm.family.part(name) for name in adapted} == {"language_model"}
    vlm.model.save_pretrained(tmp_path)
    sizes = (SIZES["wide"],)
    branch = Branch(VIEWS[:1], tuple(vlm.prompt_ids(QUESTION, sizes)), tuple(vlm.answer_ids("yes")), sizes)
    expected = stock_logprobs(vlm, branch)
    plain = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    before = vlm.model
    vlm.model = PeftModel.from_pretrained(plain.eval(), str(tmp_path)).eval()
    torch.testing.assert_close(stock_logprobs(vlm, branch), expected, rtol=0, atol=0)
    again = load_tuned(ModelSettings(name=str(folder), device="cpu"), tmp_path)
    torch.testing.assert_close(stock_logprobs(again, branch), expected, rtol=0, atol=0)
    with before.disable_adapter():
        vlm.model = before
        assert float((stock_logprobs(vlm, branch) - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("parts", [("projector",), ("vision_tower", "projector")], ids=["projector", "tower"])
def test_a_trained_projector_or_tower_gets_the_gradients_of_the_stock_forward(vlm, parts):
    open_parts(vlm, parts)
    trained = [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
    assert trained
    engine = Engine(vlm, FeatureStore(vlm, read), max_tokens=4096)
    batch = []
    for views, question in asked_of(vlm)[1:4]:
        sizes = tuple(SIZES[view.name] for view in views)
        batch.append(Branch(views, tuple(vlm.prompt_ids(question, sizes)), tuple(vlm.answer_ids("yes")), sizes))
    expected = torch.cat([stock_logprobs(vlm, item) for item in batch])
    theirs = torch.autograd.grad(expected.sum(), trained, allow_unused=True)
    for _ in range(2):
        values = engine.logprobs(batch).values
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(values.sum(), trained, allow_unused=True)
    # What the features do not depend on (a last layer behind the chosen one, a pooling head) has none in both.
    assert [gradient is None for gradient in ours] == [gradient is None for gradient in theirs]
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None]
    norm = sum(float(b.norm()) ** 2 for _, b in pairs) ** 0.5
    assert norm > 1e-3
    assert sum(float((a - b).norm()) ** 2 for a, b in pairs) ** 0.5 / norm < 1e-5


@torch.no_grad()
def test_a_question_without_any_image_is_measured_as_by_a_pass_over_its_words(vlm):
    """What language alone would answer: packed with others and plain."""
    prompt = vlm.prompt_ids(QUESTION, [])
    assert vlm.image_token_id not in prompt
    alone = [Branch((), tuple(prompt), tuple(vlm.answer_ids(answer))) for answer in ("yes", "no, there is none")]
    sizes = (SIZES["wide"],)
    shown = Branch(VIEWS[:1], tuple(vlm.prompt_ids(QUESTION, sizes)), alone[0].response, sizes)
    forms = [Engine(vlm, FeatureStore(vlm, read), max_tokens=4096, form=form) for form in ("packed", "plain")]
    values, plain = (engine.measure([*alone, shown]).totals().tolist() for engine in forms)
    assert np.allclose(values, plain, atol=1e-3)
    for branch, value in zip(alone, values, strict=False):
        ids = torch.tensor([[*branch.prompt, *branch.response]])
        types = vlm.family.token_types(ids[0].tolist(), len(branch.prompt))
        given = {name: torch.tensor([row]) for name, row in types.items() if name == "token_type_ids"}
        logits = vlm.model(input_ids=ids, **given).logits[0].log_softmax(-1)
        places = range(len(branch.prompt) - 1, ids.shape[1] - 1)
        expected = sum(float(logits[place, token]) for place, token in zip(places, branch.response, strict=True))
        assert abs(value - expected) < 1e-3
    assert abs(values[0] - values[2]) > 1e-3


def test_what_a_trained_vision_side_keeps_is_known_without_weights(folder):
    """Within 15 % of what autograd keeps of a real pass; towers read grids and empty tiles while they compute."""
    whole = TrainSettings(tune="full", parts=("language_model", "projector", "vision_tower"))
    outline, real = (load(ModelSettings(name=str(folder), device="cpu")) for load in (load_outline, load_model))
    for vlm in (outline, real):
        make_trainable(vlm, whole, 0)
        vlm.model.train()
    sizes = (SIZES["wide"],)
    branch = Branch(
        VIEWS[:1], tuple(outline.prompt_ids(QUESTION, sizes)), tuple(outline.answer_ids("yes, there is")), sizes
    )
    kept = kept_bytes(lambda: real.encode([read(VIEWS[0])]), real.model.parameters())
    assert pass_cost(outline, [branch]).vision == pytest.approx(kept, rel=0.15)
