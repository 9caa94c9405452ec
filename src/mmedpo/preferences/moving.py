"""Images of rows on their way: which folder each lies in, and all of them below one where a file must name them.

Rows of a file that holds images inside name two kinds of images: those that were taken out of it, and files below
the image folder. A file that names images can be relative to one folder only: the output's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmedpo.errors import ImageError
from mmedpo.imaging.images import split_frame
from mmedpo.preferences.reading import EMBEDDED
from mmedpo.records import PreferenceRow
from mmedpo.storage.embedded import EmbeddedImages
from mmedpo.storage.files import hash_path
from mmedpo.storage.paths import safe_join, same_file
from mmedpo.storage.tables import atomic_path


class Moving:
    """Moves images where a row that is written needs them; without images inside, nothing moves."""

    def __init__(self, image_root: Path, embedded: EmbeddedImages | None, folder: Path) -> None:
        """Nothing is read or written yet.

        Args:
            image_root: folder the rows' other images are relative to.
            embedded: images that lay inside the rows' file.
            folder: where images go, if they must.
        """
        self.image_root, self.embedded, self.folder = image_root, embedded, folder
        self.active = bool(embedded and embedded.names)
        self.names: set[str] = set()
        """Relative paths of the images that were moved."""

    @property
    def root(self) -> Path:
        """Folder that the images of moved rows are relative to."""
        return self.folder if self.active else self.image_root

    def home(self, name: str) -> Path:
        """Folder that an image of an unmoved row is relative to."""
        if self.embedded is not None and name in self.embedded.names:
            return self.embedded.root
        return self.image_root

    def row(self, row: PreferenceRow) -> PreferenceRow:
        """The row with its images as `root` has them.

        Raises:
            ImageError: one of them is not there.
            OSError: it cannot be written.
        """
        if not self.active:
            return row
        images, rejected = self._move(row.images), self._move(row.rejected_images)
        return row.model_copy(update={"images": images, "rejected_images": rejected})

    def _move(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._moved(name) for name in names)

    def _moved(self, name: str) -> str:
        home = self.home(name)
        if home == self.image_root and same_file(home, self.folder):
            return name
        plain, frame = split_frame(name)
        source = safe_join(home, plain)
        if not source.is_file():
            raise ImageError(f"image {name!r} is missing in {home}; correct its name")
        target = f"{EMBEDDED}/{hash_path(source)}{PurePosixPath(plain).suffix.lower()}"
        if target not in self.names and not (self.folder / target).is_file():
            with (
                atomic_path(self.folder / target) as unfinished,
                source.open("rb") as there,
                unfinished.open("wb") as here,
            ):
                shutil.copyfileobj(there, here)
        self.names.add(target)
        return target if frame is None else f"{target}#frame={frame}"
