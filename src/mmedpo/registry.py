"""Names to things: datasets, visual tools, noise, judges, agents, weightings, language models, protocols, losses ...

A piece registers itself where it is defined (`@register("grounder", "annotation")`); a package from
outside announces a module under the entry-point group `mmedpo.plugins` and needs no change here; one that loads
much (torch) is announced under `mmedpo.plugins.KIND` and imported only when that kind is asked for.
Built-in modules are listed by room and imported only when somebody asks for that kind, so that
`import mmedpo` stays light.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar

from mmedpo.errors import ConfigError

Kind = Literal[
    "dataset",
    "grounder",
    "noise",
    "source",
    "judge",
    "agent",
    "weighting",
    "chat-model",
    "protocol",
    "answer-format",
    "answer-judge",
    "preference-format",
    "loss",
    "factor",
    "executor",
    "probe",
    "section",
    "family",
]

_ROOMS: dict[Kind, str] = {
    "dataset": "mmedpo.data.readers",
    "grounder": "mmedpo.grounding.tools",
    "noise": "mmedpo.imaging.noises",
    "source": "mmedpo.curate.sources",
    "judge": "mmedpo.curate.judges",
    "agent": "mmedpo.score.agents",
    "weighting": "mmedpo.score.weightings",
    "chat-model": "mmedpo.chat.kinds",
    "protocol": "mmedpo.evaluate.protocols",
    "answer-format": "mmedpo.evaluate.answers",
    "answer-judge": "mmedpo.evaluate.judges",
    "preference-format": "mmedpo.preferences.formats",
    "loss": "mmedpo.train.losses",
    "factor": "mmedpo.train.factors",
    "executor": "mmedpo.run.executors",
    "probe": "mmedpo.evaluate.probes",
    "section": "mmedpo.report.sections",
    "family": "mmedpo.models.families",
}
"""Where the built-in pieces of each kind live: every module of that package is imported on demand."""

_SEAMS: dict[Kind, tuple[str, str]] = {
    "dataset": ("mmedpo.data.dataset", "Dataset"),
    "grounder": ("mmedpo.grounding.grounder", "Grounder"),
    "noise": ("mmedpo.imaging.noises", "Noise"),
    "source": ("mmedpo.curate.sources.source", "Source"),
    "judge": ("mmedpo.curate.judges.judge", "Judge"),
    "agent": ("mmedpo.score.debate", "Agent"),
    "weighting": ("mmedpo.score.weightings", "Weighting"),
    "chat-model": ("mmedpo.chat.model", "ChatModel"),
    "protocol": ("mmedpo.evaluate.protocols.judgement", "AnswerProtocol"),
    "answer-format": ("mmedpo.evaluate.given", "AnswerFormat"),
    "answer-judge": ("mmedpo.evaluate.judges.judge", "AnswerJudge"),
    "preference-format": ("mmedpo.preferences.layout", "PreferenceFormat"),
    "loss": ("mmedpo.train.losses.loss", "Loss"),
    "factor": ("mmedpo.train.factors.factor", "Factor"),
    "executor": ("mmedpo.run.executors.executor", "Executor"),
    "probe": ("mmedpo.evaluate.probes.probe", "Probe"),
    "section": ("mmedpo.report.section", "Section"),
    "family": ("mmedpo.models.family", "Family"),
}
"""The class that says what a piece of each kind must have, and where it is."""
_ASKING: dict[str, str] = {"judge": "JudgeByAsking", "agent": "AskedAgent"}
"""The same for a piece that says `asks = True`."""

PLUGINS = "mmedpo.plugins"
"""Entry-point group in which packages from outside announce modules."""
LONGEST_NAME = 60
"""Characters of a name that a message repeats."""

_TABLE: dict[tuple[str, str], Any] = {}
_LOADED: set[str] = set()
_SOUND: dict[tuple[str, str], Any] = {}
"""Pieces that were found to have what their kind must have."""

T = TypeVar("T")


def register(kind: Kind, name: str) -> Callable[[T], T]:
    """Decorator: makes the decorated object available as `lookup(kind, name)`.

    Raises:
        ConfigError: the name is taken by another object of the same kind.
    """

    def wrap(thing: T) -> T:
        known = _TABLE.get((kind, name))
        if known is not None and _origin(known) != _origin(thing):
            raise ConfigError(f"{kind} {name!r} is registered twice: by {_origin(known)} and by {_origin(thing)}")
        _TABLE[kind, name] = thing
        return thing

    return wrap


def lookup(kind: Kind, name: str) -> Any:
    """The object registered as `name`.

    Raises:
        ConfigError: no such name; the message lists the allowed ones. Or a class without something its kind must have.
    """
    _load(kind)
    try:
        found = _TABLE[kind, name]
    except KeyError:
        raise ConfigError(f"unknown {kind} {_short(name)}; {suggestion(name, names(kind))}") from None
    if _SOUND.get((kind, name)) is not found:
        lacking = missing(kind, found)
        if lacking:
            raise ConfigError(
                f"{kind} {_short(name)} ({_origin(found)}) has no {', '.join(lacking)}; "
                f"{'.'.join(_SEAMS[kind])} says what it must have"
            )
        _SOUND[kind, name] = found
    return found


def optional(method: T) -> T:
    """Marks a method of a seam that a piece may leave out."""
    setattr(method, "optional", True)  # noqa: B010
    return method


def missing(kind: Kind, piece: Any) -> list[str]:
    """Methods (`score()`) and class attributes (`options`) that a piece of this kind must have and `piece` lacks.

    What only its instances may have is not asked for, and of what is no class nothing is known.
    """
    if not inspect.isclass(piece):
        return []
    module, name = _SEAMS[kind]
    seam = getattr(importlib.import_module(module), _ASKING.get(kind, name) if getattr(piece, "asks", False) else name)
    own = {
        name
        for base in inspect.getmro(piece)
        if not getattr(base, "_is_protocol", False)
        for name, value in vars(base).items()
        if not getattr(value, "__isabstractmethod__", False)
    }
    return [member for member in _members(seam) if member.removesuffix("()") not in own]


def _members(seam: type) -> Iterator[str]:
    """What a seam asks of a class: its public methods that are not `optional`, and its class attributes."""
    for base in reversed(inspect.getmro(seam)):
        for name, annotation in inspect.get_annotations(base).items():
            if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
                yield name
        for name, value in vars(base).items():
            method = isinstance(value, classmethod) or inspect.isfunction(value)
            if method and (not name.startswith("_") or name == "__call__") and not getattr(value, "optional", False):
                yield f"{name}()"


def suggestion(name: str, known: Sequence[str], label: str = "known") -> str:
    """What a message says after an unknown name: the known one that is nearest, if any is near, and all of them."""
    close = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}{label}: {', '.join(known) or 'none'}"


def names(kind: Kind) -> list[str]:
    """Every registered name of one kind, sorted."""
    _load(kind)
    return sorted(name for k, name in _TABLE if k == kind)


def strangers() -> set[str]:
    """Modules outside this package that registered a piece in this process; a script's own is `__main__`."""
    modules = {getattr(thing, "__module__", "mmedpo") for thing in _TABLE.values()}
    return {module for module in modules if module.partition(".")[0] != "mmedpo"}


def _short(name: str) -> str:
    return repr(name) if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]!r}..."


def _load(kind: Kind) -> None:
    if kind not in _LOADED:
        room = importlib.import_module(_ROOMS[kind])
        for module in pkgutil.iter_modules(room.__path__, prefix=f"{room.__name__}."):
            importlib.import_module(module.name)
        _LOADED.add(kind)
    for group in (PLUGINS, f"{PLUGINS}.{kind}"):
        if group not in _LOADED:
            _LOADED.add(group)
            for entry in entry_points(group=group):
                _load_plugin(entry)


def _load_plugin(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"plug-in {entry.name!r} ({entry.value}) cannot be loaded: {why}; mend or remove it"
        ) from error


def _origin(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', repr(thing))}"
