"""Opening a run folder: with its lock, beside the process that holds it, or only to look at."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mmedpo.config import RunSettings, dump_settings, stored_settings
from mmedpo.config.groups import ON_NO_DISK, remote
from mmedpo.errors import ConfigError, RunFolderError, shown
from mmedpo.progress import Reporter, Silent
from mmedpo.run.disk import unusable
from mmedpo.run.folder import EARLIER, Run
from mmedpo.run.layout import CALLS, HOLDER, LOCK, MANIFEST, RESOLVED, WORK
from mmedpo.run.manifest import new_manifest, read_manifest
from mmedpo.run.processes import forget_leftovers, launch
from mmedpo.storage.files import links_in, remove_partial
from mmedpo.storage.tables import write_text

_IN_PLACE = (CALLS, f"{CALLS}-wal", f"{CALLS}-shm")
"""Files whose bytes are changed where they lie; all others are replaced whole, or hold nothing."""
PATIENCE = 60.0
"""Seconds a process waits for its sibling, process 0, to open the run."""


def run_folder(runs: Path, name: str) -> Path:
    """The folder of a run by its name: one that lies in `runs` itself.

    Raises:
        ConfigError: the name is empty, names another place, or holds a control character; or `runs` is no folder.
    """
    if not name.strip() or name in (".", "..") or any(char in "/\\" or ord(char) < 32 for char in name):
        raise ConfigError(
            f"--name {shown(name)} is no name of a folder inside {runs}; give one without slashes (--runs says where)"
        )
    if remote(runs):
        raise ConfigError(f"--runs {shown(str(runs))} {ON_NO_DISK}")
    return runs / name


@contextmanager
def open_run(
    path: Path,
    settings: RunSettings | None = None,
    reporter: Reporter | None = None,
    donors: Sequence[Path] = (),
) -> Iterator[Run]:
    """Opens (or creates, when settings are given) a run folder and holds its lock.

    Raises:
        RunFolderError: no such run, no permission, in use by another process, another version.
    """
    if settings is None:
        _require_manifest(path)
    with locked(path):
        try:
            yield _opened(path, settings, reporter or Silent(), tuple(donors))
        finally:
            with suppress(OSError):
                (path / HOLDER).unlink(missing_ok=True)


@contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds the lock of a run folder, which is made where it is not there.

    Raises:
        RunFolderError: no permission, no run folder, or in use by another process for so many seconds.
    """
    from filelock import FileLock, Timeout

    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        _refuse_foreign(path)
        _refuse_links(path)
        lock = FileLock(path / LOCK)
        lock.acquire(timeout=patience)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{path} is a file, not a folder; choose another run name") from error
    except Timeout:
        raise RunFolderError(f"{path} is in use by {_holder(path)}; wait for it, or choose another run name") from None
    except OSError as error:
        raise unusable(error, path) from error
    try:
        yield
    finally:
        lock.release()


def _opened(path: Path, settings: RunSettings | None, reporter: Reporter, donors: tuple[Path, ...]) -> Run:
    """The run of a folder whose lock is held, with what a killed process had set aside back in its place."""
    forget_leftovers()
    try:
        write_text(path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n{launch().identity}\n")
        remove_partial(path)
        manifest = read_manifest(path) if (path / MANIFEST).exists() else new_manifest()
        resolved = stored_settings(path / RESOLVED) if settings is None else settings
        run = Run(path, resolved, manifest, reporter, donors)
        run.save_manifest()
        if settings is not None:
            write_text(path / RESOLVED, dump_settings(settings))
        for killed in sorted(path.glob(f"{WORK}/**/*{EARLIER}")):
            run.put_back(killed.relative_to(path / WORK).as_posix().removesuffix(EARLIER))
        return run
    except OSError as error:
        raise unusable(error, path) from error


def join_run(path: Path) -> Run:
    """The run of process 0 for another process that was launched with it: without lock, and without writing.

    Raises:
        RunFolderError: process 0 of the same launch does not hold the run, or it is one of another version.
    """
    own = launch()
    deadline = time.monotonic() + PATIENCE
    while _held_for(path) != own.identity:
        if time.monotonic() > deadline:
            raise RunFolderError(
                f"{path} is not held by process 0 of this launch ({own.identity}) but by {_holder(path)}; "
                "start all processes together with torchrun"
            )
        time.sleep(0.1)
    run = read_run(path)
    run.rank = own.rank
    return run


def _held_for(path: Path) -> str:
    """The launch whose process 0 says that it holds the run; empty where none does."""
    try:
        return (path / HOLDER).read_text().splitlines()[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def read_run(path: Path) -> Run:
    """A run to look at, without its lock, also while another process works on it; execute nothing in it.

    Raises:
        RunFolderError: no such run, or one of another version.
    """
    _require_manifest(path)
    _refuse_links(path)
    return Run(path, stored_settings(path / RESOLVED), read_manifest(path))


def _require_manifest(path: Path) -> None:
    if not (path / MANIFEST).exists() or (path / MANIFEST).is_dir():
        raise RunFolderError(f"{path} is not a run folder (no {MANIFEST}); start one with `mmedpo run RECIPE`")


def _refuse_foreign(path: Path) -> None:
    """Leaves a folder alone that holds something else, before anything is written into it."""
    foreign = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if foreign and MANIFEST not in foreign:
        found = f"found {foreign[0]!r}"
        raise RunFolderError(f"{path} is not empty and not a run folder ({found}); choose another run name")


def _refuse_links(path: Path) -> None:
    """A run folder is made of its own files: a link in one that was received leads anywhere, a pipe never ends."""
    found = next(links_in(path), None)
    if found is not None and not found.is_symlink():
        raise RunFolderError(f"{found} is neither a file nor a folder (a pipe, a device); remove it")
    if found is not None:
        raise RunFolderError(f"{found} is a symbolic link; put the file it stands for in its place, or remove it")
    for file in (path / name for name in _IN_PLACE):
        if file.exists() and file.stat().st_nlink > 1:
            raise RunFolderError(f"{file} is one file with another (a hard link); put a copy in its place")


def _holder(path: Path) -> str:
    try:
        return (path / HOLDER).read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return "another process"
