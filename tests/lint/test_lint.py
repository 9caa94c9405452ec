"""The linter: each fault is found in its rows and nowhere else, numbers by hand, fixes logged and final."""

from __future__ import annotations

import gc
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.config import LintSettings
from mmedpo.lint.findings import Finding, LintReport
from mmedpo.lint.fix import count_changes, fix_rows
from mmedpo.lint.judges import length_judge, word_judge
from mmedpo.lint.linter import Evidence, lint_rows
from mmedpo.lint.text import leaked_prompt, without_prompt
from mmedpo.preferences.turns import assistant, parts_of, user
from mmedpo.records import Drop, Example, ImageRef, PreferenceRow
from preferences.rows import preference_row

SETTINGS = LintSettings()


def _row(number: int, chosen: str = "a mass", rejected: str = "a clear lung", **changes: Any) -> PreferenceRow:
    fields = {"question": f"Question {number}?", "images": (f"{number}.png",), "score": 0.1 + 0.01 * number}
    return preference_row(number, chosen=chosen, rejected=rejected, **{**fields, **changes})


def _lint(rows: Sequence[PreferenceRow], **evidence: Any) -> dict[str, Finding]:
    return {f.check: f for f in lint_rows(rows, Evidence(**evidence), SETTINGS).findings}


def _ref(name: str, look: str = "") -> ImageRef:
    return ImageRef(path=name, sha256=f"sha-{name}", width=4, height=4, perceptual=look)


def _example(name: str, image: ImageRef, split: str) -> Example:
    return Example(
        example_id=name, dataset="d", split=split, image=image, question="Q?", answer="yes", answer_type="closed"
    )


GOOD = [
    _row(n, chosen=c, rejected=r) for n, (c, r) in enumerate([("a mass", "clear lung"), ("no", "yes"), ("PA", "AP")])
]


def test_clean_rows_give_no_finding() -> None:
    assert _lint(GOOD) == {}


@pytest.mark.parametrize(
    ("check", "faulty"),
    [
        ("empty-side", _row(9, chosen="")),
        ("empty-side", _row(9, rejected=" . ")),
        ("empty-side", _row(9, question="")),
        ("identical-sides", _row(9, chosen="A mass.", rejected="a mass")),
        ("same-polarity", _row(9, chosen="No", rejected="No, the lung is clear.")),
        ("same-polarity", _row(9, chosen="Question: Is it?\n yes", rejected="Yes it is")),
        ("leaked-prompt-chosen", _row(9, chosen="Question: What is it?\n-Candidate Answer1: a cyst\n\n a mass")),
        ("leaked-prompt-chosen", _row(9, chosen="**** a mass")),
        ("leaked-prompt-rejected", _row(9, rejected="The dispreferred answer would be a cyst")),
        ("leaked-prompt-rejected", _row(9, rejected="a cyst</s>")),
        ("no-image", _row(9, images=())),
        ("image-place-missing", _row(9, prompt=(user(parts_of("Is it big?")),))),
        ("image-placeholders", _row(9, prompt=(user(parts_of("<image><image>Is it big?")),))),
        ("image-placeholders", _row(9, rejected="<image> a cyst")),
        ("chosen-contained", _row(9, chosen="Volume loss", rejected="There is no volume loss.")),
        ("blanks", _row(9, chosen=" a mass")),
    ],
)
def test_faulty_row_is_found_by_its_number_and_no_other_is(check: str, faulty: PreferenceRow) -> None:
    found = _lint([*GOOD, faulty])
    assert found[check].rows == (9,)
    assert (found[check].count, found[check].of) == (1, 4)


@pytest.mark.parametrize(
    "fine",
    [
        _row(9, chosen="no", rejected="normal lungs, no mass"),  # a closed answer is not "contained"
        _row(9, chosen="mass", rejected="massive effusion"),  # words, not letters
        _row(9, chosen="left lung", rejected="lung, left lower lobe"),  # the phrase, not its words
        _row(9, chosen="No mass", rejected="Yes, a mass"),
        _row(9, chosen="Mass: 3 cm", rejected="clear"),
        _row(9, chosen="a question of dose", rejected="an answer to therapy"),
        _row(9, chosen="yes", rejected="yes", pair_type="visual", rejected_images=("noised.png",)),
    ],
)
def test_near_misses_are_no_faults(fine: PreferenceRow) -> None:
    assert _lint([*GOOD, fine]) == {}


