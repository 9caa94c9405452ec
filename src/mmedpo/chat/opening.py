"""Opening the language models of one stage: guard first, then key, cache, budget and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mmedpo.chat.balance import Balanced
from mmedpo.chat.batch import BatchResults, BatchWriter, read_results
from mmedpo.chat.budget import Budget
from mmedpo.chat.cache import CallCache
from mmedpo.chat.egress import check_egress, is_local
from mmedpo.chat.estimate import Estimate, describe
from mmedpo.chat.kind import check_kind, kind_of, sends
from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatModel, ChatReply, ChatRequest, Deferred
from mmedpo.config import EndpointSettings
from mmedpo.errors import Paused, listed
from mmedpo.records import Record
from mmedpo.run import ItemWork, Run
from mmedpo.run.layout import CALLS

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R", bound=Record)

FIRST_WORD, BETWEEN = 3.0, 10.0
"""Seconds after which something is said of calls, at first and from then on, while no item is finished."""

Work = Callable[[T], Coroutine[Any, Any, V]]


@dataclass
class Chat:
    """The models of one stage, open."""

    run: Run
    lines: dict[str, Line]
    """By endpoint name."""
    budget: Budget | None = None
    """None where there is no line."""
    writers: Sequence[BatchWriter] = ()
    """Where requests are written instead of sent."""
    waiting: int = 0
    """Items whose next call was written to a batch file."""
    finished: int = 0
    """Items worked on to their end."""

    def check_estimate(self, estimates: Sequence[Estimate]) -> None:
        """Tells what the work needs at least and at most, and refuses what the limits do not allow.

        Raises:
            BudgetError: the least is more than what is left.
            Paused: only the estimate was asked for.
        """
        for line in describe(estimates):
            self.run.message(line)
        if self.run.calls.estimate_only:
            raise Paused("this was an estimate; nothing was sent")
        if self.budget is not None and self.run.calls.batch_out is None:
            self.budget.check(sum(e.least_calls for e in estimates), sum(e.least_usd for e in estimates))

    @contextmanager
    def cache_only(self) -> Iterator[None]:
        """While it is entered nothing is sent: a call that is not in the cache is `Deferred`."""
        for line in self.lines.values():
            line.sends = False
        try:
            yield
        finally:
            for line in self.lines.values():
                line.sends = True

    @property
    def in_flight(self) -> int:
        """Items worth working on at the same time."""
        return max(1, sum(line.settings.concurrency for line in self.lines.values()))

    def until_deferred(self, work: Work[T, R]) -> Work[T, R | None]:
        """The work, giving None for an item whose next call was written to a batch file."""

        async def tried(item: T) -> R | None:
            try:
                result = await work(item)
            except Deferred:
                self.waiting += 1
                return None
            self.finished += 1
            return result

        return tried

    async def tell_calls(self) -> None:
        """Says, for ever, how the calls go while no item is finished: the first item of a slow model takes minutes."""
        seen, pause = 0, FIRST_WORD
        while True:
            await asyncio.sleep(pause)
            if self.finished == seen and (told := self._under_way()):
                self.run.message(told)
            seen, pause = self.finished, BETWEEN

    def _under_way(self) -> str:
        parts = []
        for name, line in self.lines.items():
            if line.under_way:
                doing = getattr(line.model, "doing", "")
                answered = f"{name}: {line.sent['answered']} calls answered, {line.under_way} under way"
                parts.append(answered + (f" ({doing})" if doing else ""))
        return "; ".join(parts)

    @asynccontextmanager
    async def items(self, work: Work[T, R]) -> AsyncIterator[ItemWork[T, R]]:
        """The work for an executor; in the end it tells what was done, or what was written instead of sent.

        Raises:
            Paused: requests were written to batch files.
        """
        telling = asyncio.ensure_future(self.tell_calls())
        try:
            yield ItemWork(self.until_deferred(work), self.in_flight)
        finally:
            telling.cancel()
        self.check_complete()
        if self.lines:
            self.run.message(self.summary())

    def check_complete(self) -> None:
        """Ends a stage whose calls were written instead of sent.

        Raises:
            Paused: there are any; the message says what to do with the files.
        """
        if not self.waiting:
            return
        for writer in self.writers:
            writer.complete_set = True
        written = sum(len(writer.written) for writer in self.writers)
        files = ", ".join(str(path) for writer in self.writers for path in writer.files)
        raise Paused(
            f"{written} requests for {self.waiting} items written to {files}; have them answered, then run the same "
            "command with --batch-in RESULTS (and --batch-out NEW_FOLDER for what they leave open)"
        )

    def summary(self) -> str:
        """What this process did, in words."""
        parts = []
        for name, line in self.lines.items():
            failed = sum(number for what, number in line.sent.items() if what not in ("answered", "cached"))
            tried = f", {failed} failed attempts" if failed else ""
            parts.append(f"{name}: {line.sent['answered']} calls, {line.sent['cached']} from the cache{tried}")
        spent = self.budget.usd if self.budget is not None else 0.0
        money = f"; ${spent:.4f} spent by this run" if spent else ""
        return "; ".join(parts) + money


class _Unsent:
    """The model of an estimate: needs no key, and answers nothing."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        raise Paused("this was an estimate; nothing was sent")

    async def close(self) -> None:
        pass


