"""Which images give visual pairs, and under which counted reason the others do not."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmedpo.config import validate_settings
from mmedpo.curate import stage as curation
from mmedpo.curate.stage import curate
from mmedpo.records import Drop, Example, Grounding, ImageRef
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
