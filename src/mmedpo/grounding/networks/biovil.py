"""BioViL-T (Bannur et al., CVPR 2023) for one film and texts, under the names of its published files.

ResNet-50 sees the middle 448 of 512 pixels as 14 x 14 patches of 2048 numbers, brought to 256; a learned
vector stands where the difference to a prior film would, so that the temporal transformer is not needed. Two
1 x 1 convolutions bring both halves to the 128 numbers that texts share: the [CLS] state of CXR-BERT behind a
small head. The map of a text is the cosine of each patch with it, smoothed as its authors do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from mmedpo.errors import GroundingError, brief
from mmedpo.grounding.grounder import to_grey
from mmedpo.grounding.networks import weights
from mmedpo.grounding.networks.medklip import Bottleneck
from mmedpo.records.shapes import Pixels

RESIZED, CROPPED, PATCHES = 512, 448, 14
TRUNK_WIDTH, WIDTH, JOINT = 2048, 256, 128
SMOOTHING = 1.5
"""Blur of the similarities, patches."""
IMAGE_FILES = ("biovil_t_image_model_proj_size_128.safetensors", "biovil_t_image_model_proj_size_128.pt")
TEXT_FILES = ("model.safetensors", "pytorch_model.bin")
UNUSED_IMAGE = ("encoder.encoder.fc.", "encoder.vit_pooler.")
"""Names of the image file that only ImageNet's classes and the comparison with a prior film need."""
UNUSED_TEXT = ("cls.", "bert.pooler.", "bert.embeddings.position_ids")
"""Names of the text file that only its pre-training needs."""


class Trunk(nn.Module):
    """ResNet-50 without pooling and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for number, (blocks, width, stride) in enumerate(((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)), start=1):
            rest = [Bottleneck(width * 4, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(Bottleneck(inputs, width, stride), *rest))
            inputs = width * 4

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 448, 448] to [B, 2048, 14, 14]."""
        x: Tensor = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return x


class Encoder(nn.Module):
    """A film alone: its patches, and what stands for a prior film that nobody gave."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Trunk()
        self.backbone_to_vit = nn.Conv2d(TRUNK_WIDTH, WIDTH, 1, bias=False)
        self.missing_previous_emb = nn.Parameter(torch.zeros(1, WIDTH, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 448, 448] to [B, 512, 14, 14]."""
        patches = self.backbone_to_vit(self.encoder(images))
        return torch.cat([patches, self.missing_previous_emb.expand_as(patches)], dim=1)


class ImageSide(nn.Module):
    """Film to patches where the texts live."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        layers = nn.Sequential(
            nn.Conv2d(2 * WIDTH, JOINT, 1, bias=False), nn.BatchNorm2d(JOINT), nn.ReLU(), nn.Conv2d(JOINT, JOINT, 1)
        )
        self.projector = nn.ModuleDict({"model": layers})

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 448, 448] to unit vectors [B, 128, 14, 14]."""
        return nn.functional.normalize(self.projector["model"](self.encoder(images)), dim=1)


