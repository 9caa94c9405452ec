"""A run as jobs of SLURM: a script for every stage that is not done, and one that submits them in order.

Scripts are plain and made to be read and changed. A job writes what became of it into the run folder, so that
`mmedpo status` needs no scheduler.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmedpo.config import RunSettings, SlurmSettings
from mmedpo.errors import ConfigError, brief, shown
from mmedpo.pipeline.plan import last_called, plan
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.layout import JOBS
from mmedpo.storage.tables import write_text

SUBMIT = "submit.sh"
SUBMITTED = "jobs.txt"
"""A line for every job: its name, the number that SLURM gave it, and how many shares it has."""
STATE = ".state"
"""`NAME.state`, or `NAME.K.state` of a share: what became of the job."""
SHARE = ".share"
"""Ends the name of a job that does shares of a stage."""

_JOB = """\
#!/bin/bash
# {what} of the run {folder}; {submit} says which jobs it waits for.
#SBATCH --job-name=mmedpo-{name}
{asked}
RUN={folder}
became() {{
  local state="$RUN/{jobs}/{name}${{SLURM_ARRAY_TASK_ID:+.$SLURM_ARRAY_TASK_ID}}{state}"
  printf '%s %s\\n' "$1" "$(hostname)" > "$state.partial" && mv -f "$state.partial" "$state"
}}
trap 'ended=$?; [ $ended = 0 ] && became done || became "failed($ended)"' EXIT
became running
cd {here} || exit
{command}
"""
_SUBMIT = """\
#!/bin/bash
# Submits the jobs of a run, each behind those it waits for.
set -eu
cd {folder}
rm -f -- *{state} {submitted}
submit() {{  # NAME SHARES OPTIONS
  name=$1 shares=$2
  shift 2
  id=$(sbatch --parsable --kill-on-invalid-dep=yes "$@" "$name.sh")
  id=${{id%%;*}}
  echo "$name $id $shares" >> {submitted}
}}
"""


class Job(NamedTuple):
    """One job, or an array of them."""

    stage: str
    """Name of the stage."""
    shares: int
    """Jobs that divide the stage's work; 0: the job that does the stage, and whatever they left."""
    gpus: int
    nodes: int

    @property
    def name(self) -> str:
        """The name its files have."""
        return self.stage.replace("/", ".") + (SHARE if self.shares else "")


def submit_run(
    folder: Path, settings: RunSettings, scheduler: str, until: str | None, *, dry: bool, idle: Sequence[str] = ()
) -> list[str]:
    """Makes a run folder with the job scripts of what is not done, and submits them.

    Args:
        folder: the run.
        settings: its settings.
        scheduler: `slurm`.
        until: the last stage; None for all.
        dry: write the scripts alone.
        idle: options that were given and have no effect here.

    Returns:
        What was done, line by line.

    Raises:
        ConfigError: another scheduler, an option or setting without effect, no such stage, or SLURM refused.
    """
    if scheduler != "slurm":
        met = f"--submit {shown(scheduler)}" if scheduler else "--dry-run, or a setting of the group slurm,"
        raise ConfigError(f"{met} has no effect here: jobs are written for --submit slurm; give that, or leave it out")
    if idle:
        raise ConfigError(f"{', '.join(idle)} has no effect with --submit, which starts nothing itself; leave it out")
    with open_run(folder, settings) as run:
        jobs = list(_jobs(run, until))
        if not jobs:
            return [f"every stage of {folder} is done; there is nothing to submit"]
        place = (folder / JOBS).resolve()
        shutil.rmtree(place, ignore_errors=True)
        for job in jobs:
            write_text(place / f"{job.name}.sh", _script(job, folder.resolve(), settings.slurm))
        write_text(place / SUBMIT, _submitting(jobs, place))
    told = [f"{len(jobs)} job scripts in {place}: {', '.join(job.name for job in jobs)}"]
    if dry:
        return [*told, f"nothing was submitted; bash {place / SUBMIT} does it"]
    _submit(place)
    return [*told, f"submitted; mmedpo status {folder} tells what becomes of them"]