def test_visual_pair_whose_two_images_are_one_is_identical() -> None:
    row = _row(9, "yes", "yes", pair_type="visual", rejected_images=("copy.png",))
    row = row.model_copy(update={"image_hashes": ("a",), "rejected_image_hashes": ("a",)})
    assert _lint([*GOOD, row])["identical-sides"].rows == (9,)


def test_unreadable_rows_are_told_by_number() -> None:
    drops = [Drop(stage="p", item="row 7", reason="malformed-row", detail="row 7: no")]
    finding = _lint(GOOD, drops=drops)["unreadable-row"]
    assert (finding.rows, finding.count, finding.of, finding.severity) == ((7,), 1, 4, "error")


# Shortcuts.


def test_length_judge_by_hand() -> None:
    # Rejected is longer in 3 of 5, once equal, once shorter: "shorter wins" is right in 3.5 of 5.
    judge = length_judge([1, 1, 2, 3, 9], [2, 5, 8, 3, 1])
    assert judge.rejected_longer == pytest.approx(0.6)
    assert judge.accuracy == pytest.approx(0.7)
    assert judge.shorter_wins
    assert (judge.chosen_mean, judge.rejected_mean) == (pytest.approx(3.2), pytest.approx(3.8))
    turned = length_judge([2, 5, 8, 3, 1], [1, 1, 2, 3, 9])
    assert turned.accuracy == pytest.approx(0.7)
    assert not turned.shorter_wins


def test_word_judge_finds_a_telling_word_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    vocabulary = [f"w{n}" for n in range(30)]
    groups = [f"image-{n // 2}" for n in range(400)]

    def text() -> list[str]:
        return list(rng.choice(vocabulary, 4))

    telling = [[*text(), "clearly"] for _ in groups]
    plain = [text() for _ in groups]
    assert word_judge(plain, telling, groups, 5, 1e-3) == pytest.approx(1.0, abs=0.01)
    blind = word_judge([text() for _ in groups], [text() for _ in groups], groups, 5, 1e-3)
    # 400 coin tosses have a standard deviation of 0.025.
    assert blind == pytest.approx(0.5, abs=0.1)
    assert word_judge(plain[:4], telling[:4], groups[:4], 5, 1e-3) is None


@given(
    texts=st.lists(st.tuples(*[st.lists(st.sampled_from("abcdef"), max_size=5)] * 2), min_size=12, max_size=30),
    draw=st.randoms(use_true_random=False),
)
@settings(max_examples=8)
def test_word_judge_sees_which_words_stand_on_one_side_alone(
    texts: list[tuple[list[str], list[str]]], draw: random.Random
) -> None:
    """Order and repetition of words are nothing to it, nor are words of both sides, or of one row alone."""

    def turned(number: int, side: list[str]) -> list[str]:
        said = [*side, *side, "the", f"only-here-{number}"]
        draw.shuffle(said)
        return said

    groups = [str(number % 7) for number in range(len(texts))]
    plain = word_judge([c for c, _ in texts], [r for _, r in texts], groups, 3, 1e-2)
    shown = [(turned(number, c), turned(-number - 1, r)) for number, (c, r) in enumerate(texts)]
    assert word_judge([c for c, _ in shown], [r for _, r in shown], groups, 3, 1e-2) == plain


def test_word_judge_is_measured_on_images_it_has_not_seen() -> None:
    """Every image has a word of its own in the rejected side: known by heart it tells all, unseen it tells nothing."""
    rng = np.random.default_rng(1)
    groups = [f"image-{n // 4}" for n in range(200)]
    # The mark says "rejected" on one half of the images and "chosen" on the other.
    mark = {group: bool(rng.integers(2)) for group in dict.fromkeys(groups)}
    chosen = [[group, "mass"] if mark[group] else ["mass"] for group in groups]
    rejected = [["mass"] if mark[group] else [group, "mass"] for group in groups]
    assert word_judge(chosen, rejected, groups, 5, 1e-3) == pytest.approx(0.5)


def test_shortcuts_are_warnings_only_above_the_limit() -> None:
    short = [_row(n, chosen="no", rejected="yes there is one") for n in range(30)]
    found = _lint(short)
    assert found["length-shortcut"].severity == "warning"
    assert "longer in 100.0% of the pairs (mean 4.0 words against 1.0)" in found["length-shortcut"].message
    even = [_row(n, *(("no", "yes a b") if n % 2 else ("yes a b", "no"))) for n in range(30)]
    assert _lint(even)["length-shortcut"].severity == "note"


