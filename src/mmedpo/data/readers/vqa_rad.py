"""VQA-RAD: 2,248 questions on 315 radiological images (Lau et al., Scientific Data 2018; CC0), as downloaded.

Two split schemes:

- `image-disjoint` (default): train, validation and test share neither an image nor a case.
- `official`: test = the rows whose phrase_type starts with `test_`, the rest is train. Nearly all of
  its test images occur in training; a note says how many, so that nobody reads memory as sight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from mmedpo.data.assemble import DISJOINT, Parsed, Question, assemble, check_scheme, yes_no_choices
from mmedpo.data.dataset import (
    DatasetReading,
    DatasetSettings,
    DataUse,
    Progress,
    as_text,
    find_entry,
)
from mmedpo.errors import DataError
from mmedpo.linking import linked
from mmedpo.records import AnswerType, Drop, ErrorType
from mmedpo.registry import register
from mmedpo.storage.rows import all_rows

ANNOTATIONS = ("VQA_RAD Dataset Public.json",)
"""Blanks, underscores, hyphens and case do not matter (OSF and its mirrors differ in them)."""
IMAGE_FOLDERS = ("VQA_RAD Image Folder", "images")

_REQUIRED = ("qid", "phrase_type", "image_name", "question", "answer", "answer_type")

ERROR_TYPES: dict[str, ErrorType] = {
    "PRES": "presence",
    "PRSE": "presence",  # spelled so once in the release, as is ATRIB
    "ABN": "abnormality",
    "MODALITY": "modality",
    "PLANE": "plane",
    "ORGAN": "organ",
    "COUNT": "count",
    "SIZE": "size",
    "ATTRIB": "attribute",
    "ATRIB": "attribute",
    "COLOR": "attribute",
}
"""What the annotators' `question_type` asks for; positions are told apart by the question."""
_ID = re.compile(r"[\w.-]{1,80}")
"""Ids become file names further on."""
_CASE = re.compile(r"[?&]id=([^&#\s]+)")
_SIDE = re.compile(r"\b(left|right|bilateral(ly)?|both|unilateral)\b", re.IGNORECASE)

_ORGANS = {"CHEST": "chest", "HEAD": "head", "ABD": "abdomen"}
_MODALITIES = {"chest": "xray", "abdomen": "ct"}
"""Lau et al. chose only X-rays of the chest and CTs of the abdomen; the head has both CT and MRI."""


