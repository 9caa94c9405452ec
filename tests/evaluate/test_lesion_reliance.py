"""The lesion-reliance probe: which questions it asks, where its noise lies, and what it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluate.scored import relied
from mmedpo.config import EvaluateSettings, RunSettings
from mmedpo.errors import ConfigError
from mmedpo.evaluate.probes import Subject, Workplace, probes_of
from mmedpo.evaluate.probes.lesion_reliance import LesionReliance, LesionRelianceSettings, view_of
from mmedpo.evaluate.probes.lesions import lesion_of
from mmedpo.imaging.images import read_image
from mmedpo.progress import Silent
from mmedpo.records import AnswerType, Box, ErrorType, Example, ImageRef
from mmedpo.records.shapes import Pixels

PROBE = LesionReliance(LesionRelianceSettings(images=2))


def place(root: Path) -> Workplace:
    return Workplace(root, root / "views", "predict-base", Silent().track)


def example(
    root: Path,
    number: int,
    pixels: Pixels,
    lesion: tuple[slice, slice],
    error_type: ErrorType = "presence",
    answer_type: AnswerType = "closed",
) -> Example:
    """A question on an image of its own, with its lesion as mask and box."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[lesion] = 255
    Image.fromarray(pixels).save(root / f"{number}.png")
    Image.fromarray(mask).save(root / f"{number}-mask.png")
    rows, columns = lesion
    return Example(
        example_id=f"q{number}",
        dataset="d",
        split="test",
        image=ImageRef(path=f"{number}.png", sha256=f"{number:064d}", width=64, height=64),
        question="Is there a nodule?",
        answer="yes",
        answer_type=answer_type,
        error_type=error_type,
        mask_path=f"{number}-mask.png",
        boxes=(Box(x0=columns.start, y0=rows.start, x1=columns.stop, y1=rows.stop),),
    )


