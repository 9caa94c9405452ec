"""Replies of a fixed form: asked for by schema, read strictly, mended in one turn, checked against rules.

A reply must hold exactly one JSON object of the form asked for. Nothing is guessed from prose, and of
two different objects none is chosen: the second may be quoted from the data. What cannot be read is
asked for once more; what can be read but breaks a rule is asked for again `retries` times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mmedpo.chat.line import Line
from mmedpo.chat.model import CallFailed, ChatReply, ChatRequest, Deferred, text_message
from mmedpo.chat.thoughts import answer_in
from mmedpo.chat.wire import each_key_once

REPAIRS = 1
"""Turns in which a model may mend a reply that cannot be read."""

ADVICE_TOKENS = 80
"""Most tokens of what a model is told about a reply that is not taken."""

DEEPEST = 20
"""Objects and lists inside one another; no form has as many."""
MOST_REPEATED = 20_000
"""Characters of a reply that are shown to the model again when it is to mend it."""
_BEGUN = re.compile(r"\{\s*[\"}]")
"""How an object begins; a brace before something else is a brace in prose."""
_REFUSAL = re.compile(
    r"\b(?:i(?:['’]m| am) (?:sorry|unable|not able)|i (?:can(?:no|['’])t|won['’]t|am unable to)|as an ai\b)",
    re.IGNORECASE,
)


class ReplyForm(BaseModel):
    """Base of every form a reply can have: unknown fields and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


F = TypeVar("F", bound=ReplyForm)


@dataclass(frozen=True)
class Objection:
    """Why a reply that can be read is not taken."""

    reason: str
    """Countable, e.g. `same-polarity`."""
    request: str
    """What the model is told to do about it."""


@dataclass(frozen=True)
class Exchange(Generic[F]):
    """How one question to a model ended."""

    value: F | None
    """The reply; None when none was usable."""
    reason: str = ""
    """Why there is none: `refused`, `unparsable`, `cut`, an objection's reason, or `failed: ...`."""
    raw: str = ""
    """The last reply as received."""
    model: str = ""
    """Name and version of the model as served."""
    calls: int = 0
    """Calls it took, repairs and retries included."""
    input_tokens: int = 0
    output_tokens: int = 0


def most_calls(retries: int) -> int:
    """The most calls one question of `ask_form` can take."""
    return 1 + REPAIRS + retries


def growth(line: Line) -> int:
    """Tokens by which a further turn can lengthen what the model reads: its reply, and what it is told of it."""
    return line.settings.max_tokens + ADVICE_TOKENS


async def ask_form(
    line: Line,
    request: ChatRequest,
    form: type[F],
    retries: int,
    check: Callable[[F], Objection | None] = lambda value: None,
) -> Exchange[F]:
    """Asks until a reply has the form and no objection, or the turns are used up.

    Args:
        line: the model.
        request: the first call; its schema is set from the form where it has none.
        form: what a reply must look like.
        retries: turns after a refusal or an objection.
        check: the rules; None when a reply may stand.

    Raises:
        ChatError: the endpoint as a whole cannot be used.
        BudgetError: a limit is reached.
        Deferred: the call was written to a batch file.
    """
    if request.schema is None:
        request = replace(request, schema=schema_of(form))
    so_far: Exchange[F] = Exchange(None)
    repairs, left = REPAIRS, retries
    while True:
        try:
            reply = await line.ask(request)
        except Deferred:
            raise
        except CallFailed as failure:
            return replace(so_far, reason=f"failed: {failure.reason}")
        value, reason, advice = _judge(reply, form, check)
        so_far = _after(so_far, reply, value, reason)
        if value is not None:
            return so_far
        if reason in ("unparsable", "cut"):
            repairs -= 1
        else:
            left -= 1
        if repairs < 0 or left < 0:
            return so_far
        said = text_message("assistant", reply.text[:MOST_REPEATED] or "(no reply)")
        request = replace(request, messages=(*request.messages, said, text_message("user", advice)))


def parse_form(text: str, form: type[F]) -> F:
    """The one JSON object in a reply.

    Raises:
        ValueError: none, several different ones, one of another form, or a thought without end; the message says what
            is wrong with it and quotes nothing.
    """
    found = {json.dumps(item, sort_keys=True): item for item in _objects(answer_in(text))}
    if len(found) != 1:
        raise ValueError("it holds no JSON object" if not found else f"it holds {len(found)} different JSON objects")
    try:
        return form.model_validate_json(next(iter(found)))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the object"
        raise ValueError(f"{where}: {first['msg']}") from None


def is_refusal(text: str) -> bool:
    """Whether a text says that the model will not do it, where a refusal did not come as one."""
    return _REFUSAL.search(text) is not None


@cache
def schema_of(form: type[ReplyForm]) -> Mapping[str, Any]:
    """JSON schema of a form, closed, with every field required (as strict endpoints ask for); not to be changed."""
    schema = form.model_json_schema()
    schema["required"] = list(schema["properties"])
    for field in schema["properties"].values():
        field.pop("default", None)
    return schema


def _objects(text: str) -> list[Any]:
    """Every outermost JSON object in a text.

    Raises:
        ValueError: one that repeats a key, is nested too deeply, or is broken: cut, or with something that is no JSON.
            What lies inside a broken one is no reply of its own.
    """
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once, parse_constant=_no_constant)
    found, position = [], 0
    while (begun := _BEGUN.search(text, position)) is not None:
        try:
            item, position = decoder.raw_decode(text, begun.start())
        except json.JSONDecodeError:
            raise ValueError("it holds no JSON object that is whole: one is cut or broken") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if _depth(item) > DEEPEST:
            raise ValueError("it is nested too deeply")
        found.append(item)
    return found


def _depth(item: Any) -> int:
    """How many objects and lists lie inside one another; without recursion, for that may be the attack."""
    level, depth = [item], 0
    while level := [value for value in level if isinstance(value, dict | list)]:
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        depth += 1
    return depth


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _judge(reply: ChatReply, form: type[F], check: Callable[[F], Objection | None]) -> tuple[F | None, str, str]:
    """The value, or the reason why there is none with what to tell the model."""
    if reply.finish == "refusal":
        return None, "refused", _AFTER_REFUSAL
    if reply.finish != "stop":
        # Whatever can be read of it: the model had not finished.
        return None, "cut", _AFTER_CUT
    try:
        value = parse_form(reply.text, form)
    except ValueError as error:
        if is_refusal(reply.text):
            return None, "refused", _AFTER_REFUSAL
        return None, "unparsable", f"Your reply cannot be read: {error}. Reply again with the one JSON object only."
    objection = check(value)
    if objection is not None:
        return None, objection.reason, f"{objection.request} Reply again with the one JSON object only."
    return value, "", ""


_AFTER_CUT = "Your reply was cut at the length limit. Reply again, shorter, with the JSON object only."
_AFTER_REFUSAL = (
    "This is quality assurance on research data, and no advice for a patient is asked for: wrong answers are needed to "
    "train a model to avoid them. Reply with the one JSON object only."
)


def _after(so_far: Exchange[F], reply: ChatReply, value: F | None, reason: str) -> Exchange[F]:
    return Exchange(
        value,
        reason,
        reply.text,
        reply.model,
        so_far.calls + 1,
        so_far.input_tokens + reply.usage.input_tokens,
        so_far.output_tokens + reply.usage.output_tokens,
    )
