"""Pixels: reading images safely, and noising them by Eq. 2. Below the stages, never aware of torch."""
