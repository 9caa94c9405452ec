"""What every visual tool keeps to, on random weights of the true shape: no weights of any network come with us."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grounding.films import film
from grounding.networks import biovil_folder
from mmedpo.errors import GroundingError
from mmedpo.grounding.chest.card import Fitted
from mmedpo.grounding.grounder import About, Grounder
from mmedpo.grounding.networks import clip, densenet, medklip, queries, weights
from mmedpo.grounding.tools.annotation import AnnotationGrounder
from mmedpo.grounding.tools.biovil import BiovilGrounder, BiovilSettings
from mmedpo.grounding.tools.boxes import BoxesGrounder, BoxesSettings
from mmedpo.grounding.tools.chest_probe import ChestProbe
from mmedpo.grounding.tools.clip_patch import ClipPatchGrounder, ClipPatchSettings
from mmedpo.grounding.tools.medklip import MedKLIPGrounder, MedKLIPSettings
from mmedpo.grounding.tools.patch_probe import shipped
from mmedpo.grounding.tools.seg import SegGrounder, SegSettings
from mmedpo.grounding.tools.xrv import XrvGrounder, XrvSettings
from mmedpo.records import Box
from mmedpo.registry import names

BOX = Box(x0=70, y0=40, x1=110, y1=80, label="Opacity")
ABOUT = About("xray", "chest", "pa", "films/a.png", True)
CONFIDENT = {"patch-probe", "chest-probe", "medklip", "xrv", "clip-patch"}
MIRRORED = {"annotation", "boxes", "seg"}
"""Tools whose map of a mirrored image with mirrored boxes must be the mirrored map, whatever the weights."""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the true shape, under the published names."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    _medklip(folder)
    (folder / "xrv").mkdir()
    network = densenet.DenseNet()
    network.classifier.weight.data.abs_()  # so that every activation has a place
    torch.save(network.state_dict(), folder / "xrv" / "model.pt")
    _clip(folder / "clip")
    _sam(folder / "sam")
    biovil_folder(folder / "biovil")
    (folder / "boxes.json").write_text(json.dumps([{"file": "a.png", "boxes": [{"xyxy": [70, 40, 110, 80]}]}]))
    (folder / "mirrored.json").write_text(json.dumps([{"file": "a.png", "boxes": [{"xyxy": [18, 40, 58, 80]}]}]))
    return folder


def _medklip(folder: Path) -> None:
    state = {f"module.{name}": value for name, value in medklip.MedKLIP().state_dict().items()}
    state |= {"module.cl_fc.weight": torch.zeros(768, 256), "module.cl_fc.bias": torch.zeros(768)}
    torch.save({"model": state, "epoch": 99}, folder / "medklip.pth")
    entities = (*(f"entity {number}" for number in range(74)), "disease")
    vectors = np.random.default_rng(0).standard_normal((75, 768)).astype(np.float32)
    queries.save(queries.Queries(entities, vectors), folder / "queries.npz")


def _clip(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    words = {word: place for place, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "disease", "normal", "lung"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    told = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **told).save_pretrained(folder)


def _sam(folder: Path) -> None:
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "mlp_dim": 32,
        "window_size": 2,
        "global_attn_indexes": [0],
        "num_pos_feats": 8,
    }
    prompt = {
        "hidden_size": 16,
        "image_size": 64,
        "patch_size": 16,
        "image_embedding_size": 4,
        "mask_input_channels": 4,
    }
    mask = {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
        "num_hidden_layers": 1,
    }
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask)).save_pretrained(
        folder
    )


@pytest.fixture(scope="session")
def tools(files: Path, fitted: Fitted) -> dict[str, Grounder]:
    """Every registered tool, opened."""
    told = MedKLIPSettings(checkpoint=files / "medklip.pth", queries=files / "queries.npz")
    return {
        "annotation": AnnotationGrounder(),
        "boxes": BoxesGrounder.from_settings(BoxesSettings(file=files / "boxes.json")),
        "patch-probe": shipped("phantom"),
        "chest-probe": ChestProbe(fitted.coefficients),
        "medklip": MedKLIPGrounder.from_settings(told),
        # The shipped template knows no toy film.
        "xrv": XrvGrounder.from_settings(XrvSettings(folder=files / "xrv", lungs=False)),
        "clip-patch": ClipPatchGrounder.from_settings(ClipPatchSettings(folder=files / "clip", against="normal lung")),
        "seg": SegGrounder.from_settings(SegSettings(folder=files / "sam")),
        "biovil": BiovilGrounder.from_settings(BiovilSettings(folder=files / "biovil")),
    }


TOOLS = ("annotation", "boxes", "patch-probe", "chest-probe", "medklip", "xrv", "clip-patch", "seg", "biovil")
QUICK = (*TOOLS[:-1], pytest.param("biovil", marks=pytest.mark.long))
"""A film through ResNet-50 at 448 pixels takes a second."""


def test_every_registered_tool_is_held_to_this_contract() -> None:
    assert set(TOOLS) == set(names("grounder"))


@pytest.mark.parametrize("name", TOOLS)
def test_the_map_has_the_picture_s_size_and_lies_in_0_to_1(tools: dict[str, Grounder], name: str) -> None:
    tool = tools[name]
    assert isinstance(tool, Grounder)
    assert tool.name == name
    grey = film(50, (60, 90))
    for image in (grey, np.repeat(grey[..., None], 3, axis=2)):
        region = tool.ground(image, (BOX,), None, ABOUT)
        if region.heatmap is None:
            assert name == "seg"  # random weights may find nothing in the box
            assert region.reason == "nothing-in-the-box"
            continue
        assert region.heatmap.shape == grey.shape
        assert region.heatmap.dtype == np.float32
        assert region.heatmap.min() >= 0
        assert region.heatmap.max() == pytest.approx(1)
        assert (region.confidence is not None) is (name in CONFIDENT)
        assert region.confidence is None or 0 <= region.confidence <= 1
        assert region.reason or region.confidence is not None
        assert all(0 <= box.x0 < box.x1 <= 128 and 0 <= box.y0 < box.y1 <= 128 for box in region.boxes)


@pytest.mark.parametrize("name", QUICK)
def test_the_same_picture_gives_the_same_map(tools: dict[str, Grounder], name: str) -> None:
    one, other = (tools[name].ground(film(51, (60, 90)), (BOX,), None, ABOUT) for _ in range(2))
    assert np.array_equal(one.heatmap, other.heatmap)
    assert one.confidence == other.confidence


@pytest.mark.parametrize("name", sorted(MIRRORED))
def test_a_mirrored_picture_gives_the_mirrored_map(tools: dict[str, Grounder], files: Path, name: str) -> None:
    tool, image = tools[name], film(52)
    other = BoxesGrounder.from_settings(BoxesSettings(file=files / "mirrored.json")) if name == "boxes" else tool
    if isinstance(tool, SegGrounder):
        tool = other = SegGrounder(_Dark())  # type: ignore[arg-type]
    there = Box(x0=128 - BOX.x1, y0=BOX.y0, x1=128 - BOX.x0, y1=BOX.y1, label=BOX.label)
    straight = tool.ground(image, (BOX,), None, ABOUT)
    mirrored = other.ground(image[:, ::-1].copy(), (there,), None, ABOUT)
    assert straight.heatmap is not None
    assert mirrored.heatmap is not None
    assert np.abs(straight.heatmap - mirrored.heatmap[:, ::-1]).max() < 1e-6


class _Dark:
    """A refiner that takes what is dark inside the box."""

    def refine(self, image: np.ndarray, boxes: list[Box]) -> np.ndarray:
        mask = np.zeros(image.shape, dtype=bool)
        for box in boxes:
            part = slice(int(box.y0), int(box.y1)), slice(int(box.x0), int(box.x1))
            mask[part] = image[part] < 120
        return mask


@pytest.mark.parametrize("name", [name for name in QUICK if name not in (*MIRRORED, "seg")])
def test_only_annotation_tools_look_at_the_annotation(tools: dict[str, Grounder], name: str) -> None:
    image = film(53, (60, 90))
    alone, told = (
        tools[name].ground(image, about=ABOUT),
        tools[name].ground(image, (BOX,), np.ones((128, 128), bool), ABOUT),
    )
    assert np.array_equal(alone.heatmap, told.heatmap)


@pytest.mark.parametrize("name", ["medklip", "xrv", "biovil"])
def test_networks_trained_on_chest_films_apply_to_nothing_else(tools: dict[str, Grounder], name: str) -> None:
    tool = tools[name]
    assert tool.applies("xray", "chest", "pa") == ""
    assert tool.applies("xray", "chest", "") == ""
    assert "modality is ct" in tool.applies("ct", "chest", "")
    assert "organ is head" in tool.applies("xray", "head", "")
    assert "view is lateral" in tool.applies("xray", "chest", "lateral")
    assert "set ground.assume.modality" in tool.applies("", "chest", "")


OTHERS = (("ct", "abdomen"), ("mri", "head"), ("pathology", ""), ("fundus", "eye"), ("dermoscopy", "skin"))
ANYWHERE = {"annotation", "boxes", "seg", "clip-patch"}
"""Tools for every modality: an annotator saw what it is, or the user says what the model knows."""


@pytest.mark.parametrize(("modality", "organ"), OTHERS)
def test_beyond_chest_films_a_tool_applies_or_says_in_one_line_why_not(
    tools: dict[str, Grounder], modality: str, organ: str
) -> None:
    told = {name: tool.applies(modality, organ, "") for name, tool in tools.items()}
    assert {name for name, reason in told.items() if not reason} == ANYWHERE
    for name, reason in told.items():
        if name not in ANYWHERE:
            assert "\n" not in reason
            assert f"modality is {modality}" in reason or f"organ is {organ}" in reason


def mirror_blind(module: torch.nn.Module) -> None:
    """Makes every kernel its own mirror image, so that the network cannot tell left from right."""
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.weight.data.copy_((part.weight.data + part.weight.data.flip(-1)) / 2)


def test_a_network_blind_to_sides_marks_the_mirrored_place_in_the_mirrored_picture(tools: dict[str, Grounder]) -> None:
    """Maps are laid over the picture the right way round: what reads its patches in another order fails here."""
    import copy

    image = film(52, (50, 95))
    for name in ("clip-patch", "xrv"):
        tool = copy.deepcopy(tools[name])
        network: Any = tool._patches._model if name == "clip-patch" else tool._network  # type: ignore[attr-defined]
        mirror_blind(network)
        if name == "clip-patch":
            places = network.vision_model.embeddings.position_embedding.weight.data
            grid = places[1:].reshape(4, 4, -1)
            grid.copy_((grid + grid.flip(1)) / 2)
        straight, mirrored = tool.ground(image, about=ABOUT), tool.ground(image[:, ::-1].copy(), about=ABOUT)
        assert straight.heatmap is not None
        assert mirrored.heatmap is not None
        turned = np.corrcoef(straight.heatmap.ravel(), mirrored.heatmap[:, ::-1].ravel())[0, 1]
        as_it_was = np.corrcoef(straight.heatmap.ravel(), mirrored.heatmap.ravel())[0, 1]
        assert turned > 0.95, name
        assert as_it_was < turned - 0.05, name


# MedKLIP: cases with a known answer.


def hand_built() -> medklip.MedKLIP:
    """Attention of the last three layers is even; the first looks where the patch agrees with the query."""
    network = medklip.MedKLIP()
    network.requires_grad_(False)
    for layer in network.decoder.layers:
        layer.multihead_attn.in_proj_weight.zero_()
        layer.multihead_attn.in_proj_bias.zero_()
        layer.multihead_attn.out_proj.weight.zero_()
    first = network.decoder.layers[0].multihead_attn
    first.in_proj_weight[: 2 * medklip.WIDTH] = torch.eye(medklip.WIDTH).repeat(2, 1) * 4
    network.decoder.layers[0].self_attn.out_proj.weight.zero_()
    network.disease_embedding_layer.weight.copy_(torch.eye(768)[:256])
    network.disease_embedding_layer.bias.zero_()
    network.res_l1.weight.copy_(torch.eye(1024))
    network.res_l1.bias.zero_()
    network.res_l2.weight.copy_(torch.eye(1024)[:256])
    network.res_l2.bias.zero_()
    network.classifier.weight.zero_()
    network.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    return network.eval()


class _Patches(torch.nn.Module):
    """A trunk that sees one thing: 256 numbers at one patch."""

    def __init__(self, row: int, column: int, vector: torch.Tensor) -> None:
        super().__init__()
        self.row, self.column, self.vector = row, column, vector

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(images), 1024, 14, 14)
        out[:, :256, self.row, self.column] = self.vector
        return out


def test_medklip_looks_where_the_patch_agrees_with_the_query() -> None:
    network = hand_built()
    vector = torch.zeros(256)
    vector[5] = 3.0
    network.res_features = _Patches(2, 11, vector)  # type: ignore[assignment]
    embeddings = np.zeros((2, 768), dtype=np.float32)
    embeddings[0, 5], embeddings[1, 9] = 1.0, 1.0
    tool = MedKLIPGrounder(network, queries.Queries(("disease", "other"), embeddings), "disease")
    image = film(0)
    region = tool.ground(image, about=ABOUT)
    assert region.heatmap is not None
    row, column = np.unravel_index(region.heatmap.argmax(), region.heatmap.shape)
    assert (row * 14 // 128, column * 14 // 128) == (2, 11)
    # softmax of the two-way logit (0, 1)
    assert region.confidence == pytest.approx(1 / (1 + np.exp(-1)))
    assert region.label == "disease"
    with torch.inference_mode():
        maps, present = network(torch.zeros(1, 3, 224, 224), torch.from_numpy(embeddings))
    assert maps.shape == (1, 2, 14, 14)
    assert present.shape == (1, 2)
    assert maps.sum(dim=(2, 3)) == pytest.approx(1)
    # three even layers hold 3/4 of the mass, evenly; the rest is the first layer's
    assert maps[0, 0, 0, 0].item() >= 0.75 / 196 - 1e-6


def test_the_trunk_is_resnet_50_to_layer_3() -> None:
    trunk = medklip.trunk()
    with torch.inference_mode():
        assert trunk(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 14, 14)
    # He et al. 2016: 8,543,296 weights up to layer 3 (of 25,557,032 with layer 4 and the classifier)
    assert sum(value.numel() for value in trunk.parameters()) == 8_543_296
    assert "res_features.6.0.downsample.0.weight" in medklip.MedKLIP().state_dict()


def test_a_checkpoint_of_another_network_is_refused(files: Path, tmp_path: Path) -> None:
    def opened(change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        state = torch.load(files / "medklip.pth", weights_only=True)["model"]
        change(state)
        torch.save({"model": state}, tmp_path / "c.pth")
        MedKLIPGrounder.from_settings(MedKLIPSettings(checkpoint=tmp_path / "c.pth", queries=files / "queries.npz"))

    with pytest.raises(GroundingError, match=r"lacks decoder\.norm\.weight"):
        opened(lambda state: state.pop("module.decoder.norm.weight"))
    with pytest.raises(GroundingError, match="unknown surprise"):
        opened(lambda state: state.update(surprise=torch.zeros(2)))
    with pytest.raises(GroundingError, match=r"another shape for classifier\.bias"):
        opened(lambda state: state.update({"module.classifier.bias": torch.zeros(3)}))


def test_a_pickled_model_is_not_opened(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(GroundingError, match="cannot be read as tensors"):
        weights.read_tensors(tmp_path / "model.pt", "weights")
    with pytest.raises(GroundingError, match="cannot be read as tensors"):
        weights.read_tensors(tmp_path / "none.safetensors", "weights")


def test_queries_of_another_kind_are_refused(tmp_path: Path, files: Path) -> None:
    with pytest.raises(GroundingError, match="cannot be read"):
        queries.load(tmp_path / "none.npz")
    np.savez(tmp_path / "q.npz", names=np.array(["a"]), embeddings=np.zeros((2, 768)))
    with pytest.raises(GroundingError, match="allowed: \\[entities, 768\\]"):
        queries.load(tmp_path / "q.npz")
    settings = MedKLIPSettings(checkpoint=files / "medklip.pth", queries=files / "queries.npz", entity="dragon")
    with pytest.raises(GroundingError, match="no entity 'dragon'"):
        MedKLIPGrounder.from_settings(settings)


# TorchXRayVision.


def test_grad_cam_is_the_weighted_last_map() -> None:
    """Against autograd: the closed form is the gradient's."""
    torch.manual_seed(1)
    network = densenet.DenseNet(3).eval()
    last, logits = network(torch.randn(1, 1, 224, 224) * 500)
    (slope,) = torch.autograd.grad(logits[0, 1], last)
    expected = torch.relu((slope.mean(dim=(2, 3))[..., None, None] * last).sum(dim=1))
    with torch.inference_mode():
        found, _ = network.activation(torch.zeros(1, 1, 224, 224), 1)
        assert found.shape == (1, 7, 7)
    found = torch.relu(torch.einsum("bchw,c->bhw", last, network.classifier.weight[1]) / 49)
    assert torch.allclose(found, expected, atol=1e-6)


