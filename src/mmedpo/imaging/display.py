"""Stored grey values and palette indices to what a viewer shows. Pure: tags and arrays in, pixels out.

The steps of PS3.3 C.7.6.16 and C.11 in their order: modality LUT or rescale, VOI LUT or window, 8 bits. Tags that
only touch the display are often empty or wrong in real files; as viewers do, what cannot be used counts as absent
and the next best takes its place: VOI LUT, window, the range of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import ImageError
from mmedpo.imaging.raster import in_bands
from mmedpo.imaging.tags import Table, items, numbers, read_palette, read_table, text
from mmedpo.records.shapes import Pixels

_STORAGE_BITS = 16
_SPARE_BITS = 4
"""A table that says 16 bits and leaves this many of them unused gave the size of its words, not its range."""

Values = NDArray[Any]
Step = Callable[[Values], Values]


class Stored(NamedTuple):
    """What stored values can be."""

    bits: int
    """Bits stored."""
    signed: bool
    floating: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value that can be stored."""
        if self.floating:
            return 0.0, 1.0
        half = 2 ** (self.bits - 1)
        return (float(-half), float(half - 1)) if self.signed else (0.0, float(2**self.bits - 1))


def grey_picture(tags: Any, values: Values, stored: Stored, little: bool = True) -> Pixels:
    """Modality LUT, then VOI LUT, window or the range of the values.

    Args:
        tags: the data set; its display tags are looked at, whatever state they are in.
        values: stored values `[height, width]`.
        stored: what they can be.
        little: byte order of tables that lie in the file as bytes.

    Returns:
        uint8 `[height, width]`, MONOCHROME1 not yet inverted.
    """
    modality, ends = _modality(tags, stored, little)
    table = _first_table(tags, "VOILUTSequence", ends, little)
    if table is not None:
        shown = eight_bit_table(table)
        return in_bands(values, lambda band: shown[positions(modality(band), table)])
    window = _window(tags)
    if window is not None:
        return in_bands(values, lambda band: _rounded(window(modality(band))))
    return _stretched(values, modality, ends, _padding(tags, stored, little))


def palette_picture(tags: Any, values: Values, little: bool = True) -> Pixels:
    """Palette indices `[height, width]` to RGB `[height, width, 3]`.

    Raises:
        ImageError: there is no palette.
    """
    tables = [read_palette(tags, colour, little) for colour in ("Red", "Green", "Blue")]
    if any(table is None for table in tables):
        raise ImageError("is PALETTE COLOR and holds no usable palette: its colours are unknown; leave it out")
    palette = [table for table in tables if table is not None]
    bits = max(_range_bits(table) for table in palette)
    shown = [eight_bit_table(table, bits) for table in palette]
    return in_bands(
        values,
        lambda band: np.stack(
            [colour[positions(band, table)] for colour, table in zip(shown, palette, strict=True)], axis=-1
        ),
        channels=3,
    )


def positions(values: Values, table: Table) -> NDArray[np.intp]:
    """Index of every value in a table; what lies before or behind it takes the first or last entry."""
    last = len(table.entries) - 1
    known = np.nan_to_num(values.astype(np.float64) - table.first, nan=0.0, posinf=last, neginf=0.0)
    return np.rint(known).clip(0, last).astype(np.intp)


