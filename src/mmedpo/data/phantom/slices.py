"""Axial chest slices: a CT-like and an MRI-like rendering, plain but clearly unlike a radiograph.

Seen from the patient's feet, as radiology shows them: the patient's left is at picture right, the
spine at the bottom. The display values are the tissue values themselves (no exposure curve).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedpo.data.phantom.anatomy import Array, Grid, soft
from mmedpo.data.phantom.structure import Finding

_TISSUE = {
    "CT": {"air": 0.0, "fat": 0.30, "muscle": 0.55, "lung": 0.07, "blood": 0.62, "bone": 0.95, "lesion": 0.58},
    "MRI": {"air": 0.0, "fat": 0.90, "muscle": 0.38, "lung": 0.05, "blood": 0.14, "bone": 0.60, "lesion": 0.74},
}
"""Display values; MRI-like: bright fat, dark flowing blood, bright fluid and tumour."""


@dataclass(frozen=True)
class Slice:
    """A rendered normal slice; arrays are [H, W]."""

    modality: str
    u: Array
    v: Array
    values: Array
    """Display values 0..1 of the normal slice."""
    lung: tuple[Array, Array]
    """0..1 inside the lung at picture left and picture right."""


def _ellipse(u: Array, v: Array, centre: tuple[float, float], axes: tuple[float, float], power: float = 2.0) -> Array:
    a, b = np.abs(u - np.float32(centre[0])) / axes[0], np.abs(v - np.float32(centre[1])) / axes[1]
    return np.asarray((1.0 - a**power - b**power) * (0.5 * min(axes)), dtype=np.float32)


def render_slice(rng: np.random.Generator, size: int, modality: str) -> Slice:
    """Draw one patient's normal slice in the style of `modality` (`CT` or `MRI`)."""
    value = _TISSUE[modality]
    grid = Grid(
        size,
        float(np.deg2rad(rng.normal(0.0, 2.0))),
        float(rng.uniform(0.92, 1.02)),
        *(float(x) for x in rng.uniform(-0.03, 0.03, 2)),
    )
    u, v = grid.coordinates()
    wide, deep = float(rng.uniform(0.88, 0.94)), float(rng.uniform(0.62, 0.70))
    fat = float(rng.uniform(0.05, 0.10))

    def paint(image: Array, shape: npt.NDArray[np.floating], name: str) -> Array:
        cover = soft(shape, 0.03)
        return np.asarray(image + cover * (value[name] - image), dtype=np.float32)

    image = np.full_like(u, value["air"])
    image = paint(image, _ellipse(u, v, (0, 0), (wide, deep), 2.4), "fat")
    image = paint(image, _ellipse(u, v, (0, 0), (wide - fat, deep - fat), 2.4), "muscle")
    ring = np.abs(_ellipse(u, v, (0, 0), (wide - fat - 0.07, deep - fat - 0.07), 2.4)) / (0.5 * (deep - fat))
    beads = np.cos(np.arctan2(v, u) * 18.0 + float(rng.uniform(0, 6))) - 0.1
    image = paint(image, np.minimum(0.035 - 0.8 * ring, 0.04 * beads), "bone")
    lungs = []
    for sign in (-1, 1):
        field = _ellipse(u, v, (sign * 0.40, 0.02), (0.30, deep - fat - 0.13), 2.3)
        lungs.append(soft(field, 0.03))
        image = paint(image, field, "lung")
    heart_u = float(rng.uniform(0.08, 0.14))
    image = paint(image, _ellipse(u, v, (0.0, -0.02), (0.16, 0.34)), "fat")
    image = paint(image, _ellipse(u, v, (heart_u, -0.12), (0.27, 0.21)), "blood")
    if modality == "MRI":
        wall = np.abs(_ellipse(u, v, (heart_u, -0.12), (0.27, 0.21)))
        image = paint(image, 0.02 - wall, "muscle")
    image = paint(image, _ellipse(u, v, (0.13, 0.24), (0.075, 0.075)), "blood")
    image = paint(image, _ellipse(u, v, (0.0, 0.34), (0.12, 0.10)), "bone")
    image = paint(image, _ellipse(u, v, (0.0, 0.46), (0.045, 0.04)), "fat" if modality == "MRI" else "muscle")
    image = paint(image, _ellipse(u, v, (0.0, 0.53), (0.05, 0.08)), "bone")
    image = paint(image, _ellipse(u, v, (0.0, -deep + fat + 0.06), (0.10, 0.035)), "bone")
    image = image + np.float32(0.35) * _vessels(rng, u, v) * (lungs[0] + lungs[1]) * (image < 0.2)
    if modality == "CT":
        image = np.maximum(image, 0.45 * soft(0.012 - np.abs(v - 0.80 + 0.10 * u * u), 0.02) * (np.abs(u) < 0.85))
    else:
        tilt = float(rng.uniform(-0.25, 0.25))
        image = image * (1.0 + tilt * u - 0.25 * np.abs(v))
    return Slice(modality, u, v, np.asarray(image, dtype=np.float32), (lungs[0], lungs[1]))


def _vessels(rng: np.random.Generator, u: Array, v: Array) -> Array:
    """Vessels of the lungs, cut across."""
    vessels = np.zeros_like(u)
    for _ in range(16):
        sign = rng.choice((-1.0, 1.0))
        pu, pv, radius = sign * rng.uniform(0.24, 0.60), rng.uniform(-0.28, 0.34), rng.uniform(0.008, 0.018)
        vessels = np.maximum(vessels, soft(radius - np.hypot(u - np.float32(pu), v - np.float32(pv)), 0.02))
    return vessels


def slice_layer(base: Slice, finding: Finding, rng: np.random.Generator) -> Array:
    """What one finding (nodule, mass or effusion) adds to the display values, [H, W]."""
    target = _TISSUE[base.modality]["lesion"]
    cover = np.zeros_like(base.u)
    signs = {"left": (1,), "right": (-1,), "bilateral": (-1, 1)}[finding.side]
    for sign in signs:
        lung = base.lung[(sign + 1) // 2]
        if finding.kind == "effusion":
            depth = 0.17 if finding.size == "small" else 0.36
            # Fluid collects at the back (picture bottom) with a crescent surface.
            surface = 0.46 - depth - 0.9 * (base.u - np.float32(sign * 0.40)) ** 2
            cover = np.maximum(cover, soft(np.asarray(base.v - surface, dtype=np.float32), 0.03) * lung)
            continue
        small = finding.size == "small"
        radius = (0.050 if small else 0.080) if finding.kind == "nodule" else (0.125 if small else 0.195)
        centre = (sign * float(rng.uniform(0.42, 0.48)), float(rng.uniform(-0.12, 0.16)))
        turn = float(rng.uniform(0.0, 2 * np.pi))
        spread = 0.0 if finding.count == 1 else 0.145
        for index in range(finding.count):
            angle = turn + 2 * np.pi * index / finding.count
            pu, pv = centre[0] + spread * np.cos(angle), centre[1] + spread * np.sin(angle)
            spot = soft(np.float32(radius) - np.hypot(base.u - np.float32(pu), base.v - np.float32(pv)), 0.025)
            cover = np.maximum(cover, spot * lung)
    return np.asarray(cover * (target - base.values), dtype=np.float32)
