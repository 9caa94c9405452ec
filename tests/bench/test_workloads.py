"""The benchmark's data: what it claims to count is what it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.throughput.models import SHAPES, build_tokenizer
from bench.throughput.workloads import WORKLOADS, Workload, counted_tokens, flops, growth_workloads, tokens


@pytest.mark.parametrize(
    ("name", "questions", "independent", "trie"),
    [
        ("slake", 11, 27_544, 2_362),
        ("reports", 1, 2_944, 1_592),
        ("text", 1, 1_252, 636),
        # By hand: 5.7 x (2 x 616 + 2 + 13 + 2 x 618), and 2 x 576 + 5.7 x (40 + 2 + 13 + 40 + 2).
        ("vqa-rad", 5.7, 14_153.1, 1_704.9),
    ],
)
def test_tokens_of_one_image(name: str, questions: float, independent: int, trie: int) -> None:
    count = tokens(WORKLOADS[name], [questions])
    assert count.independent == pytest.approx(independent)
    assert count.trie == pytest.approx(trie)


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_the_pairs_hold_the_tokens_that_the_closed_form_counts(name: str) -> None:
    workload = WORKLOADS[name]
    assert counted_tokens(workload.step(1), workload.image_tokens) == tokens(workload)


@settings(max_examples=30, deadline=None)
@given(
    questions=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    chosen=st.integers(2, 9),
    rejected=st.integers(2, 9),
    visual=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_closed_form_over_shapes(questions: list[int], chosen: int, rejected: int, visual: bool, seed: int) -> None:
    workload = Workload(
        "x", "x", tuple(questions), chosen, rejected, visual, image_tokens=7, question_tokens=5, seed=seed
    )
    assert counted_tokens(workload.step(0), 7) == tokens(workload)
    assert len(workload.step(0)) == workload.pairs_per_step


def test_growth_workloads_fit_the_context_of_the_models() -> None:
    for workloads in growth_workloads().values():
        for workload in workloads:
            longest = workload.image_tokens + workload.question_tokens + workload.chosen_tokens
            assert longest <= 2048


def test_flop_bounds_of_the_7b_shapes() -> None:
    # Independent 6N + 6L per token, the trie 2N/3 + 4N + 6L: 1.27 times fewer per token at L = 0.048 N.
    shape = SHAPES["7b"]
    bounds = {
        name: flops(tokens(workload), shape.frozen_weights, shape.adapter_weights, epochs=3, checkpointing=False).bound
        for name, workload in WORKLOADS.items()
    }
    assert bounds == pytest.approx({"vqa-rad": 10.49, "slake": 14.80, "reports": 2.35, "text": 2.50}, abs=0.01)


def test_weights_of_the_7b_shapes_are_those_of_mistral_7b() -> None:
    # 32 blocks x (2 x 4096 x 4096 + 2 x 4096 x 1024 + 3 x 4096 x 14336)
    assert SHAPES["7b"].frozen_weights == 6_979_321_856


def test_a_text_is_as_long_in_tokens_as_in_words_and_comes_back() -> None:
    tokenizer = build_tokenizer(SHAPES["test"])
    workload = replace(WORKLOADS["slake"], words=SHAPES["test"].words)
    for pair in workload.step(0):
        for text, length in ((pair.question, 39), (pair.chosen, 9), (pair.rejected, 9)):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert len(ids) == length
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_the_template_adds_one_token_to_the_question_and_the_end_to_the_answer() -> None:
    tokenizer = build_tokenizer(SHAPES["test"])
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "w1 w2"}]}]
    assert (
        tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) == "<image>w1 w2<|assistant|>"
    )
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": "w3"}], tokenize=False)
    assert whole == "<image>w1 w2<|assistant|>w3</s>"
    assert len(tokenizer(whole, add_special_tokens=False)["input_ids"]) == 6


def test_steps_are_the_same_whenever_drawn_and_differ_from_each_other() -> None:
    workload = WORKLOADS["vqa-rad"]
    assert workload.step(2) == workload.steps(3)[2]
    assert workload.step(0) != workload.step(1)
    images = {pair.image for step in workload.steps(2) for pair in step}
    pictures = {workload.pixels(image).tobytes() for image in images}
    assert len(pictures) == len(images) == 6


def test_a_visual_pair_follows_its_text_pair_and_differs_by_the_rejected_image_alone() -> None:
    workload = WORKLOADS["slake"]
    pairs = workload.step(0)
    for text, visual in zip(pairs[::2], pairs[1::2], strict=True):
        assert text.rejected_image == text.image == visual.image != visual.rejected_image
        assert (text.question, text.chosen) == (visual.question, visual.chosen)
        assert text.rejected != text.chosen == visual.rejected
        assert (workload.pixels(visual.image) != workload.pixels(visual.rejected_image)).any()
    assert all(0.75 <= pair.weight <= 1.25 for pair in pairs)


def test_a_workload_survives_the_command_line() -> None:
    workload = WORKLOADS["vqa-rad"]
    assert Workload.from_json(workload.as_json()) == workload
