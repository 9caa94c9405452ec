"""Every preference format: rows as their own programs write them, round trips, and what a target cannot hold."""

from __future__ import annotations

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

from mmedpo.errors import ConfigError, PreferenceFormatError
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.turns import parts_of, plain_of, user
from mmedpo.preferences.writing import export_rows
from mmedpo.records import Message, Part, PreferenceRow
from mmedpo.registry import lookup, names
from preferences.rows import preference_row

TARGETS = {
    "mmedpo": "t.parquet",
    "mmedpo-json": "t.json",
    "benchmark-json": "t.json",
    "trl": "t.parquet",
    "ms-swift": "t.jsonl",
    "llama-factory": "t.json",
    "rlhf-v": "t.parquet",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.png", "sub/c.jpg", "noised.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def _write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def _row(**changes: Any) -> PreferenceRow:
    """A row with every provenance field filled in."""
    full = {
        "score": 0.8,
        "example_id": "vqa-rad-7",
        "dataset": "vqa-rad",
        "split": "train",
        "origin": "picked",
        "image_hashes": ("0" * 64,),
        "extra": '{"id": 7, "reader": "B"}',
    }
    return preference_row(3, **{**full, **changes})


def test_every_registered_format_is_under_test() -> None:
    assert set(TARGETS) == set(names("preference-format"))


# Rows as their own programs and papers spell them.

_TURNS = [{"from": "human", "value": "<image>\nIs it big?"}, {"from": "gpt", "value": " Yes"}]
_OTHER = [{"from": "human", "value": "<image>\nIs it big?"}, {"from": "gpt", "value": " No"}]
_TYPED = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it big?"}]}]
_PLAIN = [{"role": "user", "content": "Is it big?"}]
NATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "MMedPO": (
        "mmedpo-json",
        {"id": 0, "image": "a.png", "conversations": _TURNS, "rejected_conversations": _OTHER, "weighted_score": 0.9},
    ),
    "benchmark": (
        "benchmark-json",
        {"image": "a.png", "rejected_image": "b.png", "conversations": _TURNS, "rejected_conversations": _OTHER},
    ),
    "TRL, explicit prompt, typed": (
        "trl",
        {
            "prompt": _TYPED,
            "chosen": [{"role": "assistant", "content": [{"type": "text", "text": " Yes"}]}],
            "rejected": [{"role": "assistant", "content": [{"type": "text", "text": " No"}]}],
            "images": ["a.png"],
        },
    ),
    "TRL, plain content": (
        "trl",
        {
            "prompt": _PLAIN,
            "chosen": [{"role": "assistant", "content": " Yes"}],
            "rejected": [{"role": "assistant", "content": " No"}],
            "image": "a.png",
        },
    ),
    "TRL, implicit prompt": (
        "trl",
        {
            "chosen": [*_TYPED, {"role": "assistant", "content": " Yes"}],
            "rejected": [*_TYPED, {"role": "assistant", "content": " No"}],
            "images": ["a.png"],
        },
    ),
    "TRL, text": ("trl", {"prompt": "Is it big?", "chosen": " Yes", "rejected": " No", "images": ["a.png"]}),
    "ms-swift, response": (
        "ms-swift",
        {
            "messages": [
                {"role": "user", "content": "<image>Is it big?"},
                {"role": "assistant", "content": " Yes"},
            ],
            "rejected_response": " No",
            "images": ["a.png"],
        },
    ),
    "ms-swift, messages": (
        "ms-swift",
        {
            "messages": [{"role": "user", "content": "<image>Is it big?"}, {"role": "assistant", "content": " Yes"}],
            "rejected_messages": [
                {"role": "user", "content": "<image>Is it big?"},
                {"role": "assistant", "content": " No"},
            ],
            "images": ["a.png"],
            "rejected_images": ["a.png"],
        },
    ),
    "LLaMA-Factory, ShareGPT": (
        "llama-factory",
        {"conversations": _TURNS[:1], "chosen": _TURNS[1], "rejected": _OTHER[1], "images": ["a.png"]},
    ),
    "LLaMA-Factory, Alpaca": (
        "llama-factory",
        {"instruction": "<image>Is it", "input": "big?", "chosen": " Yes", "rejected": " No", "images": ["a.png"]},
    ),
    "LLaMA-Factory, OpenAI spelling": (
        "llama-factory",
        {
            "messages": [{"role": "user", "content": "<image>Is it big?"}],
            "chosen": {"role": "assistant", "content": " Yes"},
            "rejected": {"role": "assistant", "content": " No"},
            "images": ["a.png"],
        },
    ),
    "TRL, roles in capitals": (
        "trl",
        {
            "chosen": [{"role": "Human", "content": "Is it big?"}, {"role": "ASSISTANT", "content": " Yes"}],
            "rejected": [{"role": "Human", "content": "Is it big?"}, {"role": "ASSISTANT", "content": " No"}],
            "images": ["a.png"],
        },
    ),
    "TRL, path inside the content": (
        "trl",
        {
            "prompt": [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Is it big?"}],
                }
            ],
            "chosen": [{"role": "assistant", "content": [{"type": "text", "text": " Yes"}]}],
            "rejected": [{"role": "assistant", "content": [{"type": "text", "text": " No"}]}],
        },
    ),
    "TRL, a text prompt beside the whole conversation": (
        "trl",
        {
            "prompt": "Is it big?",
            "chosen": [*_PLAIN, {"role": "assistant", "content": " Yes"}],
            "rejected": [*_PLAIN, {"role": "assistant", "content": " No"}],
            "images": ["a.png"],
        },
    ),
    "OpenAI, image_url": (
        "ms-swift",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "a.png", "detail": "high"}},
                        {"type": "text", "text": "Is it big?"},
                    ],
                },
                {"role": "assistant", "content": " Yes"},
            ],
            "rejected_response": " No",
        },
    ),
    "Qwen, parts without a type": (
        "ms-swift",
        {
            "messages": [
                {"role": "user", "content": [{"image": "a.png"}, {"text": "Is it big?"}]},
                {"role": "assistant", "content": " Yes"},
            ],
            "rejected_response": " No",
        },
    ),
    "ms-swift, query and response": (
        "ms-swift",
        {"query": "<image>Is it big?", "response": " Yes", "rejected_response": " No", "images": ["a.png"]},
    ),
    "LLaVA, Windows path and other speakers": (
        "mmedpo-json",
        {
            "image": ".\\a.png",
            "conversations": [{"from": "Human", "value": "<image>\nIs it big?"}, {"from": "GPT", "value": " Yes"}],
            "rejected_conversations": [
                {"from": "USER", "value": "<image>\nIs it big?"},
                {"from": "Assistant", "value": " No"},
            ],
        },
    ),
    "RLHF-V": (
        "rlhf-v",
        {
            "ds_name": "RLHF-V",
            "image": {"bytes": None, "path": "a.png"},
            "text": json.dumps({"question": "Is it big?", "chosen": " Yes", "rejected": " No"}),
            "origin_dataset": "LCS-558K",
            "origin_split": '{"model": "muffin", "type": "question_answering"}',
            "idx": 0,
            "image_path": "llava/images/a.png",
        },
    ),
    "RLAIF-V": (
        "rlhf-v",
        {"image": {"bytes": None, "path": "a.png"}, "question": "Is it big?", "chosen": " Yes", "rejected": " No"},
    ),
}


