"""The executor seam: records in order, finished chunks never done again, workers made only where there is work."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.config import RunSettings, load_settings
from mmedpo.curate.sample import sampler
from mmedpo.curate.stage import judging
from mmedpo.evaluate.predictions import predictor
from mmedpo.pipeline.plan import plan
from mmedpo.records import Drop
from mmedpo.run import ItemWork, Run, Stage, open_run
from mmedpo.run.executors import ChunkJob
from mmedpo.run.executors.local import LocalExecutor
from mmedpo.score.stage import debating

MADE: list[str] = []


def worker(fail_at: int) -> Callable[[Sequence[int]], list[Drop]]:
    MADE.append("made")

    def work(items: Sequence[int]) -> list[Drop]:
        if fail_at in items:
            raise RuntimeError("broken")
        return [Drop(stage="s", item=str(item), reason="r") for item in items]

    return work


@asynccontextmanager
async def waiting(fail_at: int, open_item: int = -1) -> AsyncIterator[ItemWork[int, Drop]]:
    MADE.append("opened")

    async def one(item: int) -> Drop | None:
        if item == fail_at:
            raise RuntimeError("broken")
        return None if item == open_item else Drop(stage="s", item=str(item), reason="r")

    yield ItemWork(one, in_flight=3)
    MADE.append("closed")


def items_of(run: Run, stage_work: Callable[[Run], list[Drop]]) -> list[str]:
    found: list[Drop] = []
    run.execute(Stage("s", lambda run: found.extend(stage_work(run)), {}))
    return [drop.item for drop in found]


@settings(max_examples=30)
@given(count=st.integers(0, 25), size=st.integers(1, 9))
def test_every_item_once_and_in_order(tmp_path_factory: pytest.TempPathFactory, count: int, size: int) -> None:
    with open_run(tmp_path_factory.mktemp("x") / "r", RunSettings()) as run:
        wanted = [str(n) for n in range(count)]
        assert items_of(run, lambda run: run.map("m", range(count), size, partial(worker, -1), Drop)) == wanted
        run.manifest.stages.clear()
        assert items_of(run, lambda run: run.stream("w", range(count), size, partial(waiting, -1), Drop)) == wanted


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_a_resumed_stage_does_what_is_left_and_makes_no_worker_where_nothing_is(tmp_path: Path, kind: str) -> None:
    def work(run: Run, fail_at: int) -> list[Drop]:
        if kind == "map":
            return run.map("m", range(10), 3, partial(worker, fail_at), Drop)
        return run.stream("m", range(10), 3, partial(waiting, fail_at), Drop)

    with open_run(tmp_path / "r", RunSettings()) as run:
        with pytest.raises(RuntimeError):
            items_of(run, lambda run: work(run, 7))
        done = sorted(path.name for path in (run.path / ".work/s").glob("m-*"))
        assert done == ["m-by-3-00000000.parquet", "m-by-3-00000003.parquet"]
        # Items 0 to 5 would break now; they are not touched again.
        assert items_of(run, lambda run: work(run, 2)) == [str(n) for n in range(10)]
        MADE.clear()
        run.manifest.stages.clear()

        def twice(run: Run) -> list[Drop]:
            work(run, -1)
            MADE.clear()
            return work(run, 0)

        assert len(items_of(run, twice)) == 10
        assert MADE == []


def test_an_item_left_open_keeps_its_chunk_open(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", RunSettings()) as run:
        found = items_of(run, lambda run: run.stream("m", range(6), 2, partial(waiting, -1, 3), Drop))
        assert found == ["0", "1", "2", "4", "5"]


def test_workers_can_be_made_elsewhere(tmp_path: Path) -> None:
    """What makes a worker survives pickling, without the terminal and without the lock of this process."""
    with open_run(tmp_path / "r", RunSettings()) as run:
        factories = [
            partial(sampler, run),
            partial(predictor, run, "base"),
            partial(debating, run),
            partial(judging, run, [], {}),
        ]
        for factory in factories:
            again = pickle.loads(pickle.dumps(factory))  # noqa: S301
            assert again.args[0].path == run.path
            assert again.args[0].settings == run.settings


def test_a_run_can_be_sent_to_a_worker_in_whatever_stage(tmp_path: Path) -> None:
    settings = load_settings("phantom-mmedpo")
    with open_run(tmp_path / "r", settings) as run:
        for run.stage in plan(settings):
            sent = pickle.loads(pickle.dumps(run))  # noqa: S301
            assert (sent.current, sent.work_folder, sent.model) == (run.current, run.work_folder, run.model)


def test_another_executor_gets_every_job(tmp_path: Path) -> None:
    class Counting(LocalExecutor):
        seen: list[str] = []  # noqa: RUF012

        def map(self, run, job: ChunkJob, items):
            self.seen.append(job.label)
            return super().map(run, job, items)

    with open_run(tmp_path / "r", RunSettings()) as run:
        run.executor = Counting()
        items_of(run, lambda run: run.map("m", range(4), 2, partial(worker, -1), Drop))
    assert Counting.seen == ["m"]
