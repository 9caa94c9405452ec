"""What an optimizer step costs by how many images its questions stand on: tokens, and processor time on one thread.

    python -m bench.step_images runs/demo        # a run whose pairs are scored; prints a table

The questions of a step are grouped as training groups them; forward and backward of Eq. 3's branches, packed as
training packs them. Ways take turns, so that other work on the machine disturbs them alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import torch

from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.engine.logprobs import layout_of
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.records import PreferencePair
from mmedpo.run import Run, read_run
from mmedpo.run.layout import PAIRS
from mmedpo.train.groups import Group, Kept, branches_of, families, group_pairs
from mmedpo.train.sampler import StepSampler

WAYS = {
    "eight questions at random": (Kept("example"), 8),
    "two of each of four images": (Kept("image", 2), 4),
    "three of each of three images": (Kept("image", 3), 3),
    "four of each of two images": (Kept("image", 4), 2),
    "one image with all its questions": (Kept("image"), 1),
}
"""How a step's questions are grouped, and how many groups it takes."""
STEPS = 8
"""Steps of each way; the first is not timed."""


class Cost(NamedTuple):
    """Of one step."""

    seconds: float
    tokens: int
    questions: int


def measured(run: Run) -> dict[str, list[Cost]]:
    """Steps of every way, in turn, drawn as training draws them."""
    settings = run.settings
    vlm = load_model(settings.model)
    vlm.trained = frozenset(settings.train.parts)
    engine = Engine.from_settings(vlm, FeatureStore(vlm, read_image_file), settings)
    pairs = run.read(PAIRS, PreferencePair)
    steps = {}
    for way, (kept, size) in WAYS.items():
        groups = group_pairs(vlm, pairs, run.image_root, run.path, max_length=settings.train.max_length, kept=kept)
        engine.features.preload(view for group in groups for branch in branches_of(group) for view in branch.views)
        steps[way] = cycle([[groups[n] for n in step] for step in StepSampler([1] * len(groups), size, 0)])
    make_trainable(vlm, settings.train, 0)
    vlm.model.train()
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    for _ in range(STEPS):
        for way, own in steps.items():
            found[way].append(_step(engine, next(own)))
    return {way: costs[1:] for way, costs in found.items()}


def _step(engine: Engine, groups: Sequence[Group]) -> Cost:
    started, tokens = time.process_time(), 0
    units = families([pair for group in groups for pair in group])
    asked = [branches_of(unit) for unit in units]
    for part in engine.bins(asked):
        branches: list[Branch] = list(dict.fromkeys(branch for number in part for branch in asked[number]))
        tokens += layout_of(engine.vlm, branches).columns
        torch.autograd.backward(engine.logprobs(branches).values.sum())
    engine.vlm.model.zero_grad()
    return Cost(time.process_time() - started, tokens, len(units))


def main(folder: Path) -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print("| a step takes | tokens | seconds | seconds a question |\n|---|---|---|---|")
    for way, costs in measured(read_run(folder)).items():
        seconds, tokens, questions = (sum(values) for values in zip(*costs, strict=True))
        cells = f"{tokens / len(costs):,.0f} | {seconds / len(costs):.2f} | {seconds / questions:.3f}"
        print(f"| {way} | {cells} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
