"""The table of probes: those without a picture of their own, headline first, differences to the first model."""

from __future__ import annotations

from mmedpo.records import ProbePart, ProbeSummary
from mmedpo.report.sections.probes import Probes, ProbesSection, headlines, one_probe


def part(quantity: str, model: str, mean: float, against: str = "") -> ProbePart:
    p_value = 0.02 if against else None
    return ProbePart(
        quantity=quantity, model=model, against=against, mean=mean, low=mean - 0.1, high=mean + 0.1,
        p_value=p_value, p_adjusted=p_value and 2 * p_value, questions=7,
    )  # fmt: skip


def summary(unit: str = "nats") -> ProbeSummary:
    parts = [part(q, m, v) for q, m, v in (("alike", "base", 0), ("alike", "tuned", 0.1), ("contrast", "base", 0.5))]
    parts += [
        part("contrast", "tuned", 0.9),
        part("contrast", "tuned", 0.4, "base"),
        part("alike", "tuned", 0.1, "base"),
    ]
    return ProbeSummary(
        probe="another-patient", title="Another patient", unit=unit, headline="contrast", about="a fall", split="test",
        words={"alike": "the same truth"}, parts=tuple(parts),
    )  # fmt: skip


def test_the_headline_comes_first_and_differences_stand_with_the_later_model() -> None:
    found = one_probe(summary())
    assert found is not None
    told = [(row.quantity, row.model, row.mean.value, row.difference and row.difference.value) for row in found.rows]
    assert told == [
        ("contrast", "base", 0.5, None),
        ("contrast", "tuned", 0.9, 0.4),
        ("the same truth", "base", 0.0, None),
        ("the same truth", "tuned", 0.1, 0.1),
    ]
    assert found.comparison is not None
    assert (found.comparison.before, found.comparison.after, found.comparison.adjusted) == (0.5, 0.9, 0.04)
    assert not found.metric.percent


def test_the_page_opens_with_the_headline_and_draws_each_unit_apart() -> None:
    nats, shares = one_probe(summary()), one_probe(summary("of questions"))
    assert nats is not None
    assert shares is not None
    both = Probes(probes=(nats, shares))
    (headline, other) = ProbesSection().compares(both)
    assert headline.row == "another patient, nats"
    assert other.metric.percent
    assert len(list(ProbesSection().draw(both)["plots"])) == 2  # type: ignore[call-overload]
    assert "0.90 (0.80 to 1.00)" in headlines(both, "nats", 600)
