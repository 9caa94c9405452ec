"""A file we export trains in TRL as it is: `datasets` loads it, `trl.DPOTrainer` takes a step on it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.preferences.writing import export_rows
from preferences.rows import preference_row


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    # What PIL users trip over: 16 bits, and a picture that lies on its side.
    deep = np.random.default_rng(9).integers(0, 4096, (30, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "2.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 60), dtype=np.uint8)).save(tmp_path / "3.png", exif=exif)
    rows = [
        preference_row(
            n, question="is there a nodule?", chosen="yes", rejected="no, a small mass", images=(f"{n}.png",), score=0.5
        )
        for n in range(4)
    ]
    export_rows(rows, tmp_path / "prefs.parquet", "trl", tmp_path)
    return tmp_path / "prefs.parquet"


def test_exported_file_trains_in_trl(exported: Path, small_vlm_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is not installed: pip install 'mmedpo[trl]'")
    import datasets
    from transformers import AutoTokenizer, CLIPImageProcessorPil, LlavaForConditionalGeneration, LlavaProcessor
    from trl import DPOConfig, DPOTrainer

    data = datasets.load_dataset("parquet", data_files=str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image.size for row in data for image in row["images"]] == [(50, 40), (50, 41), (30, 30), (20, 60)]
    assert {image.mode for row in data for image in row["images"]} == {"L"}
    tokenizer = AutoTokenizer.from_pretrained(small_vlm_folder)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(small_vlm_folder),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        num_additional_image_tokens=1,
    )
    model = LlavaForConditionalGeneration.from_pretrained(small_vlm_folder)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    arguments = DPOConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=2,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        max_length=None,
        activation_checkpointing=False,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = DPOTrainer(model=model, args=arguments, train_dataset=data, processing_class=processor)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # At the reference every pair costs ln 2; the second step has moved away from it.
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[1] != pytest.approx(losses[0], abs=1e-4)
    moved = [name for name, weight in model.named_parameters() if not bool((weight == before[name]).all())]
    assert any("language_model" in name for name in moved)
