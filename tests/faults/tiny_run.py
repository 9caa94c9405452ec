"""The smallest run that has every stage."""

from __future__ import annotations

RECIPE = {
    "data": {"phantom": {"train_images": 2, "validation_images": 2, "test_images": 2}},
    "model": {"device": "cpu"},
    "curate": {"candidates": 2, "max_new_tokens": 4},
    "train": {
        "beta": 1.0,
        "epochs": 1,
        "learning_rate": 1e-4,
        "lora": {"rank": 2, "alpha": 4},
        "batch_groups": 8,
        "checkpoint_every": 2,
        "watch": {"questions": 4, "every": 3},
    },
    "evaluate": {
        "splits": ["test"],
        "max_new_tokens": 4,
        "bootstrap_samples": 100,
        "probes": {"lesion-reliance": {"images": 1}, "attention": {"questions": 2}},
    },
}
