"""Supervised fine-tuning of models that are not the tiny one: their own image size, layer and processor; and kills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmedpo.config import ModelSettings, load_settings
from mmedpo.errors import TrainingError
from mmedpo.imaging.images import index_image
from mmedpo.models.descent import OneCycle
from mmedpo.models.hub import load_model
from mmedpo.records import Example
from mmedpo.run import Stage, open_run
from mmedpo.train import finetune as finetuning
from mmedpo.train.finetune import finetune

QUESTIONS = [("is there a nodule?", "yes"), ("plane?", "AP"), ("where is the mass?", "right lower zone")]


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    """A LLaVA of 64 px in 8 px patches whose features are those of the last layer but one, padded to a square."""
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    from mmedpo.models.tiny.architecture import build_tokenizer

    tokenizer = build_tokenizer([text for pair in QUESTIONS for text in pair] * 20)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8
    )
    text = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    model = Llava(LlavaConfig(vision_config=vision, text_config=text, image_token_id=image, vision_feature_layer=-2))
    folder = tmp_path_factory.mktemp("other")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def _examples(root):
    rng = np.random.default_rng(0)
    for number in range(4):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (70 + number, 90), dtype=np.uint8)).save(root / name)
        for question, answer in QUESTIONS:
            yield Example(
                example_id=f"{number}/{question}",
                dataset="x",
                split="train",
                image=index_image(root, name),
                question=question,
                answer=answer,
                answer_type="open",
            )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four images with three questions each."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def examples(root):
    return list(_examples(root))


@pytest.fixture
def fine_tuned(other_folder, root, examples, tmp_path):
    """Fine-tunes the other model in a run of some name; returns the folder of the result."""

    def work(name, *overrides):
        common = [f"data.root={root}", f"model.name={other_folder}", "model.device=cpu", "finetune.epochs=6"]
        rate = ["finetune.batch_images=2", "finetune.learning_rate=1e-2"]
        with open_run(tmp_path / name, load_settings("vqa-rad", [*common, *rate, *overrides])) as run:
            if not run.file("examples.parquet").exists():
                run.write("examples.parquet", Example, examples)
            run.execute(Stage("finetune", finetune, {}, ("examples.parquet",), ("finetuned",)))
        return tmp_path / name / "finetuned"

    return work


def _weights(folder):
    return load_model(ModelSettings(name=str(folder), device="cpu"))


def _changed(before, after):
    return {
        before.family.part(name)
        for (name, old), new in zip(before.model.named_parameters(), after.model.parameters(), strict=True)
        if not old.equal(new)
    }


def test_another_model_is_fine_tuned_and_loads_again_as_itself(other_folder, root, fine_tuned):
    before, after = _weights(other_folder), _weights(fine_tuned("run"))
    assert after.image_processor.to_dict() == before.image_processor.to_dict()
    assert after.base.config.vision_feature_layer == -2
    assert after.family.image_tokens((70, 90)) == 64
    assert _changed(before, after) == {"language_model", "projector"}
    picture = np.asarray(Image.open(root / "0.png"))
    assert _loss(after, picture) < _loss(before, picture) - 0.5


def test_an_adapter_is_fine_tuned_and_merged(other_folder, root, fine_tuned):
    small = "finetune.lora={rank: 4, alpha: 64}"
    before, after = _weights(other_folder), _weights(fine_tuned("run", small))
    assert _changed(before, after) == {"language_model", "projector"}
    update = _projections(after) - _projections(before)
    assert torch.linalg.matrix_rank(update, atol=1e-5) == 4
    picture = np.asarray(Image.open(root / "0.png"))
    assert _loss(after, picture) < _loss(before, picture) - 0.2, "the head, which is random here, is left alone"
    recomputed = fine_tuned("recomputed", small, "finetune.activation_checkpointing=true")
    assert torch.allclose(_projections(_weights(recomputed)), _projections(after), atol=1e-5)
    dropped = fine_tuned("dropped", "finetune.lora={rank: 4, alpha: 64, dropout: 0.5}")
    assert not torch.allclose(_projections(_weights(dropped)), _projections(after), atol=1e-3)


def _projections(vlm):
    named = vlm.base.get_decoder().named_parameters()
    return next(value for name, value in named if name.endswith("q_proj.weight")).detach()


def _killed(monkeypatch, before):
    """The process dies as it would take this step, the first time; returns the steps that are taken later."""
    taken, add = [], finetuning._add_gradients

    def counted(*given):
        if len(taken) == before:
            monkeypatch.setattr(finetuning, "_add_gradients", lambda *given: taken.append(1) or add(*given))
            taken.clear()
            raise KeyboardInterrupt
        taken.append(1)
        return add(*given)

    monkeypatch.setattr(finetuning, "_add_gradients", counted)
    return taken


@pytest.mark.parametrize("of", ["finetune.epochs=6", "finetune.lora={rank: 4, alpha: 64, dropout: 0.5}"])
def test_a_killed_one_goes_on_and_ends_with_the_same_weights(fine_tuned, monkeypatch, of):
    every = "finetune.checkpoint_every=5"
    whole = fine_tuned("whole", of, every)
    later = _killed(monkeypatch, before=8)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned("killed", of, every)
    again = fine_tuned("killed", of, every)
    assert len(later) == 12 - 5, "steps behind the checkpoint"
    assert [file.read_bytes() for file in sorted(again.iterdir())] == [
        file.read_bytes() for file in sorted(whole.iterdir())
    ]


def test_a_damaged_checkpoint_is_told_in_one_line(fine_tuned, monkeypatch, tmp_path):
    _killed(monkeypatch, before=8)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned("run", "finetune.checkpoint_every=5")
    (checkpoint,) = (tmp_path / "run").rglob("unfinished.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="unfinished.safetensors is damaged"):
        fine_tuned("run", "finetune.checkpoint_every=5")


def _loss(vlm, picture):
    """Mean loss of the answers' tokens by the stock forward, from pixels."""
    losses = []
    for question, answer in QUESTIONS:
        prompt, response = vlm.prompt_ids(question), vlm.answer_ids(answer)
        ids = torch.tensor([[*prompt, *response]])
        labels = torch.tensor([[*[-100] * len(prompt), *response]])
        with torch.no_grad():
            losses.append(vlm.model(input_ids=ids, labels=labels, **vlm.inputs(picture)).loss.item())
    return sum(losses) / len(losses)


def test_steps_too_small_for_16_bits_add_up_and_survive_a_kill(tmp_path):
    """500 steps of 1e-5 on a weight of 1, whose nearest neighbours in bfloat16 are 0.0078 above and 0.0039 below."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    descent = OneCycle([weight], 1e-5, 10**6, 0.0)
    for step in range(500):
        if step == 250:
            descent.save(tmp_path / "half", [])
            weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
            descent = OneCycle([weight], 1e-5, 10**6, 0.0)
            descent.load(tmp_path / "half")
        descent.step(weight.float().sum())
    (exact,) = descent._exact
    assert float(exact.detach()) < 1 - 1e-4
    assert float(weight.detach()) == float(exact.to(torch.bfloat16))
