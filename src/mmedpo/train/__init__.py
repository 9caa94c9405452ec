"""Weighted preference optimization: objectives, reference, trainer, collapse watch."""
