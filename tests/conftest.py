"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# No deadline: what an example takes says more about the machine than about the code. The same examples every time, so
# that a change is judged by what it changed; MMEDPO_EXPLORE=1 draws others.
settings.register_profile("mmedpo", deadline=None, derandomize=not os.environ.get("MMEDPO_EXPLORE"))
settings.load_profile("mmedpo")

# The models of the tests are tiny: a second thread costs more in waiting than it computes, far more on a busy
# machine. Subprocesses inherit it, so that numbers agree to the last bit between them and this process.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real public data (VQA-RAD, chest radiographs, DICOM); tests skip where it is absent."""
    folder = Path(os.environ.get("MMEDPO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no real test data at {folder}; set MMEDPO_TEST_DATA to run this test")
    return folder


@cache
def _decoded(file: Path, changed: int, **options: Any) -> Any:
    from mmedpo.imaging.images import index_image

    return index_image(file.parent, file.name, **options)


@pytest.fixture(scope="module")
def decoded_once() -> Iterator[None]:
    """Of the real images each is decoded once in a process, by whichever test asks first, not by every one again."""
    from mmedpo.imaging.images import index_image

    def indexed(root: Path, relative: str, **options: Any) -> Any:
        file = root / relative
        if not file.is_file():
            return index_image(root, relative, **options)
        return _decoded(file, file.stat().st_mtime_ns, **options).model_copy(update={"path": relative})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmedpo.imaging.index.index_image", indexed)
        yield


@pytest.fixture
def table() -> Iterator[dict[tuple[str, str], Any]]:
    """The table of registered pieces; what a test registers goes with it, and what it had loaded for it stays."""
    from mmedpo import registry

    yield registry._TABLE
    for key, piece in list(registry._TABLE.items()):
        if not registry._origin(piece).startswith("mmedpo."):
            del registry._TABLE[key]


@pytest.fixture(scope="session")
def small_vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of the tiny architecture with random weights and a tokenizer of its own, as a checkpoint."""
    import torch

    from mmedpo.models.tiny.architecture import build_model, build_tokenizer, save_checkpoint

    texts = ["is there a nodule in the left upper zone?", "yes", "no", "a small mass in the right lower zone", "AP"]
    tokenizer = build_tokenizer(texts * 20)
    torch.manual_seed(0)
    model = build_model(tokenizer)
    for parameter in model.parameters():
        # Larger than the usual start, so that images and texts make a difference one can measure.
        parameter.data.mul_(3.0) if parameter.dim() > 1 else None
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(model, tokenizer, folder, dtype="float32")
    return folder


@pytest.fixture
def small_vlm(small_vlm_folder: Path):
    """That checkpoint, loaded anew for every test."""
    from mmedpo.config import ModelSettings
    from mmedpo.models.hub import load_model

    return load_model(ModelSettings(name=str(small_vlm_folder), device="cpu"))
