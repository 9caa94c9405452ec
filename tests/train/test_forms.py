"""What terms compare, on one hand-made question: y_w = (5, 6), y_l = (5, 7), under the image and the noised one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmedpo.config import TermSettings, TrainSettings, load_settings
from mmedpo.engine import Branch, TokenLogprobs
from mmedpo.errors import ConfigError, TrainingError
from mmedpo.pipeline.plan import _check_objective
from mmedpo.train.forms import FORMS, View
from mmedpo.train.groups import BranchPair, Wanted
from mmedpo.train.objectives import Objective
from mmedpo.train.rewards import token_rewards
from mmedpo.train.values import divergences, pair_values

IMAGE, NOISED, ELSEWHERE = (Path(f"{name}.png") for name in ("image", "noised", "elsewhere"))


def branch(view, *answer):
    return Branch((view,), (1, 2), answer)


WRITTEN = branch(IMAGE, 5, 6)
SHOWN = branch(NOISED, 5, 6)
WRONG = branch(IMAGE, 5, 7)
WRONG_SHOWN = branch(NOISED, 5, 7)
OTHER = branch(ELSEWHERE, 5, 6)
EDITED = ((0.0, 1.0), (0.0, 1.0))
TEXT = BranchPair("t", "text", WRITTEN, WRONG, 1.0, edited=EDITED)
VISUAL = BranchPair("v", "visual", WRITTEN, SHOWN, 1.0, (), (), WRONG, WRONG_SHOWN, EDITED, OTHER)
ANSWER = BranchPair("a", "answer", WRITTEN, None, 1.0)

LOGPROBS = {WRITTEN: (-1.0, -2.0), SHOWN: (-1.0, -5.0), WRONG: (-1.0, -3.0), WRONG_SHOWN: (-1.5, -2.5), OTHER: (-4, -4)}
"""log pi of each token."""
REFERENCE = {WRITTEN: (-1.0, -3.0), SHOWN: (-1.0, -4.0), WRONG: (-2.0, -2.0), WRONG_SHOWN: (-1.0, -3.0)}
"""log pi_0: a(y_w, x) = 1, a(y_w, x*) = -1, a(y_l, x) = 0, a(y_l, x*) = 0; over the last tokens 1, -1, -1, 0.5."""


def asked(*branches):
    values = [torch.tensor(LOGPROBS[one], dtype=torch.float64) for one in branches]
    owner = torch.arange(len(branches)).repeat_interleave(2)
    return TokenLogprobs(torch.cat(values).requires_grad_(), owner, torch.tensor([2] * len(branches)))


def loss_of(pair, *terms, beta=1.0):
    """The objective on one pair, asking no more than the objective says it needs."""
    objective = Objective([TermSettings.model_validate(term) for term in terms], beta)
    branches = objective.branches(pair)
    reference = {one: torch.tensor(REFERENCE[one], dtype=torch.float64) for one in objective.compared(pair)}
    policy = asked(*branches)
    values = {view: pair_values([pair], branches, policy, reference, view) for view in objective.views}
    total = objective.sum(values)
    return total, torch.autograd.grad(total, policy.values, materialize_grads=True)[0], branches


def sigmoid(h):
    return math.log(1 + math.exp(-h))


@pytest.mark.parametrize(
    ("form", "h", "needed"),
    [
        ("given", 1 - (-1), {WRITTEN, SHOWN}),
        ("joint", 1 - 0, {WRITTEN, WRONG_SHOWN}),
        ("reversed", 0 - (-1), {WRITTEN, WRONG_SHOWN, SHOWN}),
        ("mirrored", 0 - 0, {WRITTEN, WRONG_SHOWN, WRONG}),
        ("causal", (1 - 0) - (-1 - 0), {WRITTEN, WRONG, SHOWN, WRONG_SHOWN}),
        ("consistent", (1 - 0) - (0 - (-1)), {WRITTEN, WRONG, SHOWN, WRONG_SHOWN}),
    ],
)
def test_every_form_of_a_visual_pair_by_hand(form, h, needed):
    assert set(FORMS) >= {form}
    loss, _, branches = loss_of(VISUAL, {"loss": "sigmoid", "form": form})
    assert loss.item() == pytest.approx(sigmoid(h), rel=1e-9)
    assert set(branches) == needed
    assert loss_of(VISUAL, {"loss": "square", "form": form})[0].item() == pytest.approx(h**2, abs=1e-12)


def test_edited_tokens_alone_by_hand():
    # Over the last tokens: 1 - (-1) for the text pair, 1 - 0.5 for wrong answer and noised image together.
    assert loss_of(TEXT, {"tokens": "edited"})[0].item() == pytest.approx(sigmoid(2.0))
    assert loss_of(VISUAL, {"tokens": "edited", "form": "joint"})[0].item() == pytest.approx(sigmoid(0.5))
    _, gradient, branches = loss_of(TEXT, {"tokens": "edited"})
    assert branches == [WRITTEN, WRONG]
    assert [value != 0 for value in gradient.tolist()] == [False, True, False, True]


def test_without_a_reference_none_is_asked_for():
    for term in ({"loss": "nll"}, {"loss": "margin"}, {"loss": "simpo"}, {"loss": "image-margin"}):
        objective = Objective([TermSettings.model_validate(term)], 1.0)
        assert not objective.refers
        assert objective.compared(VISUAL) == []
    # log pi: -3 and -6; ahead by 3.
    assert loss_of(VISUAL, {"loss": "margin", "margin": 4.0})[0].item() == pytest.approx(1.0)
    # log pi(y_w | x') = -8: ahead by 5.
    loss, gradient, branches = loss_of(VISUAL, {"loss": "image-margin", "margin": 7.0})
    assert loss.item() == pytest.approx(2.0)
    assert branches == [WRITTEN, OTHER]
    assert gradient.tolist() == [-1.0, -1.0, 1.0, 1.0]


def test_a_ground_truth_alone_is_seen_by_what_needs_no_other_side():
    assert loss_of(ANSWER, {"loss": "nll", "per": "answer"}, {"loss": "sigmoid"})[0].item() == pytest.approx(3.0)
    assert loss_of(ANSWER, {"loss": "nll"})[2] == [WRITTEN]
    objective = Objective([TermSettings()], 1.0)
    assert not objective.needs(ANSWER)
    with pytest.raises(
        TrainingError, match=r"term 'sigmoid' .* looks at none of the 1 pairs: it needs a rejected side"
    ):
        objective.check([ANSWER])


def test_each_term_asks_for_what_it_compares_and_no_more():
    assert Objective([TermSettings(loss="nll")], 1.0).branches(TEXT) == [WRITTEN]
    forms = Objective([TermSettings(form="reversed", kinds=("visual",)), TermSettings(kinds=("text",))], 1.0)
    assert forms.wanted() == Wanted(wrong=True, edited=False)
    assert forms.branches(TEXT) == [WRITTEN, WRONG]
    assert not forms.needs(BranchPair("v", "visual", WRITTEN, SHOWN, 1.0))
    with pytest.raises(TrainingError, match=r"form reversed.*the wrong answer of the same question"):
        forms.check([TEXT])
    with pytest.raises(TrainingError, match="an answer that rests on a finding"):
        Objective([TermSettings(loss="image-margin")], 1.0).check([ANSWER])


def test_changing_only_the_noised_image_changes_every_form_of_the_visual_pair(monkeypatch):
    """mDPO's released code never uses the rejected image; here nothing that names it can leave it out."""
    forms = FORMS.keys() - {"inherent", "own", "composite"}  # see test_inherent.py and test_composites.py
    before = {form: loss_of(VISUAL, {"form": form})[0].item() for form in forms}
    monkeypatch.setitem(LOGPROBS, SHOWN, (-1.0, -7.0))
    monkeypatch.setitem(LOGPROBS, WRONG_SHOWN, (-1.5, -3.5))
    after = {form: loss_of(VISUAL, {"form": form})[0].item() for form in forms}
    assert all(before[form] != after[form] for form in forms)


