"""RadEval behind a worker process: a real environment with a stand-in for the package, and every way it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.config import validate_settings
from mmedpo.errors import ConfigError, EvaluationError
from mmedpo.evaluate.radeval import environment
from mmedpo.evaluate.radeval.environment import MARKER, absent, opened, place, prepare
from mmedpo.evaluate.radeval.process import GIVE_UP, WORKER, Worker, WorkerFailed, score_pairs
from mmedpo.evaluate.radeval.stage import METRICS, external_metrics, radeval_stage, score_reports
from mmedpo.evaluate.stage import evaluate
from mmedpo.records import Example, ExternalScore, ImageRef, Prediction
from mmedpo.report.summary import summary_lines
from mmedpo.run import Run, open_run
from mmedpo.run.layout import EXAMPLES, predictions_of
from report.finished_run import page

STAND_IN = '''
import os, subprocess, sys, time

class RadEval:
    """Says, of each text, the number that it ends with; and does what its words say."""

    def __init__(self, metrics, show_progress=True):
        print("a library that prints while it loads")
        (self.metric,) = metrics
        self.per_sample = False
        if self.metric == "green":
            raise OSError("no such weights")
        if self.metric == "crimson":
            time.sleep(60)

    def __call__(self, refs, hyps):
        print("and while it scores")
        values = []
        for text in hyps:
            if "crash" in text:
                print("Segmentation fault", file=sys.stderr, flush=True)
                os._exit(9)
            if "hang" in text:
                # With a child that holds the pipe as well.
                subprocess.Popen(["sleep", "60"])
                time.sleep(60)
            if "raise" in text:
                raise ValueError("a report that cannot be read")
            if "environment" in text:
                raise ValueError(",".join(sorted(os.environ)))
            values.append(float(text.split()[-1]))
        if "short" in hyps[0]:
            values = values[1:]
        if "long" in hyps[0]:
            values *= 200_000
        key = {"radgraph": "radgraph_partial", "f1chexbert": "f1chexbert_all_micro_f1"}.get(self.metric, self.metric)
        return {key: values if self.per_sample else sum(values) / len(values)}
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment as `mmedpo metrics install` leaves it, without network: an interpreter and the stand-in."""
    folder = tmp_path_factory.mktemp("data") / "mmedpo" / "radeval"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "radeval.py").write_text(STAND_IN)
    (site / "radeval-2.2.1.dist-info").mkdir()
    (site / "radeval-2.2.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: radeval\nVersion: 2.2.1\n")
    (folder / MARKER).write_text(json.dumps({"radeval": "radeval==2.2.1", "metrics": sorted(METRICS)}))
    return folder


@pytest.fixture
def at_home(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(installed.parents[1]))
    assert place() == installed
    return installed


def scores(installed: Path, tmp_path: Path, texts: list[str], size: int = 2, timeout: float = 20) -> list[float | str]:
    start = partial(opened, installed, "ratescore", tmp_path / "log")
    return score_pairs(start, [("ref", t) for t in texts], "ratescore", each=True, size=size, timeout=timeout)


def test_values_come_back_in_order_whatever_the_libraries_print(installed: Path, tmp_path: Path) -> None:
    assert scores(installed, tmp_path, ["a 0.1", "b 0.2", "line\nbreak ü\udcff 0.3", "d -0.4", "e 0.5"]) == [
        0.1, 0.2, 0.3, -0.4, 0.5,
    ]  # fmt: skip


def test_what_fails_costs_its_own_batch(installed: Path, tmp_path: Path) -> None:
    """Batches of two: one crashes, one raises, one has a value too few; NaN and infinity are none."""
    texts = ["0.1", "0.2", "crash 0.3", "0.4", "0.5", "0.6", "raise 0.7", "0.8", "0.9", "1.0"]
    texts += ["short 0.1", "0.2", "0.3", "nan", "inf", "0.5"]
    crashed = "the process ended with code 9: Segmentation fault"
    raised = "ValueError: a report that cannot be read"
    assert scores(installed, tmp_path, texts) == [
        0.1, 0.2, crashed, crashed, 0.5, 0.6, raised, raised, 0.9, 1.0, "1 values for 2", "1 values for 2",
        0.3, "not a finite number", "not a finite number", 0.5,
    ]  # fmt: skip


