"""The worker process from our side: started, asked, given up on, and always ended."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from mmedpo.errors import brief

LONGEST_REPLY = 1 << 20
"""Bytes of one line; a value takes about 20."""
GIVE_UP = 3
"""Batches in a row that fail until the rest is not asked for."""
WORKER = Path(__file__).with_name("worker.py")


class WorkerFailed(Exception):
    """No values came back; the message says why in a few words."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(brief(reason, 160))
        self.final = final
        """True where another try would end alike: the metric cannot be loaded."""


class Worker:
    """One metric, loaded in its own process."""

    def __init__(self, python: Path, metric: str, environment: Mapping[str, str], log: Path, loading: float) -> None:
        """Starts it and waits until the metric is loaded.

        Args:
            python: interpreter of RadEval's environment.
            metric: name in RadEval.
            environment: all variables that it sees.
            log: file that takes what it prints.
            loading: seconds for loading.

        Raises:
            WorkerFailed: it cannot be started, or does not load the metric.
        """
        self._log = log
        with log.open("wb") as printed:
            try:
                self._process = subprocess.Popen(
                    [python, "-I", WORKER, metric],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=printed,
                    env=dict(environment),
                    cwd=log.parent,
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkerFailed(f"{python} cannot be started: {error.strerror}", final=True) from None
        try:
            reply = self._exchange(b"", loading)
        except WorkerFailed as failure:
            raise WorkerFailed(f"not loaded: {failure}", final=True) from None
        if "ready" not in reply:
            self.close()
            raise WorkerFailed(f"not loaded: {reply.get('error')}", final=True)

    def values(
        self, references: Sequence[str], texts: Sequence[str], key: str, *, each: bool, timeout: float
    ) -> list[float | None]:
        """A value for every pair of reports, or one for all; None where it is no finite number.

        Raises:
            WorkerFailed: an error of the metric, a process that ended or hangs, or another number of values.
        """
        asked = {"refs": list(references), "hyps": list(texts), "key": key, "each": each}
        reply = self._exchange((json.dumps(asked) + "\n").encode(), timeout)
        found = reply.get("values")
        if not isinstance(found, list):
            raise WorkerFailed(str(reply.get("error", "a reply without values")))
        wanted = len(references) if each else 1
        if len(found) != wanted:
            raise WorkerFailed(f"{len(found)} values for {wanted}")
        return [_number(value) for value in found]

    def close(self) -> None:
        """Ends the process and whatever it has started."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _exchange(self, line: bytes, timeout: float) -> dict[str, Any]:
        received: list[bytes] = []
        # In a thread, because a process that hangs takes no input either.
        talk = Thread(target=self._talk, args=(line, received), daemon=True)
        talk.start()
        talk.join(timeout)
        if talk.is_alive():
            # Its children hold the same pipe, so that only with them does the reading end.
            self._kill()
            talk.join()
            self.close()
            raise WorkerFailed(f"no reply within {timeout:g} s")
        reply = received[0] if received else b""
        if not reply.endswith(b"\n"):
            self.close()
            if reply:
                raise WorkerFailed(f"a reply of more than {LONGEST_REPLY:,} bytes")
            raise WorkerFailed(f"the process ended with code {self._process.returncode}: {self._last_words()}")
        try:
            content = json.loads(reply)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            self.close()
            raise WorkerFailed("a reply that is no JSON object")
        return content

    def _talk(self, line: bytes, received: list[bytes]) -> None:
        sends, receives = self._process.stdin, self._process.stdout
        assert sends is not None
        assert receives is not None
        with suppress(OSError, ValueError):
            sends.write(line)
            sends.flush()
            received.append(receives.readline(LONGEST_REPLY))

    def _last_words(self) -> str:
        with self._log.open("rb") as printed:
            printed.seek(max(self._log.stat().st_size - 2000, 0))
            lines = printed.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def score_pairs(
    start: Callable[[], Worker],
    pairs: Sequence[tuple[str, str]],
    key: str,
    *,
    each: bool,
    size: int,
    timeout: float,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[float | str]:
    """A value, or the reason why there is none, for every pair; with `each` false one for all pairs at once.

    A batch that fails costs its own values: the next one is asked of a new process. After `GIVE_UP` in a row, or where
    the metric cannot be loaded, the rest has the reason of the last.

    Args:
        start: starts the worker.
        pairs: reference and text.
        key: name of the value in what RadEval returns.
        each: a value for every pair.
        size: pairs in a batch, which may take `timeout` seconds.
        advance: told how many pairs are done.
    """
    found: list[float | str] = []
    worker: Worker | None = None
    failed, reason, step = 0, "", size if each else max(len(pairs), 1)
    try:
        for begin in range(0, len(pairs), step):
            batch = pairs[begin : begin + step]
            answers = len(batch) if each else 1
            advance(begin, len(pairs))
            if failed >= GIVE_UP:
                found += [reason] * answers
                continue
            try:
                worker = worker or start()
                references, texts = [pair[0] for pair in batch], [pair[1] for pair in batch]
                values = worker.values(references, texts, key, each=each, timeout=timeout)
                found += ["not a finite number" if value is None else value for value in values]
                failed = 0
            except WorkerFailed as failure:
                if worker is not None:
                    worker.close()
                    worker = None
                failed, reason = GIVE_UP if failure.final else failed + 1, str(failure)
                found += [reason] * answers
    finally:
        if worker is not None:
            worker.close()
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
