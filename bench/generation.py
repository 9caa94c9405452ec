"""Answers that share images and questions against `model.generate` as TRL and the LLaVA scripts call it.

    python -m bench.generation                    # writes bench/GENERATION.md

The other side hands batches of prompts, each with its own picture, to `generate`: padded on the left, the
vision tower and the whole prompt computed for every question and every sample. Both sides choose tokens by
the same noise from the same seeds, so their answers must be the same. The sides take turns in one process.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.throughput.measure import machine
from bench.throughput.models import SHAPES, Shape, build_checkpoint
from bench.throughput.workloads import WORKLOADS, Workload
from mmedpo.config import EngineSettings, ModelSettings
from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.engine.continuation import PromptAttention
from mmedpo.models.family import ANY_SIZE
from mmedpo.models.generation import Decoding, TokenChoice
from mmedpo.models.hub import load_model
from mmedpo.models.vlm import VisionLanguageModel

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("generate", "mmedpo")


@dataclass(frozen=True)
class Task:
    """Questions to be answered."""

    title: str
    workload: Workload
    steps: int
    """Optimizer steps' worth of the workload's questions."""
    samples: int
    """Answers to each question; 1: the greedy one."""
    tokens: int
    """Of an answer; random weights end none."""
    images: int = 1
    """Pictures of a question."""

    def asked(self) -> list[Asked]:
        """Image by image."""
        pairs = [pair for pair in self.workload.step(0) if pair.image == pair.rejected_image]
        for step in range(1, self.steps):
            pairs += [pair for pair in self.workload.step(step) if pair.image == pair.rejected_image]
        return [Asked(self._views(pair.image), pair.question) for pair in pairs for _ in range(self.samples)]

    def _views(self, image: str) -> tuple[Path, ...]:
        """The picture and those behind it, which all questions on it show."""
        step, number, kind = image.split("-")
        behind = (f"{step}-{int(number) + 1000 * further}-{kind}" for further in range(1, self.images))
        return (Path(image), *map(Path, behind))

    @property
    def decoding(self) -> Decoding:
        """How they are decoded."""
        return Decoding(self.tokens) if self.samples == 1 else Decoding(self.tokens, 1.0, 0.95)


TASKS = (
    Task("SLAKE-shaped, evaluation", WORKLOADS["slake"], 2, 1, 10),
    Task("SLAKE-shaped, short questions, evaluation", replace(WORKLOADS["slake"], question_tokens=16), 2, 1, 10),
    Task("SLAKE-shaped, 3 samples", WORKLOADS["slake"], 2, 3, 10),
    Task("VQA-RAD-shaped, 3 samples", WORKLOADS["vqa-rad"], 1, 3, 4),
    Task("reports, 3 samples", WORKLOADS["reports"], 1, 3, 120),
)


@dataclass
class Counts:
    """What the language model and the tower were given."""

    prompts: int = 0
    """Tokens of passes over prompts, padding included."""
    answers: int = 0
    """Tokens of answers that went through a pass."""
    pairs: float = 0.0
    """Query-key pairs of attention, of one layer: a causal row half its square."""
    images: int = 0
    """Pictures through the tower."""

    def flops(self, shape: Shape) -> float:
        """Arithmetic with the weights of a shape: linear layers, attention, tower; the head is left out."""
        language = 2 * shape.frozen_weights * (self.prompts + self.answers)
        attention = 4 * shape.hidden * shape.layers * self.pairs
        block = 4 * shape.vision_hidden**2 + 2 * shape.vision_hidden * shape.vision_intermediate
        tower = 2 * shape.vision_layers * block * shape.image_tokens * self.images
        return language + attention + tower


@dataclass
class Result:
    """One side's runs of a task."""

    seconds: list[float]
    texts: list[str]
    counts: Counts


