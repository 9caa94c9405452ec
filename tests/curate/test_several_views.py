"""Questions on several images: each view is grounded for itself, and of a pair the surest one is noised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmedpo.config import validate_settings
from mmedpo.curate import stage as curation
from mmedpo.curate.pairs import answer_pair, text_pair, visual_pair
from mmedpo.curate.stage import curate
from mmedpo.errors import CurationError
from mmedpo.grounding.library import about, apart
from mmedpo.imaging.pictures import views_of
from mmedpo.records import Box, Example, Grounding, ImageRef, NoiseSpec, Verdict
from mmedpo.run import BASE, open_run


def image(number: int) -> ImageRef:
    return ImageRef(path=f"images/{number}.png", sha256=f"{number}" * 64, width=32, height=32)


def question(name: str, *numbers: int, **more: object) -> Example:
    first, *others = map(image, numbers)
    fields: dict[str, object] = {"dataset": "phantom", "split": "train", "answer": "yes", "answer_type": "closed"}
    fields |= {"example_id": name, "question": "is it new?", "image": first, "other_images": tuple(others)}
    return Example(**{**fields, **more})


def marked(number: int, confidence: float | None, heatmap: bool = True) -> Grounding:
    stored = f"groundings/{number}.npy" if heatmap else None
    reason = "" if heatmap else "not-marked"
    return Grounding(
        image_sha256=image(number).sha256, tool="t", heatmap_path=stored, confidence=confidence, reason=reason
    )


def test_of_several_views_the_one_the_tool_is_surest_of_is_noised_and_the_others_stay(tmp_path):
    examples = [question("e", 1, 2, 3), question("f", 3, 1), question("g", 4, 5), question("h", 5, 2), question("i", 6)]
    groundings = [
        marked(1, 0.4), marked(2, 0.9), marked(3, None),
        marked(4, None, False), marked(5, None), marked(6, None, False),
    ]  # fmt: skip
    with open_run(tmp_path / "run", validate_settings({"curate": {"kinds": ["visual"]}}, "test")) as run:
        for number in range(1, 7):
            path = run.image_root / image(number).path
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32), 20 * number, np.uint8)).save(path)
        run.file("groundings").mkdir(exist_ok=True)
        for one in groundings:
            if one.heatmap_path:
                np.save(run.file(one.heatmap_path), np.pad(np.ones((8, 8), np.float32), 12))
        run.write("examples.parquet", Example, examples)
        run.write("groundings.parquet", Grounding, groundings)
        pairs = []
        run.execute(replace(curation.stage(run.settings, BASE), work=lambda run: pairs.extend(curate(run))))
        assert [(pair.example_id, pair.noised_image, pair.score) for pair in pairs] == [
            ("e", 1, 0.9), ("f", 1, 0.4), ("g", 1, None), ("h", 1, 0.9),
        ]  # fmt: skip
        assert [(drop.item, drop.reason) for drop in run.drops()] == [("i/visual", "not-marked")]
        clean, shown = views_of(pairs[0], run.image_root, run.path)
        assert [a == b for a, b in zip(clean, shown, strict=True)] == [True, False, True]
        noised, original = (np.asarray(Image.open(path)) for path in (shown[1], clean[1]))
        assert noised.shape == original.shape
        assert (noised[12:20, 12:20] != original[12:20, 12:20]).any()
        assert pairs[0].rejected_image_path == pairs[3].rejected_image_path, "one view of an image for all questions"


def test_what_a_question_says_of_its_lesion_is_said_of_its_first_image(tmp_path):
    box = Box(x0=1, y0=1, x1=9, y1=9)
    told = {"boxes": (box,), "annotated": True, "mask_path": "m.png", "tags": ("organ:chest", "view:pa")}
    settings = validate_settings({"ground": {"assume": {"view": "ap"}}}, "test").ground.assume
    alone = apart([question("e", 1, 2, **told), question("f", 3, 1), question("g", 2)])
    assert list(alone) == [image(number).sha256 for number in (1, 3, 2)]
    first, third, second = alone.values()
    assert (first.images, first.boxes, first.mask_path) == ((image(1),), (box,), "m.png")
    assert (second.example_id, second.boxes) == ("g", ()), "an image that some question is about first is taken there"
    assert [about(one, settings).view for one in (first, third, second)] == ["pa", "ap", "ap"]
    (_, lateral) = apart([question("e", 1, 2, **told)]).values()
    assert (lateral.boxes, lateral.annotated, lateral.mask_path) == ((), False, None)
    assert (about(lateral, settings).organ, about(lateral, settings).view) == ("chest", "untold")


def test_every_kind_of_pair_shows_what_its_question_shows():
    asked = question("e", 1, 2)
    picked = Verdict(example_id="e", judge="j", outcome="picked", rejected="no", error_type="other")
    for pair in (
        text_pair(asked, picked),
        answer_pair(asked),
        visual_pair(asked, marked(2, 0.5), NoiseSpec(), "n.png"),
    ):
        assert pair.images == asked.images, pair.kind


def test_a_grounding_of_another_image_makes_no_pair():
    with pytest.raises(CurationError, match="grounding of image 999999999999 offered for 'e'"):
        visual_pair(question("e", 1, 2), marked(9, 0.5), NoiseSpec(), "n.png")
