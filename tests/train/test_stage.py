"""The training stage on a small run: what it learns, what it refuses, and that a kill changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.config import validate_settings
from mmedpo.errors import TrainingCollapsed, TrainingError
from mmedpo.models.generation import Decoding
from mmedpo.records import BlindPair, Example, ImageRef, NoiseSpec, PreferencePair
from mmedpo.run import Run, Stage, open_run
from mmedpo.storage.tables import write_bytes

SIZE = 128


def _png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _stage(result, work):
    reads, may = ("examples.parquet", "pairs.parquet"), ("reference", "blind.parquet")
    return Stage("train", work, {}, reads, (result, "train"), may_write=may, optional=("images",))


def _prepare(run: Run, weight: float = 1.0, rejected_seed: int = 1000) -> None:
    """Six training questions with a text and a visual pair each, and three validation questions."""
    examples, pairs = [], []
    for number in range(9):
        data = _png(number)
        path = f"images/{number}.png"
        write_bytes(run.image_root / path, data)
        image = ImageRef(path=path, sha256=hashlib.sha256(data).hexdigest(), width=SIZE, height=SIZE)
        example = Example(
            example_id=f"e{number}",
            dataset="phantom",
            split="train" if number < 6 else "validation",
            image=image,
            question="is there a nodule in the left upper zone?",
            answer="yes" if number % 2 else "a small mass",
            answer_type="closed",
        )
        examples.append(example)
        if number >= 6:
            continue
        write_bytes(run.file(f"images/{number}.png"), _png(rejected_seed + number))
        common = {"example_id": example.example_id, "image": image, "question": example.question}
        common |= {"chosen": example.answer, "weight": weight, "score": 0.5}
        pairs.append(PreferencePair(pair_id=f"e{number}/text", kind="text", rejected="no", **common))
        pairs.append(
            PreferencePair(
                pair_id=f"e{number}/visual",
                kind="visual",
                rejected=example.answer,
                rejected_noise=NoiseSpec(),
                rejected_image_path=f"images/{number}.png",
                **common,
            )
        )
    run.write("examples.parquet", Example, examples)
    run.write("pairs.parquet", PreferencePair, pairs)


def _settings(checkpoint: Path, **train: object) -> object:
    raw = {
        "model": {"name": str(checkpoint), "device": "cpu"},
        "train": {
            "learning_rate": 1e-3,
            "epochs": 3,
            "batch_groups": 2,
            "checkpoint_every": 3,
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
            "watch": {"every": 4, "keep": "last", "collapse_drop": 0.01, "collapse_logprob": 100.0},
            **train,
        },
    }
    return validate_settings(raw, "test")


class _Probe:
    """A generation probe that gives the scores it is told."""

    def __init__(self, score=lambda: 0.5):
        self._score = score

    def decoding(self, examples):
        return Decoding(4)

    def score(self, examples, answers):
        assert len(answers) == len(examples) > 0
        return {"probe_score": self._score()}


def _train(path: Path, settings, score=lambda: 0.5, prepare: bool = True, weight: float = 1.0, rejected_seed=1000):
    from mmedpo.train.training import train

    with open_run(path, settings) as run:
        if prepare:
            _prepare(run, weight, rejected_seed)
        run.execute(_stage("adapter", lambda run: train(run, _Probe(score))))


def _adapter(path: Path) -> bytes:
    return (path / "adapter" / "adapter_model.safetensors").read_bytes()


def _log(path: Path) -> list[dict[str, float]]:
    return json.loads((path / "train" / "log.json").read_text())


@pytest.fixture(scope="module")
def trained(small_vlm_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    _train(path, _settings(small_vlm_folder))
    return path


def test_loss_starts_at_ln_2_and_falls(trained):
    losses = [entry["loss"] for entry in _log(trained) if "loss" in entry]
    rewards = [entry for entry in _log(trained) if "chosen_reward" in entry]
    assert rewards[0]["step"] == 0
    assert rewards[0]["chosen_reward"] == pytest.approx(0.0, abs=1e-4)
    assert losses[0] < math.log(2) + 0.05
    assert losses[-1] < losses[0]
    assert rewards[-1]["chosen_reward"] > rewards[-1]["rejected_reward"]


def test_pairs_are_also_seen_without_their_images_by_the_untuned_model(trained, small_vlm_folder):
    """Each number is that of the answer behind the bare question, in the model's own forward pass."""
    import torch

    from mmedpo.models.hub import load_model
    from mmedpo.storage.tables import read_table

    rows = {row.pair_id: row for row in read_table(trained / "blind.parquet", BlindPair)}
    assert rows.keys() == {f"e{number}/text" for number in range(6)}
    vlm = load_model(_settings(small_vlm_folder).model)
    for answer, total, tokens in (
        ("a small mass", rows["e2/text"].chosen, rows["e2/text"].chosen_tokens),
        ("no", rows["e2/text"].rejected, rows["e2/text"].rejected_tokens),
    ):
        prompt = vlm.prompt_ids("is there a nodule in the left upper zone?", ())
        response = vlm.answer_ids(answer)
        ids = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            logprobs = vlm.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = logprobs.gather(1, torch.tensor(response)[:, None]).sum().item()
        assert (total, tokens) == (pytest.approx(expected, abs=1e-4), len(response))


