"""The command line as a user meets it: quick help, one clear line on a mistake, and no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from mmedpo.cli.main import app, main
from mmedpo.config import RunSettings, load_settings
from mmedpo.environment import DEFAULTS
from mmedpo.errors import MMedPOError
from mmedpo.recipes import shipped_recipes
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run
from mmedpo.storage.tables import write_text

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEAVY = ("torch", "transformers", "peft", "pyarrow", "numpy")


def _commands() -> dict[str, list[str]]:
    """Every command of the program, from the program itself."""
    found: dict[str, list[str]] = {}

    def walk(command: object, path: list[str]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[" ".join(path)] = path
        else:
            for name, child in inner.items():
                walk(child, [*path, name])

    walk(get_command(app), [])
    return found


def _process(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "200"},
        timeout=120,
        check=False,
    )


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error with which a command is refused."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    assert written.err.count("\n") == 1
    return written.err


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in DEFAULTS:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what main sets is taken back after the test


# Quick and light.


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, mmedpo; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert _process("-c", code, folder=tmp_path).stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["recipes"]], ids=" ".join)
def test_help_and_recipes_load_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = f"""
import sys
from mmedpo.cli.main import main
try:
    main({arguments!r})
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = _process("-c", code, folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "[]\n"


def test_help_comes_at_once(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    started = time.monotonic()
    done = _process("-m", "mmedpo", "--help", folder=tmp_path)
    seconds = time.monotonic() - started
    record_property("seconds", seconds)
    print(f"`mmedpo --help` took {seconds:.2f} s")  # noqa: T201
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert seconds < 3.0


def test_no_command_at_all_shows_the_help(tmp_path: Path) -> None:
    done = _process("-m", "mmedpo", folder=tmp_path)
    assert "Usage: " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", _commands())
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*_commands()[command], "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: mmedpo {command}" in text


def test_the_examples_of_the_help_are_accepted_as_written() -> None:
    """Every example names arguments and options that the command has."""
    for name, path in _commands().items():
        command: typer.core.TyperGroup | object = get_command(app)
        for part in path:
            command = command.commands[part]  # type: ignore[union-attr]
        line = (command.help or "").split("Example: ")[1].splitlines()[0]  # type: ignore[attr-defined]
        words = line.split()[1 + len(path) :]
        command.make_context(name, words, resilient_parsing=False)  # type: ignore[attr-defined]


def test_the_recipes_are_listed_each_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["recipes"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_recipes()
    assert all(len(line.split()) > 3 for line in lines)


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "no-such-recipe"], "error: unknown recipe 'no-such-recipe'; shipped: "),
        (["run", "mine.yaml"], "error: recipe file mine.yaml does not exist"),
        (["run", "phantom-dpo", "--set", "train.betta=1"], "unknown setting 'train.betta'; did you mean 'beta'?"),
        (["run", "phantom-dpo", "--set", "train.beta"], "is not of the form group.setting=value"),
        (["run", "phantom-dpo", "--set", "seed=[\n"], "is not valid YAML"),
        (["run", "vqa-rad"], "data.root is needed for dataset 'vqa-rad'"),
        (["run", "vqa-rad", "--set", "data.root=nowhere"], "data.root='nowhere' is not a folder"),
        (["run", "phantom-dpo", "--until", "lunch"], "this recipe has no stage 'lunch'; it has data, curate, "),
        (["run", "phantom-dpo", "--donors", "nowhere"], "--donors nowhere is not a folder"),
        (["run", "phantom-dpo", "--set", "model.name=nowhere"], "nowhere"),
        (
            ["run", "phantom-dpo", "--name", "../../x"],
            "--name '../../x' is no name of a folder inside runs; give",
        ),
        (["run", "phantom-dpo", "--name", ""], "error: --name '' is no name of a folder"),
        (["run", "phantom-dpo", "--name", ".."], "error: --name '..' is no name of a folder"),
        (["run", "phantom-dpo", "--name", "/tmp/x"], "error: --name '/tmp/x' is no name of a folder"),
        (["run", "phantom-dpo", "--name", "a\x1b[2Jb"], "error: --name 'a\\x1b[2Jb' is no name of a folder"),
        (["run", "phantom-dpo", "--name", "a\\..\\b"], "is no name of a folder inside runs"),
        (["run", "phantom-dpo", "--set", "train.lora.rank=65536"], "train.lora.rank=65536: Input should be less than"),
        (
            ["run", "phantom-dpo", "--set", "train.lora.rank=513"],
            "than any layer of 'tiny' has (its widest: 512)",
        ),
        (["run", "phantom-dpo", "--name", "taken"], "taken is a file, not a folder"),
        (["status", "nowhere"], "nowhere is not a run folder"),
        (["train", "nowhere"], "nowhere is not a run folder"),
        (["evaluate", "."], "is not a run folder"),
        (["ground", "run", "nowhere"], "nowhere is not a run folder"),
        (["reproduce", "bad.yaml"], "error: table bad.yaml is not valid YAML"),
        (["reproduce", "no-such-table"], "error: unknown table 'no-such-table'; shipped: "),
    ],
    ids=lambda value: " ".join(value).strip() if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "taken").write_text("a file")
    (tmp_path / "bad.yaml").write_bytes(b"arms: [\xe8\xff")
    assert line in _refused(arguments, capsys)


