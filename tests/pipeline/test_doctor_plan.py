"""`mmedpo doctor --plan`: what it counts is what torch counts, and what does not fit is said."""

from __future__ import annotations

import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.config import LoraSettings, ModelSettings, RunSettings, TrainSettings, load_settings
from mmedpo.engine import Engine, FeatureStore
from mmedpo.engine.accounting import kept_bytes
from mmedpo.models.hub import load_model, load_outline, make_trainable
from mmedpo.pipeline.doctor import plan as planning
from mmedpo.pipeline.doctor.cases import Cases, of_recipe
from mmedpo.pipeline.doctor.plan import plan_recipe, training_memory
from mmedpo.pipeline.doctor.workload import shown_view, workload
from mmedpo.progress import Silent
from mmedpo.records import Example, ImageRef
from mmedpo.train.groups import Kept
from models.zoo.checkpoints import save

LORA = TrainSettings(lora=LoraSettings(rank=4, alpha=8), batch_groups=4)
PHANTOM = ["data.phantom.train_images=4", "data.phantom.validation_images=2", "data.phantom.test_images=2"]


def example(number: int, answer: str, image: int) -> Example:
    return Example(
        example_id=f"q{number}",
        dataset="x",
        split="train",
        image=ImageRef(path=f"{image}.png", sha256=str(image), width=90, height=64),
        question=f"is there a nodule in zone {number}?",
        answer=answer,
        answer_type="open",
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 90), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    answers = ("yes", "no, there is none", "in the right lower zone", "AP")
    examples = [example(number, answers[number % 4], number // 4) for number in range(12)]
    return Cases([], examples, examples, root)


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("llava_mistral", LORA),
        ("qwen2_5_vl", LORA),
        pytest.param("gemma3", LORA.model_copy(update={"grouping": "image"}), marks=pytest.mark.long),
        ("llava_mistral", LORA.model_copy(update={"activation_checkpointing": True})),
        pytest.param(
            "llava_next",
            TrainSettings(tune="full", parts=("language_model", "projector", "vision_tower")),
            marks=pytest.mark.long,
        ),
    ],
    ids=["lora", "lora 3-D positions", "lora both ways", "recomputed", "full"],
)
def test_the_plan_is_what_torch_accounts_for(kind, train, cases, tmp_path):
    settings = RunSettings(model=ModelSettings(name=str(save(kind, tmp_path / kind)), device="cpu"), train=train)
    outline, real = load_outline(settings.model), load_model(settings.model)
    assert all(value.device.type == "meta" for value in outline.model.parameters())
    make_trainable(outline, train, 0)
    work = workload(outline, cases, settings, "cpu")
    planned = training_memory(outline, work, settings)

    make_trainable(real, train, 0)
    weights = list(real.model.parameters())
    trained = [value for value in weights if value.requires_grad]
    assert planned.weights == sum(value.nbytes for value in weights)
    if train.activation_checkpointing:
        real.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    real.model.train()

    def read(view):
        return np.array(Image.open(shown_view(view)))

    engine = Engine(real, FeatureStore(real, read), 100_000)
    engine.features(work.largest[0].views)
    optimizer = torch.optim.AdamW(trained)
    if not train.activation_checkpointing:
        # Frozen towers compute without gradients; what they keep is not autograd's.
        kept = kept_bytes(lambda: engine.logprobs(work.largest).values, weights)
        assert planned.activations.kept + planned.activations.vision == pytest.approx(kept, rel=0.02)
    else:
        whole = training_memory(outline, work, settings.model_copy(update={"train": LORA})).activations.kept
        # Of two layers one is whole at a time; without recomputation, cheap results are left out of both.
        assert planned.activations.kept < 0.8 * whole
    engine.logprobs(work.largest).values.sum().backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    gradients = [value.grad for value in trained if value.grad is not None]
    assert planned.gradients == pytest.approx(sum(value.nbytes for value in gradients), rel=0.15)
    assert planned.optimizer == pytest.approx(sum(value.nbytes for value in states), rel=0.15)


@pytest.fixture(scope="module")
def phantoms():
    """The data of `PHANTOM`, read once."""
    with of_recipe(load_settings("phantom-mmedpo", PHANTOM), Silent()) as found:
        yield found


@pytest.fixture
def read_before(phantoms, monkeypatch):
    monkeypatch.setattr(planning, "of_recipe", lambda settings, reporter: nullcontext(phantoms))


