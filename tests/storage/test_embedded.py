"""What a cell says of an image: a path or the picture itself, never a message of fifty kilobytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.errors import DataError
from mmedpo.storage.embedded import BadImage, EmbeddedImages, image_of, images_of


def _encoded(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PNG = _encoded()
B64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "value",
    [
        PNG,
        {"bytes": PNG, "path": "a.png"},
        {"bytes": B64},
        {"bytes": f"data:image/png;base64,{B64}"},
        f"data:image/png;base64,{B64}",
        f"DATA:image/png;base64,\n{B64[:76]}\n{B64[76:]}",
        B64,
        B64.rstrip("="),
        base64.urlsafe_b64encode(PNG).decode(),
        "\n".join(B64[n : n + 76] for n in range(0, len(B64), 76)),
        {"url": f"data:image/png;base64,{B64}"},
        {"image_url": {"url": f"data:image/png;base64,{B64}"}},
        {"image": {"bytes": PNG, "path": None}},
        {"source": {"type": "base64", "data": B64}},
    ],
)
def test_a_picture_is_found_however_it_is_spelled(value: Any) -> None:
    assert image_of(value) == PNG
    assert images_of([value]) == [PNG]


@pytest.mark.parametrize(
    "cell",
    [
        '["x/a.png", "x/b c.png"]',
        "['x/a.png', 'x/b c.png']",
        "x/a.png;x/b c.png",
        "x/a.png | x/b c.png",
        "x/a.png, x/b c.png",
        "x\\a.png\nx\\b c.png",
    ],
)
def test_one_cell_names_several_images(cell: str) -> None:
    assert images_of(cell) == ["x/a.png", "x/b c.png"]
    assert images_of(f"[{B64!r}, {B64!r}]") == [PNG, PNG]


@pytest.mark.parametrize("name", ["x/[1].png", "a, b.png", "left;right", "[notes", "a|b.png;"])
def test_a_name_with_brackets_or_separators_is_one_image(name: str) -> None:
    assert images_of(name) == [name]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "GIF", "BMP"])
def test_bare_base64_of_every_kind_is_told_from_a_path(kind: str, tmp_path: Path) -> None:
    content = _encoded(kind)
    store = EmbeddedImages(tmp_path)
    assert image_of(base64.b64encode(content).decode()) == content
    name = store.keep(content)
    assert (tmp_path / name).read_bytes() == content
    assert Path(name).suffix == {"JPEG": ".jpg", "TIFF": ".tiff", "GIF": ".gif", "BMP": ".bmp"}[kind]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("images/a.png", "images/a.png"),
        (" a.png", " a.png"),
        ("images\\sub\\a.png", "images/sub/a.png"),
        ("C:\\data\\a.png", "C:\\data\\a.png"),
        ("/data/a.png", "/data/a.png"),
        ("file:///data/a%20b.png", "/data/a b.png"),
        ("file://images/a.png", "images/a.png"),
        ("FILE://localhost/data/a#1?.png", "/data/a#1?.png"),
        ("file:a.png", "a.png"),
        ("file://[a/b.png", "[a/b.png"),
        ({"path": "a.png", "bytes": None}, "a.png"),
        ({"url": "images/a.png"}, "images/a.png"),
        ("p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.dcm",) * 2,
    ],
)
def test_a_path_stays_a_path(value: Any, path: str) -> None:
    assert image_of(value) == path


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("https://example.org/a.png", "nothing is downloaded"),
        ("S3://bucket/a.png", "nothing is downloaded"),
        ("hf://datasets/x/a.png", "nothing is downloaded"),
        ("data:image/png,abc", "not base64"),
        ("data:image/png;base64,@@@" + "A" * 60_000, "damaged base64"),
        ("x" * 60_000 + ".png", "60,004 characters"),
        (None, "None, not an image"),
        (True, "True, not an image"),
        (7, "7, not an image"),
        ("", "not a path"),
        ("\ud800", "not a path"),
        (b"", "no bytes"),
        ({}, "a dict, not an image"),
        ({"image": {"image": {"image": {"image": "a.png"}}}}, "not an image"),
        (object(), "not an image"),
    ],
)
def test_what_is_no_image_is_a_few_words(value: Any, words: str) -> None:
    with pytest.raises(BadImage) as caught:
        image_of(value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


@given(
    st.recursive(
        st.none() | st.text() | st.binary() | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["bytes", "path", "url", "image", "type"]), x),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_value_is_an_image_or_a_few_words(value: Any) -> None:
    try:
        found: object = image_of(value)
    except BadImage as bad:
        found = str(bad)[:250]
        assert found == str(bad)  # noqa: PT017
    assert isinstance(found, (str, bytes))


def test_images_are_written_once_and_a_folder_of_their_own_goes_with_them(tmp_path: Path) -> None:
    own = EmbeddedImages(None)
    first = own.keep(PNG)
    assert own.keep(PNG) == first
    folder = own.root
    assert len(list(folder.rglob("*.png"))) == 1
    del own
    assert not folder.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        EmbeddedImages(tmp_path / "file").keep(PNG)