# Weights.


def test_zero_missing_and_constant_weights() -> None:
    rows = [_row(0, score=0.0), _row(1, score=None, unscored_reason="no score"), _row(2, score=0.5), _row(3, score=0.7)]
    found = _lint(rows)
    assert found["zero-weight"].rows == (0,)
    assert (found["missing-weight"].rows, found["missing-weight"].severity) == ((1,), "error")
    assert "constant-weight" not in found
    assert _lint([_row(n, score=0.5) for n in range(4)])["constant-weight"].count == 4
    without = _lint([_row(n, score=None) for n in range(4)])
    assert (without["missing-weight"].severity, without["missing-weight"].rows) == ("note", ())


def test_own_weight_counts_more_than_the_score() -> None:
    assert _lint([_row(0, score=0.0, weight=1.0), _row(1, weight=0.0), _row(2)])["zero-weight"].rows == (1,)


@pytest.mark.parametrize("bound", [0.75, 1.25], ids=["lower", "upper"])
def test_weights_that_pile_up_on_either_bound_are_seen(bound: float) -> None:
    other = 2.0 - bound
    rows = [_row(n, score=None, weight=bound if n < 6 else other if n == 6 else 1.0) for n in range(10)]
    finding = _lint(rows)["weights-on-a-bound-file"]
    assert (finding.count, finding.of, finding.numbers["value"]) == (6, 10, bound)


def test_weights_on_a_bound() -> None:
    rows = [_row(n, score=0.75 if n < 6 else 0.8 + n / 100) for n in range(10)]
    assert _lint(rows)["weights-on-a-bound-file"].count == 6
    derived = {"zscore": [0.75] * 6 + [1.0, 1.1, 1.2, 1.25], "rescale": [0.75, 0.9, 1.0, 1.1, 1.25] * 2}
    found = _lint(GOOD, derived=derived)
    assert found["weights-on-a-bound-zscore"].count == 6
    assert "weights-on-a-bound-rescale" not in found


# Images, tokens, noise.


def test_missing_image_placeholders_and_noise() -> None:
    rows = [*GOOD, _row(9, "yes", "yes", pair_type="visual", rejected_images=("noised.png",))]
    images = {f"{n}.png": _ref(f"{n}.png") for n in range(3)} | {"noised.png": _ref("noised.png")}
    found = _lint(rows, images=images, failures={"9.png": "9.png is missing"}, noised={"row-9": 0.9})
    assert found["unreadable-image"].rows == (9,)
    assert "9.png is missing" in found["unreadable-image"].message
    assert found["noised-nearly-everything"].rows == (9,)
    assert _lint(rows, noised={"row-9": 0.0005})["noised-nearly-nothing"].rows == (9,)
    assert not {f for f in _lint(rows, noised={"row-9": 0.2}) if f.startswith("noised")}


def test_rows_that_would_be_cut() -> None:
    found = _lint(GOOD, tokens={"row-0": 1024, "row-1": 1025, "row-2": 3})
    assert found["truncated"].rows == (1,)
    assert found["truncated"].numbers["longest"] == 1025


# Duplicates and leaks.


def test_duplicates_and_contradictions() -> None:
    first = _row(0, question="Same?", images=("a.png",))
    again = _row(5, question="same?", chosen="A mass.", images=("a.png",))
    other = _row(6, question="Same?", images=("b.png",))
    found = _lint([first, *GOOD[1:], again, other])
    assert found["duplicate"].rows == (5,)
    against = _row(7, question="Same?", images=("a.png",), chosen="a clear lung", rejected="a mass")
    assert _lint([first, *GOOD[1:], against])["contradicting-pairs"].rows == (0, 7)


def test_one_image_under_two_names_is_one_image() -> None:
    rows = [_row(n, question="Same?", images=(f"{n}.png",), image_hashes=("h",)) for n in range(2)]
    assert _lint(rows)["duplicate"].rows == (1,)


