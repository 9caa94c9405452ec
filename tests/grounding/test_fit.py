"""The measuring must be right before its numbers mean anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.data.phantom import BALANCED_PRIORS, generate_case
from mmedpo.errors import GroundingError
from mmedpo.grounding.features import GRID, patch_features
from mmedpo.grounding.fit import Cases, auc, card_markdown, fit_from_boxes, fit_probe, measure, prepare
from mmedpo.grounding.logistic import fit_logistic, fit_platt, group_folds, sigmoid
from mmedpo.grounding.tools.patch_probe import patch_target, shipped


def test_auc_by_hand() -> None:
    # pairs (0.9 > 0.1), (0.9 > 0.5), (0.5 > 0.1), (0.5 = 0.5): 3.5 of 4
    assert auc(np.array([0.9, 0.5, 0.1, 0.5]), np.array([True, True, False, False])) == 0.875


def test_logistic_without_inputs_that_matter_returns_the_base_rate() -> None:
    inputs = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    weights, intercept = fit_logistic(inputs, np.array([1.0, 1.0, 0.5, 0.5]), penalty=1.0)
    assert weights[0] == pytest.approx(0, abs=1e-9)
    assert sigmoid(np.array(intercept)) == pytest.approx(0.75)


def test_logistic_solves_its_own_equation() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((400, 3))
    targets = (rng.random(400) < sigmoid(inputs @ [2.0, -1.0, 0.0])).astype(float)
    weights, intercept = fit_logistic(inputs, targets, penalty=2.0)
    residual = sigmoid(inputs @ weights + intercept) - targets
    assert np.allclose(inputs.T @ residual + 2.0 * weights, 0, atol=1e-3)
    assert residual.sum() == pytest.approx(0, abs=1e-3)


def test_perfectly_separated_scores_are_not_called_certain() -> None:
    slope, offset = fit_platt(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    # Platt's targets are 1/4 and 3/4 for two images of each class
    assert sigmoid(np.array(slope * 2.5 + offset)) == pytest.approx(0.75, abs=0.03)


def test_no_patient_is_split_and_every_fold_sees_lesions() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40, 200)
    positive = (groups % 3 == 0) & (rng.random(200) < 0.8)
    fold = group_folds(groups, positive, 5, seed=3)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert all(positive[fold == number].any() for number in range(5))


def test_too_few_patients_for_the_folds_is_refused() -> None:
    with pytest.raises(GroundingError, match="3 patients"):
        group_folds(np.arange(6), np.arange(6) < 3, 5, seed=0)


def box_cases() -> Cases:
    """Two images, the lesion in the top-left quarter of the first; the second is normal."""
    lesions = np.zeros((2, 224, 224), dtype=bool)
    lesions[0, :112, :112] = True
    targets = np.zeros((2, GRID, GRID))
    targets[0, :7, :7] = 1
    features = np.zeros((2, GRID, GRID, 1))
    return Cases(features, targets, lesions, np.array([True, False]), np.array([False, True]), np.array([0, 1]))


def test_measures_by_hand() -> None:
    cases = box_cases()
    flat = np.full((2, GRID, GRID), 0.1)
    right = flat.copy()
    right[:, 3, 3] = 0.2  # peak inside the lesion
    wrong = flat.copy()
    wrong[:, 10, 10] = 0.2
    numbers = measure(cases, right, wrong, np.array([1.0, 0.0]), np.array([0.8, 0.3]), seed=0)
    assert numbers["peak hit: probe"].value == 1
    assert numbers["peak hit: position prior"].value == 0
    assert numbers["energy in lesion: probe"].value == pytest.approx(1, abs=1e-6)
    assert numbers["energy in lesion: position prior"].value == 0
    # 49 patches of 0.1 plus 0.1 extra, of 196 patches plus 0.1 extra: (4.9 + 0.1) / (19.6 + 0.1)
    assert numbers["raw energy in lesion: probe"].value == pytest.approx(5.0 / 19.7, abs=2e-3)
    assert numbers["area of the lesion"].value == 0.25
    assert numbers["image AUC: lesion against normal"].value == 1
    assert numbers["Brier score of the confidence"].value == pytest.approx((0.2**2 + 0.3**2) / 2)


def test_an_image_cannot_be_normal_and_marked(planted_set) -> None:
    images, masks, _ = planted_set(0, 1, 0)
    with pytest.raises(GroundingError, match="decide which"):
        prepare(images, masks, [True], [0])


def test_the_card_tells_measures_prior_and_source(toy_fit: Cases) -> None:
    half = toy_fit.take(np.arange(40) % 2 == 0)
    probe, card = fit_from_boxes(half, name="toy", label="spot", source="made up", seed=0, folds=2)
    assert card.images_with_lesion == 12
    assert card.images_normal == 8
    assert card.patients == 20
    hit = card.measures["peak hit: probe"]
    assert hit.low <= hit.value <= hit.high
    assert hit.n == 12
    page = card_markdown(card)
    assert f"| peak hit: probe | {hit.value:.3f} |" in page
    assert "position prior" in page
    assert "made up" in page
    assert probe.coefficients.prevalence == 12 / 20


def write_annotations(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(rows))
    return path


def test_fit_probe_skips_what_nobody_annotated(tmp_path: Path, planted_set) -> None:
    images, masks, labels = planted_set(0, 6, 6)
    rows: list[dict[str, object]] = []
    for place, (image, mask, label) in enumerate(zip(images, masks, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
        ys, xs = np.nonzero(mask)
        boxes = [{"xyxy": [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], "label": "spot"}] if label else []
        boxes = json.loads(json.dumps(boxes, default=int))
        kind = None if label or place >= 10 else "Normal"
        rows.append({"file": f"{place}.png", "boxes": boxes, "patient_id": place, "rsna_class": kind})
    out = tmp_path / "probes" / "mine.json"
    card = fit_probe(write_annotations(tmp_path, rows), tmp_path, out, folds=2)
    assert (card.images_with_lesion, card.images_normal, card.images_other) == (6, 4, 0)
    assert card.name == "mine"
    assert card.label == "spot"
    assert out.exists()
    assert out.with_suffix(".md").read_text().startswith("# Patch probe: mine")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file": "a.png", "boxes": []}, "patient_id"),
        ({"file": "../a.png", "boxes": [{"xyxy": [0, 0, 1, 1]}], "patient_id": 1}, "outside"),
        ({"file": "a.png", "boxes": [{"xyxy": [0, 0, 1, 1]}], "patient_id": 1}, "cannot read the image"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    root = tmp_path / "images"
    root.mkdir()
    with pytest.raises(GroundingError, match=message):
        fit_probe(write_annotations(tmp_path, [row]), root, tmp_path / "out.json")


def test_the_shipped_phantom_probe_still_fits_the_generator() -> None:
    """Fails when the phantoms change so much that the probe must be fitted again (bench/fit_phantom_probe.py)."""
    probe = shipped("phantom")
    phantoms = [generate_case(930_000_000 + place, BALANCED_PRIORS) for place in range(40)]
    hits, prior_hits = [], []
    for case in (case for case in phantoms if case.mask.any()):
        features = patch_features(case.image)
        assert features is not None
        target = patch_target(case.mask, *case.mask.shape)
        hits.append(target.flat[int(probe.logits(features).argmax())] > 0.5)
        prior_hits.append(target.flat[int(np.argmax(probe.coefficients.prior))] > 0.5)
    assert np.mean(hits) > np.mean(prior_hits) + 0.25
