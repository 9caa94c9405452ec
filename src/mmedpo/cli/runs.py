"""`mmedpo run`, `status`, and the single stages of an existing run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override one setting, e.g. --set train.beta=0.2 (repeatable).")
]
AllowExternal = Annotated[
    str,
    typer.Option(help="Let restricted data go to endpoints outside: type the dataset's name, e.g. mimic-cxr."),
]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="Tell calls, tokens and money that language models would take, and stop.")
]
BatchOut = Annotated[
    Path | None, typer.Option(help="Write requests to OpenAI-style batch files in this new folder; send nothing.")
]
BatchIn = Annotated[Path | None, typer.Option(help="Take answers from this file or folder of batch results.")]
RunFolder = Annotated[Path, typer.Argument(help="Run folder, e.g. runs/phantom-mmedpo.")]


def run(
    recipe: Annotated[str, typer.Argument(help="Shipped recipe (see `mmedpo recipes`) or a .yaml file.")],
    name: Annotated[str | None, typer.Option(help="Name of the run folder; default: the recipe's name.")] = None,
    runs: RunsFolder = Path("runs"),
    settings: Overrides = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after this stage; of several rounds, after the last round's.")
    ] = None,
    donors: Annotated[
        Path | None, typer.Option(help="Folder of other runs whose stages with equal inputs may be taken over.")
    ] = None,
    allow_external: AllowExternal = "",
    estimate: EstimateOnly = False,
    submit: Annotated[str, typer.Option(help="Submit the run as jobs of this scheduler: slurm.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --submit: write the job scripts alone.")] = False,
) -> None:
    """Run a recipe from data to report; go on where an earlier run stopped.

    Example: mmedpo run vqa-rad --set data.root=~/VQA_RAD

    Example: mmedpo run vqa-rad --set data.root=/shared/VQA_RAD --submit slurm --set slurm.partition=gpu
    """
    from mmedpo.config import SlurmSettings, load_settings
    from mmedpo.errors import ConfigError
    from mmedpo.pipeline.options import refuse_idle, refuse_processes
    from mmedpo.pipeline.plan import run_stages
    from mmedpo.pipeline.submitting import submit_run
    from mmedpo.progress import LineReporter
    from mmedpo.report.summary import print_summary
    from mmedpo.run import CallOptions, open_run, run_folder

    refuse_processes("run")
    resolved = load_settings(recipe, settings)
    folder = run_folder(runs, Path(recipe).stem if name is None else name)
    if submit or dry_run or resolved.slurm != SlurmSettings():
        given = {"--donors": donors, "--allow-external": allow_external, "--estimate": estimate}
        idle = [option for option, value in given.items() if value]
        print("\n".join(submit_run(folder, resolved, submit, until, dry=dry_run, idle=idle)))
        return
    if donors is not None and not donors.is_dir():
        raise ConfigError(f"--donors {donors} is not a folder; give the folder that holds the other runs")
    others = sorted(path for path in donors.iterdir() if path.is_dir()) if donors is not None else []
    with open_run(folder, resolved, LineReporter(), donors=others) as opened:
        opened.calls = CallOptions(allow_external, estimate)
        refuse_idle(resolved, ("curate", "score", "judge-answers"), opened.calls)
        run_stages(opened, until=until)
        print_summary(opened)


def status(folder: RunFolder) -> None:
    """Show which stages of a run are done.

    Example: mmedpo status runs/phantom-mmedpo
    """
    from mmedpo.pipeline.status import stage_lines
    from mmedpo.run import read_run

    for line in stage_lines(read_run(folder)):
        print(line)


def recipes() -> None:
    """List the shipped recipes.

    Example: mmedpo recipes
    """
    from mmedpo.recipes import recipe_description, shipped_recipes

    for recipe in shipped_recipes():
        print(f"{recipe:28} {recipe_description(recipe)}")


def curate(
    folder: RunFolder,
    allow_external: AllowExternal = "",
    estimate: EstimateOnly = False,
    batch_out: BatchOut = None,
    batch_in: BatchIn = None,
) -> None:
    """Make the preference pairs of a run (after `ground`).

    Example: mmedpo curate runs/phantom-mmedpo

    Example: mmedpo curate runs/slake --batch-out requests/, later --batch-in results.jsonl
    """
    _stage(folder, ("curate",), allow_external, estimate, batch_out, batch_in)


def score(
    folder: RunFolder,
    allow_external: AllowExternal = "",
    estimate: EstimateOnly = False,
    batch_out: BatchOut = None,
    batch_in: BatchIn = None,
) -> None:
    """Debate and weigh the pairs of a run.

    Example: mmedpo score runs/phantom-mmedpo

    Example: mmedpo score runs/slake --estimate
    """
    _stage(folder, ("score",), allow_external, estimate, batch_out, batch_in)


def train(folder: RunFolder) -> None:
    """Tune the model of a run on its weighted pairs; on several processes when torchrun or accelerate starts them.

    Example: mmedpo train runs/phantom-mmedpo

    Example: torchrun --nproc_per_node 2 -m mmedpo train runs/phantom-mmedpo
    """
    job(folder, "train")


def job(
    folder: RunFolder,
    stage: Annotated[str, typer.Argument(help="Name of the stage, as `mmedpo status` gives it.")],
    share: Annotated[str, typer.Option(help="K/N: the K-th of N shares of what it begins with, from 0.")] = "",
) -> None:
    """Do one stage, or one of several processes' share of it, as the scripts of `mmedpo run --submit` do.

    Example: mmedpo job runs/phantom-mmedpo predict-base --share 0/8
    """
    from mmedpo.pipeline.jobs import work_on
    from mmedpo.pipeline.options import refuse_processes

    if stage.rpartition("/")[2] != "train":
        refuse_processes("job")
    work_on(folder, stage, share)


def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="Run folder, e.g. runs/phantom-mmedpo.")] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(help="Answers another program wrote: FILE or NAME=FILE (repeatable; the first is the baseline)."),
    ] = None,
    data: Annotated[str, typer.Option(help="Recipe whose questions the answers are to.")] = "",
    name: Annotated[str, typer.Option(help="Name of the new run folder.")] = "answers",
    runs: RunsFolder = Path("runs"),
    settings: Overrides = None,
    write: Annotated[
        list[str] | None,
        typer.Option(help="Also write the answers as LAYOUT=FOLDER: vlmevalkit, lmms-eval, inspect-ai (repeatable)."),
    ] = None,
    allow_external: AllowExternal = "",
    estimate: EstimateOnly = False,
    batch_out: BatchOut = None,
    batch_in: BatchIn = None,
) -> None:
    """Score answers: of base and tuned model of a run, or of files that other programs wrote.

    Example: mmedpo evaluate runs/phantom-mmedpo

    Example: mmedpo evaluate --predictions base=a.jsonl --predictions ours=b.jsonl --data vqa-rad

    Example: mmedpo evaluate runs/phantom-mmedpo --write inspect-ai=logs/
    """
    from mmedpo.errors import ConfigError
    from mmedpo.evaluate.writing import write_answers, writing
    from mmedpo.run import CallOptions, read_run, run_folder

    targets = writing(write or [])
    if folder is not None and not (predictions or data):
        stages = ("predict-base", "predict-tuned", "judge-answers", "radeval", "evaluate")
        _stage(folder, stages, allow_external, estimate, batch_out, batch_in)
    elif folder is None and predictions and data:
        from mmedpo.config import load_answers
        from mmedpo.pipeline.staging import run_to_report
        from mmedpo.progress import LineReporter

        folder = run_folder(runs, name)
        calls = CallOptions(allow_external, estimate, batch_out, batch_in)
        run_to_report(load_answers(data, predictions, settings or ()), folder, LineReporter(), calls)
    else:
        raise ConfigError("give a run folder, or both --predictions FILE and --data RECIPE; see mmedpo evaluate --help")
    for layout, place in targets.items():
        for path in write_answers(read_run(folder), layout, place):
            print(f"wrote {path}")


def report(folder: RunFolder) -> None:
    """Write the report of a run: evaluated, or as far as it came.

    Example: mmedpo report runs/phantom-mmedpo
    """
    _stage(folder, ("report",))


def _stage(folder: Path, stages: Sequence[str], *calls: Any) -> None:
    from mmedpo.pipeline.staging import execute_stages
    from mmedpo.progress import LineReporter
    from mmedpo.run import CallOptions

    execute_stages(folder, stages, CallOptions(*calls), LineReporter())
