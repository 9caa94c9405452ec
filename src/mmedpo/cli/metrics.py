"""`mmedpo metrics install radeval`: metrics of reports, computed in an environment of their own."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Metrics that other programs compute.")
install = typer.Typer(no_args_is_help=True, help="Prepare such a program; needs the network.")
app.add_typer(install, name="install")


@install.command("radeval")
def radeval(
    metric: Annotated[list[str] | None, typer.Option(help="Fetch the weights of this one (repeatable).")] = None,
    dry_run: Annotated[bool, typer.Option(help="Tell commands and disk, and do nothing.")] = False,
) -> None:
    """Prepare RadGraph-F1, CheXbert-F1, RaTEScore, GREEN and CRIMSON in the user's data folder.

    Example: mmedpo metrics install radeval --metric radgraph --metric ratescore
    """
    from mmedpo.evaluate.radeval.environment import place, prepare
    from mmedpo.progress import LineReporter

    prepare(place(), metric or (), LineReporter().message, only_tell=dry_run)
