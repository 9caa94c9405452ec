"""Small random checkpoints as their makers publish them, and the authors' own computation: nothing of ours is asked."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from models.zoo.checkpoints import text, tokenizer, tower

SIDE = 28
TOWER = tower(SIDE, 14, hidden_size=64, intermediate_size=48, num_attention_heads=1)
IMAGE_ID = -200
SPACE = "\u2581"
PUBLISHED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_hidden_size": 64,
    "image_aspect_ratio": "pad",
    "mm_use_im_start_end": False,
    "tune_mm_mlp_adapter": False,
}


class Source(NamedTuple):
    """A published checkpoint and what its authors' code would hold in memory."""

    folder: Path
    language: Any
    vision: Any
    projector: torch.nn.Sequential


def write(folder: Path, kind: str, *, ending: str = "safetensors", shards: int = 3, **changes: Any) -> Source:
    """Writes a checkpoint of `llava_mistral`, `llava_qwen2` or `llava_llama`."""
    from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel

    folder.mkdir(parents=True)
    words, rows = _words(folder, kind)
    settings = text(words, vocab_size=rows, sliding_window=None) | {"rope_theta": 1000000.0}
    config = {**settings, "model_type": kind, "torch_dtype": "bfloat16", **PUBLISHED, **changes}
    (folder / "config.json").write_text(json.dumps({key: v for key, v in config.items() if v is not ...}))
    torch.manual_seed(3)
    language: Any = AutoModelForCausalLM.from_config(_text_config(kind, settings)).eval()
    vision: Any = CLIPVisionModel(CLIPVisionConfig(**TOWER)).eval()
    projector = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))
    for part in (language, vision, projector):
        for parameter in part.parameters():
            parameter.data.mul_(2.5) if parameter.dim() > 1 else None
            parameter.data.copy_(parameter.data.bfloat16())
            parameter.requires_grad_(False)
    weights = dict(language.state_dict())
    weights |= {f"model.mm_projector.{name}": value for name, value in projector.state_dict().items()}
    weights |= {f"model.vision_tower.vision_tower.{name}": value for name, value in vision_weights(vision).items()}
    store(folder, {name: value.bfloat16() for name, value in weights.items()}, ending, shards)
    return Source(folder, language, vision, projector)


def vision_weights(vision: Any) -> dict[str, torch.Tensor]:
    """Weights of a CLIP tower by their published names."""
    return {f"vision_model.{name.removeprefix('vision_model.')}": value for name, value in vision.state_dict().items()}


