"""Paths on S3 as paths: no store is asked (`tests/data/test_s3.py` asks one)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmedpo.errors import StorageError
from mmedpo.storage.paths import safe_join
from mmedpo.storage.remote import RemotePath, located

ROOT = located(Path("s3://bucket/a"))


def test_names_of_a_bucket_join_as_names_of_a_folder() -> None:
    assert str(safe_join(ROOT, "b/c.png")) == "s3://bucket/a/b/c.png"
    assert str((ROOT / "b/c.png").relative_to(ROOT)) == "b/c.png"
    assert (ROOT / "b/c.png").parent == ROOT / "b"


def test_a_path_on_s3_is_one_in_another_process_too() -> None:
    again = copy.copy(ROOT / "b")  # as pickle makes one
    assert type(again) is RemotePath
    assert str(again) == "s3://bucket/a/b"


def test_other_paths_stay_what_they_are() -> None:
    assert located(Path("/a/b")) == Path("/a/b")
    assert type(located(Path("/a/b"))) is type(Path("/a/b"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.mkdir(),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text(""),
        lambda path: path.rename("x"),
        lambda path: path.open("wb"),
        lambda path: path.open("r+"),
    ],
)
def test_nothing_is_written_to_a_bucket(write: Callable[[Path], Any]) -> None:
    with pytest.raises(StorageError, match="is only read; name a folder of a file system"):
        write(ROOT / "x")
