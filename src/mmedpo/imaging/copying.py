"""A folder of DICOM files copied without identifiers: every file is written once, refused or counted, never lost."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmedpo.errors import DataError, ImageError
from mmedpo.imaging.deidentify import Copy, deidentify
from mmedpo.imaging.dicom_pixels import NoPicture
from mmedpo.imaging.formats import is_dicom
from mmedpo.progress import Advance
from mmedpo.storage.tables import write_bytes

_LARGEST = 4 << 30
"""Bytes of a file that is read as a whole."""
_SUFFIXES = (".dcm", ".dicom")


@dataclass
class Copied:
    """What became of every file of a folder."""

    written: int = 0
    """Files that lie in the target now, each under a name of its own."""
    other: int = 0
    """Files that hold no DICOM image: other formats, reports, directories."""
    repeated: int = 0
    """Files that are the same, byte for byte, as one that was written."""
    refused: list[str] = field(default_factory=list)
    """Files that were left out, each with its reason."""
    notes: list[str] = field(default_factory=list)
    """What was written and yet is worth a look: missing or shared identity."""


def copy_deidentified(source: Path, target: Path, salt: str, advance: Advance) -> Copied:
    """Copies every DICOM image below a folder.

    Args:
        source: folder of the files; links in it are not followed.
        target: folder for the copies, made when it is missing.
        salt: secret that identifiers are hashed with.
        advance: called after every file.

    Raises:
        DataError: no such folder, the target lies in it, or it cannot be written to.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; give the folder of the DICOM files")
    if target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target} lies in {source}; choose a folder elsewhere for the copies")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, 0, error) from error
    result = Copied()
    copying = _Copying(target, salt, result)
    files = list(_files(source, result))
    for number, path in enumerate(files):
        copying.copy(path, str(path.relative_to(source)))
        advance(number + 1, len(files))
    return result


def _files(source: Path, result: Copied) -> Iterator[Path]:
    """Regular files in a fixed order; what cannot be looked into and what is a link is refused, not passed over."""

    def refuse(error: OSError) -> None:
        result.refused.append(f"{os.path.relpath(error.filename, source)} cannot be listed ({error.strerror})")

    for folder, folders, names in os.walk(source, onerror=refuse):
        folders.sort()
        for name in sorted([*names, *folders]):
            path = Path(folder, name)
            try:
                if path.is_symlink():
                    result.refused.append(
                        f"{path.relative_to(source)} is a link; links are not followed, copy the file"
                    )
                elif path.is_file():
                    yield path
                elif not path.is_dir():
                    result.other += 1
            except OSError as error:
                result.refused.append(f"{path.relative_to(source)} cannot be read ({error.strerror}); check rights")


class _Copying:
    """One call: what was written under which name, and what is to be told."""

    def __init__(self, target: Path, salt: str, result: Copied) -> None:
        self.target, self.salt, self.result = target, salt, result
        self.made_from: dict[str, tuple[str, str]] = {}
        """Name in the target to the file it was made from, and that file's hash."""

    def copy(self, path: Path, shown: str) -> None:
        """Writes, counts or refuses one file."""
        try:
            content = _read(path)
            if is_dicom(content) or path.suffix.lower() in _SUFFIXES:
                self._copy(content, shown)
            else:
                self.result.other += 1
        except NoPicture:
            self.result.other += 1
        except ImageError as error:
            self.result.refused.append(f"{shown} {error}")

    def _copy(self, content: bytes, shown: str) -> None:
        result, digest = self.result, hashlib.sha256(content).hexdigest()
        made = deidentify(content, self.salt)
        note = "" if made.instance else f"{shown} has no SOPInstanceUID; one was made from its content"
        if made.name in self.made_from and self.made_from[made.name][1] != digest:
            first = self.made_from[made.name][0]
            note = f"{shown} shares its SOPInstanceUID with {first}; it was given one of its own"
            made = deidentify(content, self.salt, own_identity=True)
        if made.name in self.made_from:
            result.repeated += 1
            result.notes.append(f"{shown} is the same file as {self.made_from[made.name][0]}; written once")
            return
        self._write(made, shown)
        self.made_from[made.name] = (shown, digest)
        result.written += 1
        result.notes += [note] if note else []

    def _write(self, made: Copy, shown: str) -> None:
        """Writes a copy unless another instance lies there under its name, from an earlier call with the same salt."""
        path = self.target / made.name
        try:
            if path.exists() and path.read_bytes() != made.content:
                raise ImageError(f"would replace another file, {path}; choose an empty folder")
            write_bytes(path, made.content)
        except OSError as error:
            raise _unwritable(self.target, self.result.written, error) from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise ImageError(f"has more than {_LARGEST >> 30} GB; split it into series")
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or 'too large'}); check rights") from error


def _unwritable(target: Path, written: int, error: OSError) -> DataError:
    before = f", {written} files were written before" if written else ""
    return DataError(f"{target} cannot be written to ({error.strerror}){before}; choose another folder or make room")
