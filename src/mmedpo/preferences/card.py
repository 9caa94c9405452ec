"""The card of a preference table: what is in it, where it comes from, under which licence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmedpo.records import PreferenceRow


def card_markdown(
    rows: Sequence[PreferenceRow],
    *,
    title: str,
    files: Mapping[str, str],
    licences: Mapping[str, str],
    command: str,
    left_out: Mapping[str, int],
    notes: Sequence[str] = (),
) -> str:
    """Markdown with the front matter that data set hubs read.

    Args:
        rows: rows of the table.
        title: name of the table.
        files: file name to SHA-256, of what was read and what was written.
        licences: source to licence, as the user or the dataset states it.
        command: how the table was made.
        left_out: reason to count of the rows that are not in it.
        notes: warnings, one sentence each.
    """
    images = {name for row in rows for name in row.images}
    hashes = {digest for row in rows for digest in row.image_hashes if digest}
    lines = [
        "---",
        f"pretty_name: {title}",
        f"size_categories: [{_size(len(rows))}]",
        "task_categories: [visual-question-answering]",
        "tags: [preference, dpo, medical]",
        "---",
        "",
        f"# {title}",
        "",
        f"Preference pairs for medical vision-language models, made with `{command}`.",
        "",
        *_table("count", "rows", _counts(rows, images, hashes)),
        *_table("left out because", "rows", left_out or {"nothing": 0}),
        *_table("source", "licence", licences or {"not stated": "not stated"}),
        *_table("file", "SHA-256", files),
    ]
    if notes:
        lines += ["## Good to know", "", *(f"- {note}" for note in notes), ""]
    lines += [
        "Columns are those of `mmedpo.records.PreferenceRow`. Not for clinical use. `mmedpo lint` lists its faults.",
        "",
    ]
    return "\n".join(lines)


def card_path(table: Path) -> Path:
    """Where the card of a table lies: beside it."""
    return table.with_suffix(".md")


def _counts(rows: Sequence[PreferenceRow], images: set[str], hashes: set[str]) -> dict[str, int]:
    kinds = Counter(row.pair_type for row in rows)
    splits = Counter(f"{row.dataset} {row.split}" for row in rows if row.example_id)
    return {
        "pairs": len(rows),
        **{f"{kind} pairs": count for kind, count in sorted(kinds.items())},
        "image paths": len(images),
        "different images (by hash)": len(hashes),
        "with a score": sum(row.score is not None for row in rows),
        "with a weight": sum(row.weight is not None for row in rows),
        "joined to a question of a dataset": sum(bool(row.example_id) for row in rows),
        **{f"made from {name}": count for name, count in sorted(splits.items())},
    }


def _table(left: str, right: str, content: Mapping[str, object]) -> list[str]:
    body = [f"| {name.replace('|', '/')} | {value} |" for name, value in content.items()]
    return [f"| {left} | {right} |", "|---|---|", *body, ""]


def _size(rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < limit:
            return name
    return "n>1M"
