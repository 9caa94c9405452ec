"""Probes that ask in other words, on constructed models: one that knows the truth, and ones that never see an image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluate.constructed import Belief, constructed
from mmedpo.clinical import extract_facts
from mmedpo.clinical.bearing import shown_in
from mmedpo.clinical.restating import negated
from mmedpo.config import EvaluateSettings
from mmedpo.data.phantom.dataset import write_phantoms
from mmedpo.data.phantom.priors import BALANCED_PRIORS
from mmedpo.evaluate.probes import Prepared, Workplace, probes_of
from mmedpo.evaluate.probes.another_patient import Others
from mmedpo.evaluate.probes.choosing import opposite, wrong_answers
from mmedpo.evaluate.probes.rephrased import in_other_words
from mmedpo.progress import Silent
from mmedpo.records import Example

NAMES = ("negated-twin", "rephrased", "language-prior", "false-premise")
World = tuple[Path, list[Example]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    return root, write_phantoms(root, "test", 30, 5, BALANCED_PRIORS)


def prepared(name: str, examples: Sequence[Example], root: Path, folder: Path, questions: int = 40) -> Prepared:
    probe = probes_of(EvaluateSettings.model_validate({"probes": {name: {"questions": questions}}}))[name]
    return probe.prepare(Workplace(root, folder, "predict-base", Silent().track), examples)


def means(name: str, world: World, folder: Path, belief: Belief) -> dict[str, float]:
    """Quantity -> mean, of the questions the probe chooses itself."""
    root, examples = world
    asked = prepared(name, examples, root, folder).examples
    assert len(asked) >= 10
    probe = probes_of(EvaluateSettings.model_validate({"probes": {name: {"questions": 40}}}))[name]
    subject = constructed(root, folder, belief)
    values = probe.values(probe.measure(subject, asked))
    assert set(values) == set(probe.quantities)
    found = {quantity: sum(each.values()) / len(each) for quantity, each in values.items()}
    return {**found, "headline": found[probe.headline]}


def truth(world: World) -> Belief:
    """Gives the truth of an image almost all belief, in whatever words it is asked; without one it knows nothing."""
    root, examples = world
    known: dict[tuple[Path, str], str] = {}
    for example in examples:
        path, turned = root / example.image.path, opposite(example.answer)
        known[path, example.question] = known[path, in_other_words(example.question)] = example.answer
        twin = negated(example.question)
        if turned is not None and twin is not None:
            known[path, twin] = turned
    shown = shown_in(examples)
    there = {root / example.image.path: shown[example.image.sha256] for example in examples}

    def belief(path: Path | None, example: Example) -> float:
        if path is None:
            return -2.0
        told = known.get((path, example.question))
        if told is not None:
            return -0.1 if told == example.answer else -6.0
        (fact,) = extract_facts(example.answer, example.question).findings
        return -0.1 if fact.present == (fact.name in there[path]) else -6.0

    return belief


def logical(path: Path | None, example: Example) -> float:
    """Never sees an image, and follows the words: it believes that nothing is ever there."""
    said = extract_facts(example.answer, example.question)
    if said.findings:
        return -0.5 if not any(fact.present for fact in said.findings) else -3.0
    return -float(int(hashlib.sha256(example.answer.encode()).hexdigest()[:4], 16)) / 10_000


def yes_sayer(path: Path | None, example: Example) -> float:
    """Never sees an image, and likes one word best."""
    return -0.1 if example.answer.lower().startswith("yes") else -3.0


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_a_model_that_knows_the_truth_from_any_that_never_sees(
    name: str, world: World, tmp_path: Path
) -> None:
    assert means(name, world, tmp_path, truth(world))["headline"] == 1
    for blind in (logical, yes_sayer):
        # Exactly: the same belief whatever is shown.
        assert means(name, world, tmp_path, blind)["headline"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_sees_half_of_the_images_lies_between(name: str, world: World, tmp_path: Path) -> None:
    sees = truth(world)

    def half(path: Path | None, example: Example) -> float:
        return sees(path, example) if path and hashlib.sha256(path.name.encode()).digest()[0] % 2 else -2.0

    assert 0.02 < means(name, world, tmp_path, half)["headline"] < 0.8


def test_habit_is_told_apart_from_looking_in_each_part(world: World, tmp_path: Path) -> None:
    """One that follows the words is often right on a question and its negation, without any image as with it."""
    habit = means("negated-twin", world, tmp_path, logical)
    assert habit["both"] == habit["alone"] > 0.2
    assert means("negated-twin", world, tmp_path, yes_sayer)["both"] == 0
    steady = means("rephrased", world, tmp_path, logical)
    assert steady["stays"] > 0.9
    assert steady["both"] == steady["alone"]
    prior = means("language-prior", world, tmp_path, logical)
    assert prior["stays"] == 1
    assert prior["shown"] == prior["alone"] > 0
    nothing = means("false-premise", world, tmp_path, logical)
    assert (nothing["refused"], nothing["accepted"]) == (1, 0)


def ask(world: World, name: str, question: str, answer: str, image: int = 0, **more: object) -> Example:
    one = [e for e in world[1] if e.answer_type != "report"]
    images = list({e.image.sha256: e for e in one}.values())
    told = {
        "example_id": name, "question": question, "answer": answer, "choices": (), "answer_type": "closed",
        "error_type": "presence", "patient_id": f"p{image}", "image": images[image].image, **more,
    }  # fmt: skip
    return one[0].model_copy(update=told)


def test_what_cannot_be_negated_is_counted_and_what_is_no_yes_or_no_is_not_asked(world: World, tmp_path: Path) -> None:
    asked = [
        ask(world, "a", "Is there a mass?", "Yes"),
        ask(world, "b", "Is the image of good quality?", "yes"),
        ask(world, "c", "Is the mass on the left or right?", "left"),
        ask(world, "d", "Where is the mass?", "yes"),
    ]
    found = prepared("negated-twin", asked, world[0], tmp_path)
    assert [e.example_id for e in found.examples] == ["a"]
    assert [(drop.item, drop.reason) for drop in found.drops] == [("b", "negation-not-understood")]


@pytest.mark.parametrize("name", ["rephrased", "language-prior"])
def test_a_question_without_a_wrong_answer_is_counted(name: str, world: World, tmp_path: Path) -> None:
    asked = [
        ask(world, "a", "Where is it?", "left", choices=("left", "right")),
        ask(world, "b", "What is seen?", "a mass", answer_type="open"),
        ask(world, "c", "What plane?", "AP", answer_type="open"),
        ask(world, "d", "What plane?", "axial", 1, answer_type="open"),
    ]
    found = prepared(name, asked, world[0], tmp_path)
    assert [e.example_id for e in found.examples] == ["a", "c", "d"]
    assert [(drop.item, drop.reason) for drop in found.drops] == [("b", "no-wrong-answer-to-compare")]
    others = Others(asked)
    assert [wrong_answers(e, others) for e in asked] == [("right",), (), ("axial",), ("AP",)]


def test_a_premise_is_false_only_where_the_truth_denies_the_whole_finding(world: World, tmp_path: Path) -> None:
    asked = [
        ask(world, "no", "Is there a mass?", "no"),
        ask(world, "one side", "Is there a mass on the left?", "no", 1),
        ask(world, "no holder", "Is there a pneumothorax?", "No", 2),
        ask(world, "yes", "Where is the mass?", "the left lung", 3, error_type="zone"),
        ask(world, "disagrees", "Is there a mass?", "no", 3),
        ask(world, "general", "Is there any abnormality?", "no", 4),
        ask(world, "again", "Does the image show a mass?", "no"),
    ]
    found = prepared("false-premise", asked, world[0], tmp_path)
    assert len(found.examples) == 1
    assert found.examples[0].example_id in ("no", "again")
    assert {(drop.item, drop.reason) for drop in found.drops} == {
        ("no holder", "no-patient-with-the-finding"),
        ("disagrees", "image-may-show-the-finding"),
    }


@pytest.mark.parametrize(("answer", "other"), [("yes", "no"), ("Yes.", "No"), ("NO", "YES"), ("none", None)])
def test_opposites_keep_their_letters(answer: str, other: str | None) -> None:
    assert opposite(answer) == other