class Counter:
    """Counts passes of a model while it is open."""

    def __init__(self, model: Any) -> None:
        self.counts, self.model = Counts(), model

    def __enter__(self) -> Counts:
        decoder, tower = self.model.get_decoder(), self.model.get_encoder(modality="image")
        self.hooks = [
            decoder.register_forward_pre_hook(self._language, with_kwargs=True),
            tower.register_forward_hook(self._vision),
        ]
        return self.counts

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _language(self, module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        rows, width = inputs["inputs_embeds"].shape[:2]
        attention, past = inputs.get("trie"), inputs.get("past_key_values")
        if isinstance(attention, PromptAttention):
            self.counts.prompts += width
            for trunk, piece in attention.pieces:
                alone = piece.length**2 / 2 if piece == trunk else piece.length * (trunk.length + piece.length)
                self.counts.pairs += alone
        elif attention is not None:
            self.counts.answers += width
            self.counts.pairs += sum(piece.seen.numel() for piece in attention._pieces)
        elif width > 1:
            self.counts.prompts += rows * width
            self.counts.pairs += rows * width**2 / 2
        else:
            self.counts.answers += rows
            self.counts.pairs += rows * (past.get_seq_length() + 1)

    def _vision(self, module: Any, arguments: Any, output: Any) -> None:
        self.counts.images += len(output.last_hidden_state)


def by_generate(vlm: VisionLanguageModel, task: Task, batch: int) -> list[str]:
    """Every prompt from its picture, `batch` prompts at a time."""
    asked, texts = task.asked(), []
    pixels = {view: vlm.inputs(task.workload.pixels(view.name)) for one in dict.fromkeys(asked) for view in one.views}
    pad, ends = vlm.tokenizer.pad_token_id, list(vlm.family.stops)
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        rows = [vlm.prompt_ids(one.question, (ANY_SIZE,) * len(one.views)) for one in part]
        width = max(map(len, rows))
        choose = partial(TokenChoice(task.decoding, range(start, start + len(part))), range(len(part)))
        output = vlm.model.generate(
            input_ids=torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=vlm.device),
            attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=vlm.device),
            pixel_values=torch.cat([pixels[view]["pixel_values"] for one in part for view in one.views]),
            do_sample=False,
            max_new_tokens=task.tokens,
            logits_processor=[lambda ids, scores, choose=choose: choose(scores)],
            pad_token_id=pad,
            eos_token_id=ends,
        )
        texts += [vlm.decode(row) for row in output[:, width:].tolist()]
    return texts


def by_us(vlm: VisionLanguageModel, task: Task) -> list[str]:
    """The product with its defaults; images are encoded within the time, too."""
    asked, own = task.asked(), EngineSettings()
    features = FeatureStore(vlm, lambda view: task.workload.pixels(view.name))
    engine = Engine(vlm, features, own.max_tokens, kept_tokens=own.kept_tokens)
    return [answer.text for answer in engine.answers(asked, task.decoding, range(len(asked)))]


@torch.no_grad()
def measure(folder: Path, task: Task, dtype: str, device: str, rounds: int, batch: int) -> dict[str, Result]:
    """Both sides of a task, in turn."""
    models = {side: load_model(ModelSettings(name=str(folder), dtype=dtype, device=device)) for side in SIDES}

    def run(side: str) -> list[str]:
        return by_us(models[side], task) if side == "mmedpo" else by_generate(models[side], task, batch)

    def clock() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    results: dict[str, Result] = {}
    for _ in range(rounds):
        for side in SIDES:
            with Counter(models[side].model) as counts:
                started = clock()
                texts = run(side)
                seconds = clock() - started
            results.setdefault(side, Result([], texts, counts)).seconds.append(seconds)
    return results


