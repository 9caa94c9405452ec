"""Supervised fine-tuning of models that are not the tiny one: their own image size, layer and processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmedpo.config import ModelSettings, load_settings
from mmedpo.imaging.images import index_image
from mmedpo.models.hub import load_model
from mmedpo.records import Example
from mmedpo.run import Stage, open_run

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


def test_another_model_is_fine_tuned_and_loads_again_as_itself(other_folder, tmp_path):
    from mmedpo.train.finetune import finetune

    root = tmp_path / "images"
    root.mkdir()
    examples = list(_examples(root))
    settings = load_settings(
        "vqa-rad",
        [
            f"data.root={root}",
            f"model.name={other_folder}",
            "model.device=cpu",
            "finetune.epochs=6",
            "finetune.batch_images=2",
            "finetune.learning_rate=1e-2",
        ],
    )
    with open_run(tmp_path / "run", settings) as run:
        run.write("examples.parquet", Example, examples)
        run.execute(Stage("finetune", finetune, {}, ("examples.parquet",), ("finetuned",)))
    before, after = (
        load_model(ModelSettings(name=str(folder), device="cpu"))
        for folder in (other_folder, tmp_path / "run" / "finetuned")
    )
    assert after.image_processor.to_dict() == before.image_processor.to_dict()
    assert after.base.config.vision_feature_layer == -2
    assert after.family.image_tokens((70, 90)) == 64
    changed = {
        before.family.part(name)
        for (name, old), new in zip(before.model.named_parameters(), after.model.parameters(), strict=True)
        if not old.equal(new)
    }
    assert changed == {"language_model", "projector"}
    picture = np.asarray(Image.open(root / "0.png"))
    assert _loss(after, picture) < _loss(before, picture) - 0.5


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
