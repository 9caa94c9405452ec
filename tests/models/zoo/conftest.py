"""Every family's small checkpoint, written and loaded once."""

from __future__ import annotations

import pytest

from mmedpo.config import ModelSettings
from mmedpo.models.hub import load_model
from models.zoo.checkpoints import ZOO, save

ALWAYS = ("llava_mistral", "qwen2_5_vl", "gemma3")
"""Families whose use (`test_use.py`) every run of the tests looks at: one axis of positions, three, images seen both
ways. What is exact is shown of all, always (`test_exact.py`); the use of the others in the long tests."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("name")
        if item.path.name == "test_use.py" and name is not None and name not in ALWAYS:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def zoo_folder(tmp_path_factory):
    """Folder of a family's checkpoint by name."""
    root = tmp_path_factory.mktemp("zoo")

    def folder(name):
        if not (root / name).exists():
            save(name, root / name)
        return root / name

    return folder


@pytest.fixture(scope="module", params=ZOO)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name, zoo_folder):
    return zoo_folder(name)


@pytest.fixture(scope="module")
def shared_vlm(folder):
    """Loaded once: for tests that change nothing."""
    return load_model(ModelSettings(name=str(folder), device="cpu"))


@pytest.fixture
def vlm(folder):
    """Loaded anew for every test."""
    return load_model(ModelSettings(name=str(folder), device="cpu"))