class _Killed(BaseException):
    """Stands for a kill: nothing catches it on the way out."""


@pytest.mark.parametrize("looks_until_kill", [1, 2])
def test_a_killed_run_ends_with_the_same_bytes(trained, small_vlm_folder, tmp_path, looks_until_kill):
    seen = []

    def dying():
        seen.append(1)
        if len(seen) > looks_until_kill:
            raise _Killed
        return 0.5

    path = tmp_path / "killed"
    with pytest.raises(_Killed):
        _train(path, _settings(small_vlm_folder), dying)
    assert not (path / "adapter").exists()
    _train(path, _settings(small_vlm_folder), prepare=False)
    assert _adapter(path) == _adapter(trained)
    assert _log(path) == _log(trained)


def test_a_half_written_checkpoint_is_passed_over(trained, small_vlm_folder, tmp_path):
    path = tmp_path / "killed"

    def dying():
        if (path / ".work/train/checkpoints/checkpoint-6").exists():
            raise _Killed
        return 0.5

    with pytest.raises(_Killed):
        _train(path, _settings(small_vlm_folder), dying)
    newest = path / ".work/train/checkpoints/checkpoint-6"
    (newest / "complete").unlink()
    (newest / "trainer_state.json").write_text("{")
    _train(path, _settings(small_vlm_folder), prepare=False)
    assert _adapter(path) == _adapter(trained)


def test_changing_only_the_rejected_image_changes_what_is_learned(trained, small_vlm_folder, tmp_path):
    _train(tmp_path / "other", _settings(small_vlm_folder), rejected_seed=2000)
    assert _adapter(tmp_path / "other") != _adapter(trained)


def test_sft_learns_the_chosen_answers_and_needs_no_reference(small_vlm_folder, tmp_path):
    _train(tmp_path / "sft", _settings(small_vlm_folder, method="sft"))
    losses = [entry["loss"] for entry in _log(tmp_path / "sft") if "loss" in entry]
    assert losses[-1] < losses[0] - 0.1
    assert not (tmp_path / "sft" / "reference").exists()


def test_all_weights_zero_is_refused(small_vlm_folder, tmp_path):
    with pytest.raises(TrainingError, match="every pair has weight 0"):
        _train(tmp_path / "zero", _settings(small_vlm_folder), weight=0.0)


def test_a_fallen_probe_stops_the_run_and_keeps_the_log(small_vlm_folder, tmp_path):
    scores = iter([0.8, 0.1])
    settings = _settings(small_vlm_folder, watch={"every": 2, "collapse_drop": 0.5})
    with pytest.raises(TrainingCollapsed, match=r"step 2 the validation probe fell from 0.800 to 0.100.*learning_rate"):
        _train(tmp_path / "fallen", settings, lambda: next(scores))
    assert not (tmp_path / "fallen" / "adapter").exists()
    assert [entry["probe_score"] for entry in _log(tmp_path / "fallen") if "probe_score" in entry] == [0.8, 0.1]


def test_a_collapse_that_a_checkpoint_holds_stays_one_when_the_command_is_given_again(small_vlm_folder, tmp_path):
    settings = _settings(small_vlm_folder, watch={"every": 3, "collapse_drop": 0.5})
    scores: list[float] = [0.8, 0.1]
    logs = []
    for _ in range(2):
        with pytest.raises(TrainingCollapsed, match=r"step 3 the validation probe fell from 0.800 to 0.100"):
            _train(tmp_path / "fallen", settings, lambda: scores.pop(0), prepare=not logs)
        logs.append([entry for entry in _log(tmp_path / "fallen") if "probe_score" in entry])
    assert logs[0] == logs[1]


