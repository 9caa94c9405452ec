"""Every family: prompts as its own processor writes them, generation, adapters, parts, trained projectors."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.config import LoraSettings, ModelSettings, TrainSettings
from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.errors import ModelError
from mmedpo.models.family import Size
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.hub import load_tuned, make_trainable, open_parts
from models.zoo.pictures import SIZES, VIEWS, read, stock_inputs, stock_logprobs

QUESTION = "is there a nodule?"
ASKED = [(VIEWS[0], QUESTION), (VIEWS[1], "which plane is shown?"), (VIEWS[2], QUESTION)]


def own_processor(vlm):
    """The checkpoint's own processor, where it can be built without torchvision."""
    from transformers import Gemma3Processor, Idefics3Processor, LlavaNextProcessor, LlavaProcessor, PaliGemmaProcessor

    kind, config = vlm.base.config.model_type, vlm.base.config
    template = vlm.tokenizer.chat_template
    if kind in ("llava", "llava_next"):
        return (LlavaProcessor if kind == "llava" else LlavaNextProcessor)(
            vlm.image_processor,
            vlm.tokenizer,
            patch_size=config.vision_config.patch_size,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            num_additional_image_tokens=1,
            chat_template=template,
        )
    if kind == "gemma3":
        return Gemma3Processor(vlm.image_processor, vlm.tokenizer, chat_template=template, image_seq_length=4)
    if kind == "paligemma":
        vlm.image_processor.image_seq_length = 4
        return PaliGemmaProcessor(vlm.image_processor, vlm.tokenizer)
    if kind == "idefics3":
        return Idefics3Processor(vlm.image_processor, vlm.tokenizer, image_seq_len=4, chat_template=template)
    return None


def test_prompt_ids_are_those_of_the_checkpoints_own_processor(vlm):
    processor = own_processor(vlm)
    if processor is None:
        pytest.skip("its processor wants torchvision or num2words")
    for view, question in ASKED:
        picture = Image.fromarray(read(view)).convert("RGB")
        ours = vlm.prompt_ids(question, [SIZES[view.name]])
        if vlm.family.templated:
            content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
            turns = [{"role": "user", "content": content}]
            theirs = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=True)
        else:
            theirs = processor(images=picture, text=f"<image>{question}")["input_ids"]
        assert ours == list(np.array(theirs).flatten())


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
    features = vlm.encode([read(view) for view, _ in ASKED])
    questions = [question for _, question in ASKED]
    together = generate_answers(vlm, questions, features, Decoding(6))
    for answer, question, feature, (view, _) in zip(together, questions, features, ASKED, strict=True):
        assert generate_answers(vlm, [question], [feature], Decoding(6)) == [answer]
        ids = vlm.prompt_ids(question, [SIZES[view.name]])
        prompt, generated = len(ids), []
        for _ in range(6):
            logits = vlm.model(**stock_inputs(vlm, (view,), [*ids, *generated], prompt)).logits[0, -1]
            generated.append(int(logits.argmax()))
            if generated[-1] in vlm.family.stops:
                break
        assert answer.text == vlm.decode([token for token in generated if token not in vlm.family.stops])


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
    for view, question in ASKED:
        sizes = (SIZES[view.name],)
        batch.append(Branch((view,), tuple(vlm.prompt_ids(question, sizes)), tuple(vlm.answer_ids("yes")), sizes))
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
