"""A refusal by pydantic in one line: where, the value met, what is allowed."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from mmedpo.errors import brief, shown
from mmedpo.registry import suggestion


def explain(error: ValidationError, group: type[BaseModel], prefix: str = "") -> str:
    """The first problem, and how many more there are.

    Args:
        error: what pydantic raised.
        group: the settings that were validated.
        prefix: where these settings lie, e.g. `data.phantom`; empty for those of a run.
    """
    every = error.errors(include_url=False)
    # A misspelt name explains why another one is missing, not the other way round.
    first = next((item for item in every if item["type"] == "extra_forbidden"), every[0])
    where = brief(".".join(brief(str(part), 40) for part in (*([prefix] if prefix else []), *first["loc"])), 120)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_settings(group, first["loc"][:-1])
        return f"unknown setting {where!r}; {suggestion(str(first['loc'][-1]), known, 'known here')}{more}"
    if first["type"] == "missing":
        return f"{where} is needed; set it in the recipe or with --set {where}=...{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{message}{more}"
    return f"{where}={shown(first['input'])}: {brief(message, 400)}{more}"


def _known_settings(group: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if str(part) not in group.model_fields:
            continue  # a name of the user's own, or a place in a list
        annotation = group.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if inner is None:
            break
        group = inner
    return sorted(group.model_fields)
