"""Factors of the weights: what the reference knows of each question, measured once before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mmedpo.engine import Branch, Engine, FeatureStore, ReferenceCache
from mmedpo.imaging.pictures import read_image_file
from mmedpo.progress import Advance
from mmedpo.records import FactorValue
from mmedpo.records.shapes import Pixels
from mmedpo.registry import lookup
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import hash_path
from mmedpo.train.factors import Bounds, Factor, Probabilities, factor_weights
from mmedpo.train.groups import Group


def weigh(
    engine: Engine,
    groups: Sequence[Group],
    names: Sequence[str],
    bounds: Bounds,
    seed: int,
    track: Callable[[str], Advance],
    cache_of: Callable[[str], ReferenceCache],
) -> tuple[list[Group], list[FactorValue]]:
    """Multiplies every pair's weight by the factors of its question.

    Args:
        engine: of the reference, its form settled.
        groups: all pairs.
        names: registered factors.
        bounds: of each of them.
        seed: of the run; what an image is shown as depends on it and on the image.
        track: begins a line of progress.
        cache_of: what of a factor a killed run has measured.

    Returns:
        The pairs with their weights, and every factor of every pair, stored apart.
    """
    pairs = [pair for group in groups for pair in group]
    asked = list(dict.fromkeys(pair.chosen for pair in pairs))
    product = dict.fromkeys(asked, 1.0)
    rows: list[FactorValue] = []
    for name in names:
        factor: Factor = lookup("factor", name)()
        probability = _probabilities(engine, factor, name, asked, seed, track, cache_of(name))
        weights = dict(zip(asked, factor_weights(factor.raw(probability), bounds).tolist(), strict=True))
        known = dict(zip(asked, probability.tolist(), strict=True))
        rows += [
            FactorValue(pair_id=pair.pair_id, factor=name, probability=known[pair.chosen], value=weights[pair.chosen])
            for pair in pairs
        ]
        product = {branch: value * weights[branch] for branch, value in product.items()}
    return [[replace(pair, weight=pair.weight * product[pair.chosen]) for pair in group] for group in groups], rows


def _probabilities(
    engine: Engine,
    factor: Factor,
    name: str,
    asked: Sequence[Branch],
    seed: int,
    track: Callable[[str], Advance],
    cache: ReferenceCache,
) -> Probabilities:
    """exp of the mean log-probability per token of each answer, on the images as the factor shows them."""
    # Each is looked at once: kept, they would fill the memory beside those that training needs.
    features = FeatureStore(engine.vlm, partial(_shown, factor, name, seed), place="recompute")
    other = Engine(engine.vlm, features, engine.max_tokens, engine.form, engine.autocast)
    cache.fill(other, asked, track(f"{name} of the questions"))
    known = cache.take(asked)
    probability: Probabilities = np.exp([float(known[branch].mean()) for branch in asked])
    return probability


def _shown(factor: Factor, name: str, seed: int, path: Path) -> Pixels:
    image = read_image_file(path)
    # An image is told by its file's bytes, wherever it lies.
    whole = path.with_name(path.name.partition("#")[0])
    return factor.shown(image, derive_seed(seed, "factor", name, hash_path(whole), path.name.partition("#")[2]))
