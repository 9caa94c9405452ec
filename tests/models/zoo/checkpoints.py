"""Small random checkpoints of the true architectures, in the layout their makers publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HIDDEN = 32
IMAGE = "<image>"
WORDS = [
    "is there a nodule?",
    "which plane is shown?",
    "yes",
    "no, there is none",
    "AP",
    "in the right lower zone",
    "\n",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}{% if p['type'] == 'image' %}MARK"
    "{% else %}{{ p['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<image>\n{% else %}{{ p['text'] }}{% endif %}{% endfor %} {% else %}"
    "ASSISTANT: {{ m['content'][0]['text'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<start_of_image>{% else %}{{ p['text'] | trim }}"
    "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
IDEFICS = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}{% if m['content'][0]['type'] == 'image' %}:"
    "{% else %}: {% endif %}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}{% else %}<image>"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
TILES = ["<fake_token_around_image>", "<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5))]


def tokenizer(*specials: str, template: str | None, eos: str = "</s>", **named: str) -> Any:
    """A byte-level BPE tokenizer; one that ends texts with `</s>` puts `<s>` before them, as Llama's and Gemma's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    every = list(dict.fromkeys(["<pad>", "<s>", "</s>", *specials]))
    bare: Any = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=every,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(WORDS * 5, trainer)
    if eos == "</s>":
        bare.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=bare,
        pad_token="<pad>",
        bos_token="<s>" if eos == "</s>" else None,
        eos_token=eos,
        additional_special_tokens=list(specials),
        extra_special_tokens=named or None,
        chat_template=template,
    )


def text(words: Any, **changes: Any) -> dict[str, Any]:
    """Settings of a small language model."""
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 2048,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "tie_word_embeddings": False,
        **changes,
    }


def tower(side: int = 28, patch: int = 14, **changes: Any) -> dict[str, Any]:
    """Settings of a small CLIP or SigLIP."""
    return {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": patch,
        **changes,
    }


Parts = tuple[Any, Any, Any]
"""Model class's configuration, tokenizer, image processor."""
PINPOINTS = [[28, 56], [56, 28], [56, 56], [112, 112]]
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}


def llava_mistral() -> Parts:
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlavaConfig, MistralConfig

    words = tokenizer(IMAGE, template=LLAVA)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower()),
        text_config=MistralConfig(**text(words, sliding_window=8)),
        image_token_id=words.convert_tokens_to_ids(IMAGE),
    )
    return config, words, CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})


def llava_next() -> Parts:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextImageProcessorPil

    words = tokenizer(IMAGE, template=LLAVA)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**tower()),
        text_config=LlamaConfig(**text(words)),
        image_token_id=words.convert_tokens_to_ids(IMAGE),
        image_grid_pinpoints=PINPOINTS,
    )
    size = {"height": 28, "width": 28}
    return (
        config,
        words,
        LlavaNextImageProcessorPil(size={"shortest_edge": 28}, crop_size=size, image_grid_pinpoints=PINPOINTS),
    )


def llava_onevision() -> Parts:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionImageProcessorPil, Qwen2Config, SiglipVisionConfig

    words = tokenizer(
        IMAGE, "<|im_start|>", "<|im_end|>", template=CHATML.replace("MARK", "<image>\n"), eos="<|im_end|>"
    )
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**tower()),
        text_config=Qwen2Config(**text(words)),
        image_token_id=words.convert_tokens_to_ids(IMAGE),
        video_token_id=0,
        image_grid_pinpoints=PINPOINTS,
    )
    size = {"height": 28, "width": 28}
    return config, words, LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=PINPOINTS)


def _qwen(config_class: Any, patch: int, vision: dict[str, Any], **changes: Any) -> Parts:
    from transformers import Qwen2VLImageProcessorPil

    marks = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
    template = CHATML.replace("MARK", "".join(marks[:3]))
    words = tokenizer(*marks, "<|im_start|>", "<|im_end|>", template=template, eos="<|im_end|>")
    start, image, end, video = words.convert_tokens_to_ids(marks)
    config = config_class(
        vision_config={"depth": 2, "num_heads": 2, "patch_size": patch, **vision},
        text_config=text(words, rope_parameters=ROPE, **changes),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    unit = (2 * patch) ** 2
    return config, words, Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=2 * unit, max_pixels=8 * unit)


def qwen2_vl() -> Parts:
    from transformers import Qwen2VLConfig

    return _qwen(Qwen2VLConfig, 14, {"embed_dim": 16, "hidden_size": HIDDEN})


def qwen2_vl_window() -> Parts:
    from transformers import Qwen2VLConfig

    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    return _qwen(Qwen2VLConfig, 14, {"embed_dim": 16, "hidden_size": HIDDEN}, **window)


