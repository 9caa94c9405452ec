"""A TorchXRayVision classifier with Grad-CAM, kept inside the lungs.

Needs a folder with the weights (`model.safetensors`, or `model.pt` as a state dict) and, where the findings
are not the usual eighteen, `config.json` with `pathologies` and `op_threshs`. Nothing is downloaded, and the
pickled models of the project's releases are not opened: save their state dict once (docs/tools.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmedpo.config.groups import Settings, UserPath
from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import UNKNOWN, About, Organ, Region, needs, resize_map
from mmedpo.grounding.regions import HALF_HEAT, components
from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap, Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.densenet import DenseNet

FILES = ("model.safetensors", "model.pt", "pytorch_model.bin")


class XrvSettings(Settings):
    """Weights and the finding asked for."""

    folder: UserPath
    """Folder of the weights."""
    finding: str = "Lung Opacity"
    """Output whose Grad-CAM is the heatmap."""
    lungs: bool = True
    """Heat outside the chest's lung fields (found by registration) is removed; a film that is none is declined."""


@register("grounder", "xrv")
class XrvGrounder:
    """The classifier with one finding chosen."""

    name = "xrv"
    settings = XrvSettings

    def __init__(
        self, network: DenseNet, findings: Sequence[str], finding: str, threshold: float | None, lungs: bool
    ) -> None:
        if finding not in findings:
            raise GroundingError(
                f"no finding {finding[:40]!r} among the weights' outputs; known: {', '.join(findings)}"
            )
        self._network, self._finding, self._place = network, finding, list(findings).index(finding)
        self._threshold, self._lungs = threshold, lungs

    @classmethod
    def from_settings(cls, settings: XrvSettings) -> XrvGrounder:
        """Loads the folder.

        Raises:
            GroundingError: no weights in it, weights of another network, or no such finding.
        """
        from mmedpo.grounding.networks import densenet, weights

        file = next((settings.folder / name for name in FILES if (settings.folder / name).is_file()), None)
        if file is None:
            raise GroundingError(f"{settings.folder} holds none of {', '.join(FILES)}; save the weights there")
        told = _config(settings)
        findings = tuple(told.get("pathologies") or densenet.FINDINGS)
        thresholds = told.get("op_threshs")
        network = densenet.DenseNet(len(findings))
        tensors = weights.read_tensors(file, "weights")
        if "op_threshs" in tensors:
            thresholds = tensors.pop("op_threshs").tolist()
        weights.fill(network, tensors, file)
        place = findings.index(settings.finding) if settings.finding in findings else 0
        threshold = float(thresholds[place]) if thresholds and len(thresholds) == len(findings) else None
        if threshold is not None and not 0 < threshold < 1:
            raise GroundingError(f"these weights do not know {settings.finding[:40]!r}; ask for another finding")
        return cls(network, findings, settings.finding, threshold, settings.lungs)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To frontal chest radiographs, which it was trained on."""
        wanted = {"modality": ("xray",), "organ": ("chest",), "view": ("pa", "ap", "frontal", "")}
        return needs(wanted, modality, organ, view)

    def organs(
        self,
        image: Pixels,
        organ_boxes: Sequence[Box] = (),
        organ_mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Organ | None:
        """The lung fields, see `OrganMapper.organs`; None for a picture unlike a frontal chest film."""
        lungs = _lung_fields(image)
        return None if lungs is None else Organ(lungs, "lung")

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at."""
        import torch

        from mmedpo.grounding.networks import densenet, weights

        height, width = image.shape[:2]
        lungs = _lung_fields(image) if self._lungs else np.ones((height, width), dtype=np.float32)
        if lungs is None:
            return Region(None, None, label=self._finding, reason="not-like-a-frontal-chest-film", declined=True)
        with torch.inference_mode():
            activation, logit = self._network.activation(densenet.as_grey(image), self._place)
        confidence = densenet.calibrated(float(logit), self._threshold)
        heat = weights.heat_from(activation[0], height, width)
        kept = None if heat is None else heat * lungs
        if kept is None or kept.max() <= 0:
            return Region(None, confidence, label=self._finding, reason="map-without-peak")
        kept = (kept / kept.max()).astype(np.float32)
        boxes = components(kept >= HALF_HEAT, self._finding, max(1, kept.size // 1024))
        return Region(kept, confidence, boxes, self._finding)


def _lung_fields(image: Pixels) -> Heatmap | None:
    from mmedpo.grounding.chest.model import lung_fields
    from mmedpo.grounding.chest.storage import SHIPPED, load

    fields = lung_fields(load(SHIPPED), image)
    return None if fields is None else resize_map(fields, *image.shape[:2])


def _config(settings: XrvSettings) -> dict[str, Any]:
    file = settings.folder / "config.json"
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GroundingError(f"{file} is not JSON; correct or remove it") from error
    return told if isinstance(told, dict) else {}
