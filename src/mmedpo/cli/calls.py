"""`mmedpo calls`: what language models have cost a run, and recording their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmedpo.cli.runs import RunFolder


def calls(
    folder: RunFolder,
    record: Annotated[
        Path | None, typer.Option(help="Write every answer to this file, for endpoints of `kind: replay`.")
    ] = None,
) -> None:
    """Show calls, tokens and money of a run's judges and agents; `--record` keeps their answers.

    Example: mmedpo calls runs/slake

    Example: mmedpo calls runs/slake --record answers.jsonl
    """
    from mmedpo.chat.batch import write_recording
    from mmedpo.chat.cache import answers_of, costs_of
    from mmedpo.chat.opening import cache_path
    from mmedpo.run import read_run
    from mmedpo.storage.paths import check_output

    run = read_run(folder)
    path = cache_path(run)
    if record is not None:
        check_output(record, (path,))
    if not path.exists():
        print("no call of a language model has been made")
        return
    for item in costs_of(path, run.path.name):
        estimated = f" (of {item.estimated} calls estimated)" if item.estimated else ""
        tokens = f"{item.input_tokens:12,} tokens in  {item.output_tokens:10,} out{estimated}"
        print(f"{item.endpoint:20} {item.calls:8,} calls  {item.attempts:8,} attempts  {tokens}  ${item.usd:.4f}")
        for reason, number in item.failures:
            print(f"{'':20} {number:8,} x {reason}")
    if record is not None:
        print(f"{write_recording(record, answers_of(path))} answers written to {record}")
