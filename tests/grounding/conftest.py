"""Toy radiographs with a bright spot planted at a random place, and one probe fitted on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from grounding.films import film_dataset
from mmedpo.grounding.chest.card import Fitted, fit_chest_probe
from mmedpo.grounding.fit import Cases, prepare
from mmedpo.grounding.tools.patch_probe import PatchProbe, fit_features

SIDE = 112


def make_planted(seed: int, lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image (uint8) and lesion mask: a smooth random background, two dark lungs, and perhaps a spot."""
    rng = np.random.default_rng([seed, int(lesion)])
    image = 150 + 120 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 12) + 4 * rng.standard_normal((SIDE, SIDE))
    for left in (18, 66):
        image[20:92, left : left + 28] -= 60
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    centre = rng.integers(28, 84), rng.choice([24, 40, 72, 88]) + rng.integers(-4, 5)
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * 6.0**2))
    if not lesion:
        spot *= 0
    return np.clip(np.rint(image + 55 * spot), 0, 255).astype(np.uint8), spot > 0.4


def make_planted_set(first: int, lesions: int, normals: int) -> tuple[list[np.ndarray], list[np.ndarray], list[bool]]:
    """Images, masks and labels."""
    labels = [True] * lesions + [False] * normals
    pairs = [make_planted(first + place, label) for place, label in enumerate(labels)]
    return [image for image, _ in pairs], [mask for _, mask in pairs], labels


@pytest.fixture(scope="session")
def planted() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`planted(seed, lesion)`: one image and its mask."""
    return make_planted


@pytest.fixture(scope="session")
def planted_set() -> Callable[..., tuple[list[np.ndarray], list[np.ndarray], list[bool]]]:
    """`planted_set(first_seed, lesions, normals)`: images, masks, labels."""
    return make_planted_set


@pytest.fixture(scope="session")
def toy_fit() -> Cases:
    """24 images with a spot, 16 without."""
    images, masks, labels = make_planted_set(0, 24, 16)
    return prepare(images, masks, [not label for label in labels], range(len(labels)))


@pytest.fixture(scope="session")
def toy_test() -> Cases:
    """Others of the same kind."""
    images, masks, labels = make_planted_set(1000, 40, 30)
    return prepare(images, masks, [not label for label in labels], range(len(labels)))


@pytest.fixture(scope="session")
def toy_probe(toy_fit: Cases) -> PatchProbe:
    """The probe fitted on `toy_fit`."""
    parts = (toy_fit.features, toy_fit.targets, toy_fit.positive, toy_fit.groups)
    return PatchProbe(fit_features(*parts, 0, name="toy", label="spot"))


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A chest probe fitted on toy films, with its held-out measures."""
    folder = tmp_path_factory.mktemp("films")
    return fit_chest_probe(film_dataset(folder, 24), folder, name="toy", seed=1, folds=2)
