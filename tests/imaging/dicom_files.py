"""DICOM files for tests, made with pydicom."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid


def dicom_dataset(pixels: np.ndarray, photometric: str = "MONOCHROME2", bits: int = 12, **tags: Any) -> FileDataset:
    """A secondary capture of uint16 (or uint8) pixels, `[rows, columns]` or `[frames, rows, columns]`."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(dataset: FileDataset) -> bytes:
    """The file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def raw_dicom_bytes(dataset: FileDataset) -> bytes:
    """The file, explicit little endian, with raw elements exactly as they are, however wrong."""
    return b"\0" * 128 + b"DICM" + _elements(dataset.file_meta) + _elements(dataset)


def _elements(dataset: Any) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            kind, size = str(element.VR), len(element.value or b"")
            long = kind in ("OB", "OF", "OW", "UN", "SQ")
            out.write(struct.pack("<HH", tag.group, tag.elem) + kind.encode() + (b"\0\0" if long else b""))
            out.write(struct.pack("<I" if long else "<H", size) + (element.value or b""))
        else:
            element.VR = "OW" if " or " in element.VR else element.VR
            write_data_element(out, element)
    return out.getvalue()
