"""One step of a recipe, run once: how long its parts take on this device, and how much memory it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from mmedpo.config import RunSettings
from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.engine.logprobs import layout_of
from mmedpo.engine.support import trie_refusal
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.generation import Decoding
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.pipeline.doctor.cases import Cases
from mmedpo.pipeline.doctor.workload import Workload, shown_view

TOKENS, QUESTIONS = 8, 4
"""Tokens of an answer, and answers at a time, of the measured generation."""


class Measured(NamedTuple):
    """Seconds, of one thing each."""

    encode: float
    """An image through tower and projector."""
    column: float
    """A token of a training pass, forward and backward."""
    forward: float
    """A token of a forward pass."""
    answer_token: float
    """A token of an answer, where `QUESTIONS` are decoded at once."""
    peak: int | None
    """Bytes the device had given out at most; None on a CPU, where nobody counts."""


def measure(settings: RunSettings, work: Workload, cases: Cases) -> Measured:
    """Loads the model and runs a pass, forward and backward, twice; the second is timed."""
    vlm = load_model(settings.model)
    cuda = vlm.device.type == "cuda"
    features = FeatureStore(vlm, lambda view: read_image_file(shown_view(view)))
    views = list(dict.fromkeys(view for branch in work.typical for view in branch.views))[:QUESTIONS]
    features([views[0]])
    encode = _seconds(lambda: vlm.encode([features.read(view) for view in views]), cuda) / len(views)
    answers = _answer_seconds(Engine.from_settings(vlm, features, settings), cases, cuda)
    make_trainable(vlm, settings.train, 0)
    if settings.train.activation_checkpointing:
        vlm.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    vlm.model.train()
    engine = Engine.from_settings(vlm, FeatureStore(vlm, features.read), settings)
    if trie_refusal(vlm.text_config):
        engine.form = "plain"
    columns = layout_of(vlm, work.typical).columns

    def forward() -> None:
        with torch.no_grad():
            engine.logprobs(work.typical)

    def step() -> None:
        torch.autograd.backward(engine.logprobs(work.typical).values.sum())

    step()
    if cuda:
        torch.cuda.reset_peak_memory_stats(vlm.device)
    seconds = _seconds(step, cuda)
    peak = torch.cuda.max_memory_allocated(vlm.device) if cuda else None
    return Measured(encode, seconds / columns, _seconds(forward, cuda) / columns, answers, peak)


def _answer_seconds(engine: Engine, cases: Cases, cuda: bool) -> float:
    """Seconds a token of an answer takes, its share of reading the prompt included."""
    asked = [Asked(tuple(case.views), case.question) for case in (cases.cases * QUESTIONS)[:QUESTIONS]]
    engine.answers(asked, Decoding(1))
    return _seconds(lambda: engine.answers(asked, Decoding(TOKENS)), cuda) / (TOKENS * QUESTIONS)


def _seconds(work: Callable[[], object], cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
