"""The family seam on LLaVA: counts by the model itself, several images, templates, refusals."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from mmedpo.config import ModelSettings
from mmedpo.engine import Engine, FeatureStore, build_branch
from mmedpo.errors import ModelError, TrainingError
from mmedpo.models.family import ANY_SIZE
from mmedpo.models.hub import load_model

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 128), dtype=np.uint8)


def loaded(folder):
    return load_model(ModelSettings(name=str(folder), device="cpu"))


@pytest.fixture
def copied(small_vlm_folder, tmp_path):
    """The small checkpoint in a folder of its own."""
    return shutil.copytree(small_vlm_folder, tmp_path / "copied")


def with_siglip(folder, strategy):
    """The same with a tower that has no class token, as Hulu-Med's and Bunny's."""
    from transformers import AutoConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    config = AutoConfig.from_pretrained(folder)
    config.vision_config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=128, patch_size=16
    )
    config.vision_feature_select_strategy = strategy
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return loaded(folder)


@pytest.mark.parametrize(("strategy", "tokens"), [("full", 64), ("default", 63)])
def test_an_image_takes_as_many_tokens_as_the_model_makes_features_of_it(copied, tmp_path, strategy, tokens):
    vlm = with_siglip(copied, strategy)
    assert vlm.prompt_ids("plane?").count(vlm.image_token_id) == tokens
    assert vlm.encode([PICTURE])[0].tokens == tokens
    engine = Engine(vlm, FeatureStore(vlm, lambda view: PICTURE), max_tokens=4096)
    branch = build_branch(vlm, [tmp_path / "a.png"], "plane?", "AP", max_length=512, owner="x")
    ids = torch.tensor([[*branch.prompt, *branch.response]])
    logits = vlm.model(input_ids=ids, **vlm.inputs(PICTURE)).logits[0].log_softmax(-1)
    rows = range(len(branch.prompt) - 1, ids.shape[1] - 1)
    expected = sum(logits[row, token].item() for row, token in zip(rows, branch.response, strict=True))
    assert engine.measure([branch]).totals().item() == pytest.approx(expected, abs=1e-4)


def test_two_images_stand_in_one_prompt_before_the_question(small_vlm):
    one, two = small_vlm.prompt_ids("plane?"), small_vlm.prompt_ids("plane?", [ANY_SIZE, ANY_SIZE])
    image = small_vlm.image_token_id
    assert two.count(image) == 2 * one.count(image)
    assert [token for token in two if token != image] == [token for token in one if token != image]


def test_features_of_another_picture_are_noticed_before_anything_is_measured(small_vlm, tmp_path):
    pictures = [PICTURE, 255 - PICTURE]
    store = FeatureStore(small_vlm, lambda view: pictures[0])
    branch = build_branch(small_vlm, [tmp_path / "a.png"], "plane?", "AP", max_length=512, owner="x")
    store.preload(branch.views)
    pictures.reverse()
    with pytest.raises(TrainingError, match="from image features and from pixels differ by"):
        Engine(small_vlm, store, max_tokens=4096).measure([branch])


def test_a_template_in_a_file_of_its_own_is_read(copied):
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"has no chat template; add chat_template.jinja"):
        loaded(copied)
    template = "{{ bos_token }}<image>{{ messages[0]['content'][-1]['text'] }}<|assistant|>"
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    vlm = loaded(copied)
    assert vlm.tokenizer.decode(vlm.prompt_ids("plane?")).endswith("plane?<|assistant|>")
    (copied / "chat_template.json").write_text("[]")
    with pytest.raises(ModelError, match=r"chat_template.json holds no chat_template"):
        loaded(copied)


def test_a_type_no_family_knows_is_refused_with_those_that_are_known(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "blip-2"}))
    with pytest.raises(ModelError, match=r"is of type 'blip-2'; supported: .*llava"):
        loaded(copied)


def test_an_adapter_on_a_part_without_linear_layers_is_refused(small_vlm):
    from mmedpo.config import TrainSettings
    from mmedpo.models.hub import make_trainable

    small_vlm.base.model.multi_modal_projector = torch.nn.Identity()
    with pytest.raises(ModelError, match="no linear layers in projector"):
        make_trainable(small_vlm, TrainSettings(parts=("language_model", "projector")), seed=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, r"is quantised \(bitsandbytes\).*unquantised"),
        ({"model_type": "hulumed_qwen2", "auto_map": {"AutoConfig": "x.y"}}, "brings its own code, which is never run"),
        ({"model_type": "qwen3_5", "text_config": {"layer_types": ["linear_attention"]}}, "linear attention.*qwen3_vl"),
        ({"model_type": None}, "is of type 'None'; supported:"),
    ],
)
def test_what_cannot_be_used_says_why_and_what_to_use(copied, changes, said):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelError, match=said) as caught:
        loaded(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named_in_one_line(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelError, match=name) as caught:
        loaded(copied)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_weights_that_would_be_random_are_refused(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    lost = next(name for name in weights if "linear_2.bias" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights of its model, first 'model.multi_modal_projector.linear_2"):
        loaded(copied)


@pytest.mark.parametrize("template", ["{{ nothing.at_all.here }}", "{{ raise_exception('no images') }}", "{{ messages"])
def test_a_template_that_cannot_be_rendered_is_one_line(copied, template):
    (copied / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=r"chat template of .* cannot be rendered .*published checkpoint") as caught:
        loaded(copied).prompt_ids("plane?")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelError, match="expected 'tiny' or a local folder"):
        loaded(tmp_path)


def test_pickled_weights_are_never_loaded(small_vlm_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((small_vlm_folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no \\*.safetensors"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("{{ text }}{{ eos_token }}", ["yes", "</s>"]),
        (" {{ text }} {{ eos_token }}\n", ["yes", "", "</s>"]),
        ("{{ text }}<|user|>\n", ["yes", "<|user|>"]),
        ("{{ text }}\n", ["yes", "</s>"]),
    ],
)
def test_an_answer_ends_as_the_template_ends_it(copied, turn, expected):
    """One token of its own for a space before the end (LLaVA-Med's answers have one), nothing behind the end."""
    (copied / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}{% set text = m['content'][-1]['text'] %}{% if m['role'] == 'user' %}"
        f"<image>{{{{ text }}}}<|assistant|>{{% else %}}{turn}{{% endif %}}{{% endfor %}}"
    )
    vlm = loaded(copied)
    assert [vlm.tokenizer.decode([token]).strip() for token in vlm.answer_ids("yes")] == expected
    assert vlm.answer_ids("yes")[-1] in vlm.family.stops


def test_an_answer_that_holds_special_tokens_is_not_cut_at_them(small_vlm):
    ids = small_vlm.answer_ids("yes</s> or no")
    assert ids.count(small_vlm.tokenizer.eos_token_id) == 2
    assert ids[-1] == small_vlm.tokenizer.eos_token_id
    assert len(ids) > 4


def test_a_model_that_is_dropped_is_freed(copied):
    import gc
    import weakref

    vlm = loaded(copied)
    vlm.prompt_ids("plane?")
    gone = weakref.ref(vlm.model)
    del vlm
    gc.collect()
    assert gone() is None
