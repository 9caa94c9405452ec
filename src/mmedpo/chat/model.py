"""The seam: what a language model is asked, what it answers, and how a call can fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from mmedpo.config import EndpointSettings
from mmedpo.records import Message, Part
from mmedpo.registry import lookup

BYTES_PER_TOKEN = 3
"""For estimates without a tokenizer: English medical text takes 3.5 to 4.5 bytes a token, so this errs upwards."""

BYTES_OF_A_TURN = 16
"""What a chat template puts around a turn, as bytes; in a limit each counts as a token."""

Finish = Literal["stop", "length", "refusal", "other"]


RESULT_FIELDS = {"model", "temperature", "top_p", "max_tokens", "structured", "extra"}
"""Settings that change what a model answers; the others change when, where from and at what price."""


@dataclass(frozen=True)
class ChatImage:
    """One image of a request, encoded only when it is really sent."""

    sha256: str
    """Hash of the file's bytes: the identity of an image throughout a run."""
    encode: Callable[[int], bytes] = field(repr=False, compare=False)
    """PNG with at most that many pixels on the longer side."""


@dataclass(frozen=True)
class ChatRequest:
    """One call, complete: equal requests to equal models have equal answers, as far as the cache is concerned."""

    messages: tuple[Message, ...] = field(repr=False)
    """The conversation; the last turn is the user's."""
    prompt: str
    """Name and version of the prompt, e.g. `debate-first@1`."""
    images: tuple[ChatImage, ...] = ()
    """Taken by the image parts of the messages in order."""
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    """JSON schema of the reply."""
    sample: int = 0
    """Number of the draw, where one question is asked several times."""
    seed: int | None = None
    """Of the draw, for servers that take one; None: theirs."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one call."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False
    """True when the server reported none."""


@dataclass(frozen=True)
class ChatReply:
    """What came back."""

    text: str = field(repr=False)
    """The reply, verbatim; empty when the model refused without a word."""
    model: str
    """Name and version as the server gives them."""
    finish: Finish
    usage: Usage


class CallFailed(Exception):
    """One call that got no answer; `reason` is short, countable, and holds no text of the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Transient(CallFailed):
    """May succeed when tried again."""

    def __init__(self, reason: str, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds the server asks to wait; None when it says nothing."""
        self.unreachable = unreachable
        """True when no server accepted the connection."""


class Deferred(CallFailed):
    """Not sent: written to a batch file instead."""


@runtime_checkable
class ChatModel(Protocol):
    """Whatever answers: one attempt, without cache, limits or retries (those are `mmedpo.chat.line`)."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answers one request.

        Raises:
            CallFailed: this call got no answer (`Transient`: another attempt may).
            ChatError: no call can succeed: wrong key, unknown model, a server of another kind.
        """
        ...

    async def close(self) -> None:
        """Gives connections and memory back."""
        ...


def text_message(role: Literal["system", "user", "assistant"], text: str, images: int = 0) -> Message:
    """A turn with its images before its text."""
    parts = tuple(Part(type="image") for _ in range(images))
    return Message(role=role, content=(*parts, Part(type="text", text=text)))


def request_key(identity: str, request: ChatRequest) -> str:
    """SHA-256 that names a call in cache, batch file and recording.

    Args:
        identity: the model with its parameters, see `model_identity`.
        request: the call; images enter by their hashes.
    """
    digest = hashlib.sha256(identity.encode())
    for turn in request.messages:
        digest.update(f"\0{turn.role}\0{turn.images}\0{turn.text}".encode("utf-8", "surrogatepass"))
    schema = json.dumps(request.schema, sort_keys=True) if request.schema else ""
    hashes = ",".join(image.sha256 for image in request.images)
    digest.update(f"\0{hashes}\0{request.prompt}\0{schema}\0{request.sample}".encode())
    if request.seed is not None:
        digest.update(f"\0{request.seed}".encode())
    return digest.hexdigest()


def model_identity(settings: EndpointSettings) -> str:
    """What decides a model's answers, as JSON: name and parameters, not address, price or patience.

    A kind whose class has a `checkpoint(settings)` adds the hash of what it loads.
    """
    fields = RESULT_FIELDS | ({"image_side"} if settings.images else set())
    content = settings.model_dump(mode="json", include=fields)
    version = getattr(lookup("chat-model", settings.kind), "checkpoint", None)
    if version is not None:
        content["checkpoint"] = version(settings)
    return json.dumps(content, sort_keys=True)


def estimated_input_tokens(settings: EndpointSettings, request: ChatRequest) -> int:
    """Tokens a request will take, erring upwards."""
    return _input_bytes(request) // BYTES_PER_TOKEN + 1 + len(request.images) * settings.image_tokens


def most_input_tokens(settings: EndpointSettings, request: ChatRequest) -> int:
    """Tokens a request can take at most: no tokenizer makes more tokens than there are bytes."""
    schema = len(json.dumps(request.schema)) if request.schema else 0
    return _input_bytes(request) + schema + len(request.images) * settings.image_tokens


def _input_bytes(request: ChatRequest) -> int:
    return sum(len(turn.text.encode("utf-8", "replace")) + BYTES_OF_A_TURN for turn in request.messages)
