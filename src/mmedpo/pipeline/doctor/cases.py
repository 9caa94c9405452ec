"""What a model is examined on: a few questions of a recipe's data, or made-up ones on two made-up pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from mmedpo.config import RunSettings
from mmedpo.data.stage import stage as data_stage
from mmedpo.imaging.pictures import image_files, png_bytes
from mmedpo.progress import Reporter
from mmedpo.records import Example
from mmedpo.run import open_run
from mmedpo.run.layout import EXAMPLES

MOST = 6
"""Questions of a dataset that are looked at closely."""


class Case(NamedTuple):
    """A question on one image, or several, with two different answers."""

    views: tuple[Path, ...]
    question: str
    chosen: str
    rejected: str


class Cases(NamedTuple):
    """What there is to ask."""

    cases: list[Case]
    """At least two pictures."""
    examples: list[Example]
    """Every training question of the recipe's data; empty without data."""
    everything: list[Example]
    """Every question of every split; empty without data."""
    image_root: Path
    """Folder the examples' images are relative to."""


@contextmanager
def made_up() -> Iterator[Cases]:
    """Two pictures and two questions on each; the files are gone at the end."""
    with TemporaryDirectory(prefix="mmedpo-doctor-") as folder:
        views = []
        for number, size in enumerate(((240, 320), (320, 240))):
            rows, columns = np.indices(size)
            noise = np.random.default_rng(number).integers(0, 96, size)
            smooth = 160 * np.hypot(rows - size[0] / 2, columns - size[1] / 3 * (1 + number)) / max(size)
            views.append(Path(folder) / f"picture-{number}.png")
            views[-1].write_bytes(png_bytes(np.clip(smooth + noise, 0, 255).astype(np.uint8)))
        asked = (("Effusion?", "Yes.", "No."), ("Which plane?", "axial", "coronal"))
        cases = [Case((view,), *texts) for view in views for texts in asked]
        yield Cases(cases, [], [], Path(folder))


@contextmanager
def of_recipe(settings: RunSettings, reporter: Reporter) -> Iterator[Cases]:
    """Questions of a recipe's training split, read as a run reads them; nothing of it is kept."""
    with (
        TemporaryDirectory(prefix="mmedpo-doctor-") as folder,
        open_run(Path(folder) / "run", settings, reporter) as run,
    ):
        run.execute(data_stage(settings))
        everything = run.read(EXAMPLES, Example)
        train = [example for example in everything if example.split == "train"]
        yield Cases(_chosen(train, run.image_root), train, everything, run.image_root)


def _chosen(examples: Sequence[Example], root: Path) -> list[Case]:
    """A few questions, of two images at least, neighbours on one image; the other answer is another question's."""
    by_image: dict[str, list[Example]] = {}
    for example in examples:
        by_image.setdefault(example.image.sha256, []).append(example)
    images = sorted(by_image.values(), key=len, reverse=True)
    picked = [example for image in images[:2] for example in image[: MOST // 2]]
    answers = list(dict.fromkeys(example.answer for example in examples))
    return [
        Case(
            image_files(root, example.images),
            example.question,
            example.answer,
            next((answer for answer in answers if answer != example.answer), f"not {example.answer}"),
        )
        for example in picked
    ]
