"""YAML of any shape is a recipe or one short line, soon."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.config import load_settings
from mmedpo.errors import ConfigError
from mmedpo.recipes.reading import MOST_VALUES, read_yaml


def bomb(levels: int, first: str, following: str) -> str:
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {following.replace('*', f'*a{n - 1}')}" for n in range(1, levels)]
    return "\n".join(lines)


NO_YAML = {
    "aliases in lists": bomb(9, "[x,x,x,x,x,x,x,x,x]", "[*,*,*,*,*,*,*,*,*]"),
    "aliases in groups": bomb(12, "{a: 1}", "{a: *, b: *, c: *, d: *, e: *}"),
    "merged groups": bomb(25, "{a: 1}", "{<<: [*, *]}"),
    "a list that holds itself": "description: &a [*a]",
    "a group that holds itself": "train: &a {lora: *a}",
    "a group that merges itself": "train: &a {<<: *a}",
    "deep lists": "description: " + "[" * 100_000,
    "deep groups": "description: " + "{a: " * 5_000,
    "deep by indentation": "\n".join(" " * n + "a:" for n in range(900)),
    "deep dashes": "- " * 5_000 + "x",
    "many values": "caveats: [" + "x," * (MOST_VALUES + 1) + "]",
    "a date that is none": "description: 2001-99-99",
    "a time that is none": "description: 2001-01-01 99:99:99",
    "an int that is none": "seed: !!int abc",
    "a float that is none": "train: {beta: !!float x}",
    "a bool that is none": "model: {autocast: !!bool maybe}",
    "a time by tag": "description: !!timestamp soon",
    "bytes that are none": "description: !!binary é",
    "an int without end": "seed: " + "9" * 5_000,
    "a hexadecimal without end": "seed: 0x" + "f" * 50_000,
    "sixties without end": "seed: " + "1:" * 50_000 + "1",
    "a number to base 8": "seed: 010",
    "a number to base 60": "train: {epochs: 1:30}",
    "a broken number to base 60": "train: {epochs: 1:30.5}",
    "a key twice": "seed: 1\nseed: 2",
    "a key twice inside": "train: {beta: 1, beta: 2}",
    "a key twice in quotes": "seed: 1\n'seed': 2",
    "a key that is a list": "? [a]\n: b",
    "a key that is a group": "? {a: 1}\n: b",
    "an unknown alias": "seed: *" + "x" * 5_000,
    "an unknown tag": "seed: !" + "x" * 5_000 + " 1",
    "python": "seed: !!python/object/apply:os.system [ls]",
    "two documents": "seed: 1\n---\nseed: 2",
    "a date": "description: 2001-01-01",
    "bytes": "description: !!binary aGVsbG8=",
    "a set": "description: !!set {a, b}",
    "an ordered list of pairs": "description: !!omap [a: 1]",
    "a tab": "train:\n\tbeta: 1",
    "a control character": "description: a\x00b",
    "an escape": "description: \x1b[2J",
    "pairs": "description: !!pairs [a]",
    "omap": "description: !!omap x",
    "too long": "description: " + "x" * 1_000_001,
    "an open quote": 'description: "' + "x" * 10_000,
}


def refused(path: Path, *overrides: str) -> str:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_settings(path, list(overrides))
    assert time.monotonic() - started < 20
    line = str(caught.value)
    assert line.isprintable()
    return line.replace(str(path), "")


@pytest.mark.parametrize("name", NO_YAML)
def test_what_is_no_yaml_is_one_short_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(NO_YAML[name])
    line = refused(path)
    assert "is not valid YAML" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "content",
    [
        "description: [" + "[x]," * 5_000 + "]",
        "seed: 0x" + "f" * 90,
        "seed: .inf",
        "2.5: x",
        "null: 1",
        "train: {1: 2}",
        "x" * 5_000 + ": 1",
        "train: {" + "x" * 5_000 + ": 1}",
        "chat: {endpoints: {" + "x" * 5_000 + ": {model: m}}}",
        "train: {objective: [{loss: " + "x" * 9_000 + ", weight: -1}]}",
        "curate: {kinds: [" + "z" * 9_000 + "]}",
        "extends: {a: [" + "x," * 9_000 + "]}",
        "extends: [a]",
        "extends: ~no-such-user/a.yaml",
        'extends: "\\0.yaml"',
        "extends: " + "x" * 9_000,
        "extends: " + "x" * 9_000 + ".yaml",
        "data: {root: ~no-such-user/x, dataset: slake}",
    ],
    ids=range(18),
)
def test_a_value_that_is_none_is_one_short_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    assert len(refused(path)) < 700


@pytest.mark.parametrize(
    "override", ["seed=!!int abc", "seed=2001-99-99", "seed=" + "[" * 5_000, "description=" + "x: " * 9_000]
)
def test_an_override_is_read_as_carefully(override: str) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML") as caught:
        load_settings("phantom-mmedpo", [override])
    assert len(str(caught.value)) < 350


def test_a_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zeros.yaml"):
        assert "it is not a file" in refused(tmp_path / name)


def test_aliases_and_merges_of_a_usual_size_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "x-common: &local {timeout: 30, attempts: 3}\n".replace("x-common: ", "chat:\n  endpoints:\n    a: ").replace(
            "{timeout", "{model: m, base_url: 'http://127.0.0.1:1/v1', timeout"
        )
        + "    b: {<<: *local, model: n}\n    c: *local\n"
        "score: {agents: ['chat:a', 'chat:b', 'chat:c']}\n"
    )
    chosen = load_settings(path, ["chat.endpoints.c.model=changed"]).chat.endpoints
    # What changes one place of an alias changes no other.
    assert [chosen[name].model for name in "abc"] == ["m", "n", "changed"]
    assert {endpoint.timeout for endpoint in chosen.values()} == {30.0}


@given(st.text(max_size=60) | st.text("&*<[]{}:,-?!|>'\"%@`#\n ab1.~", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(ConfigError):
        read_yaml(text, "it")