def test_test_images_are_found_by_bytes_by_look_and_by_question() -> None:
    rng = np.random.default_rng(0)
    look = rng.bytes(32).hex()
    near = (int(look, 16) ^ 0b111).to_bytes(32).hex()  # three bits differ
    images = {
        "0.png": _ref("0.png", rng.bytes(32).hex()),
        "1.png": _ref("1.png", near),
        "2.png": _ref("2.png", rng.bytes(32).hex()),
    }
    held = [
        _example("same", _ref("0.png"), "test"),
        _example("alike", _ref("other.png", look), "validation"),
        _example("asked", _ref("x.png", rng.bytes(32).hex()), "test"),
    ]
    rows = [GOOD[0], GOOD[1], GOOD[2].model_copy(update={"example_id": "asked"})]
    found = _lint(rows, images=images, held_out=held)
    assert found["test-image"].rows == (0,)
    assert found["test-image-lookalike"].rows == (1,)
    assert found["test-question"].rows == (2,)


def test_what_was_not_looked_at_is_told() -> None:
    report = lint_rows(GOOD, Evidence(), SETTINGS)
    assert set(report.skipped) == {"unreadable-image", "noised-area", "truncated", "test-leak"}
    assert not set(report.skipped) & set(report.checked)


def test_findings_come_worst_first() -> None:
    rows = [*GOOD, _row(5, chosen=" x"), _row(6, "loss", "no loss here"), _row(7, "", "y")]
    report = lint_rows(rows, Evidence(), SETTINGS)
    assert [f.severity for f in report.findings] == ["error", "warning", "note"]
    assert report.worst() == "error"
    assert LintReport(file="", format="", rows=0, findings=(), checked=()).worst() is None


# Mending.


def test_repairs_and_drops_are_made_and_logged() -> None:
    rows = [
        GOOD[0],
        _row(1, chosen="Question: Is it?\n\n- Left lobe ", rejected=" right lobe"),
        _row(2, chosen="the same", rejected="The same."),
        _row(3, prompt=(user(parts_of("Is it big?")),)),
        _row(4, rejected="the original answer is a mass, to contradict it"),
        _row(5, score=0.0),
    ]
    report = lint_rows(rows, Evidence(), SETTINGS)
    drops = [Drop(stage="p", item="row 6", reason="malformed-row", detail="")]
    kept, changes = fix_rows(rows, report.findings, drops)
    assert [row.source_row for row in kept] == [0, 1, 3]
    assert kept[1].chosen == (assistant("Left lobe"),)
    assert kept[1].rejected == (assistant("right lobe"),)
    assert [part.type for part in kept[2].prompt[0].content] == ["image", "text"]
    told = [(change.row, change.action, change.check, change.field) for change in changes]
    assert told == [
        (1, "repair", "leaked-prompt", "chosen"),
        (1, "repair", "blanks", "rejected"),
        (2, "drop", "identical-sides", ""),
        (3, "repair", "image-place-missing", "prompt"),
        (4, "drop", "leaked-prompt-rejected", ""),
        (5, "drop", "zero-weight", ""),
        (6, "drop", "malformed-row", ""),
    ]
    assert changes[0].before == "Question: Is it?\n\n- Left lobe "
    assert count_changes(changes)["drop zero-weight"] == 1


def test_a_repair_that_makes_the_sides_equal_drops_the_row() -> None:
    row = _row(9, chosen="Question: What?\n a mass", rejected="a mass")
    kept, changes = fix_rows([row], lint_rows([row], Evidence(), SETTINGS).findings)
    assert kept == []
    assert [change.check for change in changes] == ["identical-sides"]


def test_warnings_are_dropped_where_asked() -> None:
    rows = [*GOOD, _row(9, "loss", "no loss at all")]
    findings = lint_rows(rows, Evidence(), SETTINGS).findings
    assert len(fix_rows(rows, findings)[0]) == 4
    kept, changes = fix_rows(rows, findings, also_drop=["chosen-contained"])
    assert [row.source_row for row in kept] == [0, 1, 2]
    assert [(change.row, change.check) for change in changes] == [(9, "chosen-contained")]


_ANSWER = st.sampled_from(
    [
        "yes",
        "No",
        " no ",
        "",
        "a mass",
        "A mass.",
        "Question: Is it?\n yes",
        "**** left",
        "<image>",
        "no mass here",
        "the dispreferred answer",
        "Answer: PA",
        "PA\n",
        "Original Answer: x\n\n\n",
    ]
)


