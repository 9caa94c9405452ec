"""A run as jobs of SLURM: what is submitted, what waits for what, and what the run folder tells of it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.tiny_run import RECIPE
from mmedpo import load_settings, open_run, run_stages
from mmedpo.cli.main import main
from mmedpo.run.layout import JOBS
from pipeline.sbatch import install, submitted

TINY = {**RECIPE, "slurm": {"gpus": 0, "shares": 2}}


def _recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def _command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    room = tmp_path / "scheduler"
    install(room)
    monkeypatch.setenv("PATH", f"{room / 'bin'}:{os.environ['PATH']}")
    return room


def test_a_dry_run_writes_scripts_that_ask_for_what_the_settings_say(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a run's folder $(touch never)"
    asked = {"partition": "gpu,long", "account": "a-1", "time": "2-00:00:00", "cpus": 6, "gpus": 4, "nodes": 2}
    recipe = _recipe(tmp_path, slurm={**asked, "shares": 3})
    assert _command("run", recipe, "--runs", folder, "--submit", "slurm", "--dry-run") == 0
    assert "nothing was submitted" in capsys.readouterr().out
    assert not submitted(scheduler)
    place = folder / "tiny" / JOBS
    scripts = {path.stem: path.read_text() for path in place.glob("*.sh")}
    for path in place.glob("*.sh"):
        assert subprocess.run(["bash", "-n", path]).returncode == 0
    lines = {name: dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.M)) for name, text in scripts.items()}
    common = {"partition": "gpu,long", "account": "a-1", "time": "2-00:00:00", "cpus-per-task": "6"}
    assert all(common.items() <= told.items() for name, told in lines.items() if name != "submit")
    assert (lines["train"]["nodes"], lines["train"]["gpus-per-node"]) == ("2", "4")
    assert (lines["curate.share"]["array"], lines["curate.share"]["nodes"]) == ("0-2", "1")
    assert "gpus-per-node" not in lines["score"]
    assert "--nnodes=2 --nproc_per_node=4" in scripts["train"]
    assert set(scripts) == {
        *("submit", "data", "ground", "ground.share", "curate", "curate.share", "score", "train", "evaluate", "report"),
        *("predict-base", "predict-base.share", "predict-tuned", "predict-tuned.share"),
    }


def _fake_python(room: Path, monkeypatch: pytest.MonkeyPatch, fails: str = "-") -> None:
    """In the place of Python: notes its arguments, and fails where they hold a text."""
    path = room / "python"
    path.write_text(f'#!/bin/bash\necho "$*" >> {room}/calls\ncase "$*" in *"{fails}"*) exit 3;; esac\n')
    path.chmod(0o755)
    monkeypatch.setattr("mmedpo.pipeline.submitting.sys.executable", str(path))


def test_jobs_wait_for_those_before_them_and_a_failed_share_is_left_to_the_stage(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_python(scheduler, monkeypatch, fails="ground --share 1/2")
    assert _command("run", _recipe(tmp_path), "--runs", tmp_path, "--submit", "slurm", "--until", "score") == 0
    jobs = submitted(scheduler)
    assert list(jobs) == ["data", "ground.share", "ground", "curate.share", "curate", "score"]
    numbers = {name: 100 + place for place, name in enumerate(jobs)}
    waits = {name: re.findall(r"--dependency=(\S+)", options) for name, (_, options) in jobs.items()}
    assert waits == {
        "data": [],
        "ground.share": [f"afterok:{numbers['data']}"],
        "ground": [f"afterok:{numbers['data']},afterany:{numbers['ground.share']}"],
        "curate.share": [f"afterok:{numbers['ground']}"],
        "curate": [f"afterok:{numbers['ground']},afterany:{numbers['curate.share']}"],
        "score": [f"afterok:{numbers['curate']}"],
    }
    assert {name: code for name, (code, _) in jobs.items()} == {**dict.fromkeys(jobs, "0"), "ground.share": "3"}
    run = tmp_path / "tiny"
    assert (scheduler / "calls").read_text().splitlines() == [
        f"-m mmedpo job {run} {rest}"
        for rest in ("data", "ground --share 0/2", "ground --share 1/2", "ground", "curate --share 0/2")
    ] + [f"-m mmedpo job {run} {rest}" for rest in ("curate --share 1/2", "curate", "score")]
    capsys.readouterr()
    assert _command("status", run) == 0
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert re.search(r"job 101, 2 shares: 1 done, 1 failed\(3\); job 102 done on \S+$", told["ground"])
    assert told["train"].split("not started")[1] == ""


def test_what_waits_for_a_failed_job_is_never_run_and_status_says_so(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fake_python(scheduler, monkeypatch, fails=" ground")
    _command("run", _recipe(tmp_path), "--runs", tmp_path, "--submit", "slurm", "--until", "curate")
    assert {name: code for name, (code, _) in submitted(scheduler).items()} == {
        "data": "0",
        "ground.share": "3",
        "ground": "3",
        "curate.share": "never",
        "curate": "never",
    }
    capsys.readouterr()
    _command("status", tmp_path / "tiny")
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "job 103, 2 shares: 2 waits" in told["curate"]
    assert "job 102 failed(3) on" in told["ground"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--submit", "pbs"], "--submit 'pbs' has no effect here: jobs are written for --submit slurm"),
        (["--dry-run"], "--dry-run, or a setting of the group slurm, has no effect here"),
        (["--set", "slurm.nodes=2"], "has no effect here"),
        (["--submit", "slurm", "--estimate"], "--estimate has no effect with --submit"),
        (["--submit", "slurm", "--until", "cook"], "this recipe has no stage 'cook'"),
        (["--submit", "slurm", "--set", 'slurm.partition="a\\n#SBATCH --uid=0"'], "slurm.partition"),
        (["--submit", "slurm"], "there is no sbatch here; run bash"),
        (["--submit", "slurm", "--runs", "s3://b/runs"], "--runs 's3:/b/runs' is an address in a network; mount it"),
    ],
)
def test_what_would_have_no_effect_or_cannot_be_is_one_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmedpo.pipeline.submitting.shutil.which", lambda name: None)
    recipe = _recipe(tmp_path, slurm={})
    assert _command("run", recipe, "--runs", tmp_path, *arguments) == 2
    told = capsys.readouterr().err.strip()
    assert line in told
    assert len(told.splitlines()) == 1


def test_a_scheduler_that_refuses_is_quoted(
    tmp_path: Path, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scheduler / "bin" / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid account' >&2\nexit 1\n")
    assert _command("run", _recipe(tmp_path), "--runs", tmp_path, "--submit", "slurm") == 2
    assert "sbatch refused (sbatch: error: invalid account); mend it and run bash" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_run_of_jobs_is_the_run_of_one_process(tmp_path: Path, scheduler: Path) -> None:
    """Two shares of every map, training on two nodes of one process each; the tables are those of one process."""
    recipe = _recipe(tmp_path)
    with open_run(tmp_path / "alone", load_settings(recipe, [])) as alone:
        run_stages(alone, until="score")
    options = ["--set", "slurm.nodes=2"]
    assert _command("run", recipe, "--runs", tmp_path, "--submit", "slurm", *options) == 0
    jobs, run = submitted(scheduler), tmp_path / "tiny"
    logs = "".join(path.read_text() for path in sorted((run / JOBS).glob("*.log")))
    assert {code for code, _ in jobs.values()} == {"0"}, logs
    assert len(jobs) == 13
    assert "share 1 of 2 is done" in logs
    for name in ("examples", "groundings", "curated", "debates", "pairs"):
        assert (run / f"{name}.parquet").read_bytes() == (tmp_path / "alone" / f"{name}.parquet").read_bytes()
    assert (run / "report.html").exists()
    # Submitted again, nothing is left.
    assert _command("run", recipe, "--runs", tmp_path, "--submit", "slurm", *options) == 0
    assert submitted(scheduler) == jobs
