"""Loading checkpoints and attaching adapters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmedpo.config import LoraSettings, ModelSettings, Part, TrainSettings
from mmedpo.errors import ModelError
from mmedpo.models.checkpoints import checkpoint_path
from mmedpo.models.vlm import VisionLanguageModel


def load_model(settings: ModelSettings) -> VisionLanguageModel:
    """Loads a LLaVA checkpoint with its tokenizer and image processor, in evaluation mode.

    Raises:
        ModelError: not a LLaVA architecture, no chat template, or no image token.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        CLIPImageProcessorPil,
        LlavaForConditionalGeneration,
    )

    path = checkpoint_path(settings.name)
    config = AutoConfig.from_pretrained(path)
    if config.model_type != "llava":
        raise ModelError(f"checkpoint {settings.name!r} is of type {config.model_type!r}; supported: llava")
    device = _device(settings.device)
    model: Any = LlavaForConditionalGeneration.from_pretrained(path, dtype=getattr(torch, settings.dtype))
    model = model.to(device).eval()
    model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.chat_template is None:
        raise ModelError(f"checkpoint {settings.name!r} has no chat template; add chat_template.jinja to its folder")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    vision = config.vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2
    if config.vision_feature_select_strategy == "full":
        tokens += 1
    return VisionLanguageModel(
        model=model,
        tokenizer=tokenizer,
        image_processor=CLIPImageProcessorPil.from_pretrained(path),
        image_token_id=int(config.image_token_id),
        image_tokens=tokens,
        name=settings.name,
    )


def make_trainable(vlm: VisionLanguageModel, settings: TrainSettings, seed: int) -> None:
    """Opens the parts of a frozen model that `settings` trains, in place.

    Either a fresh LoRA adapter on every linear layer of the parts (paper, implementation details: on
    the language model, r = 128, alpha = 256; the head that predicts tokens is left alone), or all of
    their weights.
    """
    vlm.trained = frozenset(settings.parts)
    if settings.tune == "lora":
        _attach_adapter(vlm, settings.lora, seed)
        return
    for name, parameter in vlm.model.named_parameters():
        # The head belongs to the language model, also where it is not tied to the embeddings.
        part = "language_model" if "lm_head" in name else _part_of(name)
        parameter.requires_grad_(part in settings.parts)


def _attach_adapter(vlm: VisionLanguageModel, settings: LoraSettings, seed: int) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    targets = [
        name
        for name, module in vlm.model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head") and _part_of(name) in vlm.trained
    ]
    if not targets:
        raise ModelError(
            f"{vlm.name!r} has no linear layers in {', '.join(sorted(vlm.trained))}; cannot attach an adapter"
        )
    # A generator of its own: the adapter's start must not depend on what was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vlm.model = get_peft_model(
            vlm.model,
            LoraConfig(
                r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
            ),
        )


def _part_of(name: str) -> Part | None:
    """The part of the model that a module or parameter belongs to."""
    marks: dict[str, Part] = {
        "language_model": "language_model",
        "multi_modal_projector": "projector",
        "vision_tower": "vision_tower",
    }
    return next((part for mark, part in marks.items() if mark in name), None)


def load_tuned(settings: ModelSettings, folder: Path) -> VisionLanguageModel:
    """Loads what training wrote: the target model with a trained adapter, or a whole checkpoint.

    Raises:
        ModelError: the folder holds neither.
    """
    if (folder / "config.json").exists():
        return load_model(settings.model_copy(update={"name": str(folder)}))
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(f"no adapter at {folder}: expected adapter_model.safetensors; run `mmedpo train RUN` first")
    from peft import PeftModel

    vlm = load_model(settings)
    vlm.model = PeftModel.from_pretrained(vlm.model, str(folder)).eval()
    return vlm


def _device(wanted: str) -> str:
    import torch

    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {wanted!r} was asked for, but no CUDA device is visible; use cpu or auto")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    # One of several processes takes the device of its number.
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if wanted == "cuda" else wanted