def test_the_best_look_is_kept(trained, small_vlm_folder, tmp_path):
    """The same training (a look draws nothing) of which another step is kept."""
    scores = iter([0.5, 0.6, 0.9, 0.7, 0.7, 0.7])
    best = _settings(small_vlm_folder, watch={"every": 2, "keep": "best", "collapse_logprob": 100.0})
    _train(tmp_path / "best", best, lambda: next(scores, 0.7))
    losses = [[entry["loss"] for entry in _log(path) if "loss" in entry] for path in (tmp_path / "best", trained)]
    assert losses[0] == losses[1]
    assert _adapter(tmp_path / "best") != _adapter(trained)


# Memory.


def _starve(monkeypatch, above: int, times: int = 10**9):
    """Forward passes of more than `above` tokens run out of memory, so many times."""
    import torch

    import mmedpo.engine.engine as engine
    from mmedpo.engine.logprobs import layout_of

    stock, left = engine.packed_logprobs, [times]

    def starving(vlm, branches, features, model=None, *, dense=False):
        tokens = layout_of(vlm, branches).columns
        if torch.is_grad_enabled() and model is not None and tokens > above and left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("out of memory")
        return stock(vlm, branches, features, model, dense=dense)

    monkeypatch.setattr(engine, "packed_logprobs", starving)


def _big_steps(folder, **train):
    """Steps of about 800 tokens, so that there is something to halve."""
    return _settings(folder, batch_groups=3, gradient_accumulation=2, epochs=2, **train)


def test_out_of_memory_halves_the_pass_once_says_so_and_goes_on(small_vlm_folder, tmp_path, monkeypatch, capsys):
    from mmedpo.progress import LineReporter

    dropless = {"lora": {"rank": 4, "alpha": 8}}
    _train(tmp_path / "whole", _big_steps(small_vlm_folder, **dropless))
    monkeypatch.setattr("mmedpo.engine.engine.ENOUGH_ON_CPU", 10**9)
    _starve(monkeypatch, above=300)
    settings = _big_steps(small_vlm_folder, **dropless).model_copy(
        update={"engine": _settings(small_vlm_folder).engine.model_copy(update={"max_tokens": 600})}
    )
    with open_run(tmp_path / "starved", settings, LineReporter()) as run:
        _prepare(run)
        from mmedpo.train.training import train

        run.execute(_stage("adapter", lambda run: train(run, _Probe())))
    said = capsys.readouterr().err
    assert said.count("out of memory with engine.max_tokens=600: going on with 300") == 1
    whole, starved = _log(tmp_path / "whole"), _log(tmp_path / "starved")
    for left, right in zip(whole, starved, strict=True):
        assert left.keys() == right.keys()
        if "loss" in left:
            assert left["loss"] == pytest.approx(right["loss"], rel=1e-4)


def test_out_of_memory_again_is_an_error_that_names_the_settings(small_vlm_folder, tmp_path, monkeypatch):
    _starve(monkeypatch, above=10)
    with pytest.raises(
        TrainingError, match=r"out of memory again with engine.max_tokens=2048; lower engine.max_tokens"
    ):
        _train(tmp_path / "starved", _settings(small_vlm_folder))


# What is trained.


def test_all_weights_can_be_tuned_and_the_result_is_a_checkpoint_of_its_own(small_vlm_folder, tmp_path):
    from mmedpo.models.hub import load_tuned

    settings = _settings(small_vlm_folder, tune="full", lora={}, epochs=2)
    with open_run(tmp_path / "full", settings) as run:
        _prepare(run)
        from mmedpo.train.training import train

        run.execute(_stage("tuned", lambda run: train(run, _Probe())))
    assert not list((tmp_path / "full" / "tuned").glob("*.bin"))
    tuned = load_tuned(settings.model, tmp_path / "full" / "tuned")
    base = load_tuned(settings.model, small_vlm_folder)
    changed = {
        name.split(".")[1] if name.startswith("model.") else name.split(".")[0]
        for (name, left), right in zip(tuned.model.named_parameters(), base.model.parameters(), strict=True)
        if not left.equal(right)
    }
    assert changed == {"language_model"}
    losses = [entry["loss"] for entry in _log(tmp_path / "full") if "loss" in entry]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("parts", [("language_model", "projector"), ("language_model", "projector", "vision_tower")])
