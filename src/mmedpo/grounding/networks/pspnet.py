"""TorchXRayVision's anatomy network: PSPNet (Zhao et al., CVPR 2017) of Lian et al. (IEEE TMI 2021, ChestX-Det).

A dilated ResNet-101 at 1/8 of 512 pixels, pooled over 6, 3, 2 and 1 parts a side; a sigmoid for each of 14 structures.
Modules carry the names of the published file, `pspnet_chestxray_best_model_4.pth`: tensors by name, no pickled model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from mmedpo.grounding.grounder import to_grey
from mmedpo.grounding.networks.weights import IMAGENET_MEAN, IMAGENET_STD, as_rgb, fill, read_tensors
from mmedpo.records.shapes import Mask, Pixels

FILES = ("pspnet_chestxray_best_model_4.pth", "anatomy.safetensors")
"""Names under which the weights are found beside a classifier's."""
SIDE = 512
BLOCKS = (3, 4, 23, 3)
"""Blocks of each stage: ResNet-101."""
PARTS = (6, 3, 2, 1)
TARGETS = (
    "Left Clavicle",
    "Right Clavicle",
    "Left Scapula",
    "Right Scapula",
    "Left Lung",
    "Right Lung",
    "Left Hilus Pulmonis",
    "Right Hilus Pulmonis",
    "Heart",
    "Aorta",
    "Facies Diaphragmatica",
    "Mediastinum",
    "Weasand",
    "Spine",
)
"""Outputs, in order."""
LUNGS = ("Left Lung", "Right Lung")
INSIDE = 0.5
"""Probability from which on a pixel belongs to a structure."""
UNUSED = ("convbnrelu4_aux.", "aux_cls.")
"""Beginnings of names that only training needs."""


class Unit(nn.Module):
    """Convolution without bias, norm and, where it is called `cbr_unit`, ReLU."""

    def __init__(self, name: str, inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        around = dilation * (size // 2)
        convolution = nn.Conv2d(inputs, outputs, size, stride, around, dilation, bias=False)
        after = [nn.ReLU()] if name == "cbr_unit" else []
        self.add_module(name, nn.Sequential(convolution, nn.BatchNorm2d(outputs), *after))
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h / stride, w / stride]."""
        out: Tensor = getattr(self, self._name)(x)
        return out


class Block(nn.Module):
    """A bottleneck of three convolutions beside the input, which the first of a stage brings to its width."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, dilation: int, *, first: bool) -> None:
        super().__init__()
        self.cbr1 = Unit("cbr_unit", inputs, middle, 1)
        self.cbr2 = Unit("cbr_unit", middle, middle, 3, stride, dilation)
        self.cb3 = Unit("cb_unit", middle, outputs, 1)
        self.cb4 = Unit("cb_unit", inputs, outputs, 1, stride) if first else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h / stride, w / stride]."""
        beside = x if self.cb4 is None else self.cb4(x)
        return torch.relu(self.cb3(self.cbr2(self.cbr1(x))) + beside)


class Stage(nn.Module):
    """Blocks of one width, the first of which may halve the picture."""

    def __init__(self, count: int, inputs: int, middle: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * middle
        first = Block(inputs, middle, outputs, stride, dilation, first=True)
        later = (Block(outputs, middle, outputs, 1, dilation, first=False) for _ in range(count - 1))
        self.layers = nn.Sequential(first, *later)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, 4 * middle, h / stride, w / stride]."""
        out: Tensor = self.layers(x)
        return out


class Pyramid(nn.Module):
    """Means over 6, 3, 2 and 1 parts a side, each brought to a quarter of the width and laid beside the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path_module_list = nn.ModuleList(Unit("cbr_unit", width, width // len(PARTS), 1) for _ in PARTS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] to [B, 2 * width, h, w]; h and w at least 6."""
        size = (x.shape[2], x.shape[3])
        found = [x]
        for parts, path in zip(PARTS, self.path_module_list, strict=True):
            pooled = avg_pool2d(x, (size[0] // parts, size[1] // parts))
            found.append(interpolate(path(pooled), size, mode="bilinear", align_corners=False))
        return torch.cat(found, dim=1)


class PSPNet(nn.Module):
    """The network; `blocks` are fewer only in tests."""

    def __init__(self, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__()
        self.convbnrelu1_1 = Unit("cbr_unit", 3, 64, 3, stride=2)
        self.convbnrelu1_2 = Unit("cbr_unit", 64, 64, 3)
        self.convbnrelu1_3 = Unit("cbr_unit", 64, 128, 3)
        self.res_block2 = Stage(blocks[0], 128, 64, 1, 1)
        self.res_block3 = Stage(blocks[1], 256, 128, 2, 1)
        self.res_block4 = Stage(blocks[2], 512, 256, 1, 2)
        self.res_block5 = Stage(blocks[3], 1024, 512, 1, 4)
        self.pyramid_pooling = Pyramid(2048)
        self.cbr_final = Unit("cbr_unit", 4096, 512, 3)
        self.classification = nn.Conv2d(512, len(TARGETS), 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] standardised as for ImageNet to logits [B, 14, h, w]."""
        x = self.convbnrelu1_3(self.convbnrelu1_2(self.convbnrelu1_1(images)))
        x = self.res_block3(self.res_block2(max_pool2d(x, 3, 2, 1)))
        x = self.cbr_final(self.pyramid_pooling(self.res_block5(self.res_block4(x))))
        return interpolate(self.classification(x), images.shape[2:], mode="bilinear", align_corners=False)


def load(path: Path) -> PSPNet:
    """The network with the weights of a file.

    Raises:
        GroundingError: missing, unreadable, or weights of another network.
    """
    network = PSPNet()
    fill(network, read_tensors(path, "anatomy weights"), path, UNUSED)
    return network


def lungs(network: PSPNet, image: Pixels) -> Mask:
    """Both lungs of a whole film, bool [H, W]; a colour image (uint8 [H, W, 3]) is taken as grey."""
    grey = np.rint(to_grey(image)).astype(np.uint8)
    with torch.inference_mode():
        logits = network(as_rgb(grey, SIDE, IMAGENET_MEAN, IMAGENET_STD))[0, [TARGETS.index(name) for name in LUNGS]]
        large = interpolate(logits.sigmoid()[None], image.shape[:2], mode="bilinear", align_corners=False)[0]
    found: NDArray[np.bool_] = (large.amax(dim=0) >= INSIDE).numpy()
    return found
