"""Devices: which one a model is put on."""

from __future__ import annotations

import os

from mmedpo.errors import ModelError


def device_of(wanted: str) -> str:
    """The device that `model.device` stands for in this process.

    Raises:
        ModelError: there is no such device here.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.startswith("cuda") and not there:
        raise ModelError(f"device {wanted!r} was asked for, but no CUDA device is visible; use cpu or auto")
    if ":" in wanted and int(wanted.partition(":")[2]) >= there:
        raise ModelError(f"device {wanted!r} was asked for, but the CUDA devices here are 0 to {there - 1}; name one")
    if wanted == "auto":
        wanted = "cuda" if there else "cpu"
    # One of several processes takes the device of its number.
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if wanted == "cuda" else wanted
