"""How to reproduce: the command, the resolved configuration, the hashes."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.config import RunSettings, dump_settings, load_settings
from mmedpo.errors import ConfigError
from mmedpo.recipes import recipe_description, shipped_recipes
from mmedpo.registry import register
from mmedpo.report.content import Fact
from mmedpo.report.parts import Part
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run
from mmedpo.run.layout import RESOLVED


class Reproduce(Part):
    """All that is needed to run it again."""

    commands: tuple[str, ...] = ()
    config: str = ""
    """The resolved configuration, as YAML text."""
    hashes: tuple[Fact, ...] = ()


@register("section", "reproduce")
class ReproduceSection(Section[Reproduce]):
    """How to reproduce."""

    heading = "How to reproduce"
    order = 1100
    template = "reproduce.html.j2"

    def gather(self, run: Run, stored: Stored) -> Reproduce | None:
        """Always something."""
        return _reproduce(run)


def _reproduce(run: Run) -> Reproduce:
    hashes = [
        Fact(label=f"{name} ({stage})", value=digest)
        for stage, state in run.manifest.stages.items()
        for name, digest in state.outputs.items()
        if stage != "report" and not name.startswith("drops/")
    ]
    return Reproduce(commands=_commands(run), config=dump_settings(run.settings), hashes=tuple(hashes))


def _commands(run: Run) -> tuple[str, ...]:
    """The shipped recipe when it gives exactly these settings, else the resolved configuration of the run."""
    settings = run.settings
    overrides = [f"seed={settings.seed}"] if settings.seed else []
    if settings.data.root is not None:
        overrides.append(f"data.root={settings.data.root}")
    name = next((name for name in shipped_recipes() if _same(name, overrides, settings)), None)
    again = f"--name {run.path.name}-again"
    if name is None:
        return (f"mmedpo run {run.path.name}/{RESOLVED} {again}",)
    return (" ".join(("mmedpo run", name, again, *(f"--set {override}" for override in overrides))),)


def _same(recipe: str, overrides: Sequence[str], settings: RunSettings) -> bool:
    # Reading what a recipe says of itself is cheap, validating all of them takes longer than the rest of the report.
    if recipe_description(recipe) != settings.description:
        return False
    try:
        return load_settings(recipe, list(overrides)) == settings
    except ConfigError:
        return False
