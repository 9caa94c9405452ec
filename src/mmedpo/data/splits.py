"""Splits that share neither patient nor image, and a report of what a given split shares. Pure.

Splits are drawn by the hash of the bytes. The leak report also counts pictures that look the same under
other bytes (re-encoded, scaled), by their perceptual hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from mmedpo.errors import ConfigError
from mmedpo.imaging.perceptual import near_pairs
from mmedpo.linking import linked
from mmedpo.records import Example

SplitKey = Literal["patient", "image"]


def disjoint_split(
    examples: Sequence[Example],
    fractions: Mapping[str, float],
    seed: int,
    by: Sequence[SplitKey] = ("patient", "image"),
    held: Mapping[str, str] | None = None,
) -> list[Example]:
    """Assigns every example a split such that no two splits share a patient or an image.

    Examples linked by a patient or an image (through any chain) form one group. A group goes where the
    hash of `seed` and its smallest patient id (image hash, if it has no patient) falls, so neither the
    order of the examples nor further patients move an existing group. Sizes are therefore only close to
    the fractions, and closer the more groups there are.

    Args:
        examples: their present `split` is ignored.
        fractions: split name to share of the groups; they sum to 1.
        seed: another seed gives another split.
        by: what must not be shared; at least one of `patient` and `image`.
        held: example id to the split it must keep. Its whole group goes there, and nothing else is drawn into
            such a split.

    Returns:
        The examples in their given order, `split` replaced.

    Raises:
        ConfigError: fractions are negative or do not sum to 1, or `by` names nothing known.
    """
    _check(fractions, by)
    groups = linked([_keys(example, by) for example in examples])
    fixed: dict[tuple[int, str], str] = {}
    for example, group in zip(examples, groups, strict=True):
        split = (held or {}).get(example.example_id)
        if split is not None and fixed.get(group, "validation") == "validation":
            fixed[group] = split  # of several, not the one that settings are chosen on
    open_to = _remaining(fractions, set(fixed.values()))
    return [
        example.model_copy(update={"split": fixed.get(group) or _draw(group, seed, open_to)})
        for example, group in zip(examples, groups, strict=True)
    ]


def _remaining(fractions: Mapping[str, float], taken: set[str]) -> Mapping[str, float]:
    """The fractions of the splits that are still drawn, summing to 1; all of it training where none is left."""
    if not taken:
        return fractions
    left = {name: share for name, share in fractions.items() if name not in taken}
    total = sum(left.values())
    return {name: share / total for name, share in left.items()} if total > 0 else {"train": 1.0}


@dataclass(frozen=True)
class Overlap:
    """What two splits share."""

    fit: str
    """The split a model learns from (`train` whenever it is one of the two)."""
    held: str
    """The split it is judged on."""
    images: int
    """Images of `held` that also occur in `fit`."""
    held_images: int
    """Images of `held` in all."""
    patients: int
    """Patients of `held` that also occur in `fit`."""
    held_patients: int
    """Patients of `held` in all; examples without a patient id are not counted."""
    questions: int
    """Pairs of image and question (case and spacing ignored) of `held` that also occur in `fit`."""
    lookalikes: int = 0
    """Further images of `held` that look like one of `fit` under other bytes."""

    @property
    def clean(self) -> bool:
        """True when nothing is shared."""
        return self.images == self.patients == self.questions == self.lookalikes == 0


@dataclass(frozen=True)
class LeakReport:
    """What every two splits of a dataset share."""

    overlaps: tuple[Overlap, ...]
    """One per pair of splits."""

    @property
    def clean(self) -> bool:
        """True when no two splits share an image, a patient or a question on an image."""
        return all(overlap.clean for overlap in self.overlaps)

    def lines(self) -> list[str]:
        """One sentence for every pair of splits that shares something."""
        return [
            f"{o.images} of the {o.held_images} images of split {o.held!r} also occur in {o.fit!r}, "
            f"as do {o.patients} of its {o.held_patients} patients and {o.questions} of its questions word for word"
            + (f"; {o.lookalikes} more look the same under other bytes" if o.lookalikes else "")
            for o in self.overlaps
            if not o.clean
        ]


def leak_report(examples: Sequence[Example]) -> LeakReport:
    """Counts images, patients and questions that occur in more than one split."""
    images: dict[str, dict[str, str]] = {}
    patients: dict[str, set[str]] = {}
    questions: dict[str, set[tuple[str, str]]] = {}
    for example in examples:
        images.setdefault(example.split, {}).update({image.sha256: image.perceptual for image in example.images})
        patients.setdefault(example.split, set())
        if example.patient_id is not None:
            patients[example.split].add(example.patient_id)
        asked = " ".join(example.question.casefold().split())
        questions.setdefault(example.split, set()).add((example.image.sha256, asked))
    names = sorted(images, key=lambda name: (name != "train", name != "validation", name))
    return LeakReport(
        tuple(
            Overlap(
                fit=fit,
                held=held,
                images=len(images[fit].keys() & images[held].keys()),
                held_images=len(images[held]),
                patients=len(patients[fit] & patients[held]),
                held_patients=len(patients[held]),
                questions=len(questions[fit] & questions[held]),
                lookalikes=_lookalikes(images[fit], images[held]),
            )
            for fit, held in combinations(names, 2)
        )
    )


def _lookalikes(fit: Mapping[str, str], held: Mapping[str, str]) -> int:
    """How many images of `held` (hash of bytes to perceptual hash) only look like one of `fit`."""
    others = [look for sha, look in held.items() if sha not in fit]
    return len({j for _, j in near_pairs(list(fit.values()), others)})


def _keys(example: Example, by: Sequence[SplitKey]) -> list[tuple[int, str]]:
    keys = []
    if "patient" in by and example.patient_id is not None:
        keys.append((0, example.patient_id))  # 0 sorts first: a group is known by a patient when it has one
    if "image" in by or not keys:
        keys += [(1, image.sha256) for image in example.images]
    return keys


def _draw(group: tuple[int, str], seed: int, fractions: Mapping[str, float]) -> str:
    digest = hashlib.sha256(f"{seed}/{group[0]}/{group[1]}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    top = 0.0
    usable = [(name, share) for name, share in fractions.items() if share > 0]
    for name, share in usable:
        top += share
        if point < top:
            return name
    return usable[-1][0]  # the shares sum to a rounding error less than 1


def _check(fractions: Mapping[str, float], by: Sequence[SplitKey]) -> None:
    shares = list(fractions.values())
    if not shares or not all(math.isfinite(s) and s >= 0 for s in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"split fractions {dict(fractions)} must be at least 0 each and sum to 1; correct them")
    if not by or not set(by) <= {"patient", "image"}:
        raise ConfigError(f"a split by {list(by)} is unknown; allowed: patient, image, or both")