@given(st.lists(st.tuples(_ANSWER, _ANSWER, st.sampled_from([None, 0.0, 0.5, 0.9]), st.integers(0, 3)), max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_mended_table_has_no_error_left_and_mending_again_changes_nothing(rows: list[Any]) -> None:
    table = [
        _row(n, chosen=c, rejected=r, score=s, question=f"Q{image}?", images=(f"{image}.png",))
        for n, (c, r, s, image) in enumerate(rows)
    ]
    kept, changes = fix_rows(table, lint_rows(table, Evidence(), SETTINGS).findings)
    again = lint_rows(kept, Evidence(), SETTINGS)
    assert {row.source_row for row in table} == {row.source_row for row in kept} | {
        c.row for c in changes if c.action == "drop"
    }
    assert not [f for f in again.findings if f.severity == "error" and f.check != "contradicting-pairs"]
    assert fix_rows(kept, [f for f in again.findings if f.check not in ("duplicate", "contradicting-pairs")]) == (
        kept,
        [],
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Question: Where?\n- Left", "Left"),
        ("**** Aorta", "Aorta"),
        ("Question: Q?\n-Original Answer: a\n-Candidate Answer1: b\n\n a", "a"),
        ("Given the 'Original Answer', this.", None),
        ("Question: Where?", None),
    ],
)
def test_answer_behind_a_leaked_prompt(text: str, meant: str | None) -> None:
    assert leaked_prompt(text)
    assert without_prompt(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "There is an effusion. This contradicts the original description of clear lungs.",
        "The heart is large, in contradiction to the reference.",
        "Left lung. It differs from the actual finding.",
        "This response overlooks the effusion.",
        "Here is a clinically plausible answer: right lung.",
        "Right lung (an incorrect statement).",
        "Reasoning: the truth denies it.",
        "A mass. The question asks for the organ.",
        "The answer is factually incorrect.",
        "As a medical judge I choose the second.",
        "Right lung instead of the correct left lung.",
    ],
)
def test_talk_of_answers_is_found(text: str) -> None:
    assert leaked_prompt(text)


@pytest.mark.parametrize(
    "text",
    [
        "The original mass has grown; no change from the original study.",
        "Different from the left lung, the right is clear.",
        "Unlike the left lung the right is hazy.",
        "Good response to treatment. The answer is the left lung.",
        "The findings are inconsistent with pneumonia.",
        "The true lumen is patent, the false lumen is not.",
        "The correct side is the left one.",
        "The report describes a mass.",
    ],
)
def test_talk_of_images_is_no_talk_of_answers(text: str) -> None:
    assert leaked_prompt(text) is None


def test_released_and_original_answers_hold_no_other_talk(shared_data: Path) -> None:
    questions = json.loads((shared_data / "vqa_rad/VQA_RAD_Dataset_Public.json").read_text(encoding="utf-8"))
    assert [q["answer"] for q in questions if leaked_prompt(str(q["answer"]))] == []
    (file,) = (shared_data / "mmedpo_vqa_rad_prefs").glob("*.json")
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert sum(leaked_prompt(row["conversations"][1]["value"]) is not None for row in rows) == 28


def test_numbers_of_a_report_are_plain() -> None:
    report = lint_rows([_row(n) for n in range(40)], Evidence(), SETTINGS)
    for finding in report.findings:
        assert all(isinstance(v, float) and math.isfinite(v) for v in finding.numbers.values())


def test_a_score_written_as_text_is_an_error_and_mended() -> None:
    rows = [
        _row(
            n,
            score=None,
            unscored_reason=f"weighted_score is text ('{told}')",
            extra=json.dumps({"weighted_score": told}),
        )
        for n, told in enumerate(("0.3", " .5 ", "1e-1", "high"))
    ]
    found = _lint(rows)
    assert (found["text-score"].rows, found["text-score"].severity, found["text-score"].action) == (
        (0, 1, 2),
        "error",
        "repair",
    )
    assert found["missing-weight"].rows == (3,)
    kept, changes = fix_rows(rows[:3], list(_lint(rows[:3]).values()))
    assert [row.score for row in kept] == [0.3, 0.5, 0.1]
    assert [(change.field, change.before, change.after) for change in changes] == [
        ("score", "0.3", "0.3"), ("score", " .5 ", "0.5"), ("score", "1e-1", "0.1"),
    ]  # fmt: skip
    assert [row.extra for row in kept] == ["", "", ""]


