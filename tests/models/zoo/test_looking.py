"""Where image tokens lie on the picture, what attends to them and what depends on them, of every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.engine.attention import TRIE_ATTENTION
from mmedpo.engine.logprobs import image_columns, packed_logprobs
from mmedpo.engine.looking import attended, relevance
from mmedpo.errors import ModelError
from mmedpo.models.areas import seen, square
from mmedpo.models.family import Family, Size
from models.zoo.pictures import SIZES, VIEWS, read, stock_inputs


@pytest.fixture
def local(vlm):
    """The model whose patches see nothing of each other: no attention in its tower."""
    encoder = vlm.base.get_encoder(modality="image")
    silenced = 0
    for name, module in encoder.named_modules():
        kind, last = isinstance(module, torch.nn.Linear), name.rsplit(".", 1)[-1]
        if kind and "att" in name and last in ("out_proj", "proj", "projection_layer"):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias) if module.bias is not None else None
            silenced += 1
    assert silenced >= 2
    return vlm


def features(vlm, picture):
    with torch.no_grad():
        (one,) = vlm.encode([picture])
    return torch.cat([row.reshape(-1, row.shape[-1]) for row in one.rows])


@pytest.mark.parametrize("shape", ["tall", "square", pytest.param("wide", marks=pytest.mark.long)])
def test_the_tokens_that_change_are_those_whose_area_was_changed(local, shape):
    size = Size(*(4 * length for length in SIZES[shape]))
    areas = local.family.areas(size)
    picture = np.full(size, 100, np.uint8)
    before = features(local, picture)
    assert areas.shape == (len(before), 4)
    pixels = areas * np.array([*size, *size])
    # Resampling spills over a border, more so where features are shrunk themselves.
    spill = 30 if local.base.config.model_type == "llava_onevision" else 9
    checked = 0
    placed = pixels[~np.isnan(areas[:, 0])]
    for top, left, bottom, right in placed[:: len(placed) // 9 + 1]:
        row, column = (top + bottom) / 2, (left + right) / 2
        if not (2 <= row < size.height - 2 and 2 <= column < size.width - 2):
            continue  # on the padding
        changed = picture.copy()
        changed[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2] = 255
        apart = (features(local, changed) - before).abs().amax(dim=1).numpy()
        holds = (pixels[:, 0] < row) & (row < pixels[:, 2]) & (pixels[:, 1] < column) & (column < pixels[:, 3])
        assert holds.any()
        near = (pixels[:, 0] < row + spill) & (row - spill < pixels[:, 2])
        near &= (pixels[:, 1] < column + spill) & (column - spill < pixels[:, 3])
        assert (apart[holds] > 1e-6).all()
        assert (apart[~near] < 1e-6).all()
        checked += 1
    assert checked >= 2


class Clip:
    """An image processor's settings."""

    def __init__(self, **own: object) -> None:
        self.size = {"shortest_edge": 100}
        self.crop_size = {"height": 100, "width": 100}
        self.do_resize = self.do_center_crop = True
        self.do_pad = False
        self.__dict__.update(own)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (0.0, 0.25, 1.0, 0.75)),  # 200 x 400 -> 100 x 200, the middle 100 columns
        ({"do_center_crop": False}, (0.0, 0.0, 1.0, 1.0)),
        ({"do_pad": True}, (-0.5, 0.0, 1.5, 1.0)),  # 100 rows of padding above and below
        ({"size": {"height": 100, "width": 100}}, (0.0, 0.0, 1.0, 1.0)),
        ({"size": {"height": 200, "width": 200}}, (0.25, 0.25, 0.75, 0.75)),
    ],
)
def test_what_is_left_of_a_picture_of_200_by_400_pixels(own, expected):
    assert tuple(seen(Clip(**own), 200, 400)) == pytest.approx(expected)


def test_a_grid_is_square_or_refused_and_a_family_that_says_nothing_is_refused():
    areas = square(5, seen(Clip(), 10, 10), "m")
    assert np.isnan(areas[0]).all()
    assert areas[1:].tolist() == [[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]]
    with pytest.raises(ModelError, match="'m': 7 image tokens are no square grid"):
        square(7, seen(Clip(), 10, 10), "m")
    with pytest.raises(ModelError, match="does not say where its image tokens lie"):
        Family.areas(object.__new__(Family), Size(1, 1))
    with pytest.raises(ModelError, match="resizes to"):
        seen(Clip(size={"longest_edge": 3}), 10, 10)


QUESTION = "is there a nodule?"


def branch_of(vlm):
    sizes = (SIZES["wide"],)
    return Branch(VIEWS[:1], tuple(vlm.prompt_ids(QUESTION, sizes)), tuple(vlm.answer_ids("no, there is none")), sizes)


def test_attention_is_that_of_the_stock_pass_from_pixels_and_the_model_is_left_as_it_was(vlm):
    engine = Engine(vlm, FeatureStore(vlm, read), max_tokens=4096)
    branch = branch_of(vlm)
    before = engine.measure([branch]).values
    found = attended(vlm, branch, engine.features)
    assert vlm.text_config._attn_implementation == TRIE_ATTENTION
    assert torch.equal(engine.measure([branch]).values, before)

    vlm.base.set_attn_implementation({"text_config": "eager"})
    ids = [*branch.prompt, *branch.response[:-1]]
    with torch.no_grad():
        layers = vlm.model(
            **stock_inputs(vlm, branch.views, ids, len(branch.prompt)), output_attentions=True
        ).attentions
    assert len(layers) == vlm.text_config.num_hidden_layers
    asking = slice(len(branch.prompt) - 1, len(ids))
    mean = torch.stack([layer[0, :, asking].mean(dim=(0, 1)) for layer in layers]).mean(dim=0)
    columns = image_columns(vlm, branch)[0]
    torch.testing.assert_close(found.tokens, mean[torch.from_numpy(columns)], rtol=1e-4, atol=1e-6)
    assert abs(float(mean.sum()) - 1) < 1e-5
    assert abs(found.image - float(mean[columns].sum())) < 1e-5
    assert len(found.tokens) == vlm.family.image_tokens(SIZES["wide"])


def test_relevance_is_the_gradient_of_the_packed_pass(vlm):
    engine = Engine(vlm, FeatureStore(vlm, read), max_tokens=4096)
    branch = branch_of(vlm)
    found = relevance(vlm, branch, engine.features)
    (shown,) = engine.features(branch.views)
    leaves = shown.map(lambda value: value.detach().clone().requires_grad_())
    values = packed_logprobs(vlm, [branch], lambda views: [leaves]).values  # type: ignore[arg-type]
    values.sum().backward()
    expected = torch.cat([row.grad.norm(dim=-1).flatten() for row in leaves.rows])
    for layer in leaves.deepstack:
        expected = expected + layer.grad.norm(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert np.asarray(found).std() > 0
