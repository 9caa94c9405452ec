"""What is known of model families: which language models the packed layout was shown to be exact for."""

from __future__ import annotations

from typing import Any

TRIE_FAMILIES = ("llama", "mistral", "qwen2")
"""`model_type` of language models whose log-probabilities *and* gradients the tests show to be the same
packed and plain (`tests/engine/test_exactness.py`): causal attention, one rotary position per token."""


def trie_refusal(text_config: Any, longest: int) -> str:
    """Why a language model must not be given a packed layout; empty when it may be.

    Args:
        text_config: the language model's configuration.
        longest: tokens of the longest sequence it will be given.
    """
    family = str(text_config.model_type)
    if family not in TRIE_FAMILIES:
        return f"language models of type {family!r} were not shown to be exact (shown: {', '.join(TRIE_FAMILIES)})"
    window = getattr(text_config, "sliding_window", None)
    if window is not None and longest > int(window):
        return f"its attention slides over {window} tokens, fewer than the longest sequence of {longest}"
    return ""
