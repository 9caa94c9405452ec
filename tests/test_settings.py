"""All settings at once: whatever loads is written so that it loads again, and every number has its bounds."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mmedpo.config import EndpointSettings, RunSettings, dump_settings, validate_settings
from mmedpo.config.lint import LintSettings
from mmedpo.errors import ConfigError, brief, shown
from mmedpo.recipes.reading import read_yaml


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A group of settings and all inside it."""
    yield model
    for field in model.model_fields.values():
        for option in flat(field.annotation):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from models(option)


def flat(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from flat(argument)


EVERY = sorted({*models(RunSettings), LintSettings}, key=lambda model: model.__name__)


def bounds(field: FieldInfo) -> tuple[float, float]:
    low, high = -math.inf, math.inf
    for item in field.metadata:
        low = max(low, getattr(item, "ge", -math.inf), getattr(item, "gt", -math.inf))
        high = min(high, getattr(item, "le", math.inf), getattr(item, "lt", math.inf))
    return low, high


NUMBERS = [
    (model, name)
    for model in EVERY
    for name, field in model.model_fields.items()
    if {int, float} & set(flat(field.annotation)) and typing.get_origin(field.annotation) not in (dict, tuple)
]


@pytest.mark.parametrize(("model", "name"), NUMBERS, ids=lambda item: getattr(item, "__name__", item))
def test_every_number_is_finite_and_has_both_bounds(model: type[BaseModel], name: str) -> None:
    low, high = bounds(model.model_fields[name])
    assert math.isfinite(low)
    assert math.isfinite(high)
    needed = (
        {"model": "m"} if model is EndpointSettings else {"path": "p"} if model.__name__ == "ImportSettings" else {}
    )
    for value in (
        math.inf,
        -math.inf,
        math.nan,
        "inf",
        "nan",
        "1e400",
        high * 2 + 1,
        low - abs(low) - 1,
        10**400,
        -(10**400),
    ):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**needed, name: value})
        assert any(item["loc"][0] == name for item in caught.value.errors())


FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
"""Without shrinking: a recipe takes a tenth of a second to write and read."""

# Strategies from the models themselves.

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ADDRESSES = st.sampled_from(["", "http://127.0.0.1:8000/v1", "https://api.example.org/v1", "http://[::1]:9/v1"])
PATHS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0~"), min_size=1, max_size=8)
VARIABLES = st.sampled_from(["", "KEY", "OPENAI_API_KEY"])
OWN: dict[str, st.SearchStrategy[Any]] = {
    "base_url": ADDRESSES,
    "api_key_env": VARIABLES,
    "kind": st.sampled_from(["openai", "transformers", "replay", "diffusion", "crop", "blank", "mask-out"]),
    "endpoints": st.none(),
    "trusted_hosts": st.lists(st.sampled_from(["gpu7.lan", "10.0.0.5", "::1"]), max_size=2),
    "tool": st.sampled_from(["patch-probe", "annotation", "none"]),
    "dataset": st.sampled_from(["phantom", "slake", "vqa-rad", "table", "iu-xray"]),
    "fractions": st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25)]),
    "protocol": st.sampled_from(["strict", "released"]),
    "weights": st.sampled_from(["rescale", "zscore", "raw", "none"]),
    "probes": st.sampled_from([{}, {"lesion-reliance": None}]),
    "format": st.just(""),
    "judge": st.sampled_from(["contradiction", "chat:m", "critic:a.b"]),
    "agents": st.lists(st.sampled_from(["rubric-internist", "chat:m", "chat:a.b", "own"]), min_size=1, max_size=3),
}


def number(field: FieldInfo, kind: type) -> st.SearchStrategy[Any]:
    low, high = bounds(field)
    if kind is int:
        return st.integers(int(low), int(high))
    return st.floats(low, high) | st.sampled_from([low, high])


