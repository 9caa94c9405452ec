"""Images as rows name or hold them: a path, bytes, base64, a data URL, or an object around one of these.

An image that lies inside a row is written once, under the hash of its bytes, into a folder of the run or of the
command's output; never into the folder the table was read from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from tempfile import mkdtemp
from urllib.parse import unquote

from mmedpo.errors import DataError, shown
from mmedpo.storage.bounds import LONGEST_ROW, MOST_PARTS
from mmedpo.storage.cells import parted, spelled
from mmedpo.storage.tables import write_bytes

_KINDS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
}
_LONGEST_NAME = 1024
"""Characters of a path; file systems allow 255 to a name and 4,096 in all."""
_SHORTEST_BASE64 = 64
"""Fewer characters than this spell no picture."""
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NAMED = ("path", "url", "image_url", "image", "file", "file_name", "file_path", "source", "data")
"""Keys under which an object names its image, or holds another object that does."""
_DEEPEST = 3
_BETWEEN = (";", "|", "\n", ",")
"""What may stand between the names of several images in one cell."""
_IMAGE_FILE = re.compile(r"[^\0]+\.(?:png|jpe?g|tiff?|dcm|dicom|bmp|gif|webp)(?:#frame=\d+)?", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


class BadImage(Exception):
    """A value that names no image; the message says what it is, in a few words."""


def image_of(value: object) -> str | bytes:
    """What a cell says of one image: a path with forward slashes (not yet trusted), or the bytes of the image.

    Raises:
        BadImage: it is neither.
    """
    return _image_of(value, _DEEPEST)


def images_of(value: object) -> list[str | bytes]:
    """As `image_of`, for a cell that may hold several, also as a list for every turn or spelled as a text.

    None and empty texts are none.

    Raises:
        BadImage: one of them is no image.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str):
        value = _several(value)
    if not isinstance(value, list):
        return [image_of(value)]
    if sum(len(item) if isinstance(item, list) else 1 for item in value) > MOST_PARTS:
        raise BadImage(f"more than {MOST_PARTS:,} images in one row")
    return [image_of(one) for item in value for one in (item if isinstance(item, list) else [item])]


def suffix_of(content: bytes) -> str:
    """The suffix of an image, by its first bytes; `.png` where they tell nothing."""
    if content[128:132] == b"DICM":
        return ".dcm"
    return next((suffix for start, suffix in _KINDS.items() if content.startswith(start)), ".png")


def name_of(content: bytes, below: str) -> str:
    """Relative path of an image that lies inside a row: by the hash of its bytes."""
    return f"{below}/{hashlib.sha256(content).hexdigest()}{suffix_of(content)}"


class EmbeddedImages:
    """The folder that images out of rows are written to."""

    def __init__(self, folder: Path | None, below: str = "extracted-images") -> None:
        """Nothing is made before the first image.

        Args:
            folder: the root that the written images are relative to; None for a folder that goes with this object.
            below: name of the folder below it.
        """
        self._folder, self.below = folder, below
        self.names: set[str] = set()
        """Relative paths of the images that were written."""

    @property
    def root(self) -> Path:
        """The folder the names are relative to."""
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="mmedpo-images-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def keep(self, content: bytes) -> str:
        """Writes the image, unless it is there, and gives its relative path.

        Raises:
            DataError: it cannot be written.
        """
        relative = name_of(content, self.below)
        if relative not in self.names:
            try:
                if not (self.root / relative).is_file():
                    write_bytes(self.root / relative, content)
            except OSError as problem:
                raise DataError(
                    f"images inside the table cannot be written to {self.root / self.below} "
                    f"({problem.strerror or type(problem).__name__}); check its rights and its space"
                ) from problem
            self.names.add(relative)
        return relative


def _several(text: str) -> object:
    """The list of images that a text spells, in JSON, in Python or as names of image files; any other as it is."""
    listed = spelled(text) if text.lstrip()[:1] == "[" else None
    if isinstance(listed, list):
        return listed
    names = parted(text, _BETWEEN) if len(text) < 64 * _LONGEST_NAME else []
    return names if len(names) > 1 and all(_IMAGE_FILE.fullmatch(name) for name in names) else text


def _image_of(value: object, deepest: int) -> str | bytes:
    if isinstance(value, (bytes, bytearray)):
        return _content(bytes(value))
    if isinstance(value, str):
        return _told(value)
    if isinstance(value, Mapping) and deepest:
        content = value.get("bytes") or value.get("base64")
        if isinstance(content, (bytes, bytearray)) and content:
            return _content(bytes(content))
        if isinstance(content, str) and content:
            return _decoded(content.rpartition("base64,")[2])
        for key in _NAMED:
            if value.get(key):
                return _image_of(value[key], deepest - 1)
    raise BadImage(f"{_kind(value)}, not an image")


def _told(text: str) -> str | bytes:
    plain = text.strip()
    if plain[:5].lower() == "data:":
        head, comma, body = plain.partition(",")
        if not comma or "base64" not in head.lower():
            raise BadImage(f"a data URL that is not base64 ({shown(head)})")
        return _decoded(body)
    if len(plain) >= _SHORTEST_BASE64 and _looks_encoded(plain):
        return _decoded(plain)
    address = _ADDRESS.match(plain)
    if address and address.group(1).lower() != "file":
        raise BadImage(f"the address {shown(plain)}: nothing is downloaded, name the file below the image folder")
    if plain.lower().startswith("file:"):
        # As people write them: "file://images/a.png" is a file below images, and "#" is part of a name.
        plain = unquote(re.sub(r"^file:(?://(?:localhost(?=/))?)?", "", plain, flags=re.IGNORECASE))
    if not plain or _SURROGATE.search(plain):
        raise BadImage(f"{shown(text)}, not a path")
    if len(plain) > _LONGEST_NAME:
        raise BadImage(f"a text of {len(plain):,} characters, not a path")
    name = plain if plain != text.strip() else text
    # Files made on Windows: only relative names can mean the same place here.
    return name if "\\" not in name or PureWindowsPath(name).drive else name.replace("\\", "/")


def _looks_encoded(text: str) -> bool:
    """True for base64 whose first bytes are those of an image."""
    try:
        start = base64.b64decode(text[:_SHORTEST_BASE64].translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        return False
    magic = next((magic for magic in _KINDS if start.startswith(magic)), b"")
    # Two bytes may be chance; of three and more the text is base64, whole or damaged.
    return len(magic) > 2 or (bool(magic) and bool(_BASE64.fullmatch(text.translate(_URL_SAFE))))


def _decoded(text: str) -> bytes:
    if len(text) > LONGEST_ROW:
        raise BadImage(f"base64 of {len(text):,} characters, allowed are {LONGEST_ROW:,}")
    try:
        plain = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
        return _content(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError):
        raise BadImage(f"damaged base64 ({len(text):,} characters)") from None


def _content(content: bytes) -> bytes:
    if not content:
        raise BadImage("an image of no bytes")
    return content


def _kind(value: object) -> str:
    plain = value is None or isinstance(value, (bool, int, float))
    return shown(value) if plain else f"a {type(value).__name__}"
