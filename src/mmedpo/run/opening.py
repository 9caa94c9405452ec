"""Opening a run folder: with its lock, beside the process that holds it, or only to look at."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmedpo.config import RunSettings, dump_settings, load_settings
from mmedpo.errors import RunFolderError
from mmedpo.progress import Reporter, Silent
from mmedpo.run.disk import unusable
from mmedpo.run.folder import EARLIER, RESOLVED, Run
from mmedpo.run.manifest import MANIFEST, new_manifest, read_manifest
from mmedpo.storage.tables import write_text


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
    from filelock import FileLock, Timeout

    if settings is None:
        _require_manifest(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        _refuse_foreign(path)
        lock = FileLock(path / ".lock")
        lock.acquire(timeout=0)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{path} is a file, not a folder; choose another run name") from error
    except Timeout:
        raise RunFolderError(f"{path} is in use by {_holder(path)}; wait for it, or choose another run name") from None
    except OSError as error:
        raise unusable(error, path) from error
    try:
        write_text(path / ".holder", f"process {os.getpid()} on {socket.gethostname()}")
        manifest = read_manifest(path) if (path / MANIFEST).exists() else new_manifest()
        resolved = load_settings(path / RESOLVED) if settings is None else settings
        run = Run(path, resolved, manifest, reporter or Silent(), tuple(donors))
        run.save_manifest()
        if settings is not None:
            write_text(path / RESOLVED, dump_settings(settings))
        for killed in path.glob(f".work/*{EARLIER}"):
            run.put_back(killed.name.removesuffix(EARLIER))
        yield run
    finally:
        (path / ".holder").unlink(missing_ok=True)
        lock.release()


def join_run(path: Path, rank: int) -> Run:
    """The run of process 0 for another process that was started with it: without lock, and without writing.

    Raises:
        RunFolderError: no such run, or one of another version.
    """
    run = read_run(path)
    run.rank = rank
    return run


def read_run(path: Path) -> Run:
    """A run to look at, without its lock, also while another process works on it; execute nothing in it.

    Raises:
        RunFolderError: no such run, or one of another version.
    """
    _require_manifest(path)
    return Run(path, load_settings(path / RESOLVED), read_manifest(path))


def _require_manifest(path: Path) -> None:
    if not (path / MANIFEST).exists():
        raise RunFolderError(f"{path} is not a run folder (no {MANIFEST}); start one with `mmedpo run RECIPE`")


def _refuse_foreign(path: Path) -> None:
    """Leaves a folder alone that holds something else, before anything is written into it."""
    foreign = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if foreign and MANIFEST not in foreign:
        found = f"found {foreign[0]!r}"
        raise RunFolderError(f"{path} is not empty and not a run folder ({found}); choose another run name")


def _holder(path: Path) -> str:
    try:
        return (path / ".holder").read_text() or "another process"
    except OSError:
        return "another process"
