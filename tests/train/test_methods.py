"""Every method that is laid over a dataset: what it makes of one hand-made question, and known faults of originals."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmedpo.config import load_settings
from mmedpo.engine import Branch, TokenLogprobs
from mmedpo.errors import TrainingError
from mmedpo.pipeline.plan import check_objectives
from mmedpo.recipes import methods
from mmedpo.records import ImageRef, PreferencePair
from mmedpo.train.groups import BranchPair, Wanted, group_pairs
from mmedpo.train.objectives import Objective
from mmedpo.train.values import pair_values

CLEAN, NOISED, OTHER, FACTUAL, COUNTER = (
    (Path(f"{name}.png"),) for name in ("clean", "noised", "other", "factual", "counter")
)
PROMPT, RIGHT, WRONG = (1, 2), (5, 6), (5, 7)
BRANCHES = {
    "w": Branch(CLEAN, PROMPT, RIGHT),
    "w*": Branch(NOISED, PROMPT, RIGHT),
    "l": Branch(CLEAN, PROMPT, WRONG),
    "l*": Branch(NOISED, PROMPT, WRONG),
    "w'": Branch(OTHER, PROMPT, RIGHT),
    "w|c": Branch(FACTUAL, PROMPT, RIGHT),
    "l|c": Branch(FACTUAL, PROMPT, WRONG),
    "w|c*": Branch(COUNTER, PROMPT, RIGHT),
    "l|c*": Branch(COUNTER, PROMPT, WRONG),
}
COMPOSED = {
    "factual": BRANCHES["w|c"],
    "factual_wrong": BRANCHES["l|c"],
    "counterfactual": BRANCHES["w|c*"],
    "counterfactual_wrong": BRANCHES["l|c*"],
}
LOGPROBS = {"w": (-1.0, -3.0), "w*": (-1.0, -2.5), "l": (-0.5, -2.0), "l*": (-1.5, -2.5), "w'": (-1.0, -3.5)}
LOGPROBS |= {"w|c": (-1.0, -1.0), "l|c": (-2.0, -2.0), "w|c*": (-3.0, -1.0), "l|c*": (-1.0, -1.0)}
REFERENCE = {"w": (-1.0, -2.0), "w*": (-1.0, -3.0), "l": (-1.0, -3.0), "l*": (-1.0, -1.5)}
REFERENCE |= {"w|c": (-1.0, -2.0), "l|c": (-1.0, -2.5), "w|c*": (-1.0, -1.0), "l|c*": (-1.0, -1.5)}
"""a: w -1, w* 0.5, l 1.5, l* -1.5; over the last tokens -1, 0.5, 1, -1. Under the
composites: w 1 and, counterfactual, -2; l -0.5 and 0.5. log pi: -4, -3.5, -2.5, -4, w' -4.5."""
EDITED = ((0.0, 1.0), (0.0, 1.0))
REWARDS = (0.5, -1.0)
"""Of the tokens of the wrong answer, whose a are 0.5 and 1."""
WEIGHT = {"text": 1.25, "visual": 0.75, "answer": 1.0}


def pair(kind, **changed):
    b = BRANCHES
    sides = {
        "text": (b["l"],),
        "visual": (b["w*"], WEIGHT["visual"], (), (), b["l"], b["l*"]),
        "answer": (None,),
    }[kind]
    base = BranchPair(kind, kind, b["w"], *sides) if len(sides) > 1 else BranchPair(kind, kind, b["w"], *sides, 1.0)
    edited = None if kind == "answer" else EDITED
    drawn = {"text": {"rewards": REWARDS}, "visual": {"inherent": b["l"], **COMPOSED}}.get(kind, {})
    values = {**vars(base), "weight": WEIGHT[kind], "edited": edited, "other": b["w'"], **drawn, **changed}
    return BranchPair(**values)


def asked(branches):
    name_of = {branch: name for name, branch in BRANCHES.items()}
    values = torch.tensor([LOGPROBS[name_of[one]] for one in branches], dtype=torch.float64).flatten()
    owner = torch.arange(len(branches)).repeat_interleave(2)
    # Policy and reference agree on the whole distribution: a token KL of 0.
    logits = torch.zeros(1, 3, dtype=torch.float64)
    return TokenLogprobs(values, owner, torch.tensor([2] * len(branches)), logits, torch.zeros(len(owner)).long())


