"""Which language models a packed layout is exact for, and how far back their layers look."""

from __future__ import annotations

from typing import Any

TRIE_TYPES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "phi3",
    "qwen2",
    "qwen2_5_vl_text",
    "qwen2_vl_text",
    "qwen3",
    "qwen3_vl_text",
)
"""`model_type` of language models whose log-probabilities *and* gradients the tests show to be the same
packed and plain (`tests/engine/test_exactness.py`, `tests/models/zoo`)."""


def trie_refusal(text_config: Any) -> str:
    """Why a language model must not be given a packed layout; empty when it may be."""
    kind = str(text_config.model_type)
    if kind not in TRIE_TYPES:
        return f"language models of type {kind!r} were not shown to be exact (shown: {', '.join(TRIE_TYPES)})"
    return ""


def layer_windows(text_config: Any, longest: int) -> dict[str, int | None]:
    """For each kind of layer, how many tokens back it looks, itself included; None: to the start.

    Args:
        text_config: the language model's configuration.
        longest: tokens of the longest sequence; a window as wide is none.
    """
    window = getattr(text_config, "sliding_window", None)
    window = window if window is not None and window < longest else None
    kinds = getattr(text_config, "layer_types", None)
    if kinds is None:
        return {"every": window}
    return {kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds)}
