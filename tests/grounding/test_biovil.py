"""BioViL-T on random weights of the true shape, and cases with a known answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from grounding.films import film
from grounding.networks import biovil_folder
from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import About
from mmedpo.grounding.networks import biovil
from mmedpo.grounding.tools.biovil import BiovilGrounder, BiovilSettings


class _Trunk(torch.nn.Module):
    """Sees the mean brightness of each patch, in the first of the joint numbers; the second is always 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = torch.nn.functional.avg_pool2d(images[:, :1], biovil.CROPPED // biovil.PATCHES)
        out = torch.zeros(len(images), biovil.JOINT, biovil.PATCHES, biovil.PATCHES)
        out[:, 0], out[:, 1] = bright[:, 0], 1.0
        return torch.nn.functional.normalize(out, dim=1)


def hand_built() -> BiovilGrounder:
    vector = torch.zeros(biovil.JOINT)
    vector[0] = 1.0
    return BiovilGrounder(_Trunk(), vector, "bright")  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(448, 448), (300, 500), (640, 320)])
def test_the_map_lies_where_the_text_is_seen(height: int, width: int) -> None:
    """Also of a film that is no square: only its middle is looked at, 448 of 512 of the shorter side."""
    image = np.full((height, width), 40, dtype=np.uint8)
    row, column = height // 2 - 30, width // 2 + 60
    image[row - 15 : row + 15, column - 15 : column + 15] = 220
    region = hand_built().ground(image)
    assert region.heatmap is not None
    top, left = np.unravel_index(region.heatmap.argmax(), region.heatmap.shape)
    assert abs(top - row) < 24
    assert abs(left - column) < 24
    side = min(height, width) * 448 / 512
    rim_rows, rim_columns = int((height - side) / 2) - 1, int((width - side) / 2) - 1
    assert not region.heatmap[:rim_rows].any()
    assert not region.heatmap[:, :rim_columns].any()
    assert not region.heatmap[height - rim_rows :].any()
    assert (region.confidence, region.reason) == (None, "similarity-gives-no-confidence")
    assert region.label == "bright"


def test_a_mirrored_film_gives_the_mirrored_map() -> None:
    image = film(3, (60, 90))
    straight, mirrored = hand_built().ground(image), hand_built().ground(image[:, ::-1].copy())
    assert straight.heatmap is not None
    assert mirrored.heatmap is not None
    assert np.abs(straight.heatmap - mirrored.heatmap[:, ::-1]).max() < 0.02


def test_grey_values_are_stretched_before_the_network_sees_them() -> None:
    image = np.full((64, 64), 70, dtype=np.uint8)
    image[:, 32:] = 90
    seen = biovil.middle(image).pixels
    assert seen.shape == (1, 3, 448, 448)
    assert (float(seen[0, 0, 200, 0]), float(seen[0, 0, 200, 447])) == (0, 1)
    assert torch.equal(seen[0, 0], seen[0, 2])
    assert not biovil.middle(np.full((64, 64), 200, dtype=np.uint8)).pixels.any()


def test_a_picture_without_contrast_has_no_map() -> None:
    region = hand_built().ground(np.full((64, 64), 200, dtype=np.uint8))
    assert (region.heatmap, region.reason) == (None, "map-without-peak")


def test_the_image_side_has_the_published_size_and_names() -> None:
    network = biovil.ImageSide()
    names = network.state_dict()
    # He et al. 2016: ResNet-50 has 25,557,032 weights, 2,049,000 of them in its classes
    trunk = sum(value.numel() for value in network.encoder.encoder.parameters())
    assert trunk == 25_557_032 - 2_049_000
    shapes = {
        "encoder.encoder.layer4.2.conv3.weight": (2048, 512, 1, 1),
        "encoder.backbone_to_vit.weight": (256, 2048, 1, 1),
        "encoder.missing_previous_emb": (1, 256, 1, 1),
        "projector.model.0.weight": (128, 512, 1, 1),
        "projector.model.1.running_mean": (128,),
        "projector.model.3.bias": (128,),
    }
    assert {name: tuple(names[name].shape) for name in shapes} == shapes
    with torch.inference_mode():
        vectors = network.eval()(torch.zeros(1, 3, 448, 448))
    assert vectors.shape == (1, 128, 14, 14)
    assert vectors.norm(dim=1) == pytest.approx(1, abs=1e-5)


def test_texts_are_unit_vectors_and_differ(tmp_path: Path) -> None:
    biovil_folder(tmp_path, images=False)
    one, other = biovil.embed(tmp_path, "disease"), biovil.embed(tmp_path, "normal lung")
    assert one.shape == (128,)
    assert float(one.norm()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(one, biovil.embed(tmp_path, "Disease"))  # the vocabulary is in lower case
    assert not torch.allclose(one, other)


def test_what_a_folder_lacks_is_named(tmp_path: Path) -> None:
    def refusal(text: str = "disease") -> str:
        with pytest.raises(GroundingError) as caught:
            BiovilGrounder.from_settings(BiovilSettings(folder=tmp_path, text=text))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "holds no model.safetensors or pytorch_model.bin" in refusal()
    biovil_folder(tmp_path, images=False)
    assert "holds no biovil_t_image_model_proj_size_128.safetensors or " in refusal()
    assert "more than 16 tokens" in refusal("lung " * 40)
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    torch.save({name: state[name] for name in state if "LayerNorm" not in name}, tmp_path / "pytorch_model.bin")
    assert "lacks bert.embeddings.LayerNorm.weight" in refusal()
    (tmp_path / "config.json").write_text(json.dumps({"projection_size": 64}))
    assert "projects texts to 64 numbers; allowed: 128" in refusal()
    (tmp_path / "config.json").write_text("[]")
    assert "allowed: a JSON object" in refusal()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 7, "num_attention_heads": 2}))
    assert "holds no text model of BioViL-T" in refusal()


def test_it_is_for_frontal_chest_films() -> None:
    tool = hand_built()
    assert tool.applies("xray", "chest", "pa") == ""
    assert "view is lateral" in tool.applies("xray", "chest", "lateral")
    assert "modality is mri" in tool.applies("mri", "head", "")
    assert tool.ground(film(0), (), None, About("xray", "chest")).calibrated is False
