"""Stored heatmaps of a run folder, whoever made it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError
from mmedpo.grounding.library import heatmap_of
from mmedpo.records import Grounding
from mmedpo.run import open_run


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = np.array([[0.25, 1.0]], np.float32)
BAD = {
    "empty": b"",
    "cut": saved(GOOD)[:-3],
    "no numpy file": b"hello",
    "a header alone": saved(GOOD)[:40],
    "another header": saved(GOOD).replace(b"'descr'", b"'d(scr'"),
    "a huge shape": saved(GOOD).replace(b"(1, 2)", b"(9999999999, 9999999999)"[:6].ljust(6)),
    "three axes": saved(GOOD[None]),
    "whole numbers": saved(GOOD.astype(np.int64)),
    "a text": saved(np.array("x")),
}


@pytest.mark.parametrize("content", [None, *BAD])
def test_a_heatmap_is_one_or_one_line_says_why_not(content: str | None, tmp_path: Path) -> None:
    with open_run(tmp_path / "r", RunSettings()) as run:
        (tmp_path / "r" / "groundings").mkdir()
        (tmp_path / "r" / "groundings" / "a.npy").write_bytes(saved(GOOD) if content is None else BAD[content])
        grounding = Grounding(image_sha256="a", tool="t", heatmap_path="groundings/a.npy", confidence=None)
        if content is None:
            assert (heatmap_of(run, grounding) == GOOD).all()
            return
        with pytest.raises(RunFolderError, match="is no heatmap") as caught:
            heatmap_of(run, grounding)
        assert "\n" not in str(caught.value)
