"""Loading a model of a run: its checkpoint, with what training wrote on top."""

from __future__ import annotations

import torch

from mmedpo.models.hub import load_model, load_tuned, put_adapter
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.run import Slot


def load_slot(slot: Slot) -> VisionLanguageModel:
    """Loads one model of a run, in evaluation mode.

    Adapters of earlier rounds are merged into the weights; the last one stays an adapter.

    Raises:
        ModelError: a checkpoint or an adapter is missing or cannot be used.
    """
    if not slot.results:
        return load_model(slot.checkpoint)
    *earlier, last = slot.results
    if not earlier:
        return load_tuned(slot.checkpoint, last)
    vlm = load_tuned(slot.checkpoint, earlier[0])
    for adapter in (*earlier[1:], last):
        vlm.model = vlm.model.merge_and_unload()
        put_adapter(vlm, adapter)
    return vlm


def load_asked(slot: Slot) -> VisionLanguageModel:
    """The same model to be asked and not trained: in float32 its adapter is merged, one product a layer for three.

    In narrower types, and in 4 bits, a merged weight is rounded to another model: there the adapter stays beside it.
    """
    vlm = load_slot(slot)
    exact = slot.checkpoint.quantise == "none" and vlm.base.dtype == torch.float32
    return _merged(vlm) if slot.results and exact else vlm


def load_start(slot: Slot) -> VisionLanguageModel:
    """The same model with every adapter merged: what a new adapter starts from, and its reference."""
    vlm = load_slot(slot)
    return _merged(vlm) if slot.results else vlm


def _merged(vlm: VisionLanguageModel) -> VisionLanguageModel:
    if hasattr(vlm.model, "merge_and_unload"):
        vlm.model = vlm.model.merge_and_unload().eval()
        vlm.model.requires_grad_(False)
    return vlm
