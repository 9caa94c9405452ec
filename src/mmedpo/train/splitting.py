"""Weights that `accelerate launch` splits over the processes (FSDP2, ZeRO-3), and what does not go with that.

The model is loaded whole by every process, for what is computed once before training; it is split when training begins.
From then on a pass works only as a call of the whole model, by all processes together.
"""

from __future__ import annotations

import os
from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType

from mmedpo.config import FeaturePlace
from mmedpo.errors import TrainingError

FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
WANTED = {
    FSDP: (
        ("FSDP_VERSION", "fsdp_version", "2", "1"),
        ("FSDP_STATE_DICT_TYPE", "fsdp_state_dict_type", "FULL_STATE_DICT", "SHARDED_STATE_DICT"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "fsdp_cpu_ram_efficient_loading", "false", "false"),
    ),
    DEEPSPEED: (
        ("ACCELERATE_DEEPSPEED_ZERO3_INIT", "zero3_init_flag", "false", "false"),
        ("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL", "zero3_save_16bit_model", "true", "false"),
    ),
}
"""By launcher: variables with their names in a configuration file, what they must be, and what they are unset."""


def check_launch() -> None:
    """Refuses a configuration under which a process would compute with empty weights, or nothing whole be saved.

    Raises:
        TrainingError: names the entry and what it must be.
    """
    for launcher, entries in WANTED.items():
        for variable, entry, wanted, unset in entries if _is_set(launcher) else ():
            if os.environ.get(variable, unset).lower() != wanted.lower():
                raise TrainingError(
                    f"the configuration of accelerate must say {entry}: {wanted}; see examples/launch for one that does"
                )


def prepare_splitting(base: Any) -> None:
    """Tells accelerate what it cannot find out; between the trainer's arguments and the trainer.

    The layers that are gathered one by one are those of the language model, whatever its family; and processes on CPUs
    split weights as those on GPUs do: accelerate would leave them whole, and say nothing.

    Args:
        base: the model without adapter.
    """
    if not _is_set(FSDP):
        return
    layers = {type(layer).__name__ for layer in base.get_decoder().layers}
    os.environ.setdefault("FSDP_TRANSFORMER_CLS_TO_WRAP", ",".join(sorted(layers)))
    state = PartialState()
    if state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.MULTI_GPU


def check_splitting(place: FeaturePlace, trained: frozenset[str], draws: bool) -> None:
    """Refuses what asks split weights for something outside a call of the whole model, or not as often everywhere.

    Args:
        place: where features are kept.
        trained: parts of the model that are.
        draws: whether a term of the loss looks at what the policy says of a noised image now.

    Raises:
        TrainingError: features are computed, or answers drawn, while training.
    """
    if not (_is_set(FSDP) or _is_set(DEEPSPEED)):
        return
    if place == "recompute" or trained & {"vision_tower", "projector"}:
        raise TrainingError(
            "FSDP and DeepSpeed split weights that image features need while training: leave projector and vision "
            "tower out of train.parts and set engine.features to memory or disk, or use DDP"
        )
    if draws:
        raise TrainingError(
            "FSDP and DeepSpeed do not go with a loss that draws answers while training; use DDP, or another loss"
        )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("true", "1", "yes")
