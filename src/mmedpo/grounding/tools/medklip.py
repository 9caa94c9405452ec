"""MedKLIP, the visual tool of the paper: attention of one entity's text query, and its presence.

Needs two files: the published checkpoint, and the embedded queries of `mmedpo ground queries`. The confidence is
P(the entity is present), not calibrated: it says nothing of how well the place was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.grounder import UNKNOWN, About, Region, needs
from mmedpo.grounding.regions import HALF_HEAT, components
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.medklip import MedKLIP
    from mmedpo.grounding.networks.queries import Queries


class MedKLIPSettings(Settings):
    """Files and the entity asked for."""

    checkpoint: UserPath
    """The published `checkpoint_final.pth`, or its tensors as safetensors."""
    queries: UserPath
    """`.npz` of `mmedpo ground queries`."""
    entity: str = "disease"
    """The entity whose attention is the heatmap; the paper's is `disease`."""


@register("grounder", "medklip")
class MedKLIPGrounder:
    """The network with one entity chosen."""

    name = "medklip"
    settings = MedKLIPSettings

    def __init__(self, network: MedKLIP, queries: Queries, entity: str) -> None:
        import torch

        self._network, self._entity, self._place = network, entity, queries.place(entity)
        self._texts = torch.from_numpy(queries.embeddings)

    @classmethod
    def from_settings(cls, settings: MedKLIPSettings) -> MedKLIPGrounder:
        """Loads checkpoint and queries.

        Raises:
            GroundingError: a file is missing or of another network, or no such entity.
        """
        from mmedpo.grounding.networks import medklip, queries, weights

        network = medklip.MedKLIP()
        tensors = weights.read_tensors(settings.checkpoint, "MedKLIP checkpoint")
        weights.fill(network, tensors, settings.checkpoint, medklip.UNUSED)
        return cls(network, queries.load(settings.queries), settings.entity)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To frontal chest radiographs, which it was trained on."""
        wanted = {"modality": ("xray",), "organ": ("chest",), "view": ("pa", "ap", "frontal", "")}
        return needs(wanted, modality, organ, view)

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at."""
        import torch

        from mmedpo.grounding.networks import medklip, weights

        pixels = weights.as_rgb(image, medklip.SIDE, weights.IMAGENET_MEAN, weights.IMAGENET_STD)
        with torch.inference_mode():
            maps, present = self._network(pixels, self._texts)
        heat = weights.heat_from(maps[0, self._place], *image.shape[:2])
        if heat is None:
            return Region(None, None, label=self._entity, reason="map-without-peak")
        boxes = components(heat >= HALF_HEAT, self._entity, max(1, heat.size // 1024))
        return Region(heat, float(present[0, self._place]), boxes, self._entity)
