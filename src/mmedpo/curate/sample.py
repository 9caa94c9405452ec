"""Asking the target model for candidates of the dispreferred response."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmedpo.curate.sources.source import Sampling, Source
from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.slots import load_asked
from mmedpo.records import Candidate, Example
from mmedpo.registry import lookup
from mmedpo.run import Run


def sampler(run: Run, examples: Sequence[Example]) -> Callable[[Sequence[Example]], list[Candidate]]:
    """The model of the stage, loaded, behind the recipe's source: answers a chunk of questions (METHOD section 1, D_t).

    Args:
        run: the run.
        examples: every training question.
    """
    vlm = load_asked(run.model)
    name, settings = run.settings.curate.source, run.settings
    engine = Engine.from_settings(vlm, FeatureStore(vlm, read_image_file, place="recompute"), settings)
    engine.settle_on([Asked.of(example, run.image_root) for example in examples[:2]], settings.engine, run.message)
    sampling = Sampling(engine, run.image_root, run.work_folder / name, settings.curate, settings.seed)
    source: Source = lookup("source", name)()
    if hasattr(source, "prepare"):
        source.prepare(sampling, examples)
    return lambda chunk: source.candidates(sampling, chunk)
