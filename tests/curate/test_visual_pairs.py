"""Which images give visual pairs, and under which counted reason the others do not."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mmedpo.config import load_settings, validate_settings
from mmedpo.curate import stage as curation
from mmedpo.curate.stage import curate
from mmedpo.errors import ConfigError
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import Box, Drop, Example, Grounding, ImageRef
from mmedpo.run import BASE, open_run
from mmedpo.storage.tables import read_table, write_bytes


def _png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32), grey, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _prepare(run) -> None:
    """Five images: a marked lesion, an all but empty heatmap, a low confidence, no heatmap, no grounding."""
    marked, empty = np.zeros((32, 32), np.float32), np.zeros((32, 32), np.float32)
    marked[8:16, 8:16] = 1.0
    empty[0, 0] = 0.5
    heatmaps = [marked, empty, marked, None, None]
    examples, groundings = [], []
    for number, heatmap in enumerate(heatmaps):
        path = f"images/{number}.png"
        write_bytes(run.image_root / path, _png(100 + number))
        image = ImageRef(path=path, sha256=f"{number}" * 64, width=32, height=32)
        common = {"dataset": "phantom", "split": "train", "image": image, "answer": "yes", "answer_type": "closed"}
        examples += [Example(example_id=f"e{number}-{q}", question="is there a nodule?", **common) for q in range(2)]
        if number == 4:
            continue
        stored = None if heatmap is None else f"groundings/{number}.npy"
        if stored is not None:
            run.file("groundings").mkdir(exist_ok=True)
            np.save(run.file(stored), heatmap)
        groundings.append(
            Grounding(
                image_sha256=image.sha256,
                tool="patch-probe",
                heatmap_path=stored,
                confidence=0.1 if number == 2 else 0.9,
                reason="" if stored else "no-lesion-annotated",
            )
        )
    run.write("examples.parquet", Example, examples)
    run.write("groundings.parquet", Grounding, groundings)


def _made(path, raw, change=lambda run: None):
    """The pairs and the drops of the five images."""
    with open_run(path, validate_settings(raw, "test")) as run:
        _prepare(run)
        change(run)
        pairs = []
        run.execute(replace(curation.stage(run.settings, BASE), work=lambda run: pairs.extend(curate(run))))
        return pairs, read_table(run.file("drops/curate.parquet"), Drop)


def test_a_visual_pair_may_ask_only_what_the_lesion_decides(tmp_path):
    asked = [("is there a nodule?", "yes"), ("is there a nodule?", "no"), ("which plane is this?", "axial")]
    asked += [("is there a pneumothorax?", "yes"), ("on which side is the nodule?", "left"), ("is it normal?", "no")]

    def ask(run):
        first = run.read("examples.parquet", Example)[0]
        types = ("presence", "presence", "plane", "presence", "side", "abnormality")
        rows = [
            first.model_copy(update={"example_id": f"q{n}", "question": q, "answer": a, "error_type": types[n]})
            for n, (q, a) in enumerate(asked)
        ]
        run.write("examples.parquet", Example, rows)

    def label(run, name="lung nodule"):
        ask(run)
        marked = run.read("groundings.parquet", Grounding)
        box = Box(x0=8, y0=8, x1=16, y1=16, label=name)
        run.write("groundings.parquet", Grounding, [marked[0].model_copy(update={"boxes": (box,)}), *marked[1:]])

    raw = {"curate": {"kinds": ["visual"], "visual_questions": "lesion"}}
    pairs, drops = _made(tmp_path / "found", raw, ask)
    assert [pair.example_id for pair in pairs] == ["q0", "q3", "q4", "q5"]
    assert {drop.reason for drop in drops} == {"answer-does-not-rest-on-lesion"}
    # Where the tool says that it marked a nodule, it decides nothing about a pneumothorax.
    pairs, drops = _made(tmp_path / "labelled", raw, label)
    assert [pair.example_id for pair in pairs] == ["q0", "q4", "q5"]
    # A tool without classes calls whatever it marks a lesion.
    pairs, drops = _made(tmp_path / "unnamed", raw, partial(label, name="lesion"))
    assert [pair.example_id for pair in pairs] == ["q0", "q3", "q4", "q5"]
    every, none = _made(tmp_path / "every", {"curate": {"kinds": ["visual"]}}, ask)
    assert (len(every), none) == (6, [])


def test_visual_pairs_may_be_made_of_open_answers_alone(tmp_path):
    """Each other one is counted as what it is."""
    asked = {"q0": ("is there a nodule?", "yes", "closed"), "q1": ("what is seen?", "a nodule", "open")}
    asked["q2"] = ("describe the image", "There is a nodule.", "report")

    def ask(run):
        first = run.read("examples.parquet", Example)[0]
        rows = [
            first.model_copy(update={"example_id": name, "question": q, "answer": a, "answer_type": form})
            for name, (q, a, form) in asked.items()
        ]
        run.write("examples.parquet", Example, rows)

    raw = {"curate": {"kinds": ["visual"], "visual_answers": ["open"]}}
    pairs, drops = _made(tmp_path / "open", raw, ask)
    assert [pair.example_id for pair in pairs] == ["q1"]
    assert {drop.item: drop.reason for drop in drops} == {
        "q0/visual": "answer-is-closed",
        "q2/visual": "answer-is-report",
    }
    with pytest.raises(ConfigError, match=r"visual_answers.*has no effect"):
        validate_settings({"curate": {"kinds": ["answer"], "visual_answers": ["open"]}}, "test")


def test_a_mirrored_image_is_shown_only_where_the_truth_names_one_side(tmp_path):
    asked = [
        ("is there a nodule?", "yes"),
        ("on which side is the nodule?", "left"),
        ("left or right?", "on the right"),
    ]

    def ask(run):
        first = run.read("examples.parquet", Example)[0]
        pixels = np.zeros((32, 32), np.uint8)
        pixels[:, :4] = 200
        write_bytes(run.image_root / first.image.path, png_bytes(pixels))
        rows = [
            first.model_copy(update={"example_id": f"q{n}", "question": q, "answer": a})
            for n, (q, a) in enumerate(asked)
        ]
        run.write("examples.parquet", Example, rows)

    curated = {
        "kinds": ["text", "visual"],
        "judge": "mirrored",
        "noise": {"kind": "mirror"},
        "visual_questions": "side",
    }
    pairs, drops = _made(tmp_path / "run", {"curate": curated, "ground": {"tool": "none"}}, ask)
    said = [(pair.example_id, pair.kind, pair.chosen, pair.rejected) for pair in pairs]
    assert said == [
        ("q1", "text", "left", "right"),
        ("q2", "text", "on the right", "on the left"),
        ("q1", "visual", "left", "left"),
        ("q2", "visual", "on the right", "on the right"),
    ]
    assert {(drop.item, drop.reason) for drop in drops} == {
        ("q0/text", "truth-names-no-side"),
        ("q0/visual", "truth-names-no-side"),
    }
    shown = np.asarray(Image.open(tmp_path / "run" / pairs[-1].rejected_image_path))
    assert (shown[:, 28:] == 200).all()
    assert not shown[:, :28].any()


@pytest.mark.parametrize(
    "curated",
    [
        {"noise": {"kind": "mirror"}},
        {"visual_questions": "side"},
        {"visual_questions": "side", "noise": {"kind": "crop"}},
    ],
)
def test_a_mirror_says_nothing_of_other_questions_and_noise_nothing_of_sides(curated):
    with pytest.raises(ConfigError, match=r"curate\.visual_questions=.* does not go with the noise"):
        load_settings("phantom-mmedpo", [f"curate={json.dumps(curated)}"])


def test_a_crop_needs_no_tool_and_is_drawn_once_for_every_image(tmp_path):
    raw = {"curate": {"kinds": ["visual"], "noise": {"kind": "crop"}}, "ground": {"tool": "none"}}
    assert "groundings.parquet" not in curation.stage(validate_settings(raw, "test"), BASE).reads
    pairs, drops = _made(tmp_path / "run", raw)
    assert (len(pairs), drops) == (10, [])
    told = {(pair.origin, pair.score, pair.unscored_reason) for pair in pairs}
    assert told == {("crop", None, "no tool marked the image")}
    shown = {}
    for pair in pairs:
        shown.setdefault(pair.image.sha256, set()).add(pair.rejected_image_path)
    assert [len(paths) for paths in shown.values()] == [1] * 5


def test_ground_truths_alone_are_one_for_every_question_and_weigh_one(tmp_path):
    from mmedpo.score.weights import weigh_pairs

    pairs, drops = _made(tmp_path / "run", {"curate": {"kinds": ["answer"]}})
    assert [(pair.kind, pair.chosen, pair.rejected) for pair in pairs] == [("answer", "yes", "")] * 10
    weighed = weigh_pairs(pairs)
    assert [pair.weight for pair in weighed.pairs] == [1.0] * 10
    assert (drops, weighed.drops) == ([], ())


@pytest.mark.parametrize(
    ("region", "expected"),
    [("lesion", {"e0"}), ("global", {"e0", "e1"})],
)
def test_only_a_view_that_differs_makes_a_pair(tmp_path, region, expected):
    raw = {
        "curate": {"kinds": ["visual"], "noise": {"region": region}},
        "ground": {"minimum_confidence": 0.5},
    }
    with open_run(tmp_path / "run", validate_settings(raw, "test")) as run:
        _prepare(run)
        pairs = []
        stage = replace(curation.stage(run.settings, BASE), work=lambda run: pairs.extend(curate(run)))
        run.execute(stage)
        drops = read_table(run.file("drops/curate.parquet"), Drop)
        for pair in pairs:
            clean = (run.image_root / pair.image.path).read_bytes()
            assert np.any(
                np.asarray(Image.open(run.file(pair.rejected_image_path))) != np.asarray(Image.open(io.BytesIO(clean)))
            )
    assert {pair.example_id.split("-")[0] for pair in pairs} == expected
    reasons = Counter(drop.reason for drop in drops)
    assert reasons.pop("nothing-noised", 0) == (2 if region == "lesion" else 0)
    assert reasons == {"confidence-below-minimum": 2, "no-lesion-annotated": 2, "no-grounding": 2}


def test_what_is_assumed_of_an_image_is_part_of_what_curation_is_made_from():
    """It decides where noise may go (air is spared), so other assumptions make other images."""
    raw = {"curate": {"kinds": ["visual"]}}
    plain, assumed = (
        curation.stage(validate_settings({**raw, "ground": ground}, "test"), BASE).settings
        for ground in ({}, {"assume": {"modality": "ct"}})
    )
    assert plain != assumed
