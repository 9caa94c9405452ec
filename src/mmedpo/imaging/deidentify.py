"""De-identification of DICOM files by an allow-list: what is not named here does not come along.

A deny-list forgets the tag it has not heard of; an allow-list cannot. Kept is what is needed to show the
pixels and to learn from them. Identifiers are replaced by hashes with a secret salt, so that images of one
patient or study stay together and nothing leads back. Private tags, overlays, comments, dates and names go.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from typing import Any, NamedTuple

from mmedpo.errors import ImageError
from mmedpo.imaging.dicom import burned_in_reason, open_dicom, unreadable
from mmedpo.imaging.dicom_pixels import layout_of
from mmedpo.imaging.images import BYTES_PER_PIXEL, MAX_PIXELS
from mmedpo.imaging.tags import numbers, text

ALLOWED = frozenset(
    [
        "SpecificCharacterSet",
        "SOPClassUID",
        "Modality",
        "BodyPartExamined",
        "ViewPosition",
        "ViewCodeSequence",
        "PatientOrientation",
        "Laterality",
        "ImageLaterality",
        "PatientSex",
        "PhotometricInterpretation",
        "SamplesPerPixel",
        "PlanarConfiguration",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "NumberOfFrames",
        "PixelAspectRatio",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "SliceThickness",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "FrameIncrementPointer",
        "FrameTime",
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "ModalityLUTSequence",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "VOILUTSequence",
        "LUTDescriptor",
        "LUTData",
        "ModalityLUTType",
        "PresentationLUTShape",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
        "RedPaletteColorLookupTableDescriptor",
        "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "BurnedInAnnotation",
        "RecognizableVisualFeatures",
        "LossyImageCompression",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
    ]
)
"""Keywords that are kept, also inside sequences."""
HASHED = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Identifiers that are replaced by a salted hash."""

_CODES = {"Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "PatientSex"}
_NUMERIC = {"US", "SS", "UL", "SL", "DS", "IS", "FL", "FD"}
_LONGEST_NUMBER = 4
"""Bytes of a number that lies in a tag of another type."""
_LONGEST_CODE = 16
"""Code strings (VR CS) have at most 16 characters; longer ones are free text in the wrong place."""


class Copy(NamedTuple):
    """A de-identified file."""

    content: bytes
    name: str
    """File name that tells nothing; another one for every instance."""
    instance: str
    """The source's SOPInstanceUID; empty where it has none, and the name comes from the content."""


def deidentify(content: bytes, salt: str, *, own_identity: bool = False) -> Copy:
    """A copy of a DICOM file with allowed tags only.

    Args:
        content: the file's bytes.
        salt: secret; the same salt keeps the images of one patient together, also over several calls.
        own_identity: name and SOPInstanceUID come from the content, for a file that shares its SOPInstanceUID.

    Raises:
        ImageError: unreadable, cut off, without pixels, text burned into them, or no salt.
    """
    if not salt:
        raise ImageError("cannot be de-identified without a salt: anybody could hash the known identifiers; give one")
    reason = burned_in_reason(content)
    if reason:
        raise ImageError(f"says {reason}: removing tags does not remove what the pixels show; leave it out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_dicom(content, MAX_PIXELS * BYTES_PER_PIXEL)
        try:
            layout = layout_of(source, None)  # refuses what is cut off or holds no picture
            copy = _copy(source, salt, hashlib.sha256(content).hexdigest(), own_identity)
            kept = layout_of(open_dicom(copy.content, len(copy.content)), None)
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(unreadable(error)) from error
    if kept._replace(data=layout.data, vr=layout.vr) != layout:
        raise ImageError("says in tags of the wrong type how its pixels lie: they may hold anything; leave it out")
    return copy


def _copy(source: Any, salt: str, content: str, own_identity: bool) -> Copy:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    kept = _allowed(source)
    instance = text(source, "SOPInstanceUID")
    said = {name: text(source, name) for name in HASHED}
    if own_identity or not instance:
        said["SOPInstanceUID"] = f"{instance}\0{content}"
    for name, value in said.items():
        if name.endswith("UID") and value:
            setattr(kept, name, _uid(salt, name, value))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(str(source.file_meta.TransferSyntaxUID))
    meta.MediaStorageSOPClassUID = UID(text(kept, "SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = UID(kept.SOPInstanceUID)
    # Files without a patient are not all one patient's.
    kept.PatientID = _digest(salt, "PatientID", said["PatientID"])[:16] if said["PatientID"] else ""
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "mmedpo tag allow-list"
    out = FileDataset("", kept, file_meta=meta, preamble=b"\0" * 128)
    implicit, little = source.original_encoding
    out.set_original_encoding(implicit, little, source.original_character_set)
    buffer = io.BytesIO()
    out.save_as(buffer, enforce_file_format=True)
    return Copy(buffer.getvalue(), f"{_digest(salt, 'name', kept.SOPInstanceUID)[:32]}.dcm", instance)


def _allowed(dataset: Any) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    kept = Dataset()
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            continue
        if element.tag.is_private or element.keyword not in ALLOWED:
            continue
        if element.keyword in _CODES and len(str(element.value)) > _LONGEST_CODE:
            continue
        if _is_text_elsewhere(dataset, element):
            continue
        if element.VR == "SQ":
            setattr(kept, element.keyword, Sequence([_allowed(item) for item in element.value]))
        else:
            kept.add(element)
    return kept


def _is_text_elsewhere(dataset: Any, element: Any) -> bool:
    """True for what claims another type than its tag has, or is no number where its tag wants one: a name, perhaps."""
    from pydicom.datadict import dictionary_VR

    wanted = set(dictionary_VR(element.tag).split(" or "))
    if wanted & {"OB", "OW", "OF", "OD"}:
        return element.VR not in {*wanted, "UN"}
    if not wanted & _NUMERIC:
        return element.VR not in wanted
    if isinstance(element.value, bytes) and len(element.value) > _LONGEST_NUMBER:
        return True
    return element.VR not in _NUMERIC | {"OB", "OW", "UN"} or not all(
        math.isfinite(number) for number in numbers(dataset, element.keyword, keep=True)
    )


def _uid(salt: str, kind: str, value: str) -> str:
    """A UID under 2.25 (PS3.5, B.2), at most 39 digits."""
    return f"2.25.{int(_digest(salt, kind, value)[:32], 16)}"


def _digest(salt: str, kind: str, value: str) -> str:
    return hashlib.blake2b(f"{kind}\0{value}".encode(), key=salt.encode()[:64], digest_size=32).hexdigest()
