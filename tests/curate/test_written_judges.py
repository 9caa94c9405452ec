"""Judges that write wrong answers, and the one that mends the model's own."""

from __future__ import annotations

import pytest

from curate.curation_examples import candidates, example
from mmedpo.clinical import conflict, extract_facts
from mmedpo.config import load_settings
from mmedpo.curate.judges.injected import InjectedJudge, TargetedJudge
from mmedpo.curate.judges.minimal_edit import MinimalEdit
from mmedpo.errors import ConfigError

PLACED = example("a nodule in the left upper lung", "What is seen, and where?", error_type="side")


def test_a_targeted_error_is_of_the_kind_that_is_asked_for():
    verdict = TargetedJudge().judge(PLACED, [], 0)
    assert (verdict.outcome, verdict.error_type) == ("injected", "side")
    assert verdict.rejected == "a nodule in the right upper lung"
    for kind in ("zone", "side"):
        item = PLACED.model_copy(update={"error_type": kind})
        assert TargetedJudge().judge(item, [], 3).error_type == kind
    # Nothing to count: no error of that kind can be made, and no other is made instead.
    counted = PLACED.model_copy(update={"error_type": "count", "question": "How many are seen?"})
    none = TargetedJudge().judge(counted, [], 0)
    assert (none.outcome, none.reason) == ("dropped", "nothing-to-perturb")
    assert InjectedJudge().judge(counted, [], 0).outcome == "injected"


def test_a_written_answer_contradicts_the_truth_and_needs_no_sample():
    verdict = InjectedJudge().judge(PLACED, [], 0)
    truth, made = (extract_facts(text, PLACED.question, "side") for text in (PLACED.answer, verdict.rejected))
    assert conflict(truth, made).score == verdict.conflict > 0
    with pytest.raises(ConfigError, match="curate.candidates has no effect because the judge 'injected' writes every"):
        load_settings("phantom-dpo", ["curate.judge=injected", "curate.candidates=5"])


LARGE = "there is a large effusion on the right side"


@pytest.mark.parametrize(
    ("truth", "question", "own", "mended"),
    [
        ("left", "On which side is the nodule?", "the right lung", "the left lung"),
        ("yes", "Is there a nodule?", "no", "yes"),
        ("a large effusion on the left", "What is seen?", LARGE, LARGE.replace("right", "left")),
    ],
)
def test_the_own_answer_is_put_right_in_its_own_words(truth, question, own, mended):
    verdict = MinimalEdit().judge(example(truth, question, error_type="side"), candidates(own), 0)
    assert (verdict.outcome, verdict.chosen, verdict.rejected) == ("picked", mended, own)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("left lung", "own-answer-right"),
        ("a fracture of the right rib and a large heart", "no-minimal-edit"),
        ("", "empty-side"),
    ],
)
def test_an_answer_that_is_right_or_beyond_one_edit_gives_no_pair(own, reason):
    item = example("a nodule in the left lung", "What is seen, and where?")
    verdict = MinimalEdit().judge(item, candidates(own), 0)
    assert (verdict.outcome, verdict.reason) == ("dropped", reason)
    assert MinimalEdit().judge(item, [], 0).reason == "no-answer"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["curate.temperature=0"], "curate.candidates=3 at curate.temperature=0: the greedy answer"),
        (["curate.candidates=1"], "curate.candidates=1 at curate.temperature=1: the greedy answer"),
        (["curate.candidates=1", "curate.temperature=0", "curate.top_p=0.5"], "curate.top_p has no effect"),
        (["curate.temperature=0.0001"], "curate.temperature=0.0001: allowed are 0 [(]greedy[)] and 0.001 or more"),
    ],
)
def test_greedy_sampling_is_one_answer(settings, line):
    with pytest.raises(ConfigError, match=line):
        load_settings("phantom-dpo", settings)
    assert load_settings("phantom-dpo", ["curate.temperature=0", "curate.candidates=1"]).curate.candidates == 1
