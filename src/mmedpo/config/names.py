"""What the names in a recipe stand for: looked up in the registry before anything is computed.

The groups of settings know no room: a name is a string, marked with the kind of piece it names. Here the
registry is asked whether the piece exists, and the piece says which settings it uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError

from mmedpo.config.chat import endpoint_of
from mmedpo.config.curate import CurateSettings, GroundSettings
from mmedpo.config.data import DataSettings
from mmedpo.config.explain import explain
from mmedpo.config.groups import IdleSetting, Named, Settings, default_of, refuse_set
from mmedpo.config.run import RunSettings
from mmedpo.config.score import UNWEIGHTED
from mmedpo.errors import ConfigError, shown
from mmedpo.registry import Kind, lookup, names, suggestion


def check_names(settings: RunSettings) -> RunSettings:
    """The settings with every default of the dataset's own group written out, if all names in them exist.

    Raises:
        ConfigError: an unknown name, an endpoint for a piece that asks no language model or none for one that
            does, or a setting that the named piece does not use.
    """
    for where, name, marker in _names(settings):
        _check_name(where, name, marker)
    try:
        _refuse_idle(settings)
        for number in range(1, settings.rounds + 1) if settings.each_round else ():
            own = settings.of_round(number)
            for where, name, marker in _names(own):
                _check_name(f"each_round, round {number}: {where}", name, marker)
            _refuse_idle(own)
        tool_settings(settings.ground)
        data = _complete(settings.data)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return settings.model_copy(update={"data": data})


def speaker(kind: Kind, name: str, where: str) -> tuple[Any, str]:
    """The class of a judge or an agent, and the name of the endpoint it speaks through (empty: it asks none).

    A class that asks a language model says so: `asks = True`.

    Raises:
        ConfigError: unknown, no endpoint where it needs one, or one where it takes none.
    """
    base, endpoint = name.partition(":")[0], endpoint_of(name)
    found = lookup(kind, base)
    asks = bool(getattr(found, "asks", False))
    if asks and not endpoint:
        raise ConfigError(
            f"{where} holds {name!r}, which asks a language model; name its endpoint in chat.endpoints: {base}:NAME"
        )
    if endpoint and not asks:
        raise ConfigError(f"{where} holds {name!r}, but {base!r} asks no language model; write {base}")
    return found, endpoint


def own_settings(dataset: Any, data: DataSettings) -> Settings | None:
    """What a recipe gives in the dataset's own group; None for a dataset that declares no settings.

    Args:
        dataset: the registered class.
        data: the settings of the run.

    Raises:
        ConfigError: unknown to this dataset, or a bad value.
    """
    declared: type[Settings] | None = getattr(dataset, "settings", None)
    if declared is None:
        return None
    group = _group_of(dataset)
    try:
        return declared.model_validate(dict(data.groups.get(group, {})))
    except ValidationError as error:
        raise ConfigError(explain(error, declared, f"data.{group}")) from None


def tool_settings(ground: GroundSettings) -> dict[str, Settings | None]:
    """What a recipe gives each visual tool, by its name; None for a tool that declares no settings.

    Raises:
        ConfigError: unknown to that tool, or a bad value.
    """
    told: dict[str, Settings | None] = {}
    for name in ground.tools:
        declared: type[Settings] | None = (
            None if name == "none" else getattr(lookup("grounder", name), "settings", None)
        )
        given = ground.options.get(name, {})
        if declared is None and given:
            raise ConfigError(f"ground.options.{name} has no effect because {name} has no settings; remove it")
        try:
            told[name] = None if declared is None else declared.model_validate(given)
        except ValidationError as error:
            raise ConfigError(explain(error, declared or Settings, f"ground.options.{name}")) from None
    return told


def refuse_demonstration(settings: RunSettings) -> None:
    """Refuses a visual tool that knows generated images alone where images of patients are to be marked.

    A class whose tool is one unless a setting says otherwise names that setting: `generated = "probe"`.

    Raises:
        ConfigError: such a tool, and other data.
    """
    data = settings.data.dataset
    if not settings.grounds or settings.evaluate.answers or getattr(lookup("dataset", data), "generated", False):
        return
    for name, own in tool_settings(settings.ground).items():
        field = getattr(lookup("grounder", name), "generated", "") if name != "none" else ""
        if own is not None and field and getattr(own, field) == default_of(own, field):
            others = ", ".join(other for other in names("grounder") if other != name)
            raise ConfigError(
                f"ground.tool is {name!r} with {field} {getattr(own, field)!r}, which knows generated images alone, "
                f"but data.dataset is {shown(data)}; set ground.tool to one for your images ({others}: docs/tools.md), "
                f"ground.options.{name}.{field} to a fit of yours, or curate.kinds=[text]"
            )


def _names(group: Settings, prefix: str = "") -> Iterator[tuple[str, str, Named]]:
    """(setting, value, marker) of every name in a group and in those below it."""
    for field, marker in _fields(type(group)):
        value, where = getattr(group, field), f"{prefix}{field}"
        if isinstance(value, Settings):
            yield from _names(value, f"{where}.")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, Settings):
                    yield from _names(inner, f"{where}.{key}.")
        elif marker is not None:
            yield from ((where, one, marker) for one in ((value,) if isinstance(value, str) else value))


@cache
def _fields(group: type[Settings]) -> tuple[tuple[str, Named | None], ...]:
    """The settings of a group, each with the marker of the names it holds."""
    return tuple(
        (field, next((m for m in info.metadata if isinstance(m, Named)), _inner(info.annotation)))
        for field, info in group.model_fields.items()
    )


def _inner(annotation: Any) -> Named | None:
    """The marker of a tuple's elements."""
    for argument in getattr(annotation, "__args__", ()):
        for marker in getattr(argument, "__metadata__", ()):
            if isinstance(marker, Named):
                return marker
    return None


