"""Published layouts, converted: the authors' logits, prompts, pictures and tower; refusals in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import normalizers, pre_tokenizers
from typer.testing import CliRunner

from mmedpo.config import ModelSettings
from mmedpo.errors import ConfigError, ModelError
from mmedpo.models.convert.conversion import convert
from mmedpo.models.convert.sentencepiece import fast_tokenizer, read_pieces
from mmedpo.models.hub import load_model
from models.convert.published import (
    IMAGE_ID,
    authors_logits,
    authors_pixels,
    llava_med_ids,
    spm_ids,
    write,
    write_clip,
)

KINDS = ("llava_mistral", "llava_qwen2", "llava_llama")
PICTURE = np.random.default_rng(1).integers(0, 256, (41, 70), dtype=np.uint8)
QUESTION = "is there effusion?"


def loaded(folder: Path):
    return load_model(ModelSettings(name=str(folder), device="cpu"))


def with_place(vlm, ids: list[int]) -> list[int]:
    """A prompt of ours with the authors' one -200 for the image's tokens."""
    first = ids.index(vlm.image_token_id)
    count = ids.count(vlm.image_token_id)
    return [*ids[:first], IMAGE_ID, *ids[first + count :]]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def both(kind, tmp_path_factory):
    """A source, and what it was converted to."""
    root = tmp_path_factory.mktemp(kind)
    source = write(root / "published", kind, ending="bin" if kind == "llava_llama" else "safetensors")
    done = convert(source.folder, root / "converted")
    return source, root / "converted", done


@torch.no_grad()
def test_logits_are_those_of_the_authors_own_forward(both):
    source, folder, _ = both
    vlm = loaded(folder)
    ids = vlm.prompt_ids(QUESTION)
    pixels = vlm.inputs(PICTURE)["pixel_values"]
    torch.testing.assert_close(pixels, authors_pixels(PICTURE), rtol=0, atol=0)
    ours = vlm.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    theirs = authors_logits(source, with_place(vlm, ids), authors_pixels(PICTURE))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    other = authors_logits(source, with_place(vlm, ids), authors_pixels(255 - PICTURE))
    assert float((ours - other).abs().max()) > 1e-2, "the picture matters"


def test_prompts_and_answers_are_those_of_llava_med(tmp_path):
    write(tmp_path / "published", "llava_mistral")
    convert(tmp_path / "published", tmp_path / "converted")
    vlm = loaded(tmp_path / "converted")
    for question in (QUESTION, "  which plane,\nand where? ", "有肺炎吗 <unk>", "a  b"):
        assert with_place(vlm, vlm.prompt_ids(question)) == llava_med_ids(question.strip())
    # "[INST] ... [/INST] there. </s>": a space on both sides of the answer, the second a token of its own.
    assert vlm.answer_ids("there.") == [*spm_ids("there. ")[1:], 2]
    assert vlm.tokenizer.pad_token_id != vlm.image_token_id == 0
    assert vlm.base.get_input_embeddings().weight.shape[0] == vlm.base.config.get_text_config().vocab_size


def test_a_tokenizer_json_that_marks_only_the_first_piece_is_mended(tmp_path):
    """Saved by newer versions, the space behind an image is gone: ids the model never saw."""
    source = write(tmp_path / "published", "llava_mistral")
    words = tmp_path / "words"
    words.mkdir()
    spm = fast_tokenizer(read_pieces(source.folder / "tokenizer.model"), opens=True)
    spm.normalizer = normalizers.Sequence([])
    spm.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    spm.save(str(words / "tokenizer.json"))
    (words / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (source.folder / "tokenizer.model").unlink()
    convert(source.folder, tmp_path / "converted", tokenizer=words)
    vlm = loaded(tmp_path / "converted")
    assert with_place(vlm, vlm.prompt_ids(QUESTION)) == llava_med_ids(QUESTION)


def test_the_other_prompts_are_as_their_code_writes_them(tmp_path):
    write(tmp_path / "huatuo", "llava_qwen2")
    convert(tmp_path / "huatuo", tmp_path / "huatuo-converted")
    vlm = loaded(tmp_path / "huatuo-converted")
    image = "<image>" * 4
    assert vlm.tokenizer.decode(vlm.prompt_ids(QUESTION)) == f"<|user|>\n{image}\n{QUESTION}\n<|assistant|>\n"
    assert vlm.tokenizer.decode(vlm.answer_ids("yes")) == "yes<|endoftext|>"
    write(tmp_path / "plus", "llava_llama")
    convert(tmp_path / "plus", tmp_path / "plus-converted")
    vlm = loaded(tmp_path / "plus-converted")
    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    text = vlm.tokenizer.decode(vlm.prompt_ids(QUESTION))
    # Theirs is written into the text, and their tokenizer adds another.
    assert text.startswith(f"<|begin_of_text|><|begin_of_text|>{header.format('system')}A chat between a curious user")
    assert text.endswith(f"{header.format('user')}{image}\n{QUESTION}<|eot_id|>{header.format('assistant')}")
    assert vlm.tokenizer.decode(vlm.answer_ids("yes")) == "yes<|eot_id|>"


def test_pictures_are_padded_where_the_authors_pad_them(tmp_path):
    """HuatuoGPT-Vision's code pads whatever its configuration says; the others follow theirs."""
    for kind, padded in (("llava_qwen2", True), ("llava_llama", False)):
        write(tmp_path / kind, kind, image_aspect_ratio="square", shards=1)
        convert(tmp_path / kind, tmp_path / f"{kind}-converted")
        settings = json.loads((tmp_path / f"{kind}-converted" / "preprocessor_config.json").read_text())
        assert settings["do_pad"] is padded