@register("dataset", "vqa-rad")
class VqaRad:
    """Reader of the VQA-RAD folder: the JSON beside its image folder."""

    name = "vqa-rad"
    data_use: DataUse = "open"
    licence = "CC0-1.0 (Lau et al. 2018; images from MedPix)"

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads all questions, indexes every image once and assigns the split.

        Raises:
            DataError: no such folder, no annotation file or image folder in it, too few usable records,
                or a split that is left empty.
            ConfigError: unknown split scheme.
        """
        check_scheme(self.name, settings)
        annotations = find_entry(root, ANNOTATIONS, folder=False)
        folder = find_entry(root, IMAGE_FOLDERS, folder=True).name
        raw = all_rows(annotations, DataError, "VQA-RAD records")
        rows, drops = parse_rows([row.value for row in raw], {row.number: row.fault for row in raw if row.fault})
        parsed = Parsed(drops=drops)
        for row, case in zip(rows, merged_cases(rows), strict=True):
            parsed.add(_question(row, f"{folder}/{row.image_name}", case))
        return assemble(self.name, root, parsed, settings, progress, default=DISJOINT, redraw=True)


@dataclass(frozen=True)
class Row:
    """One usable question before its image was looked at."""

    example_id: str
    """`vqa-rad-<qid>`."""
    image_name: str
    """As annotated; not yet trusted."""
    case: str
    """Id of the MedPix case; empty when the row names none."""
    question: str
    answer: str
    answer_type: AnswerType
    error_type: ErrorType
    phrase: str
    """`freeform` or `para` (paraphrased), without the prefix `test_`."""
    official_test: bool
    organ: str
    """`chest`, `head`, `abdomen`, or as annotated; empty when not annotated."""


def parse_rows(rows: Sequence[Any], faults: Mapping[int, str] = MappingProxyType({})) -> tuple[list[Row], list[Drop]]:
    """Checks and cleans the annotation file's rows; `faults` are those of rows that could not be parsed. Pure.

    Drop reasons: `not-a-record`, `missing-key`, `bad-key`, `question-not-text`, `empty-question`,
    `answer-not-text`, `empty-answer`, `unknown-answer-type`, `duplicate-id`.
    """
    kept: list[Row] = []
    drops: list[Drop] = []
    seen: set[str] = set()
    for number, row in enumerate(rows):
        where = f"row {number}"
        fault = faults.get(number)
        parsed = _drop(where, "not-a-record", f"{where}: {fault}") if fault else _parse(row, where)
        if isinstance(parsed, Row) and parsed.example_id in seen:
            parsed = _drop(parsed.example_id, "duplicate-id", f"row {number} repeats the qid of an earlier row")
        if isinstance(parsed, Drop):
            drops.append(parsed)
        else:
            seen.add(parsed.example_id)
            kept.append(parsed)
    return kept, drops


def error_type_of(question_type: str, question: str, answer: str) -> ErrorType:
    """What a question asks for, from its annotated type.

    Of several types (`PRES, POS`) the first counts. A question for a position (`POS`) is a question of
    `side` when its answer names one (left, right, both, bilateral), or, for a plain yes or no, when the
    question does; any other position is a `zone`.
    """
    first = question_type.split(",")[0].strip().upper()
    if first == "POS":
        told = question if answer.casefold() in ("yes", "no") else answer
        return "side" if _SIDE.search(told) else "zone"
    return ERROR_TYPES.get(first, "other")


def merged_cases(rows: Sequence[Row]) -> list[str | None]:
    """The patient id of every row: its case, where cases that share an image are one.

    Five images of the release carry several case ids that differ only in a counted-up last digit.
    """
    keys = [[(0, row.case), (1, row.image_name)] if row.case else [(1, row.image_name)] for row in rows]
    return [name if kind == 0 else None for kind, name in linked(keys)]


def _parse(row: object, where: str) -> Row | Drop:
    if not isinstance(row, dict):
        return _drop(where, "not-a-record", f"{where} is a {type(row).__name__}, expected is an object")
    missing = [key for key in _REQUIRED if row.get(key) is None]
    if missing:
        return _drop(where, "missing-key", f"{where} lacks {', '.join(missing)}")
    qid, question, answer = as_text(row["qid"]), as_text(row["question"]), as_text(row["answer"])
    image_name = as_text(row["image_name"])
    if not qid or not _ID.fullmatch(qid) or not image_name:
        return _drop(where, "bad-key", f"{where}: qid {row['qid']!r} or image_name {row['image_name']!r} is no name")
    name = f"vqa-rad-{qid}"
    if question is None:
        return _drop(name, "question-not-text", f"{where}: the question is a {type(row['question']).__name__}")
    if not question:
        return _drop(name, "empty-question", f"{where} asks nothing")
    if answer is None:
        return _drop(name, "answer-not-text", f"{where}: the answer is a {type(row['answer']).__name__}")
    if not answer:
        return _drop(name, "empty-answer", f"{where} has a question but no answer")
    answer_type = (as_text(row["answer_type"]) or "").casefold()  # "CLOSED " occurs
    if answer_type not in ("closed", "open"):
        return _drop(name, "unknown-answer-type", f"{where}: {row['answer_type']!r}, known are CLOSED and OPEN")
    phrase = (as_text(row["phrase_type"]) or "").casefold()
    organ = as_text(row.get("image_organ")) or ""
    return Row(
        example_id=name,
        image_name=image_name,
        case=_case_id(as_text(row.get("image_case_url")) or ""),
        question=question,
        answer=answer,
        answer_type=cast(AnswerType, answer_type),
        error_type=error_type_of(as_text(row.get("question_type")) or "", question, answer),
        phrase=phrase.removeprefix("test_"),
        official_test=phrase.startswith("test_"),
        organ=_ORGANS.get(organ.upper(), organ.casefold()),
    )


def _case_id(url: str) -> str:
    """`https://medpix.nlm.nih.gov/case?id=ID` to ID; another text stands for itself."""
    found = _CASE.search(url)
    return found.group(1) if found else url


def _question(row: Row, image: str, case: str | None) -> Question:
    tags = [f"phrase:{row.phrase}"]
    if row.organ:
        tags.insert(0, f"organ:{row.organ}")
    if row.organ in _MODALITIES:
        tags.append(f"modality:{_MODALITIES[row.organ]}")
    return Question(
        example_id=row.example_id,
        image=image,
        question=row.question,
        answer=row.answer,
        answer_type=row.answer_type,
        error_type=row.error_type,
        split="test" if row.official_test else "train",
        choices=yes_no_choices(row.answer_type, row.answer),
        patient_id=case,
        tags=tuple(tags),
    )


def _drop(item: str, reason: str, detail: str) -> Drop:
    return Drop(stage="data", item=item, reason=reason, detail=detail)
