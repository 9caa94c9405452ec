"""Preference files for training: what is kept, what is dropped and why, what may not be trained on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmedpo.data.dataset import DatasetSettings
from mmedpo.data.readers.vqa_rad import VqaRad
from mmedpo.errors import PreferenceFormatError
from mmedpo.imaging.index import index_images
from mmedpo.preferences.pairs import ImportedPreferences, exclude_test_images, read_pairs
from mmedpo.records import Example, ImageRef


def _row(chosen: Any = " Yes", rejected: Any = " No", **changes: Any) -> dict[str, Any]:
    human = changes.pop("human", "<image>\nIs it big?")
    again = changes.pop("again", human)
    row = {
        "id": 7,
        "image": "a.jpg",
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": chosen}],
        "rejected_conversations": [{"from": "human", "value": again}, {"from": "gpt", "value": rejected}],
        "weighted_score": 0.8,
    }
    return {**row, **changes}


def _two_turns() -> dict[str, Any]:
    before = [{"from": "human", "value": "<image>\nIs it big?"}, {"from": "gpt", "value": "Yes"}]
    sides = {"conversations": "Left", "rejected_conversations": "Right"}
    asked = {"from": "human", "value": "Where?"}
    return {key: [*before, asked, {"from": "gpt", "value": answer}] for key, answer in sides.items()}


def _ref(path: str) -> ImageRef:
    return ImageRef(path=path, sha256="hash-of-" + path.rsplit("/", 1)[-1], width=4, height=4)


def _index(root: Path, paths: Sequence[str]) -> tuple[dict[str, ImageRef], dict[str, str]]:
    good = [path for path in paths if "gone" not in path]
    return {path: _ref(path) for path in good}, {path: f"{path} is missing" for path in paths if path not in good}


def _example(name: str, image: str, question: str, answer: str = "yes", patient: str | None = None) -> Example:
    return Example(
        example_id=name,
        dataset="d",
        split="train",
        image=_ref(image),
        question=question,
        answer=answer,
        answer_type="closed",
        error_type="size",
        patient_id=patient,
    )


def _write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def _import(folder: Path, *rows: Any) -> ImportedPreferences:
    return read_pairs(_write(folder / "p.json", list(rows)), folder, index_images=_index)


def test_row_is_cleaned_and_its_raw_score_kept(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.json", [_row(chosen="  4 ", rejected=12)])
    pair = read_pairs(path, tmp_path, index_images=_index).pairs[0]
    assert pair.pair_id == "mmedpo-0-7/text"
    assert (pair.question, pair.chosen, pair.rejected) == ("Is it big?", "4", "12")
    assert (pair.score, pair.score_source, pair.origin, pair.weight) == (0.8, "imported", "imported", None)
    assert (pair.kind, pair.rejected_noise, pair.rejected_image_path) == ("text", None, None)


def _swift(question: str, images: Sequence[str], rejected: Sequence[str] = (), other: str = "No") -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes"}]
    row = {"messages": turns, "images": list(images), "rejected_response": other}
    return {**row, "rejected_images": list(rejected)} if rejected else row


def test_several_images_and_their_places_reach_the_pair(tmp_path: Path) -> None:
    imported = _import(
        tmp_path,
        _swift("<image><image>Is it new?", ["a.jpg", "b.jpg"]),
        _swift("Is it in <image> and not in <image>?", ["a.jpg", "b.jpg"]),
        _swift("<image><image>Is it new?", ["a.jpg", "b.jpg"], ["a.jpg", "n.jpg"], "Yes"),
        _swift("<image><image>Is it new?", ["a.jpg", "b.jpg"], ["n.jpg", "m.jpg"], "Yes"),
        _swift("<image><image>Is it new?", ["a.jpg", "b.jpg"], ["n.jpg"], "Yes"),
        _swift("<image>Is it new?", ["a.jpg", "b.jpg"]),
    )
    assert [[image.path for image in pair.images] for pair in imported.pairs] == [["a.jpg", "b.jpg"]] * 3
    questions = ["Is it new?", "Is it in <image> and not in <image>?", "Is it new?"]
    assert [pair.question for pair in imported.pairs] == questions
    told = [(pair.kind, pair.rejected_image_path, pair.noised_image) for pair in imported.pairs]
    assert told == [("text", None, 0), ("text", None, 0), ("visual", "n.jpg", 1)]
    assert [drop.reason for drop in imported.drops] == ["rejected-images", "rejected-images", "image-places"]


def test_a_pair_joins_the_question_on_the_same_images_and_no_tested_one_is_trained_on(tmp_path: Path) -> None:
    example = _example("e", "x/a.jpg", "Is it new?").model_copy(update={"other_images": (_ref("x/b.jpg"),)})
    other = _example("o", "x/a.jpg", "Is it new?")
    rows = [
        _swift("<image><image>Is it new?", ["a.jpg", "b.jpg"]),
        _swift("<image>Is it new?", ["a.jpg"]),
        _swift("<image><image>Is it new?", ["b.jpg", "a.jpg"]),
    ]
    pairs = read_pairs(_write(tmp_path / "p.json", rows), tmp_path, [example, other], index_images=_index).pairs
    assert [pair.example_id for pair in pairs][:2] == ["e", "o"]
    assert pairs[2].example_id not in ("e", "o")
    assert [image.path for image in pairs[2].images] == ["x/b.jpg", "x/a.jpg"]
    tested = _example("t", "x/b.jpg", "?")
    kept, drops = exclude_test_images(pairs, [tested])
    assert [pair.example_id for pair in kept] == ["o"]
    assert [(drop.reason, drop.detail) for drop in drops] == [("image-in-test-split", "x/b.jpg")] * 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (_row(human="Is it big?"), "image-placeholder-missing"),
        (_row(again="Is it big?"), "image-placeholder-missing"),
        (_row(human="<image><image>\nIs it big?"), "image-places"),
        (_row(rejected="No <image>"), "image-placeholder-in-answer"),
        (_row(again="<image>\nIs it small?"), "questions-differ"),
        (_row(human="<image>\n "), "empty-question"),
        (_row(rejected="  "), "empty-answer"),
        (_row(chosen="No", rejected=" No "), "identical-sides"),
        (_row(rejected=None), "malformed-row"),
        (_row(rejected=float("nan")), "malformed-row"),
        (_row(chosen="\ud800"), "malformed-row"),
        (_row(image=""), "malformed-row"),
        (_row(conversations=[]), "malformed-row"),
        (_row(conversations="<image>"), "malformed-row"),
        (_row(conversations=_row()["conversations"][::-1]), "malformed-row"),
        (_row(conversations=_row()["conversations"] * 2), "questions-differ"),
        (
            _row(
                conversations=_row()["conversations"] * 2, rejected_conversations=_row()["rejected_conversations"] * 2
            ),
            "questions-differ",
        ),
        (_row(**_two_turns()), "multi-turn"),
        ("text", "malformed-row"),
    ],
)
def test_unusable_row_is_dropped_under_its_reason(row: Any, reason: str, tmp_path: Path) -> None:
    imported = _import(tmp_path, _row(), row)
    assert len(imported.pairs) == 1
    assert [drop.reason for drop in imported.drops] == [reason]


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (None, "no weighted_score"),
        (float("nan"), "outside"),
        (1.01, "outside"),
        (-0.1, "outside"),
        (10**400, "outside"),
        ("0.8", "not a number"),
        (True, "not a number"),
    ],
)
def test_score_that_is_none_stays_unscored_with_its_reason(score: Any, words: str, tmp_path: Path) -> None:
    imported = _import(tmp_path, _row(weighted_score=score))
    assert imported.pairs[0].score is None
    assert words in imported.pairs[0].unscored_reason
    assert imported.drops == []


def test_score_at_both_ends_is_a_score(tmp_path: Path) -> None:
    pairs = _import(tmp_path, _row(weighted_score=0), _row(weighted_score=1.0)).pairs
    assert [pair.score for pair in pairs] == [0.0, 1.0]
    assert [pair.unscored_reason for pair in pairs] == ["", ""]


def test_missing_score_key_and_missing_id(tmp_path: Path) -> None:
    row = _row()
    del row["weighted_score"], row["id"]
    (pair,) = _import(tmp_path, row).pairs
    assert pair.pair_id == "mmedpo-0/text"
    assert pair.score is None


def test_repeated_and_hostile_ids_give_distinct_harmless_pair_ids(tmp_path: Path) -> None:
    pairs = _import(tmp_path, _row(id="../x"), _row(id="../x")).pairs
    assert [pair.pair_id for pair in pairs] == ["mmedpo-0-.._x/text", "mmedpo-1-.._x/text"]


def test_missing_image_is_dropped_and_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.json", [_row(), _row(image="gone.jpg")])
    imported = read_pairs(path, tmp_path, index_images=_index)
    assert len(imported.pairs) == 1
    assert [(drop.item, drop.reason) for drop in imported.drops] == [("mmedpo-1-7/text", "unreadable-image")]
    assert "1 of 2 rows were dropped: 1 unreadable-image" in imported.notes


def test_file_without_any_placeholder_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.json", [_row(human="Is it big?")] * 3)
    with pytest.raises(PreferenceFormatError, match="none of the 3 human turns holds '<image>'"):
        read_pairs(path, tmp_path, index_images=_index)


def test_file_without_a_usable_row_is_refused_with_counts(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.json", [_row(image="gone.jpg"), _row(image="gone.jpg"), _row(chosen="No")])
    with pytest.raises(PreferenceFormatError, match=r"none of 3 rows.*2 unreadable-image, 1 identical-sides"):
        read_pairs(path, tmp_path, index_images=_index)


@pytest.mark.parametrize(
    ("content", "words"), [("[", "not JSON"), ("[]", "an empty list"), ("{}", "no known preference format")]
)
def test_what_is_no_list_of_rows_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(PreferenceFormatError, match=words):
        read_pairs(tmp_path / "p.json", tmp_path, index_images=_index)
    with pytest.raises(PreferenceFormatError, match="cannot be read"):
        read_pairs(tmp_path / "none.json", tmp_path, index_images=_index)


def test_join_is_by_image_and_question_and_prefers_the_same_answer(tmp_path: Path) -> None:
    examples = [
        _example("other-image", "images/b.jpg", "Is it big?"),
        _example("other-question", "images/a.jpg", "Is it small?"),
        _example("other-answer", "images/a.jpg", "is it  BIG?", answer="no"),
        _example("the-one", "images/a.jpg", "Is it big?", answer="yes"),
    ]
    path = _write(tmp_path / "p.json", [_row()])
    for given in (examples, examples[::-1]):
        pair = read_pairs(path, tmp_path, given, index_images=_index).pairs[0]
        assert (pair.example_id, pair.error_type, pair.image.path) == ("the-one", "size", "images/a.jpg")


def test_same_file_name_in_another_folder_is_another_image(tmp_path: Path) -> None:
    example = Example.model_validate(
        {**_example("x", "x2/source.jpg", "Is it big?").model_dump(), "image": {**_ref("x2/source.jpg").model_dump()}}
    )
    example = example.model_copy(update={"image": example.image.model_copy(update={"sha256": "another"})})
    path = _write(tmp_path / "p.json", [_row(image="x1/source.jpg")])
    imported = read_pairs(path, tmp_path, [example], index_images=_index)
    assert imported.pairs[0].example_id == "mmedpo-0-7"
    assert "1 of 1 pairs were made from no known example" in imported.notes


def test_rejected_image_is_not_silently_ignored(tmp_path: Path) -> None:
    notes = _import(tmp_path, _row(rejected_image="noised.jpg"), _row(weighted_score=0.0)).notes
    assert any(note.startswith("1 rows name a rejected_image") for note in notes)
    assert any(note.startswith("1 of 2 pairs have the score 0") for note in notes)


def test_one_answer_on_two_images_is_a_visual_pair(tmp_path: Path) -> None:
    pair = _import(tmp_path, _row(chosen="Yes", rejected="Yes", rejected_image="noised.jpg")).pairs[0]
    assert (pair.kind, pair.pair_id, pair.rejected_image_path) == ("visual", "benchmark-0-7/visual", "noised.jpg")


def test_pairs_on_test_images_and_test_patients_are_excluded(tmp_path: Path) -> None:
    rows = [_row(image=f"{name}.jpg") for name in "abcd"]
    examples = [
        _example("a", "images/a.jpg", "Is it big?", patient="p1"),
        _example("b", "images/b.jpg", "Is it big?", patient="p1"),
        _example("c", "images/c.jpg", "Is it big?", patient="p2"),
    ]
    pairs = read_pairs(_write(tmp_path / "p.json", rows), tmp_path, examples, index_images=_index).pairs
    test = [_example("t", "images/a.jpg", "Another question?", patient="p1")]
    kept, drops = exclude_test_images(pairs, test)
    assert [pair.image.path for pair in kept] == ["images/b.jpg", "images/c.jpg", "d.jpg"]
    assert [drop.reason for drop in drops] == ["image-in-test-split"]
    kept, drops = exclude_test_images(pairs, test, examples)
    assert [pair.example_id for pair in kept] == ["c", "mmedpo-3-7"]
    assert [drop.reason for drop in drops] == ["image-in-test-split", "patient-in-test-split"]


def test_re_encoded_test_image_is_known_by_its_path(tmp_path: Path) -> None:
    pairs = read_pairs(_write(tmp_path / "p.json", [_row()]), tmp_path, index_images=_index).pairs
    test = _example("t", "images/a.jpg", "Q?")
    test = test.model_copy(update={"image": test.image.model_copy(update={"sha256": "re-encoded"})})
    assert exclude_test_images(pairs, [test])[0] == []
    elsewhere = test.model_copy(update={"image": test.image.model_copy(update={"path": "images/ba.jpg"})})
    assert exclude_test_images(pairs, [elsewhere])[0] == pairs


class TestRealRelease:
    def test_all_1797_pairs_import_and_join(self, shared_data: Path, decoded_once: None) -> None:
        examples = VqaRad().read(shared_data / "vqa_rad", DatasetSettings()).examples
        path = shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json"
        imported = read_pairs(path, shared_data / "vqa_rad" / "images", examples, index_images=index_images)
        assert len(imported.pairs) == 1797
        assert imported.drops == []
        by_id = {example.example_id: example for example in examples}
        for pair in imported.pairs:
            example = by_id[pair.example_id]
            assert pair.image == example.image
            assert pair.question == example.question
        assert len({pair.image.sha256 for pair in imported.pairs}) == 313
        assert Counter(pair.score for pair in imported.pairs)[0.0] == 12
        assert "12 of 1797 pairs have the score 0: as a raw weight it gives them no gradient" in imported.notes

        test = [example for example in examples if example.split == "test"]
        kept, drops = exclude_test_images(imported.pairs, test, examples)
        assert len(kept) + len(drops) == 1797
        assert drops
        assert not {p.image.sha256 for p in kept} & {e.image.sha256 for e in test}
        assert not {by_id[p.example_id].patient_id for p in kept} & {e.patient_id for e in test}