def store(folder: Path, weights: dict[str, torch.Tensor], ending: str, shards: int) -> None:
    """Writes weights over several files, with their index."""
    from safetensors.torch import save_file

    names = list(weights)
    where = {}
    for number in range(shards):
        part = {name: weights[name].clone() for name in names[number::shards]}
        stem = "model" if ending == "safetensors" else "pytorch_model"
        file = f"{stem}-{number + 1:05}-of-{shards:05}.{ending}"
        save_file(part, folder / file) if ending == "safetensors" else torch.save(part, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": where}))


def write_clip(folder: Path, vision: Any, shift: float = 0.0) -> Path:
    """A CLIP folder: another tower where `shift` is not 0."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": TOWER}))
    weights = {name: value.float().clone() for name, value in vision_weights(vision).items()}
    weights["vision_model.post_layernorm.bias"] += shift
    save_file({**weights, "logit_scale": torch.ones(())}, folder / "model.safetensors")
    return folder


def authors_pixels(picture: np.ndarray) -> torch.Tensor:
    """[1, 3, 28, 28]: a square canvas in the mean colour, then CLIP's own resize and crop."""
    from transformers import CLIPImageProcessorPil

    image = Image.fromarray(picture).convert("RGB")
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    most = max(image.size)
    canvas = Image.new("RGB", (most, most), tuple(int(value * 255) for value in processor.image_mean))
    canvas.paste(image, ((most - image.width) // 2, (most - image.height) // 2))
    return processor(canvas, return_tensors="pt")["pixel_values"]


def authors_logits(source: Source, ids: list[int], pixels: torch.Tensor) -> torch.Tensor:
    """[tokens, vocabulary] of a prompt with one -200 where the image stands, as `llava_arch.py` computes it."""
    hidden = source.vision(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    at = ids.index(IMAGE_ID)
    embed = source.language.get_input_embeddings()
    before, behind = (embed(torch.tensor([part])) for part in (ids[:at], ids[at + 1 :]))
    spliced = torch.cat([before, source.projector(hidden), behind], dim=1)
    return source.language(inputs_embeds=spliced).logits[0]


def _text_config(kind: str, settings: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    own = {key: value for key, value in settings.items() if key != "rope_theta"}
    return CONFIG_MAPPING[kind.removeprefix("llava_")](
        **own, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    )


def _words(folder: Path, kind: str) -> tuple[Any, int]:
    """Writes the tokenizer; returns it (for its ids) and the rows of the embeddings."""
    if kind == "llava_mistral":
        pieces = spm_pieces()
        (folder / "tokenizer.model").write_bytes(spm_file(pieces))
        (folder / "tokenizer_config.json").write_text(json.dumps({"legacy": True, "pad_token": "<unk>"}))
        return _Ids(), len(pieces)
    if kind == "llava_qwen2":
        words = tokenizer("<|endoftext|>", template=None, eos="<|endoftext|>")
        words.save_pretrained(folder)
        return words, len(words) + 4
    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|reserved_token_0|>"]
    words = tokenizer(*marks, template=None)
    words.save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    first = words.convert_tokens_to_ids(marks[0])
    content["post_processor"]["single"][0]["SpecialToken"]["id"] = marks[0]
    content["post_processor"]["special_tokens"] = {marks[0]: {"id": marks[0], "ids": [first], "tokens": [marks[0]]}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    named = {"bos_token": marks[0], "eos_token": "<|eot_id|>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return words, len(words)


class _Ids:
    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __len__(self) -> int:
        return len(spm_pieces())


def spm_pieces() -> list[tuple[str, int]]:
    """A small vocabulary of SentencePiece, best pieces first; kinds: 1 normal, 2 unknown, 3 control, 6 byte."""
    words = ["is", "there", "effusion", "which", "plane", "image", "INST", "what", "where"]
    pairs = [SPACE + SPACE]
    for word in words:
        pairs += [word[:end] for end in range(2, len(word) + 1)] + [SPACE + word[:1], SPACE + word]
    letters = [SPACE, *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?[]/ü"]
    head = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((f"<0x{byte:02X}>", 6) for byte in range(256))]
    return [*head, *((text, 1) for text in dict.fromkeys([*pairs, *letters]))]


def spm_file(pieces: list[tuple[str, int]]) -> bytes:
    """`tokenizer.model` of a vocabulary: repeated SentencePiece (1), TrainerSpec (2) of model type BPE."""

    def field(number: int, content: bytes) -> bytes:
        size, head = len(content), bytes([number << 3 | 2])
        return head + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + content

    body = b""
    for number, (piece, kind) in enumerate(pieces):
        score = 0.0 if kind != 1 else -float(number - 259)
        body += field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))
    return body + field(2, bytes([0x18, 2]))


def spm_ids(text: str) -> list[int]:
    """What the slow Llama tokenizer makes of a text, `<s>` first: the best neighbours are joined."""
    number = {piece: place for place, (piece, _) in enumerate(spm_pieces())}
    parts = list((" " + text if text else text).replace(" ", SPACE))
    while True:
        joins = [(number[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in number]
        if not joins:
            return [1, *(found for part in parts for found in _or_bytes(part, number))]
        at = min(joins)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _or_bytes(part: str, number: dict[str, int]) -> Iterator[int]:
    if part in number:
        yield number[part]
    else:
        yield from (number[f"<0x{byte:02X}>"] for byte in part.encode())


def llava_med_ids(question: str) -> list[int]:
    """The authors' prompt of LLaVA-Med, -200 where the image stands."""
    before, behind = f"[INST] <image>\n{question} [/INST]".split("<image>")
    return [*spm_ids(before), IMAGE_ID, *spm_ids(behind)[1:]]