def eight_bit_table(table: Table, bits: int = 0) -> NDArray[np.uint8]:
    """The entries of a table, scaled from their range to 0..255."""
    bits = bits or _range_bits(table)
    if bits == 8:
        return table.entries.clip(0, 255).astype(np.uint8)
    scaled: NDArray[np.uint8] = np.rint(table.entries * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
    return scaled


def _range_bits(table: Table) -> int:
    """Bits of a table's range: as it says, unless its entries need more, or it gave the size of its words.

    Some detectors write 16 where their entries have 12 bits; viewers go by the entries (Horos, Cornerstone).
    """
    needed = max(int(table.entries.max()).bit_length(), 1)
    if not needed <= table.bits <= _STORAGE_BITS:
        return max(needed, 8)
    return max(needed, 8) if table.bits == _STORAGE_BITS and needed <= _STORAGE_BITS - _SPARE_BITS else table.bits


def _modality(tags: Any, stored: Stored, little: bool) -> tuple[Step, tuple[float, float]]:
    """The modality LUT (PS3.3 C.11.1) and the ends of what it can give."""
    table = _first_table(tags, "ModalityLUTSequence", stored.ends, little)
    if table is not None:
        entries = table.entries.astype(np.float64)
        return lambda values: entries[positions(values, table)], (0.0, float(2 ** _range_bits(table) - 1))
    slope = next((value for value in numbers(tags, "RescaleSlope", little) if value), 1.0)  # 0 would erase the image
    intercept = next(iter(numbers(tags, "RescaleIntercept", little)), 0.0)
    low, high = sorted(end * slope + intercept for end in stored.ends)
    return lambda values: values.astype(np.float64) * slope + intercept, (low, high)


def _first_table(tags: Any, sequence: str, ends: tuple[float, float], little: bool) -> Table | None:
    """The first usable table of a sequence; its first input value in the sign of what goes in.

    The descriptor is often spelled with the other sign's type: -1024 as 64512, or 40000 as -25536.
    """
    for item in items(tags, sequence):
        table = read_table(item, "LUTDescriptor", ("LUTData",), little)
        if table is None:
            continue
        first, (low, high) = table.first, ends
        if first >= 1 << 15 and first > high:
            first -= 1 << 16
        elif first < 0 and first + len(table.entries) <= low:
            first += 1 << 16
        return table._replace(first=first)
    return None


def _window(tags: Any) -> Step | None:
    """The first usable window as a function to 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    A width below 1 is against the standard's LINEAR function, and yet written for rescaled values between 0 and 1:
    then the exact one is meant. A width of 0 or less is no window.
    """
    function = text(tags, "VOILUTFunction").upper()
    pairs = zip(numbers(tags, "WindowCenter", keep=True), numbers(tags, "WindowWidth", keep=True), strict=False)
    for center, width in pairs:
        if not (math.isfinite(center) and math.isfinite(width) and width > 0):
            continue
        if function == "SIGMOID":
            return lambda values: 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
        if function != "LINEAR_EXACT" and width >= 1:
            center, width = center - 0.5, width - 1
        return _linear(center, width)
    return None


def _linear(center: float, width: float) -> Step:
    def mapped(values: Values) -> Values:
        if width == 0:
            return (values > center).astype(np.float64)
        # Above the window first: beside it the quotient may overflow.
        with np.errstate(over="ignore"):
            inside = (values - center) / width + 0.5
        return np.where(values > center + width / 2, 1.0, np.where(values <= center - width / 2, 0.0, inside))

    return mapped


def _stretched(
    values: Values, modality: Step, ends: tuple[float, float], padding: tuple[float, float] | None
) -> Pixels:
    """The range of the values without padding to 0..255; a constant image keeps its share of what it could be."""
    low, high = _range(values, modality, padding)
    if low > high and padding is not None:  # nothing but padding
        low, high = _range(values, modality, None)
    if low > high:
        raise ImageError("holds no pixel with a number in it: there is nothing to show; leave it out")
    clipped = low, high
    if low == high:
        low, high = ends
    scale = 255.0 / (high - low)
    return in_bands(values, lambda band: _rounded((modality(band).clip(*clipped) - low) * scale, 1.0))


def _range(values: Values, modality: Step, padding: tuple[float, float] | None) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    rows = max(1, (1 << 20) // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        band = values[start : start + rows]
        seen = modality(band)
        usable = np.isfinite(seen)
        if padding is not None:
            usable &= ~((band >= padding[0]) & (band <= padding[1]))
        if usable.any():
            low, high = min(low, float(seen[usable].min())), max(high, float(seen[usable].max()))
    return low, high


def _padding(tags: Any, stored: Stored, little: bool) -> tuple[float, float] | None:
    """Smallest and largest value that stands for "outside the scanned field", in the sign of the stored values."""
    value = next(iter(numbers(tags, "PixelPaddingValue", little)), None)
    if value is None:
        return None
    limit = next(iter(numbers(tags, "PixelPaddingRangeLimit", little)), value)
    first, last = sorted(_as_stored(end, stored) for end in (value, limit))
    return first, last


def _as_stored(value: float, stored: Stored) -> float:
    """A padding value that was spelled with the other sign's type: 63536 is -2000, and -1 is 65535."""
    low, high = stored.ends
    if stored.floating or low <= value <= high or value != int(value):
        return value
    wrapped = int(value) % 2**stored.bits
    return float(wrapped - 2**stored.bits if wrapped > high else wrapped)


def _rounded(shares: Values, white: float = 255.0) -> Pixels:
    """Shares of white to 0..255; what is no number is black."""
    pixels: Pixels = np.nan_to_num(np.rint(shares * white), nan=0.0).clip(0, 255).astype(np.uint8)
    return pixels