def s(h):
    return math.log(1 + math.exp(-h))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


DPO = s(-1 - 1.5)
"""h of the text pair is -2.5, of the visual pair -1.5."""
EQ3 = 1.25 * DPO + 0.75 * s(-1.5)
EXPECTED = {
    "by-question": EQ3,
    "mmedpo-global": EQ3,
    "mmedpo-hard-mask": EQ3,
    "mmedpo-lesion": EQ3,
    "mmedpo-one-agent": EQ3,
    "mmedpo-two-agents": EQ3,
    "mmedpo-one-round": EQ3,
    "mmedpo-near-agreement": EQ3,
    "mmedpo-raw": EQ3,
    "mmedpo-released": EQ3,
    "mmedpo-zscore": EQ3,
    "mmedpo-literal": EQ3,
    "after-sft": EQ3,
    "mmedpo-unweighted": DPO + s(-1.5),
    "mmedpo-text": 1.25 * DPO,
    "mmedpo-text-one-agent": 1.25 * DPO,
    "visual": 0.75 * s(-1.5),
    "visual-global": 0.75 * s(-1.5),
    "visual-hard-mask": 0.75 * s(-1.5),
    "mmedpo-joint": 2 * 0.75 * s(-1 + 1.5),
    "copo": s(-1.5),
    "dpo": DPO,
    "targeted": DPO,
    "povid-stage-1": DPO,
    "povid-stage-2": DPO,
    "povid": 3 * DPO + s(-1 - 1.5),
    "fisao": -(0.5 * (1.2 - 1) - 1.0 * (math.exp(1.0) - 1)),
    "similar-image": DPO,
    "minimal-edit": DPO,
    "stllava-med": DPO,
    "self-rewarding": DPO,
    "sima": DPO,
    "ddpo": s(-5 - (0.5 + 5)),
    "mask-dpo": s(-1 - 1),
    "rrpo": s(-1 - 1),
    "irpo": DPO + 4 / 2,
    "ipo": (-2.5 - 0.5) ** 2,
    "simpo": s(2.5 * (-4 + 2.5) / 2 - 1.25),
    "kto": sigmoid(1) + sigmoid(1.5),
    "dpop": s(-1 - 1.5 - 50),
    "asymmetric": s(-1 - 0.75),
    "mdpo": DPO + s(-1.5) + s(-1),
    "symmpo": DPO + s(-1.5 - 0.5) + 0.1 * ((-1 + 0.5) - (1.5 - 1.5)) ** 2,
    "s-vco": 2 * s(-1.5) + 2 * s(-1.5 - 1.5),
    "causal": 2 * s(-1 + 1.5) + 2 * s((-1 - 1.5) - (0.5 + 1.5)),
    "comedpo": 2 * s(-1 + 1.5) + 2 * s((1 + 2) - (-0.5 - 0.5)),
    "reversed": DPO + 0.1 * s(-1.5 - 0.5),
    "fire-mpo": s(-1 - 1) + 0.1 * s(-1 - 0.5),
    "sft-contrast": 4 + 0.3 * (1 - 0.5),
    "sft-contrast-projector": 4 + 0.3 * (1 - 0.5),
    "sft-contrast-lesion": 4 + 0.3 * (1 - 0.5) + (1 - (-4 + 3.5)),
    "sft-mirrored": 4 + (1 - 0.5) + 4,
    "sft-weighted": 4.0,
    "mmedpo-anchored": 4 + 0.75 * (1 - (-4 + 3.5)),
}
"""The objective on one question of each kind of pair that the method makes, every weight as it is read."""


