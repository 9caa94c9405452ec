"""MIMIC-CXR 2: chest radiographs in DICOM with free-text reports (Johnson et al. 2019), credentialed.

    cxr-record-list.csv.gz
    files/p10/p10000032/s50414267.txt                       report
    files/p10/p10000032/s50414267/<dicom_id>.dcm            images

The reports may also lie in `mimic-cxr-reports/`, as their archive unpacks. An official split is known where
`mimic-cxr-2.0.0-split.csv.gz` (of MIMIC-CXR-JPG) lies beside it. `mimic_cxr_jpg.py` reads the JPEG release
with the same steps.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TextIO, cast

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress
from mmedpo.data.report_text import ReportSettings, join_sections, report_sections
from mmedpo.errors import DataError, shown
from mmedpo.registry import register
from mmedpo.storage.paths import safe_join
from mmedpo.storage.splits import official_name
from mmedpo.storage.text import foreign

LICENCE = "PhysioNet Credentialed Health Data License 1.5.0: never to third parties"
FRONTAL = ("PA", "AP")

_NUMBER = re.compile(r"\d{1,12}")
_DICOM_ID = re.compile(r"[0-9a-fA-F-]{1,64}")
_MOST_BYTES = 1 << 30
_SHOWN = 8
"""Headings that a note names; the others are counted."""
_SPLIT = "mimic-cxr-2.0.0-split.csv"
_METADATA = "mimic-cxr-2.0.0-metadata.csv"
_RECORDS = "cxr-record-list.csv"
_LABELS = ("mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-2.0.0-negbio.csv")


@register("dataset", "mimic-cxr")
class MimicCxr:
    """Reader of the DICOM release."""

    name = "mimic-cxr"
    data_use: DataUse = "restricted"
    licence = LICENCE
    group = "reports"
    settings = ReportSettings

    def __init__(self, own: ReportSettings | None = None) -> None:
        self.own = own or ReportSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads one question per study; default split: official where its file is there, else drawn by patient.

        Raises:
            DataError: not the dataset's folder, or too little is usable.
            ConfigError: unknown split scheme, or an official one without its file.
        """
        parsed = read_studies(self.name, root, self.own, ".dcm", _RECORDS)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


@dataclass(frozen=True)
class _Image:
    dicom_id: str
    path: str
    view: str
    split: str


def read_studies(name: str, root: Path, settings: ReportSettings, suffix: str, listing: str) -> Parsed:
    """The studies of either release as questions.

    Args:
        name: registered name.
        root: folder with the listings and `files/`.
        settings: sections and views.
        suffix: of the images.
        listing: the csv (or csv.gz) that names every image.

    Raises:
        DataError: the listing is missing or unreadable.
    """
    splits = {row.get("dicom_id", ""): row.get("split", "") for row in _table(root, _SPLIT, needed=listing == _SPLIT)}
    views = {row.get("dicom_id", ""): row.get("ViewPosition", "") for row in _table(root, _METADATA)}
    labels = _findings(root)
    studies: dict[tuple[str, str], list[_Image]] = defaultdict(list)
    parsed = Parsed()
    for number, row in enumerate(_table(root, listing, needed=True)):
        subject, study, dicom = (row.get(key, "") for key in ("subject_id", "study_id", "dicom_id"))
        if not (_NUMBER.fullmatch(subject) and _NUMBER.fullmatch(study) and _DICOM_ID.fullmatch(dicom)):
            parsed.drop(
                f"{listing} row {number}", "bad-key", f"{listing} row {number}: {subject!r}, {study!r}, {dicom!r}"
            )
            continue
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}{suffix}"
        split = official_name(splits[dicom]) if splits.get(dicom) else ""
        studies[subject, study].append(_Image(dicom, path, views.get(dicom, "").upper(), split))
    unread: Counter[str] = Counter()
    for (subject, study), images in studies.items():
        unread.update(_add(name, parsed, root, subject, study, images, labels.get(study, ()), settings))
    parsed.notes += _unread_notes(unread)
    return parsed


def _unread_notes(unread: Counter[str]) -> list[str]:
    """What of the reports was not understood, or not there."""
    told = ", ".join(f"{shown(what)} ({count})" for what, count in unread.most_common(_SHOWN))
    more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return [f"not read of the reports: {told}{more}"] if unread else []