def test_a_process_that_hangs_is_ended(installed: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    found = scores(installed, tmp_path, ["hang 0.1", "0.2"], size=1, timeout=1.5)
    assert found == ["no reply within 1.5 s", 0.2]
    assert time.monotonic() - began < 30


def test_after_some_failures_in_a_row_the_rest_is_not_asked(installed: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def start() -> Worker:
        asked.append(1)
        return opened(installed, "ratescore", tmp_path / "log")

    pairs = [("ref", "crash 1")] * 10
    found = score_pairs(start, pairs, "ratescore", each=True, size=1, timeout=20)
    assert found == ["the process ended with code 9: Segmentation fault"] * 10
    assert len(asked) == GIVE_UP


def test_a_metric_that_cannot_be_loaded_is_tried_once(installed: Path, tmp_path: Path) -> None:
    starts = {name: partial(opened, installed, name, tmp_path / "log", loading=1.0) for name in ("green", "crimson")}
    found = {
        name: score_pairs(start, [("r", "1")] * 4, name, each=True, size=1, timeout=20)
        for name, start in starts.items()
    }
    assert found["green"] == ["not loaded: OSError: no such weights"] * 4
    assert found["crimson"] == ["not loaded: no reply within 1 s"] * 4


def test_a_reply_without_end_is_not_held(installed: Path, tmp_path: Path) -> None:
    (reason,) = scores(installed, tmp_path, ["long 0.123456789"])
    assert str(reason).startswith("a reply of more than")


def test_the_worker_sees_no_keys(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    worker = opened(installed, "ratescore", tmp_path / "log")
    try:
        with pytest.raises(WorkerFailed, match="HF_HOME,HF_HUB_OFFLINE") as told:
            worker.values(["r"], ["environment"], "ratescore", each=True, timeout=20)
    finally:
        worker.close()
    assert "KEY" not in str(told.value)
    assert "PYTHONPATH" not in str(told.value)


def test_the_worker_imports_nothing_of_ours() -> None:
    names = [line for line in WORKER.read_text().splitlines() if line.startswith(("import ", "from "))]
    assert names
    assert not [line for line in names if "mmedpo" in line or "torch" in line]


def reported(path: Path, base: list[str], tuned: list[str], metrics: list[str]) -> Run:
    """A run folder with reports of both models."""
    evaluation = {
        "splits": ["test"],
        "bootstrap_samples": 200,
        "radeval": {"metrics": metrics, "batch_size": 4} if metrics else {},
        "probes": {"attention": None, "lesion-reliance": None},
    }
    with open_run(path, validate_settings({"evaluate": evaluation}, "test")) as run:
        examples = [
            Example(
                example_id=f"q{number}",
                dataset="phantom",
                split="test",
                image=ImageRef(path=f"{number}.png", sha256=f"{number:064}", width=8, height=8),
                question="Write a report.",
                answer="no pneumothorax",
                answer_type="report",
            )
            for number in range(len(base))
        ]
        run.write(EXAMPLES, Example, examples)
        for model, texts in (("base", base), ("tuned", tuned)):
            rows = [
                Prediction(example_id=e.example_id, model=model, text=t) for e, t in zip(examples, texts, strict=True)
            ]
            run.write(predictions_of(model), Prediction, rows)
        run.stage = radeval_stage(run.settings)
        score_reports(run)
        run.stage = None
        return run


def test_values_differences_and_what_is_missing_stand_in_the_report(at_home: Path, tmp_path: Path) -> None:
    """Eight reports at 0.2 and 0.5; of q7 the tuned one has no value, so neither counts."""
    base, tuned = ["text 0.2"] * 7 + ["text 0.9"], ["text 0.5"] * 7 + ["text nan"]
    run = reported(tmp_path / "r", base, tuned, ["radgraph", "f1chexbert", "green"])
    evaluation = evaluate(run)
    radgraph, chexbert, green = evaluation.external
    assert (radgraph.metric, radgraph.reports, radgraph.left_out) == ("RadGraph-F1", 7, 1)
    assert radgraph.means == {"base": pytest.approx(0.2), "tuned": pytest.approx(0.5)}
    (difference,) = radgraph.differences
    assert (difference.difference, difference.questions) == (pytest.approx(0.3), 7)
    assert radgraph.reasons == ("not a finite number",)
    # One value for all reports: NaN among them leaves none for the tuned model, and so nothing to compare.
    assert (chexbert.means, chexbert.reasons) == ({}, ("not a finite number",))
    assert (green.means, green.reasons) == ({}, ("not loaded: OSError: no such weights",))
    told = summary_lines(evaluation)
    assert "RadGraph-F1: base 20.0, tuned 50.0" in told
    assert "GREEN: not computed: not loaded: OSError: no such weights" in told
    assert max(map(len, told)) <= 80
    words = page(run)
    assert "RadGraph-F1 7 20.0 50.0 +30.0 (+30.0 to +30.0)" in words
    assert "CheXbert-F1 not computed : not a finite number" in words
    assert "GREEN not computed : not loaded: OSError: no such weights" in words


def test_a_value_of_all_reports_together_has_no_interval(at_home: Path, tmp_path: Path) -> None:
    run = reported(tmp_path / "r", ["a 0.2", "a 0.4"], ["a 0.5", "a 0.9"], ["f1chexbert"])
    (chexbert,) = evaluate(run).external
    assert chexbert.means == {"base": pytest.approx(0.3), "tuned": pytest.approx(0.7)}
    assert (chexbert.differences, chexbert.reports) == ((), None)
    assert "CheXbert-F1 all 30.0 70.0" in page(run)


def test_absent_it_is_not_computed_and_never_a_zero(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    run = reported(tmp_path / "r", ["a 0.2", "a 0.4"], ["a 0.5", "a 0.9"], ["radgraph"])
    stage = run.fingerprint(radeval_stage(run.settings))
    (found,) = evaluate(run).external
    assert (found.means, found.differences) == ({}, ())
    assert found.reasons == ("RadEval is not installed: mmedpo metrics install radeval",)
    words = page(run)
    assert "RadGraph-F1 not computed : RadEval is not installed: mmedpo metrics install radeval" in words
    # Once it is installed the stage runs again.
    monkeypatch.setenv("XDG_DATA_HOME", str(installed.parents[1]))
    assert run.fingerprint(radeval_stage(run.settings)) != stage


def test_reports_without_the_setting_say_what_was_not_computed(tmp_path: Path) -> None:
    run = reported(tmp_path / "r", ["a", "b"], ["c", "d"], [])
    assert evaluate(run).external == ()
    assert "RadGraph-F1, CheXbert-F1, RaTEScore, GREEN and CRIMSON of reports: not computed" in page(run)


def test_a_metric_whose_weights_were_not_fetched_says_so(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"radeval": "radeval==2.2.1", "metrics": ["ratescore"]}))
    assert absent(tmp_path, "ratescore") == ""
    assert absent(tmp_path, "green").endswith("mmedpo metrics install radeval --metric green")


def test_pairs_hold_the_reports_that_every_model_has_a_value_for() -> None:
    values = {"base": [0.1, 0.2, None], "tuned": [0.3, None, 0.9]}
    rows = [
        ExternalScore(example_id=f"q{n}", metric="green", model=m, value=v, unscored="" if v is not None else "why")
        for m, own in values.items()
        for n, v in enumerate(own)
    ]
    (found,) = external_metrics(rows, ("base", "tuned"), "test", {f"q{n}": str(n) for n in range(3)}, 200)
    assert (found.reports, found.left_out, found.means) == (1, 2, {"base": 0.1, "tuned": 0.3})
    assert found.differences == ()  # on one image


def test_the_command_tells_what_it_would_do_and_does_it_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["metrics", "install", "radeval", "--metric", "radgraph", "--dry-run"])
    assert done.exit_code == 0
    told = " ".join(done.output.split())
    assert f"-m venv --clear {place() / 'venv'}" in told
    assert "pip install --disable-pip-version-check radeval==2.2.1" in told
    assert "about 9 GB of disk" in told
    assert not place().exists()
    with pytest.raises(ConfigError, match="'radgraf' is not known here; did you mean 'radgraph'"):
        prepare(place(), ["radgraf"], print)


def test_what_fails_on_the_way_leaves_nothing_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "radeval"
    failing = [[sys.executable, "-c", "import sys; sys.exit('no matching distribution')"]]
    monkeypatch.setattr(environment, "commands", lambda folder, requirement: failing)
    folder.mkdir()
    (folder / MARKER).write_text("{}")
    with pytest.raises(EvaluationError, match="ended with code 1: no matching distribution"):
        prepare(folder, ["radgraph"], lambda text: None)
    assert not (folder / MARKER).exists()


def test_too_little_disk_is_said_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES_GB", 10**9)
    with pytest.raises(EvaluationError, match="takes about 1000000001 GB"):
        prepare(tmp_path / "radeval", ["radgraph"], lambda text: None)
    assert not list((tmp_path / "radeval").iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metrics": ["bleu"]}, "evaluate.radeval.metrics"),
        ({"batch_size": 4}, "evaluate.radeval.metrics is empty"),
        ({"metrics": ["green"], "timeout": 0}, "evaluate.radeval.timeout"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate_settings({"evaluate": {"radeval": given}}, "test")


@pytest.mark.long
def test_the_environment_is_made_by_pip_from_a_package(tmp_path: Path) -> None:
    """The whole preparation with a wheel made here, without network."""
    import zipfile

    wheel = tmp_path / "radeval-2.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("radeval.py", STAND_IN)
        file.writestr("radeval-2.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: radeval\nVersion: 2.2.1\n")
        file.writestr("radeval-2.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("radeval-2.2.1.dist-info/RECORD", "")
    told: list[str] = []
    prepare(tmp_path / "radeval", ["ratescore"], told.append, str(wheel))
    assert told[-1].startswith("prepared in")
    assert absent(tmp_path / "radeval", "ratescore") == ""
    assert scores(tmp_path / "radeval", tmp_path, ["a 0.5"]) == [0.5]
    with pytest.raises(EvaluationError, match="metric green: not loaded: OSError: no such weights"):
        prepare(tmp_path / "radeval", ["green"], told.append, str(wheel))
    assert absent(tmp_path / "radeval", "green") != ""
