"""Recorded answers in the place of a server: nothing is sent, and a call that was not recorded is an error."""

from __future__ import annotations

from typing import Any

from mmedpo.chat.batch import read_results
from mmedpo.chat.kind import EVERY
from mmedpo.chat.model import ChatReply, ChatRequest, model_identity, request_key
from mmedpo.chat.wire import read_completion
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.registry import register


@register("chat-model", "replay")
class Replay:
    """Answers from a recording: batch results, or what `mmedpo calls RUN --record FILE` wrote."""

    uses = EVERY - {"device", "dtype"}
    needs = frozenset({"recording"})
    sends = False

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        """Reads the whole recording; see `OpenAIEndpoint` for the arguments."""
        assert settings.recording is not None
        self.name = name
        self.settings = settings
        self._identity = model_identity(settings)
        self._results: dict[str, Any | str] = dict(read_results(settings.recording))

    async def complete(self, request: ChatRequest) -> ChatReply:
        """The recorded answer.

        Raises:
            ChatError: there is none; model, parameters, prompts or data differ from those of the recording.
        """
        key = request_key(self._identity, request)
        reply = read_completion(self._results.get(key), self.settings, request)
        if reply is None:
            raise ChatError(
                f"endpoint {self.name!r} replays {self.settings.recording}, which has no answer to call {key[:12]} of "
                f"prompt {request.prompt}; its model, parameters, prompts and data must be those of the recording"
            )
        return reply

    async def close(self) -> None:
        """Nothing is open."""
