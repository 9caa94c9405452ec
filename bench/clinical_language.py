"""How well the facts of report sentences are read: precision and recall per status and for sides.

    python bench/clinical_language.py tests/clinical/gold/held_out.txt
    python bench/clinical_language.py tests/clinical/gold/development.txt --errors

The gold files say how they are written. A sentence's findings are matched by name, those of equal status and
side first. Names of no particular finding (abnormality, lesion) count only where the gold names them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mmedpo.clinical import extract_facts
from mmedpo.clinical.facts import FindingFact

STATUSES = ("present", "absent", "limited", "resolved", "uncertain", "historical", "unknown")
GENERIC = frozenset({"abnormality", "lung abnormality", "lesion"})
SIDES = {"left": frozenset({"left"}), "right": frozenset({"right"}), "both": frozenset({"left", "right"})}
SILENT = frozenset({"uncertain", "historical", "unknown"})
"""Statuses that say neither yes nor no: nothing may be made of them."""


@dataclass(frozen=True, order=True)
class Read:
    """One finding with its status and sides, as the gold has it or as it was read."""

    name: str
    status: str
    sides: frozenset[str] = frozenset()


@dataclass
class Tally:
    """Counts over sentences."""

    right: Counter[str] = field(default_factory=Counter)
    gold: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    side_right: int = 0
    side_gold: int = 0
    side_read: int = 0
    harmful: int = 0
    """Findings whose yes or no was read as its opposite, or made of a hedge, of the past or of nothing."""
    wrong: list[str] = field(default_factory=list)


def gold_lines(path: Path) -> list[tuple[str, list[Read]]]:
    """(sentence, findings) of a gold file."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            sentence, _, labels = line.partition(" || ")
            found.append((sentence.replace("\\n", "\n"), [_label(part) for part in labels.split(";")]))
    return found


def _label(text: str) -> Read:
    parts = text.split()
    sides = SIDES[parts.pop()] if parts[-1] in SIDES else frozenset()
    if parts[-1] not in STATUSES:
        raise ValueError(f"{text!r} has no status; allowed are {', '.join(STATUSES)}")
    return Read(" ".join(parts[:-1]), parts[-1], sides)


def read_sentence(text: str) -> list[Read]:
    """What the product reads; versions that know no status say present or absent only."""
    facts = extract_facts(text)
    every = (*facts.findings, *getattr(facts, "unsettled", ()))
    reads = {Read(f.name, _status(f), frozenset(f.sides)) for f in every}
    return sorted(reads, key=lambda r: (r.name, r.status, sorted(r.sides)))


def _status(fact: FindingFact) -> str:
    """The status; `limited` where only one kind or size is denied ("no acute fracture")."""
    status: str = getattr(fact, "status", "present" if fact.present else "absent")
    return "limited" if status == "absent" and (fact.sizes or getattr(fact, "kinds", ())) else status


def pairs(gold: list[Read], read: list[Read]) -> list[tuple[Read | None, Read | None]]:
    """Gold and read findings side by side; None where one has no counterpart."""
    left, matched = list(read), []
    rest = list(gold)
    for same in (
        lambda a, b: a == b,
        lambda a, b: (a.name, a.status) == (b.name, b.status),
        lambda a, b: a.name == b.name,
    ):
        for g in list(rest):
            partner = next((r for r in left if same(g, r)), None)
            if partner is not None:
                matched.append((g, partner))
                rest.remove(g)
                left.remove(partner)
    named = {g.name for g in gold}
    extra = [(None, r) for r in left if r.name in named or r.name not in GENERIC]
    return [*matched, *((g, None) for g in rest), *extra]


def measure(lines: list[tuple[str, list[Read]]]) -> Tally:
    """All counts. A finding of the gold that is not read at all counts as `unknown`."""
    tally = Tally()
    for sentence, gold in lines:
        matched = pairs(gold, read_sentence(sentence))
        for g, r in matched:
            told = r.status if r else "unknown"
            tally.read[told] += 1
            if g:
                tally.gold[g.status] += 1
                tally.right[g.status] += g.status == told
                tally.side_gold += len(g.sides)
            if r:
                tally.side_read += len(r.sides)
            if g and r:
                tally.side_right += len(g.sides & r.sides)
            tally.harmful += harmful(g, told)
        if any(g != r and not (g and g.status == "unknown" and r is None) for g, r in matched):
            tally.wrong.append(f"{sentence!r}\n    gold {_told(gold)}\n    read {_told([r for _, r in matched if r])}")
    return tally


def harmful(gold: Read | None, told: str) -> bool:
    """True where what was read would make a wrong contradiction of a right answer."""
    if told in SILENT:
        return False
    truth = gold.status if gold else "unknown"
    if truth == "limited" and told == "absent":
        return True
    return truth in SILENT or (truth == "present") != (told == "present")


def _told(reads: list[Read]) -> str:
    return "; ".join(" ".join([r.name, r.status, *sorted(r.sides)]) for r in reads)


def table(tally: Tally) -> str:
    """The counts as a Markdown table."""
    lines = ["| status | in the gold | read | right | precision | recall |", "|---|---|---|---|---|---|"]
    rows = [(s, tally.gold[s], tally.read[s], tally.right[s]) for s in STATUSES]
    rows.append(("all statuses", sum(tally.gold.values()), sum(tally.read.values()), sum(tally.right.values())))
    rows.append(("sides", tally.side_gold, tally.side_read, tally.side_right))
    for name, gold, read, right in rows:
        lines.append(f"| {name} | {gold} | {read} | {right} | {_share(right, read)} | {_share(right, gold)} |")
    return "\n".join([*lines, "", f"harmful readings: {tally.harmful}"])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def main() -> None:
    """Prints the table of every given gold file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gold", type=Path, nargs="+")
    parser.add_argument("--errors", action="store_true", help="also list every sentence that is read wrongly")
    given = parser.parse_args()
    for path in given.gold:
        lines = gold_lines(path)
        tally = measure(lines)
        wrong = len(tally.wrong)
        print(f"\n{path}: {len(lines)} sentences, {len(lines) - wrong} read right in everything\n\n{table(tally)}")
        if given.errors:
            print("\n" + "\n".join(tally.wrong))


if __name__ == "__main__":
    main()
