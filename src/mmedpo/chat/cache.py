"""Every answered call, in SQLite: what is paid for is never asked again.

An answer is committed before anybody sees it, so a killed process loses the calls in flight and no
others. Answers that arrive together are committed together. Requests are kept as well (images by
their hashes), and under which rule they left: the audit trail. The file holds texts of the dataset
and belongs where the dataset may lie.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from mmedpo.chat.budget import Spent
from mmedpo.chat.model import ChatReply, ChatRequest, Finish, Usage
from mmedpo.errors import RunFolderError, brief

VERSION = 1
COMMIT_AFTER = 0.004
"""Seconds in which answers gather for one commit. A place in flight is free again meanwhile."""
_SCHEMA = """
CREATE TABLE calls (
  key TEXT PRIMARY KEY, run TEXT NOT NULL, endpoint TEXT NOT NULL, prompt TEXT NOT NULL, request TEXT NOT NULL,
  reply TEXT NOT NULL, model TEXT NOT NULL, finish TEXT NOT NULL, input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, usd REAL NOT NULL, attempts INTEGER NOT NULL,
  seconds REAL NOT NULL, answered TEXT NOT NULL
);
CREATE INDEX calls_run ON calls(run, endpoint);
CREATE TABLE failures (run TEXT NOT NULL, endpoint TEXT NOT NULL, reason TEXT NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (run, endpoint, reason));
CREATE TABLE egress (run TEXT NOT NULL, endpoint TEXT NOT NULL, host TEXT NOT NULL, dataset TEXT NOT NULL,
  data_use TEXT NOT NULL, rule TEXT NOT NULL, since TEXT NOT NULL);
