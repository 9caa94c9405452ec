"""Any preference file to canonical rows: one format per row layout, the files themselves through `storage.rows`."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmedpo.errors import ImageError, PreferenceFormatError, brief
from mmedpo.preferences.layout import (
    CARRIED,
    CARRIED_FIELDS,
    WEIGHTED,
    BadRow,
    KeepImage,
    PreferenceFormat,
    number_of,
    score_of,
)
from mmedpo.progress import Advance
from mmedpo.records import Drop, PreferenceRow
from mmedpo.registry import lookup, names
from mmedpo.storage.embedded import EmbeddedImages, name_of
from mmedpo.storage.held import Held
from mmedpo.storage.raw import RawRow
from mmedpo.storage.rows import iterate_rows
from mmedpo.storage.splits import official_name, split_in, split_named, split_told

EMBEDDED = "images"
"""Folder that images from inside a file are written to, named by their hash; below the output's own."""

_ID = re.compile(r"[\w.-]{1,160}")
_HEADS = 64
"""Rows from which the format is told."""
_DETAIL = 300
"""Characters that a drop tells of its row."""


@dataclass(frozen=True)
class RowsReading:
    """What a preference file held."""

    format: str
    """Registered name of its format."""
    rows: Held[PreferenceRow]
    """Rows as they are in the file, in its order."""
    drops: list[Drop] = field(default_factory=list)
    """Rows that are no preference, each with its reason; `item` is `row <number>`, counted from 0."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user, one sentence each."""
    numbers: array[int] = field(default_factory=lambda: array("q"))
    """Position in this file of each of `rows`, counted from 0."""
    embedded: EmbeddedImages | None = None
    """Where the images that lay inside the file were written; None where none did, or they were not wanted."""

    @property
    def total(self) -> int:
        """Rows of the file, readable or not."""
        return len(self.rows) + len(self.drops)

    def numbered(self) -> Held[PreferenceRow]:
        """The rows told by their place in this file, wherever they were imported from."""
        numbers = zip(self.rows, self.numbers, strict=True)
        return Held(PreferenceRow, (row.model_copy(update={"source_row": number}) for row, number in numbers))


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
        path: a file that `storage.rows` reads.
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
    raw_rows = iterate_rows(path, PreferenceFormatError, "preference rows")
    heads = list(islice(raw_rows, _HEADS))
    chosen = lookup("preference-format", format_name)() if format_name else _detect(path, heads)
    store = _ImageStore(images, None if extract is None else EmbeddedImages(extract, EMBEDDED))
    reading = RowsReading(chosen.name, Held(PreferenceRow), embedded=store.embedded)
    taken: set[str] = set()
    for raw in chain(heads, raw_rows):
        try:
            row = _parse(chosen, raw, store, path, taken)
            taken.add(row.row_id)
            reading.rows.append(row)
            reading.numbers.append(raw.number)
        except BadRow as bad:
            detail = brief(f"row {raw.number}: {bad}", _DETAIL)
            reading.drops.append(Drop(stage="preferences", item=f"row {raw.number}", reason=bad.reason, detail=detail))
        if progress is not None and raw.number % _HEADS == 0:
            progress(raw.number + 1, max(raw.number + 2, round((raw.number + 1) / max(raw.share, 1e-6))))
    if not reading.total:
        raise PreferenceFormatError(f"{path} holds no row; check the file")
    if progress is not None:
        progress(reading.total, reading.total)
    reading.notes.extend(_notes(reading, path))
    return reading


def _notes(reading: RowsReading, path: Path) -> Iterator[str]:
    if reading.drops:
        counts = Counter(drop.reason for drop in reading.drops).most_common()
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
        yield f"{len(reading.drops)} of {reading.total} rows are no preference: {reasons}"
    told = split_in(path.name)
    if told not in ("", "train"):
        yield f"the name of {path.name} says {told}; train on it only if that is meant"


def _parse(chosen: PreferenceFormat, raw: RawRow, store: _ImageStore, path: Path, taken: set[str]) -> PreferenceRow:
    if raw.fault:
        raise BadRow("malformed-row", raw.fault)
    if not isinstance(raw.value, Mapping):
        raise BadRow("malformed-row", f"a {type(raw.value).__name__}, not an object")
    try:
        carried = _carried(raw.value.get(CARRIED))
        row = _weighted(chosen.parse(raw.value, store.keeper(carried.get("image_paths"))), raw.value)
        row = _with_carried(row, carried)
    except ValidationError as error:
        raise BadRow("malformed-row", " ".join(error.errors()[0]["msg"].split())) from None
    if not _ID.fullmatch(row.row_id) or row.row_id in taken:
        row = row.model_copy(update={"row_id": _row_id(chosen, raw, row)})
    split = row.split or split_named(raw.group) or _told_split(raw.value)
    if split != row.split:
        row = row.model_copy(update={"split": split})
    if chosen.name != "mmedpo":
        row = row.model_copy(update={"source": f"{chosen.name}:{path.name}", "source_row": raw.number})
    return row


