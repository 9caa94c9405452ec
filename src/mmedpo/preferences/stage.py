"""The `import` stage: ready-made preference pairs take the place of curation."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from mmedpo.config import RunSettings
from mmedpo.errors import CurationError
from mmedpo.preferences.moving import Moving
from mmedpo.preferences.pairs import exclude_test_images, read_pairs
from mmedpo.records import Candidate, Drop, Example, PreferencePair, Verdict
from mmedpo.run import Run, Stage, picked
from mmedpo.run.layout import CANDIDATES, CURATED, EXAMPLES, IMAGES, VERDICTS
from mmedpo.storage.files import hash_input
from mmedpo.storage.paths import safe_join
from mmedpo.storage.tables import atomic_path


def stage(settings: RunSettings) -> Stage:
    """What an import is made from; it takes the place, and the name, of curation."""
    assert settings.preferences is not None
    content = {**picked(settings, "preferences"), "file": hash_input(settings.preferences.path)}
    writes = (CANDIDATES, VERDICTS, IMAGES, CURATED)
    return Stage("curate", import_pairs, content, reads=(EXAMPLES,), writes=writes)


def import_pairs(run: Run) -> list[PreferencePair]:
    """Reads the preference file of the recipe, joined to the run's examples.

    Writes `curated.parquet`, and into `images/` the rejected images of visual pairs. Pairs whose image
    lies in a validation or test split are dropped and counted: training on them would be training on the test.

    Raises:
        CurationError: no pair is left.
    """
    settings = run.settings.preferences
    assert settings is not None
    examples = run.read(EXAMPLES, Example)
    image_root = settings.image_root or (run.image_root / examples[0].image.path).parent
    imported = read_pairs(
        settings.path, image_root, examples, format_name=settings.format, extract=run.work_folder / "inside"
    )
    moving = Moving(image_root, imported.embedded, run.path)
    for note in imported.notes:
        run.message(note)
    held_out = [example for example in examples if example.split != "train"]
    kept, excluded = exclude_test_images(imported.pairs, held_out, examples)
    known = {image.sha256: image for example in examples for image in example.images}
    run.file(IMAGES).mkdir(exist_ok=True)
    pairs: list[PreferencePair] = []
    drops = [*imported.drops, *excluded]
    for pair in kept:
        shown = [known.get(image.sha256) for image in pair.images]
        if None in shown:
            drops.append(Drop(stage="curate", item=pair.pair_id, reason="image-not-in-dataset"))
            continue
        # One root for all clean images of the run, the dataset's; noised ones lie in the run folder.
        update: dict[str, object] = {"image": shown[0], "other_images": tuple(shown[1:])}
        if pair.rejected_image_path is not None:
            home = moving.home(pair.rejected_image_path)
            update["rejected_image_path"] = _take(run, home, pair.rejected_image_path, len(pairs))
        pairs.append(pair.model_copy(update=update))
    if not pairs:
        raise CurationError(f"no pair of {settings.path} is left: {len(drops)} dropped, the first: {drops[0].reason}")
    run.write(CANDIDATES, Candidate, [])
    run.write(VERDICTS, Verdict, [])
    run.write(CURATED, PreferencePair, pairs)
    run.write_drops(drops)
    run.message(f"{len(pairs)} pairs imported from {settings.path.name}, {len(drops)} dropped")
    return pairs


def _take(run: Run, image_root: Path, relative: str, number: int) -> str:
    """Copies a rejected image into the run folder, under a name of its own."""
    source = safe_join(image_root, relative)
    name = f"{IMAGES}/imported-{number:06d}{PurePosixPath(relative).suffix.lower()}"
    with atomic_path(run.file(name)) as partial:
        shutil.copyfile(source, partial)
    return name
