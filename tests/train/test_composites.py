"""CoMedPO's composites: the same background on the left, the image or its noised self on the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import png_bytes
from mmedpo.train.composites import STD, beside, composites
from mmedpo.train.groups import Wanted
from train.test_methods import grouped, record


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A grey image of 8 x 6 pixels, and the same with a black lesion."""
    image = np.full((8, 6), 128, dtype=np.uint8)
    masked = image.copy()
    masked[2:4, 2:4] = 0
    for name, pixels in (("clean", image), ("masked", masked)):
        (tmp_path / f"{name}.png").write_bytes(png_bytes(pixels))
    return tmp_path / "clean.png", tmp_path / "masked.png"


def test_both_composites_differ_on_the_right_alone(pictures, tmp_path):
    made = composites(*pictures, "name", tmp_path / "made")
    factual, counter = (read_image(tmp_path / "made", file.name) for file in made)
    assert factual.shape[:2] == counter.shape[:2] == (12, 12)
    assert (factual[:, :6] == counter[:, :6]).all()
    assert (factual[2:10, 6:] == 128).all()
    assert (factual[4:6, 2:4] == 0).all(), "the masked lesion is on the left"
    assert not factual[:2].any()
    assert not factual[10:].any()
    noise = (counter[2:10, 6:].astype(float) - 128) / 255
    assert 0.5 * STD < noise.std() < 2 * STD
    before = [file.read_bytes() for file in made]
    again = composites(*pictures, "name", tmp_path / "again")
    assert [file.read_bytes() for file in again] == before


def test_grey_beside_colour():
    found = beside(np.zeros((4, 4), dtype=np.uint8), np.full((4, 4, 3), 7, dtype=np.uint8))
    assert found.shape == (8, 8, 3)
    assert found[2:6, 4:].min() == 7


def test_a_visual_pair_is_put_on_composites_with_both_answers(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedpo.train.groups.views_of", lambda pair, *roots: ((pictures[0],), (pictures[1],)))
    folder = tmp_path / "made"
    _, visual, alone = grouped(record(), record("visual"), record("visual", 1), wrong=True, composites=folder)
    assert visual.factual.response == visual.counterfactual.response == visual.chosen.response
    assert visual.factual_wrong.response == visual.counterfactual_wrong.response == visual.wrong.response
    assert visual.factual.views == visual.factual_wrong.views != visual.counterfactual.views
    assert visual.factual.views[0].parent == folder
    assert alone.factual is None
    plain = grouped(record(), record("visual"), wrong=True)[1]
    assert plain.factual is None
    assert Wanted().composites is None