def _check_name(where: str, name: str, marker: Named) -> None:
    if name in marker.also:
        return
    if marker.speaks and name.partition(":")[0] in names(marker.kind):
        speaker(marker.kind, name, where)
        return
    try:
        lookup(marker.kind, name.partition(":")[0] if marker.speaks else name)
    except ConfigError as error:
        further = f"; or {', '.join(repr(value) for value in marker.also)}" if any(marker.also) else ""
        raise ConfigError(f"{where}: {error}{further}") from None


def _refuse_idle(settings: RunSettings) -> None:
    """Settings that the pieces named beside them do not use."""
    noise = settings.curate.noise
    used = lookup("noise", noise.kind).options
    if idle := {"region", "step", "schedule", *(() if "region" in used else ("tissue",))} - used:
        refuse_set(noise, idle, "curate.noise", f"curate.noise.kind is {noise.kind!r}")
    used = getattr(lookup("executor", settings.executor.name), "options", frozenset())
    if idle := set(type(settings.executor).model_fields) - {"name"} - used:
        refuse_set(settings.executor, idle, "executor", f"executor.name is {settings.executor.name!r}")
    _refuse_idle_curation(settings)
    weights = settings.score.weights
    if weights != UNWEIGHTED and (idle := {"mu", "sigma", "lower", "upper"} - lookup("weighting", weights).options):
        refuse_set(settings.score, idle, "score", f"score.weights is {weights!r}")
    score = settings.score
    bounded = weights != UNWEIGHTED and "mu" in lookup("weighting", weights).options
    if bounded and not score.lower <= score.mu <= score.upper:
        bounds = f"score.lower ({score.lower}) and score.upper ({score.upper})"
        raise ConfigError(f"score.mu ({score.mu}) must lie between {bounds}")


