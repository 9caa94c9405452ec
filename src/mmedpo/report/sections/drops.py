"""Warnings and drops: what a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Iterable

from mmedpo.records import Drop
from mmedpo.records.looks import best_step, watch_log
from mmedpo.registry import register
from mmedpo.report.formatting import count, share
from mmedpo.report.parts import Part
from mmedpo.report.section import Section
from mmedpo.report.sections.curation import lengths
from mmedpo.report.stored import Stored
from mmedpo.run import Run

LENGTH_SHORTCUT = 0.75
"""Share of text pairs whose rejected answer is the longer one, above which length alone tells the sides apart."""


class StageWarning(Part):
    """Something the reader must know before believing the numbers."""

    stage: str
    message: str


class DropCount(Part):
    """How often one stage dropped something for one reason."""

    stage: str
    reason: str
    count: int
    examples: tuple[str, ...] = ()
    """A few items, each with its detail."""


class Drops(Part):
    """What happened on the way that the results do not show."""

    warnings: tuple[StageWarning, ...] = ()
    drops: tuple[DropCount, ...] = ()


@register("section", "drops")
class DropsSection(Section[Drops]):
    """Warnings and drops."""

    heading = "Warnings and drops"
    order = 400
    template = "drops.html.j2"

    def gather(self, run: Run, stored: Stored) -> Drops | None:
        """None when all went well and nothing was left out."""
        found = Drops(warnings=tuple(warnings(stored)), drops=count_drops(stored.drops))
        return found if found.warnings or found.drops else None

    def points(self, part: Drops) -> str:
        """How many of each."""
        number, dropped = len(part.warnings), sum(drop.count for drop in part.drops)
        said = [f"{number} warning{'' if number == 1 else 's'}"] if number else []
        said += [f"{count(dropped)} dropped item{'' if dropped == 1 else 's'}"] if part.drops else []
        return " and ".join(said)


def count_drops(drops: Iterable[Drop], examples: int = 3) -> tuple[DropCount, ...]:
    """Count `drops` by stage and reason, in order of first appearance, keeping the first `examples` items of each."""
    grouped: dict[tuple[str, str], list[Drop]] = {}
    for drop in drops:
        grouped.setdefault((drop.stage, drop.reason), []).append(drop)
    return tuple(
        DropCount(
            stage=stage,
            reason=reason,
            count=len(members),
            examples=tuple(f"{drop.item}: {drop.detail}" if drop.detail else drop.item for drop in members[:examples]),
        )
        for (stage, reason), members in grouped.items()
    )


def warnings(stored: Stored) -> list[StageWarning]:
    """What a reader must know before believing the numbers, in the order of the stages."""
    found = [("curate", text) for text in _curation_warnings(stored)]
    found += [("score", f"{report.source} weights: {text}") for report in stored.weights for text in report.warnings]
    found += [("train", text) for text in _training_warnings(stored)]
    found += [("evaluate", note) for note in (stored.evaluation.notes if stored.evaluation else ())]
    for scores in stored.evaluation.splits if stored.evaluation else ():
        for model, summary in scores.summaries.items():
            for reason, number_of in summary.unscored.items():
                text = f"{scores.split}: {count(number_of)} answers of {model} could not be scored ({reason})"
                found.append(("evaluate", text))
    for model, answers in stored.predictions.items():
        cut = sum(not answer.finished for answer in answers.values())
        if cut:
            limit = stored.settings.evaluate.max_new_tokens
            text = f"{count(cut)} of {count(len(answers))} answers of {model} were cut at {limit} tokens"
            found.append(("evaluate", text))
    return [StageWarning(stage=stage, message=message) for stage, message in found]


def _curation_warnings(stored: Stored) -> list[str]:
    if stored.settings.train.method == "sft":
        return []  # supervised fine-tuning never sees a rejected answer
    found = []
    text = [pair for pair in stored.pairs if pair.kind == "text"]
    written = sum(pair.origin == "injected" for pair in text)
    if 2 * written > len(text):
        found.append(
            f"{count(written)} of {count(len(text))} rejected answers were written by the judge, not given by the "
            "model: they teach less about the model's own errors"
        )
    for row in lengths(text)[-1:]:
        if row.rejected_longer is not None and row.rejected_longer > LENGTH_SHORTCUT:
            found.append(
                f"the rejected answer is the longer one in {share(row.rejected_longer)} of the text pairs: "
                "a model can win by being short"
            )
    return found


def _training_warnings(stored: Stored) -> list[str]:
    seen, best = watch_log(stored.log), best_step(stored.log)
    if not seen or best is None:
        return []
    start, top, end = seen[0]["probe_score"], max(look["probe_score"] for look in seen[1:]), seen[-1]["probe_score"]
    found = []
    if not stored.trained:
        found.append(f"training stopped at step {seen[-1]['step']} without an adapter: it collapsed or was interrupted")
    if top <= start:
        found.append("no look at the validation probe was better than the start: expect no gain")
    elif best == seen[-1]["step"] and len(seen) > 2:
        found.append(f"the last look (step {best}) was the best: longer training might still have gained")
    if end < start:
        found.append(
            f"the validation probe ended at {share(end, 1)}, below its start of {share(start, 1)} (best: "
            f"{share(top, 1)} at step {best}): the learning rate is too high or training too long"
        )
    return found
