"""The run folder: stages, fingerprints, locks, resume.

A stage states what it reads and what it writes. Its fingerprint is a hash of its settings and of the
bytes it reads; when the fingerprint is the one under which its outputs were finished, the stage is
done and costs nothing. Work in progress lives in `.work/<stage>/`, named by the fingerprint it
belongs to, so a killed stage goes on where it stopped and a changed setting never mixes with it.
Outputs of an earlier execution are set aside while a stage works, and put back when it fails or is
killed, so the files of a run always belong to what its manifest says of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mmedpo.config import ModelSettings, RunSettings
from mmedpo.errors import RunFolderError
from mmedpo.progress import Advance, Reporter, Silent, duration
from mmedpo.records import Drop, Record
from mmedpo.run.disk import UNUSABLE, unusable
from mmedpo.run.manifest import FORMAT, MANIFEST, Manifest, StageState, read_manifest
from mmedpo.storage.files import hash_path, move, share, stamp_path
from mmedpo.storage.tables import read_table, write_table, write_text

RESOLVED = "config.resolved.yaml"
STATE = ".state.json"
EARLIER = ".earlier"
"""In `.work`: `<stage>.earlier/` holds what a stage wrote before, and `.state.json` its record, while it works anew."""
IMAGES = "data"
"""Folder of the images that a run generates, or takes out of a table that holds them."""
FINETUNED = "finetuned"
"""Folder of the supervised fine-tuned checkpoint, where a recipe asks for one."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Stage:
    """One step of a run."""

    name: str
    """Unique in the run, e.g. `curate`."""
    work: Callable[[Run], None]
    """Does the step: reads and writes through the run."""
    settings: dict[str, Any]
    """Everything from the configuration (and from outside) that changes the result."""
    reads: tuple[str, ...] = ()
    """Files of the run folder that it reads."""
    writes: tuple[str, ...] = ()
    """Files or folders of the run folder that it writes."""
    may_write: tuple[str, ...] = ()
    """Files or folders that it writes only where there is something to write."""


