"""The `data` stage: a dataset's folder to examples with splits."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence

from mmedpo.config import RunSettings
from mmedpo.data.dataset import DatasetSettings, InRun, make_dataset
from mmedpo.errors import ConfigError, DataError
from mmedpo.records import DataNotes, Drop, Example
from mmedpo.run import Run, Stage, picked
from mmedpo.run.layout import DATA, DATA_NOTES, EXAMPLES
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import move, stamp_path
from mmedpo.storage.remote import located
from mmedpo.storage.tables import write_text

MINIMUM_TRAIN = 8
"""Fewer training questions than this are refused."""


def stage(settings: RunSettings) -> Stage:
    """What the examples are made from: the settings, and the files of the dataset's folder."""
    data = settings.data
    content = picked(settings, "data", *(("seed",) if data.max_train_examples is not None else ()))
    if data.root is None:
        return Stage("data", load_data, content, writes=(EXAMPLES, DATA_NOTES, DATA))
    root = located(data.root)
    if not root.is_dir():
        raise ConfigError(f"data.root={str(root)!r} is not a folder; give the dataset's folder as downloaded")
    # Names, sizes and times: cheap, and different when the data is.
    content["files"] = stamp_path(root)
    return Stage("data", load_data, content, writes=(EXAMPLES, DATA_NOTES), may_write=(DATA,))


def load_data(run: Run) -> list[Example]:
    """Reads the dataset of the recipe; writes `examples.parquet` and `data.json` (notes, counts).

    Images that lie inside a table are written into the run, never into the dataset's folder.

    Raises:
        DataError: the folder is missing or not the dataset, or too few training examples are usable.
    """
    settings = run.settings.data
    dataset = make_dataset(settings)
    root = run.file(DATA) if settings.root is None else located(settings.root)
    if settings.root is not None:
        shutil.rmtree(run.path / DATA, ignore_errors=True)  # of a run that was killed here
    told = InRun(**settings.model_dump(include=set(DatasetSettings.model_fields)), extracted=run.work_folder / DATA)
    reading = dataset.read(root, told, run.track("reading images"))
    examples, drops = reading.examples, list(reading.drops)
    if settings.max_train_examples is not None:
        examples, left_out = limit_training(examples, settings.max_train_examples, run.settings.seed)
        drops += left_out
    counts = Counter(example.split for example in examples)
    # Where answers made elsewhere are scored, nothing is trained.
    if counts["train"] < MINIMUM_TRAIN and not run.settings.evaluate.answers:
        raise DataError(
            f"dataset {settings.dataset!r} has {counts['train']} usable training questions, at least {MINIMUM_TRAIN} "
            f"are needed ({len(drops)} dropped); check data.root and data.max_train_examples"
        )
    for note in reading.notes:
        run.message(note)
    run.write(EXAMPLES, Example, examples)
    content = DataNotes(notes=tuple(reading.notes), questions=counts, data_use=dataset.data_use)
    write_text(run.file(DATA_NOTES), content.model_dump_json(indent=1))
    run.write_drops(drops)
    if reading.extracted is not None:
        # Last: where this folder is says where the examples' images lie.
        move(run.work_folder / DATA, run.file(DATA))
    run.message(", ".join(f"{count} {split}" for split, count in counts.items()) + " questions")
    return examples


def limit_training(examples: Sequence[Example], most: int, seed: int) -> tuple[list[Example], list[Drop]]:
    """Keeps whole images of the training split, in a seeded order, until `most` questions are reached."""
    images = {example.image.sha256 for example in examples if example.split == "train"}
    sizes = Counter(example.image.sha256 for example in examples if example.split == "train")
    kept: set[str] = set()
    total = 0
    for image in sorted(images, key=lambda sha: derive_seed(seed, "limit", sha)):
        if total + sizes[image] <= most:
            kept.add(image)
            total += sizes[image]
    chosen, drops = [], []
    for example in examples:
        if example.split != "train" or example.image.sha256 in kept:
            chosen.append(example)
        else:
            detail = f"data.max_train_examples={most}"
            drops.append(Drop(stage="data", item=example.example_id, reason="over-the-limit", detail=detail))
    return chosen, drops
