"""COCO's run-length masks: lengths of runs of 0 and 1 in turn, beginning with 0, down the columns from left to right.

`counts` is a list of the lengths, or COCO's text of it. In the text a number is written in groups of five bits, the
lowest first; each character is 48 more than a group, plus 32 where another group follows; the highest bit of the last
one is the sign. From the fourth length on, the difference from the length two before is written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmedpo.errors import GroundingError, shown
from mmedpo.imaging.images import MAX_PIXELS
from mmedpo.records.shapes import Mask

FIRST, GROUP, MORE, SIGN = 48, 5, 32, 16
LAST = FIRST + 2 * MORE - 1
MOST_GROUPS = 8
"""Groups of a number: lengths below 2**39."""
PLAIN = 3
"""Lengths that are written as they are, before differences begin."""


class Runs(NamedTuple):
    """A mask as runs, not unfolded; they add up to height * width."""

    height: int
    width: int
    lengths: tuple[int, ...]

    def mask(self) -> Mask:
        """bool [height, width]."""
        values = np.arange(len(self.lengths)) % 2 == 1
        return np.repeat(values, self.lengths).reshape(self.width, self.height).T


def read_runs(told: Any, where: str) -> Runs:
    """The runs of `{size: [height, width], counts: a list or COCO's text}`.

    Args:
        where: names the mask in messages.

    Raises:
        GroundingError: no such object, a size that no image has, or runs that do not fill it.
    """
    try:
        height, width = (side for side in told["size"])
        counts = told["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise GroundingError(
            f"{where}: run-length mask {shown(told)} is not usable; allowed: {{size: [height, width], counts}}"
        ) from error
    if not (_is_whole(height) and _is_whole(width) and 0 < height * width <= MAX_PIXELS and height > 0):
        raise GroundingError(
            f"{where}: run-length mask has size [{shown(height)}, {shown(width)}]; allowed: [height, width], "
            f"whole numbers, at most {MAX_PIXELS:,} pixels"
        )
    if isinstance(counts, str):
        lengths = _from_text(counts, where)
    elif isinstance(counts, list) and all(_is_whole(length) for length in counts):
        lengths = counts
    else:
        raise GroundingError(f"{where}: counts of its run-length mask are {shown(counts)}; allowed: a list, or text")
    total = sum(lengths)
    if total != height * width or min(lengths) < 0:
        fault = "hold a negative length" if lengths and min(lengths) < 0 else f"add up to {shown(total)}"
        raise GroundingError(
            f"{where}: the runs of its mask {fault}; allowed: {height} x {width} = {height * width:,} pixels in all"
        )
    return Runs(height, width, tuple(lengths))


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _from_text(text: str, where: str) -> list[int]:
    lengths: list[int] = []
    number, groups = 0, 0
    for place, character in enumerate(text):
        code = ord(character)
        if not FIRST <= code <= LAST or groups == MOST_GROUPS:
            raise GroundingError(
                f"{where}: counts of its run-length mask have {shown(character)} at place {place}, which COCO does not "
                "write there; give its text unchanged, or a list"
            )
        code -= FIRST
        number |= (code & (MORE - 1)) << (GROUP * groups)
        groups += 1
        if code & MORE:
            continue
        if code & SIGN:
            number -= 1 << (GROUP * groups)
        lengths.append(number + (lengths[-2] if len(lengths) >= PLAIN else 0))
        number, groups = 0, 0
    if groups:
        raise GroundingError(f"{where}: counts of its run-length mask end within a number; give the whole text")
    return lengths
