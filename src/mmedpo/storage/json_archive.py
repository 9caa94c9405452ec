"""JSON objects that lie one by one in a folder of a zip archive, and such an archive written.

Nothing is unpacked: every part is counted before it is inflated, and names of parts are no paths here.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmedpo.errors import MMedPOError, brief, shown
from mmedpo.storage.bounds import LONGEST_ROW, Expansion
from mmedpo.storage.json_rows import parsed
from mmedpo.storage.raw import RawRow
from mmedpo.storage.tables import atomic_path

_WHEN = (1980, 1, 1, 0, 0, 0)
"""The same content is the same bytes."""


def archived_rows(path: Path, folder: str, error: type[MMedPOError], otherwise: str) -> Iterator[RawRow]:
    """Every `.json` of one folder of an archive, in the archive's order; of parts with one name the last stands.

    Args:
        path: the archive.
        folder: name of the folder.
        error: raised, with one clear line, when the archive as a whole cannot be read.
        otherwise: what to do with an archive that is packed in another way.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = Expansion(path.stat().st_size, str(path), error)
            parts = {info.filename: info for info in archive.infolist()}
            names = [name for name in parts if name.startswith(f"{folder}/") and name.endswith(".json")]
            for number, name in enumerate(names):
                info = parts[name]
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise error(f"{path} is packed by zip method {info.compress_type}, which is not read; {otherwise}")
                if info.file_size > LONGEST_ROW:
                    raise error(f"{path}: {shown(name)} has {info.file_size:,} bytes, more than {LONGEST_ROW:,}")
                held.add(info.file_size)
                row = parsed(archive.read(info).decode("utf-8"))
                yield RawRow(number, row.value, row.fault)
    except OSError as problem:
        raise error(
            f"{path} cannot be read ({problem.strerror or type(problem).__name__}); check path and rights"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as problem:
        raise error(f"{path} is no readable archive ({brief(str(problem), 100)}); {otherwise}") from None


def write_archive(path: Path, parts: Iterable[tuple[str, str]]) -> None:
    """Writes an archive of texts under their names, deflated, atomically."""
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts:
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
