"""Seeds derived from names, so that no random choice depends on order or on its neighbours."""

from __future__ import annotations

import hashlib


def derive_seed(run_seed: int, *names: str | int) -> int:
    """A 62-bit seed for one purpose, e.g. `derive_seed(0, "sample", example_id, 2)`."""
    key = "\0".join(str(part) for part in (run_seed, *names))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 2
