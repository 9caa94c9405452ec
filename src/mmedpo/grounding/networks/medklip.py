"""MedKLIP (Wu et al., ICCV 2023) from its description, under the names of its published checkpoint.

ResNet-50 up to layer 3 sees 224 x 224 pixels as 14 x 14 patches of 1024 numbers; two linear layers make
d = 256 of them. Each of 75 entities is one query: the [CLS] vector of its description in Bio_ClinicalBERT,
brought to d. Four pre-norm decoder layers let the queries look at each other and at the patches. The map of
an entity is the mean of the four layers' cross-attention, averaged over heads; its confidence is the softmax
of a two-way classifier on the decoded query (0 absent, 1 present).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE, PATCHES = 224, 14
WIDTH, HEADS, LAYERS, FEED_FORWARD = 256, 4, 4, 1024
TEXT_WIDTH = 768
UNUSED = ("cl_fc.",)
"""Names of the checkpoint that only its pre-training needs."""


class Bottleneck(nn.Module):
    """The residual block of ResNet-50 (He et al. 2016), stride in the 3 x 3 convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != width * 4:
            projection = nn.Conv2d(inputs, width * 4, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(width * 4))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, 4 width, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


def trunk() -> nn.Sequential:
    """ResNet-50 without its last stage: [B, 3, 224, 224] to [B, 1024, 14, 14]."""
    stem: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = 64
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2)):
        rest = [Bottleneck(width * 4, width, 1) for _ in range(blocks - 1)]
        stem.append(nn.Sequential(Bottleneck(inputs, width, stride), *rest))
        inputs = width * 4
    return nn.Sequential(*stem)


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the patches, feed-forward; each after its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.linear1, self.linear2 = nn.Linear(WIDTH, FEED_FORWARD), nn.Linear(FEED_FORWARD, WIDTH)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [Q, B, d] and patches [P, B, d] to queries, and attention [B, Q, P] averaged over heads."""
        normed = self.norm1(queries)
        queries = queries + self.self_attn(normed, normed, normed, need_weights=False)[0]
        looked, weights = self.multihead_attn(self.norm2(queries), patches, patches)
        queries = queries + looked
        return queries + self.linear2(torch.relu(self.linear1(self.norm3(queries)))), weights


class Decoder(nn.Module):
    """The layers, and the norm after them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Decoded queries [Q, B, d], and attention [layers, B, Q, P]."""
        looks = []
        for layer in self.layers:
            queries, weights = layer(queries, patches)
            looks.append(weights)
        return self.norm(queries), torch.stack(looks)


class MedKLIP(nn.Module):
    """The network; its queries are given, not computed here."""

    def __init__(self) -> None:
        super().__init__()
        self.disease_embedding_layer = nn.Linear(TEXT_WIDTH, WIDTH)
        self.res_features = trunk()
        self.res_l1, self.res_l2 = nn.Linear(1024, 1024), nn.Linear(1024, WIDTH)
        self.decoder = Decoder()
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and presence of every entity.

        Args:
            images: [B, 3, 224, 224], standardised as for ImageNet.
            texts: [Q, 768] embedded descriptions.

        Returns:
            Attention [B, Q, 14, 14], each map summing to 1, and P(present) [B, Q].
        """
        features = self.res_features(images).flatten(2).permute(2, 0, 1)
        patches = self.res_l2(torch.relu(self.res_l1(features)))
        queries = self.disease_embedding_layer(texts)[:, None].expand(-1, len(images), -1)
        decoded, looks = self.decoder(queries, patches)
        present = torch.softmax(self.classifier(decoded), dim=-1)[..., 1].T
        return looks.mean(dim=0).unflatten(-1, (PATCHES, PATCHES)), present
