"""The embedded dataset as a registered one: generated into the run folder, already split."""

from __future__ import annotations

from pathlib import Path

from mmedpo.config import PhantomSettings
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress
from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, write_phantoms
from mmedpo.registry import register


@register("dataset", "phantom")
class Phantom:
    """Generated radiographs: training with priors; validation and `test-balanced` without; `test` with."""

    name = "phantom"
    data_use: DataUse = "open"

    def __init__(self, phantom: PhantomSettings | None = None) -> None:
        self.phantom = phantom or PhantomSettings()

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Generates what is not there yet; the same settings give the same bytes."""
        plan = [
            ("train", self.phantom.train_images, TRAINING_PRIORS),
            ("validation", self.phantom.validation_images, BALANCED_PRIORS),
            ("test-balanced", self.phantom.test_images, BALANCED_PRIORS),
            ("test", self.phantom.test_images, TRAINING_PRIORS),
        ]
        total, done, examples = sum(count for _, count, _ in plan), 0, []
        for split, count, priors in plan:

            def advance(here: int, _: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + here, total)

            examples += write_phantoms(root, split, count, self.phantom.seed, priors, self.phantom.size, advance)
            done += count
        return DatasetReading(examples)
