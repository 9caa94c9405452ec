"""What stands beside the weights of a converted checkpoint: configuration, image processor, generation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmedpo.errors import ModelError, brief
from mmedpo.models.convert.layouts import Layout
from mmedpo.models.convert.tower import Tower
from mmedpo.models.convert.words import Words

_PROCESSOR = ("size", "crop_size", "image_mean", "image_std", "resample", "do_resize", "do_center_crop")
_LEGACY = ("rope_theta", "rope_scaling")
"""Settings that older configurations have and newer ones write in another way."""


def read_config(folder: Path, file: str = "config.json") -> dict[str, Any]:
    """A JSON object of a folder.

    Raises:
        ModelError: missing, or none.
    """
    try:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"is unreadable ({brief(str(error), 80)})"
        raise ModelError(f"{folder / file} {why}; download the checkpoint again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{folder / file} holds no JSON object; download the checkpoint again")
    return content


def llava_config(layout: Layout, source: Mapping[str, Any], tower: Tower, words: Words, dtype: str) -> Any:
    """The `LlavaConfig` of the converted checkpoint.

    Raises:
        ModelError: the source's settings are none of its language model.
    """
    from transformers import CONFIG_MAPPING, CLIPVisionConfig, LlavaConfig

    kind = CONFIG_MAPPING[layout.text_type]
    known = {*kind().to_dict(), *_LEGACY} - {"model_type", "architectures", "transformers_version", "dtype"}
    own = {key: value for key, value in source.items() if key in known and not key.startswith("_")}
    feature = source.get("mm_vision_select_feature", "patch")
    try:
        vision: Any = CLIPVisionConfig(**tower.config)
        config = LlavaConfig(
            vision_config=vision.to_dict(),
            text_config={**kind.from_dict({**own, "vocab_size": words.rows}).to_dict(), "dtype": dtype},
            image_token_index=words.image_id,
            image_seq_length=(vision.image_size // vision.patch_size) ** 2 + int(feature == "cls_patch"),
            vision_feature_layer=int(source.get("mm_vision_select_layer", -2)),
            vision_feature_select_strategy="full" if feature == "cls_patch" else "default",
            projector_hidden_act="gelu",
            tie_word_embeddings=bool(source.get("tie_word_embeddings", False)),
        )
    except Exception as error:  # configurations are checked by whatever their classes use
        why = brief(" ".join(str(error).split()), 150)
        raise ModelError(f"the settings of the checkpoint do not fit {layout.text_type} and CLIP ({why})") from None
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = dtype
    return config


def pads(layout: Layout, source: Mapping[str, Any]) -> bool:
    """Whether pictures are padded to a square, in the mean colour."""
    return layout.pads or source.get("image_aspect_ratio") == "pad"


def image_processor(layout: Layout, source: Mapping[str, Any], src: Path, tower: Tower) -> Any:
    """The image processor, with the settings of the tower's own."""
    from transformers import LlavaImageProcessorPil

    folders = [folder for folder in (tower.folder, src) if folder is not None]
    file = next((f for folder in folders if (f := folder / "preprocessor_config.json").is_file()), None)
    given = read_config(file.parent, file.name) if file is not None else {}
    side = int(tower.config.get("image_size", 224))
    options: dict[str, Any] = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    options |= {key: given[key] for key in _PROCESSOR if given.get(key) is not None}
    if isinstance(options["size"], int):
        options["size"] = {"shortest_edge": options["size"]}
    if isinstance(options["crop_size"], int):
        options["crop_size"] = {"height": options["crop_size"], "width": options["crop_size"]}
    kind: Any = LlavaImageProcessorPil
    return kind(**options, do_pad=pads(layout, source))


def generation_config(src: Path, words: Words) -> Any:
    """Where generation stops, as the source says it; decoding itself is the caller's business."""
    from transformers import GenerationConfig

    file = "generation_config.json"
    given = read_config(src, file) if (src / file).is_file() else {}
    tokenizer = words.tokenizer
    kind: Any = GenerationConfig
    return kind(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=given.get("eos_token_id", tokenizer.eos_token_id),
        pad_token_id=tokenizer.pad_token_id,
    )
