"""What an answer rests on: by hand, and against the truth of generated cases."""

from __future__ import annotations

import pytest

from mmedpo.clinical.bearing import marked_by, rests_on, shares
from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, generate_case


@pytest.mark.parametrize(
    ("question", "answer", "error_type", "found"),
    [
        ("Is there an opacity in the left lung?", "yes", "presence", {"opacity"}),
        ("Is there an opacity in the left lung?", "no", "presence", set()),
        ("On which side is the pleural effusion?", "left", "side", {"pleural effusion"}),
        ("How many nodules are there?", "two", "count", {"nodule"}),
        ("What abnormality is seen?", "a large mass in the right lung", "abnormality", {"mass"}),
        ("What abnormality is seen?", "no abnormality is seen", "abnormality", set()),
        ("Does this image look normal?", "no", "abnormality", {"abnormality"}),
        ("Does this image look normal?", "yes", "abnormality", set()),
        ("Which imaging modality shows this nodule?", "CT", "modality", set()),
        ("In which plane was this taken?", "axial", "plane", set()),
        ("Is the heart enlarged?", "yes", "organ", {"cardiomegaly"}),
        ("Is the heart enlarged?", "no", "organ", set()),
        ("Where is the pneumothorax?", "there is no pneumothorax", "side", set()),
        # An answer that names nothing denies what the question takes for granted; a small number does not.
        ("How many masses are there?", "none", "count", set()),
        ("How many masses are there?", "0", "count", set()),
        ("How many masses are there?", "zero", "count", set()),
        ("Where is the nodule?", "there is none", "zone", set()),
        ("On which side is the pneumothorax?", "not applicable", "side", set()),
        ("How large is the mass?", "0.8 cm", "size", {"mass"}),
        ("How many masses are there?", "10", "count", {"mass"}),
        ("On which side is the mass?", "left, not right", "side", {"mass"}),
        # What is not there is no finding.
        ("What is absent?", "effusion", "other", set()),
        ("Which finding is not present?", "nodule", "other", set()),
    ],
)
def test_by_hand(question, answer, error_type, found):
    assert rests_on(question, answer, error_type) == found


def test_against_the_truth_of_generated_cases():
    """A question rests on a finding when it asks about one that is there, or about the whole of a sick image."""
    wrong = []
    asked = 0
    for seed in range(36):
        case = generate_case(seed, BALANCED_PRIORS if seed % 2 else TRAINING_PRIORS)
        there = {finding.kind for finding in case.findings}
        for item in case.questions:
            if item.answer_type == "report":
                continue
            asked += 1
            told = bool(rests_on(item.question, item.answer, item.error_type))
            if item.error_type in ("modality", "plane"):
                truth = False
            elif item.about is not None:
                truth = item.about in there and item.answer != "no"
            elif item.error_type == "organ":
                truth = "cardiomegaly" in there
            else:
                truth = bool(there)
            if told != truth:
                wrong.append((item.question, item.answer))
    assert asked > 240
    assert len(wrong) <= 0.02 * asked, wrong[:10]


def test_names_that_may_mean_the_same_are_shared():
    assert shares({"nodule"}, {"nodule", "opacity"})
    assert shares({"abnormality"}, {"opacity"})
    assert not shares({"abnormality"}, ())
    assert not shares({"pneumothorax"}, {"pleural effusion"})


def test_labels_of_regions_name_findings():
    assert marked_by(["Pleural effusion", "thing"]) == {"pleural effusion"}
    assert marked_by(["", "box 1"]) == frozenset()


def test_a_region_called_a_lesion_may_be_any_finding():
    """What a tool without classes marks."""
    assert (
        marked_by(["lesion"]) == marked_by(["Abnormal finding", "nodule"]) == marked_by(["Other lesion"]) == frozenset()
    )
    assert marked_by(["pleural disease: effusion"]) == {"pleural effusion"}, "a name beside the general word counts"
