"""One tree of errors; each type names the boundary that failed.

A message gives the value that was met, what is allowed, and the fix, in one line, so that the
command line can print it as it is. Anything that is *not* an `MMedPOError` is a bug of ours and
keeps its traceback. What a message shows of a value goes through `shown`, what it tells of another
program's words through `brief`: a message stays short whatever was met.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

MOST_SHOWN = 80
"""Characters of a value that a message shows at most."""
MOST_TOLD = 200
"""Characters of a library's own words that a message tells at most."""


class MMedPOError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(MMedPOError):
    """A recipe or a setting is unknown, contradictory, or has no effect."""


class DataError(MMedPOError):
    """A dataset folder, an annotation file or an image cannot be used."""


class ImageError(DataError):
    """One image is missing, unreadable, too large, or lies outside its dataset's folder."""


class StorageError(MMedPOError):
    """A store in a network cannot be asked; it says nothing of any file."""


class RunFolderError(MMedPOError):
    """The run folder is locked, unwritable, or was made by another version."""


class GroundingError(MMedPOError):
    """A visual tool cannot be loaded or fitted."""


class CurationError(MMedPOError):
    """No usable preference pair can be made."""


class ScoringError(MMedPOError):
    """Clinical relevance scores or weights cannot be derived."""


class ChatError(MMedPOError):
    """A language model cannot be reached, or does not speak the protocol."""


class EgressError(ChatError):
    """Restricted data would have left the building."""


class BudgetError(ChatError):
    """The next call could go over the run's limit of calls or money."""


class Paused(MMedPOError):
    """A stage stopped where it was told to, with its work kept; nothing is wrong."""


class PreferenceFormatError(DataError):
    """A preference file does not follow the layout it claims."""


class ModelError(MMedPOError):
    """A checkpoint, its prompt template or its image tokens cannot be used."""


class TrainingError(MMedPOError):
    """Training cannot start or go on."""


class TrainingCollapsed(TrainingError):
    """The policy degenerated while training; the run stops instead of finishing happily."""


class EvaluationError(MMedPOError):
    """Predictions and ground truth cannot be joined or scored."""


class TooFewImages(EvaluationError):
    """An interval was asked for on fewer than two images; what is optional is left out with a note."""


def shown(value: object) -> str:
    """A value as a message shows it: at most `MOST_SHOWN` printable characters, and time for no more than that."""
    return brief(_Glimpse().repr(value), MOST_SHOWN)


def brief(text: str, most: int = MOST_TOLD) -> str:
    """One line of at most `most` printable characters; what is left out is the middle."""
    if len(text) > most:
        head = (most - 3) * 2 // 3
        text = f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"
    return "".join(char if char.isprintable() else " " for char in text)


def listed(items: Sequence[str], most: int = 5, between: str = ", ") -> str:
    """The first few of what a message names, and that there are more."""
    return between.join(items[:most]) + (f"{between}..." if len(items) > most else "")


class _Glimpse(reprlib.Repr):
    """Looks a little way into a value, however deep, wide or often repeated it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 4
        self.maxstring = self.maxother = MOST_SHOWN - 2

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to spell out very large numbers, and a message has no room for them.
        return repr(x) if x.bit_length() < 200 else f"an integer of {x.bit_length()} bits"

    def repr_set(self, x: Any, level: int) -> str:
        return f"a set of {len(x)}"

    repr_frozenset = repr_set

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxother])

    repr_bytearray = repr_bytes

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            return super().repr_instance(x, level)
        except Exception:
            return f"a {type(x).__name__}"
