"""The configurations of accelerate that ship: it takes them, and they say what their page says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

from mmedpo.errors import TrainingError
from mmedpo.train.splitting import check_launch, check_splitting

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "launch"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ddp", DistributedType.MULTI_GPU), ("fsdp2", DistributedType.FSDP), ("zero3", DistributedType.DEEPSPEED)],
)
def test_accelerate_takes_every_configuration(name: str, kind: DistributedType) -> None:
    path = FOLDER / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.distributed_type == kind
    # Precision is a setting of ours: `model.dtype`, `model.autocast`.
    assert config.mixed_precision == "no"
    assert {file.name for file in FOLDER.glob("*.yaml")} == {"ddp.yaml", "fsdp2.yaml", "zero3.yaml"}
    assert path.name in (FOLDER / "README.md").read_text()


def environment(name: str, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """What `accelerate launch` hands to the processes of a configuration that ships, with changes."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    if name == "fsdp2":
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        given = {key.upper(): str(value) for key, value in content["fsdp_config"].items()}
    else:
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        own = content["deepspeed_config"]
        given = {
            "ACCELERATE_DEEPSPEED_ZERO3_INIT": str(own["zero3_init_flag"]).lower(),
            "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": str(own["zero3_save_16bit_model"]).lower(),
        }
    for key, value in {**given, **changes}.items():
        monkeypatch.setenv(key, value)


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_what_ships_is_taken_and_splits_nothing_that_features_need(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(name, monkeypatch)
    check_launch()
    check_splitting("memory", frozenset({"language_model"}), False)
    for place, trained in (("recompute", set()), ("memory", {"projector"}), ("disk", {"vision_tower"})):
        with pytest.raises(TrainingError, match="or use DDP"):
            check_splitting(place, frozenset(trained), False)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="draws answers while training; use DDP"):
        check_splitting("memory", frozenset({"language_model"}), True)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("fsdp2", {"FSDP_VERSION": "1"}, "fsdp_version: 2"),
        ("fsdp2", {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "fsdp_state_dict_type: FULL_STATE_DICT"),
        # All but one process would compute their share of the reference with empty weights.
        ("fsdp2", {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "fsdp_cpu_ram_efficient_loading: false"),
        ("zero3", {"ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}, "zero3_init_flag: false"),
        ("zero3", {"ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "false"}, "zero3_save_16bit_model: true"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(
    name: str, changes: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(name, monkeypatch, **changes)
    with pytest.raises(TrainingError, match=f"must say {told};"):
        check_launch()


def test_one_process_and_ddp_are_asked_nothing() -> None:
    check_launch()
    check_splitting("recompute", frozenset({"projector"}), True)
