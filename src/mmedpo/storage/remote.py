"""Folders on S3-compatible storage, read through Arrow as if they were folders: `s3://BUCKET/FOLDER`.

A `RemotePath` is a path whose questions go to the store, so that every reader of a dataset works there as it is.
It only reads. Keys come from the environment alone, every wait ends, and what the store says is one line. A name
that is missing is missing as on a disk (`FileNotFoundError`); a store that cannot be asked ends the work.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Generator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PosixPath
from typing import IO, Any, NoReturn, Self

from mmedpo.errors import StorageError, brief, shown

SCHEME = "s3:"
CONNECT_SECONDS, ANSWER_SECONDS, ATTEMPTS = 5, 15, 3
"""What one request may wait for a connection, and for the next byte; and how often it is tried."""
READERS = 16
"""Images that are asked for at the same time: a store answers late and many."""
_BLOCK = 1 << 22
"""Bytes that are asked for at a time where a file is read bit by bit."""
_CODE = re.compile(r"AWS Error (\w+)")
_STATUS = re.compile(r"HTTP status (\d{3})")
_GONE = frozenset({"NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "NO_SUCH_UPLOAD"})
_REFUSED = frozenset({"ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID"})
_REFUSED_STATUS = frozenset({"401", "403"})


def located(path: Path) -> Path:
    """The path that reads there: a `RemotePath` for an address on S3 (also with one slash), any other as it is."""
    return RemotePath(path) if path.parts[:1] == (SCHEME,) else path


class RemotePath(PosixPath):
    """A file or folder of a bucket, or (as the result of `relative_to`) a name in one."""

    _told: os.stat_result | None = None
    """What a listing said of it."""

    def __str__(self) -> str:
        return f"s3://{'/'.join(self.parts[1:])}" if self.parts[:1] == (SCHEME,) else super().__str__()

    @property
    def _key(self) -> str:
        return "/".join(self.parts[1:])

    def resolve(self, strict: bool = False) -> Self:
        """Itself: there are no links."""
        return self

    def absolute(self) -> Self:
        """Itself."""
        return self

    def expanduser(self) -> Self:
        """Itself."""
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind, size and time; as the listing said where it comes from one.

        Raises:
            FileNotFoundError: there is neither a file nor a folder of this name.
            StorageError: no such bucket, or the store cannot be asked.
        """
        return self._told or _status(_ask(self, lambda store: store.get_file_info(self._key)), self)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is a file or folder of this name; raises as `stat`."""
        return self._mode() != 0

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether some key lies below it; raises as `stat`."""
        return stat.S_ISDIR(self._mode())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a key; raises as `stat`."""
        return stat.S_ISREG(self._mode())

    def is_symlink(self) -> bool:
        """False: there are no links."""
        return False

    def _mode(self) -> int:
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0

    def iterdir(self) -> Generator[Self, None, None]:
        """What lies in the folder, by name; keys that no file system could hold are left out."""
        yield from self._list(recursive=False)

    def rglob(self, pattern: str, **_: Any) -> Generator[Self, None, None]:
        """Everything below whose last name fits the pattern."""
        for found in self._list(recursive=True):
            if fnmatchcase(found.name, pattern):
                yield found

    def glob(self, pattern: str, **_: Any) -> Generator[Self, None, None]:
        """Everything in the folder whose name fits the pattern."""
        if "/" in pattern or "**" in pattern:
            raise NotImplementedError(f"{shown(pattern)} on {SCHEME}//: only names in one folder")
        yield from (found for found in self._list(recursive=False) if fnmatchcase(found.name, pattern))

    def _list(self, recursive: bool) -> list[Self]:
        from pyarrow.fs import FileSelector

        chosen = FileSelector(self._key, allow_not_found=False, recursive=recursive)
        found: dict[str, Self] = {}
        for info in _ask(self, lambda store: store.get_file_info(chosen)):
            names = info.path.split("/")[len(self.parts) - 1 :]
            if not names or any(name in ("", ".", "..") or "\0" in name for name in names):
                continue
            path = self.joinpath(*names)
            # A key and a folder may have one name: the key is what can be read.
            if info.is_file or info.path not in found:
                path._told = _status(info, path)
                found[info.path] = path
        return [found[name] for name in sorted(found)]

    def open(  # type: ignore[override]
        self, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None
    ) -> IO[Any]:
        """The file, to be read in blocks, as bytes or as text.

        Raises:
            FileNotFoundError: there is no such file (any more).
            StorageError: the store cannot be asked.
        """
        if set(mode) - set("rbt"):
            self._refuse()
        raw = io.BufferedReader(_File(self), _BLOCK)
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """The whole file in one request; raises as `open`."""

        def whole(store: Any) -> bytes:
            with store.open_input_file(self._key) as file:
                return bytes(file.read())

        return bytes(_ask(self, whole))

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """The whole file as text; raises as `open`."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def samefile(self, other_path: Any) -> bool:
        """Whether the other one is the same address."""
        return str(self) == str(other_path)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise StorageError(f"{self} cannot be written: {SCHEME}// is only read; name a folder of a file system")

    mkdir = touch = unlink = rmdir = rename = replace = write_bytes = write_text = chmod = _refuse
    symlink_to = hardlink_to = _refuse


