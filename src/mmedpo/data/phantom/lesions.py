"""What each finding adds to the attenuation of the normal chest.

Every function returns one additive layer [H, W], computed from the normal anatomy alone. Because
the layers add, the picture without one finding is the sum of the others, and a lesion mask can be
the set of pixels that this finding changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmedpo.data.phantom.anatomy import (
    RIB_SPACING,
    Array,
    Chest,
    draw_strokes,
    heart,
    posterior_phase,
    rib_profile,
    smooth_course,
    soft,
)
from mmedpo.data.phantom.structure import Finding

Rng = np.random.Generator


def finding_layer(chest: Chest, finding: Finding, rng: Rng) -> Array:
    """Attenuation added by one finding of a radiograph, [H, W]; details are drawn from `rng`."""
    layer = _LAYERS[finding.kind](chest, finding, rng)
    if finding.kind in ("nodule", "mass", "opacity", "atelectasis"):
        # Where the heart lies in front, little of the beam is left to be absorbed.
        layer = layer * (1.0 - 0.6 * chest.centre)
    return layer.astype(np.float32)


def _signs(finding: Finding) -> tuple[int, ...]:
    """Signs of u for the patient's side: left is at picture right (+1)."""
    return {"left": (1,), "right": (-1,), "bilateral": (-1, 1)}[finding.side]


def _spot(chest: Chest, sign: int, zone: str, rng: Rng, margin: float) -> tuple[float, float]:
    """A point of the zone, at least `margin` away from the wall and clear of the heart."""
    anatomy = chest.anatomy
    v = anatomy.zone_height(zone, float(rng.uniform(0.25, 0.75)))
    outer = float(anatomy.lateral(v)) - margin - 0.03
    inner = 0.26
    if sign > 0 and zone == "lower":
        cu, _, across, _ = anatomy.heart_axes(anatomy.ctr)
        inner = cu + 0.92 * across
    inner = min(inner + 0.5 * margin, outer)
    return sign * float(rng.uniform(inner, max(outer, inner))), v


def _disc(chest: Chest, u0: float, v0: float, radius: float, edge: float, lobes: Array | float = 0.0) -> Array:
    du, dv = chest.u - np.float32(u0), chest.v - np.float32(v0)
    away = np.hypot(du, dv)
    return soft(np.asarray(radius * (1.0 + lobes) - away, dtype=np.float32), edge)


def _nodule(chest: Chest, finding: Finding, rng: Rng) -> Array:
    (sign,) = _signs(finding)
    radius = 0.048 if finding.size == "small" else 0.078
    radius *= float(rng.uniform(0.93, 1.07))
    u0, v0 = _spot(chest, sign, finding.zone, rng, radius + (0.10 if finding.count > 1 else 0.0))
    turn = float(rng.uniform(0.0, 2 * np.pi))
    spread = 0.0 if finding.count == 1 else max(0.125, 1.55 * radius) * (1.0 if finding.count == 2 else 1.15)
    layer = np.zeros_like(chest.u)
    for index in range(finding.count):
        angle = turn + 2 * np.pi * index / finding.count
        spot = _disc(chest, u0 + spread * np.cos(angle), v0 + spread * np.sin(angle), radius, 0.028)
        layer = np.maximum(layer, spot)
    return layer * np.float32(0.55)


