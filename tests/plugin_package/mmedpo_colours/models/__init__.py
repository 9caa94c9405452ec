"""Pieces that load torch."""
