"""Probes on constructed models: one that knows the truth of every image, one that never sees any."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluate import test_reworded_probes as reworded_probes
from evaluate.constructed import Belief, constructed
from mmedpo.clinical.mirrored import turned
from mmedpo.config import EvaluateSettings
from mmedpo.data.phantom.dataset import write_phantoms
from mmedpo.data.phantom.priors import BALANCED_PRIORS
from mmedpo.evaluate.probes import Probe, Workplace, probes_of
from mmedpo.evaluate.probes.another_patient import Others
from mmedpo.evaluate.probes.lesions import lesion_of
from mmedpo.evaluate.probes.mirrored_side import one_sided
from mmedpo.evaluate.stage import prepared_of
from mmedpo.imaging.images import read_image
from mmedpo.progress import Silent
from mmedpo.records import Example, ProbePart
from mmedpo.registry import lookup, names

NAMES = ("blank-image", "another-patient", "same-label", "mirrored-side", "hallucinated-twin")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Example]]:
    root = tmp_path_factory.mktemp("world")
    return root, write_phantoms(root, "test", 30, 5, BALANCED_PRIORS)


def seeing(root: Path, examples: Sequence[Example]) -> Belief:
    """Gives the truth of an image it knows, mirrored or not, almost all belief; of others it knows nothing."""

    def key(pixels: np.ndarray) -> str:
        return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()

    truth: dict[tuple[str, str], str] = {}
    for example in examples:
        pixels = read_image(root, example.image.path)
        truth[key(pixels), example.question] = example.answer
        truth[key(pixels[:, ::-1]), example.question] = turned(example.answer)

    def belief(path: Path | None, example: Example) -> float:
        assert path is not None
        known = truth.get((key(np.asarray(Image.open(path))), example.question))
        return -2.0 if known is None else -0.1 if known == example.answer else -6.0

    return belief


def blind(path: Path | None, example: Example) -> float:
    """Beliefs that know the answer's words and no image."""
    return -float(int(hashlib.sha256(example.answer.encode()).hexdigest()[:4], 16)) / 10_000


def headline(
    name: str, world: tuple[Path, list[Example]], folder: Path, belief: Belief
) -> tuple[Probe[Any], ProbePart]:
    root, examples = world
    settings = EvaluateSettings.model_validate({"probes": {name: {"questions": 60}}})
    probe = probes_of(settings)[name]
    place = Workplace(root, folder, "predict-base", Silent().track)
    prepared = probe.prepare(place, examples)
    assert len(prepared.examples) >= 10
    rows = probe.measure(constructed(root, folder, belief), prepared.examples)
    summary = probe.summarise(name, {"m": rows}, "test", 500)
    assert summary is not None
    part = summary.part(probe.headline, "m")
    assert part is not None
    return probe, part


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_a_model_that_sees_from_one_that_does_not(
    name: str, world: tuple[Path, list[Example]], tmp_path: Path
) -> None:
    probe, sees = headline(name, world, tmp_path / "a", seeing(*world))
    _, never = headline(name, world, tmp_path / "b", blind)
    if probe.unit == "nats":
        assert sees.low > 1
    else:
        assert sees.mean == 1
    # Exactly: the same belief whatever is shown.
    assert (never.mean, never.low, never.high) == (0, 0, 0)


def test_the_control_of_another_patient_is_zero_for_a_model_that_sees(
    world: tuple[Path, list[Example]], tmp_path: Path
) -> None:
    """An image of which the same is true takes nothing from a model that looks."""
    root, examples = world
    probe = probes_of(EvaluateSettings.model_validate({"probes": {"another-patient": {}}}))["another-patient"]
    prepared = probe.prepare(Workplace(root, tmp_path, "predict-base", Silent().track), examples)
    rows = probe.measure(constructed(root, tmp_path, seeing(root, examples)), prepared.examples)
    values = probe.values(rows)
    assert set(values["alike"].values()) == {0.0}
    assert {round(value, 6) for value in values["differing"].values()} == {5.9}
    assert {drop.reason for drop in prepared.drops} <= {"no-patients-with-another-and-the-same-truth"}


