"""Every family's small checkpoint, written and loaded once."""

from __future__ import annotations

from copy import deepcopy

import pytest

from mmedpo.config import ModelSettings
from mmedpo.models.hub import load_model
from models.zoo.checkpoints import ZOO, save


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


@pytest.fixture(scope="module")
def exact_vlm(shared_vlm):
    """In float64, where no two tokens tie; every fifth token ends an answer, so that they end one after the other."""
    copied = deepcopy(shared_vlm)
    copied.model.double()
    copied.family.stops = frozenset(range(0, len(copied.tokenizer), 5))
    return copied


@pytest.fixture
def vlm(shared_vlm):
    """A model of its own for every test: a copy, which takes a tenth of the time of loading."""
    return deepcopy(shared_vlm)
