"""Curation: how the judge settled the questions, and what the rejected answers are like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from mmedpo.config.lint import LintSettings
from mmedpo.lint.judges import edit_distance, length_judge, word_judge
from mmedpo.lint.text import words as lowered
from mmedpo.records import PreferencePair, Verdict
from mmedpo.registry import register
from mmedpo.report.content import Interval
from mmedpo.report.formatting import count
from mmedpo.report.panel import judges
from mmedpo.report.parts import Measured, Part
from mmedpo.report.section import Section
from mmedpo.report.speakers import JudgeRow
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class LengthRow(Part):
    """Lengths of chosen against rejected answers of one group of pairs."""

    group: str
    n: int
    chosen_words: Measured
    """Mean words of the chosen answers."""
    rejected_words: Measured
    """Mean words of the rejected answers."""
    rejected_longer: Measured
    """Share of pairs, in [0, 1], whose rejected answer has more words."""
    edit_distance: Measured = None
    """Mean share of words, in [0, 1], that differ between the answers."""
    by_length: Measured = None
    """Share of pairs that a judge which sees lengths alone tells apart; 0.5 is chance."""
    by_words: Measured = None
    """The same of a judge which sees words alone, on pairs it was not fitted on; None with too few images."""


class ConflictRow(Part):
    """Judge's measure of contradiction for one error type."""

    error_type: str
    n: int
    picked: int | None = None
    injected: int | None = None
    conflict: Interval = Interval()
    """Mean in [0, 1] with its interval, where one was computed."""


class BlindRow(Part):
    """How often the model finds the chosen answer the likelier one when it is shown no image."""

    compared: str
    """What of the answers is compared, in words."""
    told: Interval = Interval()
    """Share of pairs in [0, 1]; 0.5 is chance."""


class Blind(Part):
    """What the model, before it was tuned, makes of the pairs without their images."""

    pairs: int
    """Asked about."""
    of: int
    """Text pairs there are."""
    images: int
    rows: tuple[BlindRow, ...]


class CurationCount(Part):
    """A count, e.g. of text pairs or of answers sampled."""

    label: str
    count: int | None
    note: str = ""


class Curation(Part):
    """How the preference pairs came to be."""

    counts: tuple[CurationCount, ...] = ()
    judges: tuple[JudgeRow, ...] = ()
    lengths: tuple[LengthRow, ...] = ()
    blind: Blind | None = None
    conflicts: tuple[ConflictRow, ...] = ()
    notes: tuple[str, ...] = ()


@register("section", "curation")
class CurationSection(Section[Curation]):
    """Curation."""

    heading = "Curation"
    order = 600
    template = "curation.html.j2"

    def gather(self, run: Run, stored: Stored) -> Curation | None:
        """None when there are no pairs."""
        found = curation(stored)
        return found if found and (found.counts or found.judges or found.lengths or found.conflicts) else None


def curation(stored: Stored) -> Curation | None:
    """Judges, lengths and conflicts of the pairs; None when there are no pairs."""
    pairs, verdicts = stored.pairs or stored.curated, list(stored.verdicts.values())
    if not pairs and not verdicts:
        return None
    kinds = Counter(pair.kind for pair in pairs)
    counts = [
        CurationCount(
            label=f"{kind} pairs", count=kinds[kind], note="" if kind == "text" and verdicts else _origins(pairs, kind)
        )
        for kind in ("text", "visual", "answer")
        if kinds[kind]
    ]
    if stored.candidates:
        cut = sum(not candidate.finished for candidate in stored.candidates)
        note = f"{count(cut)} cut by the length limit, never picked" if cut else "none cut by the length limit"
        counts.append(CurationCount(label="answers sampled", count=len(stored.candidates), note=note))
    unknown = "The pairs were imported: how their rejected answers were found is not known to this run."
    return Curation(
        counts=tuple(counts),
        judges=judges(verdicts),
        lengths=lengths(pairs),
        blind=_blind(stored),
        conflicts=_conflicts(verdicts),
        notes=(unknown,) if stored.settings.preferences is not None else (),
    )


def lengths(pairs: Sequence[PreferencePair]) -> tuple[LengthRow, ...]:
    """Words of chosen against rejected answers of the text pairs, by origin, and of all when there are several."""
    groups: dict[str, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        if pair.kind == "text":
            groups[pair.origin or "unknown origin"].append(pair)
    rows = [_length_row(name, groups[name]) for name in sorted(groups, reverse=True)]
    if len(groups) > 1:
        rows.append(_length_row("all text pairs", [pair for group in groups.values() for pair in group]))
    return tuple(rows)


def _blind(stored: Stored) -> Blind | None:
    found = stored.evaluation.blind if stored.evaluation else None
    if found is None:
        return None
    told = {"whole answers": found.summed, "per token": found.per_token}
    rows = [
        BlindRow(compared=words, told=Interval(value=share.share, low=share.low, high=share.high))
        for words, share in told.items()
    ]
    text = sum(pair.kind == "text" for pair in stored.pairs)
    return Blind(pairs=found.pairs, of=text, images=found.images, rows=tuple(rows))


def _origins(pairs: Sequence[PreferencePair], kind: str) -> str:
    origins = Counter(pair.origin for pair in pairs if pair.kind == kind and pair.origin)
    if len(origins) == 1:
        return next(iter(origins))
    return ", ".join(f"{count(number_of)} {origin}" for origin, number_of in origins.most_common())


def _length_row(name: str, pairs: Sequence[PreferencePair]) -> LengthRow:
    words = [(len(pair.chosen.split()), len(pair.rejected.split())) for pair in pairs]
    n, settings = len(words), LintSettings()
    texts = [(lowered(pair.chosen), lowered(pair.rejected)) for pair in pairs]
    images = [pair.image.sha256 for pair in pairs]
    chosen, rejected = [c for c, _ in texts], [r for _, r in texts]
    return LengthRow(
        group=name,
        n=n,
        chosen_words=sum(c for c, _ in words) / n,
        rejected_words=sum(r for _, r in words) / n,
        rejected_longer=sum(r > c for c, r in words) / n,
        edit_distance=sum(edit_distance(c, r) for c, r in texts) / n,
        by_length=length_judge([c for c, _ in words], [r for _, r in words]).accuracy,
        by_words=word_judge(chosen, rejected, images, settings.folds, settings.ridge),
    )


def _conflicts(verdicts: Sequence[Verdict]) -> tuple[ConflictRow, ...]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.outcome != "dropped":
            groups[verdict.error_type].append(verdict)
    rows = []
    for name, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        known = [verdict.conflict for verdict in group if verdict.conflict is not None]
        rows.append(
            ConflictRow(
                error_type=name,
                n=len(group),
                picked=sum(verdict.outcome == "picked" for verdict in group),
                injected=sum(verdict.outcome == "injected" for verdict in group),
                conflict=Interval(value=sum(known) / len(known) if known else None),
            )
        )
    return tuple(rows)
