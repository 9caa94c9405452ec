"""The numbers of a comparison as Markdown tables: cards of fitted probes and `mmedpo ground evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mmedpo.grounding.comparison import Case, Line
from mmedpo.grounding.measures import DRAWS


def counts(cases: Sequence[Case]) -> str:
    """One sentence: how many images of which kind, how many patients, by projection."""
    parts = []
    for projection in sorted({case.projection for case in cases}):
        inside = [case for case in cases if case.projection == projection]
        marked, normal = [case for case in inside if case.positive], sum(case.normal for case in inside)
        name = projection.upper() or "projection not told"
        parts.append(
            f"{name}: {len(marked)} with a lesion ({len({case.patient for case in marked})} patients), "
            f"{normal} normal, {len(inside) - len(marked) - normal} others"
        )
    return "; ".join(parts) + "."


def without_map(cases: Sequence[Case], names: Sequence[str]) -> list[str]:
    """How many images each tool left without a map, and why: one sentence for each tool and reason."""
    reasons = Counter(
        (name, case.reasons.get(name, "no map")) for name in names for case in cases if name not in case.maps
    )
    return [f"{name}: {count} images without a map: {why}" for (name, why), count in reasons.items()]


def table(lines: Iterable[Line], group: str) -> str:
    """One group's lines: measures down, who across is written out, so that a row can be quoted alone."""
    rows = [line for line in lines if line.group == group]
    out = ["| measure | who | value | 95 % interval | images | patients |", "|---|---|---|---|---|---|"]
    for line in rows:
        number = line.number
        value = "unscored" if number.value != number.value else f"{number.value:.3f}"
        interval = "" if number.low != number.low else f"{number.low:.3f} to {number.high:.3f}"
        out.append(f"| {line.measure} | {line.who} | {value} | {interval} | {number.n} | {number.patients} |")
    return "\n".join(out)


def tables(lines: Sequence[Line], level: str = "##") -> str:
    """Every group under its heading, in the order of the lines."""
    names = dict.fromkeys(line.group for line in lines)
    return "\n\n".join(f"{level} {name[0].upper() + name[1:]}\n\n{table(lines, name)}" for name in names)


HOW = (
    "Every measure is of the heatmap as it is used for noise. Localisation: mean over patients of each patient's mean. "
    "Peak in lesion: places that share the highest value count by their share. Priors look at no pixel: the position "
    "prior is the mean lesion map of all other patients of the same projection, the centre prior one Gaussian bump; "
    "both are drawn as a tool's map is. The confidence is set against images of the same group only; the calibration "
    f"error as if half of the images had a lesion. Intervals: 95 %, {DRAWS} bootstrap draws of whole patients."
)
"""What the reader must know of the numbers."""