def _refuse_idle_curation(settings: RunSettings) -> None:
    curate = settings.curate
    visual = settings.preferences is None and "visual" in curate.kinds
    inside = curate.noise.region != "global" and "region" in lookup("noise", curate.noise.kind).options
    if visual and inside and not settings.grounds:
        raise ConfigError(
            "curate.kinds asks for visual pairs but ground.tool is 'none', and the noise "
            f"{curate.noise.kind!r} is one of the {curate.noise.region}; name a tool, or set curate.noise.kind=crop or "
            "curate.noise.region=global, or curate.kinds=[text]"
        )
    _check_questions(curate)
    if settings.maps_organs and not any(hasattr(lookup("grounder", name), "organs") for name in settings.ground.tools):
        mappers = [name for name in names("grounder") if hasattr(lookup("grounder", name), "organs")]
        raise ConfigError(
            f"curate.noise.region='organ' but of {', '.join(settings.ground.tools)} (ground.tool) none maps organs; "
            f"add one of {', '.join(mappers)}"
        )
    judge = lookup("judge", curate.judge.partition(":")[0])
    if not settings.samples:
        return
    if not getattr(judge, "reads_candidates", True):
        idle = {"source", "candidates", "temperature", "top_p", "max_new_tokens"}
        refuse_set(curate, idle, "curate", f"the judge {curate.judge!r} writes every wrong answer itself")
    elif curate.temperature and not lookup("source", curate.source).draws:
        one = "set curate.temperature=0 and curate.candidates=1"
        raise ConfigError(f"curate.source={curate.source!r} gives one answer by rule; {one}")
    if getattr(lookup("source", curate.source), "asks_itself", False) and getattr(judge, "needs_truth", True):
        blind = [name for name in names("judge") if not getattr(lookup("judge", name), "needs_truth", True)]
        raise ConfigError(
            f"curate.source={curate.source!r} asks questions that have no ground truth, but the judge {curate.judge!r} "
            f"compares with one; set curate.judge to one of {', '.join(blind)}"
        )
    if settings.model.server and curate.source != default_of(curate, "source"):
        raise ConfigError(
            f"curate.source={curate.source!r} works on the model itself, which model.server has answer elsewhere; "
            "leave one of the two out"
        )


def _check_questions(curate: CurateSettings) -> None:
    asked, of = curate.visual_questions, getattr(lookup("noise", curate.noise.kind), "questions", "")
    if "visual" in curate.kinds and (asked == "side" or of) and asked != of:
        needs = f"set curate.visual_questions={of}" if of else "set curate.noise.kind=mirror, or another value"
        raise ConfigError(
            f"curate.visual_questions={asked!r} does not go with the noise {curate.noise.kind!r}; {needs}"
        )


def _complete(data: DataSettings) -> DataSettings:
    dataset = lookup("dataset", data.dataset)
    if getattr(dataset, "generated", False):
        idle = {"root", "split", "split_seed", "fractions", "min_usable", "allow_burned_in"}
        refuse_set(data, idle, "data", f"the {data.dataset} dataset is generated and split")
    elif data.root is None:
        raise ConfigError(f"data.root is needed for dataset {data.dataset!r}: the folder as downloaded")
    own = own_settings(dataset, data)
    group = _group_of(dataset) if own is not None else ""
    for given in data.groups:
        if given != group:
            _refuse_group(given, data.dataset, group)
    groups = {} if own is None else {group: own.model_dump(mode="json")}
    return DataSettings.model_validate({**_plain(data), **groups})


def _plain(data: DataSettings) -> dict[str, Any]:
    """What was given besides the groups of single datasets."""
    return {name: getattr(data, name) for name in data.model_fields_set if name in type(data).model_fields}


def _refuse_group(given: str, dataset: str, group: str) -> None:
    every = {_group_of(kind) for name in names("dataset") if hasattr(kind := lookup("dataset", name), "settings")}
    if given in every:
        reads = f", which reads data.{group}" if group else ""
        raise IdleSetting(("data", given), f"the dataset is {dataset!r}{reads}; remove it")
    known = sorted({*DataSettings.model_fields, *([group] if group else [])})
    raise ConfigError(f"unknown setting 'data.{given}'; {suggestion(given, known, 'known here')}")


def _group_of(dataset: Any) -> str:
    """Name of a dataset's own group: what it declares, else its registered name."""
    return str(getattr(dataset, "group", dataset.name))
