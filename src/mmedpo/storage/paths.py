"""Paths that come from data or from the command line: joined safely, and outputs that are never inputs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from mmedpo.errors import ConfigError, DataError, ImageError, MMedPOError, shown


def safe_join(root: Path, relative: str, what: str = "image", error: type[MMedPOError] = ImageError) -> Path:
    """The real path of `relative` below `root`, links followed.

    Args:
        root: the folder that must not be left.
        relative: a path as some file names it.
        what: what the path names, for the message.
        error: raised, with one line, when it cannot be trusted.

    Raises:
        MMedPOError: (`error`) `relative` is empty, absolute, holds `..` or a backslash, or leaves `root` through
            a link.
    """
    fix = f"name it relative to {root}, with forward slashes and without '..'"
    if not relative or "\0" in relative:
        raise error(f"{what} name {shown(relative)} is empty or holds a null byte; {fix}")
    if "\\" in relative or PurePosixPath(relative).is_absolute() or PureWindowsPath(relative).drive:
        raise error(f"{what} {shown(relative)} is not a relative path; {fix}")
    if ".." in PurePosixPath(relative).parts:
        raise error(f"{what} {shown(relative)} lies outside {root}; {fix}")
    try:
        base = root.resolve()
        path = (base / relative).resolve()
    except (OSError, RuntimeError, ValueError) as problem:
        # A loop of links is a RuntimeError before Python 3.13; a name the file system cannot spell is a ValueError.
        raise error(f"{what} {shown(relative)} cannot be followed ({type(problem).__name__}); {fix}") from problem
    if not path.is_relative_to(base):
        raise error(f"{what} {shown(relative)} is a link that leaves {root}; copy the file into the folder")
    return path


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Refuses an output that is one of the inputs (also by another name of it), or a folder.

    Raises:
        ConfigError: it is.
    """
    for given in inputs:
        if same_file(out, given):
            raise ConfigError(f"output {out} is the input {given}; it would be replaced: name another file")
    if out.is_dir():
        raise ConfigError(f"output {out} is a folder; name a file in it")


def same_file(one: Path, other: Path) -> bool:
    """True when both names lead to one file: through links, hard links, case or relative parts."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        # One of them is not there (yet): then only the same spelling of the same place is the same file.
        return os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def written(out: Path) -> Iterator[None]:
    """Turns whatever the file system says while `out` (and what belongs beside it) is written into one line.

    Raises:
        DataError: no such place, no right to write, no space left.
    """
    try:
        yield
    except OSError as problem:
        # Arrow's own words are long and name its unfinished file.
        why = os.strerror(problem.errno) if problem.errno else type(problem).__name__
        if problem.errno in (errno.EEXIST, errno.ENOTDIR):
            why = "a file lies where a folder is needed"
        raise DataError(f"{out} cannot be written ({why}); check the place, its rights and its space") from problem
