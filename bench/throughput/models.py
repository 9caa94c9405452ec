"""LLaVA checkpoints with random weights, and the adapter both sides start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.throughput.architectures import ARCHITECTURES, PROCESSORS
from mmedpo.models.quantised import in_four_bits

PAD, EOS, IMAGE, ASSISTANT = "<pad>", "</s>", "<image>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}MARKS{%- endif -%}{%- endfor -%}"
    "{%- else -%}<|assistant|>{%- endif -%}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
"""`<image>question<|assistant|>answer</s>`: the image comes first, and the one token of the template counts as a
token of the question."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of its adapter."""

    name: str
    architecture: str
    """Name in `architectures.ARCHITECTURES`."""
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int
    vision_heads: int
    image_size: int
    patch_size: int
    dtype: str
    rank: int
    alpha: int
    merged: int = 1
    """Patches to a side that become one token."""
    head_size: int | None = None
    """Of the language model; None: `hidden / heads`."""

    @property
    def image_tokens(self) -> int:
        """Tokens that one image takes, marks around it apart."""
        return (self.image_size // self.patch_size // self.merged) ** 2

    @property
    def words(self) -> int:
        """Words of the tokenizer, `w0` on."""
        return self.vocabulary - len(specials(self))

    @property
    def linear_shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one block of the language model."""
        head = self.head_size or self.hidden // self.heads
        query, key_value = head * self.heads, head * self.key_value_heads
        attention = [(self.hidden, query), (self.hidden, key_value), (self.hidden, key_value), (query, self.hidden)]
        mlp = [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return attention + mlp

    @property
    def frozen_weights(self) -> int:
        """N of the arithmetic: weights of the language model's blocks that every token meets."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_shapes)

    @property
    def adapter_weights(self) -> int:
        """L of the arithmetic: weights of the adapter."""
        return self.layers * self.rank * sum(inputs + outputs for inputs, outputs in self.linear_shapes)


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("small", "llava-llama", 384, 1024, 6, 6, 6, 2048, 128, 512, 3, 4, 336, 14, "float32", 16, 32),
        Shape("7b", "llava-mistral", 4096, 14336, 32, 32, 8, 32000, 1024, 4096, 24, 16, 336, 14, "bfloat16", 128, 256),
        Shape(
            "qwen2.5-vl-7b", "qwen2_5_vl", 3584, 18944, 28, 28, 4, 152064, 1280, 3420, 32, 16, 672, 14, "bfloat16",
            128, 256, merged=2,
        ),
        Shape(
            "medgemma-4b", "gemma3", 2560, 10240, 34, 8, 4, 262208, 1152, 4304, 27, 16, 896, 14, "bfloat16",
            128, 256, merged=4, head_size=256,
        ),
        Shape("test", "llava-llama", 32, 64, 2, 2, 2, 128, 16, 32, 2, 2, 28, 14, "float32", 4, 8),
        Shape("test-qwen2.5-vl", "qwen2_5_vl", 32, 64, 2, 2, 2, 128, 16, 32, 2, 2, 56, 14, "float32", 4, 8, merged=2),
        Shape(
            "test-gemma3", "gemma3", 32, 64, 2, 2, 2, 128, 16, 32, 2, 2, 56, 14, "float32", 4, 8, merged=2, head_size=8
        ),
    )
}  # fmt: skip
"""`small` for CPUs, `7b` has the shapes of LLaVA-Med 7B, `test` and its like are for the tests of this harness."""


def specials(shape: Shape) -> tuple[str, ...]:
    """The tokenizer's special tokens."""
    return tuple(dict.fromkeys((PAD, EOS, ASSISTANT, "<unk>", *ARCHITECTURES[shape.architecture].tokens)))


def build_tokenizer(shape: Shape) -> Any:
    """One token per word: `w17` is a token, and a text of n words has n tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    of = ARCHITECTURES[shape.architecture]
    known = specials(shape)
    vocabulary = {word: number for number, word in enumerate([*known, *(f"w{i}" for i in range(shape.words))])}
    tokenizer: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Words are joined by a space when decoded.
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token="<unk>",
        # Named ones alone are taken where there are such.
        extra_special_tokens={"assistant_token": ASSISTANT, **of.named} if of.named else [ASSISTANT, *of.tokens],
        chat_template=CHAT_TEMPLATE.replace("MARKS", of.prompt),
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def build_checkpoint(shape: Shape, folder: Path, *, device: str, seed: int = 0) -> Path:
    """Writes a checkpoint folder with random weights, drawn on `device`, unless it is already there."""
    import torch
    from transformers import AutoModelForImageTextToText

    if (folder / "preprocessor_config.json").exists():
        return folder
    of = ARCHITECTURES[shape.architecture]
    tokenizer = build_tokenizer(shape)
    torch.manual_seed(seed)
    dtype = getattr(torch, shape.dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: Any = AutoModelForImageTextToText.from_config(of.config(shape, tokenizer))
    finally:
        torch.set_default_dtype(before)
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():  # a projector that starts at zero lets no image through
            parameter.data.normal_(0.0, 0.02)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Last: its presence says that the folder is whole.
    of.images(shape).save_pretrained(folder)
    return folder


def load_processor(folder: Path) -> Any:
    """Tokenizer and image processor as the one processor that TRL asks for."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(folder)
    return PROCESSORS[config.model_type](folder, config, AutoTokenizer.from_pretrained(folder))


def load_base(folder: Path, dtype: str, device: str, *, quantised: bool = False) -> Any:
    """The model without an adapter, everything frozen; the language model's linear layers in 4 bits where asked."""
    import torch
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.requires_grad_(False)
    if quantised:
        for name in adapter_targets(model):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, in_four_bits(model.get_submodule(name), device))
        model.is_loaded_in_4bit = True
    return model.to(device)


def adapter_targets(model: Any) -> list[str]:
    """Names of every linear layer of the language model but its head."""
    import torch

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model" in name and not name.endswith("lm_head")
    ]


def adapter_config(model: Any, rank: int, alpha: int) -> Any:
    """LoRA on every linear layer of the language model, no dropout. Wrapping the model right after
    `torch.manual_seed(seed)` gives every side the same start, the product's `attach_adapter` included."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=adapter_targets(model))