def _add(
    name: str,
    parsed: Parsed,
    root: Path,
    subject: str,
    study: str,
    images: Sequence[_Image],
    labels: Sequence[str],
    settings: ReportSettings,
) -> set[str]:
    """Adds a study; gives what of its report was not read."""
    text = _report(root, subject, study)
    if text is None:
        parsed.drop(f"{name}-{study}", "no-report", f"s{study}.txt is missing or not readable")
        return set()
    sections = report_sections(text)
    unread = {f"heading {heading}" for heading in sections.unread}
    answer = join_sections(sections.texts, settings.sections)
    if not answer:
        wanted = " or ".join(settings.sections)
        parsed.drop(f"{name}-{study}", "section-missing", f"s{study}.txt has no section {wanted}")
        return unread
    unread |= {f"no section {kind}" for kind in settings.sections if kind not in sections.texts}
    shown = _choose(images, settings.views)
    if not shown:
        parsed.drop(f"{name}-{study}", "no-frontal-view", f"study {study} has only {', '.join(i.view for i in images)}")
        return unread
    first, *others = shown
    tags = ["organ:chest", "modality:xray", *(f"finding:{label}" for label in labels)]
    if first.view:
        tags.append(f"view:{first.view.casefold()}")
    parsed.add(
        Question(
            example_id=f"{name}-{study}",
            image=first.path,
            other_images=tuple(image.path for image in others),
            question=settings.question,
            answer=answer,
            answer_type="report",
            split=first.split,
            patient_id=f"p{subject}",
            tags=tuple(tags),
        )
    )
    return unread


def _choose(images: Sequence[_Image], views: str) -> Sequence[_Image]:
    if views == "all":
        # What the tags say is said of the first; sorting keeps the order of the rest.
        return sorted(images, key=lambda image: FRONTAL.index(image.view) if image.view in FRONTAL else len(FRONTAL))
    if views == "frontal" and any(image.view for image in images):
        return [image for view in FRONTAL for image in images if image.view == view][:1]
    return images[:1]


def _report(root: Path, subject: str, study: str) -> str | None:
    relative = f"files/p{subject[:2]}/p{subject}/s{study}.txt"
    for name in (relative, f"mimic-cxr-reports/{relative}"):
        try:
            path = safe_join(root, name, "report", DataError)
            if path.is_file() and path.stat().st_size < 1 << 20:
                content = path.read_bytes()
                return None if foreign(content[:512]) else content.decode("utf-8", errors="replace")
        except (DataError, OSError):
            continue
    return None


def _findings(root: Path) -> dict[str, tuple[str, ...]]:
    """Study to the findings its report states (label 1.0), e.g. `edema`; empty without the label file."""
    for file in _LABELS:
        found = {}
        for row in _table(root, file):
            positive = [key for key, value in row.items() if value == "1.0" and key not in ("subject_id", "study_id")]
            found[row.get("study_id", "")] = tuple(key.casefold().replace(" ", "-") for key in sorted(positive))
        if found:
            return found
    return {}


def _table(root: Path, name: str, needed: bool = False) -> Iterator[Mapping[str, str]]:
    """Rows of `name` or `name.gz` below the root; nothing where it is missing and not needed."""
    file = next((root / n for n in (f"{name}.gz", name) if (root / n).is_file()), None)
    if file is None:
        if needed:
            raise DataError(f"{root} holds no {name}.gz; point to the folder as downloaded, with its csv.gz files")
        return
    read = 0
    try:
        with file.open("rb") as packed, _opened(packed, file.suffix) as handle:
            for row in csv.DictReader(handle):
                texts = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
                read += sum(len(value) for value in texts.values())
                if read > _MOST_BYTES:
                    raise DataError(f"{file} unpacks to more than {_MOST_BYTES:,} bytes; it is not the released file")
                yield texts
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); download it again") from error


def _opened(packed: IO[bytes], suffix: str) -> TextIO:
    plain = cast("IO[bytes]", gzip.GzipFile(fileobj=packed)) if suffix == ".gz" else packed
    return TextIOWrapper(plain, encoding="utf-8-sig", newline="")