def test_what_was_done_is_said_and_hashed(both):
    source, folder, done = both
    record = json.loads((folder / "conversion.json").read_text())
    for place, hashes in ((source.folder, record["source_sha256"]), (folder, record["sha256"])):
        assert {"config.json", *(f.name for f in place.iterdir() if f.suffix in (".safetensors", ".bin"))} <= set(
            hashes
        )
        for name, digest in hashes.items():
            assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    card = (folder / "README.md").read_text()
    assert all(note in card for note in done.notes)
    assert any("vision tower: from the shards" in note for note in done.notes)
    assert not [path for path in folder.parent.iterdir() if ".partial-" in path.name]


def test_the_tower_is_the_one_the_authors_take_and_both_are_compared(tmp_path):
    med = write(tmp_path / "med", "llava_mistral")
    clip = write_clip(tmp_path / "clip", med.vision, shift=0.25)
    done = convert(med.folder, tmp_path / "by-authors", clip=clip)
    (note,) = (note for note in done.notes if note.startswith("vision tower"))
    assert str(clip) in note
    assert "as the authors' own loader does); largest difference" in note
    assert "0.25 (at vision_model.post_layernorm.bias)" in note
    taken = loaded(tmp_path / "by-authors").base.model.vision_tower.post_layernorm.bias
    torch.testing.assert_close(taken.data, torch.full_like(taken, 0.25))
    done = convert(med.folder, tmp_path / "by-shards", clip=clip, tower="shards")
    assert "from the shards (as --tower asks for); largest difference" in done.notes[0]
    taken = loaded(tmp_path / "by-shards").base.model.vision_tower.post_layernorm.bias
    assert not taken.any()
    huatuo = write(tmp_path / "huatuo", "llava_qwen2")
    assert (
        "from the shards (as the authors' own loader does)"
        in convert(huatuo.folder, tmp_path / "h", clip=clip).notes[0]
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"s2": True}, r"s2 is True, allowed: false.*S2"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres', allowed: pad, square"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear', allowed: mlp2x_gelu"),
        ({"model_type": "blip"}, r"is of type 'blip', which is not converted; known: LLaVA-Med v1.5 \(llava_mistral\)"),
        ({"hidden_size": 64}, "has shape .* its configuration says"),
        ({"num_hidden_layers": 4}, "9 weights are missing, first 'model.language_model.layers.3"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path, changes, said):
    write(tmp_path / "published", "llava_llama", **changes)
    with pytest.raises(ModelError, match=said) as caught:
        convert(tmp_path / "published", tmp_path / "converted")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_another_model_of_the_same_class_is_not_given_the_prompt_of_ours(tmp_path):
    """LLaVA 1.5 and HuatuoGPT-Vision-34B are `llava_llama` as well."""
    source = write(tmp_path / "published", "llava_llama")
    words = source.folder / "tokenizer.json"
    words.write_text(words.read_text().replace("<|eot_id|>", "<|other|>"))
    with pytest.raises(ModelError, match=r"no '<\|eot_id\|>', so this is not LLaVA-Med\+\+"):
        convert(source.folder, tmp_path / "converted")


