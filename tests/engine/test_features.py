"""Image features: the same numbers wherever they are kept, and gradients where something is trained."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from engine.families import VIEWS, read_view, small_model
from mmedpo.engine import FeatureStore
from mmedpo.engine import features as module


@pytest.fixture
def vlm():
    return small_model("llama")


@pytest.fixture
def views(tmp_path):
    paths = [tmp_path / view.name for view in VIEWS]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def encoded(vlm):
    """Features of all views from pixels, by the stock code, in one batch."""
    pixels = torch.cat([vlm.inputs(read_view(view))["pixel_values"] for view in VIEWS])
    with torch.no_grad():
        return torch.stack(vlm.base.get_image_features(pixels, return_dict=True).pooler_output)


def rows(features):
    """[views, image tokens, hidden] of what a store gives."""
    return torch.stack([one.rows[0] for one in features])


def counted(reads):
    return lambda path: reads.append(path) or read_view(Path(path.name))


@pytest.mark.parametrize("place", ["memory", "disk", "recompute", "auto"])
def test_features_are_the_models_own_wherever_they_are_kept(vlm, views, tmp_path, place):
    store = FeatureStore(vlm, counted([]), folder=tmp_path / "features", place=place, identity="w")
    store.preload(views)
    expected = encoded(vlm)
    torch.testing.assert_close(rows(store([views[2], views[0], views[2]])), expected[[2, 0, 2]])
    assert not rows(store(views)).requires_grad
    assert store(views)[0].size == (28, 28)


@pytest.mark.parametrize(("place", "times"), [("memory", 3), ("disk", 3), ("recompute", 6)])
def test_frozen_features_are_computed_once_unless_asked_otherwise(vlm, views, tmp_path, place, times):
    reads: list[Path] = []
    store = FeatureStore(vlm, counted(reads), folder=tmp_path / "features", place=place, identity="w")
    store.preload(views)
    store(views)
    store(views)
    assert len(reads) == times


def test_files_are_taken_up_again_and_those_of_other_weights_are_not(vlm, views, tmp_path):
    for identity, times in (("w", 3), ("w", 0), ("v", 3)):
        reads: list[Path] = []
        store = FeatureStore(vlm, counted(reads), folder=tmp_path, place="disk", identity=identity)
        store.preload(views)
        assert len(reads) == times


def test_too_many_for_memory_go_to_disk_or_are_recomputed_and_the_choice_is_kept(vlm, views, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedpo.engine.features.MEMORY_SHARE", 0.0)
    store = FeatureStore(vlm, counted([]), folder=tmp_path / "f", place="auto", identity="w")
    store.preload(views)
    assert store.place in ("disk", "recompute")
    monkeypatch.setattr("mmedpo.engine.features.MEMORY_SHARE", 1.0)
    again = FeatureStore(vlm, counted([]), folder=tmp_path / "f", place="auto", identity="w")
    again.preload(views)
    assert again.place == store.place
    assert FeatureStore(vlm, counted([]), place="auto")._choose(views) == "memory"


@pytest.mark.parametrize("place", ["memory", "disk", "recompute"])
def test_with_a_trained_projector_the_towers_output_is_kept_and_the_projector_gets_gradients(
    vlm, views, tmp_path, place
):
    vlm.trained = frozenset({"projector"})
    vlm.model.model.multi_modal_projector.requires_grad_(True)
    reads: list[Path] = []
    store = FeatureStore(vlm, counted(reads), folder=tmp_path / "f", place=place, identity="w")
    store.preload(views)
    before = rows(store(views))
    before.sum().backward()
    weight = next(vlm.model.model.multi_modal_projector.parameters())
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in vlm.model.model.vision_tower.parameters())
    weight.data.mul_(2.0)
    assert not torch.allclose(rows(store(views)), before)
    torch.testing.assert_close(rows(store(views)), encoded(vlm))
    assert (len(reads) == 3) == (place != "recompute")


def test_with_a_trained_tower_every_view_is_encoded_once_per_call(vlm, views):
    vlm.trained = frozenset({"vision_tower"})
    vlm.model.model.vision_tower.requires_grad_(True)
    reads: list[Path] = []
    store = FeatureStore(vlm, counted(reads))
    store.preload(views)
    assert reads == []
    rows(store([*views, views[0]])).sum().backward()
    assert len(reads) == 3
    patches = vlm.model.model.vision_tower.get_parameter("embeddings.patch_embedding.weight")
    assert float(patches.grad.abs().max()) > 0


def test_no_pass_of_the_tower_has_more_than_a_shard_whatever_is_asked(vlm, views, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 2)
    passes = []
    keep = vlm.keep
    monkeypatch.setattr(vlm, "keep", lambda images: passes.append(len(images)) or keep(images))
    found = rows(FeatureStore(vlm, counted([]), place="recompute")(views))
    assert passes == [2, 1]
    torch.testing.assert_close(found, rows(FeatureStore(vlm, counted([]))(views)))


@pytest.mark.parametrize("place", ["memory", "disk", "recompute", "auto"])
def test_several_processes_compute_a_share_each_and_read_those_of_all(vlm, views, tmp_path, place, monkeypatch):
    """Two threads stand for the processes; what they have in common is the folder."""
    monkeypatch.setattr(module, "SHARD", 1)
    alone = FeatureStore(vlm, counted([]), folder=tmp_path / "alone", place="disk", identity="w")
    alone.preload(views)
    reads: tuple[list[Path], list[Path]] = ([], [])
    stores = [FeatureStore(vlm, counted(own), folder=tmp_path / "shared", place=place, identity="w") for own in reads]
    meet = threading.Barrier(2, timeout=60)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rank: stores[rank].preload_together(views, rank, 2, meet.wait), range(2)))
    if place in ("memory", "disk"):
        assert [len(own) for own in reads] == [2, 1]
    before = [len(own) for own in reads]
    for store in stores:
        assert store.place == ("memory" if place == "auto" else place)
        # Bit for bit where the batches are the same.
        exact = {"rtol": 0, "atol": 0} if place != "recompute" else {}
        torch.testing.assert_close(rows(store(views)), rows(alone(views)), **exact)
    assert ([len(own) for own in reads] == before) == (place != "recompute")
