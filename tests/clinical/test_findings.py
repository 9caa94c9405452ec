"""One table knows the findings; whoever draws, boxes, scores or swaps them finds them there."""

from __future__ import annotations

import pytest

from mmedpo.clinical.findings import FINDINGS, RELATED, urgency
from mmedpo.clinical.lexicon import find_terms
from mmedpo.data.phantom.priors import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_phantom_draws_is_in_the_table(kind: str) -> None:
    (match,) = find_terms(kind)
    assert match.term.name in FINDINGS


def test_the_table_is_whole() -> None:
    assert all(0 <= finding.urgency <= 10 and finding.spellings and finding.regions for finding in FINDINGS.values())
    assert all(name in FINDINGS for pair in RELATED for name in pair)
    assert urgency("pneumothorax") > urgency("calcification")
    assert urgency("never heard of") == 5
