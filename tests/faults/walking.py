"""One execution of a stage that stops before every file operation, so that faults can begin there.

A death leaves the folder as it stands there. An error is met by a copy of the process, forked there (`faults.c`): it
goes on to its end, then the folder is put back, every file the same one that the waiting process may hold open, and the
next fault has its turn. The copy lacks the threads of the process, and would share what the system keeps of an event
loop, an open folder, a deleted file: where there are such, the fault is left to a process of its own.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 120
"""Seconds a copy may take."""

GO_ON, FAIL = 0, 1
STOPS, BEGUN, ENDED = 0, 1, 2


class Walk:
    """A process that stops before every file operation below a folder.

    Args:
        begin: forks it, given what prepares the child; returns its number.
        shim: the C library's stand-in.
        folder: where it works.
        aside: a folder on the same file system, for what is put back.
    """

    def __init__(self, begin: Callable[[Callable[[], None]], int], shim: object, folder: Path, aside: Path) -> None:
        self.folder, self._same, self._copy = folder, aside / "same", aside / "copy"
        self._told, telling = os.pipe()
        asked, self._answering = os.pipe()

        def prepare() -> None:
            os.close(self._told)
            os.close(self._answering)
            shim.fault_walk(telling, asked)  # type: ignore[attr-defined]

        self.process = begin(prepare)
        os.close(telling)
        os.close(asked)
        self._main = False

    def stops(self) -> Iterator[int]:
        """The number of every operation, while the process waits before it."""
        number = 0
        while (said := self._hear()) is not None:
            self._main = bool(said[1])
            yield number
            self._answer(GO_ON)
            number += 1
        os.close(self._told)
        os.close(self._answering)

    def finish(self) -> int:
        """The exit code of the process, after its last operation."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def can_fork(self) -> bool:
        """Whether a copy made here would be whole, and alone."""
        opened = [link.readlink() for link in Path(f"/proc/{self.process}/fd").iterdir()]
        return self._main and not any(
            "eventpoll" in file.name or file.name.endswith(" (deleted)") or file.is_dir() for file in opened
        )

    def keep(self) -> None:
        """Remembers the folder as it stands, for `put_back`: its files, and what they hold."""
        for place, copied in ((self._same, os.link), (self._copy, shutil.copy2)):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(self.folder, place, copy_function=copied)

    def fail(self, number: int, stays: int) -> int | None:
        """Exit code of a copy of the process that meets an error at this operation; None where it had to be ended."""
        self._answer(FAIL, number, stays)
        begun = self._hear()
        assert begun is not None
        assert begun[0] == BEGUN
        hangs = not select.select([self._told], [], [], PATIENCE)[0]
        if hangs:
            os.kill(begun[1], signal.SIGKILL)
        ended = self._hear()
        assert ended is not None
        assert ended[0] == ENDED
        return None if hangs else os.waitstatus_to_exitcode(ended[1])

    def put_back(self) -> None:
        """Makes the folder what it was at `keep`: the same files, with the bytes and times they had."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if not (self._same / path.relative_to(self.folder)).exists():
                path.rmdir() if path.is_dir() else path.unlink()
        for kept in sorted(self._same.rglob("*")):
            path, copy = (place / kept.relative_to(self._same) for place in (self.folder, self._copy))
            if kept.is_dir():
                path.mkdir(exist_ok=True)
                continue
            if not path.exists() or not path.samefile(kept):
                path.unlink(missing_ok=True)
                os.link(kept, path)
            content = copy.read_bytes()
            if path.read_bytes() != content:
                path.write_bytes(content)
            times = copy.stat()
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _hear(self) -> tuple[int, int] | None:
        said = os.read(self._told, 8)
        return struct.unpack("ii", said) if said else None

    def _answer(self, what: int, number: int = 0, stays: int = 0) -> None:
        os.write(self._answering, struct.pack("iii", what, number, stays))