def _mass(chest: Chest, finding: Finding, rng: Rng) -> Array:
    (sign,) = _signs(finding)
    radius = (0.135 if finding.size == "small" else 0.215) * float(rng.uniform(0.95, 1.05))
    u0, v0 = _spot(chest, sign, finding.zone, rng, radius * 0.75)
    angle = np.arctan2(chest.v - np.float32(v0), chest.u - np.float32(u0))
    first, second = rng.uniform(0, 2 * np.pi, 2)
    lobes = np.asarray(0.07 * np.cos(3 * angle + first) + 0.05 * np.cos(5 * angle + second), dtype=np.float32)
    inside = chest.thorax[(sign + 1) // 2]
    return _disc(chest, u0, v0, radius, 0.045, lobes) * inside * np.float32(0.70)


def _opacity(chest: Chest, finding: Finding, rng: Rng) -> Array:
    scale = {"small": 0.105, "moderate": 0.165, "large": 0.25}[finding.size]
    layer = np.zeros_like(chest.u)
    for sign in _signs(finding):
        u0, v0 = _spot(chest, sign, finding.zone, rng, scale * 0.8)
        cloud = np.zeros_like(chest.u)
        for _ in range(6):
            pu, pv = rng.normal(0.0, 0.55 * scale, 2)
            width = scale * float(rng.uniform(0.40, 0.75))
            cloud += np.exp(-((chest.u - u0 - pu) ** 2 + (chest.v - v0 - pv) ** 2) / np.float32(width * width))
        lung, _ = chest.side(sign)
        layer += (1.0 - np.exp(-1.3 * cloud)) * lung
    return np.asarray(0.50 * layer, dtype=np.float32)


def _effusion(chest: Chest, finding: Finding, rng: Rng) -> Array:
    rise = {"small": 0.06, "moderate": 0.30, "large": 0.62}[finding.size] + float(rng.uniform(-0.03, 0.03))
    layer = np.zeros_like(chest.u)
    for sign in _signs(finding):
        _, thorax = chest.side(sign)
        level = chest.anatomy.dome[(sign + 1) // 2] - rise
        s = np.abs(chest.u) / np.float32(chest.anatomy.half_width)
        surface = level + 0.10 - 0.26 * s**2
        if finding.size == "small":
            surface = level + 0.18 - 0.34 * s**2
        fluid = soft(np.asarray(chest.v - surface, dtype=np.float32), 0.05) * thorax
        layer += fluid * np.clip(np.float32(1.42) - chest.attenuation, 0.0, None)
    return layer


def _pneumothorax(chest: Chest, finding: Finding, rng: Rng) -> Array:
    (sign,) = _signs(finding)
    lung, _ = chest.side(sign)
    depth = (0.13 if finding.size == "small" else 0.30) * float(rng.uniform(0.93, 1.07))
    taper = 0.35 if finding.size == "small" else 0.05
    inset = depth * np.clip(1.0 - taper * (chest.v + 0.6) / 0.6, 0.15, 1.0)
    edge = np.asarray(_collapsed_edge(chest, depth, inset) - np.abs(chest.u), dtype=np.float32)
    gas = soft(-edge, 0.02) * lung
    line = np.exp(-((edge / np.float32(0.016)) ** 2)) * lung
    # Gas removes the vessels and a little of the wall's haze.
    return np.asarray(gas * (-chest.vessels - 0.20) + 0.34 * line, dtype=np.float32)


def _collapsed_edge(chest: Chest, depth: float, inset: Array) -> Array:
    anatomy = chest.anatomy
    shrunk = anatomy.lateral(chest.v, depth)
    return np.asarray(np.where(shrunk > 0, shrunk + (depth - inset), -0.05), dtype=np.float32)


def _cardiomegaly(chest: Chest, finding: Finding, rng: Rng) -> Array:
    ratio = float(rng.uniform(0.62, 0.70))
    grown = heart(chest.anatomy, chest.u, chest.v, ratio) * np.maximum(chest.thorax[0], chest.thorax[1])
    return np.asarray(0.78 * np.clip(grown - chest.centre, 0.0, None), dtype=np.float32)


def _atelectasis(chest: Chest, finding: Finding, rng: Rng) -> Array:
    """Plate-like bands when small, a sharp-edged wedge from the hilum to the wall when large."""
    (sign,) = _signs(finding)
    lung, _ = chest.side(sign)
    anatomy = chest.anatomy
    v0 = anatomy.zone_height(finding.zone, float(rng.uniform(0.35, 0.65)))
    wall = float(anatomy.lateral(v0))
    away = np.abs(chest.u)
    if finding.size == "small":
        tilt = float(rng.uniform(-0.25, 0.25))
        middle = chest.v - v0 - tilt * (away - 0.5 * wall)
        bands = np.maximum(soft(0.022 - np.abs(middle), 0.02), soft(0.016 - np.abs(middle - 0.075), 0.02))
        reach = soft(away - np.float32(0.22 * wall + 0.08), 0.03) * soft(np.float32(0.93 * wall) - away, 0.03)
        return np.asarray(0.60 * bands * reach * lung, dtype=np.float32)
    tip = 0.16
    opening = float(rng.uniform(0.30, 0.36)) * (1.0 if finding.zone == "middle" else 1.1)
    axis = chest.v - v0
    wedge = opening * (away - tip) * 0.75 - np.abs(axis)
    return np.asarray(0.62 * soft(wedge, 0.025) * lung, dtype=np.float32)


def _fracture(chest: Chest, finding: Finding, rng: Rng) -> Array:
    """One posterior rib: a gap, the outer fragment shifted down, and a haematoma around it."""
    (sign,) = _signs(finding)
    anatomy = chest.anatomy
    v0 = anatomy.zone_height(finding.zone, float(rng.uniform(0.3, 0.7)))
    u0 = sign * float(anatomy.lateral(v0)) * float(rng.uniform(0.62, 0.78))
    here = np.full((1, 1), u0, dtype=np.float32), np.full((1, 1), v0, dtype=np.float32)
    number = float(np.rint(posterior_phase(anatomy, *here)[0, 0]))
    phase = posterior_phase(anatomy, chest.u, chest.v) - np.float32(number)
    v0 -= (float(posterior_phase(anatomy, *here)[0, 0]) - number) * RIB_SPACING
    beyond = np.abs(chest.u) - np.float32(abs(u0))
    near = soft(np.float32(0.24) - np.abs(beyond), 0.06) * (chest.u * sign > 0)
    near = near * soft(np.float32(0.95) - np.abs(phase), 0.1)
    gap = soft(np.abs(beyond) - np.float32(0.028), 0.02)
    outer = soft(beyond, 0.02)
    broken = rib_profile(phase) * (1.0 - outer) + rib_profile(phase - np.float32(0.55)) * outer
    own = rib_profile(np.where(np.abs(phase) < 0.5, phase, np.float32(0.5)).astype(np.float32))
    bone = near * (0.62 * broken * gap - 0.21 * own)
    clot = np.exp(-((beyond / np.float32(0.12)) ** 2 + ((chest.v - np.float32(v0)) / np.float32(0.09)) ** 2))
    return np.asarray(bone + 0.26 * clot * (chest.u * sign > 0), dtype=np.float32)


def _pacemaker(chest: Chest, finding: Finding, rng: Rng) -> Array:
    """Generator below the clavicle, one lead through the superior vena cava into the right ventricle."""
    (sign,) = _signs(finding)
    u0 = sign * float(rng.uniform(0.46, 0.56))
    v0 = float(rng.uniform(-0.46, -0.36))
    tilt = float(rng.uniform(-0.35, 0.35))
    du, dv = chest.u - np.float32(u0), chest.v - np.float32(v0)
    a, b = np.cos(tilt) * du + np.sin(tilt) * dv, np.cos(tilt) * dv - np.sin(tilt) * du
    can = (np.abs(a) / 0.125) ** 3 + (np.abs(b) / 0.100) ** 3
    body = soft(np.asarray((1.0 - can) * 0.05, dtype=np.float32), 0.03)
    cu, cv, across, down = chest.anatomy.heart_axes(chest.anatomy.ctr)
    course = np.array(
        [[u0, v0 - 0.06], [sign * 0.36, -0.58], [sign * 0.15, -0.58], [-0.09, -0.46], [-0.11, -0.15], [-0.08, 0.10]]
    )
    course = np.vstack([course, [[cu - 0.1 * across, cv + 0.45 * down], [cu + 0.35 * across, cv + 0.62 * down]]])
    lead = draw_strokes(chest.anatomy.grid, [(smooth_course(course), 0.026, 255)])
    return np.asarray(1.6 * body + 1.1 * lead * (1.0 - body), dtype=np.float32)


_LAYERS: dict[str, Callable[[Chest, Finding, Rng], Array]] = {
    "opacity": _opacity,
    "nodule": _nodule,
    "mass": _mass,
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "cardiomegaly": _cardiomegaly,
    "atelectasis": _atelectasis,
    "rib fracture": _fracture,
    "pacemaker": _pacemaker,
}
