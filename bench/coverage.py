"""How often the intervals of a report hold the truth: sets of questions drawn from a population that is known.

    python -m bench.coverage                 # 5,000 sets each: docs/results/coverage.md and .svg
    python -m bench.coverage --sets 200

Images carry one to five questions. Each has its own difficulty, and its own gain by the second model, so that questions
on one image are alike, as in VQA-RAD; answers are right or wrong. The truth is the mean gain of the population.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmedpo.evaluate.effects import length_controlled, seed_effect
from mmedpo.evaluate.statistics import paired_difference, paired_difference_over_seeds
from mmedpo.report.figures import ForestRow, forest
from mmedpo.storage.tables import write_text

OUT = Path(__file__).parents[1] / "docs/results"
RESAMPLES = 1000
"""Behind each interval here; a run takes ten times as many."""
LEVEL = 0.95
Rng = np.random.Generator
Values = Mapping[str, float]


class Bounds(NamedTuple):
    """One interval."""

    low: float
    high: float


class Population(NamedTuple):
    """What sets are drawn from."""

    images: int
    easiness: float
    """Log-odds that the first model is right on an image of middle difficulty."""
    gain: float
    """Mean of what the second model adds to them."""
    spread: float = 1.0
    """Standard deviation of difficulty between images, log-odds."""
    gain_spread: float = 0.7
    """Standard deviation of the gain between images, log-odds."""
    seed_spread: float = 0.0
    """Standard deviation of the gain between training seeds, log-odds."""
    seeds: int = 1

    def truth(self) -> float:
        """Mean gain in accuracy, over images and seeds, by Gauss and Hermite's rule."""
        points, weights = np.polynomial.hermite_e.hermegauss(60)
        weights = weights / weights.sum()
        of_gain = math.hypot(self.gain_spread, self.seed_spread)
        before = _chance(self.easiness + self.spread * points)
        after = _chance(self.easiness + self.gain + self.spread * points[:, None] + of_gain * points[None, :])
        return float(weights @ after @ weights - weights @ before)


class Case(NamedTuple):
    """One row of the table."""

    name: str
    population: Population
    interval: Callable[[Population, Rng, int], Bounds]


class Found(NamedTuple):
    """How often the intervals of one case held the truth."""

    case: Case
    sets: int
    held: int
    width: float
    """Mean width, percentage points."""

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.held / self.sets

    @property
    def error(self) -> float:
        """Half the 95 % interval of the share, by chance in the sets drawn."""
        return 1.96 * math.sqrt(self.share * (1 - self.share) / self.sets)


def of_images(population: Population, rng: Rng, number: int) -> Bounds:
    """The interval of a report: bootstrap over images."""
    before, after, clusters = _drawn(population, rng)
    found = paired_difference(after[0], before, clusters, samples=RESAMPLES, level=LEVEL, seed=number)
    return Bounds(found.low, found.high)


def over_seeds(population: Population, rng: Rng, number: int) -> Bounds:
    """The interval of a study's table: bootstrap over images and seeds."""
    before, after, clusters = _drawn(population, rng)
    runs = [(values, before) for values in after]
    found = paired_difference_over_seeds(runs, clusters, samples=RESAMPLES, level=LEVEL, seed=number)
    return Bounds(found.low, found.high)


def random_effects(population: Population, rng: Rng, number: int) -> Bounds:
    """Seeds and images as random effects."""
    before, after, clusters = _drawn(population, rng)
    found = seed_effect([(values, before) for values in after], clusters, LEVEL)
    assert found is not None
    return Bounds(found.low, found.high)


def at_equal_length(population: Population, rng: Rng, number: int) -> Bounds:
    """The same gain, and a second one that grows with the length of the answer, which is taken out."""
    before, after, clusters = _drawn(population, rng)
    longer = {item: float(rng.normal(0.5, 0.6)) for item in before}
    longer_is_better = {item: value + 0.3 * longer[item] for item, value in after[0].items()}
    found = length_controlled(longer_is_better, before, longer, clusters, LEVEL)
    assert found is not None
    return Bounds(found.low, found.high)


