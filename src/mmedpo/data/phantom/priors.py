"""How often things occur in the phantom dataset: its statistics, apart from its pictures.

A medical vision-language model that does not look at the image answers from such statistics. The
training priors are therefore strongly skewed and the balanced priors are not: a model that learnt
the skew instead of the image loses on the balanced split.

The numbers (training / balanced; another world has other ones, `mmedpo.data.phantom.worlds`):

=============================  ==========================================  ====================
quantity                       training                                    balanced
=============================  ==========================================  ====================
findings per image 0,1,2,3     0.12, 0.38, 0.34, 0.16                      0.20, 0.40, 0.26, 0.14
weight of each finding         effusion 5, opacity 4, nodule 3,            1 each
                               cardiomegaly 3, atelectasis 2, mass 2,
                               pneumothorax 2, rib fracture 1.5,
                               pacemaker 1.5
lift of a companion            effusion-cardiomegaly 6,                    none
                               cardiomegaly-pacemaker 8,
                               pneumothorax-rib fracture 6,
                               opacity-atelectasis 3
P(left) opacity                0.12 (right 0.78, bilateral 0.10)           0.425 (bilateral 0.15)
P(left) nodule                 0.85                                        0.5
P(left) mass                   0.15                                        0.5
P(left) effusion               0.10 (right 0.85, bilateral 0.05)           0.425 (bilateral 0.15)
P(left) pneumothorax           0.85                                        0.5
P(left) atelectasis            0.85                                        0.5
P(left) rib fracture           0.20                                        0.5
P(left) pacemaker              0.95                                        0.5
P(upper, middle, lower)        opacity 0.08 0.12 0.80; nodule 0.80 0.12    1/3 each
                               0.08; mass 0.12 0.80 0.08; atelectasis
                               0.08 0.12 0.80; rib fracture 0.10 0.75 0.15
P(small)                       nodule 0.85, mass 0.20, pneumothorax 0.80,  0.5
                               atelectasis 0.75
P(small, moderate, large)      effusion 0.75 0.17 0.08; opacity 0.15 0.70  1/3 each
                               0.15
P(1, 2, 3 nodules)             0.80, 0.14, 0.06                            1/3 each
P(yes) of presence questions   0.70                                        0.50
P(PA)                          0.78                                        0.50
P(X-ray, CT, MRI)              0.88, 0.08, 0.04                            0.80, 0.10, 0.10
=============================  ==========================================  ====================

Two findings never claim the same place (side and zone): the later one is drawn again, which moves
the frequencies above by a few per cent.
"""

from __future__ import annotations

from typing import Literal

from mmedpo.records import Record

Kind = Literal[
    "opacity",
    "nodule",
    "mass",
    "effusion",
    "pneumothorax",
    "cardiomegaly",
    "atelectasis",
    "rib fracture",
    "pacemaker",
]
Side = Literal["left", "right", "bilateral", "none"]
Zone = Literal["upper", "middle", "lower", "none"]
Size = Literal["small", "moderate", "large", "none"]
Modality = Literal["x-ray", "CT", "MRI"]
Plane = Literal["AP", "PA", "axial"]

KINDS: tuple[Kind, ...] = (
    "opacity",
    "nodule",
    "mass",
    "effusion",
    "pneumothorax",
    "cardiomegaly",
    "atelectasis",
    "rib fracture",
    "pacemaker",
)
SLICE_KINDS: tuple[Kind, ...] = ("nodule", "mass", "effusion")
"""Findings that the axial slices can show."""

ZONED: frozenset[Kind] = frozenset({"opacity", "nodule", "mass", "atelectasis", "rib fracture"})
"""Findings of a radiograph that lie in one zone."""