def _jobs(run: Run, until: str | None) -> Iterator[Job]:
    stages, asked = plan(run.settings), run.settings.slurm
    names = [stage.name for stage in stages]
    last = last_called(until, names) if until is not None else len(names)
    first = next((place for place, stage in enumerate(stages) if not run.is_done(stage)), len(names))
    for stage in stages[first : last + 1]:
        kind = stage.name.rpartition("/")[2]
        gpus = asked.gpus if stage.models or kind in ("ground", "finetune") else 0
        if asked.shares > 1 and _divides(run.settings, stage, kind):
            yield Job(stage.name, asked.shares, gpus, 1)
        yield Job(stage.name, 0, gpus, asked.nodes if kind == "train" else 1)


def _divides(settings: RunSettings, stage: Stage, kind: str) -> bool:
    """Whether a stage begins with work on many items that no server does."""
    if kind == "curate":
        return settings.samples and not settings.model.server
    return kind == "ground" or (kind.startswith("predict-") and not settings.used_endpoints(kind))


def _script(job: Job, folder: Path, settings: SlurmSettings) -> str:
    asked = [
        *(f"--{name}={value}" for name in ("partition", "account", "time") if (value := getattr(settings, name))),
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={settings.cpus}",
        *([f"--gpus-per-node={job.gpus}"] if job.gpus else []),
        *([f"--array=0-{job.shares - 1}"] if job.shares else []),
    ]
    share = f"shares of {job.stage}, as long as another job does not do them" if job.shares else job.stage
    return _JOB.format(
        what=share,
        folder=shlex.quote(str(folder)),
        submit=SUBMIT,
        name=job.name,
        asked="\n".join(f"#SBATCH {line}" for line in asked),
        jobs=JOBS,
        state=STATE,
        here=shlex.quote(str(Path.cwd())),
        command=_command(job),
    )


def _command(job: Job) -> str:
    python = shlex.quote(sys.executable)
    work = f'-m mmedpo job "$RUN" {shlex.quote(job.stage)}'
    if job.shares:
        return f'{python} {work} --share "$SLURM_ARRAY_TASK_ID/{job.shares}"'
    each = max(1, job.gpus)
    if not job.stage.endswith("train") or job.nodes * each == 1:
        return f"{python} {work}"
    return (
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)\n'
        f"srun --kill-on-bad-exit=1 {python} -m torch.distributed.run \\\n"
        f'  --nnodes={job.nodes} --nproc_per_node={each} --rdzv_id="$SLURM_JOB_ID" --rdzv_backend=c10d \\\n'
        f'  --rdzv_endpoint="$first:$((20000 + SLURM_JOB_ID % 20000))" {work}'
    )


def _submitting(jobs: Sequence[Job], place: Path) -> str:
    """A stage waits for the one before to succeed; for its shares only to end, for what they leave is done by it."""
    lines = [_SUBMIT.format(folder=shlex.quote(str(place)), state=STATE, submitted=SUBMITTED)]
    for number, job in enumerate(jobs):
        first = number == 0 or (number == 1 and jobs[0].shares > 0)
        waits = ([] if first else ["afterok:$stage"]) + (["afterany:$id"] if number and jobs[number - 1].shares else [])
        log = "--output=%x-%A_%a.log" if job.shares else "--output=%x-%j.log"
        after = f" --dependency={','.join(waits)}" if waits else ""
        lines.append(f"submit {job.name} {job.shares} {log}{after}\n" + ("" if job.shares else "stage=$id\n"))
    return "".join(lines)


def _submit(place: Path) -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError(f"there is no sbatch here; run bash {place / SUBMIT} where there is, or use --dry-run")
    done = subprocess.run(["bash", str(place / SUBMIT)], capture_output=True, text=True, errors="replace")
    if done.returncode:
        why = brief(" ".join(done.stderr.split())) or f"exit code {done.returncode}"
        raise ConfigError(f"sbatch refused ({why}); mend it and run bash {place / SUBMIT}")