@pytest.mark.parametrize("method", [name for name in methods() if name != "sft"])
def test_every_method_by_hand(method):
    server = {"self": ["chat.endpoints.self={base_url: 'http://127.0.0.1:1', model: m, temperature: 0.7}"]}
    server["critic"] = ["chat.endpoints.critic={base_url: 'http://127.0.0.1:1', model: m}"]
    asks = {"self-rewarding": "self", "sima": "critic"}.get(method)
    settings = load_settings(f"phantom-{method}", server[asks] if asks else [])
    check_objectives(settings)
    train = settings.train
    objective = Objective(train.objective, train.beta)
    weights = {} if settings.score.weights != "none" or train.factors else {"weight": 1.0}
    pairs = []
    for kind in settings.curate.kinds:
        changed = dict(weights)
        if kind == "text" and train.edited_token_weight != 1.0:
            edits = ((1.0, train.edited_token_weight),) * 2
            changed |= {"chosen_weights": edits[0], "rejected_weights": edits[1]}
        pairs.append(pair(kind, **changed))
    objective.check(pairs)
    needed = [one for one in pairs if objective.needs(one)]
    branches = list(dict.fromkeys(branch for one in needed for branch in objective.branches(one)))
    name_of = {branch: name for name, branch in BRANCHES.items()}
    compared = [branch for one in needed for branch in objective.compared(one)]
    reference = {one: torch.tensor(REFERENCE[name_of[one]], dtype=torch.float64) for one in compared}
    policy = asked(branches)
    values = {view: pair_values(needed, branches, policy, reference, view, policy) for view in objective.views}
    assert objective.sum(values).item() == pytest.approx(EXPECTED[method], rel=1e-9, abs=1e-12)


def test_every_method_is_in_the_table():
    assert set(EXPECTED) == set(methods()) - {"sft"}


# The known faults of published code.


VLM = SimpleNamespace(
    family=SimpleNamespace(sized=False, image_tokens=lambda size: 1),
    context_length=100,
    prompt_ids=lambda question, sizes: [1, 2],
    answer_ids=lambda answer: [ord(letter) for letter in answer],
)


def record(kind="text", number=0, **changed):
    base = {
        "pair_id": f"e{number}/{kind}",
        "example_id": f"e{number}",
        "kind": kind,
        "image": ImageRef(path="a.png", sha256=hashlib.sha256(b"a").hexdigest(), width=8, height=8),
        "question": "where?",
        "chosen": "left",
        "rejected": {"text": "right", "visual": "left", "answer": ""}[kind],
        "rejected_image_path": "n.png" if kind == "visual" else None,
        "weight": 1.0,
    }
    return PreferencePair.model_validate({**base, **changed})


def grouped(*records, **wanted):
    filler = [record("answer", number) for number in range(100, 104)]
    groups = group_pairs(VLM, [*records, *filler], Path("data"), Path("run"), max_length=50, wanted=Wanted(**wanted))
    return [one for group in groups for one in group][: len(records)]


def test_sides_that_are_the_same_are_refused():
    with pytest.raises(TrainingError, match="e0/text: chosen and rejected side are the same tokens on the same image"):
        grouped(record(rejected="left"))
    with pytest.raises(TrainingError, match="e0/visual: chosen and rejected side are the same"):
        grouped(record("visual", rejected_image_path=None))


def test_the_wrong_answer_of_a_visual_pair_is_that_of_the_text_pair_of_its_question():
    text, visual, alone = grouped(record(), record("visual"), record("visual", 1), wrong=True, edited=True)
    assert visual.wrong == text.rejected
    assert visual.wrong_shown == Branch((Path("run/n.png"),), (1, 2), text.rejected.response)
    assert visual.chosen == text.chosen
    assert visual.rejected.views == (Path("run/n.png"),)
    assert (alone.wrong, alone.wrong_shown, alone.edited) == (None, None, None)
    # left and right share their last letter t (and no longer run): it does not count.
    assert text.edited == visual.edited
    assert text.edited[0][-1] == text.edited[1][-1] == 0.0
    assert sum(text.edited[0]) < 4
    plain = grouped(record(), record("visual"))
    assert [one.wrong for one in plain] == [None, None]


def test_policy_and_reference_see_the_same_pixels_and_weights_are_read(small_vlm_folder, tmp_path):
    """mDPO's terms before the first step: every log-ratio is 0, whatever is shown on the rejected side."""
    from train.test_stage import _log, _settings, _train

    objective = [{"loss": "sigmoid"}, {"loss": "anchor", "kinds": ["text"]}]
    settings = _settings(small_vlm_folder, objective=objective, epochs=0.5)
    _train(tmp_path / "run", settings, weight=0.5)
    first = next(entry["loss"] for entry in _log(tmp_path / "run") if "chosen_reward" in entry)
    # Half of ln 2 for each pair, and ln 2, unweighted, for each text pair: the mean over both kinds is ln 2.
    assert first == pytest.approx(math.log(2), abs=1e-4)
    assert json.loads((tmp_path / "run" / "train" / "log.json").read_text())
