"""The command line. Every command is thin: it opens a run and calls the stages."""

from __future__ import annotations

import warnings
from typing import Any

import typer

from mmedpo.cli import (
    calls,
    compare,
    convert,
    deidentify,
    demo,
    doctor,
    lint,
    metrics,
    preferences,
    reproduce,
    runs,
    tiny,
)
from mmedpo.cli import ground as ground_commands
from mmedpo.environment import set_defaults
from mmedpo.terminal import rewrite, safe_streams, shortened

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""

app = typer.Typer(
    name="mmedpo",
    help="Clinical-aware multimodal preference optimization for medical vision-language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("run")(runs.run)
app.command("status")(runs.status)
app.command("job")(runs.job)
app.command("curate")(runs.curate)
app.command("score")(runs.score)
app.command("train")(runs.train)
app.command("evaluate")(runs.evaluate)
app.command("report")(runs.report)
app.command("compare")(compare.compare)
app.command("recipes")(runs.recipes)
app.command("calls")(calls.calls)
app.command("import")(preferences.import_file)
app.command("export")(preferences.export_file)
app.command("lint")(lint.lint)
app.command("convert")(convert.convert)
app.command("doctor")(doctor.doctor)
app.command("deidentify")(deidentify.deidentify)
app.command("reproduce")(reproduce.reproduce)
app.command("pretrain-tiny")(tiny.pretrain_tiny)
app.add_typer(ground_commands.app, name="ground")
app.add_typer(metrics.app, name="metrics")


def main(arguments: list[str] | None = None) -> Any:
    """Entry point: user errors end in one clear line and a non-zero exit, everything else keeps its traceback."""
    with safe_streams():
        return _main(arguments)


def _main(arguments: list[str] | None) -> Any:
    from mmedpo.errors import MMedPOError, Paused

    set_defaults()
    # Deprecations inside the libraries are for us to read in the tests, not for users.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what it tolerates in an image is no news for the user
    try:
        return app(arguments, standalone_mode=True)
    except Paused as pause:
        rewrite(str(pause))
        return 0
    except MMedPOError as error:
        rewrite(shortened(f"error: {error}"))
        raise SystemExit(2) from None
    except OSError as error:
        from mmedpo.run.disk import refused, why

        if not refused(error):
            raise
        rewrite(shortened(f"error: {error.filename or 'a file'} cannot be used: {why(error)}; mend that and run again"))
        raise SystemExit(2) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into this
            rewrite("stopped; run the same command again to go on where it stopped")
        raise
