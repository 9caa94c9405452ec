"""What a case shows, before any pixel: modality, plane and findings drawn from priors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mmedpo.data.phantom.priors import (
    KINDS,
    SLICE_KINDS,
    ZONED,
    Kind,
    Modality,
    Plane,
    Priors,
    Side,
    Size,
    Zone,
)
from mmedpo.records import Box

_Name = TypeVar("_Name", bound=str)
_TRIES = 8


@dataclass(frozen=True)
class Finding:
    """One finding of a case; sides are the patient's."""

    kind: Kind
    """What it is."""
    side: Side
    """Patient's side; `none` for cardiomegaly."""
    zone: Zone
    """Zone of the lung; `none` where a zone says nothing, and on axial slices."""
    size: Size
    """`none` where the size is not varied."""
    count: int = 1
    """Number of nodules; 1 for every other kind."""
    box: Box | None = None
    """Bounds of its mask in pixels; None before rendering."""


@dataclass(frozen=True)
class Structure:
    """Everything the answers depend on."""

    modality: Modality
    """Kind of image."""
    plane: Plane
    """Projection of a radiograph, `axial` for a slice."""
    findings: tuple[Finding, ...]
    """At most one of each kind, in the order of `KINDS`."""


def choose(rng: np.random.Generator, weights: Mapping[_Name, float]) -> _Name:
    """Draw one key with probability proportional to its weight (weights need not sum to 1)."""
    names = list(weights)
    bounds = np.cumsum([weights[name] for name in names])
    return names[min(int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right")), len(names) - 1)]


def sample_structure(rng: np.random.Generator, priors: Priors) -> Structure:
    """Draw modality, plane and findings of one case from `priors`; no picture is made."""
    modality = choose(rng, priors.modality)
    plane: Plane = "axial"
    if modality == "x-ray":
        plane = "PA" if rng.random() < priors.pa else "AP"
    number = int(choose(rng, {str(n): p for n, p in enumerate(priors.number)}))
    allowed = KINDS if modality == "x-ray" else SLICE_KINDS
    kinds: list[Kind] = []
    for _ in range(min(number, len(allowed) if modality == "x-ray" else 1)):
        kinds.append(choose(rng, {k: _weight(k, kinds, priors) for k in allowed if k not in kinds}))
    findings: list[Finding] = []
    for kind in sorted(kinds, key=KINDS.index):
        finding = _place(rng, kind, findings, priors, modality)
        if finding is not None:
            findings.append(finding)
    return Structure(modality, plane, tuple(findings))


def _weight(kind: Kind, present: list[Kind], priors: Priors) -> float:
    weight = priors.frequency[kind]
    for other in present:
        weight *= priors.lift.get((kind, other), 1.0) * priors.lift.get((other, kind), 1.0)
    return weight


def _place(
    rng: np.random.Generator, kind: Kind, present: list[Finding], priors: Priors, modality: Modality
) -> Finding | None:
    """Draw the attributes until the place is free; None (the finding is left out) after eight tries."""
    for _ in range(_TRIES):
        side: Side = choose(rng, priors.side[kind]) if kind in priors.side else "none"
        zone: Zone = choose(rng, priors.zone[kind]) if kind in ZONED and modality == "x-ray" else "none"
        size: Size = choose(rng, priors.size[kind]) if kind in priors.size else "none"
        count = 1 + int(choose(rng, {str(n): p for n, p in enumerate(priors.count)})) if kind == "nodule" else 1
        if modality != "x-ray":
            size = "large" if size == "moderate" else size
        finding = Finding(kind, side, zone, size, count)
        taken = {place for other in present for place in _places(other)}
        if not taken & _places(finding):
            return finding
    return None


def _places(finding: Finding) -> set[tuple[str, str]]:
    """The (side, zone) cells in which another lung finding could not be told from this one."""
    sides = ("left", "right") if finding.side == "bilateral" else (finding.side,)
    zones: tuple[str, ...] = (finding.zone,)
    if finding.kind == "rib fracture":
        zones = ()
    elif finding.kind == "effusion":
        zones = {"small": ("lower",), "moderate": ("lower",), "large": ("lower", "middle")}[finding.size]
    elif finding.kind == "pneumothorax":
        zones = ("upper",) if finding.size == "small" else ("upper", "middle")
    elif finding.kind in ("cardiomegaly", "pacemaker"):
        zones = ()
    return {(side, zone) for side in sides for zone in zones}
