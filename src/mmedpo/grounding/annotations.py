"""Annotation files: our JSON, CSV (ours, RSNA's and NIH's columns), COCO; boxes, polygons, masks.

One `Marked` per image. Boxes of one image from several rows are joined. What a row does not say is not
guessed: without a box and without a word on being normal, an image is *not annotated*.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmedpo.clinical.labels import apart
from mmedpo.errors import GroundingError
from mmedpo.grounding.runlength import Runs, read_runs
from mmedpo.records import Box

NORMAL_CLASS = "Normal"
"""RSNA class that says a radiologist looked and found nothing."""
NO_FINDING = ("No Finding",)
"""NIH labels of a film whose report names nothing; text-mined, so weaker than `NORMAL_CLASS`."""
_NIH_BOX = re.compile(r"bbox", re.IGNORECASE)
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))
_FILES = ("file", "file_name", "image", "image_id", "Image Index", "patientId", "path")
_LABELS = ("label", "class_name", "Finding Label", "category")
_PATIENTS = ("patient_id", "patientId", "Patient ID")
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".dcm")


class Marked(NamedTuple):
    """What annotators said of one image."""

    file: str
    """As the annotation file spells it, forward slashes; not yet trusted as a path."""
    boxes: tuple[Box, ...]
    """Pixels of an image of `width` x `height`."""
    polygons: tuple[tuple[float, ...], ...] = ()
    """Outlines x0, y0, x1, y1, ... (COCO)."""
    runs: tuple[Runs, ...] = ()
    """Run-length masks (COCO), of the picture's own size."""
    outlined: tuple[Box, ...] = ()
    """Those of the boxes of which `polygons` or `runs` say more."""
    mask: str = ""
    """Mask file relative to the annotation file's folder; empty without."""
    width: int | None = None
    """Width of the image that the boxes are drawn on; None when not told."""
    height: int | None = None
    patient: str = ""
    """Patient, for splits and intervals; the file's name where nothing is told."""
    projection: str = ""
    """`pa`, `ap`, another view in lower case, or empty."""
    normal: bool = False
    """Known to hold no lesion."""
    looked_at: bool = False
    """Somebody looked for lesions: empty boxes then mean none of this kind."""
    organs: tuple[Box, ...] = ()
    """Boxes that an organ's label makes no lesion (`mmedpo.clinical.labels`)."""

    @property
    def lesion(self) -> bool:
        """Whether anything is marked."""
        return bool(self.boxes or self.polygons or self.runs or self.mask)


def read_annotations(path: Path) -> list[Marked]:
    """Every image of an annotation file, in the order of first mention.

    Raises:
        GroundingError: missing, unreadable, of another layout, or a row that cannot be used; it names the row.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        marked = _from_table(path)
    elif path.suffix.lower() == ".json":
        content = _json(path)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            marked = list(_from_coco(content, path))
        else:
            marked = list(_from_list(content, path))
    else:
        raise GroundingError(
            f"annotations {path.name} end in {path.suffix!r}; allowed: .json (a list, or COCO), .csv, .tsv"
        )
    return _joined(marked)


def _json(path: Path) -> Any:
    if not path.is_file():  # a pipe or device might never end
        raise GroundingError(f"annotations {path} are not a file; give a JSON or CSV file")
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise GroundingError(f"cannot read the annotations {path}: {_short(error)}; give a JSON or CSV file") from error


def _from_list(content: Any, path: Path) -> Iterator[Marked]:
    if not isinstance(content, list):
        raise GroundingError(f"annotations {path} hold a {type(content).__name__}; allowed: a list of objects, or COCO")
    for place, row in enumerate(content):
        where = f"annotations {path}, entry {place}"
        file = next((row[key] for key in _FILES if row.get(key)), "") if isinstance(row, dict) else ""
        if not isinstance(file, str) or not file:
            raise GroundingError(f"{where}: needs the key file and, where there is a lesion, boxes or mask")
        boxes = row.get("boxes") or []
        if not isinstance(boxes, list):
            raise GroundingError(f"{where}: boxes is a {type(boxes).__name__}; allowed: a list of {{xyxy, label}}")
        said = row.get("rsna_class")
        findings, organs = apart(_box(raw, file) for raw in boxes)
        normal = not findings and (row.get("normal") is True or said == NORMAL_CLASS)
        yield Marked(
            file=file,
            boxes=findings,
            mask=str(row.get("mask") or ""),
            width=_whole(row.get("width")),
            height=_whole(row.get("height")),
            patient=_patient(row, file),
            projection=_projection(row),
            normal=normal or (not findings and not said and tuple(row.get("nih_labels") or ()) == NO_FINDING),
            looked_at=bool(findings) or bool(said) or normal,
            organs=organs,
        )


def _box(raw: Any, file: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(number) for number in raw["xyxy"])
        label = str(raw.get("label", "") or "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GroundingError(f"{file}: box {_short(raw)} is not usable; allowed: {{xyxy: [x0, y0, x1, y1]}}") from error
    return _checked(x0, y0, x1, y1, label, file)


def _checked(x0: float, y0: float, x1: float, y1: float, label: str, where: str) -> Box:
    numbers = (x0, y0, x1, y1)
    if not all(abs(number) < 1e7 for number in numbers) or x1 <= x0 or y1 <= y0:
        raise GroundingError(
            f"{where}: box {[round(number, 2) for number in numbers]} has no area; allowed: x0 < x1, y0 < y1, pixels"
        )
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, label=label)


def _from_table(path: Path) -> list[Marked]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GroundingError(f"cannot read the annotations {path}: {_short(error)}; save it as UTF-8") from error
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    if not table:
        raise GroundingError(f"annotations {path} are empty; the first line names the columns")
    names = [name.strip() for name in table[0]]
    return [
        _table_row(names, [cell.strip() for cell in cells], f"annotations {path}, row {place}")
        for place, cells in enumerate(table[1:])
        if any(cell.strip() for cell in cells)
    ]


def _table_row(names: list[str], cells: list[str], where: str) -> Marked:
    row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    file = next((row[key] for key in _FILES if key in row), "")
    if not file:
        raise GroundingError(f"{where}: no file named; allowed columns: {', '.join(_FILES)}")
    label = next((row[key] for key in _LABELS if key in row), "")
    corners = _table_corners(names, cells, row, where)
    boxes, organs = apart(() if corners is None else (_checked(*corners, label, where),))
    return Marked(
        file=file,
        boxes=boxes,
        mask=row.get("mask", ""),
        width=_whole(row.get("image_width")),
        height=_whole(row.get("image_height")),
        patient=_patient(row, file),
        projection=_projection(row),
        normal=not boxes
        and (row.get("rsna_class") == NORMAL_CLASS or row.get("normal", "").casefold() in ("true", "1")),
        looked_at=not organs,
        organs=organs,
    )


def _table_corners(
    names: list[str], cells: list[str], row: Mapping[str, str], where: str
) -> tuple[float, float, float, float] | None:
    """Corners by name, else x, y, width, height by name, else NIH's four cells from `Bbox [x` on; None without."""
    try:
        for keys in _CORNERS:
            if all(key in row for key in keys):
                x0, y0, x1, y1 = (float(row[key]) for key in keys)
                return x0, y0, x1, y1
        if all(key in row for key in ("x", "y", "width", "height")):
            x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
            return x, y, x + width, y + height
        start = next((place for place, name in enumerate(names) if _NIH_BOX.match(name)), None)
        if start is not None and len(cells) >= start + 4:
            x, y, width, height = (float(cell) for cell in cells[start : start + 4])
            return x, y, x + width, y + height
    except ValueError as error:
        raise GroundingError(f"{where}: {_short(error)}; coordinates are numbers in pixels") from error
    return None