def values(annotation: Any, field: FieldInfo) -> st.SearchStrategy[Any]:
    """Values of a type; many of them fit, and what does not is left out by the settings themselves."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation in (int, float):
        return number(field, annotation)
    if annotation is str:
        return WORDS
    if annotation is type(None):
        return st.none()
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return PATHS
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return group(annotation)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is typing.Annotated:
        return values(arguments[0], field)
    if origin is tuple:
        return st.lists(values(arguments[0], field), max_size=2)
    if origin is dict:
        scalar = (
            WORDS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
        )
        return st.dictionaries(WORDS, WORDS if arguments[1] is str else scalar, max_size=2)
    return st.one_of([values(argument, field) for argument in arguments])


def fields(model: type[BaseModel]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: OWN.get(name, values(field.annotation, field)) for name, field in model.model_fields.items()}


@st.composite
def group(draw: st.DrawFn, model: type[BaseModel]) -> dict[str, Any]:
    """Some settings of a group: only such as it takes together."""
    every = fields(model)
    needed = {name: draw(every[name]) for name, field in model.model_fields.items() if field.is_required()}
    given = dict(needed)
    for name in draw(st.lists(st.sampled_from(sorted(every)), max_size=6, unique=True)):
        changed = given | {name: draw(every[name])}
        try:
            model.model_validate(changed)
        except ValidationError:
            continue
        given = changed
    return given


@st.composite
def runs(draw: st.DrawFn) -> RunSettings:
    """A valid recipe, made by adding groups as long as it stays one; endpoints where somebody speaks through them."""
    raw: dict[str, Any] = {}
    for name in draw(st.permutations(sorted(set(RunSettings.model_fields) - {"chat"}))):
        field = RunSettings.model_fields[name]
        changed = raw | {name: draw(values(field.annotation, field))}
        speakers = str(changed.get("score", "")) + str(changed.get("curate", ""))
        spoken = [point for point in ("m", "a.b") if f":{point}'" in speakers]
        if spoken:
            known = raw.get("chat", {}).get("endpoints", {})
            points = {point: known.get(point) or draw(group(EndpointSettings)) for point in spoken}
            changed["chat"] = {"endpoints": points}
        try:
            RunSettings.model_validate(changed)
        except ValidationError:
            continue
        raw = changed
    return RunSettings.model_validate(raw)


@FEW
@given(runs())
def test_every_resolved_configuration_loads_as_it_was(chosen: RunSettings) -> None:
    text = dump_settings(chosen)
    again = RunSettings.model_validate(read_yaml(text, "it"))
    assert again == chosen
    assert dump_settings(again) == text


@FEW
@given(group(EndpointSettings))
def test_every_endpoint_loads_as_it_was(raw: dict[str, Any]) -> None:
    endpoint = EndpointSettings.model_validate(raw)
    assume(not endpoint.images)
    chosen = RunSettings.model_validate({"chat": {"endpoints": {"m": endpoint}}, "score": {"agents": ["chat:m"]}})
    assert RunSettings.model_validate(read_yaml(dump_settings(chosen), "it")) == chosen


# Structures and messages.


def said_of(work: Callable[[], object]) -> str:
    """The line with which something is refused; empty where it is not."""
    try:
        work()
    except ConfigError as error:
        return str(error)
    return ""


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5) | st.dates()
)
STRUCTURES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.integers() | st.sampled_from(list(RunSettings.model_fields)), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@FEW
@given(st.dictionaries(st.sampled_from([*RunSettings.model_fields, "x"]), STRUCTURES, max_size=3))
def test_no_structure_whatsoever_ends_in_a_traceback_or_a_long_line(raw: dict[str, Any]) -> None:
    line = said_of(lambda: validate_settings(raw, "it"))
    assert len(line) < 900
    assert "\n" not in line


@given(STRUCTURES)
def test_what_is_shown_of_a_value_is_short_and_printable(value: Any) -> None:
    assert len(shown(value)) <= 80
    assert shown(value).isprintable()


def test_values_of_any_size_are_shown_at_once() -> None:
    deep: Any = "x" * 10**7
    for _ in range(9):
        deep = [deep] * 10
    itself: list[Any] = []
    itself.append(itself)

    class Loud:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in (
        deep,
        itself,
        {"a": itself},
        10**5000,
        -(2**99999),
        b"\0" * 10**7,
        bytearray(10**6),
        {1, 2},
        Loud(),
        "\x1b[2J",
    ):
        assert len(shown(value)) <= 80
        assert shown(value).isprintable()
    assert shown("fast") == "'fast'"
    assert shown(5) == "5"
    assert len(brief("a\nb\x1b" * 1000)) == 200


# Possible together, and possible at all.


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"score": {"mu": 5}}, "score.mu (5.0) must lie between score.lower (0.75) and score.upper (1.25)"),
        ({"score": {"lower": 1.1}}, "score.mu (1.0) must lie between score.lower (1.1) and score.upper (1.25)"),
        ({"score": {"mu": math.nan}}, "score.mu=nan: Input should be a finite number"),
        ({"seed": -1}, "seed=-1: Input should be greater than or equal to 0"),
        ({"seed": 10**20}, "seed=100000000000000000000: Input should be less than or equal to 4294967295"),
        ({"seed": 10**4000}, "seed=an integer of 13288 bits: "),
        ({"data": {"phantom": {"seed": 2**32}}}, "data.phantom.seed=4294967296: "),
        ({"data": {"dataset": "slake", "root": "/x", "split_seed": -3}}, "data.split_seed=-3: "),
        ({"train": {"objective": [{"delta": math.inf}]}}, "train.objective.0.delta=inf: Input should be a finite"),
        ({"train": {"objective": [{"weight": "inf"}]}}, "train.objective.0.weight='inf': Input should be a finite"),
        ({"data": {"dataset": "slake", "root": "~no-such-user/x"}}, "there is no such user; write the whole path"),
        ({"preferences": {"path": "a\0b"}}, "is no path"),
        ({"data": {"dataset": "slake", "root": "gs://b/x"}}, "is an address in a network; mount it where every node"),
        ({"data": {"dataset": "slake", "root": "s3://"}}, "is no address of a bucket; write s3://BUCKET/FOLDER"),
        ({"data": {"dataset": "slake", "root": "s3://bucket/a/../b"}}, "is no address of a bucket"),
        ({"data": {"dataset": "slake", "root": "s3://bucket/a\nb"}}, "is no address of a bucket"),
        ({"preferences": {"path": "s3://bucket/x.json"}}, "is an address in a network; mount it where every node"),
        ({"seed": True}, "seed=True: true and false (yes, no, on, off) are no value here"),
        ({"train": {"beta": False}}, "train.beta=False: true and false"),
        ({"data": {"phantom": {"size": True}}}, "data.phantom.size=True: true and false"),
        ({"evaluate": {"splits": ["test", "test"]}}, "evaluate.splits=['test', 'test']: 'test' stands twice"),
        ({"train": {"objective": [{"kinds": ["text", "text"]}]}}, "'text' stands twice; name it once"),
        ({"score": {"agents": ["rubric-internist"] * 2}}, "'rubric-internist' stands twice; name it once"),
        ({"model": {"device": "foo"}}, "model.device='foo': "),
        ({"model": {"device": "cuda:-1"}}, "model.device='cuda:-1': "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(raw: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_settings(raw, "it")
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:abc/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1:/v1",
        "http://127.0.0.1:-1/v1",
        "http://[::1].evil.com/v1",
        "http://[::1/v1",
        "http://[::zz]/v1",
        "http://[v1.x]/v1",
        "http://[fe80::1%25eth0]/v1",
        "http://loc\talhost/v1",
        "http://local\nhost/v1",
        " http://127.0.0.1/v1",
        "http://127.0.0.1 /v1",
        "http://127.0.0.1/v1 x",
        "http://127.0.0.1\\@evil.com/v1",
        "http://127.0.0.1%2eevil.com/v1",
        "http://münchen.de/v1",
        "http://evil。com/v1",
        "http://127．0．0．1/v1",
        "http:///v1",
        "http://",
        "http:127.0.0.1/v1",
        "127.0.0.1:8000",
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "http://a..b/v1",
        "http://-a/v1",
        "http://.a/v1",
        "http://" + "a" * 64 + "/v1",
        "http://" + "a." * 200 + "b/v1",
        "http://127.0.0.1/" + "v" * 5000,
        "http://127.0.0.1/\x1b[2J",
        "http://127.0.0.1/v1?key=secret",
        "http://127.0.0.1/v1#secret",
        "http://me:secret@127.0.0.1/v1",
        "http://:secret@127.0.0.1/v1",
        "http:/me:secret@127.0.0.1/v1",
        "http://secret@/v1",
    ],
)
def test_an_address_that_two_readers_could_take_for_two_is_refused_in_a_short_line(url: str) -> None:
    raw = {"chat": {"endpoints": {"m": {"model": "m", "base_url": url}}}, "score": {"agents": ["chat:m"]}}
    with pytest.raises(ConfigError, match="base_url") as caught:
        validate_settings(raw, "it")
    line = str(caught.value)
    assert len(line) < 250
    assert line.isprintable()
    assert "secret" not in line


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1"),
        ("https://API.Example.org/v1/", "api.example.org"),
        ("http://[::1]:8000/v1", "::1"),
        ("http://vllm_server:8000", "vllm_server"),
        ("http://2130706433/v1", "2130706433"),
        ("https://xn--mnchen-3ya.de/v1", "xn--mnchen-3ya.de"),
    ],
)
def test_an_address_is_read_as_every_client_reads_it(url: str, host: str) -> None:
    assert EndpointSettings(model="m", base_url=url).host == host


@given(st.text(max_size=40))
def test_no_address_breaks_the_check(text: str) -> None:
    for url in (text, f"http://{text}", f"http://127.0.0.1{text}", f"http://127.0.0.1:{text}/v1"):
        try:
            endpoint = EndpointSettings(model="m", base_url=url)
        except ValidationError:
            continue
        assert endpoint.host.isascii()


@pytest.mark.parametrize(
    "host", ["gpu7.lan:8000", "*.lan", "http://gpu7", "GPU7", "", " a", "a/b", "[::1]", "a\nb", "é"]
)
def test_a_trusted_host_is_one_bare_name(host: str) -> None:
    raw = {
        "chat": {"endpoints": {"m": {"model": "m", "base_url": "http://a/v1"}}, "trusted_hosts": [host]},
        "score": {"agents": ["chat:m"]},
    }
    with pytest.raises(ConfigError, match="must be one bare host name"):
        validate_settings(raw, "it")


def test_a_key_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="is no address of a bucket") as caught:
        validate_settings({"data": {"dataset": "slake", "root": "s3://AKIDKEY:hidden@bucket/x"}}, "it")
    assert "hidden" not in str(caught.value)


def test_a_file_address_is_the_path_it_names() -> None:
    settings = validate_settings(
        {"data": {"dataset": "slake", "root": "file:///data/My%20Slake"}, "ground": {"tool": "annotation"}}, "it"
    )
    assert settings.data.root == Path("/data/My Slake")