def test_densenet_121_has_its_published_size() -> None:
    # 7,978,856 with three channels and 1000 classes: less two grey-less channels and the classifier, plus 18 outputs
    count = sum(value.numel() for value in densenet.DenseNet().parameters())
    assert count == 7_978_856 - 2 * 64 * 49 - 1_025_000 + 1024 * 18 + 18


@pytest.mark.parametrize(
    ("logit", "threshold", "value"), [(0.0, None, 0.5), (-2.0, 0.1192029, 0.5), (0.0, 0.25, 2 / 3)]
)
def test_the_operating_point_becomes_one_half(logit: float, threshold: float | None, value: float) -> None:
    assert densenet.calibrated(logit, threshold) == pytest.approx(value, abs=1e-6)


def test_xrv_names_what_it_lacks(tmp_path: Path, files: Path) -> None:
    with pytest.raises(GroundingError, match=r"holds none of model\.safetensors"):
        XrvGrounder.from_settings(XrvSettings(folder=tmp_path))
    with pytest.raises(GroundingError, match="no finding 'Dragon'"):
        XrvGrounder.from_settings(XrvSettings(folder=files / "xrv", finding="Dragon"))


def test_xrv_keeps_the_map_inside_the_lungs_of_a_real_film(files: Path, shared_data: Path) -> None:
    from mmedpo.imaging.images import read_image

    rows = json.loads((shared_data / "cxr_boxes" / "annotations.json").read_text())
    image = read_image(shared_data / "cxr_boxes", next(row["file"] for row in rows if row["rsna_class"] == "Normal"))
    free = XrvGrounder.from_settings(XrvSettings(folder=files / "xrv", lungs=False)).ground(image)
    kept = XrvGrounder.from_settings(XrvSettings(folder=files / "xrv")).ground(image)
    assert kept.heatmap is not None
    height, width = kept.heatmap.shape
    rim = kept.heatmap[: height // 20], kept.heatmap[-height // 8 :], kept.heatmap[:, : width // 20]
    assert max(float(part.max()) for part in rim) < 0.05
    assert kept.heatmap[height // 4 : height // 2].max() > 0.2
    assert free.confidence == kept.confidence
    noise = np.random.default_rng(0).integers(0, 255, (80, 80)).astype(np.uint8)
    assert XrvGrounder.from_settings(XrvSettings(folder=files / "xrv")).ground(noise).declined


# CLIP-like models, SAM-type models.


def test_clip_reads_patches_in_reading_order(files: Path) -> None:
    """The patch whose pixels differ is the one whose similarity differs most."""
    network = clip.ClipPatches.load(files / "clip", ["disease"])
    grey = np.full((32, 32), 128, dtype=np.uint8)
    marked = grey.copy()
    marked[8:16, 24:32] = np.random.default_rng(0).integers(0, 255, (8, 8))
    change = (network.look(marked).patches - network.look(grey).patches)[0].abs()
    assert change.shape == (4, 4)
    assert int(change.argmax()) == 1 * 4 + 3


def test_one_text_gives_no_confidence(files: Path) -> None:
    tool = ClipPatchGrounder.from_settings(ClipPatchSettings(folder=files / "clip"))
    region = tool.ground(film(0))
    assert region.heatmap is not None
    assert (region.confidence, region.reason) == (None, "similarity-gives-no-confidence")
    assert tool.applies("dermoscopy", "skin", "") == ""
    limited = ClipPatchGrounder.from_settings(ClipPatchSettings(folder=files / "clip", modalities=("ct", "mri")))
    assert limited.applies("ct", "", "") == ""
    assert "the tool is for ct or mri" in limited.applies("xray", "", "")


def test_siglip_models_are_read_too(files: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, SiglipConfig, SiglipModel

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 20, "max_position_embeddings": 8, "projection_size": 16}
    config = SiglipConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8})
    SiglipModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(files / "clip").save_pretrained(tmp_path)
    seen = clip.ClipPatches.load(tmp_path, ["disease", "normal"]).look(film(0))
    assert seen.patches.shape == (2, 4, 4)
    assert seen.patches.abs().max() <= 1 + 1e-5


def test_a_mask_stays_inside_its_box_and_needs_one(files: Path) -> None:
    tool = SegGrounder.from_settings(SegSettings(folder=files / "sam"))
    assert tool.ground(film(0)).declined
    mask = tool._refiner.refine(film(0), [BOX])
    mask[40:80, 70:110] = False
    assert not mask.any()


@pytest.mark.parametrize("kind", [ClipPatchSettings, SegSettings])
def test_a_folder_with_another_model_is_one_line(tmp_path: Path, kind: type) -> None:
    tool = ClipPatchGrounder if kind is ClipPatchSettings else SegGrounder
    with pytest.raises(GroundingError, match="does not exist"):
        tool.from_settings(kind(folder=tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(GroundingError) as caught:
        tool.from_settings(kind(folder=tmp_path))
    assert "\n" not in str(caught.value)
