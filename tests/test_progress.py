"""Progress lines: what is done, how fast it goes, and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo import progress
from mmedpo.progress import LineReporter, Silent, describe, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.3, "0.3 s"),
        (8.4, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "seconds", "resumed_at", "line"),
    [
        (120, 400, 10.0, 0, "x 120/400 (30 %), 12.0/s, 23 s left"),
        (120, 400, 10.0, 100, "x 120/400 (30 %), 2.0/s, 2 min 20 s left"),
        (100, 400, 10.0, 100, "x 100/400 (25 %), 0.0/s"),
        (0, 400, 0.0, 0, "x 0/400 (0 %), 0.0/s"),
        (400, 400, 20.0, 0, "x 400/400 in 20 s (20.0/s)"),
        (400, 400, 0.0, 400, "x 400/400 in 0 s"),
        (0, 0, 0.0, 0, "x 0/0 in 0 s"),
    ],
)
def test_a_progress_line(done: int, total: int, seconds: float, resumed_at: int, line: str) -> None:
    assert describe("x", done, total, seconds, resumed_at) == line


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e9), st.integers(0, 10**9))
def test_every_progress_line_is_one_line(done: int, total: int, seconds: float, resumed_at: int) -> None:
    line = describe("x", done, total, seconds, min(resumed_at, done))
    assert line.startswith(f"x {done}/{total}")
    assert "\n" not in line


def test_in_a_log_file_lines_are_rare_and_the_last_one_always_comes(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    advance = LineReporter().track("sampling")
    for done in range(1, 101):
        clock(1.0)
        advance(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "sampling 10/100 (10 %), 1.0/s, 1 min 30 s left"
    assert lines[-1] == "sampling 100/100 in 1 min 40 s (1.0/s)"


def test_what_was_there_before_does_not_count_as_speed(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    advance = LineReporter().track("sampling")
    advance(900, 1000)
    clock(20.0)
    advance(940, 1000)
    assert capsys.readouterr().err == "sampling 940/1000 (94 %), 2.0/s, 30 s left\n"


def test_a_first_chunk_of_a_fresh_start_counts_as_speed(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    advance = LineReporter().track("sampling")
    advance(0, 100)
    clock(20.0)
    advance(40, 100)
    assert capsys.readouterr().err == "sampling 40/100 (40 %), 2.0/s, 30 s left\n"


def test_work_that_was_all_there_has_no_speed(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    advance = LineReporter().track("sampling")
    clock(0.001)
    advance(400, 400)
    assert capsys.readouterr().err == "sampling 400/400 in 0.0 s\n"


def test_on_a_terminal_a_line_is_rewritten_and_a_message_takes_its_place(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    reporter = LineReporter()
    advance = reporter.track("sampling")
    clock(1.0)
    advance(1, 2)
    reporter.message("a warning")
    clock(1.0)
    advance(2, 2)
    clear = "\r\x1b[2K"
    written = capsys.readouterr().err
    assert written == (
        f"{clear}sampling 1/2 (50 %), 1.0/s, 1 s left{clear}a warning\n{clear}sampling 2/2 in 2 s (1.0/s)\n"
    )


def test_the_python_api_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Silent()
    reporter.message("hello")
    reporter.track("x")(1, 2)
    assert capsys.readouterr() == ("", "")
