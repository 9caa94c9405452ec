"""What decides the answers of the language models a stage asks, for its fingerprint."""

from __future__ import annotations

from typing import Any

from mmedpo.chat.model import model_identity
from mmedpo.chat.prompts import prompts_hash
from mmedpo.config import RunSettings

PROMPTED = {"curate": "mmedpo.curate", "score": "mmedpo.score", "judge-answers": "mmedpo.evaluate"}
"""Stage -> the room that holds its prompts; a served target model is asked the bare question."""


def asked_models(settings: RunSettings, stage: str) -> dict[str, Any]:
    """Models, retries and prompts of a stage; empty where it asks none. Where they are reached changes nothing."""
    names = settings.used_endpoints(stage)
    if not names:
        return {}
    models = {name: model_identity(settings.chat.endpoints[name]) for name in names}
    if stage not in PROMPTED:
        return {"chat": models}
    return {"chat": models, "retries": settings.chat.retries, "prompts": prompts_hash(PROMPTED[stage])}
