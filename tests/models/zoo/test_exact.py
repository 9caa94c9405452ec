"""Every family: features, packed, dense and plain, against the stock forward pass from pixels."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedpo.config import LoraSettings, TermSettings, TrainSettings
from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.errors import TrainingError
from mmedpo.models.hub import make_trainable
from mmedpo.records import IMAGE_PLACE
from models.zoo.pictures import SIZES, VIEWS, read, stock_logprobs

QUESTIONS = ["is there a nodule?", "is there a", "which plane is shown?"]
BETWEEN = "is there a <image> nodule <image>?"
"""Asked of two views, each at its place."""
ANSWERS = ["yes", "yes, there is none", "no, there is none", "AP"]


def tuned(shared_vlm):
    """An engine of a copy with an adapter on its language layers whose both matrices are away from zero."""
    vlm = deepcopy(shared_vlm)
    make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=4, alpha=8)), seed=0)
    torch.manual_seed(1)
    for parameter in trained(vlm):
        parameter.data.normal_(0.0, 0.2)
    return Engine(vlm, FeatureStore(vlm, read), max_tokens=4096)


@pytest.fixture(scope="module")
def engine(shared_vlm):
    return tuned(shared_vlm)


@pytest.fixture(scope="module")
def exact(shared_vlm):
    """The same in double precision: with some pictures rounding alone moves a gradient by 1.5e-5 of its norm."""
    engine = tuned(shared_vlm)
    engine.vlm.model.double()
    return engine


def trained(vlm):
    return [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]


def branch(vlm, views, question, answer):
    if not vlm.family.several:
        views, question = views[:1], question.replace(IMAGE_PLACE, "")
    sizes = tuple(SIZES[view.name] for view in views)
    return Branch(views, tuple(vlm.prompt_ids(question, sizes)), tuple(vlm.answer_ids(answer)), sizes)


ASKED = st.one_of(
    st.tuples(
        st.lists(st.sampled_from(VIEWS), min_size=1, max_size=2).map(tuple),
        st.sampled_from(QUESTIONS),
        st.sampled_from(ANSWERS),
    ),
    st.tuples(st.sampled_from([VIEWS[:2], VIEWS[1:]]), st.just(BETWEEN), st.sampled_from(ANSWERS)),
)


def apart(ours, theirs):
    norm = sum(float(gradient.norm()) ** 2 for gradient in theirs) ** 0.5
    return sum(float((a - b).norm()) ** 2 for a, b in zip(ours, theirs, strict=True)) ** 0.5 / norm


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(ASKED, min_size=2, max_size=5, unique=True))
def test_every_form_has_the_stock_log_probs_and_adapter_gradients(exact, asked):
    engine = exact
    batch = list(dict.fromkeys(branch(engine.vlm, *one) for one in asked))
    expected = [stock_logprobs(engine.vlm, item) for item in batch]
    whole = torch.cat(expected)
    coefficients = torch.randn(len(whole), generator=torch.Generator().manual_seed(0))
    theirs = torch.autograd.grad((whole * coefficients).sum(), trained(engine.vlm))
    for form in ("packed", "plain"):
        engine.form = form
        values = engine.logprobs(batch).values
        torch.testing.assert_close(values, whole, rtol=1e-5, atol=1e-5)
        ours = torch.autograd.grad((values * coefficients).sum(), trained(engine.vlm))
        assert apart(ours, theirs) < 1e-5


def test_prefixes_are_shared(engine):
    """A question's answers share its prompt; an image's questions share the image, unless it sees them."""
    from mmedpo.engine.logprobs import layout_of

    batch = [branch(engine.vlm, VIEWS[:1], question, answer) for question in QUESTIONS[::2] for answer in ANSWERS]
    columns = layout_of(engine.vlm, batch).columns
    rows = sum(len(item.prompt) + len(item.response) - 1 for item in batch)
    image = engine.vlm.family.image_tokens(SIZES["wide"])
    apart = 1 if engine.vlm.family.both_ways != "prompt" else 2
    assert columns < rows - (len(batch) - apart) * image


def test_the_engine_settles_for_the_trie(engine):
    engine.form = "packed"
    batch = [branch(engine.vlm, VIEWS[1:], "is there a nodule?", answer) for answer in ANSWERS]
    agreement = engine.settle(batch, strict=True, message=pytest.fail)
    assert agreement.logprob < 1e-4
    assert engine.form == "packed"


def test_another_image_and_a_changed_rejected_image_change_the_loss(engine):
    from mmedpo.train.forms import View
    from mmedpo.train.groups import BranchPair
    from mmedpo.train.objectives import Objective
    from mmedpo.train.values import pair_values

    engine.form = "packed"
    by_view = {view: branch(engine.vlm, (view,), "is there a nodule?", "yes") for view in VIEWS}
    losses = []
    for chosen, rejected in ((VIEWS[0], VIEWS[1]), (VIEWS[0], VIEWS[2]), (VIEWS[1], VIEWS[2])):
        sides = [by_view[chosen], by_view[rejected]]
        policy = engine.logprobs(sides)
        reference = {item: torch.zeros(len(item.response)) for item in sides}
        pair = BranchPair("p", "visual", *sides, 1.0)
        objective = Objective((TermSettings(),), beta=1.0)
        losses.append(objective.sum({View(): pair_values([pair], sides, policy, reference)}).item())
    assert abs(losses[0] - losses[1]) > 1e-4
    assert abs(losses[1] - losses[2]) > 1e-4


def test_a_family_that_leaves_out_an_input_is_stopped(shared_vlm, monkeypatch):
    """What packed against plain cannot see: both lack the same."""
    engine = tuned(shared_vlm)
    family = engine.vlm.family
    ids = engine.vlm.prompt_ids("is there a nodule?", [SIZES["wide"]])
    asked = [branch(engine.vlm, VIEWS[:1], "is there a nodule?", "yes")]
    for member, inputs in (
        ("token_types", family.token_types(ids, len(ids))),
        ("image_inputs", family.image_inputs(SIZES["wide"])),
    ):
        for left_out in inputs:
            with monkeypatch.context() as patch:
                patch.setattr(family, member, lambda *_: {})
                with pytest.raises(TrainingError, match=f"takes {left_out}, which its family .* does not give"):
                    engine.settle(asked, strict=False, message=pytest.fail)
    engine.settle(asked, strict=False, message=pytest.fail)


def test_wrong_positions_are_noticed(shared_vlm, monkeypatch):
    engine = tuned(shared_vlm)
    own = engine.vlm.family.positions
    if own((1, 2), ()) is None:
        pytest.skip("counts 0, 1, 2")
    monkeypatch.setattr(engine.vlm.family, "positions", lambda ids, sizes: own(ids, sizes)[:, ::-1])
    asked = [branch(engine.vlm, VIEWS[:1], "is there a nodule?", answer) for answer in ANSWERS]
    with pytest.raises(TrainingError, match="packed and plain log-probs differ"):
        engine.settle(asked, strict=True, message=pytest.fail)
