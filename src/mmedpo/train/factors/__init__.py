"""Factors of a question's weight that are measured with the reference, one registered file each."""

from mmedpo.train.factors.factor import Bounds, Factor, Probabilities, factor_weights

__all__ = ["Bounds", "Factor", "Probabilities", "factor_weights"]
