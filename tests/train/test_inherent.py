"""What is drawn from the policy itself, on a real model: POVID's second stage and FiSAO's rewards."""

from __future__ import annotations

import pytest

from mmedpo.config import TrainSettings
from mmedpo.errors import ConfigError, TrainingError
from mmedpo.pipeline.plan import _check_objective
from mmedpo.train.objectives import Objective
from train.test_stage import _adapter, _log, _settings, _train

INHERENT = {"loss": "sigmoid", "kinds": ["visual"], "form": "inherent"}


@pytest.mark.long
def test_what_the_noised_image_says_is_learned_against_and_read_from_its_pixels(small_vlm_folder, tmp_path):
    settings = _settings(small_vlm_folder, objective=[INHERENT], epochs=2)
    _train(tmp_path / "one", settings)
    _train(tmp_path / "other", settings, rejected_seed=2000)
    assert _adapter(tmp_path / "one") != _adapter(tmp_path / "other")
    steps = [entry["loss"] for entry in _log(tmp_path / "one") if "loss" in entry]
    # Half of the pairs are text, which no term looks at; a drawn answer that is the truth leaves ln 2.
    assert 0 < steps[-1] < steps[0] + 1e-3 < 0.36


@pytest.mark.long
def test_a_second_stage_begins_where_the_recipe_says(small_vlm_folder, tmp_path):
    """A term of the second half weighs nothing before it: the first half is that of the run without it."""
    text = {"loss": "sigmoid", "kinds": ["text"]}
    late = {**INHERENT, "after": 0.5, "weight": 5.0}
    _train(tmp_path / "one", _settings(small_vlm_folder, objective=[text], epochs=2))
    _train(tmp_path / "both", _settings(small_vlm_folder, objective=[text, late], epochs=2))
    one, both = (
        [entry["loss"] for entry in _log(tmp_path / name) if "loss" in entry and entry["step"]]
        for name in ("one", "both")
    )
    half = len(one) // 2
    assert len(one) == len(both) > 2
    assert both[:half] == pytest.approx(one[:half], abs=1e-6)
    assert both[half] > one[half] + 0.5


@pytest.mark.long
def test_rewards_come_from_the_image(small_vlm_folder, tmp_path):
    objective = [{"loss": "policy-gradient", "form": "own", "kinds": ["text"]}]
    _train(tmp_path / "one", _settings(small_vlm_folder, objective=objective, epochs=2))
    losses = [entry["loss"] for entry in _log(tmp_path / "one") if "loss" in entry and entry["step"]]
    assert any(loss != 0 for loss in losses)
    assert losses[-1] < losses[0], "what is rewarded gets likelier"


def test_what_cannot_be_drawn_is_refused(small_vlm_folder, tmp_path):
    with pytest.raises(TrainingError, match=r"\(form inherent, tokens all\) looks at none .* needs a noised image"):
        _train(tmp_path / "text", _settings(small_vlm_folder, objective=[{**INHERENT, "kinds": ["text"]}]))
    full = TrainSettings.model_validate({"tune": "full", "objective": [INHERENT]})
    with pytest.raises(ConfigError, match="set train.tune=lora"):
        _check_objective(Objective(full.objective, full.beta), full)
