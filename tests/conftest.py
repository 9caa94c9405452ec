"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real public data (VQA-RAD, chest radiographs, DICOM); tests skip where it is absent."""
    folder = Path(os.environ.get("MMEDPO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no real test data at {folder}; set MMEDPO_TEST_DATA to run this test")
    return folder
