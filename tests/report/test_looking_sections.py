"""The sections on looking: one score with its parts or what is missing, and where the model attends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.records import (
    MAP_SIDE,
    Box,
    Evaluation,
    Example,
    Looking,
    LooksMean,
    LooksPart,
    LooksScore,
    ProbePart,
    ProbeSummary,
)
from mmedpo.report.sections.attention import attention, share_plot
from mmedpo.report.sections.looks import LooksSection, looks, looks_plot
from mmedpo.report.sections.probes import NATS, Probes, changed, one_probe
from mmedpo.report.summary import summary_lines
from mmedpo.run import Run
from mmedpo.storage.json_file import read_json
from report.finished_run import full_run, page


def summary(probe: str, unit: str, base: float, tuned: float, quantity: str = "gain") -> ProbeSummary:
    told = [("base", "", base), ("tuned", "", tuned), ("tuned", "base", tuned - base)]
    parts = tuple(
        ProbePart(
            quantity=quantity, model=model, against=against, mean=mean, low=mean - 0.1, high=mean + 0.1, questions=9
        )
        for model, against, mean in told
    )
    return ProbeSummary(
        probe=probe, title=probe.title(), unit=unit, headline=quantity, about="a share", split="test", parts=parts
    )


PROBES = (summary("negated-twin", "of questions", 0.2, 0.5), summary("rephrased", "of questions", 0.4, 0.5))
PARTS = tuple(LooksPart(probe=found.probe, title=found.title) for found in PROBES)
MEANS = (
    LooksMean(model="base", mean=0.3, low=0.2, high=0.4),
    LooksMean(model="tuned", mean=0.5, low=0.4, high=0.6),
    LooksMean(model="tuned", against="base", mean=0.2, low=0.1, high=0.3, p_value=0.01),
)


def test_the_score_stands_first_and_each_part_with_its_share() -> None:
    found = looks(LooksScore(parts=PARTS, means=MEANS, questions=18, images=7), ("base", "tuned"), PROBES)
    assert [(row.title, row.share) for row in found.rows] == [
        ("score", 1.0),
        ("Negated-Twin", 0.5),
        ("Rephrased", 0.5),
    ]
    assert [item.value for item in found.rows[1].of_model] == [0.2, 0.5]
    (headline,) = LooksSection().compares(found)
    assert (headline.comparison.before, headline.comparison.after, headline.comparison.adjusted) == (0.3, 0.5, 0.01)
    assert "50 (40 to 60)" in looks_plot(found, 340, narrow=True)


def test_a_missing_part_leaves_no_number_on_the_page(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    missing = (*PARTS[:1], LooksPart(probe="rephrased", title="Rephrased", missing="it is not among evaluate.probes"))
    write(run, looks=LooksScore(parts=missing), probes=(PROBES[0],))
    words = page(run)
    assert "No score is given" in words
    assert "rephrased : it is not among evaluate.probes" in words
    assert "Score of looking" not in words
    write(run, looks=LooksScore(parts=PARTS, means=MEANS, questions=18, images=7), probes=PROBES)
    assert summary_lines(read_json(run.file("evaluation.json"), Evaluation))[-1] == (
        "Score of looking: base 30, tuned 50 of 100"
    )
    words = page(run)
    assert "score of looking" in words
    assert "1/2" in words
    assert "+20.0" in words


def write(run: Run, **changes: object) -> None:
    stored = Evaluation.model_validate_json(run.file("evaluation.json").read_text())
    run.file("evaluation.json").write_text(stored.model_copy(update=changes).model_dump_json())


def test_changes_are_drawn_probe_by_probe_in_points_of_100_and_in_nats() -> None:
    nats = one_probe(summary("blank-image", NATS, 0.1, 0.9))
    share = one_probe(PROBES[0])
    assert nats is not None
    assert share is not None
    part = Probes(probes=(share, nats), changes=(share, nats))
    drawn = changed(part, "of questions", 340, narrow=True)
    assert "+30.0 (+20.0 to +40.0)" in drawn
    assert "Blank" not in drawn
    assert "+0.80 (+0.70 to +0.90)" in changed(part, NATS, 780)


def looking(name: str, model: str, share: float) -> Looking:
    values = tuple(float(v) for v in np.eye(MAP_SIDE).ravel() / MAP_SIDE)
    return Looking(
        example_id=name, model=model, image_sha256="0", attention=share, relevance=share / 2, chance=0.1, image=0.3,
        attention_map=values, relevance_map=values,
    )  # fmt: skip


def measured(base: float, tuned: float) -> ProbeSummary:
    attended = summary("attention", "of attention", base, tuned, "attention")
    relevant = summary("attention", "of attention", base / 2, tuned / 2, "relevance")
    return attended.model_copy(update={"parts": (*attended.parts, *relevant.parts)})


@pytest.mark.parametrize(
    ("tuned", "told"),
    [
        (0.5, "The attention inside the lesion rises from base to tuned: +30.0 points (+20.0 to +40.0)."),
        (0.05, "The attention inside the lesion falls from base to tuned: −15.0 points (−25.0 to −5.0)."),
        (
            0.25,
            "No change of the attention inside the lesion is shown from base to tuned: +5.0 points (−5.0 to +15.0).",
        ),
    ],
)
def test_the_page_says_whether_it_rises(tuned: float, told: str) -> None:
    rows = {model: {"q": looking("q", model, 0.2)} for model in ("base", "tuned")}
    part = attention(measured(0.2, tuned), rows)
    assert part.told[0] == told
    assert part.chance == pytest.approx(0.1)
    assert "all tokens alike" in share_plot(part, 780)


def test_maps_stand_on_the_page_with_the_lesion_outlined(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    examples = [example for example in run.read("examples.parquet", Example) if example.split == "test-balanced"]
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 10:20] = 255
    Image.fromarray(mask).save(run.image_root / "mask.png")
    boxes = (Box(x0=10, y0=10, x1=20, y1=20),)
    examples = [
        examples[0].model_copy(update={"mask_path": "mask.png", "boxes": boxes}),
        examples[1].model_copy(update={"boxes": boxes}),
    ]
    others = [e for e in run.read("examples.parquet", Example) if e.example_id not in {x.example_id for x in examples}]
    run.write("examples.parquet", Example, [*examples, *others])
    for model, share in (("base", 0.2), ("tuned", 0.5)):
        rows = [looking(example.example_id, model, share) for example in examples]
        run.write(f"probes/attention/{model}.parquet", Looking, rows)
    write(run, probes=(measured(0.2, 0.5),))
    words = page(run)
    assert "Where it looks" in words
    assert "The attention inside the lesion rises" in words
    assert words.count("tuned, attention: 50.0 %") == 2
    html = run.file("report.html").read_text()
    assert html.count("inside the outlined lesion") == 8
    run.write("probes/attention/tuned.parquet", Looking, [looking(e.example_id, "tuned", 0.5) for e in examples[:1]])
    short = looking(examples[0].example_id, "base", 0.2).model_copy(update={"attention_map": (0.5,)})
    run.write("probes/attention/base.parquet", Looking, [short])
    assert "not available" in page(run)