def half_a_patient() -> Pixels:
    """A bright left half: whatever mirrors its lesion to the right lies in the air."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, :32] = np.random.default_rng(0).integers(120, 200, (64, 32))
    return pixels


LESION = (slice(8, 20), slice(8, 20))


def changed(root: Path, asked: Example, region: str) -> np.ndarray:
    """Which pixels a view shows otherwise than the clean image."""
    clean, view = read_image(root, asked.image.path), read_image(root / "views", view_of(root, asked, region).name)
    return (clean.astype(int) != view.astype(int)).reshape(64, 64, -1).any(axis=2)


def test_the_lesion_is_noised_and_nothing_else(tmp_path: Path) -> None:
    asked = example(tmp_path, 0, half_a_patient(), LESION)
    assert PROBE.prepare(place(tmp_path), [asked]).drops == ()
    inside = np.zeros((64, 64), bool)
    inside[LESION] = True
    found = changed(tmp_path, asked, "lesion")
    assert not found[~inside].any()
    assert found[inside].mean() > 0.9


def test_noise_elsewhere_lies_inside_the_patient_and_off_the_lesion(tmp_path: Path) -> None:
    for number in range(4):
        asked = example(tmp_path, number, half_a_patient(), LESION)
        PROBE.prepare(place(tmp_path), [asked])
        found = changed(tmp_path, asked, "elsewhere")
        assert found.any()
        assert not found[:, 32:].any(), "noise in the air beside the patient tells nothing"
        assert not found[LESION].any()


def test_an_image_without_room_elsewhere_is_a_counted_drop(tmp_path: Path) -> None:
    wide = example(tmp_path, 0, half_a_patient(), (slice(4, 60), slice(2, 30)))
    fits = example(tmp_path, 1, half_a_patient(), LESION)
    prepared = PROBE.prepare(place(tmp_path), [wide, fits])
    assert [asked.example_id for asked in prepared.examples] == ["q1"]
    assert [(drop.stage, drop.item, drop.reason) for drop in prepared.drops] == [
        ("predict-base", "0.png", "no-equal-area-elsewhere")
    ]


def test_only_questions_about_annotated_lesions_are_asked(tmp_path: Path) -> None:
    usable = [example(tmp_path, number, half_a_patient(), LESION) for number in range(3)]
    second = usable[0].model_copy(update={"example_id": "q0b", "error_type": "side"})
    idle = [
        example(tmp_path, 10, half_a_patient(), LESION, error_type="modality"),
        example(tmp_path, 11, half_a_patient(), LESION, answer_type="report"),
        usable[1].model_copy(update={"boxes": ()}),
    ]
    prepared = PROBE.prepare(place(tmp_path), [*idle, *usable, second])
    # Two images; both questions on the first.
    assert [asked.example_id for asked in prepared.examples] == ["q0", "q1", "q0b"]


def test_boxes_stand_for_a_mask_that_is_not_there(tmp_path: Path) -> None:
    """The box of these lesions is their mask, so both views are the same; what of a box lies outside is cut."""
    masked = example(tmp_path, 0, half_a_patient(), LESION)
    boxed = masked.model_copy(update={"mask_path": None})
    assert np.array_equal(lesion_of(tmp_path, boxed), lesion_of(tmp_path, masked))
    PROBE.prepare(place(tmp_path), [boxed])
    found = changed(tmp_path, boxed, "lesion")
    assert found[LESION].mean() > 0.9
    assert found.sum() == found[LESION].sum()
    over = boxed.model_copy(update={"boxes": (Box(x0=-5, y0=60.5, x1=3.2, y1=80),)})
    rows, columns = np.nonzero(lesion_of(tmp_path, over))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 63, 0, 3)


@pytest.mark.parametrize("others", [(), ("1.png",)], ids=["one image", "two"])
def test_each_view_is_measured_as_if_it_were_alone(tmp_path: Path, small_vlm, others: tuple[str, ...]) -> None:
    """Of a question on several images the view takes the place of the first, and the others stay."""
    from mmedpo.engine import Engine, FeatureStore, build_branch

    asked, other = (example(tmp_path, number, half_a_patient() // (number + 1), LESION) for number in range(2))
    asked = asked.model_copy(update={"other_images": (other.image,) if others else ()})
    behind = [tmp_path / name for name in others]
    PROBE.prepare(place(tmp_path), [asked])
    features = FeatureStore(small_vlm, lambda path: read_image(path.parent, path.name))
    engine = Engine.from_settings(small_vlm, features, RunSettings())
    subject = Subject("round-1", engine, tmp_path, tmp_path / "views", print)
    (row,) = PROBE.measure(subject, [asked])
    assert (row.example_id, row.model, row.image_sha256) == ("q0", "round-1", asked.image.sha256)
    views = {"clean": tmp_path / "0.png"} | {
        region: view_of(tmp_path / "views", asked, region) for region in ("lesion", "elsewhere")
    }
    for name, view in views.items():
        branch = build_branch(small_vlm, [view, *behind], asked.question, asked.answer, max_length=512, owner="q0")
        alone = float(engine.measure([branch]).totals()[0])
        assert getattr(row, name) == pytest.approx(alone, abs=1e-4), name
    assert PROBE.measure(subject, []) == []


def test_reliance_is_positive_when_the_lesion_matters_more() -> None:
    base, tuned = relied([(0.2, 0.1), (0.4, 0.3)]), relied([(1.0, 0.1), (0.9, 0.3)], "tuned")
    summary = PROBE.summarise("lesion-reliance", {"base": base, "tuned": tuned}, "test", samples=200)
    assert summary is not None
    means = {(part.quantity, part.model, part.against): part.mean for part in summary.parts}
    assert means == {
        ("lesion", "base", ""): pytest.approx(0.3),
        ("lesion", "tuned", ""): pytest.approx(0.95),
        ("lesion", "tuned", "base"): pytest.approx(0.65),
        ("elsewhere", "base", ""): pytest.approx(0.2),
        ("elsewhere", "tuned", ""): pytest.approx(0.2),
        ("elsewhere", "tuned", "base"): pytest.approx(0.0),
        ("contrast", "base", ""): pytest.approx(0.1),
        ("contrast", "tuned", ""): pytest.approx(0.75),
        ("contrast", "tuned", "base"): pytest.approx(0.65),
    }
    contrast = summary.part("contrast", "tuned", "base")
    assert contrast is not None
    assert contrast.p_value is not None
    assert contrast.p_adjusted is not None
    assert contrast.p_value < contrast.p_adjusted <= 3 * contrast.p_value
    assert summary.part("contrast", "base") is not None
    assert summary.part("contrast", "base").p_value is None


def test_a_probe_that_measured_nothing_is_left_out() -> None:
    assert PROBE.summarise("lesion-reliance", {"base": [], "tuned": []}, "test", samples=200) is None


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ({"lesion-relaince": {}}, "unknown probe 'lesion-relaince'; .*known: .*lesion-reliance"),
        ({"lesion-reliance": {"image": 3}}, r"evaluate\.probes\.lesion-reliance\.image: .*lesion-reliance has images"),
        ({"lesion-reliance": {"images": 0}}, r"evaluate\.probes\.lesion-reliance\.images: .*greater than or equal"),
    ],
)
def test_a_probe_that_does_not_exist_and_settings_it_does_not_have_are_refused(probes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        probes_of(EvaluateSettings(probes=probes))


def test_probes_that_ship_are_measured_unless_they_are_null() -> None:
    assert probes_of(EvaluateSettings())["lesion-reliance"].settings.images == 80
    assert (
        probes_of(EvaluateSettings(probes={"lesion-reliance": {"images": 3}}))["lesion-reliance"].settings.images == 3
    )
    assert list(probes_of(EvaluateSettings(probes={"lesion-reliance": None}))) == ["attention"]
