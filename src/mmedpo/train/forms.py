"""What a term compares: which answers under which images, each with the sign it comes with. Pure.

The branches of a question are four: the right answer y_w and the wrong one y_l, each under the image x and
under what the rejected side is shown, x*. A form is a sum of their log-ratios with coefficients +1 and -1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mmedpo.config import Form, Tokens
from mmedpo.engine import Branch
from mmedpo.train.groups import BranchPair, TokenWeights

Side = Literal[
    "chosen",
    "rejected",
    "wrong",
    "wrong_shown",
    "inherent",
    "factual",
    "factual_wrong",
    "counterfactual",
    "counterfactual_wrong",
]
"""Branches of a visual pair: (y_w, x), (y_w, x*), (y_l, x), (y_l, x*); `inherent`, (y_i, x), is drawn in every step;
the others are both answers under both composites. Other pairs have no more than the first two."""


class Signs(NamedTuple):
    """Branches of a form."""

    plus: tuple[Side, ...]
    """With coefficient +1: the preferred side."""
    minus: tuple[Side, ...]
    """With coefficient -1."""


FORMS: dict[Form, Signs] = {
    "given": Signs(("chosen",), ("rejected",)),
    "joint": Signs(("chosen",), ("wrong_shown",)),
    "reversed": Signs(("wrong_shown",), ("rejected",)),
    "mirrored": Signs(("wrong_shown",), ("wrong",)),
    "causal": Signs(("chosen", "wrong_shown"), ("rejected", "wrong")),
    "consistent": Signs(("chosen", "rejected"), ("wrong", "wrong_shown")),
    "inherent": Signs(("chosen",), ("inherent",)),
    "own": Signs(("rejected",), ("chosen",)),
    "composite": Signs(("factual", "counterfactual_wrong"), ("counterfactual", "factual_wrong")),
}
"""`given`: the pair as it stands (text: DPO; visual: MMedPO, CoPO, mDPO's crop). `joint`: wrong answer and noised image
in one pair. `reversed`: under the noised image the wrong answer is the better one (FiRe-MPO, SymMPO). `mirrored`: the
wrong answer fits the noised image better than the clean one (with `given`: S-VCO's symmetric pair). `causal`: the
preference under x over that under x* (CoMedPO). `consistent`: the preference under x and the reversed one under x*
are equally strong (SymMPO's consistency, with loss `square`). `inherent`: over the likeliest words behind the true
ones under x*, scored under x (POVID's second stage); they are drawn from the policy in every step. `own`: the answer
that was sampled, for terms that look at one side (policy gradient). `composite`: `causal` under CoMedPO's composites
(`mmedpo.train.composites`)."""


class View(NamedTuple):
    """What one or several terms look at."""

    form: Form = "given"
    tokens: Tokens = "all"


class Compared(NamedTuple):
    """One side of one pair under a view: its branches, and the weights of their tokens."""

    branches: tuple[Branch, ...]
    weights: tuple[TokenWeights, ...]


def sides(pair: BranchPair, view: View) -> tuple[Compared, Compared] | None:
    """The preferred and the other side of a pair; None where the pair lacks what the view compares."""
    signs = FORMS[view.form]
    plus, minus = _side(pair, signs.plus, view.tokens), _side(pair, signs.minus, view.tokens)
    return None if plus is None or minus is None else (plus, minus)


def preferred(pair: BranchPair, view: View) -> Compared | None:
    """The preferred side alone, for terms that look at nothing else."""
    return _side(pair, FORMS[view.form].plus, view.tokens)


def _side(pair: BranchPair, names: tuple[Side, ...], tokens: Tokens) -> Compared | None:
    found: list[Branch] = [branch for name in names if (branch := getattr(pair, name)) is not None]
    if len(found) < len(names) or (tokens == "edited" and pair.edited is None):
        return None
    return Compared(tuple(found), tuple(pair.token_weights(branch, edited=tokens == "edited") for branch in found))
