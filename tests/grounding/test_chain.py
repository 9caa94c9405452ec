"""Several tools in order: the first that applies marks the image, and the others say why they did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from grounding.films import film, film_dataset
from mmedpo import registry
from mmedpo.cli.main import app
from mmedpo.config import AssumeSettings, Settings, load_ground, validate_settings
from mmedpo.errors import ConfigError, GroundingError
from mmedpo.grounding.chest.card import Fitted
from mmedpo.grounding.chest.storage import save
from mmedpo.grounding.grounder import UNKNOWN, About, Region
from mmedpo.grounding.library import about, fingerprint, open_tools
from mmedpo.grounding.stage import ground, mark
from mmedpo.records import Box, Drop, Example, Grounding, ImageRef
from mmedpo.run import Stage, open_run
from mmedpo.storage.tables import read_table, write_bytes


class Tool:
    """Marks everything, or declines."""

    def __init__(self, name: str, reason: str = "", declines: bool = False) -> None:
        self.name, self.reason, self.declines, self.asked = name, reason, declines, 0

    def applies(self, modality: str, organ: str, view: str) -> str:
        return self.reason

    def ground(self, image: np.ndarray, example_boxes: Sequence[Box] = (), mask=None, about: About = UNKNOWN) -> Region:
        self.asked += 1
        if self.declines:
            return Region(None, None, reason="unlike", declined=True)
        return Region(np.ones(image.shape[:2], np.float32), 0.5)


def asked(*tools: Tool) -> tuple[str | None, Region | None, list[str]]:
    tool, region, reasons = mark(tools, lambda: (np.zeros((4, 4), np.uint8), None), (), UNKNOWN)
    return None if tool is None else tool.name, region, reasons


def test_the_first_that_applies_marks_and_the_rest_are_not_asked() -> None:
    last = Tool("c")
    name, region, reasons = asked(Tool("a", "for ct"), Tool("b"), last)
    assert name == "b"
    assert region is not None
    assert region.heatmap is not None
    assert reasons == ["a: for ct"]
    assert last.asked == 0


def test_a_tool_that_does_not_apply_never_sees_the_picture() -> None:
    def load() -> tuple[np.ndarray, None]:
        raise AssertionError("read for nothing")

    tool, region, reasons = mark((Tool("a", "for ct"), Tool("b", "for mri")), load, (), UNKNOWN)
    assert (tool, region) == (None, None)
    assert reasons == ["a: for ct", "b: for mri"]


def test_a_tool_that_declines_passes_the_word_on_and_keeps_it_when_nobody_takes_it() -> None:
    assert asked(Tool("a", declines=True), Tool("b"))[::2] == ("b", ["a: unlike"])
    name, region, reasons = asked(Tool("a", declines=True), Tool("b", "for ct"))
    assert name == "a"
    assert region is not None
    assert region.reason == "unlike"
    assert reasons == ["b: for ct"]


def test_what_the_data_say_goes_before_what_is_assumed() -> None:
    image = ImageRef(path="a.png", sha256="0" * 64, width=4, height=4)
    told = {"dataset": "d", "split": "train", "image": image, "question": "q", "answer": "a", "answer_type": "open"}
    example = Example(example_id="e", tags=("modality:CT", "language:en"), **told)  # type: ignore[arg-type]
    assumed = AssumeSettings(modality="xray", organ="chest", view="PA")
    assert about(example, assumed) == About("ct", "chest", "pa", "a.png", False)


# In a run.


def run_ground(folder: Path, ground_settings: dict[str, object], fitted: Fitted) -> tuple[list[Grounding], list[Drop]]:
    """Four images: an annotated film, a film, an annotated CT, a CT."""
    raw = {"data": {"dataset": "vqa-rad", "root": str(folder / "data")}, "ground": ground_settings}
    (folder / "data").mkdir()
    save(fitted.coefficients, folder / "probe.json")
    with open_run(folder / "run", validate_settings(raw, "test")) as run:

        def work(run) -> None:
            examples = []
            for number, (modality, marked) in enumerate([("xray", 1), ("xray", 0), ("ct", 1), ("ct", 0)]):
                Image.fromarray(film(60 + number, (60, 90))).save(run.image_root / f"{number}.png")
                image = ImageRef(path=f"{number}.png", sha256=f"{number}" * 64, width=128, height=128)
                told = {"dataset": "d", "split": "train", "question": "q", "answer": "a", "answer_type": "open"}
                boxes = (Box(x0=9, y0=9, x1=20, y1=20),) if marked else ()
                tags = (f"modality:{modality}", "organ:chest")
                more = {"image": image, "boxes": boxes, "annotated": bool(marked), "tags": tags}
                examples.append(Example(example_id=f"e{number}", **told, **more))
            run.write("examples.parquet", Example, examples)
            ground(run)

        run.execute(Stage("ground", work, {}, (), ("examples.parquet", "groundings.parquet", "groundings")))
    drops = folder / "run" / "drops" / "ground.parquet"
    return read_table(folder / "run" / "groundings.parquet", Grounding), read_table(
        drops, Drop
    ) if drops.exists() else []


def test_every_grounding_says_which_tool_gave_it_and_every_skip_is_counted(tmp_path: Path, fitted: Fitted) -> None:
    told = {"tool": ["chest-probe", "annotation"], "options": {"chest-probe": {"probe": str(tmp_path / "probe.json")}}}
    groundings, drops = run_ground(tmp_path, told, fitted)
    assert [(one.image_sha256[0], one.tool, one.reason) for one in groundings] == [
        ("0", "chest-probe", ""),
        ("1", "chest-probe", ""),
        ("2", "annotation", "annotation-gives-no-confidence"),
        ("3", "annotation", "no-lesion-annotated"),
    ]
    assert [(drop.item, drop.reason) for drop in drops] == [
        ("2.png", "tool-not-applicable"),
        ("3.png", "tool-not-applicable"),
    ]
    assert {drop.detail for drop in drops} == {"chest-probe: modality is ct, the tool is for xray"}


def test_the_order_is_the_user_s(tmp_path: Path, fitted: Fitted) -> None:
    told = {"tool": ["annotation", "chest-probe"], "options": {"chest-probe": {"probe": str(tmp_path / "probe.json")}}}
    groundings, drops = run_ground(tmp_path, told, fitted)
    assert [one.tool for one in groundings] == ["annotation", "chest-probe", "annotation", "annotation"]
    assert sorted(drop.detail for drop in drops) == [
        "annotation: no-lesion-annotated",
        "chest-probe: modality is ct, the tool is for xray",
    ]


# Settings of each tool.


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (
            ["ground.options.chest-probe.prob=x"],
            "unknown setting 'ground.options.chest-probe.prob'; did you mean 'probe'?",
        ),
        (["ground.options.chest-probe.probe=[1]"], "ground.options.chest-probe.probe"),
        (["ground.options.annotation.x=1"], "annotation has no settings; remove it"),
    ],
)
def test_a_setting_a_tool_does_not_know_is_refused(overrides: list[str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_tools(load_ground(["chest-probe", "annotation"], overrides))
    assert why in str(caught.value)


def test_a_needed_setting_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"ground\.options\.medklip\.checkpoint is needed; set it in the recipe"):
        open_tools(load_ground(["medklip"], []))


def test_settings_of_anything_else_are_refused_where_there_is_no_run() -> None:
    with pytest.raises(ConfigError, match=r"allowed: ground\.options"):
        load_ground(["annotation"], ["train.beta=1"])


def test_the_fingerprint_follows_the_content_of_the_files_a_tool_reads(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text("[]")
    told = load_ground(["boxes"], [f"ground.options.boxes.file={file}"])
    before = fingerprint(told)
    assert before == fingerprint(told)
    file.write_text('[{"file": "a"}]')
    assert fingerprint(told) != before
    file.unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        fingerprint(told)


def test_a_tool_from_outside_is_one_registered_class(table: Any) -> None:

    class Own(Settings):
        heat: float = 0.5

    @registry.register("grounder", "outsider")
    class Outsider(Tool):
        settings = Own

        @classmethod
        def from_settings(cls, settings: Own) -> Outsider:
            return cls("outsider", f"heat {settings.heat}")

    (tool,) = open_tools(load_ground(["outsider"], ["ground.options.outsider.heat=0.7"]))
    assert tool.applies("", "", "") == "heat 0.7"


def test_a_tool_without_a_word_on_what_it_is_for_is_asked_about_every_image(table: Any) -> None:

    @registry.register("grounder", "plain")
    class Plain:
        name = "plain"

        def ground(self, image: np.ndarray, example_boxes: Sequence[Box] = (), mask=None) -> Region:
            return Region(np.ones(image.shape[:2], np.float32), 0.8)

    tool, region, reasons = mark(open_tools(load_ground(["plain"], [])), lambda: (film(0), None), (), UNKNOWN)
    assert tool is not None
    assert (tool.name, reasons) == ("plain", [])
    assert region is not None
    assert region.confidence == 0.8


def test_the_record_says_whose_lungs_the_heat_was_kept_inside(tmp_path: Path, fitted: Fitted, table: object) -> None:
    @registry.register("grounder", "lungs-only")
    class LungsOnly:
        name = "lungs-only"

        def ground(self, image: np.ndarray, example_boxes: Sequence[Box] = (), mask=None) -> Region:
            return Region(np.ones(image.shape[:2], np.float32), 0.8, anatomy="anatomy network")

    groundings, _ = run_ground(tmp_path, {"tool": "lungs-only"}, fitted)
    assert {one.anatomy for one in groundings} == {"anatomy network"}


# The commands.


def test_evaluate_writes_a_page_that_needs_nothing_else(tmp_path: Path, fitted: Fitted) -> None:
    file = film_dataset(tmp_path, 8)
    save(fitted.coefficients, tmp_path / "probe.json")
    out = tmp_path / "page.html"
    told = [f"ground.options.chest-probe.probe={tmp_path / 'probe.json'}", "ground.assume.organ=chest"]
    command = [
        "ground",
        "evaluate",
        "chest-probe",
        "annotation",
        "--boxes",
        str(file),
        "--out",
        str(out),
        "--pictures",
        "3",
    ]
    done = CliRunner().invoke(app, [*command, *(part for one in told for part in ("--set", one))])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    assert page.count("<img ") == 3 * 3
    assert "<script" not in page
    assert "http" not in page
    assert "position prior" in page
    assert "Calibration of chest-probe" in page
    lines = json.loads(out.with_suffix(".json").read_text())["lines"]
    seen = {(line["who"], line["measure"]): line["number"]["value"] for line in lines if line["group"] == "all"}
    assert seen["annotation", "peak in lesion"] == 1
    assert seen["chest-probe", "peak in lesion"] > 0.6
    assert 0 <= seen["position prior", "energy in lesion"] < 0.6


def test_a_tool_that_does_not_apply_is_unscored_with_its_reason(tmp_path: Path, fitted: Fitted) -> None:
    file = film_dataset(tmp_path, 4)
    out = tmp_path / "page.html"
    command = ["ground", "evaluate", "chest-probe", "--boxes", str(file), "--out", str(out)]
    done = CliRunner().invoke(
        app, [*command, "--set", "ground.assume.modality=ct", "--set", "ground.assume.organ=chest"]
    )
    assert done.exit_code == 0, done.output
    for told in (out.read_text(), done.output):
        assert "8 images without a map: modality is ct, the tool is for xray" in told
    lines = json.loads(out.with_suffix(".json").read_text())["lines"]
    assert {line["number"]["n"] for line in lines if line["who"] == "chest-probe"} == {0}
    assert {line["number"]["value"] for line in lines if line["who"] == "chest-probe"} == {None}


def test_nothing_marked_is_an_error(tmp_path: Path) -> None:
    write_bytes(tmp_path / "b.json", json.dumps([{"file": "a.png", "normal": True}]).encode())
    from mmedpo.grounding.evaluation import evaluate_tools

    with pytest.raises(GroundingError, match="mark no lesion"):
        evaluate_tools([], tmp_path / "b.json", tmp_path, AssumeSettings())


def test_fit_writes_a_chest_probe_that_the_tool_reads(tmp_path: Path) -> None:
    file, out = film_dataset(tmp_path, 16), tmp_path / "own.json"
    done = CliRunner().invoke(
        app, ["ground", "fit", str(file), str(tmp_path), str(out), "--tool", "chest-probe", "--folds", "2"]
    )
    assert done.exit_code == 0, done.output
    assert out.with_suffix(".md").read_text().startswith("# Chest probe: own")
    (tool,) = open_tools(load_ground(["chest-probe"], [f"ground.options.chest-probe.probe={out}"]))
    assert tool.ground(film(3, (60, 90))).heatmap is not None
