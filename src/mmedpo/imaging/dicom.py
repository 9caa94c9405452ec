"""DICOM to the picture a viewer shows: modality LUT, VOI LUT, MONOCHROME1 inverted, 8 bits.

The steps of PS3.3 C.11 in their order; pydicom applies them, this module chooses and scales. Where a file
has neither a window nor a VOI LUT, its values are stretched from smallest to largest, padding left out.
Compressed files need a decoder: RLE and 8-bit JPEG come along, the others with `mmedpo[dicom]`.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import ImageError
from mmedpo.imaging.raster import FrameNeeded, TooManyPixels, stretch
from mmedpo.records.shapes import Pixels

_DEFLATED = re.compile(rb"\x02\0\x10\0UI..1\.2\.840\.10008\.1\.2\.1\.99", re.DOTALL)
"""Transfer Syntax UID (0002,0010) of the deflated syntax; the file meta group is always explicit little endian."""
_INFLATED = 8
"""A deflated file may grow to this many bytes per allowed pixel."""


def read_dicom(content: bytes, max_pixels: int, frame: int | None = None) -> Pixels:
    """Decodes one frame.

    Args:
        content: the file's bytes.
        max_pixels: largest rows x columns.
        frame: 0-based; None only for a file of one frame.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`.

    Raises:
        TooManyPixels, FrameNeeded: before anything is decoded.
        ImageError: no pixels, or a transfer syntax without a decoder.
        Exception: whatever pydicom raises for a damaged file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom tolerates in a header is no news for the user
        dataset = _open(content, max_pixels)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        if rows * columns > max_pixels:
            raise TooManyPixels(columns, rows)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        if (frame is None and frames > 1) or (frame is not None and frame >= frames):
            raise FrameNeeded(frames)
        return _picture(dataset, _raw(dataset, frame or 0))


def burned_in_reason(content: bytes) -> str:
    """What a header says against showing the pixels to outsiders; empty when it says nothing.

    Most files do not say: an absent tag is no promise.
    """
    header = read_header(content)
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        if str(header.get(keyword, "")).strip().upper() == "YES":
            return f"{keyword} = YES"
    return ""


def read_header(content: bytes) -> Any:
    """The data set without its pixels.

    Raises:
        Exception: whatever pydicom raises for a damaged file.
    """
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if _DEFLATED.search(content, 132, 4096):
            _refuse_bomb(content, len(content) * 64 + (1 << 20))
        return dcmread(io.BytesIO(content), stop_before_pixels=True)


def _open(content: bytes, max_pixels: int) -> Any:
    from pydicom import dcmread

    if _DEFLATED.search(content, 132, 4096):
        _refuse_bomb(content, max_pixels * _INFLATED + (4 << 20))
    dataset = dcmread(io.BytesIO(content))
    for keyword in ("Rows", "Columns", "PhotometricInterpretation"):
        if keyword not in dataset:
            raise ImageError(f"is a DICOM file without {keyword}: it holds no picture; leave it out")
    return dataset


def _refuse_bomb(content: bytes, limit: int) -> None:
    """The deflated part starts after the file meta group, whose length stands in its first element."""
    start = 144 + int.from_bytes(content[140:144], "little")
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:], limit + 1)
    if len(inflated) > limit:
        raise ImageError(f"inflates to more than {limit:,} bytes; it is damaged or made to exhaust memory")


def _raw(dataset: Any, frame: int) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        return np.asarray(pixel_array(dataset, index=frame))
    except (RuntimeError, NotImplementedError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if "missing dependencies" in str(error) or isinstance(error, NotImplementedError):
            raise ImageError(f"is compressed as {syntax.name}; install mmedpo[dicom] to read it") from error
        raise


def _picture(dataset: Any, values: NDArray[Any]) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(values, dataset)
        return _eight_bits(coloured[..., :3], 8 if coloured.dtype == np.uint8 else 16)
    if values.ndim == 3:
        return _eight_bits(values[..., :3], int(dataset.BitsStored))
    shown = _windowed(dataset, apply_modality_lut(values, dataset), _padding(dataset, values))
    return 255 - shown if photometric == "MONOCHROME1" else shown


def _windowed(dataset: Any, values: NDArray[Any], padding: NDArray[np.bool_]) -> Pixels:
    from pydicom.pixels.processing import apply_voi, apply_windowing

    if "VOILUTSequence" in dataset:
        item = dataset.VOILUTSequence[0]
        return _eight_bits(apply_voi(values, dataset), int(item.LUTDescriptor[2]))
    if dataset.get("WindowWidth") not in (None, "") and dataset.get("WindowCenter") not in (None, ""):
        # Two values beyond any window tell the range that the formula of the standard maps to.
        ends = np.array([-1e30, 1e30])
        with np.errstate(over="ignore"):
            mapped = apply_windowing(np.concatenate([values.ravel().astype(np.float64), ends]), dataset)
        low, high = mapped[-2:]
        shown = (mapped[:-2].reshape(values.shape) - low) / (high - low)
        scaled: Pixels = np.rint(shown * 255).clip(0, 255).astype(np.uint8)
        return scaled
    if padding.all():
        padding = np.zeros_like(padding)
    seen = values[~padding]
    return stretch(values.clip(seen.min(), seen.max()), (0.0, float(2 ** int(dataset.BitsStored) - 1)))


def _padding(dataset: Any, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels outside the scanned field: they would spoil the stretch."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(values.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    inside: NDArray[np.bool_] = (values >= min(value, limit)) & (values <= max(value, limit))
    return inside


def _eight_bits(values: NDArray[Any], bits: int) -> Pixels:
    if bits == 8:
        return np.ascontiguousarray(values).astype(np.uint8)
    scaled: Pixels = np.rint(values * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
    return scaled
