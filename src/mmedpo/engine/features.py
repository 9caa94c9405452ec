"""Image features of views: what is frozen is computed once, what is trained every time.

Where they are kept is measured, not guessed: in memory while they fit; else in memory-mapped files,
unless the encoder is faster than the disk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import psutil
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmedpo.config import FeaturePlace
from mmedpo.models.encoding import ImageFeatures, Kept, TowerOutput
from mmedpo.models.vlm import UInt8Image, VisionLanguageModel
from mmedpo.progress import Advance
from mmedpo.storage.files import hash_path
from mmedpo.storage.tables import atomic_path, write_text

MEMORY_SHARE = 0.25
"""Share of the free memory that features may fill."""
SHARD = 64
"""Views encoded, and stored in one file, at a time: a tower's pass has no more, whatever a call asks for."""


class FeatureStore:
    """Image features of image files.

    Args:
        vlm: the model; `vlm.trained` says which of its parts change, and so what can be kept.
        read: reads an image file.
        folder: where features may be kept on disk; None: never.
        place: `auto`, `memory`, `disk` or `recompute`.
        identity: hash of the weights, so that files of another model are never taken up.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        read: Callable[[Path], UInt8Image],
        folder: Path | None = None,
        place: FeaturePlace = "memory",
        identity: str = "",
    ) -> None:
        self.vlm = vlm
        self.read = read
        self.folder = folder
        self.place = place
        self.identity = identity
        self._kept: dict[Path, Kept] = {}
        self._shards: dict[Path, tuple[Any, int]] = {}

    def preload(self, views: Iterable[Path], advance: Advance | None = None) -> None:
        """Computes what can be kept of all views not yet known, and decides where to keep it."""
        wanted = [view for view in dict.fromkeys(views) if view not in self._kept and view not in self._shards]
        if self.vlm.volatile or not wanted:
            return
        if self.place == "auto":
            self.place = self._choose(wanted)
        if self.place == "recompute":
            return
        for start in range(0, len(wanted), SHARD):
            part = wanted[start : start + SHARD]
            if self.place == "disk":
                shard = self._shard(part)
                self._shards.update({view: (shard, row) for row, view in enumerate(part)})
            else:
                # In the machine's memory: all views of a dataset would fill a GPU.
                encoded = [one.map(Tensor.cpu) for one in self._encode(part)]
                self._kept.update(zip(part, encoded, strict=True))
            if advance:
                advance(start + len(part), len(wanted))

    def preload_together(
        self,
        views: Iterable[Path],
        rank: int,
        size: int,
        wait: Callable[[], None],
        advance: Advance | None = None,
    ) -> None:
        """`preload` by several processes: each computes a share into files, which all of them read.

        Args:
            views: the same in the same order for every process.
            rank: number of this process, from 0.
            size: how many there are.
            wait: returns once every process has come to it.
            advance: told of this process's share.
        """
        wanted = list(dict.fromkeys(views))
        if size == 1 or self.folder is None or self.vlm.volatile:
            self.preload(wanted, advance)
            return
        if self.place == "auto":
            if rank == 0:
                self._choose(wanted)
            wait()
            self.place = self._choose(wanted)
        if self.place == "recompute":
            return
        parts = [wanted[start : start + SHARD] for start in range(0, len(wanted), SHARD)]
        own = parts[rank::size]
        for number, part in enumerate(own, start=1):
            self._shard(part)
            if advance:
                advance(number, len(own))
        wait()
        for part in parts:
            shard = self._shard(part)
            self._shards.update({view: (shard, row) for row, view in enumerate(part)})
            if self.place == "memory":
                self._kept.update({view: self._frozen(view).map(Tensor.clone) for view in part})
                for view in part:
                    del self._shards[view]

    def __call__(self, views: Sequence[Path]) -> list[ImageFeatures]:
        """Features the language model reads, in order; each distinct view is computed once."""
        distinct = list(dict.fromkeys(views))
        if self.place != "recompute":
            self.preload(distinct)
        unknown = [view for view in distinct if view not in self._kept and view not in self._shards]
        parts = [unknown[start : start + SHARD] for start in range(0, len(unknown), SHARD)]
        fresh = {view: kept for part in parts for view, kept in zip(part, self._encode(part), strict=True)}
        kept = [fresh[view] if view in fresh else self._frozen(view) for view in distinct]
        finished = dict(zip(distinct, self.vlm.finish(kept), strict=True))
        return [finished[view] for view in views]

    def each(self, shown: Sequence[Sequence[Path]]) -> list[list[ImageFeatures]]:
        """Features of the images of each question, in order."""
        found = iter(self([view for views in shown for view in views]))
        return [[next(found) for _ in views] for views in shown]

    def _frozen(self, view: Path) -> Kept:
        """What is kept of a view: features, or the tower's output where the projector is trained."""
        if view in self._kept:
            return self._kept[view]
        file, row = self._shards[view]
        mark = f"{row}."
        tensors = {name.removeprefix(mark): file.get_tensor(name) for name in file.keys() if name.startswith(mark)}  # noqa: SIM118
        return TowerOutput.of(tensors) if "pixels" in tensors else ImageFeatures.of(tensors)

    def _encode(self, views: Sequence[Path]) -> list[Kept]:
        """The part of the way from pixels to features that comes before anything trained but the tower."""
        return self.vlm.keep([self.read(view) for view in views])

    def _shard(self, views: Sequence[Path]) -> Any:
        """The file that holds these views, written when it is not there yet."""
        assert self.folder is not None
        digest = hashlib.sha256(f"{self.identity}\\0{sorted(self.vlm.trained)}".encode())
        for view in views:
            digest.update(hash_path(view).encode())
        path = self.folder / f"{digest.hexdigest()[:32]}.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as partial:
                save_file(_named(self._encode(views)), partial)
        return safe_open(path, framework="pt")

    def _choose(self, views: Sequence[Path]) -> FeaturePlace:
        """Decides where to keep the features of `views`; a resumed run keeps to what was decided before.

        Features encoded in other batches differ in their last bits, and timings differ from run to
        run: only a decision that is written down lets a killed run end with the same bytes.
        """
        if self.folder is None:
            return self._measure(views)
        note = self.folder / "place"
        if not note.exists():
            write_text(note, self._measure(views))
        return cast(FeaturePlace, note.read_text())

    def _measure(self, views: Sequence[Path]) -> FeaturePlace:
        """Memory while all fit; else disk, unless reading takes longer than encoding."""
        started = time.perf_counter()
        sample = self._encode(views[:8])
        encoding = time.perf_counter() - started
        size = sum(value.nbytes for one in sample for value in one.tensors().values()) / len(sample)
        # Every process of this machine keeps all of them.
        copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if copies * size * len(views) <= MEMORY_SHARE * psutil.virtual_memory().available:
            return "memory"
        if self.folder is None:
            return "recompute"
        return "disk" if self._reading_seconds(self.folder, sample) < encoding else "recompute"

    def _reading_seconds(self, folder: Path, sample: Sequence[Kept]) -> float:
        """Time to read the sample's features from disk (not from the system's page cache) to the device."""
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / ".trial.safetensors"
        save_file(_named(sample), trial)
        if hasattr(os, "posix_fadvise"):
            with trial.open("rb") as written:
                os.fsync(written.fileno())
                os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.perf_counter()
        with safe_open(trial, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                file.get_tensor(name).to(self.vlm.device)
        seconds = time.perf_counter() - started
        trial.unlink()
        return seconds


def _named(kept: Sequence[Kept]) -> dict[str, Tensor]:
    """Tensors of views by `number.name`, each with memory of its own, as a file wants them."""
    return {
        f"{row}.{name}": value.cpu().clone().contiguous()
        for row, one in enumerate(kept)
        for name, value in one.tensors().items()
    }
