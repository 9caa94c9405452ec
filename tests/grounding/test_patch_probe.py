"""The probe must find a planted lesion, say how sure it is, and refuse a damaged file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmedpo.errors import GroundingError
from mmedpo.grounding.features import FEATURES, GRID, patch_features
from mmedpo.grounding.fit import Cases, auc, measure_on
from mmedpo.grounding.grounder import Grounder
from mmedpo.grounding.tools.patch_probe import PatchProbe, patch_target, shipped
from mmedpo.records import Box
from mmedpo.registry import lookup

# Features


def test_features_do_not_depend_on_exposure(planted) -> None:
    image, _ = planted(3, True)
    darker = np.rint(image * 0.5 + 20).astype(np.uint8)
    first, second = patch_features(image), patch_features(darker)
    assert first is not None
    assert second is not None
    assert first.shape == (GRID, GRID, len(FEATURES))
    assert np.abs(first - second)[..., FEATURES.index("mean")].max() < 0.05


def test_mirror_difference_changes_sign_when_the_picture_is_flipped(planted) -> None:
    image, _ = planted(4, True)
    column = FEATURES.index("mirror-difference")
    first, flipped = patch_features(image), patch_features(image[:, ::-1].copy())
    assert first is not None
    assert flipped is not None
    assert np.allclose(flipped[..., column], first[:, ::-1, column], atol=1e-6)
    assert np.allclose(first[..., column], -first[:, ::-1, column], atol=1e-6)


def test_a_blank_picture_gives_no_region_and_the_reason(toy_probe: PatchProbe) -> None:
    region = toy_probe.ground(np.full((80, 90), 60, dtype=np.uint8))
    assert region.heatmap is None
    assert region.confidence is None
    assert region.reason == "image-without-contrast"


def test_patch_target_is_the_covered_share() -> None:
    # 140 x 140 pixels: patches of 10 x 10. The box covers patch (1, 2) fully and half of (1, 3).
    target = patch_target([Box(x0=20, y0=10, x1=35, y1=20)], 140, 140)
    assert target[1, 2] == 1
    assert target[1, 3] == 0.5
    assert target.sum() == 1.5


# Finding


def test_it_finds_the_planted_lesion_far_better_than_the_position_prior(
    toy_probe: PatchProbe, toy_fit: Cases, toy_test: Cases
) -> None:
    measures = measure_on(toy_probe, toy_fit, toy_test, source="").measures
    assert measures["peak hit: probe"].value > 0.75
    assert measures["peak hit: difference"].low > 0.3
    assert measures["energy in lesion: difference"].low > 0.1
    assert measures["image AUC: lesion against normal"].value > 0.8


def test_the_region_fits_the_picture_and_marks_the_spot(toy_probe: PatchProbe, planted) -> None:
    image, mask = planted(2001, True)
    tall = np.repeat(np.repeat(image, 3, axis=0), 2, axis=1)
    region = toy_probe.ground(np.repeat(tall[..., None], 3, axis=2))
    assert region.heatmap is not None
    assert region.heatmap.shape == tall.shape
    assert region.heatmap.dtype == np.float32
    assert region.heatmap.min() == 0
    assert region.heatmap.max() == 1
    assert region.calibrated
    assert region.confidence is not None
    assert 0 < region.confidence < 1
    rows, columns = np.nonzero(mask)
    row, column = rows.mean() * 3, columns.mean() * 2
    assert any(box.x0 <= column < box.x1 and box.y0 <= row < box.y1 for box in region.boxes)
    assert {box.label for box in region.boxes} == {"spot"}


def test_confidence_is_higher_with_a_lesion_than_without(toy_probe: PatchProbe, planted_set) -> None:
    images, _, labels = planted_set(3000, 20, 20)
    sure = np.array([toy_probe.ground(image).confidence for image in images])
    assert auc(sure, np.array(labels)) > 0.8
    assert sure[:20].mean() - sure[20:].mean() > 0.2


def test_the_annotation_is_not_looked_at(toy_probe: PatchProbe, planted) -> None:
    image, mask = planted(2002, True)
    alone, told = toy_probe.ground(image), toy_probe.ground(image, [Box(x0=0, y0=0, x1=5, y1=5)], mask)
    assert np.array_equal(alone.heatmap, told.heatmap)
    assert alone.confidence == told.confidence


def test_fit_from_images_equals_itself_and_needs_regions_for_positives(planted_set) -> None:
    images, masks, labels = planted_set(0, 8, 6)
    fits = [PatchProbe.fit(images, masks, labels, range(14), seed=1).coefficients for _ in range(2)]
    assert fits[0] == fits[1]
    with pytest.raises(GroundingError, match="no box or mask"):
        PatchProbe.fit(images, [None] * 14, labels, range(14))
    with pytest.raises(GroundingError, match="equally many"):
        PatchProbe.fit(images, masks[:3], labels, range(14))


# Files


def test_a_saved_probe_answers_the_same(toy_probe: PatchProbe, tmp_path: Path, planted) -> None:
    toy_probe.save(tmp_path / "toy.json")
    loaded = PatchProbe.load(tmp_path / "toy.json")
    image, _ = planted(9, True)
    assert np.array_equal(loaded.ground(image).heatmap, toy_probe.ground(image).heatmap)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["products"].pop(), "products"),
        (lambda raw: raw["scale"].append(1.0), "scale"),
        (lambda raw: raw["prior"].pop(), "prior"),
        (lambda raw: raw["scale"].__setitem__(0, 0.0), "positive"),
        (lambda raw: raw.update(intercept=float("nan")), "intercept"),
        (lambda raw: raw.update(inputs=["mean"]), "inputs"),
        (lambda raw: raw.update(format="something-else"), "format"),
        (lambda raw: raw.update(surprise=1), "surprise"),
        (lambda raw: raw.pop("platt"), "platt"),
    ],
)
def test_a_damaged_file_is_refused(toy_probe: PatchProbe, tmp_path: Path, change, message: str) -> None:
    raw = toy_probe.coefficients.model_dump(mode="json")
    change(raw)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(GroundingError, match=message):
        PatchProbe.load(path)


def test_no_file_and_no_json_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(GroundingError, match="cannot read"):
        PatchProbe.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("not json")
    with pytest.raises(GroundingError, match="not usable"):
        PatchProbe.load(tmp_path / "text.json")


def test_an_unknown_shipped_probe_lists_the_known_ones() -> None:
    with pytest.raises(GroundingError, match="allowed: phantom, or a .json"):
        shipped("brain")


def test_settings_choose_a_shipped_probe_or_a_file(toy_probe: PatchProbe, tmp_path: Path) -> None:
    tool = lookup("grounder", "patch-probe")
    assert tool.from_settings(SimpleNamespace(probe="phantom")).coefficients.name == "phantom"
    toy_probe.save(tmp_path / "toy.json")
    own = tool.from_settings(SimpleNamespace(probe=str(tmp_path / "toy.json")))
    assert own.coefficients.name == "toy"
    assert isinstance(own, Grounder)
