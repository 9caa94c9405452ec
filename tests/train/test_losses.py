"""Every loss against values derived by hand, and the objective that adds them up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.config import TermSettings
from mmedpo.engine import Branch
from mmedpo.errors import ConfigError
from mmedpo.registry import names
from mmedpo.train.groups import BranchPair
from mmedpo.train.losses import PairValues
from mmedpo.train.objectives import Objective

ADVANTAGE = st.floats(-30, 30, allow_nan=False)
WEIGHT = st.floats(0, 2, allow_nan=False)


def pairs(
    chosen,
    rejected,
    weight=None,
    logprob=None,
    tokens=None,
    family=None,
    visual=None,
    rejected_logprob=None,
    rejected_tokens=None,
    other=None,
):
    """Text pairs (or visual ones), both sides there; put to another image where `other` is given."""
    n = len(chosen)
    return PairValues(
        torch.tensor(chosen, dtype=torch.float64, requires_grad=True),
        torch.tensor(rejected, dtype=torch.float64, requires_grad=True),
        torch.tensor(logprob or [-2.0] * n, dtype=torch.float64, requires_grad=True),
        torch.tensor(tokens or [1] * n),
        torch.tensor(family or list(range(n))),
        torch.tensor(visual or [False] * n),
        torch.tensor(weight or [1.0] * n, dtype=torch.float64),
        torch.tensor(rejected_logprob or [-3.0] * n, dtype=torch.float64, requires_grad=True),
        torch.tensor(rejected_tokens or [1] * n),
        torch.tensor(other or [-4.0] * n, dtype=torch.float64, requires_grad=True),
        torch.tensor([False] * n),
        torch.tensor([True] * n),
        torch.tensor([other is not None] * n),
        torch.tensor([0.5] * n, dtype=torch.float64, requires_grad=True),
        torch.tensor([0.25] * n, dtype=torch.float64, requires_grad=True),
        torch.tensor([0.0] * n, dtype=torch.float64, requires_grad=True),
    )


class Alike(dict):
    """The same values under every view."""

    def __init__(self, values):
        self.values_of_all = values

    def __getitem__(self, view):
        return self.values_of_all


def branch_pair(kind, weight):
    chosen, rejected = (Branch((), (1,), (answer,)) for answer in (2, 3))
    return BranchPair("p", kind, chosen, rejected, weight)


def objective(*terms, beta=0.1):
    return Objective([TermSettings.model_validate(term) for term in terms], beta)


def value(loss, values, beta=0.5, **options):
    return objective({"loss": loss, **options}, beta=beta).sum(Alike(values)).item()


@given(st.lists(st.tuples(ADVANTAGE, WEIGHT), min_size=1, max_size=8))
def test_at_equal_advantages_every_term_of_eq_3_is_its_weight_times_ln_2(rows):
    advantages, weights = [row[0] for row in rows], [row[1] for row in rows]
    total = objective({}).sum(Alike(pairs(advantages, advantages, weights))).item()
    assert total == pytest.approx(math.log(2) * sum(weights), abs=1e-9)


def test_eq_3_on_two_pairs_by_hand():
    # Margins 0.5 * (1 + 1) = 1 and 0.5 * (0 - 2) = -1, weights 1.25 and 0.75.
    expected = 1.25 * math.log(1 + math.exp(-1)) + 0.75 * math.log(1 + math.exp(1))
    assert value("sigmoid", pairs([1.0, 0.0], [-1.0, 2.0], [1.25, 0.75])) == pytest.approx(expected, rel=1e-12)


# One pair with a_w = 1 and a_l = -1: h = 2, with beta 0.5 the margin is 1.
S, F = -math.log(1 / (1 + math.exp(-1))), -math.log(1 / (1 + math.exp(1)))


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        ("sigmoid", {}, S),
        ("sigmoid", {"delta": 1.0}, math.log(2)),
        ("sigmoid", {"label_smoothing": 0.1}, 0.9 * S + 0.1 * F),
        ("robust", {"label_smoothing": 0.1}, (0.9 * S - 0.1 * F) / 0.8),
        ("robust", {}, S),
        ("ipo", {}, (2 - 1 / (2 * 0.5)) ** 2),
        ("hinge", {}, 0.0),
        ("hinge", {"beta": 0.25}, 0.5),
        ("softmax", {}, S),
        ("nll", {}, 2.0),
        ("anchor", {}, math.log(1 + math.exp(-0.5))),
        ("anchor", {"delta": 0.5}, math.log(2)),
        ("sigmoid", {"weight": 3.0}, 3 * S),
        # log pi(y_w) = -2, log pi(y_l) = -3: ahead by 1.
        ("margin", {}, 0.0),
        ("margin", {"margin": 2.5}, 1.5),
        # Of one token each: 0.5 (-2 + 3) - 0.5 = 0.
        ("simpo", {"delta": 0.5}, math.log(2)),
        ("positive", {}, S),
        # 0.5 (1 + 0.5 * 1) = 0.75.
        ("asymmetric", {}, math.log(1 + math.exp(-0.75))),
        ("asymmetric", {"scale": 1.0}, S),
        ("asymmetric", {"scale": 0.0}, math.log(1 + math.exp(-0.5))),
        # sigmoid(-0.5) twice.
        ("unpaired", {}, 2 / (1 + math.exp(0.5))),
        ("square", {}, 4.0),
        ("nll", {"per": "answer"}, 2.0),
        ("token-kl", {}, 0.375),
        ("token-kl", {"mix": 1.0}, 0.5),
    ],
)
def test_one_pair_by_hand(loss, options, expected):
    assert value(loss, pairs([1.0], [-1.0]), **options) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_softmax_puts_the_preferred_answer_against_all_negatives_of_its_family():
    # Family 0: margins of the negatives 0.5 * (-1 - 1) = -1 and 0.5 * (3 - 1) = 1; family 1: one negative at 0.
    values = pairs([1.0, 1.0, 0.0], [-1.0, 3.0, 0.0], [1.0, 1.0, 2.0], family=[0, 0, 1])
    first = math.log(1 + math.exp(-1) + math.exp(1))
    assert value("softmax", values) == pytest.approx(2 * first + 2 * math.log(2), rel=1e-12)


def test_nll_is_per_token_and_regularisers_ignore_the_weight():
    values = pairs([0.0, 0.0], [0.0, 0.0], [0.0, 2.0], logprob=[-6.0, -2.0], tokens=[3, 1])
    assert value("nll", values) == pytest.approx(2.0 + 2.0)
    assert value("anchor", values) == pytest.approx(2 * math.log(2))


def test_terms_add_up_and_look_only_at_their_kind():
    values = pairs([1.0, 1.0], [-1.0, -1.0], visual=[False, True], logprob=[-4.0, -4.0], tokens=[2, 2])
    both = objective({"weight": 0.5, "kinds": ["text"]}, {"loss": "nll", "weight": 0.25, "kinds": ["visual"]}, beta=0.5)
    assert both.sum(Alike(values)).item() == pytest.approx(0.5 * S + 0.25 * 2.0)


def test_a_pair_of_weight_zero_has_no_gradient_and_needs_no_forward_pass():
    values = pairs([1.0, 1.0], [0.0, 0.0], [1.0, 0.0])
    objective({}).sum(Alike(values)).backward()
    assert values.chosen.grad[0] != 0
    assert values.chosen.grad[1] == 0
    assert not objective({}).needs(branch_pair("text", 0.0))
    assert objective({}).needs(branch_pair("text", 0.1))
    assert objective({}, {"loss": "nll", "kinds": ["text"]}).needs(branch_pair("text", 0.0))
    assert not objective({}, {"loss": "nll", "kinds": ["text"]}).needs(branch_pair("visual", 0.0))


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "softmax", "robust"])
@given(w=ADVANTAGE, lost=ADVANTAGE)
def test_raising_the_preferred_or_lowering_the_other_never_raises_the_loss(loss, w, lost):
    base = value(loss, pairs([w], [lost]))
    assert value(loss, pairs([w + 1], [lost])) <= base + 1e-12
    assert value(loss, pairs([w], [lost - 1])) <= base + 1e-12


@pytest.mark.parametrize(
    ("term", "line"),
    [
        ({"loss": "nll", "beta": 0.5}, "beta has no effect on loss 'nll', which uses per; remove it"),
        ({"loss": "square", "beta": 0.5}, "beta has no effect on loss 'square', which uses no options; remove it"),
        ({"loss": "ipo", "delta": 1.0}, "delta has no effect on loss 'ipo', which uses beta; remove it"),
        (
            {"loss": "sigmiod"},
            "unknown loss 'sigmiod'; did you mean 'sigmoid'[?] known: anchor, asymmetric, hinge, image-margin, ipo",
        ),
    ],
)
def test_an_option_or_loss_that_is_not_there_is_refused(term, line):
    with pytest.raises(ConfigError, match=line):
        objective(term)


def test_every_loss_is_finite_at_extreme_advantages():
    for loss in names("loss"):
        values = pairs([1e4, -1e4], [-1e4, 1e4], other=[-1e4, 1e4])
        form = "own" if loss == "policy-gradient" else "given"
        total = objective({"loss": loss, "form": form}).sum(Alike(values))
        total.backward()
        assert math.isfinite(total.item())
        assert all(torch.isfinite(g.grad).all() for g in values[:3] if g.grad is not None)


def test_positive_pays_for_a_chosen_answer_below_the_reference():
    # a_w = -1, a_l = -3, penalty 5: 0.5 (-1 + 3 - 5) = -1.5; with penalty 0 it is DPO: 0.5 * 2 = 1.
    values = pairs([-1.0], [-3.0])
    assert value("positive", values, penalty=5.0) == pytest.approx(math.log(1 + math.exp(1.5)), rel=1e-12)
    assert value("positive", values, penalty=0.0) == pytest.approx(S, rel=1e-12)


def test_lengths_are_normalised_side_by_side():
    # 2 (-6 / 3 + 4 / 4) - 0 = -2: the long chosen answer loses per token, though it has the smaller sum per word.
    values = pairs([0.0], [0.0], logprob=[-6.0], tokens=[3], rejected_logprob=[-4.0], rejected_tokens=[4])
    assert value("simpo", values, beta=2.0) == pytest.approx(math.log(1 + math.exp(2)), rel=1e-12)


def test_nll_of_answers_and_of_tokens():
    values = pairs([0.0, 0.0], [0.0, 0.0], logprob=[-6.0, -2.0], tokens=[3, 1])
    assert value("nll", values, per="answer") == pytest.approx(8.0)
    assert value("nll", values, per="token") == pytest.approx(4.0)


def test_a_bounded_margin_lets_go_of_a_pair_that_is_far_enough_ahead():
    values = pairs([0.0, 0.0], [0.0, 0.0], logprob=[-2.0, -2.0], rejected_logprob=[-2.5, -9.0])
    objective({"loss": "margin"}).sum(Alike(values)).backward()
    assert values.chosen_logprob.grad.tolist() == [-1.0, 0.0]
    assert values.rejected_logprob.grad.tolist() == [1.0, 0.0]


def test_the_image_margin_sees_only_questions_that_were_put_to_another_image():
    # log pi(y_w|x) = -2, log pi(y_w|x') = -2.25: ahead by 0.25.
    assert value("image-margin", pairs([0.0], [0.0], other=[-2.25])) == pytest.approx(0.75)
    assert value("image-margin", pairs([0.0], [0.0])) == 0.0


def test_a_weight_reaches_the_terms_that_ask_for_it():
    values = pairs([0.0, 0.0], [0.0, 0.0], [0.5, 2.0], logprob=[-4.0, -2.0])
    assert value("nll", values, weighted=True) == pytest.approx(0.5 * 4 + 2 * 2)
    assert value("sigmoid", values, weighted=False) == pytest.approx(2 * math.log(2))
