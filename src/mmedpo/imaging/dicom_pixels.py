"""The pixels of a DICOM file: what its header says of them, mended where the bytes tell, and one frame decoded.

Sizes are checked before anything is decoded: those of the header, and those inside a compressed frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import ImageError
from mmedpo.imaging.codestreams import FAMILIES, Codestream, codestream_of, refuse_run_length_bomb
from mmedpo.imaging.display import Stored
from mmedpo.imaging.raster import refuse_size
from mmedpo.imaging.tags import numbers, raw_bytes, text, value_of

_KEYWORDS = {"PixelData": 0, "FloatPixelData": 32, "DoubleFloatPixelData": 64}
"""Where pixels may lie, and the bits that floating ones take."""
_ALLOCATED = (1, 8, 16, 32, 64)
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
_SPELLED = {name.replace("_", "").replace(" ", ""): name for name in (*_GREY, *_COLOUR)}
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_LOOSE = 2.0
"""Grey values by which a colour may leave 0..255 through rounding alone."""
_LOOKED_AT = 1 << 20
"""Pixels that tell the colour space."""


class NoPicture(ImageError):
    """A DICOM file that is no image: a report, a directory, a structure set."""


class Layout(NamedTuple):
    """Where the pixels are and what they mean."""

    data: bytes
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: Stored
    planar: int
    little: bool
    syntax: Any
    keyword: str
    vr: str
    fragments: Sequence[bytes] = ()
    """Of a compressed file."""


def layout_of(dataset: Any, max_pixels: int | None) -> Layout:
    """What a data set says of its pixels, with what is missing or impossible taken from the bytes.

    Args:
        dataset: with its pixels.
        max_pixels: largest rows x columns; None where nothing will be decoded.

    Raises:
        TooManyPixels: by the header.
        NoPicture: no pixels.
        ImageError: they are cut off, or left in doubt.
    """
    keyword = next((name for name in _KEYWORDS if raw_bytes(dataset, name)), None)
    if keyword is None:
        raise _no_picture(dataset, "pixel data")
    data, element = raw_bytes(dataset, keyword), dataset.get_item(keyword)
    rows, columns = (_positive(dataset, name) for name in ("Rows", "Columns"))
    if max_pixels is not None:
        refuse_size(columns, rows, max_pixels)
    photometric, samples = _colour(dataset)
    floating = bool(_KEYWORDS[keyword])
    little = bool(dataset.original_encoding[1])
    first = Layout(
        data=data,
        frames=max(1, int(next(iter(numbers(dataset, "NumberOfFrames")), 1))),
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        allocated=_KEYWORDS[keyword] or int(next(iter(numbers(dataset, "BitsAllocated", little)), 0)),
        stored=Stored(
            bits=int(next(iter(numbers(dataset, "BitsStored", little)), 0)),
            signed=1.0 in numbers(dataset, "PixelRepresentation", little)[:1],
            floating=floating,
        ),
        planar=int(numbers(dataset, "PlanarConfiguration", little)[:1] == [1.0]),
        little=little,
        syntax=dataset.file_meta.TransferSyntaxUID,
        keyword=keyword,
        vr=str(element.VR or "OW"),
    )
    packed = data[:4] == _ITEM and (_undefined_length(element) or _compressed(first.syntax) or _holds_items(data))
    return _compressed_layout(first) if packed else _native_layout(first)


def read_frame(layout: Layout, frame: int) -> NDArray[Any]:
    """One frame: stored values `[height, width]`, or colours `[height, width, 3]` in RGB.

    Raises:
        ImageError: no decoder, or the decoder gives up.
    """
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    data, frames = layout.data, layout.frames
    if layout.fragments:
        data, frames, frame = encapsulate([_frame_bytes(layout, frame)]), 1, 0
    name = str(getattr(layout.syntax, "name", layout.syntax))[:80]
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": frames,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored.bits,
        "pixel_representation": int(layout.stored.signed),
        "planar_configuration": layout.planar,
        "pixel_keyword": layout.keyword,
        "pixel_vr": layout.vr,
    }
    try:
        values = np.asarray(get_decoder(layout.syntax).as_array(data, index=frame, validate=True, **options)[0])
    except NotImplementedError as error:
        raise ImageError(f"is stored as {name}, which cannot be read; save it as PNG in a viewer") from error
    except Exception as error:
        if "missing dependencies" in str(error):
            raise ImageError(f"is compressed as {name}; install mmedpo[dicom] to read it") from error
        raise ImageError(_undecodable(error, name)) from error
    return values


def _undecodable(error: Exception, name: str) -> str:
    what = " ".join(str(error).split()).removeprefix("Unable to decode as exceptions were raised by all plugins: ")
    what = (what if len(what) <= 120 else f"{what[:117]}...") or type(error).__name__
    return f"holds pixels that cannot be decoded as {name} ({what}); if a viewer shows it, save it there as PNG"


def _positive(dataset: Any, keyword: str) -> int:
    found = numbers(dataset, keyword, bool(dataset.original_encoding[1]))
    if keyword not in dataset:
        raise _no_picture(dataset, keyword)
    if not found or found[0] < 1 or found[0] != int(found[0]):
        raise ImageError(
            f"says {keyword} = {text(dataset, keyword)[:40]!r}, which is no size; correct the tag, or leave it out"
        )
    return int(found[0])


def _no_picture(dataset: Any, lacking: str) -> ImageError:
    """A file of a kind that has no pixels is another case than an image that lost them."""
    kind = str(getattr(value_of(dataset, "SOPClassUID"), "name", ""))
    if kind.endswith("Storage") and "Image" not in kind:
        return NoPicture(f"is a DICOM file without {lacking} ({kind}): it holds no picture; leave it out")
    return ImageError(f"is a DICOM file without {lacking}: cut off or damaged; download it again, or leave it out")


def _colour(dataset: Any) -> tuple[str, int]:
    """Photometric interpretation and samples per pixel; the one stands in for the other where it is missing.

    Without the former, one sample is MONOCHROME2 (as Weasis and GDCM read it), three are RGB.
    """
    said = text(dataset, "PhotometricInterpretation")
    samples = int(next(iter(numbers(dataset, "SamplesPerPixel")), 0))
    if not said:
        return ("RGB", 3) if samples == 3 else ("MONOCHROME2", 1)
    name = _SPELLED.get(said.upper().replace("_", "").replace(" ", ""))
    if name is None:
        raise ImageError(
            f"says PhotometricInterpretation = {said[:40]!r}, readable are {', '.join((*_GREY, *_COLOUR[:3]))}; "
            "save it as PNG in a viewer"
        )
    return name, samples if samples in (1, 3) else (1 if name in _GREY else 3)


def _native_layout(layout: Layout) -> Layout:
    """Uncompressed pixels: the bytes there are decide what the header leaves open or contradicts."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    layout = _settled(layout._replace(syntax=ExplicitVRLittleEndian if layout.little else ExplicitVRBigEndian))
    size = len(layout.data)
    if layout.photometric in _GREY and layout.samples == 3:
        layout = layout._replace(photometric="RGB")
    elif layout.photometric not in _GREY and layout.samples == 1:
        grey = size < frame_bytes(layout._replace(samples=3)) * layout.frames
        layout = layout._replace(photometric="MONOCHROME2") if grey else layout._replace(samples=3)
    layout = _chroma(layout)
    whole = frame_bytes(layout)
    if layout.frames > 1 and size < math.ceil(whole * layout.frames):
        held = int(size // whole)
        # A wrong count leaves whole frames, a file that was cut off hardly ever does.
        if held and size - math.ceil(held * whole) in (0, math.ceil(held * whole) % 2):
            layout = layout._replace(frames=held)
    expected = math.ceil(frame_bytes(layout) * layout.frames)
    if size < expected:
        raise ImageError(f"is cut off: its pixels take {expected:,} bytes, {size:,} are there; download it again")
    return layout


def _settled(layout: Layout) -> Layout:
    """Bits allocated and stored."""
    per_sample = 8 * len(layout.data) // max(1, layout.rows * layout.columns * layout.samples * layout.frames)
    allocated, stored = layout.allocated, layout.stored.bits
    if allocated not in _ALLOCATED or (not layout.fragments and allocated == 8 and 8 < stored <= 16 <= per_sample):
        allocated = 16 if layout.fragments and stored > 8 else 8 if layout.fragments else per_sample
    if allocated not in _ALLOCATED:
        raise ImageError(
            f"says BitsAllocated = {layout.allocated}, readable are {', '.join(map(str, _ALLOCATED))}; "
            "save it as PNG in a viewer"
        )
    stored = stored if 1 <= stored <= allocated else allocated
    return layout._replace(allocated=allocated, stored=layout.stored._replace(bits=stored))


def _chroma(layout: Layout) -> Layout:
    """Colours as they lie there: subsampled or not, and RGB under the name of what they were compressed from."""
    if layout.samples != 3:
        return layout
    name, pixels, size = layout.photometric, layout.rows * layout.columns, len(layout.data)
    plane = pixels * layout.frames * layout.allocated // 8
    if name in ("YBR_ICT", "YBR_RCT"):  # transforms of a codec, undone with it
        return layout._replace(photometric="RGB")
    if name == "YBR_FULL" and size in (2 * plane, 2 * plane + 1) and layout.columns % 2 == 0:
        return layout._replace(photometric="YBR_FULL_422")
    if name == "YBR_FULL_422" and size >= 3 * plane:
        seen = np.frombuffer(layout.data, np.uint8, min(3 * plane, 3 * _LOOKED_AT)).reshape(-1, 3)
        return layout._replace(photometric="YBR_FULL" if layout.allocated == 8 and _is_ybr(seen) else "RGB")
    return layout


def _is_ybr(seen: NDArray[np.uint8]) -> bool:
    """True when every triple is a colour if read as Y, Cb, Cr (PS3.3 C.7.6.3.1.2); black as RGB would not be one."""
    luma, blue, red = (seen[:, place].astype(np.float64) for place in range(3))
    blue, red = blue - 128, red - 128
    colours = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return bool((colours > -_LOOSE).all() and (colours < 255 + _LOOSE).all())


def frame_bytes(layout: Layout) -> float:
    """Bytes of one uncompressed frame; frames of one bit are packed without a gap."""
    samples = 2 if layout.photometric == "YBR_FULL_422" and layout.samples == 3 else layout.samples
    return layout.rows * layout.columns * samples * layout.allocated / 8


def _compressed_layout(layout: Layout) -> Layout:
    """Compressed pixels: what a frame says of itself decides."""
    layout = layout._replace(fragments=_fragments(layout.data))
    if not layout.fragments:
        raise ImageError("is compressed and holds no frame; download it again, or leave it out")
    if layout.frames > len(layout.fragments):
        layout = layout._replace(frames=len(layout.fragments))
    layout = _settled(layout)
    stream = codestream_of(layout.fragments[0])
    if stream is None:
        return layout
    if not _compressed(layout.syntax) or layout.syntax not in FAMILIES[stream.family]:
        layout = layout._replace(syntax=stream.syntax)
    if stream.samples == 3 and layout.samples == 1:
        name = "YBR_FULL_422" if stream.lossy else "RGB"
        layout = layout._replace(samples=3, photometric=name)
    elif stream.samples == 1 and layout.samples == 3:
        layout = layout._replace(samples=1, photometric="MONOCHROME2")
    if stream.samples and layout.samples == 3 and layout.photometric in _GREY:
        layout = layout._replace(photometric="YBR_FULL_422" if stream.lossy else "RGB")
    return layout


def _frame_bytes(layout: Layout, frame: int) -> bytes:
    """The compressed bytes of a frame, refused where they hold another size than the header says."""
    from pydicom.encaps import get_frame

    if len(layout.fragments) == layout.frames:
        packed = layout.fragments[frame]
    elif layout.frames == 1:
        packed = b"".join(layout.fragments)
    else:
        try:
            packed = get_frame(layout.data, frame, number_of_frames=layout.frames)
        except Exception as error:
            raise ImageError(f"holds no frame {frame} that can be found; save it as PNG in a viewer") from error
    stream = codestream_of(packed)
    if stream is None:
        raise ImageError("is compressed in no form that is known; if a viewer shows it, save it there as PNG")
    _refuse_other_size(layout, stream)
    if stream.family == "RLE":
        refuse_run_length_bomb(packed, int(frame_bytes(layout)))
    return packed


def _refuse_other_size(layout: Layout, stream: Codestream) -> None:
    if stream.family == "RLE":
        return
    if (stream.columns, stream.rows) != (layout.columns, layout.rows) or stream.samples != layout.samples:
        raise ImageError(
            f"says {layout.columns} x {layout.rows} x {layout.samples}, its {stream.family} holds "
            f"{stream.columns} x {stream.rows} x {stream.samples}; save it as PNG in a viewer, or leave it out"
        )


def _fragments(data: bytes) -> list[bytes]:
    """The items of encapsulated pixel data (PS3.5 A.4) behind its offset table."""
    found, at = [], 0
    while data[at : at + 4] == _ITEM:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            raise ImageError("is cut off within its compressed pixels; download it again, or leave it out")
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return [fragment for fragment in found[1:] if fragment]


def _holds_items(data: bytes) -> bool:
    """An offset table with another item behind it: no row of pixels looks like that."""
    behind = 8 + int.from_bytes(data[4:8], "little")
    return data[behind : behind + 4] == _ITEM


def _undefined_length(element: Any) -> bool:
    return bool(getattr(element, "is_undefined_length", getattr(element, "length", 0) == 0xFFFFFFFF))


def _compressed(syntax: Any) -> bool:
    return any(syntax in family for family in FAMILIES.values())
