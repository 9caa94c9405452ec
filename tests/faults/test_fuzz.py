"""Importers, DICOM, run folders, configurations and replies of models, mutated for as long as one likes.

    MMEDPO_FUZZ_MINUTES=60 python -m pytest -m long tests/faults/test_fuzz.py -s

Whatever comes in, what comes out is a result or one short line of ours, soon, and nothing is written outside the
folder. Ends with the number of examples of each kind; MMEDPO_FUZZ_SEED draws others.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from chat.lines import endpoint, request
from data import test_fuzz as tables
from data.layouts import write_image
from faults.tiny_run import RECIPE
from imaging import test_fuzz as pictures
from imaging.garbled import garbled
from mmedpo.chat.model import CallFailed
from mmedpo.chat.structured import is_refusal, parse_form
from mmedpo.chat.wire import error_code, parse_completion, retry_after
from mmedpo.config import dump_settings, load_settings, validate_settings
from mmedpo.curate.judges.chat import Choice
from mmedpo.errors import MMedPOError
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.recipes import read_recipe, shipped_recipes
from mmedpo.report.summary import print_summary
from mmedpo.run import open_run, read_run
from mmedpo.run.disk import refused
from mmedpo.score.agents.chat import FirstScore, Response
from preferences import test_fuzz as rows
from preferences.test_formats import TARGETS

MINUTES = float(os.environ.get("MMEDPO_FUZZ_MINUTES", "10"))
SEED = int(os.environ.get("MMEDPO_FUZZ_SEED", "0"))
EXAMPLES = 40
"""Of one kind before the next one has its turn."""
SLOWEST = 60.0
"""Seconds an example may compute; a busy machine may take twenty times as long, one that hangs takes longer."""
LONGEST = 1000
"""Characters of a message."""


class _Nest:
    """An empty folder two levels deep, beside which nothing may appear."""

    def __init__(self, base: Path) -> None:
        self.base, self.inner = base / "nest", base / "nest" / "outer" / "inner"

    def fresh(self) -> Path:
        shutil.rmtree(self.base, ignore_errors=True)
        self.inner.mkdir(parents=True)
        return self.inner

    def check(self) -> None:
        around = {path.relative_to(self.base).parts[:2] for path in self.base.rglob("*")}
        assert around <= {("outer",), ("outer", "inner")}, f"written outside: {around}"


def _one_line(error: Exception) -> None:
    text = str(error)
    assert "\n" not in text, text
    assert len(text) < LONGEST, f"{len(text)} characters: {text[:300]}"


def preference_files(data: st.DataObject, folder: Path) -> None:
    mutated, lines = data.draw(rows._mutated_rows()), data.draw(st.booleans())
    path = folder / ("p.jsonl" if lines else "p.json")
    text = "\n".join(json.dumps(row) for row in mutated) if lines else json.dumps(mutated)
    path.write_bytes(rows._damaged(text.encode(), data) if data.draw(st.booleans()) else text.encode())
    rows._survives(path, folder, data.draw(st.sampled_from(["", *TARGETS])))


def datasets(data: st.DataObject, folder: Path) -> None:
    _, name, mutated = data.draw(tables._mutated())
    layout = data.draw(st.sampled_from(["list", "lines", "wrapped", "utf-16"]))
    for image in ("a.png", "images/a.png"):
        write_image(folder / image, 1)
    for file in tables._FILES.get(name, ("q.jsonl" if layout == "lines" else "q.json",)):
        content = tables._spelled(mutated, layout)
        (folder / file).write_bytes(pictures._damaged(content, data) if data.draw(st.booleans()) else content)
    tables._survives(name, folder)


def dicom_files(data: st.DataObject, folder: Path) -> None:
    good = pictures.GOOD["a.dcm"]
    if data.draw(st.booleans()):
        pictures._survives(folder, "a.dcm", pictures._damaged(good, data))
        return
    try:
        content = garbled(good, random.Random(data.draw(st.integers(0, 2**32))))
    except Exception:
        return  # what pydicom itself does not write is no file that anybody has
    pictures._survives(folder, "a.dcm", content)


def configurations(data: st.DataObject, folder: Path) -> None:
    raw = read_recipe(data.draw(st.sampled_from(shipped_recipes())))
    for _ in range(data.draw(st.integers(1, 3))):
        raw = rows._mutate(data.draw, raw)
    kind = data.draw(st.integers(0, 2))
    try:
        if kind == 0 and isinstance(raw, dict):
            made = validate_settings(raw, "fuzz")
            dump_settings(made)
            plan(made)
        elif kind == 1:
            text = yaml.safe_dump(raw, allow_unicode=True).encode("utf-8", "surrogatepass")
            (folder / "r.yaml").write_bytes(pictures._damaged(text, data))
            dump_settings(load_settings(str(folder / "r.yaml")))
        else:
            where = data.draw(
                st.sampled_from(["seed", "train.lora", "score.mu", "chat.endpoints.m", "data.root", "a.b"])
            )
            dump_settings(
                load_settings("phantom-mmedpo", [f"{where}={data.draw(st.text(string.printable, max_size=30))}"])
            )
    except MMedPOError as error:
        _one_line(error)


def replies(data: st.DataObject, folder: Path) -> None:
    said = data.draw(st.sampled_from([
        '{"reason": "x", "score": 5}', "<think>no", "<think>a</think>{}", '```json\n{"score": 1}\n```',
        "<|channel|>final",
        '{"choice": 1, "answer": "a", "reason": "b"}', "\ud800", "[" * 500,
    ]))  # fmt: skip
    good: Any = {
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    for _ in range(data.draw(st.integers(0, 3))):
        good = rows._mutate(data.draw, good)
    content = json.dumps(good).encode("utf-8", "surrogatepass")
    content = pictures._damaged(content, data) if data.draw(st.booleans()) else content
    for structured in ("json_schema", "none"):
        try:
            reply = parse_completion(content, endpoint("http://127.0.0.1:1/v1", structured=structured), request())
        except CallFailed as error:
            _one_line(error)
            continue
        is_refusal(reply.text)
        for form in (FirstScore, Response, Choice):
            try:
                parse_form(reply.text, form)
            except ValueError as error:
                assert len(str(error)) < 4000  # noqa: PT017
    error_code(content, request())
    retry_after({"Retry-After": data.draw(st.text(max_size=30))})


def run_folders(data: st.DataObject, folder: Path, finished: Path) -> None:
    run = folder / "r"
    shutil.copytree(finished, run)
    files = sorted(
        p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file() and p.stat().st_size < 1_000_000
    )
    for name in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=2, unique=True)):
        _spoil(run / name, data)
    try:
        found = read_run(run)
        for stage in plan(found.settings):
            found.is_done(stage)
        with open_run(run) as opened:
            print_summary(opened)
            run_stages(opened, only=data.draw(st.sampled_from(["report", "evaluate"])))
    except MMedPOError as error:
        _one_line(error)
    except OSError as error:
        assert refused(error), error  # noqa: PT017


def _spoil(file: Path, data: st.DataObject) -> None:
    """Damages a file, or changes what it says."""
    kind = data.draw(st.integers(0, 4))
    if kind == 0:
        file.unlink()
    elif kind == 1 and file.suffix in (".json", ".yaml"):
        value = yaml.safe_load(file.read_text())
        changed = rows._mutate(data.draw, value)
        text = json.dumps(changed) if file.suffix == ".json" else yaml.safe_dump(changed, allow_unicode=True)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    elif kind == 2 and file.suffix == ".parquet":
        table = pq.read_table(file)
        values = table.to_pylist()
        if values:
            changed = rows._mutate(data.draw, values[0])
            try:
                pq.write_table(pa.Table.from_pylist([changed, *values[1:]], schema=table.schema), file)
            except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError, KeyError):
                file.write_bytes(b"PAR1")
    else:
        file.write_bytes(pictures._damaged(file.read_bytes(), data))


def _fuzzed(target: Callable[..., None], nest: _Nest, counted: Counter[str], *more: Any) -> Callable[[int], None]:
    def example(data: st.DataObject) -> None:
        folder = nest.fresh()
        begun, computed = time.monotonic(), time.process_time()
        target(data, folder, *more)
        nest.check()
        counted[target.__name__] += 1
        assert time.process_time() - computed < SLOWEST
        assert time.monotonic() - begun < 20 * SLOWEST

    def round_of(number: int) -> None:
        quiet = settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink], print_blob=True, report_multiple_bugs=False,
        )  # fmt: skip
        seed(number)(quiet(given(st.data())(example)))()

    return round_of


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore")
def test_whatever_comes_in_ends_in_a_result_or_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run(tmp_path / "finished", validate_settings(RECIPE, "fuzz")) as run:
        run_stages(run)
    counted: Counter[str] = Counter()
    nest = _Nest(tmp_path)
    rounds = [_fuzzed(t, nest, counted) for t in (preference_files, datasets, dicom_files, configurations, replies)]
    rounds.append(_fuzzed(run_folders, nest, counted, tmp_path / "finished"))
    ends, number = time.monotonic() + 60 * MINUTES, SEED * 1_000_000
    failures: list[str] = []
    while time.monotonic() < ends:
        for one in rounds:
            number += 1
            try:
                one(number)
            except Exception as error:
                told = "".join(traceback.format_exception(error))
                failures.append(f"round {number}: {told[-3000:]}")
                _tell(capsys, failures[-1])
    _tell(capsys, f"{sum(counted.values()):,} examples in {MINUTES:g} minutes: {dict(counted)}")
    assert failures == []


def _tell(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stderr.write(f"\n{text}\n")
