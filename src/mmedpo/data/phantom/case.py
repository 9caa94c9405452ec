"""One phantom case from one seed: picture, exact lesion masks, findings, questions, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mmedpo.data.phantom.anatomy import Array, Chest, render_chest, sample_anatomy
from mmedpo.data.phantom.lesions import finding_layer
from mmedpo.data.phantom.priors import Modality, Plane, Priors
from mmedpo.data.phantom.questions import Question, ask_all
from mmedpo.data.phantom.slices import Slice, render_slice, slice_layer
from mmedpo.data.phantom.structure import Finding, Structure, sample_structure
from mmedpo.errors import ConfigError
from mmedpo.records import Box
from mmedpo.records.shapes import Mask

NOTICEABLE = 6.0
"""Display levels (of 255, before noise) that a finding must change a pixel by to count as lesion."""

MIN_SIZE = 96
_SLICE_NOISE = 0.02
"""Noise of an axial slice at full display range; radiographs vary theirs."""

_STRUCTURE, _ANATOMY, _LESION, _NOISE, _QUESTIONS, _VESSELS = range(1, 7)


@dataclass(frozen=True)
class Rendering:
    """A picture with the exact lesion mask of every finding."""

    image: npt.NDArray[np.uint8]
    """[H, W], noise included."""
    masks: tuple[Mask, ...]
    """One [H, W] mask per finding, in the order of the structure."""


@dataclass(frozen=True)
class PhantomCase:
    """One generated image and everything that is true of it."""

    seed: int
    """The seed it can be made again from, with the same priors and size."""
    image: npt.NDArray[np.uint8]
    """[H, W] gray."""
    mask: Mask
    """Union of the lesion masks; all False when normal."""
    masks: tuple[Mask, ...]
    """One mask per finding."""
    findings: tuple[Finding, ...]
    """At most one of each kind, with the box of its mask."""
    modality: Modality
    """Kind of image."""
    plane: Plane
    """AP, PA or axial."""
    questions: tuple[Question, ...]
    """Questions with their answers; the report is the last."""


def drawn(seed: int, priors: Priors) -> tuple[Structure, tuple[Question, ...]]:
    """What a case shows and what is asked of it; no picture is made."""
    structure = sample_structure(np.random.default_rng([seed, _STRUCTURE]), priors)
    return structure, ask_all(np.random.default_rng([seed, _QUESTIONS]), structure, priors)


def generate_case(seed: int, priors: Priors, size: int = 128, grain: float = 1.0) -> PhantomCase:
    """Generate one case; the same arguments give the same bytes.

    `size` is the side of the square picture in pixels, at least 96; `grain` a factor on its noise. Raises ConfigError
    below that size.
    """
    structure, questions = drawn(seed, priors)
    rendering = render_structure(structure, seed, size, grain)
    findings = tuple(
        replace(finding, box=_box(mask, finding.kind))
        for finding, mask in zip(structure.findings, rendering.masks, strict=True)
    )
    union = np.zeros((size, size), dtype=np.bool_)
    for mask in rendering.masks:
        union |= mask
    return PhantomCase(
        seed, rendering.image, union, rendering.masks, findings, structure.modality, structure.plane, questions
    )


def render_structure(structure: Structure, seed: int, size: int = 128, grain: float = 1.0) -> Rendering:
    """Render a structure: the patient and the noise depend on `seed` only, each finding also on its kind.

    The mask of a finding holds exactly the pixels where the noise-free pictures with and without
    this finding (all others present) differ by at least `NOTICEABLE` levels.
    """
    base = _normal(structure, seed, size)
    clean, without = _levels(base, structure, seed)
    masks = tuple(np.abs(clean - other) >= NOTICEABLE for other in without)
    rng = np.random.default_rng([seed, _NOISE])
    quanta = rng.standard_normal((size, size), dtype=np.float32)
    # Quanta: the noise shrinks where more light reaches the film, plus a floor from the detector.
    noise = base.anatomy.noise if isinstance(base, Chest) else _SLICE_NOISE
    spread = grain * noise * np.sqrt(0.35 + 0.65 * clean / 255.0)
    image = clean + 255.0 * spread * quanta
    if structure.modality == "x-ray":
        image = np.maximum(image, _marker(size, structure.plane))
    return Rendering(np.clip(np.rint(image), 0, 255).astype(np.uint8), masks)


def render_levels(structure: Structure, seed: int, size: int = 128) -> tuple[Array, tuple[Array, ...]]:
    """Noise-free display levels 0..255: the whole picture, and the picture without each finding."""
    return _levels(_normal(structure, seed, size), structure, seed)


def _levels(base: Chest | Slice, structure: Structure, seed: int) -> tuple[Array, tuple[Array, ...]]:
    layers = []
    for finding in structure.findings:
        rng = np.random.default_rng([seed, _LESION, len(finding.kind), ord(finding.kind[0])])
        if isinstance(base, Chest):
            layers.append(finding_layer(base, finding, rng))
        else:
            layers.append(slice_layer(base, finding, rng))
    total = base.attenuation if isinstance(base, Chest) else base.values
    for layer in layers:
        total = total + layer
    return _display(base, total), tuple(_display(base, total - layer) for layer in layers)


def _normal(structure: Structure, seed: int, size: int) -> Chest | Slice:
    if size < MIN_SIZE:
        raise ConfigError(f"phantom size is {size}; allowed: {MIN_SIZE} or more; raise the size")
    rng = np.random.default_rng([seed, _ANATOMY])
    if structure.modality == "x-ray":
        return render_chest(sample_anatomy(rng, size, structure.plane == "AP", (seed, _VESSELS)))
    return render_slice(rng, size, structure.modality)


def _display(base: Chest | Slice, total: Array) -> Array:
    """Levels 0..255 of an attenuation (radiograph) or of tissue values (slice)."""
    if isinstance(base, Slice):
        return np.asarray(np.clip(total, 0.0, 1.0) * np.float32(255.0), dtype=np.float32)
    gain = np.float32(-1.25 * base.anatomy.gain)
    return np.asarray(np.float32(262.0) * (1.0 - np.exp(gain * np.clip(total, 0.0, None))), dtype=np.float32)


@lru_cache(maxsize=8)
def _marker(size: int, plane: Plane) -> Array:
    """Lead letters of a radiograph: L at the patient's left, and AP (when it is one) at the patient's right."""
    canvas = Image.new("L", (size, size))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=max(9, size // 12))
    pen.text((size * 0.90, size * 0.03), "L", fill=235, font=font)
    if plane == "AP":
        pen.text((size * 0.03, size * 0.03), "AP", fill=235, font=font)
    return np.asarray(canvas, dtype=np.float32)


def _box(mask: Mask, label: str) -> Box | None:
    """Bounds of a mask, upper bounds exclusive; None when the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1), label=label)
