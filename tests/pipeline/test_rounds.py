"""Two rounds of the loop for real: the second samples, refers to and adds to the model of the first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mmedpo.config import validate_settings
from mmedpo.errors import ConfigError
from mmedpo.models.slots import load_slot, load_start
from mmedpo.pipeline.plan import last_called, plan, run_stages
from mmedpo.records import Candidate, PreferencePair
from mmedpo.run import TUNED, Run, open_run
from mmedpo.storage.tables import read_table

RECIPE = {
    "rounds": 2,
    "each_round": [{}, {"curate": {"candidates": 3}}],
    "data": {"phantom": {"train_images": 2, "validation_images": 2, "test_images": 2}},
    "model": {"device": "cpu"},
    "curate": {"kinds": ["text"], "candidates": 2, "max_new_tokens": 4},
    "train": {
        "beta": 1.0,
        "epochs": 1,
        "learning_rate": 2e-3,
        "lora": {"rank": 2, "alpha": 4},
        "watch": {"questions": 4, "every": 50, "collapse_drop": 0.001, "collapse_logprob": 100.0},
    },
    "evaluate": {
        "splits": ["test"],
        "max_new_tokens": 4,
        "bootstrap_samples": 100,
        "probes": {"lesion-reliance": None, "attention": None},
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with open_run(tmp_path_factory.mktemp("runs") / "r", validate_settings(RECIPE, "test")) as run:
        run_stages(run)
        return run


def test_every_round_has_its_folder_and_the_whole_its_report(finished: Run) -> None:
    for number in (1, 2):
        for name in ("candidates.parquet", "curated.parquet", "pairs.parquet", "adapter", "train/log.json"):
            assert (finished.path / f"rounds/{number}" / name).exists()
    assert not (finished.path / "pairs.parquet").exists()
    assert all(finished.is_done(stage) for stage in plan(finished.settings))


def test_what_every_round_does_ends_with_the_last_round() -> None:
    """`--until train`, which is also what a table asks of every arm."""
    names = [stage.name for stage in plan(validate_settings(RECIPE, "test"))]
    assert [names[last_called(name, names)] for name in ("train", "rounds/1/train", "data")] == [
        "rounds/2/train",
        "rounds/1/train",
        "data",
    ]
    with pytest.raises(ConfigError, match="no stage 'trian'; it has data, rounds/1/curate"):
        last_called("trian", names)


def test_the_reference_of_the_second_round_is_the_model_of_the_first(finished: Run) -> None:
    first, second = (
        load_file(finished.path / f"rounds/{number}/reference/logprobs.safetensors")["logprobs"] for number in (1, 2)
    )
    pairs = [finished.path / f"rounds/{number}/pairs.parquet" for number in (1, 2)]
    assert all(path.exists() for path in pairs)
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_a_round_works_by_settings_of_its_own(finished: Run) -> None:
    for number, answers in ((1, 2), (2, 3)):
        sampled = read_table(finished.path / f"rounds/{number}/candidates.parquet", Candidate)
        assert {candidate.index for candidate in sampled} == set(range(answers))
    assert "Round 2 has of its own: curate.candidates=3." in (finished.path / "report.html").read_text()


@pytest.mark.long
def test_the_reference_may_stay_the_first_model(finished: Run, tmp_path: Path) -> None:
    """Only the second round's training is done again, and its reference is what the base says of the same answers."""
    folder = tmp_path / "r"
    shutil.copytree(finished.path, folder)
    own = [{}, {"curate": {"candidates": 3}, "train": {"reference": "first"}}]
    with open_run(folder, validate_settings({**RECIPE, "each_round": own}, "test")) as run:
        before = dict(run.manifest.stages)
        run_stages(run, until="rounds/2/train")
        again = {name for name, state in run.manifest.stages.items() if state != before.get(name)}
    assert again == {"rounds/2/train"}
    values = [_reference(path) for path in (finished.path / "rounds/2", folder / "rounds/2", folder / "rounds/1")]
    of_previous, of_first, of_round_one = values
    assert of_first.keys() == of_previous.keys()
    assert any(not torch.allclose(of_first[key], of_previous[key]) for key in of_first)
    shared = of_first.keys() & of_round_one.keys()
    assert shared, "the true answers are the same in both rounds"
    assert all(torch.allclose(of_first[key], of_round_one[key], atol=1e-4) for key in shared)


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ([{}, {"curate": {}}], "each_round has no effect because it gives no round anything of its own"),
        ([{"train": {"reference": "first"}}, {}], "round 1: train.reference has no effect"),
        ([{}], "each_round speaks of 1 rounds, but rounds=2; give one entry each"),
        ([{}, {"model": {"name": "x"}}], "round 2: model is the same in every round; allowed: curate, score, train"),
        ([{}, {"train": {"betta": 1}}], "round 2: train: unknown setting 'betta'; did you mean 'beta'?"),
        ([{}, {"train": {"tune": "full"}}], "round 2: train: train.lora has no effect because train.tune is 'full'"),
        ([{}, {"curate": {"judge": "nobody"}}], "each_round, round 2: curate.judge: unknown judge 'nobody'"),
    ],
)
def test_what_a_round_cannot_have_is_refused(own: list[dict[str, object]], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_settings({**RECIPE, "each_round": own}, "test")
    assert why in str(caught.value)


def test_the_reference_of_a_single_round_is_not_set() -> None:
    with pytest.raises(ConfigError, match="train.reference has no effect because there is one round"):
        validate_settings({"train": {"reference": "first"}}, "test")


@pytest.mark.long
def test_the_tuned_model_is_both_adapters(finished: Run) -> None:
    """Weights of the chain: the base, plus the first adapter merged, plus the second."""
    merged = load_start(finished.slot(TUNED)).model.state_dict()
    first = load_start(finished.slot("round-1")).model.state_dict()
    base = load_slot(finished.slot("base")).model.state_dict()
    changed = [name for name in base if not torch.equal(base[name], first[name])]
    assert changed, "the first round changed weights"
    assert any(not torch.equal(first[name], merged[name]) for name in changed)
    untouched = [name for name in base if "vision_tower" in name]
    assert untouched
    assert all(torch.equal(base[name], merged[name]) for name in untouched)


def test_pairs_of_a_round_know_their_images(finished: Run) -> None:
    for number in (1, 2):
        assert read_table(finished.path / f"rounds/{number}/pairs.parquet", PreferencePair)


def _reference(round_folder: Path) -> dict[str, torch.Tensor]:
    """log pi_0 of every branch of a round, by the hash of its content."""
    with safe_open(round_folder / "reference/logprobs.safetensors", framework="pt") as file:
        keys = json.loads(file.metadata()["mmedpo"])["branches"]
        values = torch.split(file.get_tensor("logprobs"), file.get_tensor("tokens").tolist())
    return dict(zip(keys, values, strict=True))
