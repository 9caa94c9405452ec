"""Mending a table by what the linter found; every change is told."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mmedpo.lint.checks import ROW_CHECKS, SCORE, spelled_score, text_score
from mmedpo.lint.findings import Change, Finding
from mmedpo.lint.text import leaked_prompt, without_prompt
from mmedpo.records import Drop, Message, Part, PreferenceRow
from mmedpo.storage.held import Held


def fix_rows(
    rows: Sequence[PreferenceRow],
    findings: Sequence[Finding],
    drops: Sequence[Drop] = (),
    also_drop: Sequence[str] = (),
) -> tuple[Held[PreferenceRow], Held[Change]]:
    """Repairs what can be repaired, leaves out what cannot.

    Repaired: blanks round answers, a leaked prompt with the answer behind it, a missing image place, a score written
    as text. A row
    that shows any fault of severity `error` (or one of `also_drop`) after that is left out.

    Args:
        rows: the table.
        findings: what `lint_rows` said of it.
        drops: rows of the file that are no preference; logged as left out.
        also_drop: names of further checks whose rows are left out, e.g. `chosen-contained`.

    Returns:
        The mended rows in their order, and one record for everything that was done.
    """
    out = _doomed(findings, also_drop)
    kept, changes = Held(PreferenceRow), Held(Change, map(_unreadable, drops))
    for row in rows:
        mended, done = repaired(row)
        reason = out.get(row.source_row) or still_wrong(mended)
        if reason:
            changes.append(Change(row=row.source_row, row_id=row.row_id, check=reason, action="drop"))
        else:
            changes.extend(done)
            kept.append(mended)
    return kept, by_row(changes)


def by_row(changes: Sequence[Change]) -> Held[Change]:
    """Changes in the order of the rows they were made in."""
    rows = array("q", (change.row for change in changes))
    return Held(Change, (changes[place] for place in sorted(range(len(rows)), key=rows.__getitem__)))


def _doomed(findings: Sequence[Finding], also_drop: Sequence[str]) -> dict[int, str]:
    """Row to the first check that throws it out."""
    found: dict[int, str] = {}
    for finding in findings:
        if finding.action == "drop" or finding.check in also_drop:
            for number in finding.rows:
                found.setdefault(number, finding.check)
    return found


def still_wrong(row: PreferenceRow) -> str:
    """The first check of severity `error` that a row fails; empty where it passes all."""
    return next((check.name for check in ROW_CHECKS if check.severity == "error" and check.fails(row)), "")


def repaired(row: PreferenceRow) -> tuple[PreferenceRow, list[Change]]:
    """The row with what can be mended, and what was done."""
    update: dict[str, object] = {}
    changes: dict[str, Change] = {}
    for field in ("chosen", "rejected"):
        turns: tuple[Message, ...] = getattr(row, field)
        if len(turns) != 1 or turns[0].images:
            continue
        before = turns[0].text
        for check, after in _answers(before):
            update[field] = (Message(role="assistant", content=(Part(type="text", text=after),)),)
            changes[field] = _change(row, check, field, before, after)
    prompt = _with_places(row)
    if prompt is not None:
        update["prompt"] = prompt
        before, after = (" ".join(_spell(turn) for turn in turns) for turns in (row.prompt, prompt))
        changes["prompt"] = _change(row, "image-place-missing", "prompt", before, after)
    score = spelled_score(row) if text_score(row) else None
    if score is not None:
        extra = {name: value for name, value in json.loads(row.extra).items() if name != SCORE}
        told = json.loads(row.extra)[SCORE]
        update |= {"score": score, "unscored_reason": "", "extra": json.dumps(extra, sort_keys=True) if extra else ""}
        changes["score"] = _change(row, "text-score", "score", told, f"{score:g}")
    return row.model_copy(update=update), list(changes.values())


def _answers(text: str) -> Iterator[tuple[str, str]]:
    """The check that asks for a change of an answer, and the answer after it (the last one counts)."""
    meant = without_prompt(text) if leaked_prompt(text) else None
    if meant is not None:
        yield "leaked-prompt", meant
    elif text != text.strip():
        yield "blanks", text.strip()


def _with_places(row: PreferenceRow) -> tuple[Message, ...] | None:
    """The prompt with the images before its last question, where it has no image place at all."""
    if not row.images or any(turn.images for turn in (*row.prompt, *row.chosen, *row.rejected)):
        return None
    last = row.prompt[-1]
    places = tuple(Part(type="image") for _ in row.images)
    return (*row.prompt[:-1], last.model_copy(update={"content": (*places, *last.content)}))


def _spell(turn: Message) -> str:
    return "".join("<image>" if part.type == "image" else part.text or "" for part in turn.content)


def _change(row: PreferenceRow, check: str, field: str, before: str, after: str) -> Change:
    return Change(
        row=row.source_row, row_id=row.row_id, check=check, action="repair", field=field, before=before, after=after
    )


def _unreadable(drop: Drop) -> Change:
    return Change(row=int(drop.item.removeprefix("row ")), row_id="", check=drop.reason, action="drop")


def count_changes(changes: Iterable[Change]) -> dict[str, int]:
    """`<action> <check>` to count, for a summary."""
    counts: dict[str, int] = defaultdict(int)
    for change in changes:
        counts[f"{change.action} {change.check}"] += 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
