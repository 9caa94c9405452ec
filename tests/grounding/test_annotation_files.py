"""Annotation files as users have them: our JSON, RSNA's and NIH's CSV, COCO, masks, DICOM segmentations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.errors import GroundingError
from mmedpo.grounding.annotations import read_annotations
from mmedpo.grounding.grounder import About
from mmedpo.grounding.marking import lesion_mask
from mmedpo.grounding.tools.boxes import BoxesGrounder, BoxesSettings
from mmedpo.records import Box

IMAGE = np.full((40, 60), 90, dtype=np.uint8)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def ask(file: Path, path: str, image: np.ndarray = IMAGE):  # type: ignore[no-untyped-def]
    return BoxesGrounder.from_settings(BoxesSettings(file=file)).ground(image, about=About(path=path))


RSNA = "patientId,x,y,width,height,Target\na,10,20,15,5,1\na,40,20,5,5,1\nb,,,,,0\n"
NIH = "Image Index,Finding Label,Bbox [x,y,w,h],,,,\nimg/a.png,Mass,10.0,20.0,15.0,5.0,,\n"
OURS = "file,x0,y0,x1,y1,label,view,patient_id\na.png,10,20,25,25,Mass,PA,7\n"
COCO = {
    "images": [{"id": 3, "file_name": "a.png", "width": 60, "height": 40}, {"id": 4, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "Mass"}],
    "annotations": [{"image_id": 3, "category_id": 1, "bbox": [10, 20, 15, 5]}],
}
JSON = [{"file": "a.png", "boxes": [{"xyxy": [10, 20, 25, 25], "label": "Mass"}], "patient_id": 7, "view": "PA"}]


@pytest.mark.parametrize(
    ("name", "content"), [("r.csv", RSNA), ("n.csv", NIH), ("o.csv", OURS), ("c.json", COCO), ("j.json", JSON)]
)
def test_every_layout_gives_the_same_first_box(tmp_path: Path, name: str, content: object) -> None:
    row = read_annotations(write(tmp_path / name, content))[0]
    box = row.boxes[0]
    assert (box.x0, box.y0, box.x1, box.y1) == (10, 20, 25, 25)
    assert row.looked_at
    region = ask(tmp_path / name, "deep/a.png")
    assert region.heatmap is not None
    assert (region.heatmap[20:25, 10:25] == 1).all()
    assert region.heatmap.shape == IMAGE.shape
    assert region.confidence is None
    assert region.reason == "annotation-gives-no-confidence"


def test_rows_of_one_image_are_joined_and_a_row_without_box_is_looked_at(tmp_path: Path) -> None:
    a, b = read_annotations(write(tmp_path / "r.csv", RSNA))
    assert len(a.boxes) == 2
    assert b.boxes == ()
    assert ask(tmp_path / "r.csv", "b.dcm").reason == "no-lesion-annotated"


def test_an_image_the_file_does_not_name_is_declined(tmp_path: Path) -> None:
    region = ask(write(tmp_path / "j.json", JSON), "c.png")
    assert region.declined
    assert region.reason == "not-in-the-annotation-file"
    silent = write(tmp_path / "s.json", [{"file": "c.png", "boxes": [], "rsna_class": None}])
    assert ask(silent, "c.png").declined


def test_a_name_that_two_entries_share_is_not_guessed(tmp_path: Path) -> None:
    box = [{"xyxy": [1, 1, 5, 5]}]
    file = write(tmp_path / "j.json", [{"file": "x/a.png", "boxes": box}, {"file": "y/a.png", "boxes": []}])
    assert ask(file, "a.png").declined
    assert not ask(file, "x/a.png").declined


def test_boxes_follow_the_size_of_the_picture_but_not_its_shape(tmp_path: Path) -> None:
    file = write(tmp_path / "c.json", COCO)
    large = ask(file, "a.png", np.full((80, 120), 9, dtype=np.uint8))
    assert large.boxes == (Box(x0=20, y0=40, x1=50, y1=50, label="Mass"),)
    with pytest.raises(GroundingError, match="same shape"):
        ask(file, "a.png", np.full((80, 60), 9, dtype=np.uint8))


def test_outlines_of_coco_are_filled(tmp_path: Path) -> None:
    content = json.loads(json.dumps(COCO))
    content["annotations"][0]["segmentation"] = [[10, 20, 24, 20, 24, 24, 10, 24]]
    (row, _) = read_annotations(write(tmp_path / "c.json", content))
    mask = lesion_mask(row, 40, 60, tmp_path)
    assert mask[22, 17]
    assert not mask[30, 17]
    content["annotations"][0]["segmentation"] = {"counts": "abc", "size": [40, 60]}
    with pytest.raises(GroundingError, match=r"c\.json, a\.png: counts of its run-length mask"):
        read_annotations(write(tmp_path / "c.json", content))


def test_a_mask_file_goes_before_boxes(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:9, 7:11] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    file = write(tmp_path / "j.json", [{"file": "a.png", "boxes": [], "mask": "m.png"}])
    region = ask(file, "a.png")
    assert region.boxes == (Box(x0=7, y0=5, x1=11, y1=9),)
    with pytest.raises(GroundingError, match="both must agree"):
        ask(file, "a.png", np.full((41, 60), 9, dtype=np.uint8))


@pytest.mark.parametrize("escape", ["../m.png", "/etc/hosts.png"])
def test_a_mask_path_never_leaves_its_folder(tmp_path: Path, escape: str) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    Image.fromarray(IMAGE).save(tmp_path / "m.png")
    with pytest.raises(GroundingError, match="mask"):
        ask(write(inner / "j.json", [{"file": "a.png", "mask": escape}]), "a.png")


def segmentation(path: Path, frames: np.ndarray, segments: int, modality: str = "SEG") -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", data.file_meta.MediaStorageSOPInstanceUID
    data.Modality = modality
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    items = []
    for number in range(1, segments + 1):
        item = Dataset()
        item.SegmentNumber = number
        items.append(item)
    data.SegmentSequence = Sequence(items)
    data.PixelData = frames.astype(np.uint8).tobytes()
    data.save_as(path, enforce_file_format=True)


def test_a_dicom_segmentation_of_one_image_is_the_union_of_its_segments(tmp_path: Path) -> None:
    frames = np.zeros((2, 40, 60))
    frames[0, 5:9, 7:11] = 1
    frames[1, 20:24, 30:34] = 1
    segmentation(tmp_path / "m.dcm", frames, segments=2)
    file = write(tmp_path / "j.json", [{"file": "a.png", "mask": "m.dcm"}])
    assert [box.x0 for box in ask(file, "a.png").boxes] == [7, 30]


@pytest.mark.parametrize(("segments", "modality", "why"), [(1, "SEG", "several images"), (2, "CT", "modality 'CT'")])
def test_another_dicom_object_is_refused(tmp_path: Path, segments: int, modality: str, why: str) -> None:
    segmentation(tmp_path / "m.dcm", np.ones((2, 40, 60)), segments, modality)
    with pytest.raises(GroundingError, match=why):
        ask(write(tmp_path / "j.json", [{"file": "a.png", "mask": "m.dcm"}]), "a.png")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", "{", "cannot read"),
        ("a.json", {"boxes": []}, "allowed: a list"),
        ("a.json", [{"boxes": []}], "entry 0: needs the key file"),
        ("a.json", [{"file": "a", "boxes": [{"xyxy": [1, 2, 3]}]}], "allowed: {xyxy"),
        ("a.json", [{"file": "a", "boxes": [{"xyxy": [5, 2, 3, 9]}]}], "has no area"),
        ("a.json", [{"file": "a", "boxes": [{"xyxy": [0, 0, float("inf"), 9]}]}], "has no area"),
        ("a.csv", "", "are empty"),
        ("a.csv", "where,x0\nq,1\n", "allowed columns"),
        ("a.csv", "file,x0,y0,x1,y1\na,one,2,3,4\n", "coordinates are numbers"),
        ("a.json", {"images": [], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, "not COCO"),
        ("a.txt", "x", "allowed: .json"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, content: object, why: str) -> None:
    with pytest.raises(GroundingError) as caught:
        read_annotations(write(tmp_path / name, content))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_normal_is_what_somebody_said(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"file": "a", "rsna_class": "Normal"},
        {"file": "b", "rsna_class": "No Lung Opacity / Not Normal"},
        {"file": "c", "rsna_class": None, "nih_labels": ["No Finding"]},
        {"file": "d", "rsna_class": "Lung Opacity", "nih_labels": ["No Finding"]},
        {"file": "e", "nih_labels": ["Mass"]},
        {"file": "f", "rsna_class": "Normal", "boxes": [{"xyxy": [0, 0, 2, 2]}]},
    ]
    read = read_annotations(write(tmp_path / "a.json", rows))
    assert [row.normal for row in read] == [True, False, True, False, False, False]
    assert [row.looked_at for row in read] == [True, True, False, True, False, True]


def test_the_real_box_files_are_read(shared_data: Path) -> None:
    rows = read_annotations(shared_data / "cxr_boxes" / "annotations.json")
    assert len(rows) == 323
    assert sum(row.lesion for row in rows) == 27
    assert {row.projection for row in rows} == {"pa", "ap"}
