"""DenseNet-121 (Huang et al., CVPR 2017) with one grey channel, under the names of TorchXRayVision's weights."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from mmedpo.grounding.grounder import to_grey
from mmedpo.records.shapes import Pixels

SIDE = 224
GROWTH, BOTTLENECK = 32, 4
BLOCKS = (6, 12, 24, 16)
GREY_RANGE = 1024.0
"""Pixels 0..255 become -GREY_RANGE..GREY_RANGE, as the weights were trained on."""
FINDINGS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
"""Outputs of the 18-finding weights, in order."""


class DenseLayer(nn.Module):
    """1 x 1 then 3 x 3 convolution, each after norm and ReLU; the result is appended to the input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * GROWTH)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, inputs + GROWTH, h, w]."""
        new = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(new)))], dim=1)


class DenseNet(nn.Module):
    """The classifier; `features` gives the last map before pooling."""

    def __init__(self, outputs: int = len(FINDINGS)) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(64),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        width = 64
        for number, layers in enumerate(BLOCKS, start=1):
            block: OrderedDict[str, nn.Module] = OrderedDict()
            for place in range(layers):
                block[f"denselayer{place + 1}"] = DenseLayer(width + place * GROWTH)
            parts[f"denseblock{number}"] = nn.Sequential(block)
            width += layers * GROWTH
            if number < len(BLOCKS):
                halved: OrderedDict[str, nn.Module] = OrderedDict(
                    norm=nn.BatchNorm2d(width),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(width, width // 2, 1, bias=False),
                    pool=nn.AvgPool2d(2),
                )
                parts[f"transition{number}"] = nn.Sequential(halved)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, 224, 224] to the last map [B, 1024, 7, 7] after ReLU, and logits [B, outputs]."""
        last = torch.relu(self.features(images))
        return last, self.classifier(last.mean(dim=(2, 3)))

    def activation(self, images: Tensor, finding: int) -> tuple[Tensor, Tensor]:
        """Grad-CAM (Selvaraju et al. 2017) of one output, [B, 7, 7], and its logit [B].

        The gradient of a logit behind global mean pooling is its classifier weight divided by the map's
        area, everywhere: no backward pass is needed.
        """
        last, logits = self(images)
        weighted = torch.einsum("bchw,c->bhw", last, self.classifier.weight[finding])
        return torch.relu(weighted / (last.shape[2] * last.shape[3])), logits[:, finding]


def as_grey(image: Pixels) -> Tensor:
    """float32 [1, 1, 224, 224] in -1024..1024: the whole picture, resized."""
    from PIL import Image

    grey = Image.fromarray(to_grey(image).astype(np.float32))
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    return torch.from_numpy((small / 255.0 * 2.0 - 1.0) * GREY_RANGE)[None, None]


def calibrated(logit: float, threshold: float | None) -> float:
    """Sigmoid, and where an operating point is known, stretched on both sides so that it becomes 0.5."""
    probability = float(torch.sigmoid(torch.tensor(logit)))
    if threshold is None:
        return probability
    if probability < threshold:
        return probability / (2 * threshold)
    return 1 - (1 - probability) / (2 * (1 - threshold))
