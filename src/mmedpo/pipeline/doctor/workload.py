"""What a recipe will compute, as branches: its questions, with stand-ins for rejected answers and views to come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.engine import Branch, build_branch
from mmedpo.engine.bins import fill_bins
from mmedpo.engine.engine import ENOUGH_ON_CPU, MAX_TOKENS
from mmedpo.engine.layout import branch_symbols
from mmedpo.engine.logprobs import image_columns, layout_of
from mmedpo.imaging.pictures import image_files
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.pipeline.doctor.cases import Cases
from mmedpo.records import Example
from mmedpo.train.groups import Kept

SAMPLED_STEPS = 12
"""Optimizer steps that are laid out to see how large passes are; the others are taken to be like them."""
_NOISED = "noised-"


@dataclass(frozen=True)
class Workload:
    """The training of one round."""

    questions: int
    """Training questions; at most one pair of each kind is made of each."""
    views: int
    """Distinct image views training looks at, noised ones included."""
    steps: int
    """Optimizer steps of all epochs."""
    columns_per_step: float
    """Tokens after sharing, at the mean."""
    targets: int
    """Answer tokens of all distinct branches."""
    largest: list[Branch]
    """The largest pass among the sampled steps."""
    typical: list[Branch]
    """The first one."""
    answer_tokens: int
    """Of an answer, at the mean."""


def workload(vlm: VisionLanguageModel, cases: Cases, settings: RunSettings, device: str) -> Workload:
    """Lays out a sample of the steps a recipe trains in.

    Args:
        vlm: the model, or its outline.
        cases: the recipe's data.
        settings: the recipe.
        device: it trains on; passes are smaller on a CPU.

    Raises:
        TrainingError: a question, or what must be computed together, is too large.
    """
    train = settings.train
    units = [_unit(vlm, example, cases.image_root, settings) for example in cases.examples]
    keys = Kept.of(train, settings.seed).keys({e.example_id: e.image.sha256 for e in cases.examples})
    groups: dict[str, list[list[Branch]]] = {}
    for example, unit in zip(cases.examples, units, strict=True):
        key = keys[example.example_id]
        for part in [[b] for b in unit] if train.grouping == "none" else [unit]:
            groups.setdefault(f"{key}/{len(groups)}" if train.grouping == "none" else key, []).append(part)
    order = list(groups.values())
    random.Random(settings.seed).shuffle(order)
    size = train.batch_groups * train.gradient_accumulation
    steps = [order[start : start + train.batch_groups] for start in range(0, len(order), train.batch_groups)]
    enough = ENOUGH_ON_CPU if device.startswith("cpu") else None
    passes = [_passes(vlm, step, settings.engine.max_tokens, enough) for step in steps[:SAMPLED_STEPS]]
    columns = [sum(layout_of(vlm, part).columns for part in step) for step in passes]
    flat = [branch for unit in units for branch in unit]
    targets = sum(len(branch.response) for branch in flat)
    return Workload(
        questions=len(units),
        views=len({view for branch in flat for view in branch.views}),
        steps=round(train.epochs * -(-len(order) // size)),
        columns_per_step=sum(columns) / len(columns) * train.gradient_accumulation,
        targets=targets,
        largest=max((part for step in passes for part in step), key=lambda part: layout_of(vlm, part).columns),
        typical=passes[0][0],
        answer_tokens=round(sum(len(unit[0].response) for unit in units) / len(units)),
    )


def shown_view(view: Path) -> Path:
    """The image that stands for a view: the clean one for a noised one that is not made yet."""
    return view.with_name(view.name.removeprefix(_NOISED))


def _unit(vlm: VisionLanguageModel, example: Example, root: Path, settings: RunSettings) -> list[Branch]:
    """The branches of a question: its answer, as long a wrong one, and its answer on another view."""
    longest = settings.train.max_length
    views = image_files(root, example.images)
    chosen = build_branch(vlm, views, example.question, example.answer, max_length=longest, owner=example.example_id)
    kinds = ("text",) if settings.preferences is not None else settings.curate.kinds
    unit = [chosen]
    if settings.train.method == "sft":
        return unit
    if "text" in kinds:
        unit.append(replace(chosen, response=tuple(_other(vlm, token) for token in chosen.response)))
    if "visual" in kinds:
        unit.append(replace(chosen, views=(views[0].with_name(_NOISED + views[0].name), *views[1:])))
    return unit


def _other(vlm: VisionLanguageModel, token: int) -> int:
    """Any other token of text."""
    return next(other for other in range(3, 10) if other not in (token, vlm.image_token_id))


def _passes(
    vlm: VisionLanguageModel, step: Sequence[Sequence[list[Branch]]], max_tokens: int, enough: int | None
) -> list[list[Branch]]:
    """The forward passes of one batch of groups, as the engine fills them."""
    units = sorted((unit for group in step for unit in group), key=lambda unit: [str(view) for view in unit[0].views])
    flat = [branch for unit in units for branch in unit]
    whole = vlm.family.both_ways == "prompt"
    symbols = iter(branch_symbols(flat, partial(image_columns, vlm), whole=whole)[0])
    bins = fill_bins([[next(symbols) for _ in unit] for unit in units], max_tokens, MAX_TOKENS, enough)
    return [list(dict.fromkeys(branch for number in part for branch in units[number])) for part in bins]
