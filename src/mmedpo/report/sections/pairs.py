"""Preference pairs: some of them, with their pictures and what is wrong about the rejected side."""

from __future__ import annotations

from mmedpo.records import PreferencePair
from mmedpo.registry import register
from mmedpo.report.formatting import count
from mmedpo.report.parts import Part, Picture
from mmedpo.report.pictures import shuffled, stored_picture, stored_pictures
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run

PAIRS = 8


class PairSample(Part):
    """One preference pair with its pictures."""

    pair: PreferencePair
    image: Picture | None = None
    other_images: tuple[Picture | None, ...] = ()
    """What is shown behind it."""
    rejected_image: Picture | None = None
    """The noised view of a visual pair."""
    wrong: str = ""
    """What the rejected side gets wrong, in words."""


class Pairs(Part):
    """Some pairs, and how they were drawn."""

    samples: tuple[PairSample, ...]
    note: str = ""


@register("section", "pairs")
class PairsSection(Section[Pairs]):
    """Preference pairs."""

    heading = "Preference pairs"
    order = 1000
    template = "pairs.html.j2"

    def gather(self, run: Run, stored: Stored) -> Pairs | None:
        """Text and visual pairs in equal parts, as far as there are any."""
        return pair_samples(run, stored)


def pair_samples(run: Run, stored: Stored) -> Pairs | None:
    """Text and visual pairs in equal parts (as far as there are any), and a line on how they were drawn."""
    seed = stored.settings.seed
    by_kind = {
        kind: shuffled([p for p in stored.pairs if p.kind == kind], seed, "pairs", lambda pair: pair.pair_id)
        for kind in ("text", "visual")
    }
    half = PAIRS // 2
    text = min(len(by_kind["text"]), max(half, PAIRS - len(by_kind["visual"])))
    drawn = by_kind["text"][:text] + by_kind["visual"][: PAIRS - text]
    if not drawn:
        return None
    shown = [
        f"{sum(pair.kind == kind for pair in drawn)} of {count(len(pairs))} {kind} pairs"
        for kind, pairs in by_kind.items()
        if pairs
    ]
    # Turn and turn about, so that whoever looks at the first few sees both kinds.
    order = sorted(range(len(drawn)), key=lambda i: (i if i < text else i - text, i))
    return Pairs(
        samples=tuple(_pair(run, stored, drawn[i]) for i in order),
        note=f"{' and '.join(shown)}, drawn with seed {seed}.",
    )


def _pair(run: Run, stored: Stored, pair: PreferencePair) -> PairSample:
    verdict = stored.verdicts.get(pair.example_id) if pair.kind == "text" else None
    rejected, missing = None, ""
    if pair.rejected_image_path is not None:
        rejected, missing = stored_picture(run.path, pair.rejected_image_path)
    (image, *others), why = stored_pictures(run.image_root, pair.images)
    wrong = [f"judge: {verdict.reason}" if verdict and verdict.reason else "", *why, missing]
    return PairSample(
        pair=pair,
        image=image,
        other_images=tuple(others),
        rejected_image=rejected,
        wrong="; ".join(part for part in wrong if part),
    )
