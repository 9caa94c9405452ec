"""Where the protocols agree and where they must not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmedpo.evaluate.protocols import Judgement
from mmedpo.evaluate.protocols.llava_med import LlavaMed
from mmedpo.evaluate.protocols.medevalkit import MedEvalKit
from mmedpo.evaluate.protocols.released import Released
from mmedpo.evaluate.protocols.strict import Strict, mentions, polarity
from mmedpo.records import AnswerType, Example, ImageRef
from mmedpo.registry import lookup, names


def question(answer: str, answer_type: AnswerType = "closed", choices: Sequence[str] = ()) -> Example:
    image = ImageRef(path="a.png", sha256="0" * 64, width=8, height=8)
    return Example(
        example_id="q",
        dataset="d",
        split="test",
        image=image,
        question="?",
        answer=answer,
        answer_type=answer_type,
        choices=tuple(choices),
    )


def closed(answer: str, text: str, choices: Sequence[str] = ()) -> tuple[float, float, float]:
    example = question(answer, choices=choices)
    return tuple(p.score(example, text).values["closed_accuracy"] for p in (Strict(), Released(), LlavaMed()))  # type: ignore[return-value]


def test_the_registry_knows_the_three() -> None:
    assert {"strict", "released", "llava-med"} <= set(names("protocol"))
    assert lookup("protocol", "strict") is Strict


@pytest.mark.parametrize(
    ("answer", "text", "choices", "expected"),
    [
        ("Yes", "Yes.", (), (1, 1, 1)),
        ("No", "yes", (), (0, 0, 0)),
        ("no", "The lungs are normal", (), (0, 1, 1)),
        ("no", "cannot be determined", (), (0, 1, 1)),
        ("yes", "yes no", (), (0, 1, 1)),
        ("no", "no, yes", (), (0, 1, 1)),
        ("left", "Left", ("left", "right"), (1, 1, 0)),
        ("left", "left and right", ("left", "right"), (0, 1, 0)),
        ("left", "not left", ("left", "right"), (0, 1, 1)),
        ("left", "not right, left", ("left", "right"), (1, 1, 1)),
        ("right", "it is not on the right", ("left", "right"), (0, 1, 1)),
        ("normal", "abnormal", ("normal", "abnormal"), (0, 1, 1)),
        ("normal", "no normal tissue", ("normal", "abnormal"), (0, 1, 1)),
        ("left lung", "The left lung", ("left lung", "lung"), (1, 1, 0)),
        ("left", "", ("left", "right"), (0, 0, 0)),
        ("A", "A", ("A", "B"), (1, 1, 0)),
        ("B", "The answer is A", ("A", "B"), (0, 0, 0)),
        ("one", "There is 1", (), (1, 1, 0)),
    ],
)
def test_closed_answers(answer: str, text: str, choices: tuple[str, ...], expected: tuple[float, float, float]) -> None:
    assert closed(answer, text, choices) == expected


def test_strict_tells_why_there_is_no_credit() -> None:
    assert Strict().score(question("yes"), "yes no").note == "both-alternatives"
    assert Strict().score(question("yes"), "no").note == "other-alternative"
    assert Strict().score(question("yes"), "unclear").note == "no-alternative"
    assert Strict().score(question("yes"), "yes").note == ""


def test_open_answers() -> None:
    example = question("left lower lobe", "open")
    assert Strict().score(example, "The left lobe").values["open_recall"] == pytest.approx(2 / 3)
    assert Strict().score(example, "left " * 7).values["open_recall"] == pytest.approx(1 / 3)
    # 7 repeats of one right word against 2 missing ones.
    assert Released().score(example, "left " * 7).values == {"open_recall": pytest.approx(7 / 9)}
    assert LlavaMed().score(example, "left " * 7) == Released().score(example, "left " * 7)


def test_strict_leaves_an_empty_ground_truth_unscored() -> None:
    for answer_type in ("closed", "open", "report"):
        assert Strict().score(question("?!", answer_type), "yes") == Judgement(unscored="empty-reference")
    # The scripts find the empty string in any prediction.
    assert Released().score(question("?!"), "whatever").values == {"closed_accuracy": 1.0}


def test_reports() -> None:
    text = "The heart is normal in size. The lungs are clear."
    example = question(text, "report")
    strict, released = Strict().score(example, text).values, Released().score(example, text).values
    assert strict["bleu"] == pytest.approx(1.0)
    assert strict["rouge_l"] == pytest.approx(1.0)
    assert strict["bleu_smoothed"] == pytest.approx(released["bleu"]) == pytest.approx(1.123457, abs=1e-6)
    assert set(released) == {"bleu", "rouge_l", "meteor"}
    assert LlavaMed().score(example, text) == Judgement(unscored="no-report-metric")
    # "Normal in size" denies a large heart, and the empty report does not.
    nothing = {"bleu": 0, "bleu_smoothed": 0, "rouge_l": 0, "meteor": 0, "absence_f1": 0}
    assert Strict().score(example, "").values == nothing


def test_the_printed_llava_med_accuracy_forgets_wrong_answers() -> None:
    protocol = LlavaMed()
    assert protocol.score(question("yes"), "yes").values == {"closed_accuracy": 1, "closed_accuracy_printed": 1}
    assert protocol.score(question("yes"), "unclear").values == {"closed_accuracy": 0, "closed_accuracy_printed": 0}
    assert protocol.score(question("yes"), "no").values == {"closed_accuracy": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("normal", "neither"),
        ("No.", "no"),
        ("yes and no", "both"),
        ("eyes", "neither"),
        ("", "neither"),
    ],
)
def test_polarity_is_read_at_word_boundaries(text: str, said: str) -> None:
    assert polarity(text) == said


def test_longer_alternatives_use_up_their_words() -> None:
    assert mentions(("left", "lung"), [("lung",), ("left", "lung")]) == {("left", "lung")}
    assert mentions(("left", "lung", "and", "lung"), [("lung",), ("left", "lung")]) == {("left", "lung"), ("lung",)}


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("Yes", "Yes.", 1),
        ("no", "The lungs are normal", 1),  # "no" is in "normal"
        ("no", "yes and no", 0),
        ("yes", "No. The final answer is yes", 1),
        ("yes", "<think>no</think><answer>Yes</answer>", 1),
        ("yes", r"No doubt: \boxed{yes}", 1),
        ("yes", r"yes \boxed{", 0),
        ("left", "Left.", 1),
        ("left", "The left", 0),
    ],
)
def test_medevalkit_closed_by_hand(answer: str, text: str, right: float) -> None:
    assert MedEvalKit().score(question(answer), text).values == {"closed_accuracy": right}


def test_medevalkit_open_by_hand() -> None:
    # Of left, lower, lobe two are among the, left, left, lobe. as distinct words {the, left, lobe.}: one, left.
    found = MedEvalKit().score(question("Left lower lobe", "open"), "The left left lobe.").values
    assert found == {"open_exact": 0.0, "open_recall": 1 / 3, "open_f1": 2 * 1 / (3 + 3)}
    assert MedEvalKit().score(question("Left lobe", "open"), "left lobe").values["open_exact"] == 1.0
    assert MedEvalKit().score(question("Left lobe", "open"), "").values["open_recall"] == 0.0
    assert MedEvalKit().score(question("No effusion.", "report"), "x").unscored == "no-report-metric"
