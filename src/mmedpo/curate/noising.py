"""Noised views: one per image, shared by its questions, so that policy and reference see the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mmedpo.grounding.library import apart, by_image, heatmap_of
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import SHARE_NEARLY_NOTHING, noise_image, noised_share
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import Example, Grounding, NoisedView, NoiseSpec
from mmedpo.run import Run
from mmedpo.run.layout import GROUNDINGS, IMAGES
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import share
from mmedpo.storage.tables import write_bytes

CHUNK = 32
"""Images noised between two notes of how far it got."""


def noised_views(run: Run, examples: Sequence[Example]) -> dict[str, NoisedView]:
    """A view, or the reason why there is none, for every image of the examples, by its hash.

    Reads `groundings.parquet` and the heatmaps; writes the views into `images/`.
    """
    (run.work_folder / IMAGES).mkdir(parents=True, exist_ok=True)
    images = list(apart(examples).values())
    views = run.map("noising lesions", images, CHUNK, partial(_noiser, run), NoisedView)
    share(run.work_folder / IMAGES, run.file(IMAGES))
    return {view.image_sha256: view for view in views}


def _noiser(run: Run) -> Callable[[Sequence[Example]], list[NoisedView]]:
    groundings = by_image(run.read(GROUNDINGS, Grounding)) if run.settings.grounds else {}
    return lambda examples: [_noise(run, groundings, example) for example in examples]


def _noise(run: Run, groundings: Mapping[str, Grounding], example: Example) -> NoisedView:
    """Notes a view only when its file is written, so that a killed stage finds both or neither."""
    sha = example.image.sha256
    reason = _no_view(run, groundings.get(sha))
    if reason:
        return NoisedView(image_sha256=sha, reason=reason)
    settings = run.settings.curate.noise
    spec = NoiseSpec(
        kind=settings.kind,
        region=settings.region,
        step=settings.step,
        schedule=settings.schedule,
        seed=derive_seed(run.settings.seed, "noise", sha),
    )
    heatmap = heatmap_of(run, groundings[sha]) if sha in groundings else None
    noised = noise_image(read_image(run.image_root, example.image.path), heatmap, spec)
    name = f"{IMAGES}/{sha[:16]}.png"
    write_bytes(run.work_folder / name, png_bytes(noised))
    return NoisedView(image_sha256=sha, noise=spec, path=run.relative(name))


def _no_view(run: Run, grounding: Grounding | None) -> str:
    """Why an image gives no visual pair; empty when it does."""
    if not run.settings.grounds:
        return ""  # noise over the whole image asks no tool
    minimum = run.settings.ground.minimum_confidence
    if grounding is None:
        return "no-grounding"
    if grounding.heatmap_path is None:
        return grounding.reason or "no-heatmap"
    if minimum and (grounding.confidence is None or grounding.confidence < minimum):
        return "confidence-below-minimum"
    if run.settings.curate.noise.region == "lesion" and noised_share(heatmap_of(run, grounding)) < SHARE_NEARLY_NOTHING:
        # Both sides would show the same pixels: there is nothing to prefer.
        return "nothing-noised"
    return ""