@asynccontextmanager
async def open_chat(
    run: Run,
    endpoints: Sequence[str],
    *,
    sends: bool = True,
    instead: Mapping[str, EndpointSettings] | None = None,
) -> AsyncIterator[Chat]:
    """Opens the models a stage speaks to.

    Args:
        run: the run; it knows how its data may be used.
        endpoints: names in `chat.endpoints`.
        sends: False: what the cache does not hold stays unanswered; for estimates.
        instead: settings by endpoint that take the place of the recipe's.

    Raises:
        ConfigError: an endpoint's settings do not fit its kind.
        EgressError: restricted data would leave the building; nothing was opened, no key was read.
        ChatError: a key is missing.
    """
    if not endpoints:
        yield Chat(run, {})
        return
    settings = run.settings.chat
    known = {**settings.endpoints, **(instead or {})}
    for name in endpoints:
        check_kind(name, settings.endpoints[name])
    rules = {name: _rule(run, name, known[name]) for name in endpoints}
    results = dict(read_results(run.calls.batch_in)) if run.calls.batch_in is not None else None
    writers: list[BatchWriter] = []
    sends = sends and not run.calls.estimate_only
    models: dict[str, ChatModel] = {}
    for name in endpoints:
        endpoint = known[name]
        models[name] = _model(run, name, endpoint, results, writers) if sends else _Unsent()
    cache = CallCache(cache_path(run), run.path.name)
    try:
        if sends:
            for name in endpoints:
                for host in dict.fromkeys(one.host for one in known[name].alone):
                    cache.record_egress(name, host, *rules[name])
        budget = Budget(settings, cache.spent())
        lines = {name: Line(name, known[name], models[name], cache, budget, run.message) for name in endpoints}
        yield Chat(run, lines, budget, writers)
    finally:
        for model in models.values():
            await model.close()
        cache.close()


def check_endpoints(run: Run, endpoints: Sequence[str]) -> None:
    """Guard and keys alone, before a stage that would need them works for an hour.

    Raises:
        ConfigError: an endpoint's settings do not fit its kind.
        EgressError: restricted data would leave the building.
        ChatError: a key is missing.
    """
    for name in endpoints:
        settings = run.settings.chat.endpoints[name]
        check_kind(name, settings)
        _rule(run, name, settings)
        ready = getattr(kind_of(settings), "ready", None)
        if ready is not None and run.calls.batch_out is None and not run.calls.estimate_only:
            ready(name, settings)


def cache_path(run: Run) -> Path:
    """The file of a run's answers; it need not exist."""
    return run.settings.chat.cache or run.path / CALLS


def _rule(run: Run, name: str, settings: EndpointSettings) -> tuple[str, str, str]:
    dataset, use = run.settings.data.dataset, "restricted" if run.restricted else "open"
    rule = check_egress(name, settings, run.settings.chat.trusted_hosts, dataset, use, run.calls.allow_external)
    if rule == "allowed-external":
        hosts = listed(list(dict.fromkeys(one.host for one in settings.alone)))
        run.message(f"restricted dataset {dataset!r} goes to {hosts}, allowed by --allow-external {dataset}")
    return dataset, use, rule


def _model(
    run: Run, name: str, settings: EndpointSettings, results: dict[str, Any] | None, writers: list[BatchWriter]
) -> ChatModel:
    kind = kind_of(settings)
    if run.calls.batch_out is not None and getattr(kind, "batches", False):
        writers.append(BatchWriter(name, settings, run.calls.batch_out))
        model: ChatModel = writers[-1]
    else:
        direct = is_local(settings, run.settings.chat.trusted_hosts)
        servers = settings.alone if sends(settings) else (settings,)
        every = [(one.base_url, kind(name, one, direct)) for one in servers]
        for _, one in every:
            if (listen := getattr(one, "listen", None)) is not None:
                listen(run.message)
        model = every[0][1] if len(every) == 1 else Balanced(name, every, run.message)
    return model if results is None else BatchResults(settings, results, model)
