"""The models of a run by name (slots): `base`, `tuned`, `round-1` ..., each with how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmedpo.config import ModelSettings, RunSettings
from mmedpo.errors import ConfigError
from mmedpo.run.layout import FINETUNED

BASE = "base"
"""The model before preference tuning: what is sampled first, and the reference."""
TUNED = "tuned"
"""The model the run ends with."""


@dataclass(frozen=True)
class Slot:
    """One model of a run. `mmedpo.models.slots.load_slot` loads it."""

    name: str
    checkpoint: ModelSettings
    """Where its weights lie, and in which type and on which device they are loaded."""
    results: tuple[Path, ...] = ()
    """What training wrote on top, in order: adapters, or one whole checkpoint."""
    reads: tuple[str, ...] = ()
    """Files of the run folder it is made of."""


def round_name(number: int) -> str:
    """Name of the model after round `number`, counted from 1."""
    return f"round-{number}"


def round_folder(number: int) -> str:
    """Folder of the run that holds what round `number` wrote."""
    return f"rounds/{number}"


def in_round(settings: RunSettings, name: str, number: int | None = None) -> str:
    """Where a round, the last unless told, writes what a run of one round calls `name`; of its stages the name."""
    return name if settings.rounds == 1 else f"{round_folder(number or settings.rounds)}/{name}"


def slot_of(settings: RunSettings, root: Path, name: str) -> Slot:
    """The model of that name.

    Args:
        settings: the run's.
        root: the run folder.
        name: `base`, `tuned`, or `round-N` in a run of several rounds.

    Raises:
        ConfigError: a run of these settings has no such model.
    """
    checkpoint = settings.model
    reads: tuple[str, ...] = ()
    if settings.finetune is not None:
        checkpoint, reads = checkpoint.model_copy(update={"name": str(root / FINETUNED)}), (FINETUNED,)
    result = settings.train.result
    written: dict[str, tuple[str, ...]] = {BASE: ()}
    if settings.rounds == 1:
        written[TUNED] = (result,)
    else:
        folders = tuple(f"{round_folder(number)}/{result}" for number in range(1, settings.rounds + 1))
        written |= {round_name(number): folders[:number] for number in range(1, settings.rounds + 1)}
        written[TUNED] = folders
    if name not in written:
        raise ConfigError(f"this run has no model {name!r}; it has {', '.join(written)}")
    results = written[name]
    return Slot(name, checkpoint, tuple(root / result for result in results), (*reads, *results))
