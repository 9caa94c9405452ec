"""Writes RESULTS.md from the raw results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.throughput.measure import EPOCHS, Measured, Store
from bench.throughput.models import SHAPES
from bench.throughput.workloads import Flops, flops, tokens

NAMES = {"trl": "TRL", "ours": "mmedpo", "plain": "plain torch"}
NONE = "not measured"


def render(store: Store) -> str:
    """The whole page."""
    cpu = [case for case in store.cases.values() if not case.case.device.startswith("cuda")]
    gpu = [case for case in store.cases.values() if case.case.device.startswith("cuda")]
    lines = ["# Throughput against TRL", ""]
    lines += _introduction()
    lines += ["", "## CPU", ""]
    lines += _section(store, "cpu", cpu) if cpu else [NONE + "."]
    lines += ["", "## GPU", ""]
    lines += _section(store, "cuda", gpu) if gpu else [f"{NONE[0].upper()}{NONE[1:]}."]
    return "\n".join(lines).rstrip() + "\n"


def write(store: Store, path: Path) -> None:
    """Writes the page beside the raw results."""
    path.write_text(render(store), encoding="utf-8")


def _introduction() -> list[str]:
    return [
        "Made by `make bench`; raw results in `RESULTS.json` beside this page. Both sides train the same LoRA adapter "
        "on the same pairs in the same order with the same loss (Eq. 3: a weight per pair; a visual pair has another "
        "image on its rejected side), each run in a fresh process, the sides in turn. The first step of each run is "
        f"not timed. Work done once (reference, image features) is spread over {EPOCHS} epochs and counted. Speed is "
        "the ratio of medians; in brackets the smallest and largest ratio among the rounds. An image is 576 tokens, a "
        "question 40. FLOP bound: language model's linear layers, independent sequences with the reference in every "
        f"step over a trie with the reference once in {EPOCHS} epochs. Memory is the peak of the process (CPU) or of "
        "what torch allocated (GPU); in brackets what came on top of the loaded model.",
    ]


def _section(store: Store, device: str, cases: Sequence[Measured]) -> list[str]:
    lines: list[str] = []
    known = next((name for name in store.machines if name.startswith(device)), None)
    if known is not None:
        facts = store.machines[known]
        lines += [
            f"Machine: {facts['cores']} cores ({facts['cpu']}), {facts['memory']}, {facts['system']}, "
            f"Python {facts['python']}.  ",
            f"Command: `{store.commands[known]}`  ",
        ]
    lines += [f"Versions: {_versions(cases)}.", ""]
    lines += [_model(shape) for shape in sorted({case.case.shape for case in cases})]
    lines += ["", *_summary(cases), ""]
    for case in cases:
        lines += _case(case)
    return lines


def _versions(cases: Sequence[Measured]) -> str:
    found: dict[str, str] = {}
    for case in cases:
        for runs in case.runs.values():
            for run in runs:
                found.update(run.versions)
    return ", ".join(f"{name} {number}" for name, number in sorted(found.items())) or "none ran"


def _model(name: str) -> str:
    shape = SHAPES[name]
    language = shape.architecture.removeprefix("llava-").capitalize()
    return (
        f"Model `{name}`: LLaVA with random weights in {shape.dtype}, CLIP tower {shape.vision_layers} x "
        f"{shape.vision_hidden} at {shape.image_size} px, {language} {shape.layers} x {shape.hidden}; "
        f"{shape.frozen_weights / 1e6:,.1f} M weights in the linear layers of the language model, LoRA r = "
        f"{shape.rank} on all of them: {shape.adapter_weights / 1e6:,.1f} M."
    )


def _flops(measured: Measured) -> Flops:
    case = measured.case
    shape = SHAPES[case.shape]
    count = tokens(case.workload)
    return flops(count, shape.frozen_weights, shape.adapter_weights, EPOCHS, case.checkpointing)


def _summary(cases: Sequence[Measured]) -> list[str]:
    lines = [
        "| workload | checkpointing | pairs a step | tokens a step, independent -> trie | FLOP bound | TRL pairs/s "
        "| mmedpo pairs/s | ratio | target | peak memory TRL | mmedpo | same losses |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for measured in cases:
        workload, count = measured.case.workload, tokens(measured.case.workload)
        cells = [
            workload.title,
            "on" if measured.case.checkpointing else "off",
            str(workload.pairs_per_step),
            f"{count.independent:,.0f} -> {count.trie:,.0f}",
            f"{_flops(measured).bound:.1f} x",
            _number(measured.pairs_per_second("trl")),
            _number(measured.pairs_per_second("ours")),
            _ratio(measured.speedup("ours")),
            f"{workload.target:g} x" if workload.target else "-",
            _memory(measured, "trl"),
            _memory(measured, "ours"),
            _agreement(measured, "ours"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _case(measured: Measured) -> list[str]:
    case, work = measured.case, _flops(measured)
    checkpointing = "on" if case.checkpointing else "off"
    lines = [f"### {case.workload.title}, activation checkpointing {checkpointing} (`{case.shape}`)", ""]
    lines += [
        "| side | seconds a step, each run | pairs/s | over TRL | tokens fed a step | TFLOP a step | once, s "
        "| peak memory | settings |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for side, runs in measured.runs.items():
        arithmetic = work.trie if side == "ours" else work.independent
        cells = [
            NAMES[side],
            ", ".join(f"{seconds:.2f}" for seconds in measured.step_seconds(side)),
            _number(measured.pairs_per_second(side)),
            _ratio(measured.speedup(side)),
            f"{max(runs[0].tokens):,}",
            f"{arithmetic / 1e12:.2f}",
            f"{runs[0].once_seconds:.1f}",
            _memory(measured, side),
            runs[0].settings,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [f"{NAMES[side]} did not finish: {why}.  " for side, why in measured.failures.items()]
    return [*lines, *_losses(measured), ""]


def _losses(measured: Measured) -> list[str]:
    sides = list(measured.runs)
    if not sides:
        return []
    lines = ["| step | " + " | ".join(f"loss, {NAMES[side]}" for side in sides) + " | difference |"]
    lines.append("|---" * (len(sides) + 2) + "|")
    for step in range(measured.case.steps):
        values = [measured.runs[side][0].losses[step] for side in sides]
        spread = f"{max(values) - min(values):.1e}" if len(values) > 1 else "-"
        lines.append(f"| {step + 1} | " + " | ".join(f"{value:.7f}" for value in values) + f" | {spread} |")
    return lines


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _ratio(value: tuple[float, float, float] | None) -> str:
    return NONE if value is None else f"{value[0]:.2f} x ({value[1]:.2f} - {value[2]:.2f})"


def _memory(measured: Measured, side: str) -> str:
    peak, training = measured.peak_memory(side), measured.training_memory(side)
    if peak is None or training is None:
        return NONE
    return f"{peak / 2**30:.2f} GiB ({training / 2**30:.2f})"


def _agreement(measured: Measured, side: str) -> str:
    difference, agree = measured.loss_difference(side), measured.losses_agree(side)
    if difference is None:
        return NONE
    return f"{'yes' if agree else 'NO'}, within {difference:.0e}"
