"""A language model: a parrot that gives one answer to everything its schema asks for."""

from __future__ import annotations

import json
from typing import Any

from mmedpo.chat.model import ChatReply, ChatRequest, Usage
from mmedpo.config import EndpointSettings
from mmedpo.registry import register


@register("chat-model", "parrot")
class Parrot:
    """Says 70 where a number is wanted, and the model's name where a text is."""

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        self.model = settings.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """See `ChatModel`."""
        fields: dict[str, Any] = dict((request.schema or {}).get("properties", {}))
        reply = {name: 70 if field.get("type") == "integer" else self.model for name, field in fields.items()}
        return ChatReply(json.dumps(reply), f"{self.model}@1", "stop", Usage(10, 5))

    async def close(self) -> None:
        """Nothing is open."""
