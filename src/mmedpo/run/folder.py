"""The run folder: declared stages, fingerprints, resume.

A stage's fingerprint is a hash of its settings and of the bytes it reads; when it is the one under
which its outputs were finished, the stage is done and costs nothing. Work in progress lives in
`.work/<stage>/`, named by the fingerprint it belongs to, so a killed stage goes on where it stopped
and a changed setting never mixes with it. Outputs of an earlier execution are set aside while a
stage works, and put back when it fails or is killed, so the files of a run always belong to what its
manifest says of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import ValidationError

from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError
from mmedpo.progress import Advance, Reporter, Silent, duration
from mmedpo.records import DataNotes, Drop, Record
from mmedpo.registry import lookup
from mmedpo.run.calling import CallOptions
from mmedpo.run.clock import Clock
from mmedpo.run.disk import trouble
from mmedpo.run.executors import ChunkJob, Executor, ItemJob, ItemWork
from mmedpo.run.executors.telling import Elsewhere
from mmedpo.run.layout import DATA, DATA_NOTES, DROPS, MANIFEST, WORK, drops_of
from mmedpo.run.manifest import FORMAT, Manifest, StageState, read_manifest
from mmedpo.run.processes import launch
from mmedpo.run.slots import BASE, Slot, slot_of
from mmedpo.run.stage import Stage
from mmedpo.storage.files import hash_path, holds_link, move, share, stamp_path
from mmedpo.storage.json_file import read_json
from mmedpo.storage.remote import located
from mmedpo.storage.tables import read_table, stored, write_table, write_text

STATE = ".state.json"
EARLIER = ".earlier"
"""In `.work`: `<stage>.earlier/` holds what a stage wrote before, and `.state.json` its record, while it works anew."""

T = TypeVar("T")
R = TypeVar("R", bound=Record)


@dataclass
class Run:
    """An open, locked run folder."""

    path: Path
    settings: RunSettings
    manifest: Manifest
    reporter: Reporter = field(default_factory=Silent)
    donors: tuple[Path, ...] = ()
    """Other run folders whose finished stages may be copied when their fingerprints agree."""
    rank: int = 0
    """Number of this process among those that work on the run together; process 0 alone writes."""
    stage: Stage | None = None
    """The stage being executed."""
    calls: CallOptions = field(default_factory=CallOptions)
    """What this process may do with calls of language models."""
    executor: Executor | None = None
    """Where the work on many items runs; None: where the settings say."""

    def file(self, relative: str) -> Path:
        """Path of a file of the run.

        Raises:
            RunFolderError: a stage is being executed that does not declare it.
        """
        if ".." in PurePosixPath(relative).parts or PurePosixPath(relative).is_absolute() or "\0" in relative:
            raise RunFolderError(f"{relative[:80]!r} is not the name of a file inside the run folder {self.path}")
        return self.path / (relative if self.stage is None else self.stage.place(relative))

    def relative(self, relative: str) -> str:
        """The same as a path relative to the run folder, as records hold it."""
        return self.file(relative).relative_to(self.path).as_posix()

    @property
    def current(self) -> str:
        """Name of the stage being executed; empty outside of one."""
        return self.stage.name if self.stage is not None else ""

    @property
    def image_root(self) -> Path:
        """Folder the examples' image paths are relative to: the run's own where they were made or unpacked by it.

        What lies there is known by the hashes in the examples.
        """
        root, own = self.settings.data.root, self.path / DATA
        return own if root is None or own.is_dir() else located(root)

    def slot(self, name: str) -> Slot:
        """A model of the run by name.

        Raises:
            ConfigError: this run has no such model.
        """
        return slot_of(self.settings, self.path, name)

    @property
    def model(self) -> Slot:
        """The model the current stage works with: the first it declares; `base` outside of a stage."""
        return self.slot(self.stage.models[0] if self.stage is not None and self.stage.models else BASE)

    @property
    def restricted(self) -> bool:
        """Whether the data may not leave the building, as the dataset declares it; True where nothing says so.

        A permission, not an input: no result depends on it, so no stage declares it.
        """
        path = self.path / DATA_NOTES
        return not path.exists() or read_json(path, DataNotes).data_use != "open"

    def track(self, label: str) -> Advance:
        """Progress line of the current stage."""
        if self.rank:
            return Silent().track(label)
        return self.reporter.track(f"[{self.current or self.path.name}] {label}")

    def message(self, text: str) -> None:
        """One line for the user."""
        if not self.rank:
            self.reporter.message(f"[{self.current or self.path.name}] {text}")

    def read(self, relative: str, record_type: type[R]) -> list[R]:
        """Reads a table of the run."""
        return list(self.stored(relative, record_type))

    def stored(self, relative: str, record_type: type[R]) -> Iterator[R]:
        """The same, a record at a time, for tables that are larger than memory."""
        return stored(self.file(relative), record_type)

    def write(self, relative: str, record_type: type[R], records: Iterable[R]) -> None:
        """Writes a table of the run, atomically."""
        write_table(self.file(relative), record_type, records)

    def write_drops(self, drops: Sequence[Drop]) -> None:
        """Writes what the current stage left out, and why."""
        write_table(self.path / drops_of(self.current), Drop, drops)

    def drops(self) -> list[Drop]:
        """Everything any finished stage left out."""
        every = sorted(name for state in self.manifest.stages.values() for name in state.outputs)
        return [drop for name in every if name.startswith(f"{DROPS}/") for drop in read_table(self.path / name, Drop)]

    @property
    def work_folder(self) -> Path:
        """Folder for the current stage's unfinished work; kept on a kill, removed when done."""
        return self.path / WORK / self.current

    def map(
        self,
        label: str,
        items: Sequence[T],
        size: int,
        factory: Callable[[], Callable[[Sequence[T]], Sequence[R]]],
        record: type[R],
    ) -> list[R]:
        """The records of all items in their order, made in chunks by the executor; see `ChunkJob`."""
        return self._executor().map(self, ChunkJob(label, factory, record, size), items)

    def stream(
        self,
        label: str,
        items: Sequence[T],
        size: int,
        factory: Callable[[], AbstractAsyncContextManager[ItemWork[T, R]]],
        record: type[R],
    ) -> Iterable[R]:
        """The same for work that waits, item by item, many at once; see `ItemJob` and `Executor.stream`."""
        return self._executor().stream(self, ItemJob(label, factory, record, size), items)

    def whole(self, work: Callable[[Run], object]) -> None:
        """Does what is one piece where the executor wants it, unless several processes were launched for it."""
        if launch().size == 1 and hasattr(executor := self._executor(), "whole"):
            executor.whole(self, work)
        else:
            work(self)

    def _executor(self) -> Executor:
        if self.executor is None:
            self.executor = lookup("executor", self.settings.executor.name)()
        return self.executor

    def __getstate__(self) -> dict[str, Any]:
        """What a worker in another process needs: everything but the terminal, the executor and leave to send."""
        return {**vars(self), "reporter": Elsewhere(), "executor": None, "calls": CallOptions()}

    def fingerprint(self, stage: Stage) -> str:
        """Hash of a stage's settings and of the bytes it reads.

        Raises:
            RunFolderError: something that it reads is not there.
        """
        missing = [name for name in self._needed(stage) if not (self.path / name).exists()]
        if missing:
            raise RunFolderError(
                f"stage {stage.name!r} reads {missing[0]}, which is not in {self.path}; run the stages before it"
            )
        present = [name for name in stage.placed(stage.optional) if (self.path / name).exists()]
        content = {
            "format": FORMAT,
            "stage": stage.name,
            "settings": dict(stage.settings),
            "reads": {name: self._input_hash(name) for name in (*self._needed(stage), *present)},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def is_done(self, stage: Stage) -> bool:
        """True when the stage's outputs are there and were made from these settings and inputs.

        An output that somebody edited stays (the stage is done), and what reads from it runs again.
        """
        if any(not (self.path / name).exists() for name in self._needed(stage)):
            return False
        state = self.manifest.stages.get(stage.name)
        return (
            state is not None
            and state.fingerprint == self.fingerprint(stage)
            and all((self.path / name).exists() for name in state.outputs)
        )

    def execute(self, stage: Stage) -> bool:
        """Runs a stage unless it is done; returns whether anything was computed.

        A failing stage leaves every finished stage, and its own earlier outputs, as they were.

        Raises:
            RunFolderError: what it reads is not there, or the operating system refuses to read or write.
        """
        try:
            with self.guarded():
                return self._execute(stage)
        finally:
            self.stage = None

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """What the operating system refuses inside is an error in our terms, whatever a library made of it."""
        try:
            yield
        except Exception as error:
            refused = trouble(error, self.path)
            if refused is None:
                raise
            raise refused from error

    def _execute(self, stage: Stage) -> bool:
        if self.is_done(stage):
            return False
        if self.rank:
            # Process 0 does the bookkeeping and writes the files; this one takes part in the work alone.
            self.stage = stage
            stage.work(self)
            return True
        fingerprint = self.fingerprint(stage)
        if self._adopt(stage, fingerprint):
            return False
        self.prepare(stage, fingerprint)
        clock = Clock(self.work_folder)
        with self._earlier_outputs_aside(stage):
            stage.work(self)
            self._finish(stage, fingerprint, clock.read())
        return True

    def _finish(self, stage: Stage, fingerprint: str, seconds: float) -> None:
        names = self._outputs(stage)
        outputs = {name: hash_path(self.path / name) for name in names}
        stamps = {name: stamp_path(self.path / name) for name in names}
        state = StageState(fingerprint=fingerprint, outputs=outputs, stamps=stamps, seconds=seconds)
        self._record(stage.name, state)
        shutil.rmtree(self.work_folder, ignore_errors=True)
        self.message(f"done in {duration(seconds)}")

    def _needed(self, stage: Stage) -> tuple[str, ...]:
        """What must be there before a stage can work, the models it loads included."""
        made_of = (name for model in stage.models for name in self.slot(model).reads)
        return tuple(dict.fromkeys((*stage.placed(stage.reads), *made_of)))

    def _outputs(self, stage: Stage) -> list[str]:
        names = stage.placed(stage.writes)
        missing = [name for name in names if not (self.path / name).exists()]
        if missing:
            raise RunFolderError(f"stage {stage.name!r} finished without writing {', '.join(missing)}")
        drops = drops_of(stage.name)
        more = (*stage.placed(stage.may_write), drops)
        return [*names, *(name for name in more if (self.path / name).exists() and name not in names)]

    def _input_hash(self, name: str) -> str:
        for state in self.manifest.stages.values():
            if name in state.outputs and state.stamps.get(name) == stamp_path(self.path / name):
                return state.outputs[name]
        return hash_path(self.path / name)

    def _record(self, name: str, state: StageState) -> None:
        """Notes a finished stage; what it replaces is gone from here on."""
        shutil.rmtree(self._aside(name), ignore_errors=True)
        self.manifest.stages[name] = state
        self.save_manifest()

    def _aside(self, name: str) -> Path:
        return self.path / WORK / f"{name}{EARLIER}"

    @contextmanager
    def _earlier_outputs_aside(self, stage: Stage) -> Iterator[None]:
        """Moves what an earlier execution of the stage wrote out of the way; back again when this one fails."""
        state = self.manifest.stages.get(stage.name)
        aside = self._aside(stage.name)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            if state is not None:
                write_text(aside / STATE, state.model_dump_json())
                for name in state.outputs:
                    if (self.path / name).exists():
                        move(self.path / name, aside / name)
                del self.manifest.stages[stage.name]
                self.save_manifest()
            yield
        except BaseException:
            self.put_back(stage.name)
            raise

    def put_back(self, name: str) -> None:
        """Restores the earlier outputs of a stage that failed or was killed while it replaced them, if any."""
        aside = self._aside(name)
        if (aside / STATE).exists():
            try:
                state = StageState.model_validate_json((aside / STATE).read_text())
            except (ValidationError, UnicodeDecodeError) as error:
                raise RunFolderError(
                    f"{aside / STATE} is damaged ({type(error).__name__}); delete {aside} and run again"
                ) from None
            for output in state.outputs:
                if (aside / output).exists():
                    move(aside / output, self.path / output)
            self._record(name, state)
        shutil.rmtree(aside, ignore_errors=True)

    def prepare(self, stage: Stage, fingerprint: str) -> None:
        """Makes a stage the one that is executed, with a folder for its work that holds nothing of another one's."""
        self.stage = stage
        folder, marker = self.work_folder, self.work_folder / "fingerprint"
        if folder.exists() and not (marker.exists() and marker.read_bytes() == fingerprint.encode()):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(marker, fingerprint)

    def _adopt(self, stage: Stage, fingerprint: str) -> bool:
        for donor in self.donors:
            state = self._offer(donor, stage, fingerprint)
            if state is None:
                continue
            try:
                with self._earlier_outputs_aside(stage):
                    for name in state.outputs:
                        share(donor / name, self.path / name)
                    if self._offer(donor, stage, fingerprint) != state:
                        raise FileNotFoundError(f"{donor} changed while it was read")
                    stamps = {name: stamp_path(self.path / name) for name in state.outputs}
                    self._record(stage.name, state.model_copy(update={"stamps": stamps}))
            except OSError:
                continue  # a donor is a shortcut: what cannot be taken over is computed
            self.message(f"stage {stage.name!r} taken from {donor.name}: same settings, same inputs")
            return True
        return False

    def _offer(self, donor: Path, stage: Stage, fingerprint: str) -> StageState | None:
        """The donor's record of the stage, if it is the same work and its files are as they were written."""
        if not (donor / MANIFEST).exists() or donor.resolve() == self.path.resolve():
            return None
        try:
            state = read_manifest(donor).stages.get(stage.name)
        except RunFolderError:
            return None  # a run of another version has nothing to give
        if state is None or state.fingerprint != fingerprint:
            return None
        untouched = all(
            (donor / name).exists()
            and not holds_link(donor / name)
            and state.stamps.get(name) == stamp_path(donor / name)
            for name in state.outputs
        )
        return state if untouched else None

    def save_manifest(self) -> None:
        """Writes the manifest, atomically."""
        write_text(self.path / MANIFEST, self.manifest.model_dump_json(indent=1))