class _File(io.RawIOBase):
    """A file of a bucket; what fails while it is read is told as what fails when it is opened."""

    def __init__(self, path: RemotePath) -> None:
        self._path = path
        self._file = _ask(path, lambda store: store.open_input_file(path._key))
        self._size, self._at = int(self._file.size()), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        most = min(len(buffer), max(0, self._size - self._at))
        if most:
            told = _ask(self._path, lambda _: self._file.read_at(most, self._at))
            buffer[: len(told)] = told
            most = len(told)
            self._at += most
        return most

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _status(info: Any, path: RemotePath) -> os.stat_result:
    if not (info.is_file or info.type.name == "Directory"):
        _check_bucket(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    kind = stat.S_IFREG if info.is_file else stat.S_IFDIR
    nanoseconds = info.mtime_ns or 0
    times = (nanoseconds // 10**9,) * 3
    return os.stat_result((kind | 0o444, 0, 0, 1, 0, 0, info.size or 0, *times), {"st_mtime_ns": nanoseconds})


def _ask(path: RemotePath, question: Any) -> Any:
    """What the store says.

    Raises:
        FileNotFoundError: there is no such key.
        StorageError: anything else that goes wrong.
    """
    try:
        return question(_store(path))
    except FileNotFoundError:
        _check_bucket(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except OSError as problem:
        code = (_CODE.findall(str(problem)) or [""])[0]
        if code in _GONE:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        raise StorageError(f"{brief(str(path))} cannot be read: {_trouble(path, code, str(problem))}") from None


def _trouble(path: RemotePath, code: str, told: str) -> str:
    """What went wrong and what to do, in one line."""
    status = (_STATUS.findall(told) or [""])[0]
    if code == "NO_SUCH_BUCKET":
        return _no_bucket(path)
    if code == "NETWORK_CONNECTION":
        late = (
            "does not answer in time"
            if "curlCode: 28" in told
            else "cuts connections"
            if "curlCode: 18" in told
            else ""
        )
        return f"{_where()} {late or 'cannot be reached'}; check AWS_ENDPOINT_URL and the network, then run it again"
    if code in _REFUSED or status in _REFUSED_STATUS:
        if not os.environ.get("AWS_ACCESS_KEY_ID"):
            return f"{_where()} asks for a key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return (
            f"{_where()} refuses the key ({code.lower()}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION"
        )
    if status.startswith("3") or code == "PERMANENT_REDIRECT":
        return f"{_where()} says that the bucket lies elsewhere; set AWS_REGION to its region"
    what = code.lower() if code not in ("", "UNKNOWN") else f"status {status}" if status else brief(told, 80)
    return f"{_where()} answers {what}; check AWS_ENDPOINT_URL, or run it again later"


def _check_bucket(path: RemotePath) -> None:
    bucket = path.parts[1]
    if bucket not in _buckets:
        if not _buckets_ask(path, bucket):
            raise StorageError(f"{brief(str(path))} cannot be read: {_no_bucket(path)}")
        _buckets.add(bucket)


_buckets: set[str] = set()
"""Buckets that were found."""


def _buckets_ask(path: RemotePath, bucket: str) -> bool:
    return bool(
        _ask(RemotePath(f"{SCHEME}//{bucket}"), lambda store: store.get_file_info(bucket)).type.name == "Directory"
    )


def _no_bucket(path: RemotePath) -> str:
    return f"{_where()} has no bucket {shown(path.parts[1])}; check its name and AWS_ENDPOINT_URL"


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _where() -> str:
    return brief(_endpoint(), 80) or "Amazon S3 (AWS_ENDPOINT_URL is not set)"


def _store(path: RemotePath) -> Any:
    if len(path.parts) < 2:
        raise StorageError(f"{brief(str(path))} names no bucket; write s3://BUCKET/FOLDER")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return _opened(os.getpid(), _endpoint(), region, *(os.environ.get(name, "") for name in names))


@lru_cache(maxsize=4)
def _opened(_: int, endpoint: str, region: str, key: str, secret: str, token: str) -> Any:
    """The store of one process, endpoint and key; where else a machine holds keys (files, roles) is not looked."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    if bool(key) != bool(secret):
        raise StorageError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set; set both")
    keys = {"access_key": key, "secret_key": secret, "session_token": token or None} if key else {"anonymous": True}
    return S3FileSystem(
        **keys,
        region=region,
        endpoint_override=endpoint or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
