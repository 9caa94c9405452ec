"""What every visual tool offers: `applies(modality, organ, view)` and `ground(image, boxes, mask, about) -> Region`.

A tool is registered with `@register("grounder", name)`. It never invents: where it cannot mark a
region the heatmap is None, where it cannot say how sure it is the confidence is None, and `reason`
names why. The shell around it stores the heatmap and makes a `records.Grounding` of it.

Its own settings are a `mmedpo.config.groups.Settings` under the class attribute `settings`; the recipe gives them as
`ground.options.<name>`, and the tool is made by `from_settings(settings)`. Without the attribute it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmedpo.errors import GroundingError
from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap, Mask, Pixels
from mmedpo.registry import optional


@dataclass(frozen=True)
class About:
    """What the data say of an image, beside its pixels; empty where they say nothing."""

    modality: str = ""
    """`xray`, `ct`, `mri`, `pathology`, `fundus`, `dermoscopy`, `ultrasound` ..."""
    organ: str = ""
    """`chest`, `head`, `abdomen` ..."""
    view: str = ""
    """`pa`, `ap`, `lateral` ... for radiographs."""
    path: str = ""
    """Path of the image below its dataset's root; what annotation files name."""
    annotated: bool = False
    """Somebody looked for lesions: no boxes and no mask then mean that there is none."""


UNKNOWN = About()


@dataclass(frozen=True, eq=False)
class Region:
    """What a tool marked in one image."""

    heatmap: Heatmap | None
    """float32 [H, W] in 0..1 with the image's height and width; None when nothing can be marked."""
    confidence: float | None
    """The tool's confidence in 0..1 for this region; None when it gives none."""
    boxes: tuple[Box, ...] = ()
    """The marked regions as boxes, pixels of the image."""
    label: str = ""
    """Finding the tool was asked for or names."""
    calibrated: bool = False
    """True when the confidence was calibrated on held-out labels."""
    reason: str = ""
    """Why heatmap or confidence is None; empty otherwise."""
    declined: bool = False
    """True when the pixels (or the annotation file) show that the tool is not for this image: the next one is asked."""
    anatomy: str = ""
    """Who says where the organ lies that the heat was kept inside, e.g. `chest template`; empty where it was not."""


@dataclass(frozen=True, eq=False)
class Organ:
    """Where an organ lies in one image."""

    heatmap: Heatmap
    """float32 [H, W] in 0..1 with the image's height and width, somewhere above 0."""
    label: str
    """What it marks, e.g. `lung`."""
    anatomy: str = ""
    """Who says where it lies, where the tool has several ways to know; see `Region.anatomy`."""


@runtime_checkable
class OrganMapper(Protocol):
    """A tool that also knows the organ; noise of `region: organ` needs one."""

    def organs(
        self,
        image: Pixels,
        organ_boxes: Sequence[Box] = (),
        organ_mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Organ | None:
        """Marks the organ; None where the tool cannot. It is asked only about images it applies to.

        Args:
            image: uint8 [H, W] or [H, W, 3].
            organ_boxes: organs that came with the example; only annotation tools look at them.
            organ_mask: their mask, [H, W]; only annotation tools look at it.
            about: what the data say of the image.
        """
        ...


@runtime_checkable
class Grounder(Protocol):
    """A visual tool T of METHOD section 1."""

    name: str
    """Name under which it is registered; goes into `Grounding.tool`."""

    @optional
    def applies(self, modality: str, organ: str, view: str) -> str:
        """Why the tool is not for such images; empty when it is. Empty arguments: the data do not say."""
        ...

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """Marks the lesion in one image.

        Args:
            image: uint8 [H, W] or [H, W, 3].
            example_boxes: the boxes that came with the example; only annotation tools look at them.
            mask: the lesion mask that came with the example, [H, W]; only annotation tools look at it.
            about: what the data say of the image.

        Raises:
            GroundingError: image or mask of a wrong type or shape.
        """
        ...


def needs(wanted: dict[str, tuple[str, ...]], modality: str, organ: str, view: str) -> str:
    """For `Grounder.applies`: the first of modality, organ and view that is not among the wanted ones, as one line.

    Args:
        wanted: allowed values by name; an allowed "" lets images pass of which the data do not say it.
    """
    for name, told in (("modality", modality), ("organ", organ), ("view", view)):
        if name in wanted and told not in wanted[name]:
            allowed = " or ".join(value for value in wanted[name] if value)
            if told:
                return f"{name} is {told[:40]}, the tool is for {allowed}"
            return f"{name} is not told, the tool is for {allowed}; set ground.assume.{name} if all images are"
    return ""


def to_grey(image: Pixels) -> NDArray[np.float64]:
    """float64 [H, W] in 0..255 from a grey or RGB image (ITU-R 601 luma).

    Raises:
        GroundingError: not uint8 [H, W] or [H, W, 3], or empty.
    """
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise GroundingError(
            f"image is {image.dtype} {list(image.shape)}; allowed: non-empty uint8 [H, W] or [H, W, 3]; "
            "convert it to 8-bit grey or RGB"
        )
    if image.ndim == 2:
        return image.astype(np.float64)
    grey: NDArray[np.float64] = image @ np.array([0.299, 0.587, 0.114])
    return grey


def resize_map(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """A float map [h, w] resized to [height, width]: bilinear upwards, area-weighted downwards."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
