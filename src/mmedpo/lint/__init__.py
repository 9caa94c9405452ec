"""Faults of preference data: found, counted, listed by row, and mended. Pure: rows in, findings out."""
