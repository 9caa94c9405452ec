"""Models of a run as they are loaded: the adapter merged where that changes nothing, beside the weights elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmedpo.config import LoraSettings, ModelSettings, TrainSettings
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.models.slots import load_asked, load_slot
from mmedpo.run import Slot


@pytest.fixture(scope="module")
def adapter(small_vlm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes every layer."""
    vlm = load_model(ModelSettings(name=str(small_vlm_folder), device="cpu"))
    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in vlm.model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    folder = tmp_path_factory.mktemp("adapter")
    vlm.model.save_pretrained(str(folder))
    return folder


@torch.no_grad()
def test_a_model_that_is_asked_has_its_adapter_merged_and_says_the_same(small_vlm_folder: Path, adapter: Path) -> None:
    settings = ModelSettings(name=str(small_vlm_folder), device="cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    base = load_slot(Slot("base", settings)).model(input_ids=ids).logits
    beside = load_slot(Slot("tuned", settings, (adapter,)))
    merged = load_asked(Slot("tuned", settings, (adapter,)))
    assert any("lora" in name for name, _ in beside.model.named_parameters())
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    assert not any(parameter.requires_grad for parameter in merged.model.parameters())
    own = merged.model(input_ids=ids).logits
    torch.testing.assert_close(own, beside.model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    assert (own - base).abs().max() > 1e-2


def test_in_a_narrow_type_the_adapter_stays_beside_the_weights(small_vlm_folder: Path, adapter: Path) -> None:
    settings = ModelSettings(name=str(small_vlm_folder), device="cpu", dtype="bfloat16")
    asked = load_asked(Slot("tuned", settings, (adapter,)))
    assert any("lora" in name for name, _ in asked.model.named_parameters())


def test_a_prompt_is_tokenised_once_and_nobody_can_change_it(small_vlm_folder: Path, monkeypatch) -> None:
    vlm = load_model(ModelSettings(name=str(small_vlm_folder), device="cpu"))
    counted = []
    whole = vlm.family.prompt
    monkeypatch.setattr(vlm.family, "prompt", lambda *given: counted.append(given) or whole(*given))
    first = vlm.prompt_ids("is there a nodule?")
    kept = list(first)
    first.append(0)
    assert vlm.prompt_ids("is there a nodule?") == kept
    assert vlm.prompt_ids("is there a mass?") != kept
    assert len(counted) == 2
