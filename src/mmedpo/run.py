"""The run folder: stages, fingerprints, locks, resume.

A stage states what it reads and what it writes. Its fingerprint is a hash of its settings and of the
bytes it reads; when the fingerprint is the one under which its outputs were finished, the stage is
done and costs nothing. Work in progress lives in `.work/<stage>/`, named by the fingerprint it
belongs to, so a killed stage goes on where it stopped and a changed setting never mixes with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mmedpo.config import ModelSettings, RunSettings, dump_settings, load_settings
from mmedpo.errors import RunFolderError
from mmedpo.progress import Advance, Reporter, Silent, duration
from mmedpo.records import Drop, Record
from mmedpo.tables import atomic_path, read_table, write_table, write_text

FORMAT = 1
"""Version of the run folder's layout; a folder of another version is refused."""

MANIFEST = "manifest.json"
RESOLVED = "config.resolved.yaml"
FINETUNED = "finetuned"
"""Folder of the supervised fine-tuned checkpoint, where a recipe asks for one."""

R = TypeVar("R", bound=Record)


class StageState(BaseModel):
    """What the manifest keeps of a finished stage."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    """Hash of settings and inputs the outputs were made with."""
    outputs: dict[str, str]
    """Relative path -> SHA-256 (a folder's is the hash of its files' names and hashes)."""
    seconds: float
    """Wall time over all attempts of this process."""


class Manifest(BaseModel):
    """`manifest.json`: what this folder is and which stages are done."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    created: str = ""
    """UTC time, ISO 8601."""
    versions: dict[str, str] = {}
    """Package versions the run was made with."""
    stages: dict[str, StageState] = {}
    """Finished stages by name."""


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


@dataclass
class Run:
    """An open, locked run folder."""

    path: Path
    settings: RunSettings
    manifest: Manifest
    reporter: Reporter = field(default_factory=Silent)
    donors: tuple[Path, ...] = ()
    """Other run folders whose finished stages may be copied when their fingerprints agree."""
    current: str = ""
    """Name of the stage being executed."""

    def file(self, relative: str) -> Path:
        """Path inside the run folder."""
        return self.path / relative

    @property
    def image_root(self) -> Path:
        """Folder the examples' image paths are relative to."""
        root = self.settings.data.root
        return self.file("data") if root is None else root.expanduser()

    @property
    def target_model(self) -> ModelSettings:
        """The model that is curated for, tuned and compared: the fine-tuned checkpoint where there is one."""
        if self.settings.finetune is None:
            return self.settings.model
        return self.settings.model.model_copy(update={"name": str(self.file(FINETUNED))})

    def track(self, label: str) -> Advance:
        """Progress line of the current stage."""
        return self.reporter.track(f"[{self.current or self.path.name}] {label}")

    def message(self, text: str) -> None:
        """One line for the user."""
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
        """Everything any stage left out."""
        files = sorted(self.file("drops").glob("*.parquet"))
        return [drop for file in files for drop in read_table(file, Drop)]

    @property
    def work_folder(self) -> Path:
        """Folder for the current stage's unfinished work; kept on a kill, removed when done."""
        return self.file(".work") / self.current

    def chunks(
        self, label: str, items: Sequence[Any], size: int, work: Callable[[Sequence[Any]], list[R]], record_type: type[R]
    ) -> list[R]:
        """Runs `work` over fixed chunks of `items`, each saved when done, and returns all records.

        Chunks depend on the items alone, so a run that was killed and resumed computes exactly the
        chunks an uninterrupted one would.
        """
        advance = self.track(label)
        results: list[R] = []
        slug = label.replace(" ", "-")
        for start in range(0, len(items), size):
            part = self.work_folder / f"{slug}-{start:08d}.parquet"
            if part.exists():
                results += read_table(part, record_type)
            else:
                records = work(items[start : start + size])
                write_table(part, record_type, records)
                results += records
            advance(min(start + size, len(items)), len(items))
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
        """True when the stage's outputs are there and were made from these settings and inputs."""
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
            raise RunFolderError(f"stage {stage.name!r} reads {missing[0]}, which is not in {self.path}; run the stages before it")
        if self.is_done(stage):
            return False
        fingerprint = self.fingerprint(stage)
        if self._adopt(stage, fingerprint):
            return False
        self.current = stage.name
        started = time.monotonic()
        try:
            self._prepare_work(fingerprint)
            stage.work(self)
            self._finish(stage, fingerprint, time.monotonic() - started)
        except PermissionError as error:
            raise RunFolderError(f"no permission to write {error.filename}; choose another --runs folder") from error
        finally:
            self.current = ""
        return True

    def _finish(self, stage: Stage, fingerprint: str, seconds: float) -> None:
        outputs = {name: hash_path(self.file(name)) for name in self._outputs(stage)}
        self.manifest.stages[stage.name] = StageState(fingerprint=fingerprint, outputs=outputs, seconds=seconds)
        self.save_manifest()
        shutil.rmtree(self.work_folder, ignore_errors=True)
        self.message(f"done in {duration(seconds)}")

    def _outputs(self, stage: Stage) -> list[str]:
        missing = [name for name in stage.writes if not self.file(name).exists()]
        if missing:
            raise RunFolderError(f"stage {stage.name!r} finished without writing {', '.join(missing)}")
        drops = f"drops/{stage.name}.parquet"
        return [*stage.writes, *([drops] if self.file(drops).exists() and drops not in stage.writes else [])]

    def _input_hash(self, name: str) -> str:
        for state in self.manifest.stages.values():
            if name in state.outputs:
                return state.outputs[name]
        return hash_path(self.file(name))

    def _prepare_work(self, fingerprint: str) -> None:
        folder, marker = self.work_folder, self.work_folder / "fingerprint"
        if folder.exists() and not (marker.exists() and marker.read_text() == fingerprint):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(marker, fingerprint)

    def _adopt(self, stage: Stage, fingerprint: str) -> bool:
        for donor in self.donors:
            if not (donor / MANIFEST).exists() or donor == self.path:
                continue
            state = _read_manifest(donor).stages.get(stage.name)
            if state is None or state.fingerprint != fingerprint:
                continue
            if not all((donor / name).exists() for name in state.outputs):
                continue
            for name in state.outputs:
                _copy(donor / name, self.file(name))
            self.manifest.stages[stage.name] = state
            self.save_manifest()
            self.message(f"stage {stage.name!r} taken from {donor.name}: same settings, same inputs")
            return True
        return False

    def save_manifest(self) -> None:
        """Writes the manifest, atomically."""
        write_text(self.file(MANIFEST), self.manifest.model_dump_json(indent=1))


