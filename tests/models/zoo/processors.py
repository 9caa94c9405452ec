"""Every family's own processor, also where it would build a video processor, which wants torchvision.

Nothing here touches a video: in its place stands an object that only says how many patches are merged.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

VIDEO = SimpleNamespace(merge_size=2, temporal_patch_size=2, num_frames=1, fps=1, size={"longest_edge": 32})


def own_processor(vlm: Any, monkeypatch: Any) -> Any:
    """The checkpoint's own processor, as `AutoProcessor` would build it from the published files."""
    import transformers
    from transformers.models.smolvlm import processing_smolvlm
    from transformers.processing_utils import ProcessorMixin

    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda self, name, value: type(value))
    monkeypatch.setattr(processing_smolvlm, "num2words", str, raising=False)  # it counts the frames of videos
    images, words, config = vlm.image_processor, vlm.tokenizer, vlm.base.config
    kind, options = config.model_type, {"chat_template": vlm.tokenizer.chat_template}
    video = {**options, "video_processor": VIDEO}
    if kind in ("llava", "llava_next"):
        options |= {
            "patch_size": config.vision_config.patch_size,
            "vision_feature_select_strategy": config.vision_feature_select_strategy,
            "num_additional_image_tokens": 1,
        }
    if kind == "llava_onevision":
        vision = config.vision_config
        strategy = config.vision_feature_select_strategy
        video |= {
            "num_image_tokens": (vision.image_size // vision.patch_size) ** 2,
            "vision_feature_select_strategy": strategy,
        }
    if kind == "paligemma":
        images.image_seq_length = 4
    if kind == "internvl":
        words.video_token = "<video>"
    built = {
        "llava": lambda: transformers.LlavaProcessor(images, words, **options),
        "llava_next": lambda: transformers.LlavaNextProcessor(images, words, **options),
        "llava_onevision": lambda: transformers.LlavaOnevisionProcessor(images, words, **video),
        "qwen2_vl": lambda: transformers.Qwen2VLProcessor(images, words, **video),
        "qwen2_5_vl": lambda: transformers.Qwen2_5_VLProcessor(images, words, **video),
        "qwen3_vl": lambda: transformers.Qwen3VLProcessor(images, words, **video),
        "gemma3": lambda: transformers.Gemma3Processor(images, words, image_seq_length=4, **options),
        "paligemma": lambda: transformers.PaliGemmaProcessor(images, words),
        "idefics3": lambda: transformers.Idefics3Processor(images, words, image_seq_len=4, **options),
        "smolvlm": lambda: transformers.SmolVLMProcessor(images, words, image_seq_len=4, **video),
        "internvl": lambda: transformers.InternVLProcessor(images, words, image_seq_length=4, **video),
    }
    return built[kind]()
