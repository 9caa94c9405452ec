"""What is drawn follows the priors, and never asks a picture to show two things in one place."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, WORLDS, Priors, Structure, sample_structure
from mmedpo.data.phantom.priors import KINDS, SLICE_KINDS, ZONED
from mmedpo.data.phantom.structure import choose

N = 1500


def draw(priors: Priors) -> list[Structure]:
    return [sample_structure(np.random.default_rng([7, index]), priors) for index in range(N)]


@pytest.fixture(scope="module")
def training() -> list[Structure]:
    return draw(TRAINING_PRIORS)


@pytest.fixture(scope="module")
def balanced() -> list[Structure]:
    return draw(BALANCED_PRIORS)


def shares(structures: list[Structure], kind: str, attribute: str) -> dict[str, float]:
    """Share of each value among the radiographs that have this finding."""
    found = Counter(
        str(getattr(finding, attribute))
        for structure in structures
        if structure.modality == "x-ray"
        for finding in structure.findings
        if finding.kind == kind
    )
    return {value: count / found.total() for value, count in found.items()}


@pytest.mark.parametrize(
    "priors", [BALANCED_PRIORS, *(world.priors for world in WORLDS.values())], ids=lambda priors: priors.name
)
def test_every_distribution_sums_to_one_and_covers_every_finding(priors: Priors) -> None:
    tables = [*priors.side.values(), *priors.zone.values(), *priors.size.values(), priors.modality]
    for table in tables:
        assert sum(table.values()) == pytest.approx(1.0)
        assert min(table.values()) >= 0.0
    assert sum(priors.number) == pytest.approx(1.0)
    assert sum(priors.count) == pytest.approx(1.0)
    assert set(priors.frequency) == set(KINDS)
    assert set(priors.zone) == ZONED


def test_choose_never_draws_an_impossible_key_and_needs_no_normalised_weights() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(choose(rng, {"never": 0.0, "often": 6.0, "rarely": 2.0, "last": 0.0}) for _ in range(4000))
    assert set(drawn) == {"often", "rarely"}
    assert drawn["often"] / drawn.total() == pytest.approx(0.75, abs=0.03)


def test_training_structures_are_as_skewed_as_the_table_says(training: list[Structure]) -> None:
    assert shares(training, "effusion", "side")["right"] == pytest.approx(0.85, abs=0.06)
    assert shares(training, "nodule", "side")["left"] == pytest.approx(0.85, abs=0.06)
    assert shares(training, "pneumothorax", "side")["left"] == pytest.approx(0.85, abs=0.08)
    assert shares(training, "pacemaker", "side")["left"] == pytest.approx(0.95, abs=0.06)
    assert shares(training, "nodule", "zone")["upper"] == pytest.approx(0.80, abs=0.07)
    assert shares(training, "nodule", "count")["1"] == pytest.approx(0.80, abs=0.07)
    assert shares(training, "nodule", "size")["small"] == pytest.approx(0.85, abs=0.06)


def test_balanced_structures_prefer_no_side_zone_size_or_count(balanced: list[Structure]) -> None:
    for kind in ("nodule", "mass", "pneumothorax", "rib fracture", "pacemaker", "atelectasis"):
        assert shares(balanced, kind, "side")["left"] == pytest.approx(0.5, abs=0.13)
    for kind in ZONED - {"opacity"}:
        for share in shares(balanced, kind, "zone").values():
            assert share == pytest.approx(1 / 3, abs=0.12)
    for share in shares(balanced, "nodule", "count").values():
        assert share == pytest.approx(1 / 3, abs=0.1)


def test_modalities_and_planes_have_their_share(training: list[Structure], balanced: list[Structure]) -> None:
    slices = Counter(structure.modality for structure in training)
    assert slices["x-ray"] / N == pytest.approx(0.88, abs=0.03)
    planes = Counter(structure.plane for structure in balanced if structure.modality == "x-ray")
    assert planes["PA"] / planes.total() == pytest.approx(0.5, abs=0.05)
    assert all((s.plane == "axial") == (s.modality != "x-ray") for s in training + balanced)


def test_companions_meet_more_often_in_training_than_by_chance(
    training: list[Structure], balanced: list[Structure]
) -> None:
    def lift(structures: list[Structure], one: str, other: str) -> float:
        kinds = [{f.kind for f in s.findings} for s in structures if s.modality == "x-ray" and len(s.findings) > 1]
        both = sum({one, other} <= present for present in kinds) / len(kinds)
        return both / (sum(one in p for p in kinds) / len(kinds) * sum(other in p for p in kinds) / len(kinds))

    assert lift(training, "cardiomegaly", "pacemaker") > 1.25
    assert lift(training, "pneumothorax", "rib fracture") > 1.25
    assert lift(training, "cardiomegaly", "pacemaker") > lift(balanced, "cardiomegaly", "pacemaker") + 0.2


def test_no_two_lung_findings_share_a_place_and_slices_show_only_what_they_can(
    training: list[Structure], balanced: list[Structure]
) -> None:
    for structure in training + balanced:
        kinds = [finding.kind for finding in structure.findings]
        assert len(kinds) == len(set(kinds)) <= 3
        if structure.modality != "x-ray":
            assert set(kinds) <= set(SLICE_KINDS)
            continue
        focal = [f for f in structure.findings if f.kind in ("opacity", "nodule", "mass", "atelectasis")]
        places = [
            (side, finding.zone)
            for finding in focal
            for side in (("left", "right") if finding.side == "bilateral" else (finding.side,))
        ]
        assert len(places) == len(set(places))