def test_steps_and_views_are_those_a_run_would_have(small_vlm_folder, phantoms):
    settings = load_settings("phantom-mmedpo", [f"model.name={small_vlm_folder}", *PHANTOM, "train.batch_groups=5"])
    work = workload(load_outline(settings.model), phantoms, settings, "cpu")
    questions = len(phantoms.examples)
    images = len({item.image.sha256 for item in phantoms.examples})
    image_of = {item.example_id: item.image.sha256 for item in phantoms.examples}
    keys = len(set(Kept.of(settings.train, settings.seed).keys(image_of).values()))
    assert (work.questions, work.views) == (questions, 2 * images)
    assert work.steps == round(settings.train.epochs * -(-keys // 5))


def test_a_recipe_is_planned_from_one_measured_step(small_vlm_folder):
    overrides = [f"model.name={small_vlm_folder}", "model.device=cpu", *PHANTOM]
    found = plan_recipe("phantom-mmedpo", overrides, Silent(), measure=True)
    facts = dict(found.facts)
    assert found.exit_code == 0, list(found.lines())
    assert {"parameters", "weights", "activations", "memory", "disk", "calls", "one step", "time"} <= set(facts)
    assert facts["calls"] == "none"


def test_fine_tuning_before_curation_is_planned_too(small_vlm_folder, read_before):
    overrides = [f"model.name={small_vlm_folder}", "model.device=cpu", *PHANTOM]
    before = {"epochs": 3, "batch_images": 2}
    found = plan_recipe("phantom-mmedpo", [*overrides, f"finetune={before}"], Silent(), measure=True)
    told = dict(found.facts)["fine-tuning"]
    # 4 training images, 2 a step, 3 times.
    assert re.fullmatch(r"[\d.]+ MB before curation, [\d.]+ [kM]B of them activations; 6 steps, .+", told)
    outline = load_outline(ModelSettings(name=str(small_vlm_folder)))
    language = sum(
        value.nbytes for name, value in outline.model.named_parameters() if outline.family.part(name) != "vision_tower"
    )
    weights = sum(value.nbytes for value in outline.model.parameters())
    # Weights, and for each that is trained its gradient and AdamW's two numbers.
    assert float(told.split()[0]) * 1e6 > weights + 3 * language


def test_a_run_for_a_device_elsewhere_is_planned_without_its_time(small_vlm_folder, read_before):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    overrides = [f"model.name={small_vlm_folder}", "model.device=cuda", *PHANTOM]
    found = plan_recipe("phantom-mmedpo", overrides, Silent(), measure=True)
    assert found.exit_code == 0
    assert dict(found.facts)["memory"].endswith("its device is not here, so time is not told")
    assert "time" not in dict(found.facts)


def test_what_does_not_fit_is_an_error_with_its_fix(small_vlm_folder, read_before, monkeypatch):
    monkeypatch.setattr(planning, "_capacity", lambda device: (10**6, "a small device"))
    command = ["doctor", "--plan", "phantom-mmedpo", "--set", f"model.name={small_vlm_folder}"]
    told = CliRunner().invoke(app, [*command, *(part for item in PHANTOM for part in ("--set", item))])
    assert told.exit_code == 3, told.output
    assert "more than the 1 MB of a small device; lower engine.max_tokens" in told.output


def test_calls_of_language_models_are_counted(small_vlm_folder, phantoms, read_before, tmp_path):
    recipe = tmp_path / "asked.yaml"
    recipe.write_text(
        "extends: phantom-mmedpo\n"
        "chat: {endpoints: {med: {base_url: 'http://127.0.0.1:9/v1', model: m}}}\n"
        "curate: {judge: 'chat:med'}\n"
        "score: {agents: ['chat:med', rubric-internist], rounds: 4}\n"
        "evaluate: {splits: [test, test-balanced], judges: ['chat:med']}\n"
    )
    found = plan_recipe(str(recipe), [f"model.name={small_vlm_folder}", *PHANTOM], Silent(), measure=False)
    facts = dict(found.facts)
    questions = facts["questions"].split()[0]
    assert facts["calls"].startswith(f"judge med: at least {questions}; agents: {questions} to {4 * int(questions)}")
    # Both orders of every question of the first split, and no other.
    judged = 2 * sum(example.split == "test" for example in phantoms.everything)
    assert f"; judges of answers: {judged:,}, fewer where two answers are alike" in facts["calls"]


def test_calls_of_a_served_target_model_are_samples_and_test_questions(small_vlm_folder, phantoms, read_before):
    endpoint = "{base_url: 'http://127.0.0.1:9/v1', model: m, images: true}"
    served = ["model.server=med", "model.tuned_server=tuned", "evaluate.splits=[test]", "curate.candidates=2"]
    endpoints = [f"chat.endpoints.{name}={endpoint}" for name in ("med", "tuned")]
    overrides = [f"model.name={small_vlm_folder}", *PHANTOM, *endpoints, *served]
    facts = dict(plan_recipe("phantom-mmedpo", overrides, Silent(), measure=False).facts)
    asked = sum(example.split == "test" for example in phantoms.everything)
    samples = 2 * len(phantoms.examples)
    assert facts["calls"].startswith(f"server med: {samples + asked:,}; server tuned: {asked:,} ")