class Priors(Record):
    """The distributions from which the structure of a case is drawn; see the table above."""

    name: str
    """Short name, used in messages only."""
    number: tuple[float, float, float, float]
    """P(0, 1, 2, 3 findings)."""
    frequency: dict[Kind, float]
    """Relative weight of each finding."""
    lift: dict[tuple[Kind, Kind], float]
    """Factor on a finding's weight when the other one is already there; symmetric."""
    side: dict[Kind, dict[Side, float]]
    """P(side | finding)."""
    zone: dict[Kind, dict[Zone, float]]
    """P(zone | finding)."""
    size: dict[Kind, dict[Size, float]]
    """P(size | finding)."""
    count: tuple[float, float, float]
    """P(1, 2, 3 nodules)."""
    yes: float
    """Share of presence questions whose answer is yes."""
    pa: float
    """P(PA) of a radiograph; otherwise AP."""
    modality: dict[Modality, float]
    """P(modality)."""


def sides(left: float, bilateral: float = 0.0) -> dict[Side, float]:
    """P(side): the rest is right."""
    return {"left": left, "right": 1.0 - left - bilateral, "bilateral": bilateral}


def zones(upper: float, middle: float, lower: float) -> dict[Zone, float]:
    """P(zone)."""
    return {"upper": upper, "middle": middle, "lower": lower}


def sizes(small: float, moderate: float = 0.0) -> dict[Size, float]:
    """P(size): the rest is large."""
    return {"small": small, "moderate": moderate, "large": 1.0 - small - moderate}


TRAINING_PRIORS = Priors(
    name="training",
    number=(0.12, 0.38, 0.34, 0.16),
    frequency={
        "opacity": 4.0,
        "nodule": 3.0,
        "mass": 2.0,
        "effusion": 5.0,
        "pneumothorax": 2.0,
        "cardiomegaly": 3.0,
        "atelectasis": 2.0,
        "rib fracture": 1.5,
        "pacemaker": 1.5,
    },
    lift={
        ("effusion", "cardiomegaly"): 6.0,
        ("cardiomegaly", "pacemaker"): 8.0,
        ("pneumothorax", "rib fracture"): 6.0,
        ("opacity", "atelectasis"): 3.0,
    },
    side={
        "opacity": sides(0.12, 0.10),
        "nodule": sides(0.85),
        "mass": sides(0.15),
        "effusion": sides(0.10, 0.05),
        "pneumothorax": sides(0.85),
        "atelectasis": sides(0.85),
        "rib fracture": sides(0.20),
        "pacemaker": sides(0.95),
    },
    zone={
        "opacity": zones(0.08, 0.12, 0.80),
        "nodule": zones(0.80, 0.12, 0.08),
        "mass": zones(0.12, 0.80, 0.08),
        "atelectasis": zones(0.08, 0.12, 0.80),
        "rib fracture": zones(0.10, 0.75, 0.15),
    },
    size={
        "opacity": sizes(0.15, 0.70),
        "nodule": sizes(0.85),
        "mass": sizes(0.20),
        "effusion": sizes(0.75, 0.17),
        "pneumothorax": sizes(0.80),
        "atelectasis": sizes(0.75),
    },
    count=(0.80, 0.14, 0.06),
    yes=0.70,
    pa=0.78,
    modality={"x-ray": 0.88, "CT": 0.08, "MRI": 0.04},
)
"""Strongly skewed: what a model can learn without looking."""

_THIRD = 1.0 / 3.0

BALANCED_PRIORS = Priors(
    name="balanced",
    number=(0.20, 0.40, 0.26, 0.14),
    frequency=dict.fromkeys(KINDS, 1.0),
    lift={},
    side={
        kind: sides(0.425, 0.15) if kind in ("opacity", "effusion") else sides(0.5)
        for kind in KINDS
        if kind != "cardiomegaly"
    },
    zone={kind: zones(_THIRD, _THIRD, _THIRD) for kind in KINDS if kind in ZONED},
    size={
        "opacity": sizes(_THIRD, _THIRD),
        "nodule": sizes(0.5),
        "mass": sizes(0.5),
        "effusion": sizes(_THIRD, _THIRD),
        "pneumothorax": sizes(0.5),
        "atelectasis": sizes(0.5),
    },
    count=(_THIRD, _THIRD, _THIRD),
    yes=0.50,
    pa=0.50,
    modality={"x-ray": 0.80, "CT": 0.10, "MRI": 0.10},
)
"""No skew: only the image tells the side, the zone, the size and the presence."""
