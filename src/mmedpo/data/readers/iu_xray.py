"""IU-Xray / Open-i: chest radiographs with reports (Demner-Fushman et al., JAMIA 2016), in two layouts.

annotation.json + images/CXR1000_IM-0003/{0,1}.png      as prepared by R2Gen, with official splits
NLMCXR_png/*.png + ecgen-radiology/*.xml                as downloaded from Open-i, without splits
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text, find_entry
from mmedpo.data.report_text import ReportSettings, join_sections
from mmedpo.errors import DataError
from mmedpo.registry import register
from mmedpo.storage.splits import official_name

_ID = re.compile(r"[\w.-]{1,80}")
_PATIENT = re.compile(r"(CXR\d+)", re.IGNORECASE)
_XML_FOLDERS = ("ecgen-radiology", "NLMCXR_reports", "reports")
_PNG_FOLDERS = ("NLMCXR_png", "NLMCXR_dcm", "images")
_TAGS = ("organ:chest", "modality:xray")


@register("dataset", "iu-xray")
class IuXray:
    """Reader of either layout."""

    name = "iu-xray"
    data_use: DataUse = "open"
    licence = "CC-BY-NC-ND-4.0 (Open-i, National Library of Medicine)"
    group = "reports"
    settings = ReportSettings

    def __init__(self, own: ReportSettings | None = None) -> None:
        self.own = own or ReportSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads one question per study, on one image or all (data.reports.views); default split: official.

        R2Gen reports are one text (its findings); of raw reports the sections in data.reports.sections.

        Raises:
            DataError: neither layout, or too little is usable.
            ConfigError: unknown split scheme, or an official one for raw reports.
        """
        parsed = Parsed()
        if (root / "annotation.json").is_file():
            _read_r2gen(parsed, root, self.own)
        else:
            _read_open_i(parsed, root, self.own)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def _read_r2gen(parsed: Parsed, root: Path, settings: ReportSettings) -> None:
    file = root / "annotation.json"
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is not readable JSON ({error}); download it again") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{file} holds a {type(content).__name__}, expected are the splits train, val and test")
    for split, rows in content.items():
        for number, row in enumerate(rows if isinstance(rows, list) else []):
            where = f"{split} row {number}"
            study = as_text(row.get("id")) if isinstance(row, dict) else None
            images = row.get("image_path") if isinstance(row, dict) else None
            report = as_text(row.get("report")) if isinstance(row, dict) else None
            named = isinstance(images, list) and bool(images) and all(isinstance(i, str) and i for i in images)
            if not study or not _ID.fullmatch(study) or report is None or not named:
                parsed.drop(where, "missing-key", f"{where} needs id, report and image_path")
                continue
            assert isinstance(images, list)
            _add(parsed, study, [f"images/{name}" for name in images], report, official_name(split), settings)


def _read_open_i(parsed: Parsed, root: Path, settings: ReportSettings) -> None:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    folder = find_entry(root, _XML_FOLDERS, folder=True)
    pictures = find_entry(root, _PNG_FOLDERS, folder=True)
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise DataError(f"{folder} holds no *.xml; download the reports of Open-i")
    suffix = _suffix(pictures)
    for file in files:
        try:
            with file.open("rb") as handle:
                tree = parse(handle)
        except (ParseError, DefusedXmlException, OSError, ValueError) as error:
            parsed.drop(file.name, "unreadable-report", f"{file.name}: {type(error).__name__}")
            continue
        sections = {
            (node.get("Label") or "").casefold(): "".join(node.itertext()) for node in tree.iter("AbstractText")
        }
        identity = next((node.get("id") for node in tree.iter("uId")), None) or file.stem
        names = [node.get("id") for node in tree.iter("parentImage") if node.get("id")]
        if not names:
            parsed.drop(file.name, "no-image", f"{file.name} names no image")
            continue
        report = join_sections(sections, settings.sections)
        study = identity if _ID.fullmatch(identity) else file.stem
        _add(parsed, study, [f"{pictures.name}/{name}{suffix}" for name in names], report, "", settings)


def _add(parsed: Parsed, study: str, images: Sequence[str], report: str, split: str, settings: ReportSettings) -> None:
    patient = _PATIENT.match(study)
    parsed.add(
        Question(
            example_id=f"iu-xray-{study}",
            image=images[0],
            other_images=tuple(images[1:]) if settings.views == "all" else (),
            question=settings.question,
            answer=report.strip(),
            answer_type="report",
            split=split,
            patient_id=patient.group(1).upper() if patient else study,
            tags=(*_TAGS, f"views:{len(images)}"),
        )
    )


def _suffix(folder: Path) -> str:
    """Image names in the reports have no suffix."""
    files: Iterator[Any] = (p.suffix for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".dcm"))
    return str(next(files, ".png"))