@dataclass(frozen=True)
class CallOptions:
    """What this process may do with calls of language models: said on the command line, never in a recipe."""

    allow_external: str = ""
    """Name of the dataset whose restricted data may leave, as the user typed it."""
    estimate_only: bool = False
    """Tell what a stage would ask for, and stop before anything is sent."""
    batch_out: Path | None = None
    """Folder to write requests into instead of sending them."""
    batch_in: Path | None = None
    """File or folder of results that answer such requests."""


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
    current: str = ""
    """Name of the stage being executed."""
    calls: CallOptions = CallOptions()
    """What this process may do with calls of language models."""

    def file(self, relative: str) -> Path:
        """Path inside the run folder."""
        return self.path / relative

    @property
    def image_root(self) -> Path:
        """Folder the examples' image paths are relative to: the run's own where they were made or unpacked by it."""
        root = self.settings.data.root
        own = self.file(IMAGES)
        return own if root is None or own.is_dir() else root.expanduser()

    @property
    def target_model(self) -> ModelSettings:
        """The model that is curated for, tuned and compared: the fine-tuned checkpoint where there is one."""
        if self.settings.finetune is None:
            return self.settings.model
        return self.settings.model.model_copy(update={"name": str(self.file(FINETUNED))})

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
        return read_table(self.file(relative), record_type)

    def write(self, relative: str, record_type: type[R], records: Sequence[R]) -> None:
        """Writes a table of the run, atomically."""
        write_table(self.file(relative), record_type, records)

    def write_drops(self, drops: Sequence[Drop]) -> None:
        """Writes what the current stage left out, and why."""
        self.write(f"drops/{self.current}.parquet", Drop, drops)

    def drops(self) -> list[Drop]:
        """Everything any finished stage left out."""
        every = sorted(name for state in self.manifest.stages.values() for name in state.outputs)
        return [drop for name in every if name.startswith("drops/") for drop in self.read(name, Drop)]

    @property
    def work_folder(self) -> Path:
        """Folder for the current stage's unfinished work; kept on a kill, removed when done."""
        return self.file(".work") / self.current

    def chunks(
        self,
        label: str,
        items: Sequence[Any],
        size: int,
        work: Callable[[Sequence[Any]], list[R]],
        record_type: type[R],
    ) -> list[R]:
        """Runs `work` over fixed chunks of `items`, each saved when done, and returns all records.

        Chunks depend on the items alone, so a run that was killed and resumed computes exactly the
        chunks an uninterrupted one would.
        """
        advance = self.track(label)
        slug = label.replace(" ", "-")
        starts = range(0, len(items), size)
        parts = [self.work_folder / f"{slug}-{start:08d}.parquet" for start in starts]
        done = sum(min(size, len(items) - start) for start, part in zip(starts, parts, strict=True) if part.exists())
        # What an earlier process did is told first, so that it does not count as this one's speed.
        advance(done, len(items))
        results: list[R] = []
        for start, part in zip(starts, parts, strict=True):
            if part.exists():
                results += read_table(part, record_type)
                continue
            chunk = items[start : start + size]
            records = work(chunk)
            write_table(part, record_type, records)
            results += records
            done += len(chunk)
            advance(done, len(items))
        return results

    def fingerprint(self, stage: Stage) -> str:
        """Hash of a stage's settings and of the bytes it reads."""
        content = {
            "format": FORMAT,
            "stage": stage.name,
            "settings": stage.settings,
            "reads": {name: self._input_hash(name) for name in stage.reads},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def is_done(self, stage: Stage) -> bool:
        """True when the stage's outputs are there and were made from these settings and inputs.

        An output that somebody edited stays (the stage is done), and what reads from it runs again.
        """
        if any(not self.file(name).exists() for name in stage.reads):
            return False
        state = self.manifest.stages.get(stage.name)
        return (
            state is not None
            and state.fingerprint == self.fingerprint(stage)
            and all(self.file(name).exists() for name in state.outputs)
        )

    def execute(self, stage: Stage) -> bool:
        """Runs a stage unless it is done; returns whether anything was computed.

        A failing stage leaves every finished stage, and its own earlier outputs, as they were.
        """
        missing = [name for name in stage.reads if not self.file(name).exists()]
        if missing:
            raise RunFolderError(
                f"stage {stage.name!r} reads {missing[0]}, which is not in {self.path}; run the stages before it"
            )
        if self.is_done(stage):
            return False
        if self.rank:
            self._assist(stage)
            return True
        fingerprint = self.fingerprint(stage)
        if self._adopt(stage, fingerprint):
            return False
        self.current = stage.name
        started = time.monotonic()
        try:
            self._prepare_work(fingerprint)
            with self._earlier_outputs_aside(stage):
                stage.work(self)
                self._finish(stage, fingerprint, time.monotonic() - started)
        except OSError as error:
            if error.errno not in UNUSABLE:
                raise
            raise unusable(error, self.path) from error
        finally:
            self.current = ""
        return True

    def _assist(self, stage: Stage) -> None:
        """Takes part in a stage that process 0 executes: no bookkeeping, no files of the run."""
        self.current = stage.name
        try:
            stage.work(self)
        finally:
            self.current = ""

    def _finish(self, stage: Stage, fingerprint: str, seconds: float) -> None:
        names = self._outputs(stage)
        outputs = {name: hash_path(self.file(name)) for name in names}
        stamps = {name: stamp_path(self.file(name)) for name in names}
        state = StageState(fingerprint=fingerprint, outputs=outputs, stamps=stamps, seconds=seconds)
        self._record(stage.name, state)
        shutil.rmtree(self.work_folder, ignore_errors=True)
        self.message(f"done in {duration(seconds)}")

    def _outputs(self, stage: Stage) -> list[str]:
        missing = [name for name in stage.writes if not self.file(name).exists()]
        if missing:
            raise RunFolderError(f"stage {stage.name!r} finished without writing {', '.join(missing)}")
        drops = f"drops/{stage.name}.parquet"
        held = [name for name in stage.may_write if self.file(name).exists()]
        return [*stage.writes, *held, *([drops] if self.file(drops).exists() and drops not in stage.writes else [])]

    def _input_hash(self, name: str) -> str:
        for state in self.manifest.stages.values():
            if name in state.outputs and state.stamps.get(name) == stamp_path(self.file(name)):
                return state.outputs[name]
        return hash_path(self.file(name))

    def _record(self, name: str, state: StageState) -> None:
        """Notes a finished stage; what it replaces is gone from here on."""
        shutil.rmtree(self._aside(name), ignore_errors=True)
        self.manifest.stages[name] = state
        self.save_manifest()

    def _aside(self, name: str) -> Path:
        return self.file(".work") / f"{name}{EARLIER}"

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
                    if self.file(name).exists():
                        move(self.file(name), aside / name)
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
            state = StageState.model_validate_json((aside / STATE).read_text())
            for output in state.outputs:
                if (aside / output).exists():
                    move(aside / output, self.file(output))
            self._record(name, state)
        shutil.rmtree(aside, ignore_errors=True)

    def _prepare_work(self, fingerprint: str) -> None:
        folder, marker = self.work_folder, self.work_folder / "fingerprint"
        if folder.exists() and not (marker.exists() and marker.read_text() == fingerprint):
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
                        share(donor / name, self.file(name))
                    if self._offer(donor, stage, fingerprint) != state:
                        raise FileNotFoundError(f"{donor} changed while it was read")
                    stamps = {name: stamp_path(self.file(name)) for name in state.outputs}
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
            (donor / name).exists() and state.stamps.get(name) == stamp_path(donor / name) for name in state.outputs
        )
        return state if untouched else None

    def save_manifest(self) -> None:
        """Writes the manifest, atomically."""
        write_text(self.file(MANIFEST), self.manifest.model_dump_json(indent=1))
