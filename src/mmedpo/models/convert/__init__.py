"""Checkpoints in their authors' own layout, rewritten as `transformers` reads them: `mmedpo convert`."""
