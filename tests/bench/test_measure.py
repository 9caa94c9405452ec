"""What the harness makes of its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.throughput import growth
from bench.throughput.measure import Case, Measured, Store
from bench.throughput.side import Options, SideResult
from bench.throughput.table import render
from bench.throughput.workloads import WORKLOADS


def _result(seconds: list[float], once: float = 0.0, loss: float = 0.7, peak: int = 2**31) -> SideResult:
    return SideResult([loss] * 3, seconds, [100] * 3, once, peak, 2**30, "words", {"torch": "1"})


@pytest.fixture
def measured() -> Measured:
    case = Case(WORKLOADS["slake"], "small", "cpu", False, 3, Options())
    slow = [_result([99.0, 10.0, 12.0]), _result([99.0, 20.0, 24.0])]
    fast = [_result([50.0, 1.0, 1.0], once=9.0), _result([50.0, 2.0, 2.0], once=9.0)]
    return Measured(case, {"trl": slow, "ours": fast})


def test_first_step_is_not_timed_and_work_done_once_is_spread_over_three_epochs(measured: Measured) -> None:
    assert measured.step_seconds("trl") == [11.0, 22.0]
    assert measured.step_seconds("ours") == [2.0, 3.0]  # 1 and 2, and 9 s over 3 steps x 3 epochs


def test_ratio_is_of_medians_with_the_range_over_rounds(measured: Measured) -> None:
    assert measured.speedup("ours") == pytest.approx((16.5 / 2.5, 11 / 2, 22 / 3))
    assert measured.pairs_per_second("trl") == pytest.approx(22 / 16.5)


def test_different_losses_are_told(measured: Measured) -> None:
    assert measured.losses_agree("ours") is True
    measured.runs["ours"][1] = _result([1.0, 1.0, 1.0], loss=0.7002)
    assert measured.losses_agree("ours") is False
    assert measured.loss_difference("ours") == pytest.approx(2e-4)


def test_a_side_that_failed_is_a_reason_and_not_a_number(measured: Measured, tmp_path: Path) -> None:
    del measured.runs["ours"]
    measured.failures["ours"] = "out of memory"
    assert measured.speedup("ours") is None
    assert measured.losses_agree("ours") is None
    store = Store(tmp_path / "RESULTS.json")
    store.add(measured, "command")
    page = render(store)
    assert "mmedpo did not finish: out of memory" in page
    assert "| not measured |" in page


def test_page_says_not_measured_where_no_gpu_was(measured: Measured, tmp_path: Path) -> None:
    store = Store(tmp_path / "RESULTS.json")
    store.add(measured, "command")
    assert render(store).endswith("## GPU\n\nNot measured.\n")
    assert "6.60 x (5.50 - 7.33)" in render(store)


def test_raw_results_come_back_as_they_were(measured: Measured, tmp_path: Path) -> None:
    store = Store(tmp_path / "RESULTS.json")
    store.add(measured, "command")
    again = Store.open(tmp_path / "RESULTS.json")
    assert again.cases[measured.case.key] == measured
    assert again.machines == store.machines


def test_growth_page_counts_tokens_and_says_what_was_not_measured(tmp_path: Path) -> None:
    page = growth.page(Store(tmp_path / "growth.json"))
    # One question: 2 x 616 + 20 and 2 x 616 + 20 over two pairs; the trie 2 x 576 + 60 + 50 over two pairs.
    assert "| 1 | 1,252 | 631 | 2.0 x |" in page
    assert "seconds per pair |" not in page


def test_growth_plot_and_page_with_measured_seconds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; `make bench` installs it")
    workload = growth.growth_workloads()["questions"][1]
    store = Store(tmp_path / "growth.json")
    case = Case(workload, "small", "cpu", False, 3, Options())
    store.add(Measured(case, {"trl": [_result([9.0, 2.0, 2.0])]}), "command")
    growth.write(store, tmp_path)
    page = (tmp_path / "engine-growth.md").read_text()
    assert "| 2 | 1,252 | 343 | 3.7 x | 0.500 |" in page
    assert "| not measured |" in page
    assert (tmp_path / "images" / "engine-growth.png").stat().st_size > 10_000