def test_an_adapter_on_more_parts_reaches_them_and_loads_again(small_vlm_folder, tmp_path, parts):
    from safetensors import safe_open

    from mmedpo.models.hub import load_tuned

    settings = _settings(small_vlm_folder, parts=parts, epochs=1)
    _train(tmp_path / "more", settings)
    with safe_open(tmp_path / "more" / "adapter" / "adapter_model.safetensors", framework="pt") as file:
        # B starts at zero: where it is not, training has reached.
        reached = {name.split(".")[3] for name in file.keys() if "lora_B" in name and file.get_tensor(name).any()}  # noqa: SIM118
    marks = {"language_model": "language_model", "projector": "multi_modal_projector", "vision_tower": "vision_tower"}
    assert reached == {marks[part] for part in parts}
    load_tuned(settings.model, tmp_path / "more" / "adapter")


@pytest.mark.parametrize(
    "train",
    [
        {"grouping": "image"},
        pytest.param({"grouping": "none"}, marks=pytest.mark.long),
        pytest.param({"activation_checkpointing": True}, marks=pytest.mark.long),
        {"objective": [{"loss": "ipo"}, {"loss": "nll", "weight": 0.1}], "beta": 0.5},
        pytest.param({"objective": [{"loss": "softmax"}]}, marks=pytest.mark.long),
        pytest.param({"edited_token_weight": 3.0}, marks=pytest.mark.long),
    ],
    ids=lambda train: ",".join(train),
)
def test_other_ways_to_train_learn_too(small_vlm_folder, tmp_path, train):
    _train(tmp_path / "run", _settings(small_vlm_folder, epochs=6, **train))
    losses = [entry["loss"] for entry in _log(tmp_path / "run") if "loss" in entry]
    assert losses[-1] < losses[0]


def test_activation_checkpointing_and_packing_change_nothing_but_rounding(small_vlm_folder, tmp_path):
    short = {"lora": {"rank": 4, "alpha": 8}, "epochs": 2}
    plain = _settings(small_vlm_folder, **short)
    logs = []
    for name, settings in {
        "packed": plain,
        "unpacked": plain.model_copy(update={"engine": plain.engine.model_copy(update={"packing": "off"})}),
        "checkpointed": _settings(small_vlm_folder, **short, activation_checkpointing=True),
    }.items():
        _train(tmp_path / name, settings)
        logs.append([entry["loss"] for entry in _log(tmp_path / name) if "loss" in entry])
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    assert logs[2] == pytest.approx(logs[0], rel=1e-4)


def test_nothing_is_measured_before_the_form_is_settled(small_vlm_folder, tmp_path, monkeypatch):
    """A model that cannot be packed has a reference, and a look without images, of plain sequences too."""
    import mmedpo.engine.engine as engine

    asked = []
    ask = engine.Engine._ask
    monkeypatch.setattr(engine, "trie_refusal", lambda config: "refused for the test")
    monkeypatch.setattr(engine.Engine, "_ask", lambda self, form, *rest: asked.append(form) or ask(self, form, *rest))
    _train(tmp_path / "plain", _settings(small_vlm_folder, epochs=1))
    assert set(asked) == {"plain"}


def test_one_process_takes_one_gpu_of_several(tmp_path, monkeypatch):
    from transformers import TrainingArguments

    from mmedpo.config import TrainSettings
    from mmedpo.train.trainer import training_arguments

    begin = TrainingArguments.__post_init__
    monkeypatch.setattr(
        TrainingArguments, "__post_init__", lambda self: begin(self) or self.__dict__.update({"_n_gpu": 4})
    )
    assert training_arguments(TrainSettings(), tmp_path, 0, "cpu").n_gpu == 1


def test_what_no_longer_fits_after_memory_ended_is_told_as_that(small_vlm_folder, tmp_path, monkeypatch):
    import mmedpo.train.trainer as trainer
    from mmedpo.config import EngineSettings

    def starving(self, *_):
        raise trainer.torch.OutOfMemoryError

    whole = trainer.Engine.bins

    def narrow(self, units):
        if self.max_tokens < EngineSettings().max_tokens:
            raise TrainingError("too large for a pass; raise engine.max_tokens")
        return whole(self, units)

    monkeypatch.setattr(trainer.Engine, "bins", narrow)
    monkeypatch.setattr(trainer.PreferenceTrainer, "_sum", starving)
    with pytest.raises(TrainingError, match=r"out of memory with engine.max_tokens=\d+, and .*; lower engine"):
        _train(tmp_path / "starved", _settings(small_vlm_folder, epochs=1))
