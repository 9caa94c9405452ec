"""Which models an evaluation compares, and which questions they are asked."""

from __future__ import annotations

from mmedpo.config import RunSettings
from mmedpo.errors import EvaluationError
from mmedpo.records import Example
from mmedpo.run import BASE, TUNED, Run
from mmedpo.run.layout import EXAMPLES


def compared(settings: RunSettings) -> tuple[str, ...]:
    """The models, or files of answers, that are compared, in order; the first is what the others are compared with."""
    return tuple(settings.evaluate.answers) or (BASE, TUNED)


def evaluated_examples(run: Run) -> list[Example]:
    """The questions of the evaluated splits.

    Raises:
        EvaluationError: a split of the settings is not in the data, or no split has a question.
    """
    settings = run.settings.evaluate
    every = run.read(EXAMPLES, Example)
    present = sorted({example.split for example in every})
    for split in settings.splits:
        if split not in present:
            raise EvaluationError(f"evaluate.splits names {split!r}; the data has {', '.join(present)}")
    asked = [e for e in every if e.split in settings.splits and e.answer_type in settings.answer_types]
    if not asked:
        wanted = f"of type {', '.join(settings.answer_types)} in {', '.join(settings.splits)}"
        raise EvaluationError(f"no question {wanted}; widen evaluate.splits or evaluate.answer_types")
    return asked