@pytest.mark.parametrize("case", NATIVE)
def test_native_row_is_recognised_and_read_in_full(case: str, tmp_path: Path) -> None:
    expected, raw = NATIVE[case]
    reading = read_rows(_write(tmp_path / "p.json", [raw]))
    assert reading.format == expected
    assert reading.drops == []
    (row,) = reading.rows
    assert " ".join(row.question.split()) == "Is it big?"
    assert (row.chosen_text, row.rejected_text) == (" Yes", " No"), "answers are read verbatim"
    assert [name.removeprefix("./") for name in row.images] == ["a.png"]
    assert [turn.images for turn in row.prompt] == [1]
    assert row.rejected_images == (("b.png",) if case == "benchmark" else ())
    assert row.pair_type == ("both" if case == "benchmark" else "text")
    assert row.score == (0.9 if case == "MMedPO" else None)
    assert (row.source, row.source_row) == (f"{expected}:p.json", 0)


def test_history_and_system_turns_of_alpaca_rows_are_kept(tmp_path: Path) -> None:
    raw = {
        "system": "You are a radiologist.",
        "history": [["<image>What is it?", "A chest X-ray."]],
        "instruction": "Is it big?",
        "chosen": "yes",
        "rejected": "no",
        "images": ["a.png"],
    }
    (row,) = read_rows(_write(tmp_path / "p.json", [raw])).rows
    assert [(turn.role, turn.text) for turn in row.prompt] == [
        ("system", "You are a radiologist."),
        ("user", "What is it?"),
        ("assistant", "A chest X-ray."),
        ("user", "Is it big?"),
    ]


# Round trips.


