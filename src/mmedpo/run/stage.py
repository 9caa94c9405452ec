"""How a stage declares itself: what it is made from, what it reads, and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError

if TYPE_CHECKING:
    from mmedpo.run.folder import Run


@dataclass(frozen=True)
class Stage:
    """One step of a run, declared beside the function that does its work.

    While a stage works, the run hands out the files it declares and no other: what a result was made
    from is in its fingerprint, because it could not have been read otherwise.
    """

    name: str
    """Unique in the run, e.g. `curate` or `rounds/2/curate`."""
    work: Callable[[Run], object]
    """Does the step: reads and writes through the run."""
    settings: Mapping[str, Any]
    """Everything from the configuration (and from outside) that changes the result."""
    reads: tuple[str, ...] = ()
    """Files or folders of the run that must be there."""
    writes: tuple[str, ...] = ()
    """Files or folders of the run that it writes."""
    may_write: tuple[str, ...] = ()
    """Files or folders of the run that it writes where there is a need."""
    optional: tuple[str, ...] = ()
    """Files or folders of the run that it reads where they are there."""
    models: tuple[str, ...] = ()
    """Models of the run that it loads; what they are made of is read as well."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where a declared name lies, if not under that name: `pairs.parquet` in `rounds/2/pairs.parquet`."""

    def __getstate__(self) -> dict[str, Any]:
        """What a worker in another process needs: where files and models are, not what is done with the run."""
        return {**vars(self), "work": _not_here}

    def place(self, relative: str) -> str:
        """Where a file of the run lies for this stage.

        Raises:
            RunFolderError: the stage does not declare it.
        """
        for name in (*self.reads, *self.optional, *self.writes, *self.may_write):
            if relative == name or relative.startswith(f"{name}/"):
                return self.places.get(name, name) + relative.removeprefix(name)
        raise RunFolderError(
            f"stage {self.name!r} asked for {relative}, which it does not declare "
            f"(reads: {_listed(self.reads)}; optional: {_listed(self.optional)}; writes: {_listed(self.writes)}); "
            "a result must not depend on what its fingerprint does not know: declare it"
        )

    def placed(self, names: Sequence[str]) -> tuple[str, ...]:
        """Where these declared names lie."""
        return tuple(self.places.get(name, name) for name in names)


def _not_here(run: Run) -> object:
    raise AssertionError(f"a worker of {run.path} was asked to do a whole stage")


def picked(settings: RunSettings, *names: str) -> dict[str, Any]:
    """Settings by dotted name, as they go into a fingerprint, e.g. `picked(settings, "curate", "seed")`."""
    found: dict[str, Any] = {}
    for name in names:
        value: Any = settings.model_dump(mode="json")
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


def in_folder(folder: str, stages: Sequence[Stage]) -> list[Stage]:
    """The same stages with everything they write in a folder of the run; they read each other's files there.

    Args:
        folder: e.g. `rounds/2`.
        stages: in order; what none of them writes is read where it always lies.
    """
    written = [name for stage in stages for name in (*stage.writes, *stage.may_write)]
    places = {name: f"{folder}/{name}" for name in written}
    return [replace(stage, name=f"{folder}/{stage.name}", places={**stage.places, **places}) for stage in stages]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