def row(task: Task, results: dict[str, Result]) -> str:
    """A line of the table."""
    stock, ours = (results[side] for side in SIDES)
    ratios = [a / b for a, b in zip(stock.seconds, ours.seconds, strict=True)]
    ratio = statistics.median(stock.seconds) / statistics.median(ours.seconds)
    same = int(np.sum([a == b for a, b in zip(stock.texts, ours.texts, strict=True)]))
    seven = SHAPES["7b"]
    return (
        f"| {task.title} | {len(stock.texts)} | {statistics.median(stock.seconds):.2f} | "
        f"{statistics.median(ours.seconds):.2f} | {ratio:.1f} x ({min(ratios):.1f} - {max(ratios):.1f}) | "
        f"{stock.counts.prompts:,} -> {ours.counts.prompts:,} ({stock.counts.prompts / ours.counts.prompts:.1f} x) | "
        f"{stock.counts.flops(seven) / 1e12:,.1f} -> {ours.counts.flops(seven) / 1e12:,.1f} "
        f"({stock.counts.flops(seven) / ours.counts.flops(seven):.1f} x) | {same} of {len(stock.texts)} |"
    )


HEAD = (
    "| task | answers | `generate`, s | mmedpo, s | ratio | prompt tokens | TFLOP, 7B shapes | same answers |\n"
    "|---|---|---|---|---|---|---|---|"
)


def page(rows: Sequence[str], command: str, batch: int, device: str, shape: Shape) -> str:
    """GENERATION.md."""
    facts = machine()
    where = f"{facts['cores']} cores ({facts['cpu']}), {facts['memory']}, {facts['system']}"
    where = torch.cuda.get_device_name() if device == "cuda" else where
    packages = ", ".join(f"{name} {version(name)}" for name in ("mmedpo", "torch", "transformers"))
    return f"""# Answers against `model.generate`

    {command}

`generate` is called as TRL and the LLaVA scripts call it: batches of {batch} prompts, padded on the left, each from its
picture. Both sides take the same noise from the same seeds. They take turns in one process, on one thread; seconds are
the processor's (on a GPU the clock's), which other work on the machine disturbs least; ratio of medians, in brackets
the smallest and largest among the rounds. Images are encoded within the time on both sides. An image is
{shape.image_tokens} tokens, a question 40 (short: 16), an answer 10 (VQA-RAD 4, reports 120). Prompt tokens went
through the language model before the answers, padding included. TFLOP: linear layers, attention and tower with the
weights of LLaVA-Med 7B.

{HEAD}
{chr(10).join(rows)}

An evaluation asks each question once, and different questions share nothing but the image: of n questions of q tokens
on an image of i tokens at most n (i + q) / (i + n q) times fewer prompt tokens are possible: 6.7 for 11 questions of 40
tokens, 8.7 of 16. Model `{shape.name}` in {shape.dtype}, random weights. {where}; {packages}.
"""


def command_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace, *names: str) -> str:
    """The command that measures the same again: those of its options that are not at their defaults."""
    given = vars(arguments)
    changed = [name for name in names if given[name] != parser.get_default(name)]
    return parser.prog + "".join(f" --{name} {shlex.quote(str(given[name]))}" for name in changed)


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.generation", description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="prompts at a time of `generate`; 8 is its fastest here")
    parser.add_argument("--tasks", default="", help="part of a title: only those")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "GENERATION.md")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    shape = SHAPES[arguments.shape]
    folder = build_checkpoint(shape, arguments.checkpoints / shape.name, device=arguments.device)
    rows = []
    for task in TASKS:
        if arguments.tasks in task.title:
            fitted = replace(task.workload, image_tokens=shape.image_tokens, image_size=shape.image_size)
            task = replace(task, workload=replace(fitted, words=min(fitted.words, shape.words)))
            found = measure(folder, task, shape.dtype, arguments.device, arguments.rounds, arguments.batch)
            rows.append(row(task, found))
            print(rows[-1], flush=True)
    command = command_of(parser, arguments, "shape", "device", "rounds", "batch", "tasks")
    arguments.out.write_text(page(rows, command, arguments.batch, arguments.device, shape), encoding="utf-8")


if __name__ == "__main__":
    main()
