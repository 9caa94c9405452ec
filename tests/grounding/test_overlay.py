"""Pictures for people: what has no heat must look as it did."""

from __future__ import annotations

import numpy as np
import pytest

from mmedpo.errors import GroundingError
from mmedpo.grounding.overlay import BOX_COLOUR, colour_map, overlay
from mmedpo.records import Box

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)


def test_without_heat_the_picture_is_the_grey_image() -> None:
    drawn = overlay(IMAGE, np.zeros((50, 70), dtype=np.float32))
    assert drawn.shape == (50, 70, 3)
    assert drawn.dtype == np.uint8
    assert all(np.array_equal(drawn[..., channel], IMAGE) for channel in range(3))


def test_heat_colours_only_where_it_is() -> None:
    heat = np.zeros((50, 70), dtype=np.float32)
    heat[10:20, 10:20] = 1
    drawn = overlay(IMAGE, heat)
    grey = np.repeat(IMAGE[..., None], 3, axis=2)
    assert np.array_equal(drawn[heat == 0], grey[heat == 0])
    assert (drawn[heat == 1] != grey[heat == 1]).any(axis=1).all()


def test_an_outline_runs_on_the_border_of_the_box_only() -> None:
    drawn = overlay(IMAGE, None, [Box(x0=20, y0=10, x1=40, y1=30)])
    outlined = (drawn == BOX_COLOUR).all(axis=2)
    assert outlined[10, 20]
    assert outlined[29, 39]
    assert outlined[10, 30]
    assert not outlined[20, 30]
    assert not outlined[30, 40]
    assert not outlined[9, 20]


def test_a_box_reaching_out_of_the_image_is_drawn_as_far_as_it_goes() -> None:
    drawn = overlay(IMAGE, None, [Box(x0=60, y0=40, x1=90, y1=90)])
    assert (drawn[49, 65] == BOX_COLOUR).all()


def test_the_scale_only_gets_lighter() -> None:
    scale = colour_map(np.linspace(0, 1, 101, dtype=np.float32)[None])[0].astype(float)
    lightness = scale @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_heat_of_another_size_is_refused() -> None:
    with pytest.raises(GroundingError, match="must agree"):
        overlay(IMAGE, np.zeros((5, 5), dtype=np.float32))


def test_the_border_of_a_lesion_is_drawn_inside_it_and_at_the_pictures_edge() -> None:
    lesion = np.zeros((50, 70), dtype=bool)
    lesion[0:10, 20:30] = True
    lesion[30, 40] = True
    drawn = overlay(IMAGE, None, lesion=lesion)
    coloured = (drawn == BOX_COLOUR).all(axis=-1)
    assert not coloured[~lesion].any()
    assert coloured[0, 20:30].all()
    assert coloured[:10, [20, 29]].all()
    assert coloured[30, 40]
    assert not coloured[1:9, 21:29].any()
    with pytest.raises(GroundingError, match="lesion has shape"):
        overlay(IMAGE, None, lesion=lesion[:5])