@contextmanager
def open_run(
    path: Path,
    settings: RunSettings | None = None,
    reporter: Reporter | None = None,
    donors: Sequence[Path] = (),
) -> Iterator[Run]:
    """Opens (or creates, when settings are given) a run folder and holds its lock.

    Raises:
        RunFolderError: no such run, no permission, in use by another process, another version.
    """
    from filelock import FileLock, Timeout

    if settings is None and not (path / MANIFEST).exists():
        raise RunFolderError(f"{path} is not a run folder (no {MANIFEST}); start one with `mmedpo run RECIPE`")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
        lock = FileLock(path / ".lock")
        lock.acquire(timeout=0)
    except PermissionError as error:
        raise RunFolderError(f"no permission to write in {path}; choose another --runs folder") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{path} is a file, not a folder; choose another run name") from error
    except Timeout:
        raise RunFolderError(f"{path} is in use by {_holder(path)}; wait for it, or choose another run name") from None
    try:
        write_text(path / ".holder", f"process {os.getpid()} on {socket.gethostname()}")
        manifest = _read_manifest(path) if (path / MANIFEST).exists() else _new_manifest(path)
        if settings is None:
            settings = load_settings(path / RESOLVED)
        else:
            write_text(path / RESOLVED, dump_settings(settings))
        run = Run(path, settings, manifest, reporter or Silent(), tuple(donors))
        run.save_manifest()
        yield run
    finally:
        (path / ".holder").unlink(missing_ok=True)
        lock.release()


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of a folder's files (hidden ones left out)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            digest.update(f"{file.relative_to(path).as_posix()}\0{hash_path(file)}\n".encode())
    else:
        with path.open("rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = json.loads((path / MANIFEST).read_text())
        version = raw.get("format")
        if version != FORMAT:
            raise RunFolderError(
                f"{path} has run-folder format {version!r}, this mmedpo reads {FORMAT}; "
                "choose another run name, or use the version of mmedpo that made it"
            )
        return Manifest.model_validate(raw)
    except (json.JSONDecodeError, ValidationError, AttributeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path / MANIFEST} is damaged ({type(error).__name__}); use a new run name") from None


def _new_manifest(path: Path) -> Manifest:
    from importlib.metadata import version

    foreign = [item.name for item in path.iterdir() if not item.name.startswith(".")]
    if foreign:
        raise RunFolderError(f"{path} is not empty and not a run folder (found {foreign[0]!r}); choose another run name")
    packages = ("mmedpo", "torch", "transformers", "peft", "numpy")
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Manifest(created=created, versions={name: version(name) for name in packages})


def _holder(path: Path) -> str:
    try:
        return (path / ".holder").read_text() or "another process"
    except OSError:
        return "another process"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        staging = target.with_name(f".{target.name}.partial-{os.getpid()}")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(source, staging, copy_function=_link)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(staging, target)
    else:
        with atomic_path(target) as partial:
            _link(str(source), str(partial))


def _link(source: str, target: str) -> None:
    """Shares a finished file (files of a run are replaced whole, never changed in place), or copies it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
