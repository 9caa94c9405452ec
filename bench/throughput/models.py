"""LLaVA checkpoints with random weights, and the adapter both sides start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAD, EOS, IMAGE, ASSISTANT = "<pad>", "</s>", "<image>", "<|assistant|>"
SPECIAL = (PAD, EOS, IMAGE, ASSISTANT, "<unk>")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}<image>{%- endif -%}{%- endfor -%}"
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
    family: str
    """`llama` or `mistral`: the language model."""
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

    @property
    def image_tokens(self) -> int:
        """Tokens that one image takes."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def words(self) -> int:
        """Words of the tokenizer, `w0` on."""
        return self.vocabulary - len(SPECIAL)

    @property
    def linear_shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one block of the language model."""
        key_value = self.hidden // self.heads * self.key_value_heads
        attention = [(self.hidden, self.hidden), (self.hidden, key_value), (self.hidden, key_value)]
        attention.append((self.hidden, self.hidden))
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
        Shape("small", "llama", 384, 1024, 6, 6, 6, 2048, 128, 512, 3, 4, 336, 14, "float32", 16, 32),
        Shape("7b", "mistral", 4096, 14336, 32, 32, 8, 32000, 1024, 4096, 24, 16, 336, 14, "bfloat16", 128, 256),
        Shape("test", "llama", 32, 64, 2, 2, 2, 128, 16, 32, 2, 2, 28, 14, "float32", 4, 8),
    )
}
"""`small` for CPUs, `7b` has the shapes of LLaVA-Med 7B, `test` is for the tests of this harness."""


def build_tokenizer(shape: Shape) -> Any:
    """One token per word: `w17` is a token, and a text of n words has n tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *(f"w{i}" for i in range(shape.words))])}
    tokenizer: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Words are joined by a space when decoded.
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token="<unk>",
        additional_special_tokens=[IMAGE, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def build_checkpoint(shape: Shape, folder: Path, *, device: str, seed: int = 0) -> Path:
    """Writes a checkpoint folder with random weights, drawn on `device`, unless it is already there."""
    import torch
    from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration

    if (folder / "preprocessor_config.json").exists():
        return folder
    tokenizer = build_tokenizer(shape)
    torch.manual_seed(seed)
    dtype = getattr(torch, shape.dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: Any = LlavaForConditionalGeneration(_config(shape, tokenizer))
    finally:
        torch.set_default_dtype(before)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Last: its presence says that the folder is whole.
    CLIPImageProcessorPil(
        size={"height": shape.image_size, "width": shape.image_size},
        crop_size={"height": shape.image_size, "width": shape.image_size},
        do_center_crop=False,
    ).save_pretrained(folder)
    return folder


def _config(shape: Shape, tokenizer: Any) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, MistralConfig

    vision = CLIPVisionConfig(
        hidden_size=shape.vision_hidden,
        intermediate_size=shape.vision_intermediate,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
    )
    sizes: dict[str, Any] = {
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
    }
    text = LlamaConfig(**sizes) if shape.family == "llama" else MistralConfig(**sizes, sliding_window=None)
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=shape.image_tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def load_processor(folder: Path) -> Any:
    """Tokenizer and PIL image processor as the one processor that TRL asks for."""
    from transformers import AutoConfig, AutoTokenizer, CLIPImageProcessorPil, LlavaProcessor

    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(folder),
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def load_base(folder: Path, dtype: str, device: str) -> Any:
    """The LLaVA model without an adapter, everything frozen."""
    import torch
    from transformers import LlavaForConditionalGeneration

    model: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.requires_grad_(False)
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
