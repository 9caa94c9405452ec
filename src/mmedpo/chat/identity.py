"""What decides the answers of the language models a stage asks, for its fingerprint."""

from __future__ import annotations

from typing import Any, Literal

from mmedpo.chat.model import model_identity
from mmedpo.chat.prompts import prompts_hash
from mmedpo.config import RunSettings


def asked_models(settings: RunSettings, stage: Literal["curate", "score"]) -> dict[str, Any]:
    """Models, retries and prompts of a stage; empty where it asks none. Where they are reached changes nothing."""
    names = settings.used_endpoints(stage)
    if not names:
        return {}
    models = {name: model_identity(settings.chat.endpoints[name]) for name in names}
    return {"chat": models, "retries": settings.chat.retries, "prompts": prompts_hash(f"mmedpo.{stage}")}