class Head(nn.Module):
    """CXR-BERT's projection of a text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense_to_hidden, self.dense_to_output = nn.Linear(width, JOINT), nn.Linear(JOINT, JOINT)
        self.LayerNorm = nn.LayerNorm(JOINT, eps=1e-12)

    def forward(self, states: Tensor) -> Tensor:
        """[B, width] to unit vectors [B, 128]."""
        hidden = self.LayerNorm(nn.functional.gelu(self.dense_to_hidden(states)))
        return nn.functional.normalize(self.dense_to_output(hidden), dim=1)


class TextSide(nn.Module):
    """Tokens to where the patches live."""

    def __init__(self, told: dict[str, object]) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig.from_dict(told)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls_projection_head = Head(config.hidden_size)

    def forward(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """[B, n] ids and mask to unit vectors [B, 128]."""
        states = self.bert(input_ids=tokens, attention_mask=attended).last_hidden_state
        projected: Tensor = self.cls_projection_head(states[:, 0])
        return projected


class Seen(NamedTuple):
    """The part of a picture that the network was shown."""

    pixels: Tensor
    """float32 [1, 3, 448, 448] in 0..1."""
    top: int
    left: int
    side: int
    """Pixels of the picture."""


def middle(image: Pixels) -> Seen:
    """The middle square that is 448 of the shorter side's 512 pixels, its grey values stretched to the full range."""
    from PIL import Image

    grey = to_grey(image)
    low, high = float(grey.min()), float(grey.max())
    stretched = np.floor((grey - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    height, width = grey.shape
    side = min(height, width) * CROPPED / RESIZED
    top, left = (height - side) / 2, (width - side) / 2
    box = (left, top, left + side, top + side)
    small = Image.fromarray(stretched).resize((CROPPED, CROPPED), Image.Resampling.BILINEAR, box=box)
    pixels = torch.from_numpy(np.array(small, dtype=np.float32) / 255.0).expand(1, 3, CROPPED, CROPPED)
    return Seen(pixels, round(top), round(left), max(1, round(side)))


def similarity(network: ImageSide, pixels: Tensor, text: Tensor) -> NDArray[np.float32]:
    """Cosine [14, 14] of each patch of one film with a text [128], smoothed."""
    with torch.inference_mode():
        cosine = torch.einsum("chw,c->hw", network(pixels)[0], text)
    return np.asarray(gaussian_filter(cosine.numpy(), SMOOTHING), dtype=np.float32)


def load_images(folder: Path) -> ImageSide:
    """The image side of a folder.

    Raises:
        GroundingError: no such file in it, or of another network.
    """
    network, path = ImageSide(), _file(folder, IMAGE_FILES)
    weights.fill(network, weights.read_tensors(path, "BioViL-T image weights"), path, UNUSED_IMAGE)
    return network


def embed(folder: Path, text: str) -> Tensor:
    """The unit vector [128] of a text, by the text side of a folder (`config.json`, `vocab.txt`, weights).

    Raises:
        GroundingError: a file is missing or of another network, or the text is longer than the network reads.
    """
    from transformers import BertTokenizer

    path, told = _file(folder, TEXT_FILES), _json(_file(folder, ("config.json",)))
    vocabulary = _file(folder, ("vocab.txt",))
    if told.get("projection_size", JOINT) != JOINT:
        raise GroundingError(f"{folder} projects texts to {told['projection_size']!r} numbers; allowed: {JOINT}")
    named = folder / "tokenizer_config.json"
    lower = bool(_json(named).get("do_lower_case", True)) if named.is_file() else True
    try:
        network = TextSide(told)
        tokenizer = BertTokenizer(vocab=str(vocabulary), do_lower_case=lower)
        tokens = tokenizer([text], return_tensors="pt")
    except Exception as error:
        # A configuration of another kind fails in whatever way it happens to.
        why = brief(" ".join(str(error).split()), 120)
        raise GroundingError(f"{folder} holds no text model of BioViL-T ({why})") from error
    longest = network.bert.config.max_position_embeddings
    if tokens["input_ids"].shape[1] > longest:
        raise GroundingError(f"text {brief(text, 40)!r} has more than {longest} tokens; shorten it")
    weights.fill(network, weights.read_tensors(path, "BioViL-T text weights"), path, UNUSED_TEXT)
    with torch.inference_mode():
        vector: Tensor = network(tokens["input_ids"], tokens["attention_mask"])[0]
    return vector


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise GroundingError(f"{folder} holds no {' or '.join(names)}; give a downloaded BioViL-T folder")
    return file


def _json(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GroundingError(f"{path} cannot be read as JSON; download it again") from error
    if not isinstance(told, dict):
        raise GroundingError(f"{path} holds a {type(told).__name__}; allowed: a JSON object")
    return told
