"""Lesion reliance: does the answer's probability fall when the lesion, and not just any area, is noised?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from mmedpo.config import NoiseSettings
from mmedpo.config.groups import Settings
from mmedpo.evaluate.probes.lesions import about_a_lesion, lesion_of
from mmedpo.evaluate.probes.probe import Prepared, Probe, Subject, Workplace
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import elsewhere_heatmap, inside_of_patient, noise_image
from mmedpo.imaging.pictures import image_file, png_bytes
from mmedpo.records import Drop, Example, NoiseSpec, Reliance
from mmedpo.records.shapes import Heatmap
from mmedpo.registry import register
from mmedpo.seeds import derive_seed
from mmedpo.storage.tables import write_bytes

REGIONS = ("lesion", "elsewhere")
"""What is noised, one region a view."""


class LesionRelianceSettings(Settings):
    """`evaluate.probes.lesion-reliance`."""

    images: int = Field(ge=1, le=1_000_000)
    """Images it is measured on, of those with annotated lesions."""


@register("probe", "lesion-reliance")
class LesionReliance(Probe[Reliance]):
    """Fall of log pi(y_w), nats, when one region of the image is noised; positive means it falls."""

    title = "Lesion reliance"
    unit = "nats"
    quantities: ClassVar[Mapping[str, str]] = {
        "lesion": "lesion noised",
        "elsewhere": "elsewhere noised",
        "contrast": "contrast",
    }
    headline = "contrast"
    about = "fall of log pi(y_w) with the lesion noised minus elsewhere noised"
    record = Reliance
    options = LesionRelianceSettings
    several = True

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions about lesions, with both noised views of every image that has a place for them."""
        asked = choose_examples(examples, self.settings.images)
        drops = write_views(place, asked)
        return Prepared([example for example in asked if example.image.sha256 not in drops], tuple(drops.values()))

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Reliance]:
        """log pi(y_w) under three views of every question."""
        shown = [
            [
                (image_file(subject.image_root, example.image.path), example),
                *((view_of(subject.folder, example, region), example) for region in REGIONS),
            ]
            for example in examples
        ]
        return [
            Reliance(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                clean=clean,
                lesion=lesion,
                elsewhere=elsewhere,
            )
            for example, (clean, lesion, elsewhere) in zip(examples, subject.of_each(shown), strict=True)
        ]

    def values(self, rows: Sequence[Reliance]) -> Mapping[str, Mapping[str, float]]:
        """The falls, and how much further log pi falls in the lesion than elsewhere."""
        return {
            "lesion": {row.example_id: row.clean - row.lesion for row in rows},
            "elsewhere": {row.example_id: row.clean - row.elsewhere for row in rows},
            "contrast": {row.example_id: row.elsewhere - row.lesion for row in rows},
        }


def choose_examples(examples: Sequence[Example], images: int) -> list[Example]:
    """Questions about lesions on the first `images` images that have any annotated."""
    chosen: list[Example] = []
    seen: set[str] = set()
    for example in examples:
        if not about_a_lesion(example):
            continue
        if example.image.sha256 not in seen and len(seen) >= images:
            continue
        seen.add(example.image.sha256)
        chosen.append(example)
    return chosen


def write_views(place: Workplace, examples: Sequence[Example]) -> dict[str, Drop]:
    """Noises the annotated lesion, and an equal area elsewhere, of every image, where `view_of` finds them.

    Returns:
        image hash -> drop, for images on which no equal area lies elsewhere inside the patient.
    """
    drops: dict[str, Drop] = {}
    seen: set[str] = set()
    advance = place.track("noising probes")
    for number, example in enumerate(examples, start=1):
        if example.image.sha256 not in seen:
            seen.add(example.image.sha256)
            lesion = lesion_of(place.image_root, example).astype(np.float32)
            body = inside_of_patient(read_image(place.image_root, example.image.path))
            elsewhere = elsewhere_heatmap(lesion, derive_seed(0, "elsewhere", example.image.sha256), body)
            if elsewhere is None:
                reason = "no-equal-area-elsewhere"
                drops[example.image.sha256] = Drop(stage=place.stage, item=example.image.path, reason=reason)
            else:
                for region, heatmap in zip(REGIONS, (lesion, elsewhere), strict=True):
                    _write(place, example, heatmap, region)
        advance(number, len(examples))
    return drops


def view_of(folder: Path, example: Example, region: str) -> Path:
    """Where the view of the example's image lies in which a region is noised."""
    return folder / f"{example.image.sha256[:16]}-{region}.png"


def _write(place: Workplace, example: Example, heatmap: Heatmap, region: str) -> None:
    # The probe's noise is the same whatever the run trained with, so that arms can be compared.
    settings = NoiseSettings()
    spec = NoiseSpec(
        step=settings.step, schedule=settings.schedule, seed=derive_seed(0, "reliance", example.image.sha256)
    )
    noised = noise_image(read_image(place.image_root, example.image.path), heatmap, spec)
    write_bytes(view_of(place.folder, example, region), png_bytes(noised))
