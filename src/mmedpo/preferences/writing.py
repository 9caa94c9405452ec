"""Canonical rows to any preference format, and what that format cannot hold.

Columns a format does not know travel under one key, `mmedpo`, which the programs that read the format
ignore and our own import takes back, so a round trip loses nothing. With `carry=False` the file holds
the format's own columns only, and the report lists what was lost.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mmedpo.errors import ImageError, PreferenceFormatError
from mmedpo.imaging.images import MAX_PIXELS, read_image
from mmedpo.imaging.pictures import png_bytes
from mmedpo.preferences.formats.llama_factory import dataset_info
from mmedpo.preferences.layout import CARRIED, CARRIED_FIELDS, BadRow, PreferenceFormat
from mmedpo.preferences.moving import Moving
from mmedpo.progress import Advance
from mmedpo.records import Drop, PreferenceRow
from mmedpo.registry import lookup
from mmedpo.storage.embedded import EmbeddedImages
from mmedpo.storage.held import Held
from mmedpo.storage.paths import safe_join
from mmedpo.storage.tables import atomic_path, write_table, write_text

_PIL_SAFE = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
_GROUP = 64
"""Rows per Parquet row group: what is held in memory with their images."""
_VALUE = {"dtype": "string", "_type": "Value"}
_TURNS = [{"role": _VALUE, "content": [{"type": _VALUE, "text": _VALUE}]}]


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what the target cannot hold."""

    written: int
    """Rows in the file."""
    left_out: list[Drop] = field(default_factory=list)
    """Rows the format cannot hold, or whose images are not readable where it needs them; each with its reason."""
    losses: list[str] = field(default_factory=list)
    """What the format's own programs do not read, or what was lost; one sentence each."""
    images: int = 0
    """Images written beside the file."""
    image_root: Path = Path()
    """Folder that image paths in the file are relative to."""


def export_rows(
    rows: Sequence[PreferenceRow],
    path: Path,
    format_name: str,
    image_root: Path,
    *,
    embedded: EmbeddedImages | None = None,
    carry: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Advance | None = None,
) -> ExportReport:
    """Writes rows in a format, atomically.

    Where images lay inside the file the rows come from, and the format does not hold them, all images are written
    below the folder of `path`, so that the names in it are relative to that.

    Args:
        rows: canonical rows.
        path: the file; its suffix must be one the format is written with.
        format_name: registered format.
        image_root: folder the rows' images are relative to; read only where the images must go along.
        embedded: where images that lay inside a file were written to; they are relative to that.
        carry: add the key `mmedpo` with what the format has no column for.
        max_pixels: largest image that is put into a file.
        progress: called every few rows.

    Raises:
        PreferenceFormatError: a suffix the format is not written with, or no row can be written.
        ConfigError: unknown format.
    """
    target = _target(format_name, path)
    left_out: list[Drop] = []
    fitting = Held(PreferenceRow, (row for row in rows if _fits(target, row, left_out)))
    moving = Moving(image_root, embedded, path.parent)
    report = partial(ExportReport, left_out=left_out, losses=_losses(target, fitting, carry))
    if target.embeds:
        embedder = _Embedder(moving, max_pixels)
        return report(_write_embedding(fitting, path, target, embedder, carry, left_out, progress))
    if path.suffix.lower() == ".parquet":
        moved = Held(PreferenceRow, (row for row, _ in _moved(fitting, moving, left_out, progress)))
        if fitting and not moved:
            raise _nothing(target, left_out)
        write_table(path, PreferenceRow, moved)
        written = len(moved)
    else:
        written = _write_json(_rendered(fitting, target, carry, moving, left_out, progress), path, target, left_out)
    if format_name == "llama-factory" and written:
        _announce(path)
    return report(written, images=len(moving.names), image_root=moving.root)


def _target(format_name: str, path: Path) -> PreferenceFormat:
    target: PreferenceFormat = lookup("preference-format", format_name)()
    if path.suffix.lower() not in _writable(target):
        allowed = ", ".join(_writable(target))
        raise PreferenceFormatError(f"{path.name}: {format_name} is written to {allowed}; change the suffix")
    return target