def test_a_mistake_in_a_process_of_its_own_shows_no_traceback(tmp_path: Path) -> None:
    done = _process("-m", "mmedpo", "status", "nowhere", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: nowhere is not a run folder")
    assert done.stderr.count("\n") == 1


def test_an_unknown_option_is_exit_code_2_without_traceback(tmp_path: Path) -> None:
    done = _process("-m", "mmedpo", "run", "phantom-dpo", "--no-such-option", folder=tmp_path)
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_several_lines_is_printed_in_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise MMedPOError("first\n  second")

    monkeypatch.setattr("mmedpo.config.load_settings", failing)
    assert _refused(["run", "phantom-dpo"], capsys) == "error: first second\n"


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("our fault")

    monkeypatch.setattr("mmedpo.config.load_settings", failing)
    with pytest.raises(ZeroDivisionError, match="our fault"):
        main(["run", "phantom-dpo"])


def test_an_error_takes_the_place_of_an_unfinished_progress_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        main(["status", "nowhere"])
    assert capsys.readouterr().err.startswith("\r\x1b[2Kerror: nowhere is not a run folder")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    code = """
import os, signal, mmedpo.config
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
mmedpo.config.load_settings = lambda *_: os.kill(os.getpid(), signal.SIGINT)
from mmedpo.cli.main import main
main(["run", "phantom-dpo"])
"""
    done = _process("-c", code, folder=tmp_path)
    assert done.returncode in (130, -signal.SIGINT)
    assert done.stderr == "stopped; run the same command again to go on where it stopped\n"


# Looking at a run.


def _stage_of(run: Run, name: str, write: bool = True) -> Stage:
    """A stage of the real plan that writes a word instead of working."""
    from mmedpo.pipeline.plan import plan

    stage = next(stage for stage in plan(run.settings) if stage.name == name)

    def work(run: Run) -> None:
        if not write:
            raise KeyboardInterrupt
        for output in stage.writes:
            write_text(run.file(output), output)
        run.write_drops([Drop(stage=name, item="x", reason="y")])

    return replace(stage, work=work)


def test_status_tells_done_stopped_and_changed_stages_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs" / "r"
    with open_run(folder, load_settings("phantom-dpo")) as run:
        run.execute(_stage_of(run, "data"))
        run.execute(_stage_of(run, "curate"))
        with pytest.raises(KeyboardInterrupt):
            run.execute(_stage_of(run, "score", write=False))
    assert _status(folder, capsys) == {
        "data": "done",
        "curate": "done",
        "score": "started, not finished",
        **dict.fromkeys(("train", "predict-base", "predict-tuned", "evaluate", "report"), "not started"),
    }
    with open_run(folder, load_settings("phantom-dpo", ["curate.candidates=5"])):
        seen = _status(folder, capsys)
    assert seen["data"] == "done", "also while somebody else has the run"
    assert seen["curate"] == "out of date: settings or inputs changed"


def _status(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["status", str(folder)])
    assert caught.value.code == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {stage: re.sub(r"^done in [\d.]+ s$", "done", state) for stage, state in rows}


def test_looking_at_a_run_changes_nothing_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs" / "r"
    with open_run(folder, RunSettings()):
        pass
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    _status(folder, capsys)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_numpy_and_torch_read_is_set_before_they_are_there() -> None:
    code = "import sys, mmedpo.cli.main; assert not {'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_ever_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(SystemExit):
        main(["recipes"])
    assert os.environ["HF_HUB_OFFLINE"] == "1"
