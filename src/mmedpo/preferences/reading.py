"""Any preference file to canonical rows: one reader for JSON, JSONL and Parquet, one format per row layout."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mmedpo.errors import ImageError, PreferenceFormatError
from mmedpo.imaging.formats import image_suffix
from mmedpo.imaging.images import safe_join
from mmedpo.preferences.layout import CARRIED, CARRIED_FIELDS, BadRow, KeepImage, PreferenceFormat
from mmedpo.progress import Advance
from mmedpo.records import Drop, PreferenceRow
from mmedpo.registry import lookup, names
from mmedpo.storage.files import read_json_rows
from mmedpo.storage.tables import write_bytes

SUFFIXES = (".json", ".jsonl", ".parquet")
EMBEDDED = "images"
"""Folder, below the image folder, that images from inside a file are written to, named by their hash."""

_ID = re.compile(r"[\w.-]{1,160}")
_BATCH = 64


@dataclass(frozen=True)
class RowsReading:
    """What a preference file held."""

    format: str
    """Registered name of its format."""
    rows: list[PreferenceRow]
    """Rows as they are in the file, in its order."""
    drops: list[Drop] = field(default_factory=list)
    """Rows that are no preference, each with its reason; `item` is `row <number>`, counted from 0."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user, one sentence each."""
    numbers: list[int] = field(default_factory=list)
    """Position in this file of each of `rows`, counted from 0."""

    @property
    def total(self) -> int:
        """Rows of the file, readable or not."""
        return len(self.rows) + len(self.drops)


class _Raw(NamedTuple):
    number: int
    value: Any
    fault: str


def read_rows(
    path: Path,
    format_name: str = "",
    images: Path | None = None,
    *,
    extract: Path | None = None,
    progress: Advance | None = None,
) -> RowsReading:
    """Reads a preference file as it is; nothing is cleaned or joined.

    Args:
        path: `.json` (a list), `.jsonl` or `.parquet`.
        format_name: registered format; empty to tell it from the first rows' columns.
        images: folder the rows' images are relative to; where a file of our own export holds images, their
            originals are sought there.
        extract: folder that images inside the file are written to (as `images/<hash>`); None forgets their
            bytes, and such rows name files that may not exist.
        progress: called every few rows.

    Raises:
        PreferenceFormatError: unreadable, of no known format, or without a single row.
        ConfigError: unknown format.
    """
    raw_rows = list(_iterate(path)) if path.suffix.lower() != ".parquet" else None
    chosen = lookup("preference-format", format_name)() if format_name else _detect(path, raw_rows)
    store = _ImageStore(images, extract)
    reading = RowsReading(chosen.name, [])
    taken: set[str] = set()
    total = _count(path, raw_rows)
    for raw in raw_rows if raw_rows is not None else _iterate(path):
        try:
            row = _parse(chosen, raw, store, path, taken)
            taken.add(row.row_id)
            reading.rows.append(row)
            reading.numbers.append(raw.number)
        except BadRow as bad:
            detail = f"row {raw.number}: {bad}"[:300]
            reading.drops.append(Drop(stage="preferences", item=f"row {raw.number}", reason=bad.reason, detail=detail))
        if progress is not None and (raw.number % _BATCH == 0 or raw.number + 1 == total):
            progress(raw.number + 1, total)
    if not reading.total:
        raise PreferenceFormatError(f"{path} holds no row; check the file")
    if reading.drops:
        counts = Counter(drop.reason for drop in reading.drops).most_common()
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
        reading.notes.append(f"{len(reading.drops)} of {reading.total} rows are no preference: {reasons}")
    return reading


def _parse(chosen: PreferenceFormat, raw: _Raw, store: _ImageStore, path: Path, taken: set[str]) -> PreferenceRow:
    if raw.fault:
        raise BadRow("malformed-row", raw.fault)
    if not isinstance(raw.value, Mapping):
        raise BadRow("malformed-row", f"a {type(raw.value).__name__}, not an object")
    try:
        carried = _carried(raw.value.get(CARRIED))
        row = _with_carried(chosen.parse(raw.value, store.keeper(carried.get("image_paths"))), carried)
    except ValidationError as error:
        raise BadRow("malformed-row", " ".join(error.errors()[0]["msg"].split())) from None
    if not _ID.fullmatch(row.row_id) or row.row_id in taken:
        row = row.model_copy(update={"row_id": _row_id(chosen, raw, row)})
    if chosen.name != "mmedpo":
        row = row.model_copy(update={"source": f"{chosen.name}:{path.name}", "source_row": raw.number})
    return row


def _row_id(chosen: PreferenceFormat, raw: _Raw, row: PreferenceRow) -> str:
    # Ids become file names further on, so nothing but letters, digits, dot, dash and underscore is kept.
    extra = json.loads(row.extra) if row.extra else {}
    given = next((extra[key] for key in ("id", "idx") if extra.get(key) is not None), None)
    label = "" if given is None else "-" + re.sub(r"[^\w.-]", "_", str(given))[:80]
    return f"{chosen.name.removesuffix('-json')}-{raw.number}{label}"