def render_row(target: PreferenceFormat, row: PreferenceRow, carry: bool) -> dict[str, Any]:
    """One row in the target's columns, with what it has no column for under `mmedpo` when `carry`."""
    raw = target.render(row)
    if carry and target.name != "mmedpo":
        raw[CARRIED] = carried_fields(row)
    return raw


def carried_fields(row: PreferenceRow) -> dict[str, Any]:
    """The fields of a row that formats have no column for; empty ones are left out."""
    fields = row.model_dump(mode="json", include=set(CARRIED_FIELDS))
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _writable(target: PreferenceFormat) -> tuple[str, ...]:
    if target.embeds:
        return (".parquet",)
    return target.suffixes if target.name == "mmedpo" else tuple(s for s in target.suffixes if s != ".parquet")


def _fits(target: PreferenceFormat, row: PreferenceRow, left_out: list[Drop]) -> bool:
    reason = ""
    if row.pair_type not in target.pair_types:
        reason, detail = "rejected-image-not-held", f"{target.name} has no column for the image of a rejected side"
    elif target.most_images is not None and len(row.images) > target.most_images:
        reason, detail = (
            "several-images-not-held",
            f"{len(row.images)} images, {target.name} holds {target.most_images}",
        )
    if reason:
        left_out.append(_drop(row, reason, detail))
    return not reason


def _write_json(raws: Iterator[dict[str, Any]], path: Path, target: PreferenceFormat, left_out: list[Drop]) -> int:
    lines = path.suffix.lower() == ".jsonl"
    start, between, end = ("", "\n", "\n") if lines else ("[\n", ",\n", "\n]\n")
    count = 0
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8") as handle:
        for raw in raws:
            handle.write((between if count else start) + json.dumps(raw, ensure_ascii=False))
            count += 1
        if not count:
            raise _nothing(target, left_out)
        handle.write(end)
    return count


def _rendered(
    rows: Sequence[PreferenceRow],
    target: PreferenceFormat,
    carry: bool,
    moving: Moving,
    left_out: list[Drop],
    progress: Advance | None,
) -> Iterator[dict[str, Any]]:
    def render(row: PreferenceRow) -> dict[str, Any]:
        return render_row(target, row, carry)

    yield from (raw for _, raw in _moved(rows, moving, left_out, progress, render))


def _moved(
    rows: Sequence[PreferenceRow],
    moving: Moving,
    left_out: list[Drop],
    progress: Advance | None,
    render: Callable[[PreferenceRow], dict[str, Any]] = lambda _: {},
) -> Iterator[tuple[PreferenceRow, dict[str, Any]]]:
    """(row, rendered) of every row that can be written; its images are where the file will name them."""
    for number, row in enumerate(rows):
        try:
            render(row)  # before its images are written
            moved = moving.row(row)
            yield moved, render(moved)
        except BadRow as bad:
            left_out.append(_drop(row, bad.reason, str(bad)))
        except ImageError as bad:
            left_out.append(_drop(row, "unreadable-image", str(bad)))
        if progress is not None and (number % _GROUP == 0 or number + 1 == len(rows)):
            progress(number + 1, len(rows))


def _write_embedding(
    rows: Sequence[PreferenceRow],
    path: Path,
    target: PreferenceFormat,
    embedder: _Embedder,
    carry: bool,
    left_out: list[Drop],
    progress: Advance | None,
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(target, carry)
    count = 0
    with atomic_path(path) as unfinished:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for start in range(0, len(rows), _GROUP):
                batch = []
                for row in rows[start : start + _GROUP]:
                    try:
                        batch.append(_embedded(render_row(target, row, carry), target, embedder))
                    except (BadRow, ImageError) as bad:
                        reason = bad.reason if isinstance(bad, BadRow) else "unreadable-image"
                        left_out.append(_drop(row, reason, str(bad)))
                if batch:
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema), row_group_size=_GROUP)
                count += len(batch)
                if progress is not None:
                    progress(min(start + _GROUP, len(rows)), len(rows))
        if not count:
            raise _nothing(target, left_out)
    return count


def _embedded(raw: dict[str, Any], target: PreferenceFormat, embedder: _Embedder) -> dict[str, Any]:
    if CARRIED in raw:
        names = raw.get("images", [raw.get("image")])
        # Where the images lay, so that a round trip finds the same paths again.
        raw[CARRIED] = json.dumps({**raw[CARRIED], "image_paths": names})
    for column in ("images", "image"):
        if column in raw:
            value = raw[column]
            raw[column] = [embedder.image(p) for p in value] if isinstance(value, list) else embedder.image(value)
    return raw


