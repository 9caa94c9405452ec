"""Noised views: one per image, shared by its questions, so that policy and reference see the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mmedpo.grounding.library import about, apart, by_image, map_of
from mmedpo.imaging.images import read_image
from mmedpo.imaging.noise import SHARE_NEARLY_NOTHING, noise_image, noised_share
from mmedpo.imaging.pictures import png_bytes
from mmedpo.imaging.tissue import rule_of, tissue_mask
from mmedpo.records import Example, Grounding, NoisedView, NoiseSpec
from mmedpo.records.shapes import Heatmap
from mmedpo.registry import lookup
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
    grounding = groundings.get(sha)
    reason = _no_view(run, grounding)
    if reason:
        return NoisedView(image_sha256=sha, reason=reason)
    pixels, heatmap = read_image(run.image_root, example.image.path), _region(run, grounding)
    spec = _spec(run, example, grounding)
    if run.settings.curate.noise.region != "global" and heatmap is not None:
        noised_there = heatmap * tissue_mask(pixels, spec.tissue) if spec.tissue else heatmap
        if noised_share(noised_there) < SHARE_NEARLY_NOTHING:
            # Both sides would show the same pixels: there is nothing to prefer.
            return NoisedView(image_sha256=sha, reason="nothing-noised")
    noised = noise_image(pixels, heatmap, spec)
    name = f"{IMAGES}/{sha[:16]}.png"
    write_bytes(run.work_folder / name, png_bytes(noised))
    return NoisedView(image_sha256=sha, noise=spec, path=run.relative(name))


def _spec(run: Run, example: Example, grounding: Grounding | None) -> NoiseSpec:
    settings = run.settings.curate.noise
    by_region = "region" in lookup("noise", settings.kind).options
    organ = grounding.organ if grounding is not None and by_region and settings.region == "organ" else ""
    modality = about(example, run.settings.ground.assume).modality
    return NoiseSpec(
        kind=settings.kind,
        region=settings.region,
        step=settings.step,
        schedule=settings.schedule,
        seed=derive_seed(run.settings.seed, "noise", example.image.sha256),
        organ=organ,
        tissue=rule_of(modality) if settings.tissue and by_region else "",
    )


def _region(run: Run, grounding: Grounding | None) -> Heatmap | None:
    """The stored map of what is noised; None where no tool was asked."""
    if grounding is None:
        return None
    path = grounding.organ_path if run.settings.maps_organs else grounding.heatmap_path
    return None if path is None else map_of(run, path)


def _no_view(run: Run, grounding: Grounding | None) -> str:
    """Why an image gives no visual pair; empty when it does."""
    if not run.settings.grounds:
        return ""  # noise over the whole image asks no tool
    minimum = run.settings.ground.minimum_confidence
    if grounding is None:
        return "no-grounding"
    if run.settings.maps_organs and grounding.organ_path is None:
        return "no-organ-map"
    if not run.settings.maps_organs and grounding.heatmap_path is None:
        return grounding.reason or "no-heatmap"
    if minimum and (grounding.confidence is None or grounding.confidence < minimum):
        return "confidence-below-minimum"
    return ""
