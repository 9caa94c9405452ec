"""SLAKE: 14,028 questions in English and Chinese on 642 images (Liu et al., ISBI 2021; CC BY 4.0), as downloaded.

    train.json  validate.json  test.json  imgs/xmlab1/{source.jpg, mask.png, detection.json, question.json}

The archive unpacks into a folder of its own (`Slake1.0/`), and copies on the hub hold JSON Lines: both are read.
`detection.json` boxes organs and findings, `[{"Lung Left": [x, y, width, height]}, ...]`. Only findings are
lesions: their boxes ground the image, those of organs are kept apart. `mask.png` marks both by value, and
`mask.txt` beside the questions says which value is what; without it a mask becomes the lesion mask only where
nothing but findings was boxed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from mmedpo.clinical.labels import apart, names_organ
from mmedpo.config import Settings
from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble, closed_or_open, yes_no_choices
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text, find_base, find_entry
from mmedpo.errors import DataError, ImageError
from mmedpo.imaging.pictures import VALUES
from mmedpo.records import Box, ErrorType
from mmedpo.registry import register
from mmedpo.storage.paths import safe_join
from mmedpo.storage.rows import all_rows

_FILES = {
    split: tuple(f"{name}.{ending}" for name in spelled for ending in ("json", "jsonl"))
    for split, spelled in (
        ("train", ("train",)),
        ("validation", ("validate", "validation", "valid", "val")),
        ("test", ("test",)),
    )
}
"""Split to the names its file has: `validate.json` from the authors, `validation.json` or `.jsonl` on the hub."""
_CHINESE = re.compile(r"[\u4e00-\u9fff]")

_FOLDERS = ("imgs", "images")
_FOLDER = re.compile(r"[\w.-]{1,80}")
_ERROR_TYPES: dict[str, ErrorType] = {
    "abnormality": "abnormality",
    "modality": "modality",
    "plane": "plane",
    "organ": "organ",
    "position": "zone",
    "quantity": "count",
    "size": "size",
    "color": "attribute",
    "shape": "attribute",
}
_LEGEND = "mask.txt"
_LEGEND_LINE = re.compile(r"\s*(\d{1,5})\s*[:\uff1a]\s*(\S.*?)\s*")
_LEGEND_BYTES = 1 << 16


class SlakeSettings(Settings):
    """`data.slake.*`: SLAKE is bilingual."""

    languages: tuple[Literal["en", "zh"], ...] = Field(("en",), min_length=1)
    """Languages whose questions are read."""


@register("dataset", "slake")
class Slake:
    """Reader of the SLAKE folder."""

    name = "slake"
    data_use: DataUse = "open"
    licence = "CC-BY-4.0 (Liu et al. 2021)"
    settings = SlakeSettings

    def __init__(self, own: SlakeSettings | None = None) -> None:
        self.own = own or SlakeSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads the questions of the wanted languages; default split: official (disjoint by image).

        Raises:
            DataError: not the dataset's folder, or too little is usable.
            ConfigError: unknown split scheme.
        """
        base = find_base(root, _FILES["train"])
        folder = find_entry(root / base, _FOLDERS, folder=True).relative_to(root).as_posix()
        parsed, legend = Parsed(), _legend(root / base)
        languages = set(self.own.languages)
        other = 0
        for split, names in _FILES.items():
            file = find_entry(root / base, names, folder=False)
            for row in all_rows(file, DataError, "SLAKE records"):
                if isinstance(row.value, dict) and _language(row.value) not in languages:
                    other += 1
                    continue
                where = f"{file.name} row {row.number}"
                if row.fault:
                    parsed.drop(where, "not-a-record", f"{where}: {row.fault}")
                else:
                    _add(parsed, root, folder, row.value, split, where, legend)
        if other:
            chosen = ", ".join(sorted(languages))
            parsed.notes.append(f"{other} questions in another language than {chosen} were not read")
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def detection_boxes(raw: object) -> list[Box]:
    """Boxes of a `detection.json`; entries that are no box are skipped. Pure."""
    boxes = []
    for entry in raw if isinstance(raw, list) else []:
        for label, value in entry.items() if isinstance(entry, dict) else []:
            numbers = (
                [v for v in value if isinstance(v, (int, float)) and not isinstance(v, bool)]
                if isinstance(value, list)
                else []
            )
            if len(numbers) == 4 and numbers[2] > 0 and numbers[3] > 0 and all(abs(v) < 1e6 for v in numbers):
                x, y, width, height = (float(v) for v in numbers)
                boxes.append(Box(x0=x, y0=y, x1=x + width, y1=y + height, label=str(label)))
    return boxes


