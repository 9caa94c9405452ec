"""`seg` with every kind of segmentation model: random weights as `transformers` saves them, and cases known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from grounding.films import film
from grounding.segmenters import saved
from mmedpo.errors import GroundingError
from mmedpo.grounding.networks.clip import ClipPatches
from mmedpo.grounding.networks.segmentation import NamedClass, PromptedClass, open_refiner
from mmedpo.grounding.tools.seg import SegGrounder, SegSettings
from mmedpo.records import Box

BOX = Box(x0=70, y0=40, x1=110, y1=80, label="Opacity")
LONG = pytest.mark.long
KINDS = ["segformer", "clipseg", *(pytest.param(kind, marks=LONG) for kind in ("mask2former", "oneformer", "sam2"))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_refines_a_box_and_nothing_outside_it(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path)
    refiner = open_refiner(folder, "" if kind == "sam2" else "mass")
    for image in (film(0), np.repeat(film(0)[:100, :, None], 3, axis=2)):
        mask = refiner.refine(image, [BOX])
        assert (mask.shape, mask.dtype) == (image.shape[:2], np.bool_)
        assert (mask == refiner.refine(image, [BOX])).all()
        mask[40:80, 70:110] = False
        assert not mask.any()
    if kind == "segformer":
        tool = SegGrounder.from_settings(SegSettings(folder=folder, text="Mass", modalities=("ct", "mri")))
        assert tool.applies("ct", "chest", "") == ""
        assert tool.applies("fundus", "eye", "") == "modality is fundus, the tool is for ct or mri"
        assert tool.ground(film(0)).reason == "no-box-to-refine"
        region = tool.ground(film(0), [BOX])
        assert region.confidence is None
        assert region.reason in ("outline-gives-no-confidence", "nothing-in-the-box")


def test_the_folder_is_whole_and_knows_the_class_or_the_error_says_what_it_lacks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = saved("segformer", tmp_path)
    for text, said in (
        ("dragon", "has no class 'dragon'; allowed: background, lung, Mass"),
        ("", "seg.text says none"),
    ):
        with pytest.raises(GroundingError, match=said):
            open_refiner(folder, text)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    headless = {name: value for name, value in weights.items() if not name.startswith("decode_head.classifier")}
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GroundingError, match=r"lacks decode_head\.classifier\.bias \(2 such weights\)"):
        open_refiner(folder, "mass")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GroundingError, match="holds a SegformerModel; allowed: a CLIP- or SigLIP-like model"):
        ClipPatches.load(folder, ["mass"])
    assert "LOAD REPORT" not in "".join(capfd.readouterr()), "the error is all that is said"
    with pytest.raises(GroundingError, match=r"model\.safetensors is a file; give the folder"):
        open_refiner(folder / "model.safetensors", "mass")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(GroundingError, match=r"holds no preprocessor_config\.json"):
        open_refiner(folder, "mass")


@pytest.mark.parametrize(
    ("model_type", "text", "said"),
    [
        ("bert", "", "holds a bert; allowed: a SAM-type model, one for semantic or universal"),
        ("sam", "mass", "seg.text='mass' has no effect: sam outlines whatever is boxed"),
        ("clipseg", "", "finds what a text says; give one: seg.text"),
        ("mask2former", "mass", "cannot be loaded as a segmentation model"),
        (None, "", "holds a model without model_type; allowed"),
    ],
)
def test_a_folder_that_cannot_refine_is_one_line(tmp_path: Path, model_type: str | None, text: str, said: str) -> None:
    with pytest.raises(GroundingError, match=r"holds no config\.json"):
        open_refiner(tmp_path, text)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type} if model_type else {}))
    with pytest.raises(GroundingError, match=said) as caught:
        open_refiner(tmp_path, text)
    assert "\n" not in str(caught.value)


class _Bright(torch.nn.Module):
    """Says `Mass` of bright pixels: as scores of classes, as queries with masks, or as the answer to a text."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> SimpleNamespace:
        bright = pixel_values.mean(dim=1, keepdim=True) * 20  # a processor takes off a mean: bright is above 0
        if self.kind == "semantic":
            return SimpleNamespace(logits=torch.cat([torch.zeros_like(bright), -bright.abs() - 1, bright], dim=1))
        if self.kind == "prompted":
            return SimpleNamespace(logits=bright[0])
        # Two queries, one for what is bright and one for the rest; the last class is none.
        sure = torch.tensor([[[-9.0, -9.0, 9.0, -9.0], [9.0, -9.0, -9.0, -9.0]]])
        masks = torch.cat([bright, -bright], dim=1)
        return SimpleNamespace(class_queries_logits=sure, masks_queries_logits=masks)


@pytest.mark.parametrize("kind", ["semantic", "universal", "prompted"])
def test_what_the_model_names_is_found_where_it_lies(kind: str) -> None:
    """Of two bright squares the box holds one and a part of the picture that is dark: the outline is the square's."""
    image = np.full((60, 90), 20, dtype=np.uint8)
    image[12:24, 60:78] = image[40:50, 6:20] = 240
    box = Box(x0=50, y0=6, x1=84, y1=36, label="Mass")
    refiner: NamedClass | PromptedClass
    if kind == "universal":
        from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

        shown = {
            "size": {"height": 60, "width": 90},
            "size_divisor": 0,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
        refiner = NamedClass(_Bright(kind), Mask2FormerImageProcessorPil(**shown), 2)
    else:
        from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

        size = {"height": 60, "width": 60}  # another shape than the picture's: the mask is the picture's again
        processor = SegformerImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        model = _Bright(kind)
        refiner = NamedClass(model, processor, 2) if kind == "semantic" else PromptedClass(model, processor, {})
    mask = refiner.refine(image, [box])
    expected = np.zeros_like(mask)
    expected[12:24, 60:78] = True
    both = (mask & expected).sum() / (mask | expected).sum()
    assert both > 0.85, kind
    turned = refiner.refine(image[:, ::-1].copy(), [box])
    assert not turned.any(), "mirrored, the box holds neither square"
