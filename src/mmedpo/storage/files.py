"""Files and folders as wholes: their content in one hash, moved or shared in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmedpo.errors import ConfigError
from mmedpo.storage.tables import PARTIAL, atomic_path, partial_name

SAFETENSORS_PARTIAL = ".tmp" + "[A-Za-z0-9]" * 6
"""What safetensors writes a file under, beside its name, before it renames it."""


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of a folder's files (hidden ones left out)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in _files(path):
            digest.update(f"{file.relative_to(path).as_posix()}\0{hash_path(file)}\n".encode())
    else:
        with path.open("rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def hash_input(path: Path) -> str:
    """SHA-256 of a file that a setting names.

    Raises:
        ConfigError: it is not there.
    """
    if not path.exists():
        raise ConfigError(f"file {path} does not exist; check the recipe or --set")
    return hash_path(path)


def stamp_path(path: Path) -> str:
    """Hash of names, sizes and modification times: cheap, and another one when the content is changed."""
    digest = hashlib.sha256()
    for file in _files(path) if path.is_dir() else [path]:
        status = file.stat()
        digest.update(f"{file.relative_to(path).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def links_in(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is neither a file nor a folder: symbolic links, pipes, devices; none is opened."""
    waiting = [folder]
    while waiting:
        # Read to its end at once: whoever asks for the first alone leaves no folder open.
        with os.scandir(waiting.pop()) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def holds_link(path: Path) -> bool:
    """Whether a path is, or its folder holds, something that is neither a file nor a folder."""
    return path.is_symlink() or (path.is_dir() and next(links_in(path), None) is not None)


def move(source: Path, target: Path) -> None:
    """Puts a file or folder in the place of another one, on the same file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def share(source: Path, target: Path) -> None:
    """Makes a finished file or folder appear elsewhere too, whole; hard links where the file system has them."""
    if source.is_dir():
        staging = partial_name(target)
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(source, staging, copy_function=_link)
        move(staging, target)
    else:
        with atomic_path(target) as partial:
            _link(str(source), str(partial))


def remove_partial(folder: Path) -> None:
    """Removes what processes that died had begun to write below a folder; nobody else may be writing there."""
    for left in sorted([*folder.rglob(f".*{PARTIAL}*"), *folder.rglob(SAFETENSORS_PARTIAL)]):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _link(source: str, target: str) -> None:
    """Links a finished file (files of a run are replaced whole, never changed in place), or copies it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
