"""Small generated folders in the exact layout of every dataset: the inputs of the contract test."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imaging.dicom_files import dicom_bytes, dicom_dataset
from mmedpo.config import DataSettings
from mmedpo.data.dataset import Dataset, DatasetSettings, make_dataset

IMAGES = 12


def pixels(number: int, size: int = 24) -> np.ndarray:
    """A picture of its own for every number."""
    return np.random.default_rng([7, number]).integers(0, 256, (size, size), dtype=np.uint8)


def write_image(path: Path, number: int) -> None:
    """PNG or JPEG by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path)


def encoded(number: int) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, "PNG")
    return buffer.getvalue()


def split_name(number: int) -> str:
    """Of twelve images: eight to train, two each to validation and test."""
    return "train" if number < 8 else "validation" if number < 10 else "test"


def vqa_rad(root: Path) -> None:
    rows = []
    for n in range(IMAGES):
        write_image(root / "VQA_RAD Image Folder" / f"synpic{n}.jpg", n)
        rows.append(
            {
                "qid": n,
                "phrase_type": "test_freeform" if n >= 10 else "freeform",
                "image_case_url": f"https://medpix.nlm.nih.gov/case?id=c{n}",
                "image_name": f"synpic{n}.jpg",
                "image_organ": "CHEST",
                "question": "Is there a mass?",
                "question_type": "PRES",
                "answer": "Yes" if n % 2 else "No",
                "answer_type": "CLOSED ",
            }
        )
    (root / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))


def slake(root: Path) -> None:
    files: dict[str, list[Any]] = {"train": [], "validate": [], "test": []}
    for n in range(IMAGES):
        folder = root / "imgs" / f"xmlab{n}"
        write_image(folder / "source.jpg", n)
        write_image(folder / "mask.png", n)
        label = "Lung Cancer" if n == 1 else "Left Lung"
        (folder / "detection.json").write_text(json.dumps([{label: [2.0, 3.0, 5.0, 6.0]}]))
        (folder / "question.json").write_text("[]")
        row = {
            "img_id": n,
            "img_name": f"xmlab{n}/source.jpg",
            "question": "Is the lung healthy?",
            "answer": "Yes" if n % 2 else "No",
            "q_lang": "en",
            "location": "Lung",
            "modality": "X-Ray",
            "answer_type": "CLOSED",
            "base_type": "vqa",
            "content_type": "Abnormality",
            "triple": ["vhead", "_", "_"],
            "qid": n,
        }
        name = {"validation": "validate"}.get(split_name(n), split_name(n))
        files[name].append(row)
        files[name].append({**row, "qid": 100 + n, "q_lang": "zh", "question": "肺部健康吗？", "answer": "是"})
    for name, rows in files.items():
        (root / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def path_vqa(root: Path) -> None:
    (root / "data").mkdir(parents=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("question", pa.string()), ("answer", pa.string())])
    for split in ("train", "validation", "test"):
        rows = [
            {
                "image": {"bytes": encoded(n), "path": None},
                "question": "is this benign?",
                "answer": "yes" if n % 2 else "no",
            }
            for n in range(IMAGES)
            if split_name(n) == split
        ]
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001-0123abcd.parquet")


def path_vqa_json(root: Path) -> None:
    for split in ("train", "val", "test"):
        rows = []
        for n in range(IMAGES):
            if split_name(n)[:3] == split[:3]:
                write_image(root / "images" / split / f"{split}_{n}.jpg", n)
                rows.append({"image": f"{split}_{n}", "question": "is this benign?", "answer": "yes"})
        (root / f"{split}_qa.json").write_text(json.dumps(rows))


def iu_xray(root: Path) -> None:
    content: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for n in range(IMAGES):
        study = f"CXR{n}_IM-000{n}-1001"
        for view in (0, 1):
            write_image(root / "images" / study / f"{view}.png", 10 * n + view)
        row = {
            "id": study,
            "report": f"The heart is normal in size. Case {n}.",
            "image_path": [f"{study}/0.png", f"{study}/1.png"],
            "split": split_name(n)[:5],
        }
        content["val" if split_name(n) == "validation" else split_name(n)].append(row)
    (root / "annotation.json").write_text(json.dumps(content))


def open_i(root: Path) -> None:
    (root / "ecgen-radiology").mkdir(parents=True)
    for n in range(IMAGES):
        name = f"CXR{n}_1_IM-000{n}-1001"
        write_image(root / "NLMCXR_png" / f"{name}.png", n)
        (root / "ecgen-radiology" / f"{n}.xml").write_text(
            f'<?xml version="1.0"?><eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>'
            f'<AbstractText Label="COMPARISON">None.</AbstractText>'
            f'<AbstractText Label="FINDINGS">The lungs are clear. Case {n}.</AbstractText>'
            f'<AbstractText Label="IMPRESSION">No acute disease.</AbstractText>'
            f'</Abstract></Article></MedlineCitation><parentImage id="{name}"><caption>x</caption></parentImage>'
            "</eCitation>"
        )