def test_weights_that_are_there_but_unusable_are_an_error_and_stay() -> None:
    values = (1.25, True, "NaN")
    rows = [
        _row(
            n,
            score=None,
            unscored_reason=f"weighted_score cannot be used ({v})",
            extra=json.dumps({"weighted_score": v}),
        )
        for n, v in enumerate(values)
    ]
    finding = _lint(rows)["missing-weight"]
    assert (finding.severity, finding.count, finding.action) == ("error", 3, "none")
    kept, _ = fix_rows(rows, [finding])
    assert len(kept) == 3
    bare = [_row(n, score=None, unscored_reason="the row has no weighted_score") for n in range(3)]
    assert _lint(bare)["missing-weight"].severity == "note"


def test_every_reason_for_a_missing_weight_is_counted() -> None:
    reasons = ("w is null", "w lies outside [0, 1] (1.5)", "w lies outside [0, 1] (2)", "w is not finite (nan)")
    rows = [_row(0), *(_row(n + 1, score=None, unscored_reason=why) for n, why in enumerate(reasons))]
    message = _lint(rows)["missing-weight"].message
    assert message.startswith("4 of 5 rows have no usable weight (2 x w lies outside [0, 1] (1.5), ")
    assert "1 x w is null" in message
    assert "1 x w is not finite (nan)" in message


def test_rows_that_say_test_are_found_and_dropped() -> None:
    rows = [
        _row(0),
        _row(1, split="test"),
        _row(2, split="validation"),
        _row(3, split="train"),
        _row(4, split="test", example_id="x"),
    ]
    found = _lint(rows)
    assert found["held-out-row"].rows == (1, 2)
    assert [row.source_row for row in fix_rows(rows, list(found.values()))[0]] == [0, 3, 4]


def test_the_table_says_what_fix_does() -> None:
    leaked = "the original answer is a mass, to contradict it"
    found = _lint([_row(0, rejected=leaked), _row(1, rejected="Question: Is it?\n\n- Left lobe")])
    assert found["leaked-prompt-rejected"].message.endswith("; 1 cannot be mended")
    assert _lint([_row(0, rejected=leaked)])["leaked-prompt-rejected"].action == "drop"
    two = _row(0, prompt=(user(parts_of("<image><image>Is it big?")),))
    assert _lint([two])["image-placeholders"].action == "drop"


_WORDS = st.sampled_from(["a mass", "A  mass.", "no mass", "yes", "clear"])


@given(
    st.lists(
        st.tuples(_WORDS, _WORDS, st.sampled_from(["Where?", "where?", "What?"]), st.sampled_from("ab")), max_size=25
    )
)
def test_duplicates_and_contradictions_are_those_that_comparing_all_rows_finds(
    told: list[tuple[str, str, str, str]],
) -> None:
    rows = [
        _row(n, chosen=chosen, rejected=rejected, question=asked, images=(image,))
        for n, (chosen, rejected, asked, image) in enumerate(told)
    ]
    keys = [
        (asked.lower(), image, chosen.lower().strip(".").split(), rejected.lower().strip(".").split())
        for chosen, rejected, asked, image in told
    ]
    again = tuple(n for n, key in enumerate(keys) if key in keys[:n])
    against = tuple(n for n, (q, i, c, r) in enumerate(keys) if c != r and (q, i, r, c) in keys)
    found = _lint(rows)
    assert (found["duplicate"].rows if "duplicate" in found else ()) == again
    assert (found["contradicting-pairs"].rows if "contradicting-pairs" in found else ()) == against


class _Watched(Sequence[PreferenceRow]):
    """Rows that exist while they are looked at, and the most that ever did at once."""

    def __init__(self, count: int) -> None:
        self.count, self.most, self.passes = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: Any) -> Any:
        return _row(place, rejected="Candidate answer 1: a mass" if place % 3 else " ", score=0.5)

    def __iter__(self) -> Any:
        self.passes += 1
        for place in range(self.count):
            yield self[place]
            if place == self.count - 1:
                gc.collect()
                self.most = sum(type(one) is PreferenceRow for one in gc.get_objects())


def test_no_row_is_held_while_a_table_is_checked() -> None:
    gc.collect()
    before = sum(type(one) is PreferenceRow for one in gc.get_objects())
    rows = _Watched(200)
    found = lint_rows(rows, Evidence(), SETTINGS).findings
    assert {"empty-side", "leaked-prompt-rejected", "blanks", "constant-weight"} <= {one.check for one in found}
    assert rows.passes == 1
    assert rows.most - before < 20
