"""`mmedpo doctor`: what it tells of a checkpoint, what it finds wrong, and how it exits."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.pipeline.doctor.examination import examine_checkpoint
from mmedpo.progress import Silent
from models.convert.published import write
from models.zoo.checkpoints import save

PHANTOM = ["data.phantom.train_images=3", "data.phantom.validation_images=2", "data.phantom.test_images=2"]


def examined(folder, recipe=None, *overrides):
    return examine_checkpoint(str(folder), recipe, ["model.device=cpu", *overrides], Silent())


@pytest.fixture
def copied(small_vlm_folder, tmp_path):
    return shutil.copytree(small_vlm_folder, tmp_path / "copied")


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_sound_checkpoint_is_told_as_it_is(small_vlm, small_vlm_folder):
    found = examined(small_vlm_folder, "phantom-mmedpo", *PHANTOM, "train.lora.rank=4", "train.lora.alpha=8")
    assert found.exit_code == 0, list(found.lines())
    facts = dict(found.facts)
    assert facts["family"] == "Llava (llava on llama)"
    total = sum(
        int(facts[part].split()[0].replace(",", "")) for part in ("language model", "projector", "vision tower")
    )
    assert total == sum(parameter.numel() for parameter in small_vlm.model.parameters())
    assert "<image> x 64" in facts["prompt"]
    assert facts["answer"].endswith("'</s>'")
    assert facts["image tokens"].startswith("64 for 128 x 128")
    assert facts["trie"].startswith("packed: ")
    rows, columns = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+\d", facts["trie"])[:2])
    assert columns < rows / 2
    assert float(facts["trie"].split()[-4]) > 0, "gradients of both halves of the adapter are compared"
    assert float(facts["another image"].split()[-2]) > 1e-3
    assert 0 < float(facts["label tokens"].split("%")[0]) < 20


@pytest.mark.parametrize(
    ("kind", "family", "trie"),
    [
        ("qwen2_5_vl", "QwenVL", "packed"),
        pytest.param("gemma3", "Gemma3", "packed", marks=pytest.mark.long),
        pytest.param("llava_mistral", "Llava", "", marks=pytest.mark.long),
    ],
)
def test_other_families_are_told_as_well(tmp_path, kind, family, trie):
    found = examined(save(kind, tmp_path / kind))
    facts = dict(found.facts)
    assert facts["family"].startswith(family)
    assert facts.get("trie", "").startswith(trie)
    # CLIP's own processor crops, and a window of 8 in 3 layers sees no picture so far back.
    assert found.worst == (None if kind != "llava_mistral" else "error")
    assert any("does not reach the answer" in finding.text for finding in found.findings) == (kind == "llava_mistral")
    assert any("cuts the sides" in finding.text for finding in found.findings) == (kind == "llava_mistral")


def test_a_question_that_is_too_long_for_the_recipe_is_counted(small_vlm_folder):
    found = examined(small_vlm_folder, "phantom-mmedpo", *PHANTOM, "train.max_length=80")
    assert found.exit_code == 3
    assert any("training questions are longer than 80 tokens" in finding.text for finding in found.findings)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no config.json; it is no checkpoint"),
        (lambda f: change(f / "config.json", quantization_config={"quant_method": "awq"}), r"quantised \(awq\)"),
        (lambda f: change(f / "config.json", model_type="hulu", auto_map={"a": "b"}), "brings its own code"),
        (lambda f: change(f / "config.json", model_type="llava_mistral"), "LLaVA-Med v1.5 .* run `mmedpo convert "),
        (lambda f: (f / "config.json").write_text("{"), "config.json is unreadable"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config.json is missing; copy it"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing; copy it"),
        (lambda f: (f / "tokenizer_config.json").unlink(), "tokenizer_config.json is missing; copy it"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be read by AutoTokenizer"),
        (lambda f: change(f / "config.json", vision_feature_layer="x"), "copy what is missing from the published"),
        (lambda f: (f / "chat_template.jinja").unlink(), "there is no chat template; copy chat_template"),
        (lambda f: (f / "model.safetensors").rename(f / "model.bin"), "only pickled weights, which are never loaded"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
            "LFS pointer",
        ),
        (lambda f: cut(f / "model.safetensors"), r"is cut off: \d+ bytes instead of \d+"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "1 of 1 weight files are missing, first model-2.safetensors",
        ),
        (lambda f: (f / "chat_template.jinja").write_text("{{ bos_token }}<image>hello"), "leaves the question out"),
        (lambda f: (f / "chat_template.jinja").write_text("{{ nothing.at.all }}"), "cannot be rendered"),
        (lambda f: weights(f, "linear_2", lambda value: value * 0), "the picture does not reach the answer"),
        (lambda f: weights(f, "linear_2", lambda value: value / 0), "hold numbers that are not finite"),
        (
            lambda f: change(f / "tokenizer_config.json", pad_token="<image>"),
            "padding and the image placeholder are one",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_fix(copied, spoil, said):
    spoil(copied)
    result = CliRunner().invoke(app, ["doctor", str(copied), "--set", "model.device=cpu"])
    assert result.exit_code == 3, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert any(re.search(said, line) for line in errors), result.output
    assert all(len(line) < 700 for line in errors)


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def weights(folder, mark, change):
    stored = load_file(folder / "model.safetensors")
    changed = {name: change(value) if mark in name else value for name, value in stored.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("<image>{{ messages[0]['content'][-1]['text'] }}{% for m in messages[1:] %}{{ m['content'][0]['text'] }}"
         "{% endfor %}",
         "ends no answer with a special token"),
        pytest.param(
            "{{ bos_token }}{{ bos_token }}<image>{{ messages[0]['content'][-1]['text'] }}{% for m in messages[1:] %}"
            "{{ m['content'][0]['text'] }}{{ eos_token }}{% endfor %}", "prompts begin with 2 x '<s>'",
            marks=pytest.mark.long,
        ),
        ("<|im_start|>user\n<image>{{ messages[0]['content'][-1]['text'] }}<|im_end|>{% for m in messages[1:] %}"
         "{{ m['content'][0]['text'] }}{{ eos_token }}{% endfor %}", "no token of this tokenizer"),
    ],
    ids=["no end", "two openings", "another model's"],
)  # fmt: skip
def test_a_template_of_another_model_is_suspicious(copied, template, said):
    (copied / "chat_template.jinja").write_text(template)
    found = examined(copied)
    assert any(said in finding.text for finding in found.findings), list(found.lines())
    assert found.exit_code == 1


def test_a_published_folder_is_sent_to_convert_even_without_safetensors(tmp_path):
    source = write(tmp_path / "published", "llava_mistral", ending="bin")
    found = examined(source.folder)
    (finding,) = found.findings
    assert f"run `mmedpo convert {source.folder} NEW`" in finding.text


def test_a_converted_checkpoint_is_sound(tmp_path):
    from mmedpo.models.convert.conversion import convert

    write(tmp_path / "published", "llava_mistral")
    convert(tmp_path / "published", tmp_path / "converted")
    found = examined(tmp_path / "converted")
    assert found.exit_code == 0, list(found.lines())
    assert "[INST] " in dict(found.facts)["prompt"]


def test_options_without_effect_are_refused(small_vlm_folder):
    told = CliRunner().invoke(app, ["doctor", str(small_vlm_folder), "--set", "score.mu=1"])
    assert told.exit_code != 0
    assert "has no effect without --data" in str(told.exception)
    assert "give either a checkpoint, or --plan" in str(CliRunner().invoke(app, ["doctor"]).exception)