def _told_split(raw: Mapping[str, Any]) -> str:
    told = raw.get("split")
    return official_name(told)[:40] if isinstance(told, str) and told.strip() else split_told(raw)


def _weighted(row: PreferenceRow, raw: Mapping[str, Any]) -> PreferenceRow:
    """The row with its `weighted_score`, whichever layout it stands in; one that cannot be used is kept aside."""
    if WEIGHTED not in raw:
        return row
    score, why = score_of(raw, WEIGHTED)
    update: dict[str, object] = {"score": score, "unscored_reason": why}
    value = raw.get(WEIGHTED)
    if score is None and value is not None:
        kept = value if isinstance(value, (str, bool)) or number_of(value) is not None else str(value)[:40]
        update["extra"] = json.dumps({**json.loads(row.extra or "{}"), WEIGHTED: kept}, sort_keys=True)
    return row.model_copy(update=update)


def _row_id(chosen: PreferenceFormat, raw: RawRow, row: PreferenceRow) -> str:
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
    told = json.loads(row.extra or "{}").get(WEIGHTED)
    if fields["weight"] is not None and (row.score is not None or number_of(told) is not None):
        fields["weight"] = told if row.score is None else row.score
    elif row.score is not None:
        fields |= {"score": row.score, "unscored_reason": ""}
    elif told is not None:
        fields |= {"score": None, "unscored_reason": row.unscored_reason, "extra": row.extra}
    try:
        return PreferenceRow.model_validate({**row.model_dump(), **fields})
    except ValidationError:
        return row


def _detect(path: Path, heads: list[RawRow]) -> PreferenceFormat:
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
    if not objects:
        why = next((raw.fault for raw in heads if raw.fault), "they are no objects")
        raise PreferenceFormatError(f"{path}: none of the first {len(heads)} rows can be read ({why}); check the file")
    columns = ", ".join(sorted(brief(str(key), 40) for key in objects[0])[:12])
    raise PreferenceFormatError(
        f"{path} is of no known preference format (columns of the first row: {columns}); "
        f"name it with --format, known are {', '.join(names('preference-format'))}"
    )


class _ImageStore:
    """Images that lie inside a file: back to the files they were made from, if these are there, else by hash."""

    def __init__(self, folder: Path | None, embedded: EmbeddedImages | None) -> None:
        self.folder, self.embedded = folder, embedded

    def keep(self, content: bytes) -> str:
        """Writes the image and gives its relative path."""
        return name_of(content, EMBEDDED) if self.embedded is None else self.embedded.keep(content)

    def keeper(self, paths: object) -> KeepImage:
        """Where the images of one row go, whose originals a row of our own export names in their order."""
        if self.folder is None or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            return self.keep
        left = list(reversed(paths))

        def back(content: bytes) -> str:
            original = left.pop() if left else ""
            return original if original and self._is(original, content) else self.keep(content)

        return back

    def _is(self, original: str, content: bytes) -> bool:
        """True when the file is there and shows the same picture."""
        from mmedpo.imaging.images import MAX_PIXELS, read_image, split_frame
        from mmedpo.imaging.raster import read_raster
        from mmedpo.storage.paths import safe_join

        assert self.folder is not None
        try:
            file = safe_join(self.folder, split_frame(original)[0])
            if file.is_file() and file.stat().st_size == len(content) and file.read_bytes() == content:
                return True
            there, inside = read_image(self.folder, original), read_raster(content, MAX_PIXELS, None)
        except (ImageError, OSError):
            return False
        except Exception:
            # Decoders fail on damaged bytes in whatever way they happen to: not the same picture.
            return False
        return there.shape == inside.shape and bool((there == inside).all())


def require_rows(file: Path, reading: RowsReading) -> None:
    """Refuses to go on with nothing: an empty table would look like a success.

    Raises:
        PreferenceFormatError: no row was read; the commonest reasons.
    """
    if not reading.rows:
        why = "; ".join(reasons(reading.drops)[:2])
        raise PreferenceFormatError(f"{file}: none of its {reading.total} rows is a preference ({why})")


def reasons(drops: Sequence[Drop]) -> list[str]:
    """Every reason why rows were left out, in words, the commonest first."""
    counts = Counter(drop.reason for drop in drops)
    first = {drop.reason: drop.detail for drop in reversed(drops)}
    return [f"{count} {reason}; the first: {first[reason]}" for reason, count in counts.most_common()]
