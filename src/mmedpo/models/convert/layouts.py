"""The layouts of the LLaVA code base that Med-LVLMs are published in, and what each does its own way. Pure.

Weights are named alike in all: `model.mm_projector.0`, `model.vision_tower.vision_tower.vision_model...`,
and the language model's own names. What differs is the language model, the prompt, and which of two
vision towers the authors' own loader takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmedpo.errors import ModelError, shown

IMAGE = "<image>"
"""The placeholder as text."""


@dataclass(frozen=True)
class Layout:
    """One published layout."""

    model_type: str
    """`model_type` of its config.json."""
    title: str
    """The model it is known by."""
    text_type: str
    """`model_type` of the language model inside."""
    opening: str
    """What a prompt begins with, before the images."""
    closing: str
    """What stands between question and answer."""
    answered: str
    """What stands behind an answer; `EOS` is the tokenizer's own."""
    before_answer: str = ""
    """What stands before an answer; empty where `closing` ends with it."""
    specials: bool = True
    """Whether the authors' code lets the tokenizer add what opens a text."""
    marks: tuple[str, ...] = ()
    """Tokens its vocabulary has: other models are published in the same class with other prompts."""
    pads: bool = False
    """Whether the authors' code pads every picture to a square, whatever the configuration says."""
    tower_in_shards: bool = False
    """Whether the authors' loader takes the vision tower from the shards (else: the CLIP its config names)."""

    def prompt(self, question: str, images: int) -> str:
        """The authors' text of a question behind its images, up to where the answer starts."""
        return self.opening + f"{IMAGE}\n" * images + question.strip() + self.closing

    def template(self, doubled: bool) -> str:
        """The same as a chat template.

        Args:
            doubled: the tokenizer opens a text whose first token is written already: the authors' prompts have two.
        """
        opening = ("{{ bos_token }}" if doubled else "") + _written(self.opening)
        # A system text stands only once.
        again = _written(self.opening[self.opening.rfind(_USER) :] if _USER in self.opening else self.opening)
        text = "{% if m['content'] is string %}{{ m['content'] TRIM }}{% endif %}{% for p in m['content'] %}"
        text += "{% if p['type'] == 'text' %}{{ p['text'] TRIM }}{% endif %}{% endfor %}"
        images = "{% for p in m['content'] %}{% if p['type'] == 'image' %}" + _written(f"{IMAGE}\n")
        return (
            "{% for m in messages %}{% if m['role'] == 'user' %}"
            f"{{% if loop.first %}}{opening}{{% else %}}{again}{{% endif %}}"
            f"{images}{{% endif %}}{{% endfor %}}{text.replace('TRIM', '| trim')}{_written(self.closing)}"
            f"{{% else %}}{_written(self.before_answer)}{text.replace('TRIM', '')}"
            f"{_written(self.answered)}{{% endif %}}{{% endfor %}}"
        )


_USER = "<|start_header_id|>user"


def _written(text: str) -> str:
    """Text that a template writes as it is; as an expression, for a line break behind a block would be swallowed."""
    return "{{ eos_token }}".join(f"{{{{ {json.dumps(part)} }}}}" if part else "" for part in text.split("EOS"))


SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
_HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"

LAYOUTS: Mapping[str, Layout] = {
    layout.model_type: layout
    for layout in (
        # Conversation `mistral_instruct` of microsoft/LLaVA-Med.
        Layout("llava_mistral", "LLaVA-Med v1.5", "mistral", "[INST] ", " [/INST]", " EOS", " "),
        # cli.py of FreedomIntelligence/HuatuoGPT-Vision; its marks are plain text.
        Layout(
            "llava_qwen2",
            "HuatuoGPT-Vision-7B",
            "qwen2",
            "<|user|>\n",
            "\n<|assistant|>\n",
            " \n",
            specials=False,
            pads=True,
            tower_in_shards=True,
        ),
        # Conversation `llama3` of UCSC-VLAA/MedTrinity-25M.
        Layout(
            "llava_llama",
            "LLaVA-Med++",
            "llama",
            f"<|begin_of_text|>{_HEADER.format('system')}{SYSTEM}<|eot_id|>{_HEADER.format('user')}",
            f"<|eot_id|>{_HEADER.format('assistant')}",
            "<|eot_id|>",
            marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ),
    )
}
"""By `model_type`."""


def recognise(config: Mapping[str, Any], name: str) -> Layout:
    """The layout of a checkpoint, by its configuration.

    Raises:
        ModelError: none of ours, or one with a part that cannot be expressed.
    """
    kind = config.get("model_type")
    layout = LAYOUTS.get(kind) if isinstance(kind, str) else None
    if layout is None:
        known = ", ".join(f"{layout.title} ({layout.model_type})" for layout in LAYOUTS.values())
        raise ModelError(f"{name} is of type {shown(kind)}, which is not converted; known: {known}")
    for key, met, wanted in _refusals(config):
        raise ModelError(f"{name} cannot be converted: {key} is {shown(met)}, allowed: {wanted}")
    return layout


def _refusals(config: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Settings of a configuration that the converted model could not follow: name, value, what is allowed."""
    allowed: list[tuple[str, tuple[Any, ...], str]] = [
        ("s2", (None, False), "false: features at several scales (S2) are not computed by a LLaVA of transformers"),
        ("mm_projector_type", ("mlp2x_gelu",), "mlp2x_gelu; use a checkpoint with that projector"),
        ("mm_vision_select_feature", (None, "patch", "cls_patch"), "patch, cls_patch"),
        ("image_aspect_ratio", (None, "pad", "square"), "pad, square; tiles (anyres) are another architecture"),
        ("mm_use_im_start_end", (None, False), "false: its prompts would need marks around the image"),
        ("quantization_config", (None,), "none: use the unquantised weights it was made from"),
    ]
    return [(key, config.get(key), wanted) for key, values, wanted in allowed if config.get(key) not in values]
