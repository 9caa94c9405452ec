"""The `import` stage: ready-made preference pairs take the place of curation."""

from __future__ import annotations

from mmedpo.errors import CurationError
from mmedpo.preferences.mmedpo_json import exclude_test_images
from mmedpo.records import Candidate, Drop, Example, PreferencePair, Verdict
from mmedpo.registry import lookup
from mmedpo.run import Run


def import_pairs(run: Run) -> list[PreferencePair]:
    """Reads the preference file of the recipe, joined to the run's examples.

    Writes `curated.parquet`. Pairs whose image lies in a validation or test split are dropped and
    counted: training on them would be training on the test.

    Raises:
        CurationError: no pair is left.
    """
    settings = run.settings.preferences
    assert settings is not None
    examples = run.read("examples.parquet", Example)
    reader = lookup("preference-format", settings.format)
    image_root = settings.image_root or (run.image_root / examples[0].image.path).parent
    imported = reader(settings.path, image_root, examples)
    for note in imported.notes:
        run.message(note)
    held_out = [example for example in examples if example.split != "train"]
    kept, excluded = exclude_test_images(imported.pairs, held_out, examples)
    known = {example.image.sha256: example for example in examples}
    pairs, drops = [], [*imported.drops, *excluded]
    for pair in kept:
        example = known.get(pair.image.sha256)
        if example is None:
            drops.append(Drop(stage="curate", item=pair.pair_id, reason="image-not-in-dataset"))
        else:
            # One root for all images of the run: the dataset's.
            pairs.append(pair.model_copy(update={"image": example.image}))
    if not pairs:
        raise CurationError(f"no pair of {settings.path} is left: {len(drops)} dropped, the first: {drops[0].reason}")
    run.write("candidates.parquet", Candidate, [])
    run.write("verdicts.parquet", Verdict, [])
    run.write("curated.parquet", PreferencePair, pairs)
    run.file("images").mkdir(exist_ok=True)
    run.write_drops(drops)
    run.message(f"{len(pairs)} pairs imported from {settings.path.name}, {len(drops)} dropped")
    return pairs
