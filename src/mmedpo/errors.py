"""One tree of errors; each type names the boundary that failed.

A message gives the value that was met, what is allowed, and the fix, in one line, so that the
command line can print it as it is. Anything that is *not* an `MMedPOError` is a bug of ours and
keeps its traceback.
"""

from __future__ import annotations


class MMedPOError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(MMedPOError):
    """A recipe or a setting is unknown, contradictory, or has no effect."""


class DataError(MMedPOError):
    """A dataset folder, an annotation file or an image cannot be used."""


class ImageError(DataError):
    """One image is missing, unreadable, too large, or lies outside its dataset's folder."""


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
