"""Organs apart from findings: who maps them, where the noise goes, and which questions it is asked of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grounding.films import film
from mmedpo.config import load_settings, validate_settings
from mmedpo.curate import stage as curation
from mmedpo.curate.stage import curate
from mmedpo.errors import ConfigError, GroundingError
from mmedpo.grounding import stage as grounding
from mmedpo.grounding.chest.card import Fitted
from mmedpo.grounding.chest.storage import save
from mmedpo.grounding.grounder import About, OrganMapper
from mmedpo.grounding.stage import map_organ
from mmedpo.grounding.tools.annotation import AnnotationGrounder
from mmedpo.grounding.tools.boxes import BoxesGrounder, BoxesSettings
from mmedpo.grounding.tools.chest_probe import ChestProbe
from mmedpo.records import Box, Drop, Example, Grounding, ImageRef, NoiseSpec, PreferencePair
from mmedpo.registry import lookup, names
from mmedpo.run import BASE, Stage, open_run
from mmedpo.storage.tables import read_table

LIVER, CANCER = Box(x0=60, y0=40, x1=100, y1=80, label="Liver"), Box(x0=70, y0=50, x1=80, y1=60, label="Liver Cancer")


def test_an_organ_s_box_is_never_the_lesion() -> None:
    image, tool = film(0), AnnotationGrounder()
    region = tool.ground(image, (LIVER, CANCER))
    assert region.heatmap is not None
    assert ([box.label for box in region.boxes], region.label) == (["Liver Cancer"], "Liver Cancer")
    assert region.heatmap[55, 75] == 1
    assert region.heatmap[45, 95] == 0
    alone = tool.ground(image, (LIVER,), None, About(annotated=True))
    assert (alone.heatmap, alone.reason, alone.declined) == (None, "no-lesion-annotated", False)


def test_an_organ_is_what_the_mask_marks_inside_its_boxes() -> None:
    image, tool = film(0), AnnotationGrounder()
    boxed = tool.organs(image, (LIVER,))
    assert boxed is not None
    assert (boxed.label, boxed.heatmap[45, 95], boxed.heatmap[10, 10]) == ("Liver", 1, 0)
    mask = np.zeros((128, 128), dtype=bool)
    mask[5:20, 5:20] = mask[42:60, 62:80] = True
    masked = tool.organs(image, (LIVER,), mask)
    assert masked is not None
    assert (masked.heatmap[50, 70], masked.heatmap[75, 95], masked.heatmap[10, 10]) == (1, 0, 0)
    elsewhere = tool.organs(image, (CANCER.model_copy(update={"x0": 90, "x1": 99}),), mask)
    assert elsewhere is not None
    assert elsewhere.heatmap[55, 95] == 1  # the mask knows nothing of this box
    alone = tool.organs(image, (), mask, About(organ="abdomen"))
    assert alone is not None
    assert (alone.label, alone.heatmap[10, 10]) == ("abdomen", 1)
    assert tool.organs(image) is None
    with pytest.raises(GroundingError, match="must have the size of its image"):
        tool.organs(image, (), np.ones((3, 3), dtype=bool))


@pytest.mark.parametrize("layout", ["list", "csv", "coco"])
def test_annotation_files_part_organs_from_findings(tmp_path: Path, layout: str) -> None:
    boxes = [("Liver", [60, 40, 100, 80]), ("Liver Cancer", [70, 50, 80, 60])]
    file = tmp_path / ("boxes.csv" if layout == "csv" else "boxes.json")
    if layout == "list":
        told = [{"xyxy": box, "label": label} for label, box in boxes]
        file.write_text(json.dumps([{"file": "a.png", "boxes": told}, {"file": "b.png", "boxes": told[:1]}]))
    elif layout == "csv":
        lines = [f"a.png,{','.join(map(str, box))},{label}" for label, box in boxes]
        file.write_text("\n".join(["file,x0,y0,x1,y1,label", *lines, f"b.png,{lines[0].partition(',')[2]}"]) + "\n")
    else:
        rows = [(1, *boxes[0]), (1, *boxes[1]), (2, *boxes[0])]
        drawn = [
            {"image_id": image, "category_id": label, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
             "segmentation": [[b[0], b[1], b[2], b[1], b[2], b[3]]]}
            for image, label, b in rows
        ]  # fmt: skip
        images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
        categories = [{"id": label, "name": label} for label, _ in boxes]
        file.write_text(json.dumps({"images": images, "annotations": drawn, "categories": categories}))
    tool = BoxesGrounder.from_settings(BoxesSettings(file=file))
    both, alone = About(path="a.png"), About(path="b.png")
    region, organ = tool.ground(film(0), about=both), tool.organs(film(0), about=both)
    assert region.heatmap is not None
    assert organ is not None
    assert (region.label, region.heatmap[45, 95]) == ("Liver Cancer", 0)
    assert (organ.label, organ.heatmap[45, 95]) == ("Liver", 1)
    assert tool.ground(film(0), about=alone).heatmap is None
    assert tool.organs(film(0), about=alone) is not None


def test_the_chest_tools_know_the_lungs(fitted: Fitted) -> None:
    lungs = ChestProbe(fitted.coefficients).organs(film(70))
    assert lungs is not None
    assert lungs.label == "lung"
    assert lungs.heatmap.shape == (128, 128)
    assert lungs.heatmap[58, 38] > 0.8
    assert lungs.heatmap[58, 90] > 0.8
    assert lungs.heatmap[4, 4] == 0
    mappers = [name for name in names("grounder") if hasattr(lookup("grounder", name), "organs")]
    assert mappers == ["annotation", "boxes", "chest-probe", "xrv"]


def test_a_tool_is_not_asked_for_the_organ_of_images_it_does_not_apply_to(fitted: Fitted) -> None:
    chest, annotation = ChestProbe(fitted.coefficients), AnnotationGrounder()
    assert isinstance(chest, OrganMapper)

    def load() -> tuple[np.ndarray, None]:
        return film(70), None

    assert map_organ((chest, annotation), load, (LIVER,), About("xray", "chest", "pa"))[0] == "chest-probe"
    assert map_organ((chest, annotation), load, (LIVER,), About("ct", "abdomen"))[0] == "annotation"
    assert map_organ((chest, annotation), load, (), About("ct", "abdomen")) == ("", None)


QUESTIONS = (("Is there a liver lesion?", "yes"), ("Is there pneumonia?", "no"), ("Which modality is this?", "CT"))


def run_both(
    folder: Path, fitted: Fitted, noise: dict[str, Any], **settings: Any
) -> tuple[list[Grounding], list[PreferencePair], list[Drop], Path]:
    """A CT slice with a boxed liver and a cancer in it, a film, a CT slice with nothing boxed."""
    save(fitted.coefficients, folder / "probe.json")
    (folder / "data").mkdir()
    options = {"chest-probe": {"probe": str(folder / "probe.json")}}
    raw = {
        "data": {"dataset": "vqa-rad", "root": str(folder / "data")},
        "ground": {"tool": ["chest-probe", "annotation"], "options": options, **settings},
        "curate": {"kinds": ["visual"], "noise": noise},
    }
    pairs: list[PreferencePair] = []
    with open_run(folder / "run", validate_settings(raw, "test")) as run:

        def prepare(run: Any) -> None:
            examples = []
            for number, (tags, boxes) in enumerate((("ct", (LIVER, CANCER)), ("xray", ()), ("ct", ()))):
                pixels = film(80 + number)
                if tags == "ct":
                    pixels[:, :30] = pixels[:, -12:] = 0
                Image.fromarray(pixels).save(run.image_root / f"{number}.png")
                image = ImageRef(path=f"{number}.png", sha256=f"{number}" * 64, width=128, height=128)
                told: dict[str, Any] = {"dataset": "d", "split": "train", "answer_type": "open", "image": image}
                told |= {"boxes": boxes[1:], "organs": boxes[:1], "annotated": bool(boxes)}
                told |= {"tags": (f"modality:{tags}", "organ:chest" if tags == "xray" else "organ:abdomen")}
                examples += [
                    Example(example_id=f"{number}-{place}", question=question, answer=answer, **told)
                    for place, (question, answer) in enumerate(QUESTIONS)
                ]
            run.write("examples.parquet", Example, examples)

        run.execute(Stage("data", prepare, {}, (), ("examples.parquet",)))
        run.execute(grounding.stage(run.settings))
        run.execute(replace(curation.stage(run.settings, BASE), work=lambda run: pairs.extend(curate(run))))
        drops = run.file("drops/curate.parquet")
        found = read_table(run.file("groundings.parquet"), Grounding)
        return found, pairs, read_table(drops, Drop) if drops.exists() else [], run.path


def test_noise_goes_into_the_organ_and_is_recorded_with_the_pair(tmp_path: Path, fitted: Fitted) -> None:
    found, pairs, drops, root = run_both(tmp_path, fitted, {"region": "organ"})
    told = [(one.tool, one.organ, one.organ_tool) for one in found]
    assert told == [
        ("annotation", "Liver", "annotation"),
        ("chest-probe", "lung", "chest-probe"),
        ("annotation", "", ""),
    ]
    # The finding of another organ is never asked for by noise in this one; what is no finding is asked.
    assert sorted(pair.example_id for pair in pairs) == ["0-0", "0-2", "1-1", "1-2"]
    reasons = {drop.item: drop.reason for drop in drops}
    assert {name: reason for name, reason in reasons.items() if not name.startswith("2")} == {
        "0-1/visual": "question-not-about-the-organ",
        "1-0/visual": "question-not-about-the-organ",
    }
    assert {reason for name, reason in reasons.items() if name.startswith("2")} == {"no-organ-map"}
    first = next(pair for pair in pairs if pair.example_id == "0-0")
    assert first.rejected_noise is not None
    assert first.rejected_noise.model_dump(include={"region", "organ", "tissue"}) == {
        "region": "organ", "organ": "Liver", "tissue": "slice"
    }  # fmt: skip
    clean = np.asarray(Image.open(tmp_path / "data" / "0.png"))
    noised = np.asarray(Image.open(root / str(first.rejected_image_path)))
    changed = noised != clean
    assert changed[42:78, 62:98].mean() > 0.9  # the liver, not the cancer's box alone
    assert not changed[:35].any()
    film_spec = next(pair.rejected_noise for pair in pairs if pair.example_id == "1-1")
    assert isinstance(film_spec, NoiseSpec)
    assert (film_spec.organ, film_spec.tissue) == ("lung", "")


def test_noise_in_the_lesion_knows_no_organ(tmp_path: Path, fitted: Fitted) -> None:
    found, pairs, _, root = run_both(tmp_path, fitted, {})
    assert {(one.organ, one.organ_path) for one in found} == {("", None)}
    first = next(pair for pair in pairs if pair.example_id == "0-0")
    changed = np.asarray(Image.open(root / str(first.rejected_image_path))) != np.asarray(
        Image.open(tmp_path / "data" / "0.png")
    )
    assert changed[51:59, 71:79].mean() > 0.9
    assert not changed[64:78, 84:98].any()


@pytest.mark.parametrize(("tissue", "rule"), [(True, "slice"), (False, "")])
def test_global_noise_keeps_the_air_beside_a_slice(tmp_path: Path, fitted: Fitted, tissue: bool, rule: str) -> None:
    _, pairs, _, root = run_both(tmp_path, fitted, {"region": "global", "tissue": tissue})
    first = next(pair for pair in pairs if pair.example_id == "0-0")
    assert first.rejected_noise is not None
    assert first.rejected_noise.tissue == rule
    noised = np.asarray(Image.open(root / str(first.rejected_image_path)))
    assert noised[:, :24].any() is np.bool_(not tissue)


def test_no_organ_anywhere_is_one_line(tmp_path: Path, fitted: Fitted) -> None:
    with pytest.raises(GroundingError) as caught:
        run_both(tmp_path, fitted, {"region": "organ"}, only_tags=["modality:mri"])
    assert "found an organ in none of 0 images" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["curate.noise.region=organ"], "of patch-probe (ground.tool) none maps organs; add one of annotation, boxes"),
        (["curate.noise.region=organ", "curate.noise.kind=crop"], "curate.noise.region has no effect"),
        (["curate.noise.region=organ", "ground.tool=none"], "is one of the organ; name a tool"),
        (["curate.noise.region=heart"], "curate.noise.region"),
    ],
)
def test_a_region_that_cannot_be_noised_is_refused_when_the_recipe_is_loaded(overrides: list[str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings("phantom-mmedpo", overrides)
    assert why in str(caught.value)


def test_tissue_has_no_effect_on_noise_of_the_whole_image() -> None:
    with pytest.raises(ConfigError, match="curate.noise.tissue has no effect because curate.noise.kind is 'crop'"):
        validate_settings({"curate": {"noise": {"kind": "crop", "tissue": False}}}, "test")
