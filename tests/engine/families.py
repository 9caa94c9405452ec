"""Small LLaVA models with language models of several families, random weights, for exactness tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmedpo.models.families.llava import Llava
from mmedpo.models.family import Loaded
from mmedpo.models.vlm import VisionLanguageModel

VOCABULARY, IMAGE, PAD, EOS = 40, 3, 0, 2
SIDE, PATCH = 28, 14
IMAGE_TOKENS = (SIDE // PATCH) ** 2
TEXTS = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma")
"""Types of language models a LLaVA is built on here; the others of `TRIE_TYPES` stand in `tests/models/zoo`."""
VIEWS = tuple(Path(f"view-{letter}") for letter in "abc")


class Words:
    """What the engine needs of a tokenizer: ids for padding and for the end."""

    pad_token_id, eos_token_id = PAD, EOS

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"<{token}>"


def text_config(family: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(
        family,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=256,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=1,
        **changes,
    )


def small_model(family: str, **changes: Any) -> VisionLanguageModel:
    """A LLaVA whose images and texts make a difference one can measure."""
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(family, **changes),
        image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
    )
    torch.manual_seed(7)
    model = LlavaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(4.0)
    model.requires_grad_(False)
    processor = CLIPImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return VisionLanguageModel(model, Llava(Loaded(model, Words(), processor), family), family)


def read_view(view: Path) -> np.ndarray:
    seed = VIEWS.index(view) if view in VIEWS else sum(str(view).encode())
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
