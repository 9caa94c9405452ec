"""Pictures: reproducible, oriented as radiographs are, and masked exactly where a finding shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, Finding, PhantomCase, Structure, generate_case
from mmedpo.data.phantom.anatomy import heart, sample_anatomy
from mmedpo.data.phantom.case import NOTICEABLE, render_levels, render_structure
from mmedpo.data.phantom.priors import Kind, Side, Size, Zone
from mmedpo.errors import ConfigError

SEEDS = range(300, 345)


@pytest.fixture(scope="module")
def cases() -> list[PhantomCase]:
    return [generate_case(seed, BALANCED_PRIORS) for seed in SEEDS]


def chest(*findings: Finding, plane: str = "PA") -> Structure:
    return Structure("x-ray", "AP" if plane == "AP" else "PA", findings)


def mask_of(finding: Finding, seed: int) -> np.ndarray:
    return render_structure(chest(finding), seed).masks[0]


def test_the_same_seed_gives_the_same_bytes_in_any_order(cases: list[PhantomCase]) -> None:
    for seed, case in reversed(list(zip(SEEDS, cases, strict=True))[:8]):
        again = generate_case(seed, BALANCED_PRIORS)
        assert again.image.tobytes() == case.image.tobytes()
        assert again.mask.tobytes() == case.mask.tobytes()
        assert again.questions == case.questions
        assert again.findings == case.findings
    assert len({case.image.tobytes() for case in cases}) == len(cases)


def test_masks_hold_exactly_the_pixels_that_the_finding_changes(cases: list[PhantomCase]) -> None:
    for seed, case in zip(SEEDS, cases, strict=True):
        structure = Structure(case.modality, case.plane, case.findings)
        whole, _ = render_levels(structure, seed)
        for index, mask in enumerate(case.masks):
            fewer = replace(structure, findings=case.findings[:index] + case.findings[index + 1 :])
            without, _ = render_levels(fewer, seed)
            difference = np.abs(whole - without)
            assert (difference[mask] > NOTICEABLE - 0.01).all()
            assert (difference[~mask] < NOTICEABLE + 0.01).all()
        assert (case.mask == np.logical_or.reduce([*case.masks, np.zeros_like(case.mask)])).all()


def test_every_finding_is_visible_and_its_box_is_tight(cases: list[PhantomCase]) -> None:
    for case in cases:
        assert case.image.dtype == np.uint8
        assert case.image.shape == case.mask.shape == (128, 128)
        assert case.mask.any() == bool(case.findings)
        for finding, mask in zip(case.findings, case.masks, strict=True):
            assert mask.sum() >= 35
            box = finding.box
            assert box is not None
            assert box.label == finding.kind
            rows, columns = np.nonzero(mask)
            assert (box.x0, box.y0) == (columns.min(), rows.min())
            assert (box.x1, box.y1) == (columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(
    ("kind", "zone", "size"),
    [
        ("opacity", "middle", "moderate"),
        ("nodule", "upper", "small"),
        ("mass", "lower", "large"),
        ("effusion", "none", "small"),
        ("pneumothorax", "none", "large"),
        ("atelectasis", "middle", "large"),
        ("rib fracture", "lower", "none"),
    ],
)
def test_the_patients_left_is_at_picture_right(kind: Kind, zone: Zone, size: Size) -> None:
    for seed in range(4):
        left = np.nonzero(mask_of(Finding(kind, "left", zone, size), seed))[1]
        right = np.nonzero(mask_of(Finding(kind, "right", zone, size), seed))[1]
        assert left.mean() > 66
        assert right.mean() < 62


@pytest.mark.parametrize("modality", ["CT", "MRI"])
def test_slices_use_the_same_convention(modality: str) -> None:
    for side, sign in (("left", 1), ("right", -1)):
        finding = Finding("effusion", "left" if side == "left" else "right", "none", "large")
        structure = Structure("CT" if modality == "CT" else "MRI", "axial", (finding,))
        rows, columns = np.nonzero(render_structure(structure, 5).masks[0])
        assert sign * (columns.mean() - 63.5) > 10
        assert rows.mean() > 64, "fluid lies at the back, which is at the bottom of the picture"


@pytest.mark.parametrize("kind", ["nodule", "mass", "opacity", "atelectasis", "rib fracture"])
def test_zones_follow_each_other_from_top_to_bottom(kind: Kind) -> None:
    size: Size = "none" if kind == "rib fracture" else "small"
    zones: tuple[Zone, ...] = ("upper", "middle", "lower")
    for seed in range(5):
        heights = [np.nonzero(mask_of(Finding(kind, "right", zone, size), seed))[0].mean() for zone in zones]
        assert heights[0] + 5 < heights[1] < heights[2] - 5


@pytest.mark.parametrize("kind", ["nodule", "mass", "opacity", "effusion", "atelectasis"])
def test_large_findings_cover_more_than_small_ones(kind: Kind) -> None:
    zone: Zone = "none" if kind == "effusion" else "middle"
    for seed in range(5):
        small, large = (mask_of(Finding(kind, "left", zone, size), seed).sum() for size in ("small", "large"))
        assert large > 1.25 * small


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_nodules_are_drawn_as_counted(count: int) -> None:
    for seed in range(6):
        mask = mask_of(Finding("nodule", "right", "middle", "small", count), seed)
        assert ndimage.label(mask)[1] == count


@pytest.mark.parametrize("side", ["left", "right", "bilateral"])
def test_bilateral_findings_mark_both_halves(side: Side) -> None:
    mask = mask_of(Finding("effusion", side, "none", "moderate"), 3)
    assert mask[:, :50].any() == (side != "left")
    assert mask[:, 78:].any() == (side != "right")


@pytest.mark.parametrize(
    ("kind", "zone", "size", "brighter"),
    [
        ("opacity", "lower", "large", True),
        ("effusion", "none", "moderate", True),
        ("pacemaker", "none", "none", True),
        ("cardiomegaly", "none", "none", True),
        ("pneumothorax", "none", "large", False),
    ],
)
def test_fluid_and_metal_are_bright_and_gas_is_dark(kind: Kind, zone: Zone, size: Size, brighter: bool) -> None:
    side: Side = "none" if kind == "cardiomegaly" else "left"
    for seed in range(4):
        whole, (without,) = render_levels(chest(Finding(kind, side, zone, size)), seed)
        strongest = np.abs(whole - without) > 25
        share = (whole > without)[strongest].mean()
        assert strongest.sum() > 40
        assert (share > 0.9) if brighter else (share < 0.4)


def test_ap_magnifies_the_heart_and_carries_its_letters() -> None:
    for seed in range(4):
        areas = []
        for frontal in (False, True):
            anatomy = sample_anatomy(np.random.default_rng(seed), 128, frontal, (seed,))
            areas.append(heart(anatomy, *anatomy.grid.coordinates(), anatomy.ctr).sum())
        assert areas[1] > 1.05 * areas[0]
        corners = [render_structure(chest(plane=plane), seed).image[2:16, 2:24] for plane in ("PA", "AP")]
        assert (corners[1] > 180).sum() > 10 > (corners[0] > 180).sum()


def test_other_sizes_scale_the_same_patient() -> None:
    small, large = generate_case(12, TRAINING_PRIORS, 96), generate_case(12, TRAINING_PRIORS, 192)
    assert small.image.shape == (96, 96)
    assert large.image.shape == (192, 192)
    assert small.questions == large.questions
    assert large.mask.mean() == pytest.approx(small.mask.mean(), rel=0.25)


def test_too_small_a_picture_is_refused_with_the_limit() -> None:
    with pytest.raises(ConfigError, match=r"95.*96"):
        generate_case(0, TRAINING_PRIORS, 95)
