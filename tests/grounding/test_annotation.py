"""Regions that came with the data."""

from __future__ import annotations

import numpy as np
import pytest

from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import Grounder
from mmedpo.grounding.regions import components, soft_edges
from mmedpo.grounding.tools.annotation import AnnotationGrounder
from mmedpo.records import Box
from mmedpo.registry import lookup

IMAGE = np.full((100, 120), 90, dtype=np.uint8)


def test_it_is_registered_and_a_grounder() -> None:
    assert lookup("grounder", "annotation") is AnnotationGrounder
    assert isinstance(AnnotationGrounder(), Grounder)


def test_the_box_is_full_heat_and_fades_within_the_margin() -> None:
    region = AnnotationGrounder().ground(IMAGE, [Box(x0=30, y0=40, x1=50, y1=60, label="mass")])
    heat = region.heatmap
    assert heat is not None
    assert heat.shape == (100, 120)
    assert heat.dtype == np.float32
    assert (heat[40:60, 30:50] == 1).all()
    # margin = 2 % of 100 = 2 pixels: half a cosine gives 0.5 at distance 1 and 0 from 2 on
    assert heat[50, 50] == pytest.approx(0.5)
    assert heat[50, 29] == pytest.approx(0.5)
    assert heat[50, 51] == 0
    assert heat[0, 0] == 0
    assert region.label == "mass"


def test_an_annotation_gives_no_confidence_and_says_so() -> None:
    region = AnnotationGrounder().ground(IMAGE, [Box(x0=3, y0=4, x1=9, y1=9)])
    assert region.confidence is None
    assert not region.calibrated
    assert region.reason == "annotation-gives-no-confidence"


@pytest.mark.parametrize("boxes", [[], [Box(x0=200, y0=0, x1=210, y1=5)], [Box(x0=5, y0=5, x1=5, y1=9)]])
def test_no_lesion_in_the_picture_gives_no_heatmap(boxes: list[Box]) -> None:
    region = AnnotationGrounder().ground(IMAGE, boxes)
    assert region.heatmap is None
    assert region.confidence is None
    assert region.reason == "no-lesion-annotated"


def test_a_mask_goes_before_boxes_and_yields_boxes_of_its_parts() -> None:
    mask = np.zeros((100, 120), dtype=bool)
    mask[10:20, 10:30] = True
    mask[70:75, 80:90] = True
    region = AnnotationGrounder().ground(IMAGE, (), mask)
    assert region.heatmap is not None
    assert np.array_equal(region.heatmap == 1, mask)
    assert region.boxes == (Box(x0=10, y0=10, x1=30, y1=20), Box(x0=80, y0=70, x1=90, y1=75))


def test_boxes_are_clipped_to_the_image() -> None:
    region = AnnotationGrounder().ground(IMAGE, [Box(x0=-5, y0=90, x1=20, y1=140)])
    assert region.boxes == (Box(x0=0, y0=90, x1=20, y1=100),)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(GroundingError, match="size of its image"):
        AnnotationGrounder().ground(IMAGE, (), np.ones((10, 10), dtype=bool))


def test_components_are_largest_first_and_small_ones_are_dropped() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[0, 0] = True
    mask[5:9, 5:9] = True
    assert [box.x0 for box in components(mask)] == [5, 0]
    assert len(components(mask, smallest=2)) == 1


def test_soft_edges_never_exceed_one_and_fall_outward() -> None:
    mask = np.zeros((1, 11), dtype=bool)
    mask[0, 5] = True
    heat = soft_edges(mask, margin=4.0)[0]
    assert heat.max() == 1
    assert list(np.argsort(-heat[5:])) == sorted(range(6), key=lambda place: -heat[5 + place])
    assert np.array_equal(heat[:5], heat[:5:-1])
    assert heat[9] == 0