@pytest.mark.parametrize("target", TARGETS)
def test_round_trip_through_every_format_loses_nothing(target: str, images: Path, tmp_path: Path) -> None:
    rows = [
        _row(),
        _row(row_id="second", score=None, unscored_reason="the agents disagreed", weight=1.1, extra=""),
        _row(row_id="third", images=("sub/c.jpg",), score=0.0, weight=0.75),
    ]
    path = tmp_path / TARGETS[target]
    report = export_rows(rows, path, target, images)
    assert (report.written, report.left_out) == (3, [])
    again = read_rows(path, images=images).rows
    assert [_comparable(row) for row in again] == [_comparable(row) for row in rows]


@pytest.mark.parametrize("target", TARGETS)
def test_several_images_and_their_places_survive_where_a_format_holds_them(
    target: str, images: Path, tmp_path: Path
) -> None:
    several = {"images": ("a.png", "b.png"), "image_hashes": ("0" * 64, "1" * 64)}
    between = (user(parts_of("Is <image> or is <image> bigger?")),)
    rows = [_row(**several), _row(row_id="between", prompt=between, **several), _row(row_id="one")]
    path = tmp_path / TARGETS[target]
    report = export_rows(rows, path, target, images)
    again = read_rows(path, images=images).rows
    if target in ("mmedpo-json", "benchmark-json", "rlhf-v"):
        assert [drop.reason for drop in report.left_out] == ["several-images-not-held"] * 2
        rows = rows[2:]
    else:
        assert report.left_out == []
        assert again[1].question == "Is <image> or is <image> bigger?"
    assert [_comparable(row) for row in again] == [_comparable(row) for row in rows]


@pytest.mark.parametrize("target", ["mmedpo", "mmedpo-json", "benchmark-json", "ms-swift"])
@pytest.mark.parametrize("kind", ["visual", "both"])
def test_rejected_images_survive_where_they_have_a_column(target: str, kind: str, images: Path, tmp_path: Path) -> None:
    row = _row(pair_type=kind, rejected_images=("noised.png",), rejected_image_hashes=("1" * 64,))
    if kind == "visual":
        row = row.model_copy(update={"rejected": row.chosen})
    path = tmp_path / TARGETS[target]
    assert export_rows([row], path, target, images).left_out == []
    assert [_comparable(again) for again in read_rows(path).rows] == [_comparable(row)]


@pytest.mark.parametrize("target", ["trl", "llama-factory", "rlhf-v"])
def test_rejected_images_without_a_column_are_listed_not_lost_in_silence(
    target: str, images: Path, tmp_path: Path
) -> None:
    rows = [_row(), _row(row_id="v", pair_type="visual", rejected_images=("noised.png",))]
    report = export_rows(rows, tmp_path / TARGETS[target], target, images)
    assert report.written == 1
    assert [(drop.item, drop.reason) for drop in report.left_out] == [("v", "rejected-image-not-held")]


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"mmedpo"}))
def test_plain_export_lists_what_it_loses(target: str, images: Path, tmp_path: Path) -> None:
    path = tmp_path / TARGETS[target]
    report = export_rows([_row(weight=1.1)], path, target, images, carry=False)
    lost = {loss.split(" of ")[0] for loss in report.losses}
    assert {"example_id", "dataset", "split", "origin", "score"} <= lost
    assert all(loss.endswith("lost") for loss in report.losses)
    assert ("weight" in lost) == (not target.endswith("-json"))
    content = path.read_bytes() if path.suffix != ".parquet" else str(pq.read_schema(path)).encode()
    assert b'"mmedpo":' not in content
    assert b"mmedpo: string" not in content


