"""TorchXRayVision's anatomy network: its published names, a case known by hand, and what `xrv` makes of its lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mmedpo.errors import GroundingError
from mmedpo.grounding.networks import densenet, pspnet
from mmedpo.grounding.tools import xrv
from mmedpo.grounding.tools.xrv import XrvGrounder, XrvSettings


def published(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """The file's layout: names of a network trained on several devices, and what only training needs."""
    training = {
        "convbnrelu4_aux.cbr_unit.0.weight": torch.zeros(256, 1024, 3, 3),
        "aux_cls.weight": torch.zeros(14, 256, 1, 1),
        "aux_cls.bias": torch.zeros(14),
    }
    state = {**pspnet.PSPNet().state_dict(), **training, **changed}
    return {f"module.{name}": value for name, value in state.items()}


def test_the_network_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        state = pspnet.PSPNet().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    # 3 + 33 blocks of 3, one more in the first of each stage, 4 of the pyramid, 1 before the classifier
    assert sum(name.endswith(".0.weight") for name in shapes) == 3 + 33 * 3 + 4 + 4 + 1
    for name, shape in {
        "convbnrelu1_1.cbr_unit.0.weight": (64, 3, 3, 3),
        "convbnrelu1_3.cbr_unit.1.running_var": (128,),
        "res_block2.layers.0.cb4.cb_unit.0.weight": (256, 128, 1, 1),
        "res_block4.layers.22.cbr2.cbr_unit.0.weight": (256, 256, 3, 3),
        "res_block5.layers.0.cb4.cb_unit.0.weight": (2048, 1024, 1, 1),
        "res_block5.layers.2.cb3.cb_unit.1.weight": (2048,),
        "pyramid_pooling.path_module_list.3.cbr_unit.0.weight": (512, 2048, 1, 1),
        "cbr_final.cbr_unit.0.weight": (512, 4096, 3, 3),
        "classification.weight": (14, 512, 1, 1),
        "classification.bias": (14,),
    }.items():
        assert shapes[name] == shape, name
    assert "res_block2.layers.1.cb4.cb_unit.0.weight" not in shapes, "only the first block of a stage changes the width"
    assert not any(name.endswith(".0.bias") for name in shapes)


def test_the_output_is_as_large_as_the_input_and_sees_an_eighth_of_it() -> None:
    torch.manual_seed(0)
    network = pspnet.PSPNet((1, 1, 1, 1)).eval()
    sizes = []
    network.pyramid_pooling.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[0].shape)))
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 96, 64)).shape == (1, 14, 96, 64)
    assert sizes == [(1, 2048, 12, 8)]


class _Dark(torch.nn.Module):
    """Calls what is dark lungs: left of the middle the right one, as in a film."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (1, 3, pspnet.SIDE, pspnet.SIDE)
        logits = torch.full((1, 14, *images.shape[2:]), -9.0)
        middle = pspnet.SIDE // 2
        logits[:, pspnet.TARGETS.index("Right Lung"), :, :middle] = -images[:, 0, :, :middle] * 20
        logits[:, pspnet.TARGETS.index("Left Lung"), :, middle:] = -images[:, 0, :, middle:] * 20
        logits[:, pspnet.TARGETS.index("Heart")] = 9.0
        return logits


def film() -> np.ndarray:
    """Bright, with two dark lungs."""
    image = np.full((120, 90), 220, dtype=np.uint8)
    image[20:90, 10:35] = image[20:90, 55:80] = 30
    return image


def test_both_lungs_are_found_and_the_heart_is_none() -> None:
    mask = pspnet.lungs(_Dark(), film())  # type: ignore[arg-type]
    assert mask.shape == (120, 90)
    assert (mask != (film() < 100)).mean() < 0.02


def grounder(anatomy: Any, **settings: Any) -> XrvGrounder:
    torch.manual_seed(0)
    network = densenet.DenseNet(2).eval()
    network.classifier.weight.data.abs_()  # so that every activation has a place
    return XrvGrounder(network, ("Lung Opacity", "Mass"), "Lung Opacity", None, lungs=True, anatomy=anatomy)


def test_the_map_stays_inside_the_lungs_of_the_network_and_the_record_says_whose() -> None:
    tool = grounder(_Dark())
    region = tool.ground(film())
    assert region.heatmap is not None
    assert region.anatomy == xrv.NETWORK
    outside = np.ones((120, 90), bool)
    outside[15:95, 5:40] = outside[15:95, 50:85] = False
    assert region.heatmap[outside].max() == 0
    assert region.heatmap[30:80, 15:30].max() > 0
    organ = tool.organs(film())
    assert organ is not None
    assert (organ.label, organ.anatomy) == ("lung", xrv.NETWORK)
    assert organ.heatmap[50, 20] == 1
    assert organ.heatmap[50, 45] == 0


def test_a_picture_without_lungs_is_declined() -> None:
    white = np.full((80, 80), 230, dtype=np.uint8)
    region = grounder(_Dark()).ground(white)
    assert (region.declined, region.reason, region.heatmap) == (True, "no-lungs-found", None)
    assert grounder(_Dark()).organs(white) is None


def test_the_template_is_used_without_the_network_s_weights_and_says_so(shared_data: Path) -> None:
    from mmedpo.imaging.images import read_image

    file = next((shared_data / "cxr_boxes" / "boxed_1024").iterdir())
    region = grounder(None).ground(read_image(file.parent, file.name))
    assert region.anatomy == (xrv.TEMPLATE if region.heatmap is not None else "")
    assert region.heatmap is not None or region.reason == "not-like-a-frontal-chest-film"


def test_anatomy_without_lungs_has_no_effect() -> None:
    with pytest.raises(ValidationError, match="anatomy has no effect because lungs is false"):
        XrvSettings(folder=Path("x"), anatomy=Path("y"), lungs=False)


@pytest.mark.long
def test_the_published_file_is_found_in_the_folder_or_where_it_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(densenet.DenseNet().state_dict(), tmp_path / "model.pt")
    assert XrvGrounder.from_settings(XrvSettings(folder=tmp_path))._anatomy is None
    torch.save(published(), tmp_path / pspnet.FILES[0])
    beside = XrvGrounder.from_settings(XrvSettings(folder=tmp_path))
    assert beside._anatomy is not None
    assert XrvGrounder.from_settings(XrvSettings(folder=tmp_path, lungs=False))._anatomy is None
    mask = pspnet.lungs(beside._anatomy, film())
    assert (mask.shape, mask.dtype) == ((120, 90), np.bool_)
    elsewhere = tmp_path / "elsewhere.pth"
    torch.save(published(**{"classification.bias": torch.zeros(13)}), elsewhere)
    with pytest.raises(GroundingError, match=r"elsewhere\.pth has another shape for classification\.bias"):
        XrvGrounder.from_settings(XrvSettings(folder=tmp_path, anatomy=elsewhere))
    torch.save(torch.nn.Linear(2, 2), elsewhere)
    with pytest.raises(GroundingError, match=r"cannot be read as tensors .*model\.state_dict\(\), FILE"):
        XrvGrounder.from_settings(XrvSettings(folder=tmp_path, anatomy=elsewhere))
