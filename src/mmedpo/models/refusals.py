"""Checkpoints that cannot be used, recognised by their configuration before anything large is read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmedpo.models.convert.layouts import LAYOUTS

INSTEAD = "use a checkpoint of one of these types"


def checkpoint_refusal(config: Mapping[str, Any], known: Sequence[str]) -> str:
    """Why a checkpoint cannot be used and what to do; empty when its family is known.

    Args:
        config: content of its config.json.
        known: types of the registered families.
    """
    kind = str(config.get("model_type"))
    supported = f"supported: {', '.join(known)}"
    if kind in LAYOUTS and kind not in known:
        return (
            f"is {LAYOUTS[kind].title} in its authors' layout; run `mmedpo convert FOLDER NEW` and use the new folder"
        )
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "some method")
        return f"is quantised ({method}), which training cannot follow; use the unquantised weights it was made from"
    if _linear(config):
        return (
            f"is of type {kind!r} with linear attention: such layers carry one running state, so prefixes cannot be "
            f"shared; {INSTEAD}: qwen2_5_vl, qwen3_vl"
        )
    if kind in known:
        return ""
    if config.get("auto_map"):
        return f"is of type {kind!r} and brings its own code, which is never run; {INSTEAD}: {', '.join(known)}"
    return f"is of type {kind!r}; {supported}"


def _linear(config: Mapping[str, Any]) -> bool:
    """Whether a layer of the language model has linear attention."""
    text = config.get("text_config") or config
    return "linear_attention" in (text.get("layer_types") or ())
