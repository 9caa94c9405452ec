"""Images at their places, weights, splits and keys: what a row says of itself is kept, or the row is left out."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.imaging.index import index_images
from mmedpo.preferences.layout import BadRow
from mmedpo.preferences.pairs import read_pairs
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.turns import plain_of
from mmedpo.preferences.writing import export_rows
from mmedpo.records import Part, PreferenceRow
from preferences.rows import preference_row
from preferences.test_formats import TARGETS

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def _one(tmp_path: Path, raw: dict[str, Any], **more: Any) -> PreferenceRow:
    (tmp_path / "p.jsonl").write_text(json.dumps(raw) + "\n")
    reading = read_rows(tmp_path / "p.jsonl", **more)
    assert reading.drops == []
    return reading.rows[0]


def _why(tmp_path: Path, raw: dict[str, Any]) -> tuple[str, str]:
    (tmp_path / "p.jsonl").write_text(json.dumps(raw) + "\n")
    (drop,) = read_rows(tmp_path / "p.jsonl", "ms-swift" if "messages" in raw else "trl").drops
    assert len(drop.detail) <= 300
    return drop.reason, drop.detail


def _asked(content: Any, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes"}]
    return {"messages": turns, "rejected_response": "No", **more}


_T = {"type": "text", "text": "and"}
_B = {"type": "image", "image": "b.png"}


@pytest.mark.parametrize(
    ("content", "column", "spelled", "named"),
    [
        ([_B, _T, {"type": "image", "image": "a.png"}], None, "<image>\nand\n<image>", "ba"),
        ([_T, {"type": "image_url", "image_url": "b.png"}], None, "and\n<image>", "b"),
        ([_T, {"type": "input_image", "image_url": {"url": "b.png"}}, _T], None, "and\n<image>\nand", "b"),
        ([{"type": "image"}, _T, {"type": "image", "path": "b.png"}], ["a.png"], "<image>\nand\n<image>", "ab"),
        ([{"type": "image", "image": "a.png"}, _T], ["a.png"], "<image>\nand", "a"),
        ([{"type": "image", "image": "a.png"}, {"type": "image"}], ["a.png", "c.png"], "<image><image>", "ac"),
        ([{"type": "text", "text": "<image>\nold: <image>"}], ["a.png", "c.png"], "<image>\nold: \n<image>", "ac"),
        ("old <image> and <image> new", ["c.png", "a.png"], "old \n<image>\n and \n<image>\n new", "ca"),
        (["<image>", "and"], ["c.png"], "<image>\nand", "c"),
        ([{"image": "b.png"}, {"text": "and"}], None, "<image>\nand", "b"),
        ([{**_B, "text": None}, {"type": "text", "text": "and", "image": None}], None, "<image>\nand", "b"),
        ([{"type": "image", "image": "a.png"}, _T], ["a.png", "b.png"], "<image>\nand", "ab"),
        ("![left lung](b.png) and", None, "<image>\n and", "b"),
        ('and <img alt="x" src="b.png"/>', None, "and \n<image>", "b"),
        ("<image>b.png</image> and <img>a.png</img>", None, "<image>\n and \n<image>", "ba"),
        ([_T], '["a.png"]', "and", "a"),
    ],
)  # fmt: skip
def test_every_image_keeps_its_place(content: Any, column: Any, spelled: str, named: str, tmp_path: Path) -> None:
    row = _one(tmp_path, _asked(content, **({} if column is None else {"images": column})))
    assert plain_of(row.prompt[0].content) == spelled
    assert row.images == tuple(f"{letter}.png" for letter in named)


@pytest.mark.parametrize("target", ["mmedpo", "trl", "ms-swift", "llama-factory"])
def test_places_and_names_survive_every_format_that_holds_several(target: str, images: Path, tmp_path: Path) -> None:
    content = [_T, {"type": "image", "image": "c.png"}, _T, {"type": "image", "image": "a.png"}, _T]
    row = _one(tmp_path, _asked(content))
    out = tmp_path / TARGETS[target]
    assert export_rows([row], out, target, images).written == 1
    (again,) = read_rows(out, images=images).rows
    assert (again.prompt, again.images) == (row.prompt, row.images)


@pytest.mark.parametrize(
    "raw",
    [
        _asked([{"type": "image"}, {"type": "image", "image": "a.png"}]),
        _asked([{"type": "video", "video": "a.mp4"}]),
        _asked([{"type": "image", "image": "https://x.org/a.png"}]),
        _asked([{"type": "image", "image": "data:image/png;base64,@@" + "A" * 60_000}]),
        {"prompt": "Q?", "chosen": "a", "rejected": [{"role": "assistant", "content": [_B]}]},
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_kept_leaves_the_row_out_with_a_short_reason(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    reason, detail = _why(tmp_path, raw)
    assert reason in ("image-missing", "malformed-row", "image-in-answer")
    assert detail.startswith("row 0: ")


@pytest.mark.parametrize(
    ("text", "named", "spelled"),
    [
        ("and", ["b.png", "a.png"], "<image><image>\nand"),
        ("old <image> new <image>", ["b.png", "a.png"], "old \n<image>\n new \n<image>"),
        ([_T], "b.png", "<image>\nand"),
    ],
)
def test_images_that_a_turn_names_beside_its_text_are_kept(text: Any, named: Any, spelled: str, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": text, "images": named}, {"role": "assistant", "content": "Yes"}]
    row = _one(tmp_path, {"messages": turns, "rejected_response": "No"})
    assert plain_of(row.prompt[0].content) == spelled
    assert row.images == (tuple(named) if isinstance(named, list) else (named,))


@pytest.mark.parametrize(
    "turn",
    [
        {"content": "<image> and <image>", "images": ["a.png"]},
        {"content": [{"type": "text", "text": "and", "image": "a.png"}]},
        {"content": {"text": "and", "images": ["a.png"]}},
        {"content": "![x](https://x.org/a.png)"},
        {"content": [_T] * 10_001},
        {"content": "<image>" * 10_001},
        {"content": "and", "images": ["a.png"] * 10_001},
    ],
)
def test_a_turn_whose_images_have_no_place_leaves_the_row_out(turn: dict[str, Any], tmp_path: Path) -> None:
    turns = [{"role": "user", **turn}, {"role": "assistant", "content": "Yes"}]
    reason, _ = _why(tmp_path, {"messages": turns, "rejected_response": "No"})
    assert reason in ("image-missing", "malformed-row")


def test_other_images_on_the_rejected_side_make_a_visual_pair(tmp_path: Path) -> None:
    def side(name: str, answer: str) -> list[Any]:
        content = [{"type": "image", "image": name}, {"type": "text", "text": "Is it big?"}]
        return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]

    row = _one(tmp_path, {"chosen": side("a.png", "Yes"), "rejected": side("b.png", "Yes")})
    assert (row.pair_type, row.images, row.rejected_images) == ("visual", ("a.png",), ("b.png",))
    same = _one(tmp_path, {"chosen": side("a.png", "Yes"), "rejected": side("a.png", "No")})
    assert (same.pair_type, same.rejected_images) == ("text", ())
    swift = _one(tmp_path, {"messages": side("a.png", "Yes"), "rejected_images": ["b.png"]})
    assert (swift.pair_type, swift.images, swift.rejected_images) == ("visual", ("a.png",), ("b.png",))


def test_system_and_history_of_ms_swift_are_kept(tmp_path: Path) -> None:
    raw = {
        "system": "You read radiographs.",
        "history": [["<image>Which side is up?", "The head."]],
        "query": "Is it big?",
        "response": "Yes",
        "rejected_response": "No",
        "images": ["a.png"],
    }
    row = _one(tmp_path, raw)
    assert [(turn.role, turn.text) for turn in row.prompt] == [
        ("system", "You read radiographs."),
        ("user", "Which side is up?"),
        ("assistant", "The head."),
        ("user", "Is it big?"),
    ]
    assert [turn.images for turn in row.prompt] == [0, 1, 0, 0]


# Images inside the file.


def _inside(images: Path, path: Path) -> None:
    content = [(images / name).read_bytes() for name in NAMES]
    rows: list[dict[str, Any]] = [
        {"conversations": [{"from": "human", "value": f"<image>Q{n}?"}], "chosen": {"from": "gpt", "value": "yes"},
         "rejected": {"from": "gpt", "value": "no"}, "images": [{"bytes": content[n], "path": f"{n}.png"}]}
        for n in range(2)
    ]  # fmt: skip
    rows.append({**rows[0], "images": [{"bytes": None, "path": "c.png"}]})
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    "target", ["mmedpo", "mmedpo-json", "benchmark-json", "ms-swift", "llama-factory", "trl", "rlhf-v"]
)
def test_export_writes_every_image_that_lay_inside(target: str, images: Path, tmp_path: Path) -> None:
    _inside(images, tmp_path / "in.parquet")
    reading = read_rows(tmp_path / "in.parquet", images=images, extract=tmp_path / "scratch")
    out = tmp_path / "out" / TARGETS[target]
    report = export_rows(reading.rows, out, target, images, embedded=reading.embedded, carry=False)
    assert (report.written, report.left_out) == (3, [])
    again = read_rows(out, images=out.parent, extract=tmp_path / "again")
    root = out.parent if again.embedded is None or not again.embedded.names else again.embedded.root
    index = index_images(root, [name for row in again.rows for name in row.images])
    assert index.failures == {}
    found = [(root / row.images[0]).read_bytes() for row in again.rows]
    assert found == [(images / name).read_bytes() for name in NAMES]
    if target not in ("trl", "rlhf-v"):
        assert (report.images, report.image_root) == (3, out.parent)


def test_a_row_whose_image_is_gone_is_left_out_not_written_without_it(images: Path, tmp_path: Path) -> None:
    _inside(images, tmp_path / "in.parquet")
    (images / "c.png").unlink()
    reading = read_rows(tmp_path / "in.parquet", images=images, extract=tmp_path / "scratch")
    report = export_rows(reading.rows, tmp_path / "o.jsonl", "ms-swift", images, embedded=reading.embedded)
    assert report.written == 2
    assert [drop.reason for drop in report.left_out] == ["unreadable-image"]


def test_base64_of_requests_is_read(images: Path, tmp_path: Path) -> None:
    coded = base64.b64encode((images / "a.png").read_bytes()).decode()
    for value in (f"data:image/png;base64,{coded}", {"bytes": coded}, coded):
        row = _one(tmp_path, _asked("<image>Q?", images=[value]), extract=tmp_path / "x")
        assert (tmp_path / "x" / row.images[0]).read_bytes() == (images / "a.png").read_bytes()


def test_a_carried_path_is_believed_only_where_it_shows_the_same_picture(images: Path, tmp_path: Path) -> None:
    export_rows([preference_row(0, images=("a.png",))], tmp_path / "t.parquet", "trl", images)
    assert read_rows(tmp_path / "t.parquet", images=images).rows[0].images == ("a.png",)
    (images / "a.png").write_bytes((images / "b.png").read_bytes())
    row = read_rows(tmp_path / "t.parquet", images=images, extract=tmp_path / "x").rows[0]
    assert row.images[0].startswith("images/")


def test_a_text_that_holds_the_placeholder_is_not_written_as_an_image(images: Path, tmp_path: Path) -> None:
    row = preference_row(0)
    part = row.prompt[0].content[1].model_copy(update={"text": "What does <image> mean?"})
    turn = row.prompt[0].model_copy(update={"content": (row.prompt[0].content[0], part)})
    report = export_rows(
        [row.model_copy(update={"prompt": (turn,)}), preference_row(1)], tmp_path / "o.jsonl", "ms-swift", images
    )
    assert (report.written, [drop.reason for drop in report.left_out]) == (1, ["placeholder-in-text"])


# What a row says of itself.


def _mmedpo(**more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nQ?"}, {"from": "gpt", "value": "yes"}]
    other = [turns[0], {"from": "gpt", "value": "no"}]
    return {"image": "a.png", "conversations": turns, "rejected_conversations": other, **more}


@pytest.mark.parametrize("target", ["mmedpo-json", "benchmark-json", "ms-swift", "mmedpo"])
@pytest.mark.parametrize("value", ["0.3", 1.25, -2, True, "high"])
def test_a_weight_that_cannot_be_used_is_not_lost(value: Any, target: str, images: Path, tmp_path: Path) -> None:
    row = _one(tmp_path, _mmedpo(weighted_score=value))
    assert row.score is None
    assert repr(value) in row.unscored_reason
    out = tmp_path / TARGETS[target]
    export_rows([row], out, target, images)
    (again,) = read_rows(out).rows
    assert json.loads(again.extra)["weighted_score"] == value
    if out.suffix == ".json":
        assert json.loads(out.read_text())[0]["weighted_score"] == value


def test_a_weight_is_read_in_any_layout_and_counts_more_than_what_was_carried(images: Path, tmp_path: Path) -> None:
    assert _one(tmp_path, _asked("<image>Q?", images=["a.png"], weighted_score=0.4)).score == 0.4
    row = preference_row(0, weight=1.1)
    export_rows([row], tmp_path / "t.json", "mmedpo-json", images)
    raw = json.loads((tmp_path / "t.json").read_text())
    for changed, field, expected in ((1.3, "weight", 1.3), (0.2, "weight", 0.2)):
        raw[0]["weighted_score"] = changed
        (tmp_path / "t.json").write_text(json.dumps(raw))
        assert getattr(read_rows(tmp_path / "t.json").rows[0], field) == expected
    export_rows([preference_row(0, score=0.8)], tmp_path / "t.json", "mmedpo-json", images)
    raw = json.loads((tmp_path / "t.json").read_text())
    raw[0]["weighted_score"] = "0.8"
    (tmp_path / "t.json").write_text(json.dumps(raw))
    assert read_rows(tmp_path / "t.json").rows[0].score is None, "somebody made it a text; nobody weighs by that"


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_that_say_test_are_never_trained_on(wrapped: bool, images: Path, tmp_path: Path) -> None:
    rows = [_mmedpo(), _mmedpo(image="b.png"), _mmedpo(image="c.png")]
    if wrapped:
        content: Any = {"train": rows[:1], "validation": rows[1:2], "test": rows[2:]}
    else:
        content = [{**row, "split": split} for row, split in zip(rows, ("Train", "val", "TEST"), strict=True)]
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert [row.split for row in read_rows(tmp_path / "p.json").rows] == ["train", "validation", "test"]
    imported = read_pairs(tmp_path / "p.json", images)
    assert [pair.image.path for pair in imported.pairs] == ["a.png"]
    assert [drop.reason for drop in imported.drops] == ["held-out-row", "held-out-row"]


_NAMED = st.sampled_from(NAMES)
_PIECE = st.one_of(
    _NAMED.map(lambda name: {"type": "image", "image": name}),
    _NAMED.map(lambda name: {"type": "image_url", "image_url": {"url": name}}),
    st.text("ab ", min_size=1, max_size=4).map(lambda text: {"type": "text", "text": text}),
)


@given(pieces=st.lists(_PIECE, min_size=1, max_size=6), target=st.sampled_from(["ms-swift", "llama-factory", "mmedpo"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_image_and_no_place_is_ever_lost(pieces: list[Any], target: str, images: Path, tmp_path: Path) -> None:
    order = [piece.get("image") or piece.get("image_url", {}).get("url") or piece["text"] for piece in pieces]
    row = _one(tmp_path, _asked(pieces))

    def spelled(row: PreferenceRow) -> str:
        names = iter(row.images)
        return "".join(next(names) if part.type == "image" else part.text or "" for part in row.prompt[0].content)

    assert spelled(row) == "".join(order)
    export_rows([row], tmp_path / TARGETS[target], target, images)
    assert spelled(read_rows(tmp_path / TARGETS[target]).rows[0]) == "".join(order)


_ANSWER = {"role": "assistant", "content": "Yes"}
_OTHER = {"role": "assistant", "content": "No"}


@pytest.mark.parametrize(("chosen", "rejected"), [(_ANSWER, _OTHER), ([_ANSWER], [_OTHER]), ("Yes", "No")])
def test_messages_may_stand_beside_answers_of_any_form(tmp_path: Path, chosen: Any, rejected: Any) -> None:
    asked = [{"role": "system", "content": "S"}, {"role": "user", "content": "Is it? <image>"}]
    row = _one(tmp_path, {"messages": asked, "chosen": chosen, "rejected": rejected, "images": ["a.png"]})
    assert [turn.role for turn in row.prompt] == ["system", "user"]
    assert (row.chosen[0].text, row.rejected[0].text, row.images) == ("Yes", "No", ("a.png",))


@pytest.mark.parametrize(
    "more",
    [
        {"image": "a.png"},
        {"images": [], "image": "a.png"},
        {"images": None, "image_path": "a.png"},
        {"image_paths": ["a.png"]},
        {"images": [["a.png"]]},
        {"img": {"path": "a.png", "bytes": None}},
    ],
)
@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "Is it?", "chosen": "Yes", "rejected": "No"},
        {"instruction": "Is it?<image>", "chosen": "Yes", "rejected": "No"},
        _asked("Is it?<image>"),
    ],
)
def test_images_are_found_under_every_name_of_their_column(
    tmp_path: Path, raw: dict[str, Any], more: dict[str, Any]
) -> None:
    row = _one(tmp_path, {**raw, **more})
    assert row.images == ("a.png",)
    assert sum(turn.images for turn in row.prompt) == 1


def test_a_place_may_name_its_image_inside_the_text(tmp_path: Path) -> None:
    row = _one(tmp_path, _asked("Picture 1: <img>b.png</img>\nand <img>a.png</img> are?"))
    assert row.images == ("b.png", "a.png")
    assert plain_of(row.prompt[0].content) == "Picture 1: \n<image>\nand \n<image>\n are?"


def test_a_typed_image_under_an_unknown_key_is_no_lost_image(tmp_path: Path) -> None:
    whole = base64.b64encode(b"\x89PNG" + bytes(80)).decode()
    assert len(_one(tmp_path, _asked([{"type": "image", "base64": whole}, _T])).images) == 1
    reason, detail = _why(tmp_path, _asked([{"type": "image", "picture": "a.png"}, _T]))
    assert reason == "image-missing"
    assert "'picture'" in detail


# Layouts of the hub.


def _talk(answer: str, question: str = "<image>\nIs it big?") -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


@pytest.mark.parametrize(
    "raw",
    [
        {"chosen": {"conversations": _talk("Yes")}, "rejected": {"conversations": _talk("No")}, "image": "a.png"},
        {"chosen": {"image": "a.png", "conversations": _talk("Yes")}, "rejected": {"conversations": _talk("No")}},
        {
            "chosen": {"image": "a.png", "conversations": _talk("Yes")},
            "rejected": {"image": "a.png", "conversations": _talk("No")},
        },
        {
            "chosen": {
                "messages": [{"role": "user", "content": "Is it big?"}, {"role": "assistant", "content": "Yes"}]
            },
            "rejected": {
                "messages": [{"role": "user", "content": "Is it big?"}, {"role": "assistant", "content": "No"}]
            },
            "images": ["a.png"],
        },
        {"question": "Is it big?", "chosen_response": "Yes", "rejected_response": "No", "image": "a.png"},
        {"prompt": "Is it big?", "chosen_response": "Yes", "rejected_response": "No", "images": ["a.png"]},
        {"query": "<image>\nIs it big?", "chosen_answer": "Yes", "rejected_answer": "No", "image_path": "a.png"},
        {"instruction": "Is it big?", "chosen_output": "Yes", "rejected_output": "No", "image": "a.png"},
    ],
)
def test_a_pair_is_read_however_its_sides_are_called_or_wrapped(raw: dict[str, Any], tmp_path: Path) -> None:
    row = _one(tmp_path, {"id": 7, **raw})
    assert [plain_of(turn.content) for turn in (*row.prompt, *row.chosen)] == ["<image>\nIs it big?", "Yes"]
    assert [plain_of(turn.content) for turn in row.rejected] == ["No"]
    assert (row.images, row.rejected_images, row.pair_type) == (("a.png",), (), "text")
    assert json.loads(row.extra) == {"id": 7}, "nothing else of the row is lost"


def test_a_wrapped_side_with_an_image_of_its_own_makes_a_visual_pair(tmp_path: Path) -> None:
    sides = {n: {"image": f"{i}.png", "conversations": _talk("Yes")} for n, i in (("chosen", "a"), ("rejected", "b"))}
    row = _one(tmp_path, sides)
    assert (row.images, row.rejected_images, row.pair_type) == (("a.png",), ("b.png",), "visual")


@pytest.mark.parametrize(
    "place",
    [
        "<IMAGE>", "<Image>", "<image_1>", "<image 1>", "<image1>", "<image-1>", "<|image|>", "<|image_1|>",
        "<ImageHere>", "<image_placeholder>", "<start_of_image>", "<|vision_start|><|image_pad|><|vision_end|>",
    ],
)  # fmt: skip
def test_a_place_is_known_in_any_spelling(place: str, tmp_path: Path) -> None:
    row = _one(tmp_path, _asked(f"{place}\nIs it big?", images=["a.png"]))
    assert plain_of(row.prompt[0].content) == "<image>\nIs it big?"
    assert row.images == ("a.png",)
    answered = {"prompt": "Is it big?", "chosen": f"Yes {place}", "rejected": "No", "images": ["a.png"]}
    assert any(part.type == "image" for part in _one(tmp_path, answered).chosen[0].content), "as `<image>` would be"


@pytest.mark.parametrize(
    ("question", "images"),
    [
        ("<image_1> or <image_2>?", "ab"),
        ("<image_2> or <image_1>?", "ba"),
        ("<image_0> or <image_1>?", "ab"),
        ("<image_3> or <image_1>?", "cab"),
        ("<image_1> and again <image_1>?", "aabc"),
    ],
)
def test_a_place_with_a_number_shows_that_image(question: str, images: str, tmp_path: Path) -> None:
    column = ["a.png", "b.png", "c.png"][: 3 if "3" in question or "again" in question else 2]
    assert _one(tmp_path, _asked(question, images=column)).images == tuple(f"{name}.png" for name in images)


def test_a_number_that_no_image_has_is_told(tmp_path: Path) -> None:
    said = _why(tmp_path, _asked("<image_3>?", images=["a.png"]))
    assert said == ("image-missing", "row 0: the text asks for image 3, the row has 1")
    mixed = _asked("<image_1> <image>", images=["a.png", "b.png"])
    assert _why(tmp_path, mixed)[1] == "row 0: some image places have a number and some have none"


def test_a_text_that_holds_any_spelling_of_a_place_is_not_exported_as_one() -> None:
    for spelled in ("<image>", "<IMAGE>", "<image_1>", "<img>a.png</img>", "<|image|>"):
        with pytest.raises(BadRow, match="which would be read as an image"):
            plain_of((Part(type="text", text=f"see {spelled}"),))
