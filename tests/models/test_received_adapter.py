"""An adapter of a received run is data: it names no module to import and no place to load from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from mmedpo.errors import ModelError
from mmedpo.models.hub import _check_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    LoraConfig(r=2, lora_alpha=4, lora_dropout=0.1, target_modules=["q", "v"], inference_mode=True).save_pretrained(
        tmp_path
    )
    return tmp_path


def test_an_adapter_as_training_writes_it_is_taken(adapter: Path) -> None:
    _check_adapter(adapter)


@pytest.mark.parametrize(
    "changed",
    [
        {"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "/etc", "prompt_tuning_init": "TEXT"},
        {"peft_type": "PROMPT_TUNING"},
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"revision": "main"},
        {"layer_replication": [[0, 1_000_000]]},
        {"init_lora_weights": "pissa"},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"r": "two"},
        {"r": 10**9},
        {"unknown": 1},
    ],
    ids=str,
)
def test_an_adapter_of_another_making_is_one_line(adapter: Path, changed: dict[str, Any]) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(ModelError, match=r"was not written by mmedpo|is damaged") as caught:
        _check_adapter(adapter)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"r": 1e999}'])
def test_a_configuration_that_is_none_is_one_line(adapter: Path, text: str) -> None:
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError):
        _check_adapter(adapter)
