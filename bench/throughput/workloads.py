"""The workloads: pairs whose token counts are exact, drawn from a seed.

Nothing here needs torch. Texts are words `w0 w1 ...`, one token each (see `models.py`), so what a side
feeds to the language model can be counted before it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE_TOKENS = 576
QUESTION_TOKENS = 40
"""The token of the chat template (`<|assistant|>`) is among them."""
TEMPLATE_TOKENS = 1
IMAGE_SIZE = 336


@dataclass(frozen=True)
class Pair:
    """One preference pair as texts and names of images."""

    image: str
    """Name of the picture on the chosen side; `Workload.pixels` draws it."""
    rejected_image: str
    """Name of the picture on the rejected side; another one for a visual pair."""
    question: str
    chosen: str
    rejected: str
    """Equal to `chosen` for a visual pair."""
    weight: float


@dataclass(frozen=True)
class Workload:
    """Pairs of one shape, cut into optimizer steps that hold whole images."""

    name: str
    title: str
    questions: tuple[int, ...]
    """Questions on each image of one optimizer step."""
    chosen_tokens: int
    """Tokens of a preferred answer, end-of-sequence included."""
    rejected_tokens: int
    visual: bool
    """Whether each question also has a visual pair."""
    target: float | None = None
    """Pairs per second over TRL that is to be reached."""
    image_tokens: int = IMAGE_TOKENS
    question_tokens: int = QUESTION_TOKENS
    image_size: int = IMAGE_SIZE
    words: int = 2000
    """Words to draw from, at most those of the tokenizer."""
    seed: int = 2024

    @property
    def pairs_per_step(self) -> int:
        """Preference pairs of one optimizer step."""
        return sum(self.questions) * (2 if self.visual else 1)

    def step(self, index: int) -> list[Pair]:
        """The pairs of optimizer step `index`, image by image, a visual pair right after its text pair."""
        rng = np.random.default_rng([self.seed, index])
        pairs: list[Pair] = []
        for number, questions in enumerate(self.questions):
            clean, noised = f"{index}-{number}-clean", f"{index}-{number}-noised"
            # Distinct first words: nothing but what the shape says is shared.
            starts = rng.permutation(self.words)[:questions]
            for start in starts:
                question = self._text(rng, self.question_tokens - TEMPLATE_TOKENS, int(start))
                first = int(rng.integers(self.words))
                chosen = self._text(rng, self.chosen_tokens - 1, first)
                rejected = self._text(rng, self.rejected_tokens - 1, (first + 1) % self.words)
                pairs.append(Pair(clean, clean, question, chosen, rejected, _weight(rng)))
                if self.visual:
                    pairs.append(Pair(clean, noised, question, chosen, chosen, _weight(rng)))
        return pairs

    def steps(self, count: int) -> list[list[Pair]]:
        """The first `count` optimizer steps."""
        return [self.step(index) for index in range(count)]

    def pixels(self, image: str) -> NDArray[np.uint8]:
        """The picture of that name, [size, size, 3]: noise drawn from the seed."""
        step, number, kind = image.split("-")
        rng = np.random.default_rng([self.seed, int(step), int(number), 7])
        picture = rng.integers(0, 256, (self.image_size, self.image_size, 3), dtype=np.uint8)
        if kind == "clean":
            return picture
        noise = rng.integers(0, 256, picture.shape, dtype=np.uint8)
        return (picture // 2 + noise // 2).astype(np.uint8)

    def _text(self, rng: np.random.Generator, words: int, first: int) -> str:
        rest = rng.integers(self.words, size=words - 1).tolist()
        return " ".join(f"w{word}" for word in [first, *rest])

    def as_json(self) -> dict[str, Any]:
        """For the command line of a subprocess; `from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Workload:
        """The inverse of `as_json`."""
        return Workload(**{**fields, "questions": tuple(fields["questions"])})


def _weight(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(0.75, 1.25)), 4)


@dataclass(frozen=True)
class Tokens:
    """Language-model tokens of some images' pairs, padding not counted."""

    independent: float
    """Chosen and rejected of every pair as sequences of their own."""
    trie: float
    """Every common beginning (image, question, preferred answer) once."""


def tokens(workload: Workload, questions: Sequence[float] | None = None) -> Tokens:
    """Token counts in closed form; `questions` per image default to those of one optimizer step.

    Per image and question: chosen and rejected after image and question, then, for a visual pair, the
    preferred answer under both images. A trie holds each image once, each question once per image.
    """
    per_image = workload.questions if questions is None else questions
    image, question = workload.image_tokens, workload.question_tokens
    chosen, rejected = workload.chosen_tokens, workload.rejected_tokens
    independent = trie = 0.0
    for count in per_image:
        independent += count * (2 * (image + question) + chosen + rejected)
        trie += image + count * (question + chosen + rejected)
        if workload.visual:
            independent += count * 2 * (image + question + chosen)
            trie += image + count * (question + chosen)
    return Tokens(independent, trie)


def counted_tokens(pairs: Iterable[Pair], image_tokens: int) -> Tokens:
    """The same counts from the pairs themselves, with a set of prefixes: the check of `tokens`."""
    independent, nodes = 0, set()
    for pair in pairs:
        for image, answer in ((pair.image, pair.chosen), (pair.rejected_image, pair.rejected)):
            words = (*pair.question.split(), "<|assistant|>", *answer.split(), "</s>")
            path = (*((image, i) for i in range(image_tokens)), *words)
            independent += len(path)
            nodes.update(path[: end + 1] for end in range(len(path)))
    return Tokens(independent, len(nodes))


@dataclass(frozen=True)
class Flops:
    """Arithmetic of one epoch's step in the language model's linear layers; attention is not counted."""

    independent: float
    trie: float

    @property
    def bound(self) -> float:
        """How many times less the trie asks for."""
        return self.independent / self.trie


def flops(count: Tokens, frozen: float, adapter: float, epochs: int, checkpointing: bool) -> Flops:
    """FLOPs of an optimizer step for a frozen language model of that many weights with an adapter.

    Per token: reference 2N, forward 2(N+L), backward 2N+4L, recomputation 2(N+L). Independent sequences
    recompute the reference in every step, the trie once for all epochs.
    """
    reference = 2 * frozen
    policy = 2 * (frozen + adapter) * (2 if checkpointing else 1) + 2 * frozen + 4 * adapter
    return Flops(count.independent * (reference + policy), count.trie * (reference / epochs + policy))


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        # 5, 6 and 6 questions: 5.7 an image, and every optimizer step has as many pairs.
        Workload("vqa-rad", "VQA-RAD-shaped", (5, 6, 6), 2, 13, visual=True, target=7.0),
        Workload("slake", "SLAKE-shaped", (11,), 10, 10, visual=True, target=10.0),
        Workload("reports", "reports", (1,) * 4, 120, 120, visual=True, target=2.0),
        Workload("text", "single text pairs", (1,) * 8, 10, 10, visual=False, target=2.2),
    )
}
"""By the name they have on the command line."""

GROWTH_QUESTIONS = (1, 2, 4, 8, 16, 32)
GROWTH_ANSWERS = (2, 8, 32, 64, 128, 256)


def growth_workloads() -> dict[str, list[Workload]]:
    """One image a step: questions grow at answers of 10 tokens, then answers at 4 questions."""
    base = WORKLOADS["slake"]
    by_questions = [
        replace(base, name=f"questions-{n}", title=f"{n} questions an image", questions=(n,), target=None)
        for n in GROWTH_QUESTIONS
    ]
    by_answers = [
        replace(
            base,
            name=f"answer-{n}",
            title=f"answers of {n} tokens",
            questions=(4,),
            chosen_tokens=n,
            rejected_tokens=n,
            target=None,
        )
        for n in GROWTH_ANSWERS
    ]
    return {"questions": by_questions, "answers": by_answers}
