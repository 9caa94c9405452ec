"""Tissue and background of small generated pictures, one of each modality, and noise that keeps to it."""

from __future__ import annotations

import numpy as np
import pytest

from mmedpo.errors import CurationError
from mmedpo.imaging.noise import noise_image
from mmedpo.imaging.tissue import rule_of, tissue_mask
from mmedpo.records import NoiseSpec

SIDE = 96
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]


def disc(row: float, column: float, radius: float, wide: float = 1.0) -> np.ndarray:
    return np.asarray(((ROWS - row) ** 2 + ((COLUMNS - column) / wide) ** 2) < radius**2)


def ct() -> tuple[np.ndarray, np.ndarray]:
    """A trunk with two lungs full of air, above a thin table, beside a burned-in letter."""
    body = disc(46, 48, 30, 1.3)
    grey = np.where(body, 120, 2).astype(np.uint8)
    grey[disc(44, 30, 10) | disc(44, 66, 10)] = 4
    grey[88] = 160
    grey[4:9, 4:6] = 255
    return grey, body


def mr_of_both_legs() -> tuple[np.ndarray, np.ndarray]:
    legs = disc(48, 24, 17) | disc(48, 72, 15)
    return (np.where(legs, 150, 0) + np.random.default_rng(0).integers(0, 7, (SIDE, SIDE))).astype(np.uint8), legs


def fundus() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on black, with a dark haemorrhage inside."""
    eye = disc(48, 48, 44)
    picture = np.where(eye[..., None], np.array([170, 80, 40]), np.array([3, 2, 2])).astype(np.uint8)
    picture[disc(50, 60, 6)] = (12, 4, 3)
    return picture, eye


def dermoscopy() -> tuple[np.ndarray, np.ndarray]:
    """Skin with a black lesion, seen through a round lens."""
    skin = disc(48, 48, 58)
    picture = np.where(skin[..., None], np.array([210, 160, 140]), np.array([5, 5, 5])).astype(np.uint8)
    picture[disc(46, 44, 14)] = (20, 14, 12)
    return picture, skin


def slide() -> tuple[np.ndarray, np.ndarray]:
    """Stained tissue on glass, with gaps of a pixel."""
    tissue = disc(40, 40, 30)
    picture = np.where(tissue[..., None], np.array([200, 120, 170]), np.array([243, 241, 244])).astype(np.uint8)
    picture[40, 40] = (243, 241, 244)
    return picture, tissue


PICTURES = {"ct": ct, "mri": mr_of_both_legs, "fundus": fundus, "dermoscopy": dermoscopy, "pathology": slide}


@pytest.mark.parametrize("modality", sorted(PICTURES))
def test_tissue_is_told_from_air_frames_and_glass(modality: str) -> None:
    picture, tissue = PICTURES[modality]()
    found = tissue_mask(picture, rule_of(modality))
    assert (found & tissue).sum() / (found | tissue).sum() > 0.9
    assert not found[0, 0]


@pytest.mark.parametrize("kind", ["diffusion", "released", "blank", "mask-out"])
@pytest.mark.parametrize("modality", sorted(PICTURES))
@pytest.mark.parametrize("region", ["lesion", "organ", "global"])
def test_no_kind_of_noise_leaves_the_tissue(modality: str, kind: str, region: str) -> None:
    picture, _ = PICTURES[modality]()
    rule = rule_of(modality)
    spec = NoiseSpec(kind=kind, region=region, step=900, seed=3, tissue=rule)
    heat = np.ones((SIDE, SIDE), dtype=np.float32) if region != "global" else None
    if heat is not None:
        heat[:2] = 0  # `released` marks what lies above mean - deviation
    noised, inside = noise_image(picture, heat, spec), tissue_mask(picture, rule)
    assert np.array_equal(noised[~inside], picture[~inside])
    changed = (noised != picture) if picture.ndim == 2 else (noised != picture).any(axis=2)
    assert changed[inside].mean() > 0.3
    without = noise_image(picture, heat, spec.model_copy(update={"tissue": ""}))
    assert np.array_equal(noised[inside], without[inside])


def test_what_shows_nothing_but_background_is_taken_whole() -> None:
    assert tissue_mask(np.full((40, 40, 3), 240, dtype=np.uint8), "slide").all()
    assert tissue_mask(np.zeros((40, 40), dtype=np.uint8), "lens").all()
    assert tissue_mask(np.zeros((40, 40), dtype=np.uint8), "slice").all()
    assert rule_of("xray") == rule_of("") == ""
    with pytest.raises(CurationError, match="allowed: slice, lens, slide"):
        tissue_mask(np.zeros((4, 4), dtype=np.uint8), "film")


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1, 3), (3, 2, 3)])
@pytest.mark.parametrize("rule", ["slice", "lens", "slide"])
def test_pictures_of_any_size_have_a_mask(shape: tuple[int, ...], rule: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert tissue_mask(picture, rule).shape == shape[:2]


def test_noise_in_an_organ_needs_its_map() -> None:
    with pytest.raises(CurationError, match="region is 'organ' but there is neither a map of it nor a box"):
        noise_image(np.zeros((8, 8), dtype=np.uint8), None, NoiseSpec(region="organ"))
