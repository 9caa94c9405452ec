"""Lesion reliance: does the answer's probability fall when the lesion, and not just any area, is noised?"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmedpo.config import NoiseSettings
from mmedpo.engine import Branch, Engine, FeatureStore, build_branch
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import elsewhere_heatmap, inside_of_patient, noise_image
from mmedpo.models.slots import load_slot
from mmedpo.records import Drop, Example, NoiseSpec, Reliance
from mmedpo.run import Run
from mmedpo.run.layout import EXAMPLES
from mmedpo.seeds import derive_seed
from mmedpo.storage.tables import write_bytes

LESION_QUESTIONS = ("presence", "abnormality", "side", "zone", "count", "size")
"""Error types whose answer depends on the lesion."""


def choose_examples(run: Run, split: str) -> list[Example]:
    """Questions about lesions on the first `evaluate.reliance_images` images of a split that have any."""
    chosen: list[Example] = []
    images: dict[str, None] = {}
    for example in run.read(EXAMPLES, Example):
        usable = example.split == split and example.mask_path is not None and example.boxes
        if not usable or example.error_type not in LESION_QUESTIONS or example.answer_type == "report":
            continue
        if example.image.sha256 not in images and len(images) >= run.settings.evaluate.reliance_images:
            continue
        images[example.image.sha256] = None
        chosen.append(example)
    return chosen


def write_views(run: Run, examples: Sequence[Example]) -> tuple[dict[str, tuple[Path, Path]], list[Drop]]:
    """Noises the true lesion mask, and an equal area elsewhere, of every image; once for all models.

    Returns:
        image hash -> (lesion noised, elsewhere noised), and the images where no such place exists.
    """
    views: dict[str, tuple[Path, Path]] = {}
    drops: dict[str, Drop] = {}
    advance = run.track("noising probes")
    for number, example in enumerate(examples, start=1):
        sha = example.image.sha256
        if sha not in views and sha not in drops:
            assert example.mask_path is not None
            mask = read_image(run.image_root, example.mask_path)
            lesion = ((mask if mask.ndim == 2 else mask.max(axis=2)) > 0).astype(np.float32)
            body = inside_of_patient(read_image(run.image_root, example.image.path))
            elsewhere = elsewhere_heatmap(lesion, derive_seed(0, "elsewhere", sha), body)
            if elsewhere is None:
                drops[sha] = Drop(stage=run.current, item=example.image.path, reason="no-equal-area-elsewhere")
            else:
                views[sha] = (_write(run, example, lesion, "lesion"), _write(run, example, elsewhere, "elsewhere"))
        advance(number, len(examples))
    return views, list(drops.values())


def reliance_probe(
    run: Run, model: str, views: Mapping[str, tuple[Path, Path]]
) -> Callable[[Sequence[Example]], list[Reliance]]:
    """A model of the run, loaded: log pi(y_w) under three views of every example."""
    vlm = load_slot(run.slot(model))
    features = FeatureStore(vlm, lambda path: read_image(path.parent, path.name))
    engine = Engine.from_settings(vlm, features, run.settings)
    return lambda examples: measure_reliance(engine, examples, views, run.image_root, model, run.message)


def measure_reliance(
    engine: Engine,
    examples: Sequence[Example],
    views: Mapping[str, tuple[Path, Path]],
    image_root: Path,
    model: str,
    message: Callable[[str], None],
) -> list[Reliance]:
    """log pi(y_w) under three views of every example whose image has them."""
    usable = [example for example in examples if example.image.sha256 in views]
    branches: list[Branch] = []
    for example in usable:
        for view in (image_root / example.image.path, *views[example.image.sha256]):
            branches.append(
                build_branch(
                    engine.vlm,
                    view,
                    example.question,
                    example.answer,
                    max_length=engine.vlm.context_length,
                    owner=example.example_id,
                )
            )
    if not branches:
        return []
    longest = max(len(branch.prompt) + len(branch.response) for branch in branches)
    engine.settle(branches[:6], longest, strict=False, message=message)
    totals = engine.measure(branches).totals().tolist()
    return [
        Reliance(
            example_id=example.example_id,
            model=model,
            image_sha256=example.image.sha256,
            clean=totals[3 * number],
            lesion=totals[3 * number + 1],
            elsewhere=totals[3 * number + 2],
        )
        for number, example in enumerate(usable)
    ]


def _write(run: Run, example: Example, heatmap: np.ndarray, name: str) -> Path:
    from PIL import Image

    # The probe's noise is the same whatever the run trained with, so that arms can be compared.
    settings = NoiseSettings()
    spec = NoiseSpec(
        step=settings.step, schedule=settings.schedule, seed=derive_seed(0, "reliance", example.image.sha256)
    )
    noised = noise_image(read_image(run.image_root, example.image.path), heatmap, spec)
    buffer = io.BytesIO()
    Image.fromarray(noised).save(buffer, format="PNG")
    path = run.work_folder / "views" / f"{example.image.sha256[:16]}-{name}.png"
    write_bytes(path, buffer.getvalue())
    return path
