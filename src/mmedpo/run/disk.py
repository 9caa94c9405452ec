"""What a user can mend when the operating system refuses to write a run folder."""

from __future__ import annotations

import errno
from pathlib import Path

from mmedpo.errors import RunFolderError

UNUSABLE = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
}
"""What a user can mend; any other error of the operating system inside a stage keeps its traceback."""


def unusable(error: OSError, folder: Path) -> RunFolderError:
    """The error in our terms, with the fix."""
    why = UNUSABLE.get(error.errno or 0, error.strerror)
    return RunFolderError(f"{error.filename or folder} cannot be used: {why}; choose another --runs folder")
