"""Findings of a report against its reference: hand-counted."""

from __future__ import annotations

import pytest

from mmedpo.evaluate.findings import finding_agreement

REFERENCE = "Small left pleural effusion. Cardiomegaly. No pneumothorax."


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (
            REFERENCE,
            {"finding_f1": 1, "absence_f1": 1, "hallucinated_findings": 0, "missed_findings": 0, "side_agreement": 1},
        ),
        # Of two wanted one is said, and one that nobody wants; the effusion lies on the other side.
        (
            "Right pleural effusion. There is a nodule. No pneumothorax.",
            {
                "finding_f1": 0.5,
                "absence_f1": 1,
                "hallucinated_findings": 0.5,
                "missed_findings": 0.5,
                "side_agreement": 0,
            },
        ),
        # What the reference denies is the hallucination that matters most.
        ("Left pneumothorax.", {"finding_f1": 0, "absence_f1": 0, "hallucinated_findings": 1, "missed_findings": 1}),
        ("", {"finding_f1": 0, "absence_f1": 0, "missed_findings": 1}),
    ],
)
def test_agreement_by_hand(prediction: str, expected: dict[str, float]) -> None:
    assert finding_agreement(REFERENCE, prediction) == pytest.approx(expected)


def test_what_the_reference_leaves_open_is_no_hallucination() -> None:
    found = finding_agreement("Possible pneumonia. No effusion.", "Pneumonia.")
    assert found["hallucinated_findings"] == 0


def test_where_nothing_is_named_nothing_is_counted() -> None:
    assert finding_agreement("Comparison is made.", "As described.") == {}
    assert "finding_f1" not in finding_agreement("No pneumothorax.", "No pneumothorax.")
