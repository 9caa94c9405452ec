"""Attention: where on the image answers come from, before and after tuning, with the lesion's outline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mmedpo.errors import MMedPOError
from mmedpo.grounding.overlay import overlay
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import read_mask
from mmedpo.records import MAP_SIDE, Example, Looking, ProbeSummary
from mmedpo.records.shapes import Heatmap
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import number
from mmedpo.report.parts import Part, Picture
from mmedpo.report.pictures import picture, shuffled
from mmedpo.report.section import NARROW, WIDE, Section, svg
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import direction
from mmedpo.run import Run
from mmedpo.run.layout import measured_by

PROBE = "attention"
SHOWN = 4
"""Questions whose maps are drawn."""
SHARE = Metric(key=PROBE, name="the share inside the lesion", higher_is_better=None)
KINDS = {"attention": "attention", "relevance": "gradient"}
"""Quantities that have a map, in words."""


class Map(Part):
    """One map of one model, over the image."""

    model: str
    kind: str
    share: float
    """Inside the lesion."""
    picture: Picture | None = None


class AttentionSample(Part):
    """One question with its maps."""

    question: str
    answer: str
    chance: float
    """Share of tokens that all weigh alike."""
    maps: tuple[Map, ...]
    reason: str = ""
    """Why pictures are missing."""


class ShareRow(Part):
    """One quantity of one model."""

    kind: str
    model: str
    share: Interval


class AttentionPart(Part):
    """Shares inside the lesion, and some maps."""

    rows: tuple[ShareRow, ...]
    chance: float
    """Mean share of the lesion in what the models are shown."""
    questions: int
    told: tuple[str, ...]
    """One sentence for each quantity: rose, fell, or no change shown."""
    samples: tuple[AttentionSample, ...] = ()
    note: str = ""
    level: float = 0.95


@register("section", "attention")
class AttentionSection(Section[AttentionPart]):
    """Attention to the image."""

    heading = "Where it looks"
    order = 205
    template = "attention.html.j2"
    probe = PROBE

    def gather(self, run: Run, stored: Stored) -> AttentionPart | None:
        """None when it was not measured."""
        summary = stored.probe(PROBE)
        if summary is None or stored.evaluation is None:
            return None
        rows = {
            model: {row.example_id: row for row in run.read(measured_by(PROBE, model), Looking)}
            for model in stored.evaluation.models
        }
        if not rows[stored.evaluation.models[0]]:
            return None
        part = attention(summary, rows)
        asked = [stored.examples[name] for name in rows[stored.evaluation.models[0]] if name in stored.examples]
        seed = stored.settings.seed
        drawn = shuffled(asked, seed, "attention", lambda example: example.example_id)[:SHOWN]
        first_last = {
            model: rows[model] for model in dict.fromkeys((stored.evaluation.models[0], stored.evaluation.models[-1]))
        }
        samples = tuple(_sample(run, example, first_last) for example in drawn)
        note = f"{len(samples)} of {part.questions} questions, drawn with seed {seed}."
        return part.model_copy(update={"samples": samples, "note": note})

    def draw(self, part: AttentionPart) -> Mapping[str, object]:
        """The shares of every model."""
        return {
            "metric": SHARE,
            "wide": svg(share_plot(part, WIDE)),
            "narrow": svg(share_plot(part, NARROW, narrow=True)),
        }


def attention(summary: ProbeSummary, rows: Mapping[str, Mapping[str, Looking]]) -> AttentionPart:
    """Shares with intervals, and whether they rose; without pictures."""
    models = list(rows)
    shares, told = [], []
    for quantity, kind in KINDS.items():
        for model in models:
            found = summary.part(quantity, model)
            if found is not None:
                share = Interval(value=found.mean, low=found.low, high=found.high)
                shares.append(ShareRow(kind=kind, model=model, share=share))
        change = summary.part(quantity, models[-1], models[0])
        if change is not None:
            told.append(
                _told(kind, models[0], models[-1], Interval(value=change.mean, low=change.low, high=change.high))
            )
    first = list(rows[models[0]].values())
    return AttentionPart(
        rows=tuple(shares),
        chance=sum(row.chance for row in first) / len(first),
        questions=len(first),
        told=tuple(told),
    )


def _told(kind: str, first: str, last: str, change: Interval) -> str:
    found = direction(Comparison(metric=PROBE, arm=last, baseline=first, difference=change))
    value, low, high = (None if x is None else 100 * x for x in (change.value, change.low, change.high))
    bounds = f"{number(value, 1, sign=True)} points ({number(low, 1, sign=True)} to {number(high, 1, sign=True)})"
    verb = {"up": "rises", "down": "falls"}.get(found)
    if verb is None:
        return f"No change of the {kind} inside the lesion is shown from {first} to {last}: {bounds}."
    return f"The {kind} inside the lesion {verb} from {first} to {last}: {bounds}."


def _sample(run: Run, example: Example, rows: Mapping[str, Mapping[str, Looking]]) -> AttentionSample:
    """Maps of one question; the maps of one kind share their scale, so that models can be compared."""
    found = {model: own[example.example_id] for model, own in rows.items() if example.example_id in own}
    maps, reason = [], ""
    for quantity, kind in KINDS.items():
        grids = {model: _grid(getattr(row, f"{quantity}_map")) for model, row in found.items()}
        top = max((float(grid.max()) for grid in grids.values() if grid is not None), default=0.0)
        for model, grid in grids.items():
            shown = None
            try:
                shown = None if grid is None else _drawn(run, example, grid / top if top > 0 else grid)
            except (MMedPOError, OSError, ValueError) as error:
                reason = str(error)
            maps.append(Map(model=model, kind=kind, share=getattr(found[model], quantity), picture=shown))
    chance = next(iter(found.values())).chance
    return AttentionSample(
        question=example.question, answer=example.answer, chance=chance, maps=tuple(maps), reason=reason
    )


def _grid(values: Sequence[float]) -> Heatmap | None:
    """None where the table holds no map of this size."""
    if len(values) != MAP_SIDE**2:
        return None
    return np.asarray(values, dtype=np.float32).reshape(MAP_SIDE, MAP_SIDE)


def _drawn(run: Run, example: Example, heat: Heatmap) -> bytes:
    """PNG: the image, the heat over it, the lesion's outline, or its boxes where it has no mask."""
    pixels = read_image(run.image_root, example.image.path)
    height, width = pixels.shape[:2]
    smooth = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    lesion = None if example.mask_path is None else read_mask(run.image_root, example.mask_path)
    boxes = example.boxes if lesion is None else ()
    return picture(overlay(pixels, np.asarray(smooth, dtype=np.float32), boxes, lesion))


def share_plot(part: AttentionPart, width: float, *, narrow: bool = False) -> str:
    """Share inside the lesion, %: attention and gradient of every model, and what chance would give."""
    models = list(dict.fromkeys(row.model for row in part.rows))
    rows = []
    for row in part.rows:
        value, low, high = (None if x is None else 100 * x for x in (row.share.value, row.share.low, row.share.high))
        text = f"{number(value, 1)} ({number(low, 1)} to {number(high, 1)})"
        rows.append(
            figures.ForestRow(row.model, value, low, high, text, group=row.kind, series=models.index(row.model))
        )
    chance = 100 * part.chance
    rows.append(
        figures.ForestRow("all tokens alike", chance, text=number(chance, 1), group="chance", hollow=True, series=2)
    )
    title = "Share inside the lesion, every model"
    return figures.forest(rows, title=title, axis="% inside the lesion", width=width, narrow=narrow)