def test_several_pairs_at_once_are_the_sum_of_each_alone():
    terms = [{"loss": "nll", "per": "answer"}, {"kinds": ["text"]}, {"form": "reversed", "weight": 0.1}]
    objective = Objective([TermSettings.model_validate(term) for term in terms], 1.0)
    pairs = [TEXT, ANSWER, VISUAL]
    branches = list(dict.fromkeys(one for pair in pairs for one in objective.branches(pair)))
    reference = {one: torch.tensor(REFERENCE[one], dtype=torch.float64) for one in branches}
    values = {view: pair_values(pairs, branches, asked(*branches), reference, view) for view in objective.views}
    alone = sum(loss_of(pair, *terms)[0].item() for pair in pairs)
    assert objective.sum(values).item() == pytest.approx(alone, rel=1e-9)
    assert values[View()].complete.tolist() == [True, False, True]


def test_divergences_of_the_next_token_by_hand():
    # Two places, two words: policy 1/2 1/2 and 9/10 1/10, reference 1/4 3/4 and 9/10 1/10; branches share the first.
    policy = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).log()
    frozen = torch.tensor([[0.25, 0.75], [0.9, 0.1]], dtype=torch.float64).log()
    node = torch.tensor([0, 1, 0])
    values, owner, tokens = torch.zeros(3, dtype=torch.float64), torch.tensor([0, 0, 1]), torch.tensor([2, 1])
    # Logits may be shifted: 3 is added to all of one place.
    asked_of = TokenLogprobs(values, owner, tokens, policy + torch.tensor([[3.0], [0.0]]), node)
    forward, reverse = divergences(asked_of, TokenLogprobs(values, owner, tokens, frozen, node))
    ahead = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    back = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert forward.tolist() == pytest.approx([ahead, 0.0, ahead], abs=1e-12)
    assert reverse.tolist() == pytest.approx([back, 0.0, back], abs=1e-12)
    assert all(part.isnan().all() for part in divergences(asked_of, None))


