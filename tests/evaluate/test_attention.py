"""Shares inside the lesion: which questions are asked, what a token on the border counts, and models made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.config import EvaluateSettings, RunSettings
from mmedpo.errors import ModelError
from mmedpo.evaluate.probes import Subject, Workplace, probes_of
from mmedpo.evaluate.probes.attention import Attention, AttentionSettings, map_of, share_inside
from mmedpo.imaging.images import read_image
from mmedpo.models.areas import WHOLE, Window, grid, nowhere
from mmedpo.progress import Silent
from mmedpo.records import Box, Example, ImageRef

PROBE = Attention(AttentionSettings(questions=8))


def lesion(rows: slice, columns: slice, height: int = 40, width: int = 80) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


def test_a_token_counts_with_the_part_of_it_that_lies_inside() -> None:
    """Four by four tokens of 10 x 20 pixels; the lesion covers one, and a quarter of its right neighbour."""
    areas, mask = grid(4, 4), lesion(slice(10, 20), slice(20, 45))
    weights = np.zeros(16)
    weights[5] = 1.0
    assert share_inside(weights, areas, mask) == pytest.approx(1)
    weights[6] = 3.0
    assert share_inside(weights, areas, mask) == pytest.approx((1 + 3 * 0.25) / 4)
    assert share_inside(np.ones(16), areas, mask) == pytest.approx(mask.mean())


def test_what_looks_at_the_lesion_alone_has_it_all_and_what_looks_nowhere_has_its_area() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, column = int(rng.integers(0, 4)), int(rng.integers(0, 4))
        mask = lesion(slice(10 * row, 10 * row + 10), slice(20 * column, 20 * column + 20))
        sees = np.zeros(16)
        sees[4 * row + column] = rng.random()
        assert share_inside(sees, grid(4, 4), mask) == pytest.approx(1)
        assert share_inside(np.ones(16), grid(4, 4), mask) == pytest.approx(1 / 16)
        assert share_inside(1 - (sees > 0), grid(4, 4), mask) == pytest.approx(0)


def test_tokens_without_a_place_count_nowhere_and_padding_counts_outside() -> None:
    mask = lesion(slice(0, 40), slice(0, 80))
    areas = np.concatenate([nowhere(1), grid(2, 2)])
    assert share_inside(np.array([9.0, 1, 1, 1, 1]), areas, mask) == pytest.approx(1)
    padded = grid(1, 2, Window(0.0, 0.0, 1.0, 2.0))
    assert share_inside(np.array([1.0, 3.0]), padded, mask) == pytest.approx(0.25)
    assert map_of(np.array([1.0, 3.0]), padded, 4).sum() == pytest.approx(0.25)
    with pytest.raises(ModelError, match="does not depend on the image"):
        share_inside(np.zeros(4), grid(2, 2), mask)


def test_a_map_spreads_each_token_over_its_area() -> None:
    found = map_of(np.array([1.0, 0, 0, 3.0]), grid(2, 2), 4)
    assert found.tolist() == [
        [0.0625, 0.0625, 0, 0],
        [0.0625, 0.0625, 0, 0],
        [0, 0, 0.1875, 0.1875],
        [0, 0, 0.1875, 0.1875],
    ]
    assert map_of(np.ones(3), grid(1, 3, WHOLE), 4).sum() == pytest.approx(1)


def asked(root: Path, name: str, question: str, answer: str, **more: object) -> Example:
    if not (root / "a.png").exists():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(root / "a.png")
    told = {
        "example_id": name, "dataset": "d", "split": "test", "question": question, "answer": answer,
        "image": ImageRef(path="a.png", sha256=f"{sum(name.encode()):064d}", width=64, height=64),
        "answer_type": "closed", "error_type": "presence", "boxes": (Box(x0=8, y0=8, x1=24, y1=24, label="nodule"),),
    }  # fmt: skip
    return Example.model_validate({**told, **more})


def test_it_asks_one_question_an_image_whose_truth_rests_on_what_is_marked(tmp_path: Path) -> None:
    good = asked(tmp_path, "good", "Is there a nodule?", "yes")
    twice = asked(tmp_path, "good", "Where is the nodule?", "left", error_type="zone").model_copy(
        update={"example_id": "twice"}
    )
    idle = [
        asked(tmp_path, "absent", "Is there a nodule?", "no"),
        asked(tmp_path, "other", "Is there cardiomegaly?", "yes"),
        asked(tmp_path, "plane", "Which plane?", "AP", error_type="plane"),
        asked(tmp_path, "unmarked", "Is there a nodule?", "yes", boxes=()),
    ]
    outside = asked(tmp_path, "outside", "Is there a nodule?", "yes", boxes=(Box(x0=70, y0=0, x1=80, y1=9),))
    place = Workplace(tmp_path, tmp_path, "predict-base", Silent().track)
    prepared = PROBE.prepare(place, [good, twice, *idle, outside])
    assert len(prepared.examples) == 1
    assert prepared.examples[0].example_id in ("good", "twice")
    assert [(drop.item, drop.reason) for drop in prepared.drops] == [("outside", "empty-lesion")]


def test_a_model_is_measured_and_one_whose_tokens_have_no_place_is_left_out_with_a_word(
    tmp_path: Path, small_vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmedpo.engine import Engine, FeatureStore
    from mmedpo.models.family import Family

    example = asked(tmp_path, "good", "Is there a nodule?", "yes")
    features = FeatureStore(small_vlm, lambda path: read_image(path.parent, path.name))
    said: list[str] = []
    engine = Engine.from_settings(small_vlm, features, RunSettings())
    subject = Subject("base", engine, tmp_path, tmp_path, said.append)
    (row,) = PROBE.measure(subject, [example])
    assert row.chance == pytest.approx(16 * 16 / 64**2)
    assert 0 < row.attention < 1
    assert 0 < row.relevance < 1
    assert 0 < row.image < 1
    assert sum(row.attention_map) == pytest.approx(1, abs=1e-3)
    assert PROBE.values([row])["attention"] == {"good": row.attention}
    monkeypatch.setattr(type(small_vlm.family), "areas", Family.areas)
    assert PROBE.measure(subject, [example]) == []
    assert "does not say where its image tokens lie" in said[-1]


def test_it_is_in_every_run_unless_it_is_null() -> None:
    assert probes_of(EvaluateSettings())["attention"].settings.questions == 40
    assert "attention" not in probes_of(EvaluateSettings(probes={"attention": None}))
