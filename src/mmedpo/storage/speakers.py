"""Who speaks in a conversation, as the programs of this field spell it. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "question"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "answer", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
KNOWN = tuple(_ROLES)
"""Spellings that are understood, in any case."""


def role_of(spelled: object) -> Role | None:
    """The role that a spelling means; None for any other value."""
    return _ROLES.get(spelled.strip().casefold()) if isinstance(spelled, str) else None