def test_a_term_counts_only_in_its_part_of_the_steps():
    """POVID's stages: the text pair twice, then once beside what is drawn (here the wrong answer)."""
    terms = load_settings("phantom-povid").train.objective
    objective = Objective(terms, 1.0)
    for progress, forms in ((0.0, ["given"]), (0.74, ["given"]), (0.75, ["given", "inherent"]), (1.0, [])):
        assert [view.form for view in objective.at(progress).views] == forms
    early, late = (loss_of(TEXT, *[t.model_dump() for t in terms if t.counts(when)])[0] for when in (0.5, 0.8))
    assert early.item() == pytest.approx(2 * late.item())
    with pytest.raises(ValueError, match="the term never counts"):
        TermSettings(after=0.5, until=0.5)
    with pytest.raises(ConfigError, match="no term counts from 0.5 of the steps on"):
        load_settings("phantom-dpo", ["train.objective=[{until: 0.5}]"])
    always = Objective([TermSettings()], 1.0)
    assert always.at(0.5) is always


def gain(rewards, advantages):
    """PPO's surrogate of an own answer of two tokens less what it is at the reference, and its gradient in log pi."""
    own = Branch((IMAGE,), (1, 2), (8, 9))
    pair = replace(TEXT, rejected=own, edited=None, rewards=rewards)
    values = torch.tensor([*LOGPROBS[WRITTEN], *advantages], dtype=torch.float64, requires_grad=True)
    policy = TokenLogprobs(values, torch.tensor([0, 0, 1, 1]), torch.tensor([2, 2]))
    reference = {WRITTEN: torch.zeros(2, dtype=torch.float64), own: torch.zeros(2, dtype=torch.float64)}
    found = pair_values([pair], [WRITTEN, own], policy, reference, View("own")).gain.sum()
    return found.item(), torch.autograd.grad(found, values)[0][2:].tolist()


def test_policy_gradient_is_clipped_on_the_side_that_pays():
    # On the policy that was sampled rho is 1: nothing is gained yet, and the gradient is the reward.
    assert gain((0.5, -2.0), (0.0, 0.0)) == (pytest.approx(0.0), pytest.approx([0.5, -2.0]))
    # A praised token that is likelier already by more than a fifth, a blamed one that is rarer: nothing to gain.
    value, slope = gain((1.0, -1.0), (0.5, -0.5))
    assert value == pytest.approx(1.2 - 0.8)
    assert slope == pytest.approx([0.0, 0.0])
    # The other way round both still pay.
    assert gain((1.0, -1.0), (-0.5, 0.5))[1] == pytest.approx([math.exp(-0.5), -math.exp(0.5)])


def test_rewards_of_tokens():
    similarity = torch.tensor([2.0, 0.0, -2.0, 0.55])
    assert token_rewards(similarity, 0.5, -0.5).tolist() == pytest.approx([1.5, 0.0, -1.5, 0.0])


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ({"loss": "policy-gradient"}, "learns from the answer that was sampled"),
        ({"loss": "policy-gradient", "form": "joint"}, "set form: own"),
        ({"loss": "sigmoid", "form": "own"}, "prefer it to the truth"),
        ({"loss": "nll", "form": "own"}, "prefer it to the truth"),
        ({"loss": "image-margin", "form": "reversed"}, "the whole true answer on two images"),
        ({"loss": "image-margin", "tokens": "edited"}, "the whole true answer on two images"),
    ],
)
def test_a_form_of_which_a_loss_sees_the_wrong_half_is_refused(term, why):
    with pytest.raises(ConfigError, match=why):
        Objective([TermSettings.model_validate(term)], 1.0)


def test_rewards_are_of_own_answers_alone():
    """On other pairs the term would be 0, whatever is learnt."""
    objective = Objective([TermSettings(loss="policy-gradient", form="own")], 1.0)
    assert objective.needs(TEXT)
    assert not objective.needs(VISUAL)
    with pytest.raises(TrainingError, match="it needs an own answer"):
        objective.check([VISUAL, ANSWER])


def test_a_term_that_counts_in_no_step_is_refused_when_the_steps_are_known():
    late = Objective([TermSettings(), TermSettings(loss="ipo", after=0.95)], 1.0)
    late.check_stages(40)
    with pytest.raises(TrainingError, match=r"term 'ipo' \(after=0.95, until=1\) counts in none of the 10 optimizer"):
        late.check_stages(10)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": [{"loss": "nll"}], "reference": "first"}, "train.reference has no effect"),
        ({"objective": [{"loss": "softmax"}], "grouping": "none"}, "takes them apart"),
    ],
)
def test_settings_that_no_term_reads_are_refused(settings, why):
    train = TrainSettings.model_validate(settings)
    with pytest.raises(ConfigError, match=why):
        _check_objective(Objective(train.objective, train.beta), train)
