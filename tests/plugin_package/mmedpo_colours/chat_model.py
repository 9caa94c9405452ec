"""A kind of language model: a parrot in this process that knows two colours and one number."""

from __future__ import annotations

import json
from typing import ClassVar

from mmedpo.chat.model import ChatReply, ChatRequest, Usage
from mmedpo.config import EndpointSettings
from mmedpo.registry import register


@register("chat-model", "parrot")
class Parrot:
    """Asked for a wrong answer it says the other colour, of blue a longer one; asked how bad one is, 40.

    Asked which of two is brief it says the first.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    sends: ClassVar[bool] = False

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        self.model = settings.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """See `ChatModel`."""
        asked = request.messages[-1].text
        if asked.startswith("Give a wrong answer"):
            reply: dict[str, str | float] = {"wrong": "blue" if asked.endswith("red") else "a dark red"}
        elif asked.startswith("Which is brief"):
            reply = {"a": 1.0, "b": 0.5}
        else:
            reply = {"percent": 40}
        return ChatReply(json.dumps(reply), f"{self.model}@1", "stop", Usage(10, 5))

    async def close(self) -> None:
        """Nothing is open."""
