"""How close judges and agents come to what a server allows, and whether memory grows with the examples.

    python -m bench.chat_throughput            # writes bench/CHAT.md

A scriptable server in a process of its own answers after 50 ms; 64 calls may be in flight, so the ideal
rate is 64 / 0.05 = 1,280 calls per second. Everything a real run pays is paid: prompts, fences, keys,
the SQLite cache on disk, pacing, budget, HTTP, parsing, the debate. Each row is a fresh process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mmedpo
from mmedpo.chat.budget import Budget
from mmedpo.chat.cache import CallCache
from mmedpo.chat.kinds.openai_endpoint import OpenAIEndpoint
from mmedpo.chat.line import Line
from mmedpo.config import ChatSettings, EndpointSettings
from mmedpo.run.executors.local import in_order
from mmedpo.score.agents.chat import ChatAgent
from mmedpo.score.debate import Case, hold_debate

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "bench" / "CHAT.md"
LATENCY = 0.05
IN_FLIGHT = 64
SIZES = {"one agent": (2_000, 10_000, 40_000), "three agents": (1_000, 4_000)}
WARM = 256
"""Examples before the clock starts: connections are opened, modules loaded."""


@contextmanager
def server() -> Iterator[str]:
    """The test server in its own process; gives its URL."""
    command = [
        sys.executable,
        "tests/chat/chat_server.py",
        "--latency",
        str(LATENCY),
        "--script",
        "score.panel:panellist",
    ]
    environment = {**os.environ, "PYTHONPATH": f"src{os.pathsep}tests"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def cases(start: int, number: int) -> Iterator[Case]:
    """Debates to hold, made one by one: nothing keeps them."""
    for index in range(start, start + number):
        yield Case(f"e{index}/text", f"What is seen in image {index}?", "a nodule in the left lung", f"normal, {index}")


async def measure(url: str, agents: int, number: int, folder: Path) -> dict[str, float]:
    """Holds `number` debates and tells rate, processor time and memory."""
    shares = [IN_FLIGHT // agents + (index < IN_FLIGHT % agents) for index in range(agents)]
    cache = CallCache(folder / "calls.sqlite", "bench")
    chosen = [
        EndpointSettings(model=f"agent-{index}", base_url=url, concurrency=share) for index, share in enumerate(shares)
    ]
    budget = Budget(ChatSettings(endpoints={f"a{i}": item for i, item in enumerate(chosen)}), cache.spent())
    models = [OpenAIEndpoint(f"a{i}", item, direct=True) for i, item in enumerate(chosen)]
    lines = [
        Line(f"a{i}", item, model, cache, budget) for i, (item, model) in enumerate(zip(chosen, models, strict=True))
    ]
    panel = [ChatAgent(line) for line in lines]

    async def hold(start: int, count: int) -> None:
        async for outcome in in_order(cases(start, count), lambda case: hold_debate(panel, case), IN_FLIGHT):
            assert outcome.score is not None

    await hold(0, WARM)
    answered = sum(line.sent["answered"] for line in lines)
    memory, processor, started = peak_mib(), time.process_time(), time.perf_counter()
    await hold(WARM, number)
    seconds = time.perf_counter() - started
    calls = sum(line.sent["answered"] for line in lines) - answered
    for model in models:
        await model.close()
    cache.close()
    return {
        "calls": calls,
        "seconds": seconds,
        "rate": calls / seconds,
        "cpu_ms": 1000 * (time.process_time() - processor) / calls,
        "peak_mib": peak_mib(),
        "growth_mib": peak_mib() - memory,
    }


def peak_mib() -> float:
    """Most memory this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(agents: int, number: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    with server() as url, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.chat_throughput", "--one", url, str(agents), str(number), folder]
        done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        return dict(json.loads(done.stdout))


def report(rounds: int) -> str:
    """Every row `rounds` times, as Markdown; the median round is shown with the range of all."""
    ideal = IN_FLIGHT / LATENCY
    lines = [
        "# Judges and agents: throughput",
        "",
        "    python -m bench.chat_throughput",
        "",
        f"A server that answers after {LATENCY * 1000:.0f} ms, {IN_FLIGHT} calls in flight: at best {ideal:,.0f} calls",
        f"per second. Median of {rounds} rounds, range in brackets. Peak memory is that of the whole process.",
        "",
        "| panel | examples | calls | calls/s | of the ideal | processor ms per call | peak memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for panel, sizes in SIZES.items():
        for number in sizes:
            lines.append(table_row(panel, number, rounds, ideal))
            print(lines[-1], flush=True)
    lines += [
        "",
        "One agent: every example is one call, so all places in flight are used. Three agents share the same 64",
        "places, and each has a third of them: where one is asked more often than the others, places stay empty.",
        "",
        f"mmedpo {mmedpo.__version__}, aiohttp {version('aiohttp')}, Python",
        f"{platform.python_version()}, {os.cpu_count()} cores ({platform.machine()}).",
        "",
    ]
    return "\n".join(lines)


def table_row(panel: str, number: int, rounds: int, ideal: float) -> str:
    """The median round of one size, with the range of all."""
    agents = 1 if panel == "one agent" else 3
    measured = sorted((row(agents, number) for _ in range(rounds)), key=lambda item: item["rate"])
    middle, low, high = measured[len(measured) // 2], measured[0]["rate"], measured[-1]["rate"]
    cells = (
        panel,
        f"{number:,}",
        f"{middle['calls']:,.0f}",
        f"{middle['rate']:,.0f} ({low:,.0f} to {high:,.0f})",
        f"{middle['rate'] / ideal:.1%} ({low / ideal:.1%} to {high / ideal:.1%})",
        f"{middle['cpu_ms']:.2f}",
        f"{middle['peak_mib']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=4, metavar=("URL", "AGENTS", "EXAMPLES", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        url, agents, number, folder = given.one
        print(json.dumps(asyncio.run(measure(url, int(agents), int(number), Path(folder)))))
        return
    RESULT.write_text(report(given.rounds))
    print(f"written: {RESULT.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
