"""Stages that take no time, for the tests of the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.layout import MANIFEST
from mmedpo.storage.tables import write_text

Log = list[str]


def writes(name: str, content: Callable[[Run], str], log: Log) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        log.append(run.current)
        write_text(run.file(name), content(run))

    return work


def chain(log: Log, factor: int = 2, offset: int = 1) -> list[Stage]:
    """`given.txt` (from the user) -> double -> add -> show; each stage has one setting of its own."""

    def number(run: Run, name: str) -> int:
        return int(run.file(name).read_text())

    return [
        Stage(
            "multiply",
            writes("product.txt", lambda run: str(number(run, "given.txt") * factor), log),
            {"factor": factor},
            ("given.txt",),
            ("product.txt",),
        ),
        Stage(
            "add",
            writes("sum.txt", lambda run: str(number(run, "product.txt") + offset), log),
            {"offset": offset},
            ("product.txt",),
            ("sum.txt",),
        ),
        Stage(
            "show",
            writes("show.txt", lambda run: f"= {number(run, 'sum.txt')}", log),
            {},
            ("sum.txt",),
            ("show.txt",),
        ),
    ]


def execute(path: Path, stages: Sequence[Stage], given: str | None = None, donors: Sequence[Path] = ()) -> None:
    with open_run(path, RunSettings(), donors=donors) as run:
        if given is not None:
            write_text(run.file("given.txt"), given)
        for stage in stages:
            run.execute(stage)


def failing(stage: Stage, error: BaseException, before: Callable[[Run], None] = lambda run: None) -> Stage:
    """The stage with another setting, breaking after `before`."""

    def work(run: Run) -> None:
        before(run)
        raise error

    return replace(stage, work=work, settings={**stage.settings, "changed": True})


def files_of(path: Path) -> dict[str, bytes]:
    names = (".lock", MANIFEST)
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in names}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
