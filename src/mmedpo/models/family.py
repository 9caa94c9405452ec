"""The seam between model families and the rest: what differs from one Med-LVLM to the next.

A family is bound to one checkpoint. Each of its members has a default, and the defaults are a model
whose image takes a fixed number of placeholder tokens, that attends causally, and counts its positions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from torch import Tensor

from mmedpo.config import Part
from mmedpo.errors import ModelError
from mmedpo.models.areas import Areas
from mmedpo.records import places_of

UInt8Image = NDArray[np.uint8]
"""[H, W] or [H, W, 3], 0..255."""
BothWays = Literal["nothing", "images", "prompt"]
"""What a token sees beyond the causal: nothing, the whole of its own image, or the whole of its prompt."""


class Size(NamedTuple):
    """Size of a picture, pixels."""

    height: int
    width: int


ANY_SIZE = Size(1, 1)
"""A picture's size where the family does not ask for it."""


class Loaded(NamedTuple):
    """A checkpoint in memory."""

    model: Any
    """The `...ForConditionalGeneration`, frozen, in evaluation mode."""
    tokenizer: Any
    """Its tokenizer, with a chat template and a token for padding."""
    image_processor: Any
    """Its image processor, the PIL one."""


class Family:
    """What one family of models does its own way.

    Args:
        loaded: the checkpoint.
        name: how the user named it, for messages.
    """

    both_ways: ClassVar[BothWays] = "nothing"
    """What its tokens see beyond the causal. Windows and soft caps are read from the configuration."""
    sized: ClassVar[bool] = False
    """Whether the number of an image's tokens depends on the picture's size."""
    several: ClassVar[bool] = True
    """Whether a question may show several pictures; False where each would be cut up otherwise than alone."""
    merger: ClassVar[str] = ""
    """Name of a projector that lies *inside* the vision tower; empty where it lies beside it."""
    masks_by_kind: ClassVar[bool] = True
    """Whether the model takes a mask for each kind of its layers, and not only one for all."""
    templated: ClassVar[bool] = True
    """Whether prompts come from a chat template."""

    def __init__(self, loaded: Loaded, name: str) -> None:
        self.config = loaded.model.config
        self.tokenizer = loaded.tokenizer
        self.image_processor = loaded.image_processor
        self.name = name
        self._model = loaded.model
        self._counted: dict[Size, int] = {}

    # Loading.

    @classmethod
    def load(cls, folder: Path, dtype: str) -> Loaded:
        """Reads model, tokenizer and image processor of a checkpoint.

        `AutoProcessor` is left alone: it wants torchvision for a video processor that nobody asks for.
        """
        import torch
        from transformers import AutoModelForImageTextToText

        tokenizer, processor = _read_beside(folder)
        model, info = _read(
            AutoModelForImageTextToText,
            folder,
            "config.json and *.safetensors",
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
        if info["missing_keys"]:
            raise ModelError(
                f"{folder} lacks {len(info['missing_keys'])} weights of its model, first "
                f"{min(info['missing_keys'])!r}; they would be random: download or convert it again"
            )
        return Loaded(model, tokenizer, processor)

    @classmethod
    def outline(cls, folder: Path, dtype: str) -> Loaded:
        """The same without weights: the model lies on torch's meta device, where shapes alone are computed."""
        import torch
        from transformers import AutoConfig, AutoModelForImageTextToText

        tokenizer, processor = _read_beside(folder)
        config, kind = _read(AutoConfig, folder, "config.json"), AutoModelForImageTextToText
        build: Any = kind.from_config
        with torch.device("meta"):
            model = build(config, dtype=getattr(torch, dtype))
        return Loaded(model, tokenizer, processor)

    # Texts.

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder that one row of image features replaces."""
        return int(self.config.image_token_id)

    @cached_property
    def image_token(self) -> str:
        """The placeholder as text."""
        return str(self.tokenizer.convert_ids_to_tokens(self.image_token_id))

    @property
    def marker(self) -> str:
        """What the chat template writes where an image stands."""
        return self.image_token

    def image_text(self, size: Size) -> str:
        """What the marker becomes for a picture of this size: placeholders, and whatever stands around them."""
        return self.image_token * self._fixed_tokens

    def image_tokens(self, size: Size) -> int:
        """Placeholders of a picture of this size: rows of its features.

        Raises:
            ModelError: the model takes no picture of this size.
        """
        if size not in self._counted:
            try:
                self._counted[size] = self.image_text(size).count(self.image_token)
            except (ValueError, ZeroDivisionError) as error:
                height, width = size
                raise ModelError(
                    f"{self.name!r} takes no picture of {height} x {width} pixels ({error}); crop or drop it"
                ) from None
        return self._counted[size]

    def prompt(self, question: str, sizes: Sequence[Size]) -> list[int]:
        """Token ids up to where the answer starts, from the question and the pictures' sizes alone.

        Markers are expanded in the text, then it is tokenised, as the processors do: a tokenizer may
        join what stands around a marker.

        Raises:
            ModelError: the chat template does not render exactly one marker per picture, or the model is not shown
                several pictures this way.
        """
        if len(sizes) > 1 and not self.several:
            raise ModelError(
                f"{self.name!r} was made to see several images in a question in another way than one, which is not "
                "supported; show one (data.reports.views=first), or use another family"
            )
        parts = self.render(question, len(sizes)).split(self.marker)
        expected = sum(self.image_tokens(size) for size in sizes)
        if len(parts) == len(sizes) + 1:
            images = [self.image_text(size) for size in sizes]
            ids = self.tokenize("".join(part for pair in zip(parts, [*images, ""], strict=True) for part in pair))
            if ids.count(self.image_token_id) == expected:
                return ids
        raise ModelError(
            f"the chat template of {self.name!r} renders {len(parts) - 1} image placeholders for {len(sizes)} "
            f"image(s), expected {len(sizes)}; fix the template of the checkpoint, or remove the placeholder from the "
            "question text"
        )

    def render(self, question: str, images: int) -> str:
        """The chat template's text of a question and its images, up to where the answer starts."""
        content = [
            {"type": "image"} if text is None else {"type": "text", "text": text}
            for text in places_of(question, images)
        ]
        return self._rendered([{"role": "user", "content": content}], opening=True)

    def _rendered(self, turns: list[dict[str, Any]], *, opening: bool) -> str:
        try:
            return str(self.tokenizer.apply_chat_template(turns, add_generation_prompt=opening, tokenize=False))
        except (TemplateError, TypeError) as error:
            raise ModelError(
                f"the chat template of {self.name!r} cannot be rendered ({type(error).__name__}: {error}); "
                "replace it by that of the published checkpoint"
            ) from None

    def tokenize(self, text: str) -> list[int]:
        """Ids of a rendered prompt; the tokenizer adds what opens a text unless the template has written it."""
        opening = self.tokenizer.bos_token
        written = opening is not None and text.startswith(opening)
        ids: list[int] = self.tokenizer(text, add_special_tokens=not written)["input_ids"]
        return ids

    def answer(self, text: str) -> list[int]:
        """Token ids of an answer where the chat template puts it, end of turn included.

        Raises:
            ModelError: the answer is empty once tokenised.
        """
        answer = text.strip()
        if not self._ids(answer):
            raise ModelError(f"the answer {text!r} has no tokens; drop it before training")
        before, lead, behind = self._turn
        # Tokenised with what stands around it: a tokenizer may join the two, or mark the start of a text.
        opening, whole = self._ids(before), self._ids(f"{before}{lead}{answer}{behind}")
        joined = whole[: len(opening)] != opening
        ids = self._ids(f"{answer}{behind}") if joined else whole[len(opening) :]
        return [*ids[: len(ids) - self._after_turn], *([] if behind else [self.end_of_turn])]

    @cached_property
    def end_of_turn(self) -> int:
        """Id of the token that ends an answer: the first special one that the template writes behind it."""
        ids = self._ids(self._turn[2])
        return ids[-1 - self._after_turn] if ids else int(self.tokenizer.eos_token_id)

    @cached_property
    def _after_turn(self) -> int:
        """How many tokens the template writes behind the end of a turn: a line break, mostly."""
        ids = self._ids(self._turn[2])
        return len(ids) - 1 - next(place for place, token in enumerate(ids) if token in self._special) if ids else 0

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder
        return frozenset({*self.tokenizer.all_special_ids, *(n for n, token in added.items() if token.special)})

    @cached_property
    def _turn(self) -> tuple[str, str, str]:
        """What the template writes: before an answer (without image or question), then up to it, and behind it.

        Behind it: nothing at all where the template ends no turn with a special token.
        """
        if not self.templated:
            return "", "", str(self.tokenizer.eos_token)
        mark = "ANSWER"
        asked = {"role": "user", "content": [{"type": "text", "text": "QUESTION"}]}
        told = {"role": "assistant", "content": [{"type": "text", "text": mark}]}
        before, whole = self._rendered([asked], opening=True), self._rendered([asked, told], opening=False)
        head, _, behind = whole.rpartition(mark)
        behind = behind if self._special.intersection(self._ids(behind)) else ""
        # Some templates open a turn to be generated in another way than one that is there.
        return (before, head[len(before) :], behind) if head.startswith(before) else ("", "", behind)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @cached_property
    def stops(self) -> frozenset[int]:
        """Ids that end a generated answer: its end of turn, and what the checkpoint itself stops at."""
        own = self._model.generation_config.eos_token_id
        listed = own if isinstance(own, list) else [own]
        known = [self.end_of_turn, self.tokenizer.eos_token_id, *listed]
        return frozenset(int(token) for token in known if token is not None)

    # Inputs.

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """What the model's `get_image_features` takes for one picture: each tensor begins with a batch of 1."""
        return self.processed([self.picture(image)], "pixel_values")

    def picture(self, image: UInt8Image) -> Any:
        """The picture as image processors take it, in colour."""
        from PIL import Image

        return Image.fromarray(image).convert("RGB")

    def processed(self, images: Any, *names: str, **options: Any) -> dict[str, Tensor]:
        """Some outputs of the image processor for one picture."""
        found = self.image_processor(images=images, return_tensors="pt", **options)
        return {name: found[name] for name in names if name in found}

    def token_types(self, ids: Sequence[int], prompt: int) -> dict[str, list[int]]:
        """Inputs as long as the row, for plain rows and generation.

        Args:
            ids: the row; its first `prompt` tokens are the prompt.
            prompt: their number.
        """
        return {}

    def image_inputs(self, size: Size) -> dict[str, Tensor]:
        """Inputs beside the features of one picture, [1, ...] each, for plain rows and generation."""
        return {}

    def positions(self, ids: Sequence[int], sizes: Sequence[Size]) -> NDArray[np.int64] | None:
        """[axes, tokens] positions of a prompt's tokens; an answer counts on from the largest.

        None: 0, 1, 2, ... on one axis.
        """
        return None

    def areas(self, size: Size) -> Areas:
        """[image tokens, 4] which part of a picture of this size each of its tokens is made of.

        Raises:
            ModelError: that is not known of this family: its tokens lie on no grid, or nobody wrote down which.
        """
        raise ModelError(f"family {type(self).__name__!r} does not say where its image tokens lie on the picture")

    # Parts.

    def part(self, name: str) -> Part:
        """The part of the model that a parameter or module of it belongs to, by its name."""
        decoder, encoder = self._roots
        if name.startswith(decoder) or "lm_head" in name:
            return "language_model"
        if name.startswith(encoder) and not (self.merger and f".{self.merger}" in name):
            return "vision_tower"
        return "projector"

    @cached_property
    def _roots(self) -> tuple[str, str]:
        """Names of the language model and of the vision tower inside the model, each with its dot."""
        names = {id(module): f"{name}." for name, module in self._model.named_modules()}
        return names[id(self._model.get_decoder())], names[id(self._model.get_encoder(modality="image"))]

    @cached_property
    def _fixed_tokens(self) -> int:
        """Rows of features the model makes of one picture, seen on a black one.

        Towers differ in what they add to their patches (a class token, registers) and models in what they
        take away again; none of the ways to write it down in a configuration covers all.
        """
        import torch

        inputs = self.encode(np.zeros((32, 32), dtype=np.uint8))
        at = next(self._model.parameters())
        with torch.no_grad():
            moved = {
                name: value.to(at.device, at.dtype) if value.is_floating_point() else value.to(at.device)
                for name, value in inputs.items()
            }
            rows = self._model.get_image_features(**moved, return_dict=True).pooler_output
        return sum(len(row) for row in rows)


def _read_beside(folder: Path) -> tuple[Any, Any]:
    """Tokenizer, with its template and a token for padding, and image processor."""
    from transformers import AutoImageProcessor, AutoTokenizer

    tokenizer = _read(AutoTokenizer, folder, "tokenizer.json and tokenizer_config.json")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _template(folder)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer in {folder} names no eos_token, which ends answers; copy tokenizer_config.json from the "
            "published checkpoint"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, _read(AutoImageProcessor, folder, "preprocessor_config.json", backend="pil")


def _read(kind: Any, folder: Path, files: str, **options: Any) -> Any:
    """`from_pretrained`, whose errors are many lines about the hub, in one line about the folder."""
    try:
        return kind.from_pretrained(folder, **options)
    except Exception as error:  # whatever a damaged file makes of a library
        why = " ".join(str(error).split())
        raise ModelError(
            f"{folder} cannot be read by {kind.__name__}: is {files} complete? ({why[:200]}); "
            "copy what is missing from the published checkpoint"
        ) from error


def _template(folder: Path) -> str | None:
    """The chat template that older processors keep in a file of their own."""
    file = folder / "chat_template.json"
    if not file.exists():
        return None
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["chat_template"])
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{file} holds no chat_template; replace it by the file of the published checkpoint") from None
