"""The chest probe as a visual tool: frontal chest radiographs, PA and AP apart (`mmedpo.grounding.chest`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmedpo.config.groups import Settings
from mmedpo.grounding.grounder import UNKNOWN, About, Organ, Region, needs, resize_map
from mmedpo.grounding.logistic import sigmoid
from mmedpo.grounding.regions import HALF_HEAT, components, heat_of
from mmedpo.records import Box
from mmedpo.records.shapes import Floats, Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.chest.model import ChestCoefficients

SMALLEST = 1 / 1024
"""Least share of the image of a marked box."""
NOT_SHOWN = "not-shown-to-beat-the-position-prior"


class ChestProbeSettings(Settings):
    """The one setting of this tool."""

    probe: str = "chest-xray"
    """`chest-xray` (shipped), or a JSON file of `mmedpo ground fit --tool chest-probe`."""


@register("grounder", "chest-probe")
class ChestProbe:
    """A fitted chest probe.

    The confidence is None (reason `not-shown-to-beat-the-position-prior`) in a projection where held-out
    maps did not beat the position prior: such maps are a demonstration, and any `ground.minimum_confidence`
    leaves them out.
    """

    name = "chest-probe"
    settings = ChestProbeSettings

    def __init__(self, coefficients: ChestCoefficients) -> None:
        self.coefficients = coefficients
        self._template = np.array(coefficients.template)

    @classmethod
    def from_settings(cls, settings: ChestProbeSettings) -> ChestProbe:
        """The shipped probe of that name, or the one in that `.json` file.

        Raises:
            GroundingError: no such probe, or an unusable file.
        """
        from mmedpo.grounding.chest.storage import load

        return cls(load(settings.probe))

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To chest radiographs, PA, AP or of unknown projection; the pixels decide whether it is a frontal film."""
        wanted = {"modality": ("xray", ""), "organ": ("chest",), "view": ("pa", "ap", "frontal", "")}
        return needs(wanted, modality, organ, view)

    def organs(
        self,
        image: Pixels,
        organ_boxes: Sequence[Box] = (),
        organ_mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Organ | None:
        """The lungs by registration, see `OrganMapper.organs`; None for a picture unlike a frontal chest film."""
        from mmedpo.grounding.chest.model import lung_fields

        fields = lung_fields(self.coefficients, image)
        return None if fields is None else Organ(resize_map(fields, *image.shape[:2]), "lung")

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at.

        A picture unlike any frontal chest film is declined. Where nobody says the projection, both are
        weighed by how likely the film is of each.
        """
        from mmedpo.grounding.chest.model import PROJECTIONS, cell_logits, chance_of_pa, film_confidence, lay, on_film

        fitted, label = self.coefficients, self.coefficients.label
        film = lay(image, self._template)
        if film is None:
            return Region(None, None, label=label, reason="image-without-contrast", declined=True)
        if film.agreement < fitted.least_agreement:
            return Region(None, None, label=label, reason="not-like-a-frontal-chest-film", declined=True)
        pa = {"pa": 1.0, "ap": 0.0}.get(about.view)
        pa = chance_of_pa(fitted, film) if pa is None else pa
        shares: list[tuple[Literal["pa", "ap"], float]] = [("pa", pa), ("ap", 1.0 - pa)]
        probabilities: Floats = np.sum(
            [share * sigmoid(cell_logits(fitted, film, key)) for key, share in shares if share > 0], axis=0
        )
        heat = heat_of(resize_map(on_film(probabilities, film.pose), *image.shape[:2]))
        if heat is None:
            return Region(None, None, label=label, reason="map-without-peak")
        shown = all(fitted.projections[key].beats_prior for key in PROJECTIONS if dict(shares)[key] > 0)
        confidence = sum(share * film_confidence(fitted, film, key) for key, share in shares if share > 0)
        return Region(
            heatmap=heat,
            confidence=confidence if shown else None,
            boxes=components(heat >= HALF_HEAT, label, max(1, round(heat.size * SMALLEST))),
            label=label,
            calibrated=shown,
            reason="" if shown else NOT_SHOWN,
        )