def read_legend(text: str) -> dict[int, str]:
    """What each value of the masks marks, from `mask.txt` (a line each, `value: name`). Pure."""
    found = (_LEGEND_LINE.fullmatch(line) for line in text.splitlines())
    return {int(line[1]): line[2] for line in found if line}


def _language(row: dict[str, Any]) -> str:
    """As the row tells it; some copies have lost the column."""
    told = as_text(row.get("q_lang"))
    return told or ("zh" if _CHINESE.search(as_text(row.get("question")) or "") else "en")


def _add(parsed: Parsed, root: Path, folder: str, row: Any, split: str, where: str, legend: Mapping[int, str]) -> None:
    if not isinstance(row, dict):
        parsed.drop(where, "not-a-record", f"{where} is a {type(row).__name__}, expected is an object")
        return
    qid, image = as_text(row.get("qid")), as_text(row.get("img_name"))
    question, answer = as_text(row.get("question")), as_text(row.get("answer"))
    if not qid or not image or not _FOLDER.fullmatch(qid) or question is None or answer is None:
        parsed.drop(where, "missing-key", f"{where} needs qid, img_name, question and answer as text")
        return
    told = (as_text(row.get("answer_type")) or "").casefold()
    answer_type = (
        closed_or_open(answer) if told not in ("closed", "open") else ("closed" if told == "closed" else "open")
    )
    marked = _grounding(root, folder, image, legend)
    parsed.add(
        Question(
            example_id=f"slake-{qid}",
            image=f"{folder}/{image}",
            question=question,
            answer=answer,
            answer_type=answer_type,
            split=split,
            error_type=_ERROR_TYPES.get((as_text(row.get("content_type")) or "").casefold(), "other"),
            choices=yes_no_choices(answer_type, answer),
            boxes=marked.boxes,
            annotated=bool(marked.boxes),
            mask_path=marked.mask_path,
            organs=marked.organs,
            organ_mask_path=marked.organ_mask_path,
            tags=_tags(row),
        )
    )


class _Marked(NamedTuple):
    """What an image's folder says of lesions and of organs."""

    boxes: tuple[Box, ...] = ()
    mask_path: str | None = None
    organs: tuple[Box, ...] = ()
    organ_mask_path: str | None = None


def _grounding(root: Path, folder: str, image: str, legend: Mapping[int, str]) -> _Marked:
    """Boxes and masks of an image, findings apart from organs."""
    parent = f"{folder}/{image.rsplit('/', 1)[0]}" if "/" in image else folder
    try:
        boxes = detection_boxes(json.loads(safe_join(root, f"{parent}/detection.json").read_bytes()))
        mask = f"{parent}/mask.png"
        masked = safe_join(root, mask).is_file()
    except (ImageError, OSError, ValueError, RecursionError):
        return _Marked()
    lesions, organs = apart(boxes)
    if not masked:
        return _Marked(lesions, None, organs, None)
    values = "+".join(str(value) for value, name in sorted(legend.items()) if not names_organ(name))
    of_lesions = f"{mask}{VALUES}{values}" if values else None if organs else mask
    return _Marked(lesions, of_lesions if lesions else None, organs, mask if organs else None)


def _legend(root: Path) -> dict[int, str]:
    try:
        with (root / _LEGEND).open("rb") as handle:
            return read_legend(handle.read(_LEGEND_BYTES).decode("utf-8-sig", errors="replace"))
    except OSError:
        return {}


def _tags(row: dict[str, Any]) -> tuple[str, ...]:
    organ, modality = as_text(row.get("location")) or "", as_text(row.get("modality")) or ""
    spelled = {"x-ray": "xray", "ct": "ct", "mri": "mri"}.get(modality.casefold(), modality.casefold())
    told = (
        f"organ:{organ.casefold().removesuffix('_cavity')}" if organ else "",
        f"modality:{spelled}" if modality else "",
        f"language:{_language(row)}",
        f"content:{(as_text(row.get('content_type')) or 'other').casefold()}",
    )
    return tuple(tag for tag in told if tag)
