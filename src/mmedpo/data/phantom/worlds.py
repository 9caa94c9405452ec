"""Two places that phantoms may come from: a result that holds in one of them may be due to its statistics alone.

The embedded model grew up in the `clinic`. In `intensive-care` nearly everything that can be guessed is guessed the
other way: patients lie (AP), more is found, on the other side, in other zones, larger, together with other findings,
most presence questions are answered no, and the films have nearly twice the grain.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mmedpo.data.phantom.priors import BALANCED_PRIORS, TRAINING_PRIORS, Priors, sides, sizes, zones

WorldName = Literal["clinic", "intensive-care"]


class World(NamedTuple):
    """Where the images of all splits come from."""

    priors: Priors
    """Of the splits that can be answered without looking; the others have `BALANCED_PRIORS` in every world."""
    grain: float
    """Factor on the noise of the films and slices."""

    def of(self, split: str) -> Priors:
        """Priors of a split: skewed for `train` and `test`, balanced for `validation` and `test-balanced`."""
        return self.priors if split in ("train", "test") else BALANCED_PRIORS


INTENSIVE_CARE_PRIORS = Priors(
    name="intensive care",
    number=(0.06, 0.28, 0.40, 0.26),
    frequency={
        "opacity": 5.0,
        "nodule": 1.5,
        "mass": 1.5,
        "effusion": 3.0,
        "pneumothorax": 4.0,
        "cardiomegaly": 2.0,
        "atelectasis": 4.0,
        "rib fracture": 2.0,
        "pacemaker": 3.0,
    },
    lift={
        ("effusion", "atelectasis"): 6.0,
        ("pneumothorax", "pacemaker"): 6.0,
        ("opacity", "effusion"): 3.0,
    },
    side={
        "opacity": sides(0.70, 0.18),
        "nodule": sides(0.15),
        "mass": sides(0.85),
        "effusion": sides(0.78, 0.12),
        "pneumothorax": sides(0.15),
        "atelectasis": sides(0.15),
        "rib fracture": sides(0.80),
        "pacemaker": sides(0.10),
    },
    zone={
        "opacity": zones(0.70, 0.20, 0.10),
        "nodule": zones(0.08, 0.15, 0.77),
        "mass": zones(0.75, 0.15, 0.10),
        "atelectasis": zones(0.10, 0.75, 0.15),
        "rib fracture": zones(0.75, 0.15, 0.10),
    },
    size={
        "opacity": sizes(0.10, 0.15),
        "nodule": sizes(0.15),
        "mass": sizes(0.80),
        "effusion": sizes(0.10, 0.20),
        "pneumothorax": sizes(0.20),
        "atelectasis": sizes(0.20),
    },
    count=(0.12, 0.23, 0.65),
    yes=0.35,
    pa=0.10,
    modality={"x-ray": 0.78, "CT": 0.18, "MRI": 0.04},
)
"""As strongly skewed as `TRAINING_PRIORS`, elsewhere."""

WORLDS: dict[WorldName, World] = {
    "clinic": World(TRAINING_PRIORS, 1.0),
    "intensive-care": World(INTENSIVE_CARE_PRIORS, 1.8),
}
