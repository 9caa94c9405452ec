"""Kinds of language models: open names, each of which says which settings it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmedpo import registry
from mmedpo.chat.egress import check_egress, is_local
from mmedpo.chat.kind import COMMON, EVERY, check_kind, kind_of
from mmedpo.chat.model import ChatReply, ChatRequest, Usage
from mmedpo.chat.opening import check_endpoints
from mmedpo.config import EndpointSettings, dump_settings, load_settings
from mmedpo.config.groups import default_of
from mmedpo.errors import ChatError, ConfigError, EgressError
from mmedpo.pipeline.plan import run_stages
from mmedpo.pipeline.status import stage_lines
from mmedpo.registry import names, register
from mmedpo.run import open_run, read_run
from mmedpo.run.manifest import StageState
from mmedpo.score.stage import score
from score.panel import debating_run, pair, settings

OTHER = {
    "base_url": "http://127.0.0.1:1/v1",
    "api_key_env": "KEY",
    "recording": Path("r.jsonl"),
    "structured": "json_object",
    "device": "cpu",
    "dtype": "bfloat16",
    "images": True,
    "extra": {"seed": 1},
    "concurrency": 3,
    "requests_per_minute": 5.0,
    "tokens_per_minute": 5.0,
    "timeout": 3.0,
    "attempts": 3,
    "longest_wait": 3.0,
}
"""A value of its own for each setting that may be given alone."""


@pytest.fixture
def outsider(table: Any) -> type:
    """A kind from outside, which says only what it uses."""

    @register("chat-model", "echo")
    class Echo:
        uses = frozenset({"base_url", "timeout", "concurrency"})

        def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
            self.direct = direct

        async def complete(self, request: ChatRequest) -> ChatReply:
            return ChatReply('{"reason": "said", "score": 6}', "echo", "stop", Usage(1, 1))

        async def close(self) -> None:
            pass

    return Echo


def given(kind: str, **more: Any) -> EndpointSettings:
    needed = {"openai": {"base_url": "http://127.0.0.1:1/v1"}, "replay": {"recording": "r.jsonl"}}.get(kind, {})
    return EndpointSettings(**{"kind": kind, "model": "m", **needed, **more})


@pytest.mark.parametrize("kind", ["openai", "replay", "transformers"])
def test_what_a_kind_does_not_use_is_refused_and_all_else_is_not(kind: str) -> None:
    used = kind_of(given(kind)).uses
    check_kind("e", given(kind))
    for field, value in OTHER.items():
        chosen = given(kind, **{field: value})
        if field in used:
            check_kind("e", chosen)
        else:
            with pytest.raises(ConfigError, match=f"^chat.endpoints.e.{field} has no effect because kind is '{kind}'"):
                check_kind("e", chosen)
        # Written out at its default, as a resolved recipe has it, it is no contradiction.
        if field not in kind_of(chosen).__dict__.get("needs", ()):
            check_kind("e", given(kind, **{field: default_of(chosen, field)}))


def test_every_setting_is_common_or_used_by_some_kind() -> None:
    used = set().union(*(registry.lookup("chat-model", name).uses for name in names("chat-model")))
    assert set(EndpointSettings.model_fields) == COMMON | used | EVERY
    assert used == set(EVERY)


@pytest.mark.parametrize(("kind", "field"), [("openai", "base_url"), ("replay", "recording")])
def test_what_a_kind_needs_is_named(kind: str, field: str) -> None:
    with pytest.raises(ConfigError, match=f"chat.endpoints.e.{field} is needed because kind is '{kind}'"):
        check_kind("e", EndpointSettings(kind=kind, model="m"))


@pytest.mark.parametrize("kind", ["nosuch", "", "OpenAI", "x" * 10_000])
def test_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="openai, replay, transformers") as caught:
        check_kind("e", EndpointSettings(kind=kind, model="m"))
    assert len(str(caught.value)) < 250


def test_a_kind_from_outside_needs_no_change_here(tmp_path: Path, outsider: type) -> None:
    chosen = settings({"a": "http://127.0.0.1:9/v1"}, endpoint={"kind": "echo", "longest_wait": 60.0})
    assert [item.score for item in score(debating_run(tmp_path / "r", chosen, [pair(1), pair(2)]))] == [0.6, 0.6]
    with pytest.raises(ConfigError, match="extra has no effect because kind is 'echo'"):
        check_kind("e", EndpointSettings(kind="echo", model="m", extra={"a": 1}))


def test_a_kind_that_does_not_say_so_is_taken_to_send(outsider: type) -> None:
    """Restricted data must not leave because somebody forgot a line."""
    away = EndpointSettings(kind="echo", model="m", base_url="http://example.org/v1")
    assert not is_local(away, ())
    with pytest.raises(EgressError):
        check_egress("e", away, (), "mimic-cxr", "restricted", "")
    assert not is_local(EndpointSettings(kind="echo", model="m"), ())


# What a run says of its data, and what was typed.


@pytest.mark.parametrize("content", ["{}", '{"data_use": ""}', '{"data_use": "OPEN"}', '{"data_use": null}', None])
def test_data_that_do_not_say_they_are_open_are_restricted(tmp_path: Path, content: str | None) -> None:
    run = debating_run(tmp_path / "r", settings({"a": "http://example.org/v1"}), [])
    if content is None:
        (run.path / "data.json").unlink()
    else:
        (run.path / "data.json").write_text(content)
    assert run.restricted
    with pytest.raises(EgressError, match="is restricted"):
        check_endpoints(run, ("a",))
    (run.path / "data.json").write_text('{"data_use": "open"}')
    check_endpoints(run, ("a",))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://example.org/v1"])
@pytest.mark.parametrize("use", ["open", "restricted"])
def test_a_permission_for_another_dataset_is_refused_wherever_the_endpoint_lies(url: str, use: str) -> None:
    with pytest.raises(EgressError, match="--allow-external vqa-rad names another dataset; this run's is 'mimic-cxr'"):
        check_egress("e", EndpointSettings(model="m", base_url=url), (), "mimic-cxr", use, "vqa-rad")


# Opened again.


def test_a_run_whose_model_lies_in_the_process_opens_again(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "extends: phantom-mmedpo\nchat: {endpoints: {m: {kind: transformers, model: /models/m}}}\n"
        "score: {agents: ['chat:m']}\n"
    )
    chosen = load_settings(recipe)
    with open_run(tmp_path / "run", chosen):
        pass
    with open_run(tmp_path / "run") as again:
        assert again.settings == chosen
        check_kind("m", again.settings.chat.endpoints["m"])
        assert dump_settings(again.settings) == dump_settings(chosen)


def test_a_run_whose_model_has_gone_can_be_looked_at(tmp_path: Path) -> None:
    chosen = settings({"m": ""}, endpoint={"kind": "transformers", "model": "/nowhere/model", "base_url": ""})
    with open_run(tmp_path / "run", chosen) as run:
        run.manifest.stages["data"] = StageState(fingerprint="f", outputs={}, seconds=2.0)
        run.save_manifest()
    first, second = stage_lines(read_run(tmp_path / "run"))
    assert "cannot go on here: no checkpoint at '/nowhere/model'" in first
    assert second.split()[:3] == ["data", "was", "done"]


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("{kind: nosuch, model: m}", "unknown chat-model 'nosuch'"),
        ("{kind: transformers, model: m, extra: {a: 1}}", "chat.endpoints.m.extra has no effect"),
        ("{model: m}", "chat.endpoints.m.base_url is needed"),
        ("{kind: replay, model: m}", "chat.endpoints.m.recording is needed"),
    ],
)
def test_it_is_said_before_anything_is_computed(tmp_path: Path, endpoint: str, why: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"extends: phantom-mmedpo\nchat: {{endpoints: {{m: {endpoint}}}}}\nscore: {{agents: ['chat:m']}}\n"
    )
    with open_run(tmp_path / "run", load_settings(recipe)) as run, pytest.raises(ConfigError, match=why):
        run_stages(run)
    assert not (tmp_path / "run" / "data.json").exists()


def test_the_wire_and_the_opening_know_no_kind() -> None:
    code = (
        "import sys, mmedpo.chat.wire, mmedpo.chat.batch, mmedpo.chat.opening, mmedpo.config\n"
        "assert not [name for name in sys.modules if name.startswith(('mmedpo.chat.kinds', 'aiohttp', 'openai'))]\n"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(source)}, check=True)


def test_a_key_that_is_none_is_named_by_its_variable_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("sk-a b", "sk-a\nX-Injected: 1", "sk-é", "sk-\x1b[2J"):
        monkeypatch.setenv("SOME_KEY", value)
        kind = kind_of(given("openai"))
        with pytest.raises(ChatError, match="SOME_KEY holds blanks or special characters") as caught:
            kind("e", given("openai", api_key_env="SOME_KEY"), direct=True)
        assert "sk-" not in str(caught.value)
