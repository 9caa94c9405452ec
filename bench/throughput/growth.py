"""How cost grows with questions per image and with the length of answers: a plot and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.throughput.measure import Measured, Store
from bench.throughput.table import NAMES
from bench.throughput.workloads import GROWTH_ANSWERS, GROWTH_QUESTIONS, Workload, growth_workloads, tokens

COLOURS = {"trl": "#b5532f", "ours": "#1f6f8b", "plain": "#777777"}
AXES = {
    "questions": ("questions per image (answers of 10 tokens)", GROWTH_QUESTIONS),
    "answers": ("tokens of an answer (4 questions per image)", GROWTH_ANSWERS),
}


def write(store: Store, docs: Path) -> None:
    """Writes `docs/engine-growth.md` and `docs/images/engine-growth.png` from measured cases."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    plot(store, docs / "images" / "engine-growth.png")
    (docs / "engine-growth.md").write_text(page(store), encoding="utf-8")


def plot(store: Store, path: Path) -> None:
    """Two rows (tokens, seconds per pair) by two columns (questions, answers)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    for column, (kind, workloads) in enumerate(growth_workloads().items()):
        label, values = AXES[kind]
        above, below = axes[0][column], axes[1][column]
        pairs = [workload.pairs_per_step for workload in workloads]
        counts = [tokens(workload) for workload in workloads]
        for name, colour, total in (
            ("independent sequences", COLOURS["trl"], [count.independent for count in counts]),
            ("trie", COLOURS["ours"], [count.trie for count in counts]),
        ):
            above.plot(values, [a / b for a, b in zip(total, pairs, strict=True)], "o-", color=colour, label=name)
        for side in _sides(store):
            seconds = [_seconds(_find(store, workload), side) for workload in workloads]
            known = [(x, y) for x, y in zip(values, seconds, strict=True) if y is not None]
            if known:
                below.plot(*zip(*known, strict=True), "o-", color=COLOURS[side], label=NAMES[side])
        for axis, what in ((above, "tokens per pair"), (below, "seconds per pair")):
            axis.set(xlabel=label, ylabel=what)
            if not axis.lines:
                axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
                continue
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(values, [str(value) for value in values])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def page(store: Store) -> str:
    """The Markdown page around the plot."""
    sides = _sides(store)
    lines = [
        "# How the cost of a pair grows",
        "",
        "Text and visual pairs of one image per optimizer step (576 image tokens, questions of 40), without activation "
        "checkpointing. Independent sequences pay for the image four times per question; the trie pays twice per "
        "image, so a pair gets cheaper with further questions. Long answers are shared only by the text and the "
        "visual pair of one question, so their gain shrinks towards that of one question.",
        "",
        "![Tokens and seconds per pair](images/engine-growth.png)",
        "",
    ]
    for kind, workloads in growth_workloads().items():
        lines += [f"| {AXES[kind][0]} | tokens per pair, independent | trie | fewer by |" + _headers(sides)]
        lines += ["|---|---|---|---|" + "---|" * len(sides)]
        lines += [_row(store, workload, value, sides) for value, workload in zip(AXES[kind][1], workloads, strict=True)]
        lines += [""]
    command = next(iter(store.commands.values()), "python -m bench.throughput --growth")
    facts = next(iter(store.machines.values()), None)
    if facts is not None:
        lines += [f"Seconds: {facts['cores']} cores ({facts['cpu']}), {facts['memory']}; same model as in the table."]
    lines += [f"Made by `{command}`."]
    return "\n".join(lines) + "\n"


def _headers(sides: Sequence[str]) -> str:
    return "".join(f" {NAMES[side]}, seconds per pair |" for side in sides)


def _row(store: Store, workload: Workload, value: int, sides: Sequence[str]) -> str:
    count, pairs = tokens(workload), workload.pairs_per_step
    cells: list[Any] = [
        value,
        f"{count.independent / pairs:,.0f}",
        f"{count.trie / pairs:,.0f}",
        f"{count.independent / count.trie:.1f} x",
    ]
    for side in sides:
        seconds = _seconds(_find(store, workload), side)
        cells.append("not measured" if seconds is None else f"{seconds:.3f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def _sides(store: Store) -> list[str]:
    return [side for side in NAMES if any(side in case.runs for case in store.cases.values())]


def _find(store: Store, workload: Workload) -> Measured | None:
    return next((case for case in store.cases.values() if case.case.workload == workload), None)


def _seconds(measured: Measured | None, side: str) -> float | None:
    rate = measured.pairs_per_second(side) if measured is not None else None
    return None if rate is None else 1 / rate
