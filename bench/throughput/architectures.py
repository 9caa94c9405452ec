"""How a checkpoint of each architecture is configured, with random weights and one token a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.throughput.models import Shape


@dataclass(frozen=True)
class Architecture:
    """What differs between architectures."""

    tokens: tuple[str, ...]
    """Special tokens of images."""
    prompt: str
    """What stands for an image in a prompt, before its place is taken by as many tokens as it has."""
    config: Callable[[Shape, Any], Any]
    """Of the model, given sizes and tokenizer."""
    images: Callable[[Shape], Any]
    """Its image processor."""
    named: dict[str, str] = field(default_factory=dict)
    """Attributes of the tokenizer that name some of the tokens."""


def _text(shape: Shape, tokenizer: Any, **changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **changes,
    }


def _tower(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_intermediate,
        "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": shape.vision_heads,
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
    }


def _llava(shape: Shape, tokenizer: Any) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, MistralConfig

    sizes = _text(shape, tokenizer)
    mistral = shape.architecture == "llava-mistral"
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**_tower(shape)),
        text_config=MistralConfig(**sizes, sliding_window=None) if mistral else LlamaConfig(**sizes),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=shape.image_tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def _clip_images(shape: Shape) -> Any:
    from transformers import CLIPImageProcessorPil

    size = {"height": shape.image_size, "width": shape.image_size}
    return CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)


def _qwen(shape: Shape, tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    half = shape.hidden // shape.heads // 2
    side = 3 * half // 8
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [half - 2 * side, side, side]}
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_intermediate,
            "num_heads": shape.vision_heads,
            "patch_size": shape.patch_size,
            "spatial_merge_size": shape.merged,
            "out_hidden_size": shape.hidden,
            "window_size": 8 * shape.patch_size,
            # As published: every eighth layer looks at the whole image.
            "fullatt_block_indexes": [*range(7, shape.vision_layers, 8)] or [shape.vision_layers - 1],
        },
        text_config=_text(shape, tokenizer, rope_parameters=rope),
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _qwen_images(shape: Shape) -> Any:
    from transformers import Qwen2VLImageProcessorPil

    pixels = shape.image_size**2
    return Qwen2VLImageProcessorPil(patch_size=shape.patch_size, min_pixels=pixels, max_pixels=pixels)


def _gemma(shape: Shape, tokenizer: Any) -> Any:
    from transformers import Gemma3Config, SiglipVisionConfig

    # As published: five layers that look back 1,024 tokens, then one that looks back to the start.
    kinds = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(shape.layers)]
    marks = ("<image_soft_token>", "<start_of_image>", "<end_of_image>")
    image, opening, closing = tokenizer.convert_tokens_to_ids(list(marks))
    return Gemma3Config(
        vision_config=SiglipVisionConfig(**_tower(shape), vision_use_head=False).to_dict(),
        text_config=_text(shape, tokenizer, head_dim=shape.head_size, sliding_window=1024, layer_types=kinds),
        mm_tokens_per_image=shape.image_tokens,
        image_token_index=image,
        boi_token_index=opening,
        eoi_token_index=closing,
        tie_word_embeddings=False,
    )


def _gemma_images(shape: Shape) -> Any:
    from transformers import Gemma3ImageProcessorPil

    size = {"height": shape.image_size, "width": shape.image_size}
    return Gemma3ImageProcessorPil(size=size, image_seq_length=shape.image_tokens)


_QWEN = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
_GEMMA = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
ARCHITECTURES = {
    "llava-llama": Architecture(("<image>",), "<image>", _llava, _clip_images),
    "llava-mistral": Architecture(("<image>",), "<image>", _llava, _clip_images),
    "qwen2_5_vl": Architecture(_QWEN, "".join(_QWEN[:3]), _qwen, _qwen_images),
    "gemma3": Architecture(tuple(_GEMMA.values()), "<start_of_image>", _gemma, _gemma_images, _GEMMA),
}


def _llava_processor(folder: Path, config: Any, tokenizer: Any) -> Any:
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(folder),
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def _qwen_processor(folder: Path, config: Any, tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessorPil

    class Pictures(Qwen2_5_VLProcessor):  # type: ignore[misc]
        """Without a video processor, which wants torchvision; nothing here is a video."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return type(argument)

    videos = SimpleNamespace(merge_size=2, temporal_patch_size=2, model_input_names=[])
    images = Qwen2VLImageProcessorPil.from_pretrained(folder)
    return Pictures(images, tokenizer, video_processor=videos, chat_template=tokenizer.chat_template)


def _gemma_processor(folder: Path, config: Any, tokenizer: Any) -> Any:
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor

    images = Gemma3ImageProcessorPil.from_pretrained(folder)
    return Gemma3Processor(
        images, tokenizer, image_seq_length=config.mm_tokens_per_image, chat_template=tokenizer.chat_template
    )


PROCESSORS: dict[str, Callable[[Path, Any, Any], Any]] = {
    "llava": _llava_processor,
    "qwen2_5_vl": _qwen_processor,
    "gemma3": _gemma_processor,
}
"""By `model_type`."""