def _gzip_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _mimic(root: Path, jpeg: bool) -> None:
    split, metadata, records, labels = [], [], [], []
    for n in range(IMAGES):
        subject, study = f"1000{n:04d}", f"5000{n:04d}"
        folder = root / "files" / f"p{subject[:2]}" / f"p{subject}"
        for view, position in enumerate(("LATERAL", "PA")):
            dicom = f"{n:08x}-{view:08x}-0-0-0"
            target = folder / f"s{study}" / f"{dicom}.{'jpg' if jpeg else 'dcm'}"
            if jpeg:
                write_image(target, 10 * n + view)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(dicom_bytes(dicom_dataset(pixels(10 * n + view).astype(np.uint16) * 16)))
            name = {"validation": "validate"}.get(split_name(n), split_name(n))
            key = {"dicom_id": dicom, "subject_id": subject, "study_id": study}
            split.append({**key, "split": name})
            metadata.append({**key, "ViewPosition": position, "Rows": 24, "Columns": 24})
            records.append({**key, "path": target.relative_to(root).as_posix()})
        labels.append({"subject_id": subject, "study_id": study, "Edema": "1.0", "Pneumonia": "-1.0"})
        (folder / f"s{study}.txt").write_text(
            "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n"
            f" INDICATION:  ___F with\n cough.\n\n FINDINGS: \n \n The lungs are clear.  Case {n}.\n\n"
            " IMPRESSION: \n \n No acute process.\n"
        )
    _gzip_csv(root / "mimic-cxr-2.0.0-split.csv.gz", split)
    _gzip_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", metadata)
    _gzip_csv(root / "mimic-cxr-2.0.0-chexpert.csv.gz", labels)
    if not jpeg:
        _gzip_csv(root / "cxr-record-list.csv.gz", records)


def mimic_cxr(root: Path) -> None:
    _mimic(root, jpeg=False)


def mimic_cxr_jpg(root: Path) -> None:
    _mimic(root, jpeg=True)


def llava_med(root: Path) -> None:
    lines = []
    for n in range(IMAGES):
        write_image(root / "images" / f"{n}.jpg", n)
        lines.append(
            json.dumps(
                {
                    "question_id": n,
                    "image": f"{n}.jpg",
                    "text": "Is this an MRI?\n<image>",
                    "gpt4_answer": "yes" if n % 2 else "no",
                    "answer_type": "CLOSED",
                }
            )
        )
    (root / "questions.jsonl").write_text("\n".join(lines))


def _table_rows() -> list[dict[str, str]]:
    return [
        {"file": f"pictures/{n}.png", "ask": "Is it big?", "truth": "yes", "part": split_name(n), "who": f"p{n}"}
        for n in range(IMAGES)
    ]


def table_csv(root: Path) -> None:
    for n in range(IMAGES):
        write_image(root / "pictures" / f"{n}.png", n)
    with (root / "questions.csv").open("w", newline="", encoding="utf-8-sig") as handle:
        writer = csv.DictWriter(handle, list(_table_rows()[0]))
        writer.writeheader()
        writer.writerows(_table_rows())


def table_jsonl(root: Path) -> None:
    for n in range(IMAGES):
        write_image(root / "pictures" / f"{n}.png", n)
    (root / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in _table_rows()))


def hugging_face(root: Path) -> None:
    """A dataset saved to disk: one folder per split, Arrow streams, images inside."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("question", pa.string()), ("answer", pa.string())])
    (root).mkdir(parents=True, exist_ok=True)
    (root / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    for split in ("train", "validation", "test"):
        folder = root / split
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text("{}")
        rows = [
            {"image": {"bytes": encoded(n), "path": f"{n}.png"}, "question": "Is it big?", "answer": "no"}
            for n in range(IMAGES)
            if split_name(n) == split
        ]
        with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as out:
            out.write_table(pa.Table.from_pylist(rows, schema=schema))


@dataclass(frozen=True)
class Layout:
    """One dataset as its users have it."""

    dataset: str
    write: Callable[[Path], None]
    report: bool = False
    restricted: bool = False
    official: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


_COLUMNS = {"image": "file", "question": "ask", "answer": "truth", "split": "part", "patient_id": "who"}
LAYOUTS = {
    "vqa-rad": Layout("vqa-rad", vqa_rad),
    "slake": Layout("slake", slake),
    "path-vqa parquet": Layout("path-vqa", path_vqa),
    "path-vqa json": Layout("path-vqa", path_vqa_json),
    "iu-xray r2gen": Layout("iu-xray", iu_xray, report=True),
    "iu-xray open-i": Layout("iu-xray", open_i, report=True, official=False),
    "mimic-cxr": Layout("mimic-cxr", mimic_cxr, report=True, restricted=True),
    "mimic-cxr-jpg": Layout("mimic-cxr-jpg", mimic_cxr_jpg, report=True, restricted=True),
    "llava-med": Layout("llava-med", llava_med, official=False),
    "table csv": Layout("table", table_csv, settings={"table": {"columns": _COLUMNS}}),
    "table jsonl": Layout("table", table_jsonl, settings={"table": {"columns": _COLUMNS, "file": "questions.jsonl"}}),
    "hugging face": Layout("table", hugging_face),
}


def settings_of(layout: Layout, **changes: Any) -> DatasetSettings:
    """What the reader is told of this layout; twelve images leave no room for a third drawn part."""
    return DatasetSettings.model_validate({"fractions": (0.5, 0.0, 0.5), **changes})


def dataset_of(layout: Layout, **groups: Any) -> Dataset:
    """The dataset with what a user gives in its own group: `slake={"languages": ["zh"]}`."""
    return make_dataset(DataSettings.model_validate({"dataset": layout.dataset, **layout.settings, **groups}))
