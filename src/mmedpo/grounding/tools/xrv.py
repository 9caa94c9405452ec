"""A TorchXRayVision classifier with Grad-CAM, kept inside the lungs.

Needs a folder with the weights (`model.safetensors`, or `model.pt` as a state dict) and, where the findings
are not the usual eighteen, `config.json` with `pathologies` and `op_threshs`. Nothing is downloaded, and the
pickled models of the project's releases are not opened: save their state dict once (docs/tools.md). The lungs are those
of the project's anatomy network where its weights are given, else those of the chest template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import model_validator

from mmedpo.config.groups import Settings, UserPath
from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import UNKNOWN, About, Organ, Region, needs, resize_map
from mmedpo.grounding.regions import HALF_HEAT, components, edge_margin, soft_edges
from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap, Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.densenet import DenseNet
    from mmedpo.grounding.networks.pspnet import PSPNet

TEMPLATE, NETWORK = "chest template", "anatomy network"
"""Who says where the lungs are (`Region.anatomy`)."""
LEAST_LUNGS = 0.02
"""Share of a picture below which what the network calls lungs is taken for none."""
FILES = ("model.safetensors", "model.pt", "pytorch_model.bin")


class XrvSettings(Settings):
    """Weights and the finding asked for."""

    folder: UserPath
    """Folder of the weights."""
    finding: str = "Lung Opacity"
    """Output whose Grad-CAM is the heatmap."""
    lungs: bool = True
    """Heat outside the lungs is removed; a picture without any is declined."""
    anatomy: UserPath | None = None
    """Weights of the anatomy network that says where the lungs are (docs/tools.md). Without: those that lie in `folder`
    under their published name, else the chest template."""

    @model_validator(mode="after")
    def _no_idle_anatomy(self) -> Self:
        if self.anatomy is not None and not self.lungs:
            raise ValueError("anatomy has no effect because lungs is false; remove one of the two")
        return self


@register("grounder", "xrv")
class XrvGrounder:
    """The classifier with one finding chosen."""

    name = "xrv"
    settings = XrvSettings

    def __init__(
        self,
        network: DenseNet,
        findings: Sequence[str],
        finding: str,
        threshold: float | None,
        lungs: bool,
        anatomy: PSPNet | None = None,
    ) -> None:
        if finding not in findings:
            raise GroundingError(
                f"no finding {finding[:40]!r} among the weights' outputs; known: {', '.join(findings)}"
            )
        self._network, self._finding, self._place = network, finding, list(findings).index(finding)
        self._threshold, self._lungs, self._anatomy = threshold, lungs, anatomy
        self._seen: tuple[Pixels, Heatmap | None] | None = None

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
        return cls(network, findings, settings.finding, threshold, settings.lungs, _anatomy(settings))

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
        lungs = self._lung_fields(image)
        return None if lungs is None else Organ(lungs, "lung", self._whose)

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
        lungs = self._lung_fields(image) if self._lungs else np.ones((height, width), dtype=np.float32)
        if lungs is None:
            why = "not-like-a-frontal-chest-film" if self._anatomy is None else "no-lungs-found"
            return Region(None, None, label=self._finding, reason=why, declined=True)
        with torch.inference_mode():
            activation, logit = self._network.activation(densenet.as_grey(image), self._place)
        confidence = densenet.calibrated(float(logit), self._threshold)
        heat = weights.heat_from(activation[0], height, width)
        kept = None if heat is None else heat * lungs
        if kept is None or kept.max() <= 0:
            return Region(None, confidence, label=self._finding, reason="map-without-peak")
        kept = (kept / kept.max()).astype(np.float32)
        boxes = components(kept >= HALF_HEAT, self._finding, max(1, kept.size // 1024))
        return Region(kept, confidence, boxes, self._finding, anatomy=self._whose if self._lungs else "")

    @property
    def _whose(self) -> str:
        return TEMPLATE if self._anatomy is None else NETWORK

    def _lung_fields(self, image: Pixels) -> Heatmap | None:
        """The lungs with soft edges, of the picture asked for last without a second look; None without lungs."""
        if self._seen is None or self._seen[0] is not image:
            found = _of_template(image) if self._anatomy is None else _of_network(self._anatomy, image)
            self._seen = image, found
        return self._seen[1]


def _anatomy(settings: XrvSettings) -> PSPNet | None:
    """The anatomy network whose weights are named, or lie in the folder."""
    from mmedpo.grounding.networks import pspnet

    beside = (settings.folder / name for name in pspnet.FILES)
    file = settings.anatomy or next((path for path in beside if path.is_file()), None)
    return pspnet.load(file) if settings.lungs and file is not None else None


def _of_network(network: PSPNet, image: Pixels) -> Heatmap | None:
    from mmedpo.grounding.networks import pspnet

    mask = pspnet.lungs(network, image)
    return soft_edges(mask, edge_margin(*mask.shape)) if mask.mean() >= LEAST_LUNGS else None


def _of_template(image: Pixels) -> Heatmap | None:
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