CASES = (
    Case("bootstrap over images", Population(20, 0.5, 0.6), of_images),
    Case("bootstrap over images", Population(50, 0.5, 0.6), of_images),
    Case("bootstrap over images", Population(200, 0.5, 0.6), of_images),
    Case("the same, no difference", Population(50, 0.5, 0.0), of_images),
    Case("the same, nearly all right", Population(50, 3.0, 0.6), of_images),
    Case("bootstrap over images and 3 seeds", Population(60, 0.5, 0.6, seed_spread=0.3, seeds=3), over_seeds),
    Case("3 seeds as a random effect", Population(60, 0.5, 0.6, seed_spread=0.3, seeds=3), random_effects),
    Case("bootstrap over images and 8 seeds", Population(60, 0.5, 0.6, seed_spread=0.3, seeds=8), over_seeds),
    Case("8 seeds as a random effect", Population(60, 0.5, 0.6, seed_spread=0.3, seeds=8), random_effects),
    Case("at equal length", Population(50, 0.5, 0.6), at_equal_length),
)


def measure(case: Case, sets: int, seed: int = 0) -> Found:
    """Draws sets of questions and counts the intervals that hold the truth."""
    truth, held, width = case.population.truth(), 0, 0.0
    for number in range(sets):
        bounds = case.interval(case.population, np.random.default_rng([seed, number]), number)
        held += bounds.low <= truth <= bounds.high
        width += 100 * (bounds.high - bounds.low) / sets
    return Found(case, sets, held, width)


def table(found: list[Found]) -> str:
    """The page."""
    lines = [
        "# Do the intervals hold what they say?",
        "",
        "Command: `python -m bench.coverage`. Sets of questions are drawn from a population whose truth is known; "
        "images carry one to five questions, and questions on one image are alike. Stated coverage: 95 %. In brackets "
        f"what chance in the number of sets leaves open. {RESAMPLES:,} resamples each; a run takes 10,000.",
        "",
        "![Coverage minus 95 %](coverage.svg)",
        "",
        "| interval | images | sets | hold the truth, % | mean width, points |",
        "|---|---|---|---|---|",
    ]
    for item in found:
        covers = f"{100 * item.share:.1f} (± {100 * item.error:.1f})"
        lines.append(
            f"| {item.case.name} | {item.case.population.images} | {item.sets:,} | {covers} | {item.width:.1f} |"
        )
    return "\n".join(lines) + "\n"


def picture(found: list[Found]) -> str:
    """Coverage minus the stated one."""
    rows = []
    for item in found:
        value, half = 100 * (item.share - LEVEL), 100 * item.error
        rows.append(
            ForestRow(f"{item.case.name}, {item.case.population.images} images", value, value - half, value + half)
        )
    drawn = forest(rows, title="Coverage minus 95 %", axis="coverage minus 95 %, percentage points", width=780)
    # In a page it has these from around it.
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _drawn(population: Population, rng: Rng) -> tuple[dict[str, float], list[dict[str, float]], dict[str, str]]:
    """(before, after by seed, images) of one set of questions."""
    counts = rng.integers(1, 6, population.images)
    image = np.repeat(np.arange(population.images), counts)
    difficulty = rng.normal(population.easiness, population.spread, population.images)[image]
    own = rng.normal(population.gain, population.gain_spread, population.images)[image]
    names = [f"q{number}" for number in range(len(image))]
    before = _right(difficulty, rng)
    after = [_right(difficulty + own + rng.normal(0.0, population.seed_spread), rng) for _ in range(population.seeds)]
    clusters = {name: f"i{number}" for name, number in zip(names, image, strict=True)}
    return dict(zip(names, before, strict=True)), [dict(zip(names, one, strict=True)) for one in after], clusters


def _right(odds: np.ndarray, rng: Rng) -> list[float]:
    return [float(value) for value in rng.random(len(odds)) < _chance(odds)]


def _chance(odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-odds)))


def main() -> None:
    """Measures every case and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    found = []
    for case in CASES:
        found.append(measure(case, given.sets))
        print(f"{case.name}, {case.population.images} images: {100 * found[-1].share:.1f} %", flush=True)
    write_text(given.out / "coverage.md", table(found))
    write_text(given.out / "coverage.svg", picture(found))


if __name__ == "__main__":
    main()
