"""Probes that ask which answer a model prefers: the truth, or any of the answers that are wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmedpo.clinical.lexicon import is_yes_no_question
from mmedpo.evaluate.normalise import strict_tokens
from mmedpo.evaluate.probes.another_patient import Others
from mmedpo.evaluate.probes.probe import Prepared, Probe, Subject, Workplace
from mmedpo.records import Drop, Example
from mmedpo.storage.tables import write_text

_YES_NO: Mapping[tuple[str, ...], str] = {("yes",): "no", ("no",): "yes"}
WRONG = "wrong.json"
"""Question -> its wrong answers."""


class Way(NamedTuple):
    """One way to ask."""

    view: Path | None
    """The picture; None: no image at all."""
    question: str
    answers: tuple[str, ...]
    """The truth of this wording, then what is wrong."""


@dataclass(frozen=True)
class Choice:
    """What a model prefers when it is asked one way."""

    margin: float
    """log pi of the truth minus that of the likeliest wrong answer, nats, each summed over the answer."""
    preferred: int
    """Number of the likeliest answer; 0 is the truth."""

    @property
    def right(self) -> float:
        """1 where the truth is the likeliest; a tie is wrong."""
        return float(self.margin > 0)


def opposite(answer: str) -> str | None:
    """Yes for no and no for yes, in the letters it had; None for what is neither."""
    word = _YES_NO.get(strict_tokens(answer))
    if word is None:
        return None
    letters = answer.strip()
    return word.upper() if letters.isupper() else word.capitalize() if letters[:1].isupper() else word


def wrong_answers(example: Example, others: Others) -> tuple[str, ...]:
    """What is wrong and could be said: no for yes, the other choices, or the truth of another patient.

    Empty where none is known.
    """
    turned = opposite(example.answer)
    if turned is not None:
        return (turned,)
    truth = strict_tokens(example.answer)
    choices = tuple(choice for choice in example.choices if strict_tokens(choice) != truth)
    if choices:
        return choices
    patient = others.of(example)[0]
    return () if patient is None else (patient.answer,)


def prepare_wrong(probe: Probe[Any], place: Workplace, examples: Sequence[Example]) -> Prepared:
    """A sample of the questions of which a wrong answer is known, which `read_wrong` gives back."""
    others = Others(examples)
    wrong: dict[str, tuple[str, ...]] = {}
    drops: list[Drop] = []

    def usable(example: Example) -> bool:
        wrong[example.example_id] = wrong_answers(example, others)
        if not wrong[example.example_id]:
            drops.append(Drop(stage=place.stage, item=example.example_id, reason="no-wrong-answer-to-compare"))
        return bool(wrong[example.example_id])

    asked = probe.sample(examples, usable)
    write_text(place.folder / WRONG, json.dumps(wrong))
    return Prepared(asked, drops)


def read_wrong(subject: Subject) -> Mapping[str, Sequence[str]]:
    """Question -> its wrong answers."""
    found: dict[str, list[str]] = json.loads((subject.folder / WRONG).read_text())
    return found


def asks_yes_or_no(example: Example) -> bool:
    """Whether both the question and its truth are a yes or a no."""
    return is_yes_no_question(example.question) and opposite(example.answer) is not None


def choices_of(subject: Subject, examples: Sequence[Example], ways: Sequence[Sequence[Way]]) -> list[list[Choice]]:
    """What the model prefers in each way of asking each question, all computed together."""
    shown = [
        [
            (way.view, example.model_copy(update={"question": way.question, "answer": answer}))
            for way in asked
            for answer in way.answers
        ]
        for example, asked in zip(examples, ways, strict=True)
    ]
    found = []
    for asked, values in zip(ways, subject.of_each(shown), strict=True):
        each = iter(values)
        found.append([_choice([next(each) for _ in way.answers]) for way in asked])
    return found


def _choice(values: Sequence[float]) -> Choice:
    truth, *wrong = values
    return Choice(truth - max(wrong), max(range(len(values)), key=values.__getitem__))
