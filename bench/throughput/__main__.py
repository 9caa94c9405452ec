"""The command line of the benchmark: `python -m bench.throughput --help`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from bench.throughput import growth, table
from bench.throughput.measure import ROOT, Case, Measured, Store, measure
from bench.throughput.models import SHAPES, build_checkpoint
from bench.throughput.side import SIDES, Options
from bench.throughput.workloads import WORKLOADS, Workload, growth_workloads


def main(argv: list[str] | None = None) -> None:
    """Measures, then writes the table (or, with --growth, the plot and its page)."""
    arguments = _parser().parse_args(argv)
    sides = _names(arguments.sides, SIDES, "side")
    cuda = arguments.device.startswith("cuda")
    shape = SHAPES[arguments.shape or ("7b" if cuda else "small")]
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = Store.open(arguments.out / ("growth.json" if arguments.growth else "RESULTS.json"))
    if not arguments.table_only:
        folder = build_checkpoint(shape, arguments.checkpoints / shape.name, device=arguments.device)
        options = Options(dtype=shape.dtype, rank=shape.rank, alpha=shape.alpha, micro_pairs=arguments.micro_pairs)
        options = replace(options, learning_rate=arguments.learning_rate)
        for workload in _workloads(arguments):
            for checkpointing in _checkpointing(arguments.checkpointing, cuda):
                case = Case(workload, shape.name, arguments.device, checkpointing, arguments.steps, options)
                measured = measure(
                    case, sides, rounds=arguments.rounds, folder=folder, threads=arguments.threads, log=_log
                )
                store.add(measured, _command(argv))
    if arguments.growth:
        growth.write(store, arguments.docs)
        _log(f"wrote {arguments.docs / 'engine-growth.md'}")
    else:
        table.write(store, arguments.out / "RESULTS.md")
        _log(f"wrote {arguments.out / 'RESULTS.md'}")
    disagreeing = [case.case.key for case in store.cases.values() if _disagree(case)]
    if disagreeing:
        sys.exit(f"error: the sides' losses differ, so their times must not be compared: {', '.join(disagreeing)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("--sides", default="trl,ours", help=f"in the order they alternate; known: {', '.join(SIDES)}")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="names, comma-separated")
    parser.add_argument("--rounds", type=_positive, default=3, help="runs of each side")
    parser.add_argument(
        "--steps", type=_timed_steps, default=4, help="optimizer steps of a run; the first is not timed"
    )
    parser.add_argument("--checkpointing", choices=("off", "on", "both"), help="default: off on a CPU, both on a GPU")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="default: small on a CPU, 7b on a GPU")
    parser.add_argument("--micro-pairs", type=_positive, help="pairs per forward of TRL; default: its fastest")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=_positive, default=os.cpu_count() or 1)
    parser.add_argument("--growth", action="store_true", help="measure how cost grows instead")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, write the page from the raw file")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "bench", help="where models are written")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder of RESULTS.md and the raw results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of engine-growth.md")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _timed_steps(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"{text} leaves no step to time: the first is not timed; give 2 or more")
    return number


def _names(text: str, known: dict[str, object], what: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"error: no {what} {name!r}; known: {', '.join(known)}")
    return names


def _workloads(arguments: argparse.Namespace) -> list[Workload]:
    if arguments.growth:
        return [workload for kind in growth_workloads().values() for workload in kind]
    return [WORKLOADS[name] for name in _names(arguments.workloads, WORKLOADS, "workload")]


def _checkpointing(wanted: str | None, cuda: bool) -> list[bool]:
    return {"off": [False], "on": [True], "both": [True, False]}[wanted or ("both" if cuda else "off")]


def _command(argv: list[str] | None) -> str:
    return " ".join(["python -m bench.throughput", *(sys.argv[1:] if argv is None else argv)])


def _disagree(case: Measured) -> bool:
    return any(case.losses_agree(side) is False for side in case.runs if side != "trl")


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
