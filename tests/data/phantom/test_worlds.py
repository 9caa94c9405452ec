"""Another world: guesses that pay in the clinic fail there, its films are grainier, balanced splits ask the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmedpo.data.dataset import DatasetSettings
from mmedpo.data.phantom import (
    BALANCED_PRIORS,
    WORLDS,
    Structure,
    WorldName,
    case_seed,
    generate_case,
    sample_structure,
)
from mmedpo.data.readers.phantom import Phantom, PhantomSettings
from mmedpo.errors import DataError


def drawn(world: WorldName) -> list[Structure]:
    priors = WORLDS[world].priors
    return [sample_structure(np.random.default_rng([seed, 7]), priors) for seed in range(600)]


def likeliest(structures: list[Structure], field: str) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for structure in structures:
        for finding in structure.findings:
            value = str(getattr(finding, field))
            if structure.modality == "x-ray" and value != "none":
                counts.setdefault(finding.kind, Counter())[value] += 1
    return {kind: count.most_common(1)[0][0] for kind, count in counts.items()}


@pytest.mark.parametrize("field", ["side", "zone", "size"])
def test_the_best_guess_of_one_world_is_a_wrong_one_in_the_other(field: str) -> None:
    clinic, care = (likeliest(drawn(world), field) for world in WORLDS)
    guessed = [kind for kind in clinic if len({clinic[kind], care[kind]}) > 1]
    assert set(guessed) == set(clinic), {kind: (clinic[kind], care[kind]) for kind in clinic}


def test_patients_lie_in_intensive_care_and_more_is_found() -> None:
    clinic, care = (drawn(world) for world in WORLDS)
    assert np.mean([s.plane == "PA" for s in clinic]) > 0.5 > np.mean([s.plane == "PA" for s in care])
    assert np.mean([len(s.findings) for s in care]) > np.mean([len(s.findings) for s in clinic])


def test_the_balanced_splits_of_both_worlds_differ_in_grain_alone(tmp_path: Path) -> None:
    sizes = {"train_images": 2, "validation_images": 3, "test_images": 2, "size": 96}
    readings = {
        world: Phantom(PhantomSettings(world=world, **sizes)).read(tmp_path / world, DatasetSettings()).examples
        for world in WORLDS
    }
    for split, same in (("validation", True), ("test-balanced", True), ("train", False), ("test", False)):
        asked = [[(e.question, e.answer) for e in examples if e.split == split] for examples in readings.values()]
        assert (asked[0] == asked[1]) is same, split
    shown = [{e.image.sha256 for e in examples} for examples in readings.values()]
    assert not shown[0] & shown[1]


def test_grain_is_a_factor_on_the_noise_alone() -> None:
    seed = case_seed(0, "validation", 0)
    none, once, twice = (generate_case(seed, BALANCED_PRIORS, 96, grain).image.astype(float) for grain in (0, 1, 2))
    grey = (none > 40) & (none < 215)  # where neither end of the scale cuts the noise off
    assert np.std((twice - none)[grey]) == pytest.approx(2 * np.std((once - none)[grey]), rel=0.02)


def test_severity_is_of_the_world_an_example_comes_from(tmp_path: Path) -> None:
    care = Phantom(PhantomSettings(world="intensive-care", train_images=2, validation_images=2, test_images=2, size=96))
    examples = [e for e in care.read(tmp_path, DatasetSettings()).examples if e.split == "train"]
    assert any(care.severity(example) for example in examples)
    clinic = Phantom(PhantomSettings(size=96))
    with pytest.raises(DataError, match="not drawn from seed"):
        list(map(clinic.severity, examples))
