"""The embedded dataset as a registered one: generated into the run folder, already split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from mmedpo.config import Settings
from mmedpo.config.groups import Seed
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress
from mmedpo.data.phantom import WORLDS, WorldName, severity, write_phantoms
from mmedpo.records import Example
from mmedpo.registry import register

SPLITS = ("train", "validation", "test-balanced", "test")
"""In the order they are generated in."""


class PhantomSettings(Settings):
    """`data.phantom.*`: the embedded dataset of generated radiographs."""

    train_images: int = Field(240, ge=2, le=1_000_000)
    """Images the preference pairs are made from, drawn with the priors of the world."""
    validation_images: int = Field(60, ge=2, le=1_000_000)
    """Images for choosing learning rate and stopping, balanced against the priors."""
    test_images: int = Field(120, ge=2, le=1_000_000)
    """Images of each of the two test splits: with the priors of the world, and balanced against them."""
    size: int = Field(128, ge=96, le=4096)
    """Height and width, pixels."""
    world: WorldName = "clinic"
    """Where the images come from: their priors and their grain; the embedded model grew up in the clinic."""
    seed: Seed = 0
    """Seed of the dataset: the same data for every run seed, as with a real dataset."""


@register("dataset", "phantom")
class Phantom:
    """Generated radiographs: training with priors; validation and `test-balanced` without; `test` with."""

    name = "phantom"
    data_use: DataUse = "open"
    generated = True
    settings = PhantomSettings

    def __init__(self, own: PhantomSettings | None = None) -> None:
        self.own = own or PhantomSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Generates what is not there yet; the same settings give the same bytes."""
        own = self.own
        world = WORLDS[own.world]
        plan = dict(
            zip(SPLITS, (own.train_images, own.validation_images, own.test_images, own.test_images), strict=True)
        )
        total, done, examples = sum(plan.values()), 0, []
        for split, count in plan.items():

            def advance(here: int, _: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + here, total)

            examples += write_phantoms(root, split, count, own.seed, world.of(split), own.size, advance, world.grain)
            done += count
        return DatasetReading(examples)

    def severity(self, example: Example) -> Mapping[tuple[str, ...], float]:
        """See `Dataset`."""
        return severity(example, self.own.seed, WORLDS[self.own.world].of(example.split))
