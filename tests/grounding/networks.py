"""Folders of random weights under the published names, for tools whose networks are large."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mmedpo.grounding.networks import biovil

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "disease", "normal", "lung")


def biovil_folder(folder: Path, *, images: bool = True) -> None:
    """BioViL-T: the image side in its true shape, the text side with one layer and WORDS."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "cxr-bert",
        "vocab_size": len(WORDS),
        "hidden_size": 768,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
        "projection_size": biovil.JOINT,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    pretraining = {"cls.predictions.bias": torch.zeros(len(WORDS)), "bert.embeddings.position_ids": torch.arange(16)}
    torch.save({**biovil.TextSide(dict(config)).state_dict(), **pretraining}, folder / "pytorch_model.bin")
    if images:
        unused = {
            "encoder.encoder.fc.weight": torch.zeros(1000, 2048),
            "encoder.encoder.fc.bias": torch.zeros(1000),
            "encoder.vit_pooler.type_embed": torch.zeros(2, 1, 256),
        }
        torch.save({**biovil.ImageSide().state_dict(), **unused}, folder / biovil.IMAGE_FILES[1])
