"""Five stand-ins for readers who are of one mind and not equally sure: one rubric, each with an error of its own.

Rules always say the same, so a panel of them cannot show what more agents are for. These can: what several
independent errors of known size do to a debate. That is all they show; how far real Med-LLMs err, and how far
together, they do not know.
"""

from __future__ import annotations

import numpy as np

from mmedpo.registry import register
from mmedpo.score.agents.rubric import InternistRubric
from mmedpo.score.debate import Case, Opinion, rescore
from mmedpo.seeds import derive_seed

ERROR = 0.2
"""Standard deviation of a reader's error: two steps of the scale."""


class _Reader(InternistRubric):
    """Consequence for the patient, misjudged by a normal error that is drawn once per reader and pair."""

    def first(self, case: Case) -> Opinion:
        """Scores by the rubric and the error, in tenths of [0, 1]; abstains where the rubric does."""
        view = super().first(case)
        if view.score is None:
            return view
        error = ERROR * float(np.random.default_rng(derive_seed(0, self.name, case.pair_id)).standard_normal())
        return rescore(min(10, max(0, round(10 * (view.score + error)))) / 10, view.reason)


@register("agent", "reader-1")
class Reader1(_Reader):
    """The first."""

    name = "reader-1"


@register("agent", "reader-2")
class Reader2(_Reader):
    """The second."""

    name = "reader-2"


@register("agent", "reader-3")
class Reader3(_Reader):
    """The third."""

    name = "reader-3"


@register("agent", "reader-4")
class Reader4(_Reader):
    """The fourth."""

    name = "reader-4"


@register("agent", "reader-5")
class Reader5(_Reader):
    """The fifth."""

    name = "reader-5"