def test_a_number_changed_in_another_program_counts_more_than_what_was_carried(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    export_rows([_row(), _row(row_id="w", weight=1.1)], path, "mmedpo-json", images)
    raw = json.loads(path.read_text())
    assert [row["weighted_score"] for row in raw] == [0.8, 1.1]
    raw[0]["weighted_score"] = 0.3
    raw[1]["weighted_score"] = 0.4
    path.write_text(json.dumps(raw))
    first, second = read_rows(path).rows
    assert (first.score, first.weight) == (0.3, None)
    assert second.weight == 0.4


def test_llama_factory_is_told_where_the_file_is_and_other_entries_stay(images: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    export_rows([_row()], tmp_path / "pairs.json", "llama-factory", images)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["mine"] == {"file_name": "mine.json"}
    assert info["pairs"]["file_name"] == "pairs.json"
    assert info["pairs"]["ranking"] is True
    assert info["pairs"]["columns"] == {
        "messages": "conversations",
        "chosen": "chosen",
        "rejected": "rejected",
        "images": "images",
    }


def test_embedded_images_are_read_back_from_the_file_alone(images: Path, tmp_path: Path) -> None:
    export_rows([_row(), _row(row_id="x")], tmp_path / "t.parquet", "trl", images, carry=False)
    out = tmp_path / "elsewhere"
    rows = read_rows(tmp_path / "t.parquet", images=out, extract=out).rows
    (name,) = {name for row in rows for name in row.images}
    assert name.startswith("images/")
    assert (out / name).read_bytes() == (images / "a.png").read_bytes()


def test_wrong_suffix_unknown_format_and_nothing_to_write_are_one_line(images: Path, tmp_path: Path) -> None:
    with pytest.raises(PreferenceFormatError, match=r"trl is written to \.parquet"):
        export_rows([_row()], tmp_path / "t.json", "trl", images)
    with pytest.raises(ConfigError, match="unknown preference-format 'csv'"):
        export_rows([_row()], tmp_path / "t.csv", "csv", images)
    with pytest.raises(PreferenceFormatError, match="no row can be written as trl .*1 unreadable-image"):
        export_rows([_row(images=("gone.png",))], tmp_path / "t.parquet", "trl", images)
    assert not (tmp_path / "t.parquet").exists()
    with pytest.raises(PreferenceFormatError, match="of no known preference format"):
        read_rows(_write(tmp_path / "p.json", [{"a": 1}]))


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).filter(lambda text: "<image>" not in text)
_SPOKEN = _TEXT.filter(lambda text: text == text.strip("\n") and text != "")


@given(question=_SPOKEN, chosen=_TEXT, rejected=_TEXT, score=st.none() | st.floats(0, 1), more=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("target", ["mmedpo", "mmedpo-json", "ms-swift", "llama-factory", "trl"])
def test_any_text_survives(
    target: str,
    question: str,
    chosen: str,
    rejected: str,
    score: float | None,
    more: bool,
    images: Path,
    tmp_path: Path,
) -> None:
    system = (Message(role="system", content=(Part(type="text", text="Be brief."),)),) if more else ()
    row = preference_row(
        1,
        question=question,
        chosen=chosen,
        rejected=rejected,
        score=score,
        unscored_reason="" if score is not None else "x",
    )
    row = row.model_copy(update={"prompt": (*system, *row.prompt)})
    path = tmp_path / TARGETS[target]
    export_rows([row], path, target, images)
    assert [_comparable(again) for again in read_rows(path, images=images).rows] == [_comparable(row)]


@given(st.lists(st.sampled_from(["<image>", "text", "\n", "two words"]), max_size=6).map("".join))
@settings(max_examples=200, deadline=None)
def test_text_with_places_for_images_settles_after_one_round(text: str) -> None:
    once = parts_of(text)
    assert parts_of(plain_of(once)) == once
    assert sum(part.type == "image" for part in once) == text.count("<image>")


def _comparable(row: PreferenceRow) -> dict[str, Any]:
    return row.model_dump(exclude={"source", "source_row"})


class TestRealRelease:
    """The file released with MMedPO for VQA-RAD."""

    @pytest.fixture
    def released(self, shared_data: Path) -> Path:
        return shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json"

    def test_it_is_written_again_row_by_row_as_it_was(self, released: Path, tmp_path: Path) -> None:
        rows = read_rows(released).rows
        assert len(rows) == 1797
        export_rows(rows, tmp_path / "again.json", "mmedpo-json", tmp_path, carry=False)
        assert json.loads((tmp_path / "again.json").read_text()) == json.loads(released.read_text())

    @pytest.mark.parametrize("target", ["ms-swift", "llama-factory", "mmedpo"])
    def test_it_goes_through_other_formats_and_back(self, released: Path, target: str, tmp_path: Path) -> None:
        rows = read_rows(released).rows
        assert export_rows(rows, tmp_path / TARGETS[target], target, tmp_path).written == 1797
        again = read_rows(tmp_path / TARGETS[target]).rows
        assert [_comparable(row) for row in again] == [_comparable(row) for row in rows]


def test_images_column_of_a_foreign_parquet_file_is_read(images: Path, tmp_path: Path) -> None:
    """As `datasets` writes it: no key of ours, images as bytes."""
    content = (images / "b.png").read_bytes()
    rows = [{"prompt": _PLAIN, "chosen": "yes", "rejected": "no", "images": [{"bytes": content, "path": None}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (row,) = read_rows(tmp_path / "t.parquet", extract=tmp_path).rows
    assert (tmp_path / row.images[0]).read_bytes() == content
    assert lookup("preference-format", "trl")().name == read_rows(tmp_path / "t.parquet").format
