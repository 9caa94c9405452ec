"""What reaches the terminal: characters that show something, and no commands to it.

Datasets, file names and models say what they like, and a terminal obeys control characters: it is cleared, its title
changed, text hidden or turned round. `safe_streams` stands between everything that is printed and the terminal, so
that no place of the program has to think of it. Only our own progress line (`rewrite`) and colours (`console`) go past
it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls of ASCII and Latin-1, but tab and new line
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufff9-\ufffb"  # invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # zero width, line separators, direction of writing
    "\ud800-\udfff"  # bytes of a file name that are no text
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"  # invisible, tags
)
_START_OF_LINE = "\r\x1b[2K"


def printable(text: str) -> str:
    """The text with every character that cannot be seen spelled as in JSON: `\\u001b`. Tab and new line stay."""
    return _UNSEEN.sub(_spelled, text)


def shortened(text: str, most: int = 1000) -> str:
    """One line of at most `most` characters: the fix stands at the end of a message, so its middle goes."""
    line = " ".join(text.split())
    kept = (most - 5) // 2
    return line if len(line) <= most else f"{line[:kept]} ... {line[-kept:]}"


def rewrite(text: str, end: str = "\n") -> None:
    """Prints a line on standard error in the place of an unfinished one, where that is a terminal."""
    stream = sys.stderr
    if stream.isatty():
        raw = stream.raw if isinstance(stream, _SafeStream) else stream
        raw.write(_START_OF_LINE)
    stream.write(printable(text) + end)
    stream.flush()


def console() -> Console:
    """A rich console on standard output whose own colours pass, and nothing else that its texts hold."""
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    stream = sys.stdout
    return SafeConsole(file=stream.raw if isinstance(stream, _SafeStream) else stream)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Standard output and error show what they are given and obey nothing in it, until the block ends."""
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        # Python gives None for a stream that was closed before the start.
        sys.stdout, sys.stderr = (_SafeStream(stream or nowhere) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _SafeStream:
    """A text stream that spells out what would not be seen, and what its encoding does not have."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        shown = printable(text)
        try:
            self.raw.write(shown)
        except UnicodeEncodeError:
            encoding = self.raw.encoding or "ascii"
            self.raw.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