def _carried(value: object) -> Mapping[str, Any]:
    """Fields that the format has no column for, as our own export put them into the row."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _with_carried(row: PreferenceRow, carried: Mapping[str, Any]) -> PreferenceRow:
    """The row as our own export had it; where the file has a number of its own, somebody may have changed it."""
    if not carried:
        return row
    # Our export leaves empty fields out.
    fields = {name: carried.get(name, PreferenceRow.model_fields[name].get_default()) for name in CARRIED_FIELDS}
    fields["row_id"] = carried.get("row_id", "")
    if row.score is not None and fields["weight"] is not None:
        fields["weight"] = row.score
    elif row.score is not None:
        fields |= {"score": row.score, "unscored_reason": ""}
    try:
        return PreferenceRow.model_validate({**row.model_dump(), **fields})
    except ValidationError:
        return row


def _iterate(path: Path) -> Iterator[_Raw]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        for number, value in enumerate(read_json_rows(path, PreferenceFormatError, "preference rows")):
            yield _Raw(number, value, "")
    elif suffix == ".jsonl":
        yield from _lines(path)
    elif suffix == ".parquet":
        yield from _batches(path)
    else:
        raise PreferenceFormatError(f"{path} has the suffix {suffix!r}, readable are {', '.join(SUFFIXES)}; convert it")


def _lines(path: Path) -> Iterator[_Raw]:
    try:
        with path.open("rb") as handle:
            number = 0
            for line in handle:
                if line.strip():
                    try:
                        yield _Raw(number, json.loads(line), "")
                    except (ValueError, RecursionError) as problem:
                        yield _Raw(number, None, f"not JSON ({problem})")
                    number += 1
    except OSError as problem:
        raise PreferenceFormatError(f"{path} cannot be read ({problem.strerror}); check path and rights") from problem


def _batches(path: Path) -> Iterator[_Raw]:
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for value in batch.to_pylist():
                    yield _Raw(number, value, "")
                    number += 1
    except FileNotFoundError as problem:
        raise PreferenceFormatError(f"{path} cannot be read ({problem.strerror}); check path and rights") from problem
    except Exception as problem:
        # Arrow fails on damaged files in whatever way it happens to; all of it means "unreadable".
        why = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise PreferenceFormatError(f"{path} is not a readable Parquet table ({why}); write it again") from problem


def _count(path: Path, raw_rows: list[_Raw] | None) -> int:
    if raw_rows is not None:
        return len(raw_rows)
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def _detect(path: Path, raw_rows: list[_Raw] | None) -> PreferenceFormat:
    heads = raw_rows[:_BATCH] if raw_rows is not None else [raw for raw, _ in zip(_iterate(path), range(8))]  # noqa: B905
    if not heads:
        raise PreferenceFormatError(f"{path} holds no row; check the file")
    known = [lookup("preference-format", name)() for name in names("preference-format")]
    objects = [raw.value for raw in heads if isinstance(raw.value, Mapping)]
    for head in objects:
        found: list[PreferenceFormat] = [kind for kind in known if kind.recognises(head)]
        if len(found) > 1 and any(kind.name == "mmedpo-json" for kind in found):
            every = all(kind.recognises(other) for kind in found for other in objects)
            found = [kind for kind in found if (kind.name == "mmedpo-json") != every]
        if found:
            return found[0]
    columns = ", ".join(sorted(str(key) for key in objects[0])[:12]) if objects else "none"
    raise PreferenceFormatError(
        f"{path} is of no known preference format (columns of the first row: {columns}); "
        f"name it with --format, known are {', '.join(names('preference-format'))}"
    )


class _ImageStore:
    """Writes images that lie inside a file, each once, under the hash of their bytes."""

    def __init__(self, folder: Path | None, extract: Path | None) -> None:
        self.folder, self.extract = folder, extract

    def keeper(self, paths: object) -> KeepImage:
        """Where the images of one row go: to the files they were made from, if these are there, else by hash."""
        if self.folder is None or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            return self.keep
        try:
            known = all(safe_join(self.folder, path).is_file() for path in paths)
        except (ImageError, OSError):
            return self.keep
        left = list(reversed(paths))
        return (lambda content: left.pop() if left else self.keep(content)) if known else self.keep

    def keep(self, content: bytes) -> str:
        """Writes the image and gives its relative path."""
        suffix = image_suffix(content)
        relative = f"{EMBEDDED}/{hashlib.sha256(content).hexdigest()}{suffix}"
        if self.extract is not None and not (self.extract / relative).exists():
            write_bytes(self.extract / relative, content)
        return relative
