"""QLoRA: a language model in 4 bits computes, and is trained beside, as its weights read back would be."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from mmedpo.config import LoraSettings, ModelSettings, RunSettings, TrainSettings
from mmedpo.engine import Asked, Branch, Engine, FeatureStore
from mmedpo.errors import ModelError
from mmedpo.models import quantised
from mmedpo.models.generation import Decoding
from mmedpo.models.hub import load_model, load_outline, load_tuned, make_trainable
from mmedpo.models.quantised import held_bytes, language_layers, read_back
from models.zoo.pictures import SIZES, VIEWS, read

KINDS = ["llava_mistral", "qwen2_5_vl"]
LORA = TrainSettings(lora=LoraSettings(rank=4, alpha=8))


@pytest.fixture(scope="module", params=KINDS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def held(folder):
    pytest.importorskip("bitsandbytes")
    return load_model(ModelSettings(name=str(folder), device="cpu", quantise="nf4"))


@pytest.fixture
def as_held(shared_vlm, held):
    """A model in full whose weights are those the 4-bit one computes with."""
    vlm = deepcopy(shared_vlm)
    for path in language_layers(vlm.model, vlm.family):
        vlm.model.get_submodule(path).weight.data = read_back(held.model.get_submodule(path))
    return vlm


def asked(vlm):
    def branch(view, question, answer):
        sizes = (SIZES[view.name],)
        return Branch((view,), tuple(vlm.prompt_ids(question, sizes)), tuple(vlm.answer_ids(answer)), sizes)

    questions, answers = ("is there a nodule?", "which plane is shown?"), ("yes", "no, there is none")
    return [branch(VIEWS[0], question, answer) for question in questions for answer in answers]


def opened(vlm):
    vlm = deepcopy(vlm)
    make_trainable(vlm, LORA, seed=0)
    torch.manual_seed(1)
    trained = [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data.normal_(0.0, 0.2)
    return Engine(vlm, FeatureStore(vlm, read), max_tokens=4096), trained


def test_log_probs_and_adapter_gradients_are_those_of_the_weights_read_back(held, as_held, shared_vlm):
    (ours, trained), (theirs, reference) = opened(held), opened(as_held)
    batch = asked(held)
    found, expected = ours.logprobs(batch).values, theirs.logprobs(batch).values
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found.sum(), trained)
    for one, other in zip(gradients, torch.autograd.grad(expected.sum(), reference), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    # Four bits are not the weights themselves.
    assert (opened(shared_vlm)[0].logprobs(batch).values - found).abs().max() > 1e-3


def test_answers_are_those_of_the_weights_read_back(held, as_held):
    questions = [Asked(VIEWS[:1], "is there a nodule?"), Asked(VIEWS[:1], "which plane is shown?")]

    def answers(vlm):
        return Engine(vlm, FeatureStore(vlm, read), max_tokens=4096).answers(questions, Decoding(6))

    assert answers(held) == answers(as_held)


def test_only_the_language_model_is_held_so_and_its_bytes_are_known_before(held, folder):
    outline = load_outline(ModelSettings(name=str(folder), device="cpu"))
    scales = [
        value.nbytes
        for path in language_layers(outline.model, outline.family)
        for state in [held.model.get_submodule(path).weight.quant_state]
        for value in (state.absmax, state.code, state.state2.absmax, state.state2.code, state.offset)
    ]
    total = sum(value.nbytes for value in held.model.parameters()) + sum(scales)
    assert held_bytes(outline.model, outline.family) == pytest.approx(total, rel=0.01)
    in_bytes = {held.family.part(name) for name, value in held.model.named_parameters() if value.dtype == torch.uint8}
    assert in_bytes == {"language_model"}


def test_an_adapter_is_saved_and_loaded_beside_it(held, folder, tmp_path):
    engine, _ = opened(held)
    engine.vlm.model.save_pretrained(tmp_path)
    again = load_tuned(ModelSettings(name=str(folder), device="cpu", quantise="nf4"), tmp_path)
    batch = asked(held)
    with torch.no_grad():
        found = Engine(again, FeatureStore(again, read), max_tokens=4096).logprobs(batch).values
        torch.testing.assert_close(found, engine.logprobs(batch).values)


def test_a_kernel_with_a_wrong_gradient_is_refused(folder, monkeypatch):
    pytest.importorskip("bitsandbytes")
    settings = ModelSettings(name=str(folder), device="cpu", quantise="nf4")
    monkeypatch.setattr(quantised, "read_back", lambda held: 1.1 * read_back(held))
    with pytest.raises(ModelError, match=r"give a wrong gradient on cpu \(relative difference 0.09"):
        load_model(settings)


def test_without_its_library_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r"needs bitsandbytes; install mmedpo\[qlora\]"):
        load_model(ModelSettings(name=str(folder), device="cpu", quantise="nf4"))


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"train": {"tune": "full"}}, "train.tune=lora"),
        ({"finetune": {"epochs": 1}}, "finetune=null"),
        ({"rounds": 2}, "rounds=1"),
    ],
)
def test_what_would_change_its_weights_is_refused(change, needed):
    with pytest.raises(ValueError, match=f"model.quantise=nf4 needs {needed}"):
        RunSettings.model_validate({"model": {"quantise": "nf4"}, **change})
