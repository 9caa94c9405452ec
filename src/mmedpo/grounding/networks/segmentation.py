"""A box refined to a mask by any segmentation model of `transformers` in a local folder.

SAM-type models take the box itself (`networks.sam`). Of models that name classes (Segformer, UperNet, Mask2Former,
OneFormer ...) and of models that take a text (CLIPSeg), the pixels of what was asked for make the mask where they lie
inside the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from mmedpo.errors import GroundingError, brief, listed, shown
from mmedpo.grounding.networks.sam import BoxRefiner
from mmedpo.grounding.networks.weights import checked_folder, from_folder, whole
from mmedpo.grounding.regions import boxes_mask
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels

PROCESSOR = "preprocessor_config.json"
LISTED = 8
"""Classes that a message names."""
PRESENT = 0.5
"""Probability from which on a pixel is what a text asks for."""
TASK = "the task is semantic"
"""What OneFormer is told to do, as its authors write it."""


class Refiner(Protocol):
    """What `seg` needs of a model."""

    def refine(self, image: Pixels, boxes: Sequence[Box]) -> Mask:
        """The mask inside the boxes, bool [H, W], of a uint8 image [H, W] or [H, W, 3]."""
        ...


def open_refiner(folder: Path, text: str) -> Refiner:
    """The model of a folder.

    Args:
        folder: a model of `transformers`, as downloaded.
        text: class or phrase looked for; SAM-type models take none.

    Raises:
        GroundingError: no such folder, another kind of model in it, a class it does not have, or a text without effect.
    """
    from transformers.models.auto import modeling_auto as known

    kind = _model_type(folder)
    if kind in known.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES:
        if text:
            raise GroundingError(f"seg.text={shown(text)} has no effect: {kind} outlines whatever is boxed; remove it")
        return BoxRefiner.load(folder)
    if kind == "clipseg":
        return PromptedClass.load(folder, text)
    semantic = kind in known.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
    if semantic or kind in known.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES:
        return NamedClass.load(folder, text, semantic=semantic)
    raise GroundingError(
        f"{folder} holds a {brief(kind, 40) or 'model without model_type'}; allowed: a SAM-type model, one for "
        "semantic or universal segmentation (e.g. segformer, mask2former, oneformer), or clipseg"
    )


class NamedClass:
    """A model that gives every pixel one of its classes, and the class asked for."""

    def __init__(self, model: Any, processor: Any, place: int, further: Mapping[str, Any] | None = None) -> None:
        self._model, self._processor, self._place, self._further = model, processor, place, dict(further or {})

    @classmethod
    def load(cls, folder: Path, text: str, *, semantic: bool) -> NamedClass:
        """Loads model and image processor.

        Raises:
            GroundingError: unusable files, or no such class.
        """
        import transformers

        auto = (
            transformers.AutoModelForSemanticSegmentation
            if semantic
            else transformers.AutoModelForUniversalSegmentation
        )
        model = from_folder(auto, folder, "segmentation model")
        place = _class_of(model.config.id2label, text, folder)
        if model.config.model_type != "oneformer":
            return cls(model, _processor(folder), place)
        tokenizer = whole(lambda: transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True), folder)
        length = int(model.config.task_seq_len)
        task = tokenizer([TASK], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        # Without a file of classes it looks up none in a network; the names are the model's own.
        processor = _processor(folder, class_info_file=None)
        return cls(model, processor, place, {"task_inputs": task["input_ids"]})

    def refine(self, image: Pixels, boxes: Sequence[Box]) -> Mask:
        """See `Refiner.refine`."""
        height, width = image.shape[:2]
        told: dict[str, Any] = {"task_inputs": ["semantic"]} if self._further else {}
        inputs = self._processor(images=Image.fromarray(image).convert("RGB"), return_tensors="pt", **told)
        with torch.inference_mode():
            taken = {name: inputs[name] for name in ("pixel_values", "pixel_mask") if name in inputs}
            outputs = self._model(**taken, **self._further)
            if "patch_offsets" in inputs:  # where the parts of the picture lie that EoMT is shown one by one
                outputs.patch_offsets = inputs["patch_offsets"]
            if hasattr(self._processor, "post_process_semantic_segmentation"):
                read = self._processor.post_process_semantic_segmentation
                classes = read(outputs, target_sizes=[(height, width)])[0]
            else:
                classes = _resized(outputs.logits, height, width)[0].argmax(dim=0)
        found: Mask = (classes == self._place).numpy() & boxes_mask(boxes, height, width)
        return found


class PromptedClass:
    """A model that finds what a text says, its text read once."""

    def __init__(self, model: Any, processor: Any, tokens: Mapping[str, torch.Tensor]) -> None:
        self._model, self._processor, self._tokens = model, processor, dict(tokens)

    @classmethod
    def load(cls, folder: Path, text: str) -> PromptedClass:
        """Loads model, image processor and tokenizer.

        Raises:
            GroundingError: unusable files, or no text.
        """
        import transformers

        if not text:
            raise GroundingError(f"{folder} holds a model that finds what a text says; give one: seg.text, e.g. 'mass'")
        tokenizer = whole(lambda: transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True), folder)
        model = from_folder(transformers.CLIPSegForImageSegmentation, folder, "CLIPSeg model")
        longest = int(model.config.text_config.max_position_embeddings)
        tokens = tokenizer([text], return_tensors="pt")
        if tokens["input_ids"].shape[1] > longest:
            raise GroundingError(
                f"seg.text={shown(text)} has more than the {longest} tokens the model reads; shorten it"
            )
        return cls(model, _processor(folder), {name: tokens[name] for name in ("input_ids", "attention_mask")})

    def refine(self, image: Pixels, boxes: Sequence[Box]) -> Mask:
        """See `Refiner.refine`."""
        height, width = image.shape[:2]
        inputs = self._processor(images=Image.fromarray(image).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(pixel_values=inputs["pixel_values"], **self._tokens).logits
            sure = _resized(logits.reshape(1, 1, *logits.shape[-2:]).float(), height, width).sigmoid()[0, 0]
        found: Mask = (sure >= PRESENT).numpy() & boxes_mask(boxes, height, width)
        return found


def _model_type(folder: Path) -> str:
    from transformers import PretrainedConfig

    checked_folder(folder, "segmentation model")
    if not (folder / "config.json").is_file():
        raise GroundingError(f"{folder} holds no config.json; give the whole folder of a model of transformers")
    told, _ = whole(lambda: PretrainedConfig.get_config_dict(folder, local_files_only=True), folder)
    return str(told.get("model_type", ""))


def _processor(folder: Path, **changed: Any) -> Any:
    """How the model wants its images, without torchvision where both ways exist."""
    import transformers

    if not (folder / PROCESSOR).is_file():
        raise GroundingError(f"{folder} holds no {PROCESSOR}; put the model's own beside its weights")
    told = {"local_files_only": True, "trust_remote_code": False, "backend": "pil"}
    auto: Any = transformers.AutoImageProcessor
    return whole(lambda: auto.from_pretrained(folder, **told, **changed), folder)


def _class_of(names: Mapping[int, str], text: str, folder: Path) -> int:
    place = next((int(place) for place, name in names.items() if name.casefold() == text.strip().casefold()), None)
    if place is None:
        first = listed([brief(str(name), 30) for name in names.values()], LISTED)
        lacks = f"has no class {shown(text)}" if text else "names classes, and seg.text says none"
        raise GroundingError(f"{folder} {lacks}; allowed: {first}")
    return place


def _resized(logits: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
