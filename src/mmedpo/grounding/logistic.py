"""Logistic regression small enough to need no library: penalised Newton steps, and Platt's calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import GroundingError
from mmedpo.records.shapes import Floats


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def fit_logistic(inputs: Floats, targets: Floats, penalty: float, steps: int = 50) -> tuple[Floats, float]:
    """Weights and intercept that minimise cross-entropy + penalty / 2 * |weights|^2.

    Newton's method (iteratively reweighted least squares); the intercept is not penalised. The
    objective is convex, and with penalty > 0 its minimum is unique.

    Args:
        inputs: [n, d], standardised columns.
        targets: [n] in 0..1 (fractions are allowed: share of a patch covered by the lesion).
        penalty: L2 strength, > 0.

    Raises:
        GroundingError: targets of one class only, or no convergence.
    """
    if not 0.0 < float(targets.mean()) < 1.0:
        raise GroundingError(f"every target is {targets.mean():g}; a probe needs patches with and without a lesion")
    design = np.column_stack([np.ones(len(inputs)), inputs])
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 0.0
    weights = np.zeros(design.shape[1])
    weights[0] = float(np.log(targets.mean() / (1.0 - targets.mean())))
    objective = _objective(design, targets, ridge, weights)
    for _ in range(steps):
        probability = sigmoid(design @ weights)
        slope = design.T @ (probability - targets) + ridge * weights
        curvature = (design * (probability * (1.0 - probability))[:, None]).T @ design
        step = np.linalg.solve(curvature + np.diag(ridge + 1e-9), slope)
        decrement = float(slope @ step)
        if decrement < 1e-10 * max(1.0, objective):
            return weights[1:], float(weights[0])
        # Halving until the objective falls enough keeps Newton's method from overshooting.
        length = 1.0
        while True:
            after = _objective(design, targets, ridge, weights - length * step)
            if after <= objective - 0.1 * length * decrement:
                break
            length /= 2.0
            if length < 1e-8:  # nothing left to gain in this precision
                return weights[1:], float(weights[0])
        weights, objective = weights - length * step, after
    raise GroundingError(f"the fit did not converge in {steps} steps; raise the penalty above {penalty:g}")


def _objective(design: Floats, targets: Floats, ridge: Floats, weights: Floats) -> float:
    """Cross-entropy + penalty, written so that large logits do not overflow."""
    logits = design @ weights
    return float(np.sum(np.logaddexp(0.0, logits) - targets * logits) + 0.5 * np.sum(ridge * weights**2))


def fit_platt(scores: Floats, labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of P(lesion) = sigmoid(slope * score + offset) (Platt 1999).

    Targets are (n+ + 1)/(n+ + 2) and 1/(n- + 2) instead of 1 and 0, Platt's guard against scores
    that separate the classes perfectly. Scores must come from images the model was not fitted on.

    Raises:
        GroundingError: labels of one class only.
    """
    positive, negative = int(labels.sum()), int((~labels).sum())
    if positive == 0 or negative == 0:
        raise GroundingError(f"{positive} images with and {negative} without a lesion; calibration needs both")
    targets = np.where(labels, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0))
    centre, spread = float(scores.mean()), float(scores.std()) + 1e-12
    weights, intercept = fit_logistic(((scores - centre) / spread)[:, None], targets, penalty=1e-3)
    slope = float(weights[0]) / spread
    return slope, intercept - slope * centre


def group_folds(groups: NDArray[np.int64], positive: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold number of every image; all images of one group (patient) share a fold.

    Groups with and without a positive image are dealt out in turn after a seeded shuffle, so that
    every fold holds about its share of both.

    Raises:
        GroundingError: fewer groups with a positive image than folds.
    """
    with_lesion = np.unique(groups[positive])
    if not 2 <= folds <= len(with_lesion):
        raise GroundingError(f"{folds} folds over {len(with_lesion)} patients with a lesion; allowed: 2 to that number")
    without = np.setdiff1d(np.unique(groups), with_lesion)
    rng = np.random.default_rng([seed])
    fold_of: dict[int, int] = {}
    for part in (with_lesion, without):
        fold_of |= {int(group): place % folds for place, group in enumerate(rng.permutation(part))}
    return np.array([fold_of[int(group)] for group in groups], dtype=np.int64)