def _from_coco(content: Mapping[str, Any], path: Path) -> Iterator[Marked]:
    try:
        names = {row["id"]: str(row["name"]) for row in content.get("categories", [])}
        images = {row["id"]: row for row in content["images"]}
        for row in images.values():
            file = str(row["file_name"])
            size = _whole(row.get("width")), _whole(row.get("height"))
            yield Marked(file, (), width=size[0], height=size[1], patient=_patient(row, file), looked_at=True)
        for row in content["annotations"]:
            image = images[row["image_id"]]
            file, label = str(image["file_name"]), names.get(row.get("category_id"), "")
            x, y, width, height = (float(number) for number in row["bbox"])
            drawn, runs = _outlines(row.get("segmentation"), f"annotations {path}, {file}")
            findings, organs = apart((_checked(x, y, x + width, y + height, label, file),))
            yield Marked(
                file,
                findings,
                drawn if findings else (),
                runs if findings else (),
                findings if drawn or runs else (),
                width=_whole(image.get("width")),
                height=_whole(image.get("height")),
                patient=_patient(image, file),
                looked_at=True,
                organs=organs,
            )
    except (KeyError, TypeError, ValueError) as error:
        raise GroundingError(f"annotations {path} are not COCO: {type(error).__name__} {_short(error)}") from error


def _outlines(told: Any, where: str) -> tuple[tuple[tuple[float, ...], ...], tuple[Runs, ...]]:
    """Polygons and run-length masks of an annotation."""
    if isinstance(told, dict):
        return (), (read_runs(told, where),)
    return tuple(tuple(float(number) for number in outline) for outline in told or ()), ()


def _joined(marked: Iterable[Marked]) -> list[Marked]:
    """One entry per file: boxes and outlines of all its rows, and what any of them says of the image."""
    found: dict[str, Marked] = {}
    for one in marked:
        file = PurePosixPath(one.file.replace("\\", "/")).as_posix()
        before = found.get(file)
        if before is None:
            found[file] = one._replace(file=file)
            continue
        boxes = tuple(dict.fromkeys((*before.boxes, *one.boxes)))
        found[file] = before._replace(
            boxes=boxes,
            polygons=before.polygons + one.polygons,
            runs=before.runs + one.runs,
            outlined=before.outlined + one.outlined,
            organs=tuple(dict.fromkeys((*before.organs, *one.organs))),
            mask=before.mask or one.mask,
            normal=(before.normal or one.normal) and not boxes,
            looked_at=before.looked_at or one.looked_at,
            projection=before.projection or one.projection,
        )
    return list(found.values())


def _patient(row: Mapping[str, Any], file: str) -> str:
    told = next((row[key] for key in _PATIENTS if row.get(key) not in (None, "")), None)
    return str(told) if told is not None else PurePosixPath(file).stem


def _projection(row: Mapping[str, Any]) -> str:
    told = row.get("view") or row.get("projection") or row.get("View Position") or row.get("ViewPosition") or ""
    return str(told).strip().casefold()


def _whole(value: Any) -> int | None:
    try:
        number = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 else None


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 120 else text[:117] + "..."
