"""The registry: unknown names list the known ones, no name means two things, and outsiders need no change here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo import registry
from mmedpo.config import load_settings
from mmedpo.errors import ConfigError
from mmedpo.records import Drop, Example
from mmedpo.registry import Kind, lookup, names, register
from mmedpo.run import Run, Stage, open_run
from mmedpo.storage.tables import read_table

PLUGIN = Path(__file__).parent / "plugin_package"
SOURCE = Path(__file__).resolve().parents[1] / "src"
LIGHT: tuple[Kind, ...] = ("dataset", "grounder", "agent", "preference-format")
"""Kinds whose pieces never load torch."""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], typing.Any]:
    """A copy of the table, so that nothing a test registers stays."""
    names("dataset")
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE))
    return registry._TABLE


def _python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join(str(folder) for folder in (*path, SOURCE))
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def _install(folder: Path) -> Path:
    """What installing the plug-in leaves on the search path: the module, and metadata with its entry points."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    folder.mkdir()
    shutil.copy(PLUGIN / "mmedpo_colours.py", folder)
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def _colours(folder: Path, questions: int) -> Path:
    """A folder as the plug-in's dataset wants it, with one unreadable image."""
    folder.mkdir()
    rows = ["file,answer,split"]
    for number in range(questions):
        image = np.random.default_rng([number]).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append(f"{number}.png,red,{'train' if number else 'test'}")
    (folder / "broken.png").write_text("not an image")
    (folder / "answers.csv").write_text("\n".join([*rows, "broken.png,red,train"]))
    return folder


def _recipe(folder: Path) -> Path:
    path = folder / "colours.yaml"
    path.write_text("data: {dataset: colours}\nevaluate: {splits: [test]}")
    return path


@pytest.mark.parametrize("kind", LIGHT)
def test_an_unknown_name_lists_the_known_ones(kind: Kind) -> None:
    known = names(kind)
    assert known == sorted(known) != []
    with pytest.raises(ConfigError) as caught:
        lookup(kind, "no-such")
    assert str(caught.value) == f"unknown {kind} 'no-such'; known: {', '.join(known)}"


def test_the_pieces_that_the_defaults_name_exist() -> None:
    settings = load_settings("phantom-mmedpo")
    assert settings.data.dataset in names("dataset")
    assert settings.ground.tool in names("grounder")
    assert set(settings.score.agents) <= set(names("agent"))


def test_a_name_that_is_taken_is_refused_and_both_owners_are_named(table: dict[tuple[str, str], typing.Any]) -> None:
    owner = lookup("dataset", "phantom")
    with pytest.raises(
        ConfigError, match=r"dataset 'phantom' is registered twice: by mmedpo\.data.* and by .*Impostor"
    ):

        @register("dataset", "phantom")
        class Impostor:
            pass

    assert lookup("dataset", "phantom") is owner


def test_a_name_may_be_used_once_in_every_kind(table: dict[tuple[str, str], typing.Any]) -> None:
    @register("agent", "phantom")
    class Agent:
        pass

    assert lookup("agent", "phantom") is Agent
    assert lookup("dataset", "phantom") is not Agent


def test_a_module_that_is_imported_again_is_no_second_owner(table: dict[tuple[str, str], typing.Any]) -> None:
    def define() -> type:
        @register("dataset", "twice")
        class Twice:
            pass

        return Twice

    define()
    assert lookup("dataset", "twice") is not None
    newest = define()
    assert lookup("dataset", "twice") is newest


def test_asking_for_data_agents_tools_or_formats_loads_no_torch() -> None:
    code = f"""
import sys
from mmedpo.registry import names
for kind in {LIGHT!r}:
    names(kind)
print([name for name in ("torch", "transformers", "peft") if name in sys.modules])
"""
    assert _python(code).stdout == "[]\n"


# Packages from outside.


def test_an_installed_package_brings_a_dataset_without_a_change_here(tmp_path: Path) -> None:
    outside = _install(tmp_path / "site")
    listed = _python("from mmedpo.registry import names; print(*names('dataset'))", outside)
    assert listed.stderr == ""
    assert "colours" in listed.stdout.split()
    assert "phantom" in listed.stdout.split()


def test_a_recipe_runs_on_the_dataset_of_an_installed_package(tmp_path: Path) -> None:
    outside, root, run = _install(tmp_path / "site"), _colours(tmp_path / "data", 12), tmp_path / "r"
    recipe = _recipe(tmp_path)
    code = f"""
from pathlib import Path
from mmedpo.config import load_settings
from mmedpo.data.stage import load_data
from mmedpo.run import Stage, open_run

settings = load_settings({str(recipe)!r}, ["data.root={root}"])
with open_run(Path({str(run)!r}), settings) as opened:
    opened.execute(Stage("data", load_data, {{}}, (), ("examples.parquet",)))
"""
    done = _python(code, outside)
    assert done.returncode == 0, done.stderr
    examples = read_table(run / "examples.parquet", Example)
    assert [example.split for example in examples] == ["test", *["train"] * 11]
    assert {example.dataset for example in examples} == {"colours"}
    (drop,) = read_table(run / "drops" / "data.parquet", Drop)
    assert (drop.item, drop.reason) == ("broken.png", "unreadable-image")


def test_without_the_package_its_dataset_is_unknown(tmp_path: Path) -> None:
    from mmedpo.data.stage import load_data

    root = _colours(tmp_path / "data", 1)
    settings = load_settings(_recipe(tmp_path), [f"data.root={root}"])

    def work(run: Run) -> None:
        load_data(run)

    with (
        open_run(tmp_path / "r", settings) as run,
        pytest.raises(ConfigError, match=r"unknown dataset 'colours'; known: "),
    ):
        run.execute(Stage("data", work, {}, (), ("examples.parquet",)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("import no_such_package_at_all", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        (
            "from mmedpo.registry import register\n@register('dataset', 'phantom')\nclass Other: pass",
            "dataset 'phantom' is registered twice",
        ),
    ],
    ids=["cannot be imported", "takes a name of ours"],
)
def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path, content: str, why: str) -> None:
    outside = _install(tmp_path / "site")
    (outside / "mmedpo_colours.py").write_text(content)
    code = """
from mmedpo.errors import ConfigError
from mmedpo.registry import names
try:
    names("dataset")
except ConfigError as error:
    print(error)
"""
    done = _python(code, outside)
    assert done.stderr == ""
    assert done.stdout.startswith("plug-in 'colours' (mmedpo_colours) cannot be loaded: ")
    assert why in done.stdout
    assert done.stdout.count("\n") == 1
