"""The chest probe: laying films over a template, projection as no evidence, and what it declines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from grounding.films import film, film_dataset
from mmedpo.errors import GroundingError
from mmedpo.grounding.chest.card import PROBE, card_markdown, fit_chest_probe
from mmedpo.grounding.chest.model import ChestCoefficients
from mmedpo.grounding.chest.registration import (
    SIDE,
    Pose,
    agreement,
    mean_template,
    register,
    shrink,
    to_film,
    to_template,
)
from mmedpo.grounding.chest.storage import load, save
from mmedpo.grounding.grounder import About, Grounder
from mmedpo.grounding.tools.chest_probe import NOT_SHOWN, ChestProbe, ChestProbeSettings
from mmedpo.imaging.images import read_image


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    films = [shrink(film(seed)) for seed in range(8)]
    return mean_template([one for one in films if one is not None])


def test_a_shifted_film_is_laid_back(template: np.ndarray) -> None:
    straight, moved = shrink(film(100)), shrink(film(100, shift=(8, -6)))
    assert straight is not None
    assert moved is not None
    here, there = register(straight, template), register(moved, template)
    # half widths: 8 of 128 pixels are 0.125, 6 are 0.094
    assert there.shift_y - here.shift_y == pytest.approx(0.125, abs=0.03)
    assert there.shift_x - here.shift_x == pytest.approx(-0.094, abs=0.03)
    assert agreement(moved, there, template) > 0.9


def test_to_film_undoes_to_template() -> None:
    pose = Pose(0.1, -0.05, 0.1, -0.1, 0.05)
    bump = gaussian_filter(np.eye(SIDE), 4)
    back = to_film(to_template(bump, pose), pose)
    assert np.abs(back - bump)[16:-16, 16:-16].max() < 0.02 * bump.max() + 1e-3


def test_a_blank_picture_has_no_film() -> None:
    assert shrink(np.full((50, 50), 7, dtype=np.uint8)) is None


def test_on_films_with_a_clear_opacity_it_beats_the_prior_in_both_projections(fitted) -> None:
    assert all(known.beats_prior for known in fitted.coefficients.projections.values())
    page = card_markdown(fitted, source="made up", seed=1, folds=3)
    assert "- PA: the probe beats the position prior." in page
    assert "demonstration" not in page
    assert "made up" in page


def test_nothing_of_a_measured_patient_is_fitted_on(fitted, tmp_path: Path) -> None:
    """Patients kept out of the measurement are fitted on but never measured."""
    file = film_dataset(tmp_path, 16)
    half = fit_chest_probe(file, tmp_path, name="toy", folds=2, measured=lambda patient: int(patient) >= 16)
    assert {int(case.patient) for case in half.cases} == set(range(16, 32))
    assert len(fitted.cases) == 48


def test_the_tool_marks_the_opacity_and_is_surer_with_one_than_without(fitted) -> None:
    tool = ChestProbe(fitted.coefficients)
    about = About("xray", "chest", "pa")
    sick, clean = tool.ground(film(900, (60, 90)), about=about), tool.ground(film(901), about=about)
    assert isinstance(tool, Grounder)
    assert sick.heatmap is not None
    assert np.hypot(*(np.array(np.unravel_index(sick.heatmap.argmax(), (128, 128))) - (60, 90))) < 14
    assert (sick.heatmap.min(), sick.heatmap.max()) == (0, 1)
    assert sick.confidence is not None
    assert clean.confidence is not None
    assert sick.confidence > clean.confidence + 0.2
    assert sick.calibrated


def test_without_a_word_on_projection_the_film_tells_it_itself(fitted) -> None:
    tool = ChestProbe(fitted.coefficients)
    image = film(902, (60, 90), (4, 0))
    told, alone = tool.ground(image, about=About("xray", "chest", "pa")), tool.ground(image)
    assert alone.confidence == pytest.approx(told.confidence, abs=0.15)


def test_where_it_is_not_shown_to_beat_the_prior_it_gives_no_confidence(fitted) -> None:
    raw = fitted.coefficients.model_dump(mode="json")
    raw["projections"]["pa"]["beats_prior"] = False
    tool = ChestProbe(ChestCoefficients.model_validate(raw))
    image = film(903, (60, 90))
    region = tool.ground(image, about=About("xray", "chest", "pa"))
    assert region.heatmap is not None
    assert (region.confidence, region.reason, region.calibrated) == (None, NOT_SHOWN, False)
    assert tool.ground(image, about=About("xray", "chest", "ap")).confidence is not None


def test_a_picture_that_is_no_frontal_film_is_declined(fitted) -> None:
    tool = ChestProbe(fitted.coefficients)
    noise = np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8)
    for picture in (noise, np.rot90(film(904)).copy(), np.full((64, 64), 9, dtype=np.uint8)):
        region = tool.ground(picture)
        assert region.declined
        assert region.heatmap is None
        assert region.reason


@pytest.mark.parametrize(
    ("told", "applies"),
    [
        (("xray", "chest", "pa"), True),
        (("", "chest", ""), True),
        (("ct", "chest", ""), False),
        (("xray", "abdomen", ""), False),
        (("xray", "", ""), False),
        (("xray", "chest", "lateral"), False),
    ],
)
def test_it_applies_to_frontal_chest_radiographs(fitted, told: tuple[str, str, str], applies: bool) -> None:
    assert (ChestProbe(fitted.coefficients).applies(*told) == "") is applies


def test_a_saved_probe_answers_the_same_to_six_digits(fitted, tmp_path: Path) -> None:
    save(fitted.coefficients, tmp_path / "toy.json")
    own = ChestProbe.from_settings(ChestProbeSettings(probe=str(tmp_path / "toy.json")))
    image = film(905, (60, 90))
    one, other = ChestProbe(fitted.coefficients).ground(image), own.ground(image)
    assert one.heatmap is not None
    assert other.heatmap is not None
    assert np.abs(one.heatmap - other.heatmap).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: raw["linear"].pop(), "linear"),
        (lambda raw: raw["template"].pop(), "shape"),
        (lambda raw: raw["projections"].pop("ap"), "pa and ap"),
        (lambda raw: raw["projections"]["pa"]["normal_std"][0][0].__setitem__(0, 0.0), "positive"),
        (lambda raw: raw.update(surprise=1), "surprise"),
    ],
)
def test_a_damaged_file_is_refused(fitted, tmp_path: Path, change, why: str) -> None:
    raw = fitted.coefficients.model_dump(mode="json")
    change(raw)
    (tmp_path / "bad.json").write_text(json.dumps(raw))
    with pytest.raises(GroundingError, match=why):
        load(str(tmp_path / "bad.json"))
    with pytest.raises(GroundingError, match="allowed: chest-xray"):
        load("brain")


def test_films_without_normals_of_their_projection_are_refused(tmp_path: Path) -> None:
    file = film_dataset(tmp_path, 10)
    rows = [row for row in json.loads(file.read_text()) if row["boxes"] or row["view"] == "PA"]
    file.write_text(json.dumps(rows))
    with pytest.raises(GroundingError, match="within projections"):
        fit_chest_probe(file, tmp_path, name="toy", folds=2)


# The shipped probe, on real pictures.


def test_the_shipped_probe_declines_heads_and_abdomens_and_takes_chests(shared_data: Path) -> None:
    tool = ChestProbe.from_settings(ChestProbeSettings())
    root = shared_data / "vqa_rad"
    organ = {
        row["image_name"]: row["image_organ"].strip()
        for row in json.loads((root / "VQA_RAD_Dataset_Public.json").read_text())
    }
    declined: dict[str, list[bool]] = {"CHEST": [], "HEAD": [], "ABD": []}
    for name in sorted(organ):
        if len(declined[organ[name]]) < 12:
            declined[organ[name]].append(tool.ground(read_image(root / "images", name)).declined)
    assert np.mean(declined["CHEST"]) < 0.2
    assert np.mean(declined["HEAD"] + declined["ABD"]) > 0.9


def test_the_shipped_probe_is_labelled_by_its_own_card() -> None:
    known = load("chest-xray").projections
    card = (Path(__file__).parents[2] / "src/mmedpo/grounding/coefficients/chest-xray.md").read_text()
    for key in ("pa", "ap"):
        verdict = "beats" if known[key].beats_prior else "is NOT shown to beat"  # type: ignore[index]
        assert f"- {key.upper()}: the probe {verdict} the position prior." in card
    assert ("a demonstration" in card) is not all(one.beats_prior for one in known.values())
    assert PROBE in card