def test_lesion_reliance_tells_one_that_looks_at_the_lesion_from_one_that_looks_anywhere(
    world: tuple[Path, list[Example]], tmp_path: Path
) -> None:
    """Belief falls with what changed inside the lesion, anywhere in the picture, or never."""
    root, examples = world
    probe = probes_of(EvaluateSettings())["lesion-reliance"]
    place = Workplace(root, tmp_path, "predict-base", Silent().track)
    prepared = probe.prepare(place, [example for example in examples if example.mask_path][:40])
    assert len(prepared.examples) >= 10

    def change(path: Path | None, example: Example) -> np.ndarray:
        assert path is not None
        clean = read_image(root, example.image.path).astype(float)
        shown = np.asarray(Image.open(path)).astype(float).reshape(clean.shape)
        return np.abs(shown - clean).reshape(*clean.shape[:2], -1).mean(axis=2)

    def found(belief: Belief) -> ProbePart:
        rows = probe.measure(constructed(root, tmp_path, belief), prepared.examples)
        summary = probe.summarise("lesion-reliance", {"m": rows}, "test", 500)
        assert summary is not None
        part = summary.part("contrast", "m")
        assert part is not None
        return part

    looks = found(lambda path, example: -float(change(path, example)[lesion_of(root, example)].mean()) / 10)
    anywhere = found(lambda path, example: -float(change(path, example).mean()))
    never = found(blind)
    assert looks.low > 0.5
    assert abs(anywhere.mean) < looks.mean / 5
    assert (never.mean, never.low, never.high) == (0, 0, 0)


def test_every_probe_that_ships_stands_before_constructed_models() -> None:
    """Attention is measured of weights: `test_attention` gives it those that lie inside alone, and even ones."""
    elsewhere = {*reworded_probes.NAMES, "lesion-reliance", "attention"}
    shipped = {name for name in names("probe") if lookup("probe", name).__module__.startswith("mmedpo.")}
    assert shipped == {*NAMES, *elsewhere}


def test_questions_of_sides_are_those_whose_answer_alone_names_one(world: tuple[Path, list[Example]]) -> None:
    example = next(item for item in world[1] if item.answer_type != "report")
    asked = {
        ("Which side?", "left"): True,
        ("Which side?", "left and right"): False,
        ("Is it left?", "left"): False,
        ("Is it there?", "yes"): False,
    }
    for (question, answer), wanted in asked.items():
        assert one_sided(example.model_copy(update={"question": question, "answer": answer})) is wanted


def test_others_are_asked_the_same_words_and_are_other_patients(world: tuple[Path, list[Example]]) -> None:
    one = next(item for item in world[1] if item.answer_type != "report")

    def asked(name: str, patient: str, answer: str, question: str = "Is there a mass?") -> Example:
        told = {"example_id": name, "patient_id": patient, "answer": answer, "question": question}
        return one.model_copy(update=told)

    mine = asked("a", "p", "Yes")
    own_patient, other_words = asked("b", "p", "no"), asked("c", "q", "no", "Is there a nodule?")
    assert Others([mine, own_patient, other_words]).of(mine) == (None, None)
    differing, alike = asked("d", "q", "No."), asked("e", "r", "yes.", "is there a MASS")
    assert Others([mine, own_patient, other_words, differing, alike]).of(mine) == (differing, alike)


def test_a_question_on_several_images_is_counted_where_a_probe_changes_all_that_is_shown(
    world: tuple[Path, list[Example]], tmp_path: Path
) -> None:
    one, two, *_ = [item for item in world[1] if item.answer_type != "report"]
    both = two.model_copy(update={"other_images": (one.image,)})
    settings = EvaluateSettings.model_validate({"probes": {"blank-image": {}}})
    place = Workplace(world[0], tmp_path, "predict-base", Silent().track)
    prepared = prepared_of(probes_of(settings)["blank-image"], place, [one, both])
    assert prepared.examples == [one]
    assert [(drop.item, drop.reason) for drop in prepared.drops] == [(two.example_id, "several-images")]
    assert probes_of(EvaluateSettings())["lesion-reliance"].several
