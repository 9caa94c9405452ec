"""What a user can mend when the operating system refuses to read or write a run folder, in one line."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmedpo.errors import MMedPOError, RunFolderError

UNUSABLE = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EIO: "the device reports an error",
    errno.ENXIO: "the device is gone",
    errno.ENODEV: "the device is gone",
    errno.ESTALE: "the network drive is gone",
    errno.ETIMEDOUT: "the network drive does not answer",
    errno.ENOTCONN: "the network drive is gone",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a file lies where a folder is needed",
    errno.EEXIST: "a file lies where a folder is needed",
    errno.EISDIR: "a folder lies where a file is needed",
}
"""What a user can mend; any other error of the operating system is a fault of ours and keeps its traceback."""

PROBE = 1 << 20
"""Bytes written to see whether a folder can be written."""

_RUST = re.compile(r"os error (\d+)")


def refused(error: OSError) -> bool:
    """Whether it is the machine that refused, and not a fault of ours."""
    return error.errno is None or error.errno in UNUSABLE


def why(error: OSError) -> str:
    """What was refused, in words."""
    return UNUSABLE.get(error.errno or 0) or error.strerror or "it could not be read or written whole"


def unusable(error: OSError, folder: Path) -> RunFolderError:
    """The error in our terms, with the fix."""
    name = error.filename or folder
    return RunFolderError(
        f"{name} cannot be used: {why(error)}; choose another --runs folder, or mend it and run again"
    )


def trouble(error: Exception, folder: Path) -> RunFolderError | None:
    """What the operating system refused behind an error of any library; None where it refused nothing.

    Libraries wrap what they are told: a full disk is an `OSError` without a number in numpy, a
    `RuntimeError` in torch, a text in safetensors. Where nothing in the error tells, the folder is tried.
    """
    if isinstance(error, MMedPOError):
        return None
    for cause in _causes(error):
        if isinstance(cause, OSError) and refused(cause):
            return (_tried(folder) if cause.errno is None else None) or unusable(cause, folder)
        if isinstance(cause, MMedPOError):
            return None
        for number in _numbers(str(cause)):
            return unusable(OSError(number, os.strerror(number)), folder)
    if not folder.is_dir():
        return RunFolderError(f"{folder} is gone; bring it back and run the same command again")
    return _tried(folder)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _numbers(text: str) -> Iterator[int]:
    """Numbers of the operating system's errors that a message holds, as Rust libraries and C libraries spell them."""
    for found in _RUST.finditer(text):
        if int(found.group(1)) in UNUSABLE:
            yield int(found.group(1))
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        if os.strerror(number) in text:
            yield number


def _tried(folder: Path) -> RunFolderError | None:
    """What is wrong with the folder, found out by writing to it; None where nothing is."""
    try:
        _try(folder)
    except OSError as problem:
        return unusable(problem, folder)
    return None


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as handle:
        handle.write(bytes(PROBE))
        handle.flush()
        os.fsync(handle.fileno())