"""
_OWN = frozenset(" ".join(statement.split()) for statement in _SCHEMA.split(";") if statement.strip())
_Row = tuple[str | int | float, ...]
_INSERT = "INSERT OR IGNORE INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True)
class AnsweredCall:
    """One call as it is stored."""

    key: str
    """`request_key`."""
    endpoint: str
    """Name in the recipe."""
    request: ChatRequest
    reply: ChatReply
    usd: float = 0.0
    attempts: int = 1
    """Tries until the answer came."""
    seconds: float = 0.0
    """From the first try to the answer."""


@dataclass(frozen=True)
class EndpointCost:
    """What one endpoint has cost a run."""

    endpoint: str
    calls: int
    """Calls that were answered."""
    attempts: int
    """Tries those calls took until their answers came."""
    input_tokens: int
    output_tokens: int
    estimated: int
    """Calls whose tokens are estimates because the server reported none."""
    failures: tuple[tuple[str, int], ...]
    """Reasons of failed attempts, with how often they were met; attempts of calls never answered are among them."""
    usd: float
    """US dollars; 0 where calls are not paid for by token."""


class CallCache:
    """The answers in one file, and what `run` paid for among them."""

    def __init__(self, path: Path, run: str) -> None:
        """Opens or creates the file.

        Args:
            path: the SQLite file; may be shared by several runs and processes on one machine.
            run: name under which calls are paid for.

        Raises:
            RunFolderError: unwritable, damaged, of another version, or a database of something else.
        """
        self.path = path
        self.run = run
        self._waiting: list[tuple[_Row, asyncio.Future[None]]] = []
        self._failed: Counter[tuple[str, str]] = Counter()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(path, error) from None
        try:
            _is_new(self._file, path)  # before anything of it is changed
            self._file.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing that was committed; a power cut may lose the last moments.
            self._file.execute("PRAGMA synchronous=NORMAL")
            # Folding the log back waits for the disk, and everything in flight with it: rarely, then.
            self._file.execute("PRAGMA wal_autocheckpoint=8000")
            self._prepare()
        except (sqlite3.Error, OSError, RunFolderError) as error:
            self._file.close()
            raise _unusable(path, error) from None

    def _prepare(self) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            if _is_new(self._file, self.path):
                for statement in _SCHEMA.split(";"):
                    self._file.execute(statement)
                self._file.execute(f"PRAGMA user_version={VERSION}")
        finally:
            self._file.execute("COMMIT")

    def get(self, key: str) -> ChatReply | None:
        """The stored answer."""
        columns = "reply, model, finish, input_tokens, output_tokens, estimated"
        with self._told():
            row = self._file.execute(f"SELECT {columns} FROM calls WHERE key = ?", (key,)).fetchone()
        return None if row is None else _reply(row, self.path)

    async def put(self, call: AnsweredCall) -> None:
        """Stores an answer; it is on disk when this returns.

        Raises:
            RunFolderError: the file cannot be written (disk full, taken away).
        """
        # What cannot become a row fails here, alone, and not among those it would be committed with.
        row = self._row(call)
        loop = asyncio.get_running_loop()
        stored = loop.create_future()
        self._waiting.append((row, stored))
        if len(self._waiting) == 1:
            loop.call_later(COMMIT_AFTER, self._flush)
        await stored

    def failed(self, endpoint: str, reason: str) -> None:
        """Counts a failed attempt; written with `close`."""
        self._failed[endpoint, reason] += 1

    def spent(self) -> Spent:
        """Calls and money of this run."""
        with self._told():
            row = self._file.execute("SELECT count(*), total(usd) FROM calls WHERE run = ?", (self.run,)).fetchone()
        return Spent(calls=row[0], usd=row[1])

    def costs(self) -> list[EndpointCost]:
        """What this run paid for, per endpoint."""
        return _costs(self._file, self.run)

    def record_egress(self, endpoint: str, host: str, dataset: str, data_use: str, rule: str) -> None:
        """Notes from when on, and under which rule, an endpoint was given a dataset's texts."""
        row = (self.run, endpoint, host, dataset, data_use, rule, _now())
        with self._told():
            self._file.execute("INSERT INTO egress VALUES (?,?,?,?,?,?,?)", row)

    def close(self) -> None:
        """Stores what is answered and not yet committed, writes the counts of failures, and closes the file."""
        if self._waiting:
            # A stage that an error ends is cancelled between answer and commit: those answers are paid for.
            self._flush()
        query = (
            "INSERT INTO failures VALUES (?,?,?,?) "
            "ON CONFLICT(run, endpoint, reason) DO UPDATE SET number = number + excluded.number"
        )
        rows = [(self.run, endpoint, reason, number) for (endpoint, reason), number in self._failed.items()]
        try:
            if rows:
                with self._told():
                    self._file.executemany(query, rows)
        finally:
            self._file.close()

    def _flush(self) -> None:
        """Commits what waits. Whatever happens, everybody who waits is told: nobody else will ever do it."""
        waiting, self._waiting = self._waiting, []
        failure: Exception | None = None
        try:
            self._insert([row for row, _ in waiting])
        except Exception as error:
            failure = error
        for _, stored in waiting:
            if stored.done():
                continue
            if failure is None:
                stored.set_result(None)
            else:
                stored.set_exception(failure)

    def _insert(self, rows: list[_Row]) -> None:
        with self._told():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.executemany(_INSERT, rows)
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever the database raises is one line; what it cannot take (a number, a text) it raises as well."""
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            why = brief(str(error), 100)
            raise RunFolderError(f"{self.path} cannot be used ({why}); free space, then run again") from None

    def _row(self, call: AnsweredCall) -> _Row:
        request, reply = call.request, call.reply
        content = {
            "messages": [[turn.role, turn.text] for turn in request.messages],
            "images": [image.sha256 for image in request.images],
            "sample": request.sample,
        }
        return (
            call.key,
            self.run,
            call.endpoint,
            request.prompt,
            json.dumps(content),
            reply.text,
            reply.model,
            reply.finish,
            reply.usage.input_tokens,
            reply.usage.output_tokens,
            int(reply.usage.estimated),
            call.usd,
            call.attempts,
            round(call.seconds, 3),
            _now(),
        )


def costs_of(path: Path, run: str) -> list[EndpointCost]:
    """What a run paid for, per endpoint, read without changing the file or leaving another beside it.

    Args:
        path: the SQLite file; another process may be writing to it.
        run: name under which calls were paid for.

    Raises:
        RunFolderError: not there, damaged, or of another version.
    """
    with _looking(path) as file:
        return _costs(file, run)


def answers_of(path: Path) -> Iterator[tuple[str, ChatReply]]:
    """Every stored answer with its key, whoever paid for it, read as `costs_of` reads.

    Raises:
        RunFolderError: not there, damaged, or of another version.
    """
    columns = "reply, model, finish, input_tokens, output_tokens, estimated, key"
    with _looking(path) as file:
        for row in file.execute(f"SELECT {columns} FROM calls ORDER BY key"):
            yield row[-1], _reply(row, path)


@contextmanager
def _looking(path: Path) -> Iterator[sqlite3.Connection]:
    # Without a log of a process that writes (or was killed) nothing has to be taken from it, and looking would
    # create one: `immutable` does not look.
    written_now = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if written_now else '&immutable=1'}"
    try:
        file = sqlite3.connect(address, timeout=30, uri=True)
        try:
            if _is_new(file, path):
                raise RunFolderError(f"{path} is no call cache; use another chat.cache")
            yield file
        finally:
            file.close()
    except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a call cache ({brief(str(error), 100)}); check rights, or delete it"
        ) from None


def _is_new(file: sqlite3.Connection, path: Path) -> bool:
    """Whether a database holds nothing yet.

    Nothing but our own tables is ever read or written: a database of another program is not ours to change, and a
    view or a trigger of a file that was received computes whatever it likes.

    Raises:
        RunFolderError: it is of another version, or holds something else.
    """
    (version,) = file.execute("PRAGMA user_version").fetchone()
    found = {" ".join(sql.split()) for (sql,) in file.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not found and not version:
        return True
    if found & _OWN and version != VERSION:
        raise RunFolderError(f"{path} was written by another version ({version}); use another chat.cache")
    if found != _OWN:
        raise RunFolderError(f"{path} is a database of something else, no call cache; use another chat.cache")
    return False


def _unusable(path: Path, error: Exception) -> RunFolderError:
    if isinstance(error, RunFolderError):
        return error
    why = brief(str(error), 100)
    return RunFolderError(f"{path} cannot be used as a call cache ({why}); check rights, or delete it")


def _costs(file: sqlite3.Connection, run: str) -> list[EndpointCost]:
    """Per endpoint; one whose every attempt failed has paid no call and is there all the same."""
    failures: dict[str, list[tuple[str, int]]] = {}
    query = "SELECT endpoint, reason, number FROM failures WHERE run = ? ORDER BY number DESC, reason"
    for endpoint, reason, number in file.execute(query, (run,)):
        failures.setdefault(endpoint, []).append((reason, number))
    sums = "count(*), total(attempts), total(input_tokens), total(output_tokens), total(estimated), total(usd)"
    query = f"SELECT endpoint, {sums} FROM calls WHERE run = ? GROUP BY endpoint"
    paid = {name: row for name, *row in file.execute(query, (run,))}
    return [
        EndpointCost(
            endpoint=name,
            calls=calls,
            attempts=int(attempts),
            input_tokens=int(read),
            output_tokens=int(written),
            estimated=int(estimated),
            failures=tuple(failures.get(name, ())),
            usd=usd,
        )
        for name in sorted({*paid, *failures})
        for calls, attempts, read, written, estimated, usd in [paid.get(name, (0, 0, 0, 0, 0, 0.0))]
    ]


def _reply(row: tuple[object, ...], path: Path) -> ChatReply:
    text, model, finish, read, written, estimated = row[:6]
    if not (
        isinstance(text, str) and isinstance(model, str) and isinstance(read, int) and isinstance(written, int)
    ) or finish not in get_args(Finish):
        raise RunFolderError(f"{path} holds an answer that is none; delete it, or use another chat.cache")
    return ChatReply(text, model, cast(Finish, finish), Usage(read, written, bool(estimated)))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