def test_incomplete_and_hostile_folders_are_refused_in_one_line(tmp_path):
    import pickle

    source = write(tmp_path / "published", "llava_mistral", ending="bin")
    shard = sorted(source.folder.glob("*.bin"))[1]
    kept = shard.read_bytes()
    shard.write_bytes(pickle.dumps({"model.norm.weight": print}))
    with pytest.raises(ModelError, match="holds no plain weights or is damaged"):
        convert(source.folder, tmp_path / "converted")
    shard.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ModelError, match="holds no plain weights or is damaged"):
        convert(source.folder, tmp_path / "converted")
    shard.unlink()
    with pytest.raises(ModelError, match=r"lacks 1 of 3 weight files, first pytorch_model-00002-of-00003.bin"):
        convert(source.folder, tmp_path / "converted")
    shard.write_bytes(kept)
    model = source.folder / "tokenizer.model"
    spm = model.read_bytes()
    model.write_bytes(spm[: len(spm) // 2])
    with pytest.raises(ModelError, match="tokenizer.model is damaged"):
        convert(source.folder, tmp_path / "converted")
    model.unlink()
    with pytest.raises(ModelError, match="holds no tokenizer.json and no tokenizer.model.*--tokenizer FOLDER"):
        convert(source.folder, tmp_path / "converted")
    model.write_bytes(spm)
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="is there already"):
        convert(source.folder, tmp_path / "converted")


def test_a_killed_conversion_leaves_nothing_under_its_name(tmp_path, monkeypatch):
    from mmedpo.models.convert import shards

    source = write(tmp_path / "published", "llava_mistral")
    left = tmp_path / ".converted.partial-999999999"  # of a process that was killed outright
    left.mkdir()
    calls = []

    def stop(self, tensors):
        calls.append(tensors)
        raise KeyboardInterrupt

    monkeypatch.setattr(shards.Writer, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(source.folder, tmp_path / "converted")
    assert calls
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_one_weight_file_is_in_memory_at_a_time(tmp_path, monkeypatch, ending):
    import weakref

    from mmedpo.models.convert import conversion

    source = write(tmp_path / "published", "llava_qwen2", ending=ending)
    read, alive, most = conversion.read_shard, [], []

    def reading(file):
        most.append(sum(one() is not None for one in alive))
        shard = read(file)
        alive.extend(weakref.ref(value) for value in shard.values())
        return shard

    monkeypatch.setattr(conversion, "read_shard", reading)
    convert(source.folder, tmp_path / "converted")
    assert len(most) >= 3
    assert max(most) <= 1, "of the file before at most the value of a loop"


def test_shards_without_a_tower_need_the_clip_folder(tmp_path):
    from safetensors.torch import load_file, save_file

    source = write(tmp_path / "published", "llava_mistral", shards=1)
    (file,) = source.folder.glob("*.safetensors")
    save_file({k: v for k, v in load_file(file).items() if "vision_tower" not in k}, file)
    with pytest.raises(ModelError, match="hold no vision tower; give --clip FOLDER with 'openai/clip-vit-large"):
        convert(source.folder, tmp_path / "converted")
    clip = write_clip(tmp_path / "clip", source.vision)
    assert str(clip) in convert(source.folder, tmp_path / "converted", clip=clip).notes[0]
    ids = loaded(tmp_path / "converted").prompt_ids(QUESTION)
    assert ids.count(0) == 4


def test_an_unconverted_checkpoint_is_told_what_to_do(tmp_path):
    from mmedpo.cli.main import app

    source = write(tmp_path / "published", "llava_qwen2")
    with pytest.raises(
        ModelError, match="is HuatuoGPT-Vision-7B in its authors' layout; run `mmedpo convert FOLDER NEW`"
    ):
        loaded(source.folder)
    result = CliRunner().invoke(app, ["convert", str(source.folder), str(tmp_path / "converted")])
    assert result.exit_code == 0, result.output
    assert "HuatuoGPT-Vision-7B: " in result.output
    assert "weights written to" in result.output