def qwen2_5_vl() -> Parts:
    from transformers import Qwen2_5_VLConfig

    vision = {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [1]}
    return _qwen(Qwen2_5_VLConfig, 14, {**vision, "window_size": 56})


def qwen3_vl() -> Parts:
    from transformers import Qwen3VLConfig

    vision = {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": HIDDEN, "deepstack_visual_indexes": [0, 1]}
    return _qwen(Qwen3VLConfig, 16, {**vision, "num_position_embeddings": 16}, head_dim=8)


def gemma3() -> Parts:
    from transformers import Gemma3Config, Gemma3ImageProcessorPil, SiglipVisionConfig

    marks = ["<image_soft_token>", "<start_of_image>", "<end_of_image>", "<start_of_turn>", "<end_of_turn>"]
    named = {"image_token": marks[0], "boi_token": marks[1], "eoi_token": marks[2]}
    words = tokenizer(*marks, template=GEMMA, **named)
    image, opening, closing = words.convert_tokens_to_ids(marks[:3])
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**tower(56, vision_use_head=False)).to_dict(),
        text_config=text(words, head_dim=8, sliding_window=16, layer_types=kinds),
        mm_tokens_per_image=4,
        image_token_index=image,
        boi_token_index=opening,
        eoi_token_index=closing,
    )
    return config, words, Gemma3ImageProcessorPil(size={"height": 56, "width": 56}, image_seq_length=4)


def _paligemma(text_config: dict[str, Any], words: Any) -> Parts:
    from transformers import PaliGemmaConfig, SiglipImageProcessorPil

    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **tower(projection_dim=HIDDEN, vision_use_head=False)},
        text_config=text_config,
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
        image_token_index=words.convert_tokens_to_ids(IMAGE),
    )
    processor = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    processor.image_seq_length = 4
    return config, words, processor


def paligemma() -> Parts:
    words = tokenizer(IMAGE, template=None)
    return _paligemma({"model_type": "gemma", **text(words, head_dim=8)}, words)


def paligemma2() -> Parts:
    words = tokenizer(IMAGE, template=None)
    caps = {"attn_logit_softcapping": 2.0, "sliding_window": 12, "query_pre_attn_scalar": 8}
    return _paligemma({"model_type": "gemma2", **text(words, head_dim=8, **caps)}, words)


def _tiled(config_class: Any, processor_class: Any) -> Parts:
    words = tokenizer(IMAGE, *TILES, "<|im_start|>", "<end_of_utterance>", template=IDEFICS, eos="<end_of_utterance>")
    config = config_class(
        vision_config=tower(32, 8),
        text_config={"model_type": "llama", **text(words)},
        image_token_id=words.convert_tokens_to_ids(IMAGE),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
    )
    return config, words, processor_class(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})


def smolvlm() -> Parts:
    from transformers import SmolVLMConfig, SmolVLMImageProcessorPil

    return _tiled(SmolVLMConfig, SmolVLMImageProcessorPil)


def idefics3() -> Parts:
    from transformers import Idefics3Config, Idefics3ImageProcessorPil

    return _tiled(Idefics3Config, Idefics3ImageProcessorPil)


def internvl() -> Parts:
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, Qwen2Config

    marks = ["<IMG_CONTEXT>", "<img>", "</img>", "<|im_start|>", "<|im_end|>"]
    named = {"context_image_token": marks[0], "start_image_token": marks[1], "end_image_token": marks[2]}
    words = tokenizer(*marks, template=CHATML.replace("MARK", f"{marks[0]}\n"), eos=marks[4], **named)
    config = InternVLConfig(
        vision_config=tower(56, 14) | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config=Qwen2Config(**text(words)),
        image_token_id=words.convert_tokens_to_ids(marks[0]),
        image_seq_length=4,
    )
    return config, words, GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, min_patches=1, max_patches=4)


ZOO: dict[str, Callable[[], Parts]] = {
    maker.__name__: maker
    for maker in (
        llava_mistral,
        llava_next,
        llava_onevision,
        qwen2_vl,
        qwen2_vl_window,
        qwen2_5_vl,
        qwen3_vl,
        gemma3,
        paligemma,
        paligemma2,
        smolvlm,
        idefics3,
        internvl,
    )
}


def save(name: str, folder: Path) -> Path:
    """Writes a checkpoint whose images and texts make a difference one can measure."""
    from transformers import AutoModelForImageTextToText

    config, words, processor = ZOO[name]()
    torch.manual_seed(7)
    model: Any = AutoModelForImageTextToText.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # Gemma 3's projector starts at zero: no picture would make any difference.
            parameter.data.mul_(2.5) if parameter.any() else parameter.data.normal_(0.0, 0.3)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
