"""What a stage took, over the attempts that it took."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mmedpo.run.clock import FILE, Clock


def test_an_earlier_attempt_counts_up_to_what_it_saved_last(tmp_path: Path) -> None:
    began = time.time() - 100
    (tmp_path / FILE).write_text(f"0 {began}")
    for name, after in (("a/old", 5), ("a/last", 60)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (began + after, began + after))
    assert Clock(tmp_path).read() == pytest.approx(60, abs=5)
    # A third attempt, after one that saved nothing.
    assert Clock(tmp_path).read() == pytest.approx(60, abs=5)


@pytest.mark.parametrize("note", ["", "x y", "1", "0 9e99"])
def test_a_note_that_says_nothing_counts_nothing(note: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(note)
    (tmp_path / "work").touch()
    started = time.monotonic()
    assert Clock(tmp_path).read() <= time.monotonic() - started + 1
