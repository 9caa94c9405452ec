"""Settings of the target model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.config.groups import DEVICE, Settings


class ModelSettings(Settings):
    """The target Med-LVLM."""

    name: str = "tiny"
    """`tiny` (ships in the package) or a local checkpoint folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type the weights are loaded in."""
    quantise: Literal["none", "nf4"] = "none"
    """`nf4` holds the linear layers of the language model in 4 bits (QLoRA; extra `[qlora]`); adapters stay in full."""
    autocast: bool = False
    """Compute log-probabilities in bfloat16 where that is safe, whatever type the weights have."""
    server: str = ""
    """Name in `chat.endpoints` of a server that has this checkpoint loaded: it samples candidates and answers test
    questions in its place. Log-probabilities are always computed here, from `name`."""
    tuned_server: str = ""
    """The same of the tuned model, started after training; empty: its answers are made here."""
    device: str = Field("auto", pattern=DEVICE)
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
