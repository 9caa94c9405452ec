"""DICOM files with tags taken out or filled with what does not belong there."""

from __future__ import annotations

import io
import random

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

KEYWORDS = """
    Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
    PixelRepresentation PlanarConfiguration NumberOfFrames RescaleSlope RescaleIntercept RescaleType
    WindowCenter WindowWidth VOILUTFunction PixelPaddingValue PixelPaddingRangeLimit VOILUTSequence
    ModalityLUTSequence PixelData SmallestImagePixelValue PixelAspectRatio PresentationLUTShape
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableData
    SegmentedRedPaletteColorLookupTableData SOPInstanceUID SOPClassUID PatientID SpecificCharacterSet
    FloatPixelData SharedFunctionalGroupsSequence BurnedInAnnotation
""".split()  # noqa: SIM905
VALUES = (
    *(b"", b"\0\0", b"\xff\xff", b"\x01\0", b"\x08\0", b"\x0c\0", b"\x10\0", b"\x03\0\x01\0", b"\0" * 64),
    *(b"abc ", b"nan ", b"inf ", b"1e400 ", b"-1\\2", b"0 ", b"1\\2\\3 ", b"2048,0", b"9999999999", b"\x1b]0;x\x07"),
    *(b"RGB ", b"YBR_FULL_422", b"PALETTE COLOR ", b"MONOCHROME1 ", b"\xfe\xff\0\xe0\0\0\0\0"),
)
TYPES = ["US", "SS", "DS", "IS", "CS", "OW", "OB", "UN", "LO", "FL", "UI", "AT"]
ITEMS = (b"", b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\x00\xe0\x08\0\0\0\x28\0\x06\x30\0\0\0\0")


def garbled(content: bytes, rng: random.Random) -> bytes:
    """One to four tags of a file are taken out, emptied, or filled with garbage; sometimes its end is missing too."""
    dataset = dcmread(io.BytesIO(content), force=True)
    for _ in range(rng.randint(1, 4)):
        tag = Tag(tag_for_keyword(rng.choice(KEYWORDS)))  # type: ignore[arg-type]
        if rng.random() < 0.3:
            dataset._dict.pop(tag, None)
            continue
        kind = dictionary_VR(tag).split(" or ")[0]
        kind = rng.choice(TYPES) if kind != "SQ" and rng.random() < 0.4 else kind
        value = rng.choice(ITEMS if kind == "SQ" else VALUES)
        implicit, little = dataset.original_encoding
        dataset._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, bool(implicit), bool(little), True)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    whole = buffer.getvalue()
    return whole[: rng.randrange(len(whole))] if rng.random() < 0.1 else whole
