"""OpenAI-style batch files: requests written out, results read back; recorded answers have the same form.

One JSON object a line. A request is `{custom_id, method, url, body}`, a result `{custom_id, response:
{status_code, body}, error}`; `custom_id` is the key of the call in the cache, so results may come back
in any order, in parts, and more than once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from mmedpo.chat.model import ChatModel, ChatReply, ChatRequest, Deferred, model_identity, request_key
from mmedpo.chat.wire import completion_body, each_key_once, read_completion, request_body
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.storage.tables import atomic_path

MOST_REQUESTS = 50_000
MOST_BYTES = 150_000_000
"""Limits of one file, below those of the services that take them (50,000 requests, 200 MB)."""


class BatchWriter:
    """Stands in for a model: writes each request to a file of its endpoint, and answers none."""

    def __init__(self, name: str, settings: EndpointSettings, folder: Path) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self.written: set[str] = set()
        """Keys of the requests: items of the same texts share one, and a service wants each only once."""
        self._identity = model_identity(settings)
        self.files: list[Path] = []
        self.complete_set = False
        """Set when every request of a stage is written: only then do the files get their final names."""
        self._in_file = self._bytes = 0
        self._open: TextIO | None = None

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Writes the request.

        Raises:
            Deferred: always; the call has no answer yet.
        """
        key = request_key(self._identity, request)
        if key in self.written:
            raise Deferred("written to a batch file")
        body = request_body(self.settings, request)
        entry = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        size = len(line.encode("utf-8", "replace"))
        if self._open is None or self._in_file == MOST_REQUESTS or self._bytes + size > MOST_BYTES:
            self._begin()
        assert self._open is not None
        self._open.write(line)
        self._in_file += 1
        self._bytes += size
        self.written.add(key)
        raise Deferred("written to a batch file")

    async def close(self) -> None:
        """Gives the files their final names; removes them where the stage broke off before all was written."""
        self._end()
        for path in self.files:
            if self.complete_set:
                _partial(path).replace(path)
            else:
                _partial(path).unlink(missing_ok=True)

    def _begin(self) -> None:
        self._end()
        path = self.folder / f"{self.name}-{len(self.files) + 1:04d}.jsonl"
        if path.exists():
            raise ChatError(
                f"{path} exists already; give --batch-out a new folder, or remove it once its results are in"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files.append(path)
        self._open = _partial(path).open("w", encoding="utf-8", errors="replace")
        self._in_file = self._bytes = 0

    def _end(self) -> None:
        if self._open is not None:
            self._open.flush()
            os.fsync(self._open.fileno())
            self._open.close()
            self._open = None


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def batch_files(path: Path) -> list[Path]:
    """The file, or the `.jsonl` files of the folder.

    Raises:
        ChatError: there is none.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ChatError(f"{path} is no batch file and no folder with .jsonl files; give what the service returned")
    return files


def read_results(path: Path) -> Iterator[tuple[str, Any | str]]:
    """Keys with the body of the answer, or with the reason (a text) why there is none.

    Raises:
        ChatError: a line that is no batch result; the message names file and line and quotes nothing.
    """
    for file in batch_files(path):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _result(line, f"{file}:{number}")


def _result(line: str, where: str) -> tuple[str, Any | str]:
    try:
        entry = json.loads(line, object_pairs_hook=each_key_once)
        key = entry["custom_id"]
        if not isinstance(key, str):
            raise TypeError("custom_id")
        if "response" not in entry and "error" not in entry:
            raise KeyError("response")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ChatError(
            f"{where} is no batch result with custom_id and response; give the results, not the requests"
        ) from None
    response = entry.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        status = response.get("status_code") if isinstance(response, dict) else None
        return key, f"HTTP {status}" if isinstance(status, int) else "error"
    return key, response.get("body")


class BatchResults:
    """Answers from results that were read back; what they do not answer goes on to another model."""

    def __init__(self, settings: EndpointSettings, results: Mapping[str, Any | str], otherwise: ChatModel) -> None:
        """Args:
        settings: the endpoint the requests were made for.
        results: by key, see `read_results`.
        otherwise: asked where a key is missing, or its result is an error.
        """
        self.settings = settings
        self.results = results
        self.otherwise = otherwise
        self._identity = model_identity(settings)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """See `ChatModel`."""
        reply = read_completion(self.results.get(request_key(self._identity, request)), self.settings, request)
        return reply if reply is not None else await self.otherwise.complete(request)

    async def close(self) -> None:
        """Closes the other model."""
        await self.otherwise.close()


def write_recording(path: Path, answers: Iterable[tuple[str, ChatReply]]) -> int:
    """Writes answers as batch results, for `kind: replay`; returns how many."""
    number = 0
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", errors="replace") as file:
        for key, reply in answers:
            entry = {"custom_id": key, "response": {"status_code": 200, "body": completion_body(reply)}, "error": None}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            number += 1
    return number
