"""Examining one checkpoint: its folder, then the model in memory, on made-up questions or those of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmedpo.config import RunSettings, load_settings, validate_settings
from mmedpo.errors import ConfigError
from mmedpo.pipeline.doctor.cases import made_up, of_recipe
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.pipeline.doctor.folder import examine_folder
from mmedpo.progress import Reporter
from mmedpo.recipes import apply_override


def examine_checkpoint(name: str, recipe: str | None, overrides: Sequence[str], reporter: Reporter) -> Diagnosis:
    """Everything there is to say of a checkpoint.

    Args:
        name: its folder, or `tiny`.
        recipe: whose data and settings it is tried on; None: made-up pictures and questions, and the defaults.
        overrides: of the recipe's settings; without one, of `model`, `engine` and `train`.
        reporter: progress.

    Raises:
        ConfigError: an unknown recipe or setting, or one without effect.
        DataError: the recipe's data cannot be read.
    """
    settings = _settings(name, recipe, overrides)
    diagnosis = Diagnosis()
    diagnosis.fact("checkpoint", name)
    folder = examine_folder(name, diagnosis)
    if folder is None:
        return diagnosis
    # Loading it takes torch; a folder that is no checkpoint is told without.
    from mmedpo.pipeline.doctor.loaded import examine

    with made_up() if recipe is None else of_recipe(settings, reporter) as cases:
        examine(settings, folder, cases, diagnosis)
    return diagnosis


def _settings(name: str, recipe: str | None, overrides: Sequence[str]) -> RunSettings:
    own = [f"model.name={name}", *overrides]
    if recipe is not None:
        return load_settings(recipe, own)
    raw: dict[str, Any] = {"train": {"max_length": 1_000_000, "lora": {"rank": 8, "alpha": 16}}}
    for override in own:
        if not override.startswith(("model.", "engine.", "train.")):
            raise ConfigError(
                f"--set {override[:80]!r} has no effect without --data; allowed: model.*, engine.*, train.*"
            )
        apply_override(raw, override)
    return validate_settings(raw, "doctor")
