"""The reference cache: what it computes, what it takes up again, what it refuses."""

from __future__ import annotations

import pytest
import torch

from engine.families import EOS, IMAGE, IMAGE_TOKENS, read_view, small_model
from mmedpo.engine import Branch, Engine, FeatureStore, ReferenceCache
from mmedpo.errors import TrainingError

PROMPT = (1, *[IMAGE] * IMAGE_TOKENS, 10)


@pytest.fixture
def engine():
    vlm = small_model("llama")
    return Engine(vlm, FeatureStore(vlm, read_view), max_tokens=4096)


@pytest.fixture
def branches(tmp_path):
    views = [tmp_path / f"{name}.png" for name in "ab"]
    for view in views:
        view.write_bytes(view.name.encode())
    return [Branch((view,), PROMPT, (answer, EOS)) for view in views for answer in (20, 21)]


def test_values_are_the_models_own_and_survive_the_file(engine, branches, tmp_path):
    ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, branches)
    taken = ReferenceCache(tmp_path / "r.safetensors", "w").take(branches)
    expected = engine.measure(branches)
    torch.testing.assert_close(torch.cat([taken[branch] for branch in branches]), expected.values)


def test_only_what_is_missing_is_computed(engine, branches, tmp_path, monkeypatch):
    ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, branches[:3])
    asked = []
    measure = engine.measure
    monkeypatch.setattr(engine, "measure", lambda part, *rest: asked.extend(part) or measure(part, *rest))
    ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, [*branches, branches[0]])
    assert asked == branches[3:]


def test_other_weights_are_refused(engine, branches, tmp_path):
    ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, branches)
    with pytest.raises(TrainingError, match="made with other weights; delete it"):
        ReferenceCache(tmp_path / "r.safetensors", "v")


def test_an_image_of_other_bytes_is_other_data(engine, branches, tmp_path):
    ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, branches)
    branches[0].views[0].write_bytes(b"changed")
    with pytest.raises(
        TrainingError, match="lacks 2 of 4 answers: it was made with other images, questions or answers"
    ):
        ReferenceCache(tmp_path / "r.safetensors", "w").take(branches)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_that_is_no_cache_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "r.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match=r"unreadable \(.*\); delete it and train again"):
        ReferenceCache(tmp_path / "r.safetensors", "w")


def test_a_kill_costs_one_chunk(engine, branches, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedpo.engine.reference.CHUNK", 1)
    measure, calls = engine.measure, []

    def dying(part, *rest):
        calls.append(part)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(part, *rest)

    monkeypatch.setattr(engine, "measure", dying)
    with pytest.raises(KeyboardInterrupt):
        ReferenceCache(tmp_path / "r.safetensors", "w").fill(engine, branches)
    ReferenceCache(tmp_path / "r.safetensors", "w").take(branches[:2])
    monkeypatch.setattr(engine, "measure", measure)
    again = ReferenceCache(tmp_path / "r.safetensors", "w")
    again.fill(engine, branches)
    assert len(again.take(branches)) == 4


def test_the_same_answer_to_another_question_has_its_own_value(engine, tmp_path):
    """`yes` to one question must never be given the log pi_0 of `yes` to another."""
    view = tmp_path / "a.png"
    view.write_bytes(b"a")
    asked, other = (Branch((view,), (*PROMPT, word), (20, EOS)) for word in (11, 12))
    cache = ReferenceCache(tmp_path / "r.safetensors", "w")
    cache.fill(engine, [asked])
    with pytest.raises(TrainingError, match="lacks 1 of 2 answers"):
        cache.take([asked, other])
    cache.fill(engine, [asked, other])
    taken = cache.take([asked, other])
    assert not torch.allclose(taken[asked], taken[other])