class _Embedder:
    """Image files to what PIL decodes anywhere: 8-bit PNG and JPEG as they are, everything else as 8-bit PNG."""

    def __init__(self, moving: Moving, max_pixels: int) -> None:
        self.home, self.max_pixels = moving.home, max_pixels
        self.last: tuple[str, dict[str, Any]] = ("", {})

    def image(self, relative: str) -> dict[str, Any]:
        if self.last[0] != relative:  # rows of one image usually follow each other
            self.last = (relative, {"bytes": self._content(relative), "path": PurePosixPath(relative).name})
        return self.last[1]

    def _content(self, relative: str) -> bytes:
        from PIL import Image

        root = self.home(relative)
        pixels = read_image(root, relative, max_pixels=self.max_pixels)
        suffix = PurePosixPath(relative).suffix.lower()
        if suffix in _PIL_SAFE:
            content = safe_join(root, relative).read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                plain = image.mode in ("L", "RGB") and image.getexif().get(0x0112, 1) == 1
            if plain:
                return content
        return png_bytes(pixels)


def _schema(target: PreferenceFormat, carry: bool) -> Any:
    """Arrow schema with the features that `datasets` reads (in the notation all its versions know)."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    turns = pa.list_(
        pa.struct(
            [("role", pa.string()), ("content", pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())])))]
        )
    )
    if target.name == "trl":
        columns = {"prompt": turns, "chosen": turns, "rejected": turns, "images": pa.list_(image)}
        features: dict[str, Any] = {"prompt": _TURNS, "chosen": _TURNS, "rejected": _TURNS, "images": [_image()]}
    else:
        texts = ("ds_name", "text", "origin_dataset", "origin_split", "image_path")
        columns = {**{name: pa.string() for name in texts}, "image": image, "idx": pa.int64()}
        features = {**dict.fromkeys(texts, _VALUE), "image": _image(), "idx": {"dtype": "int64", "_type": "Value"}}
    if carry:
        columns[CARRIED] = pa.string()
        features[CARRIED] = _VALUE
    told = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": told})


def _image() -> dict[str, str]:
    return {"_type": "Image"}


def _announce(path: Path) -> None:
    info = path.with_name("dataset_info.json")
    entry = json.loads(dataset_info(path.stem, path.name))
    if info.exists():
        try:
            known = json.loads(info.read_text())
            entry = {**known, **entry}
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise PreferenceFormatError(f"{info} is not a JSON object; mend or remove it") from error
    write_text(info, json.dumps(entry, indent=1) + "\n")


def _losses(target: PreferenceFormat, rows: Sequence[PreferenceRow], carry: bool) -> list[str]:
    counts = Counter(name for row in rows for name in target.unread if getattr(row, name) not in (None, "", ()))
    where = f"kept under {CARRIED!r}, which its programs do not read" if carry else "lost"
    lines = [f"{name} of {count} rows: {target.name} has no column for it; {where}" for name, count in counts.items()]
    if not carry and target.name != "mmedpo":
        others = Counter(name for row in rows for name in carried_fields(row) if name not in (*target.unread, "row_id"))
        if target.name in ("mmedpo-json", "benchmark-json"):
            del others["score"], others["unscored_reason"]
            both = sum(row.score is not None and row.weight is not None for row in rows)
            if both:
                lines.append(f"score of {both} rows: only the weight is written; lost")
            del others["weight"]
        lines += [f"{name} of {count} rows: {target.name} has no column for it; lost" for name, count in others.items()]
    return lines


def _nothing(target: PreferenceFormat, left_out: Sequence[Drop]) -> PreferenceFormatError:
    first = f"; the first: {left_out[0].detail}" if left_out else ""
    counts = ", ".join(f"{n} {reason}" for reason, n in Counter(drop.reason for drop in left_out).most_common())
    return PreferenceFormatError(f"no row can be written as {target.name} ({counts or 'there are no rows'}{first})")


def _drop(row: PreferenceRow, reason: str, detail: str) -> Drop:
    return Drop(stage="export", item=row.row_id, reason=reason, detail=detail)
