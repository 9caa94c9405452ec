"""TRL, the plain side and our engine compute Eq. 3: the same losses, step by step, from the same start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.throughput.models import SHAPES, build_checkpoint
from bench.throughput.side import Options, SideResult, run_side
from bench.throughput.workloads import WORKLOADS, Workload, tokens

SHAPE = SHAPES["test"]
SMALL = replace(
    WORKLOADS["vqa-rad"],
    questions=(2, 1),
    image_tokens=SHAPE.image_tokens,
    question_tokens=5,
    rejected_tokens=6,
    image_size=SHAPE.image_size,
    words=SHAPE.words,
)
OPTIONS = Options(rank=SHAPE.rank, alpha=SHAPE.alpha, learning_rate=1e-2)
STEPS = 3
TOLERANCE = 2e-6
"""float32 sums in another order, after two updates."""
needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed; `make bench` installs it")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL sets what transformers deprecates.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(SHAPE, tmp_path_factory.mktemp("checkpoint"), device="cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more to threads than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def _run(
    side: str, checkpoint: Path, workload: Workload = SMALL, *, checkpointing: bool = False, **options: Any
) -> SideResult:
    """What a side computes; the same run asked for again is the one there was."""
    return run_side(
        side,
        checkpoint,
        workload,
        steps=STEPS,
        checkpointing=checkpointing,
        device="cpu",
        options=replace(OPTIONS, **options),
    )


@needs_trl
@pytest.mark.parametrize("micro_pairs", [1, 3])
def test_trl_and_the_plain_side_give_the_same_losses(checkpoint: Path, micro_pairs: int) -> None:
    plain = _run("plain", checkpoint)
    trl = _run("trl", checkpoint, micro_pairs=micro_pairs)
    assert trl.losses == pytest.approx(plain.losses, abs=TOLERANCE)
    # The losses move, so that agreement says something about gradients and not only about the first forward.
    assert abs(plain.losses[1] - _run("plain", checkpoint, learning_rate=0.0).losses[1]) > 100 * TOLERANCE


@pytest.mark.parametrize("checkpointing", [False, True])
def test_our_engine_and_the_plain_side_give_the_same_losses(checkpoint: Path, checkpointing: bool) -> None:
    ours = _run("ours", checkpoint, checkpointing=checkpointing)
    assert ours.losses == pytest.approx(_run("plain", checkpoint).losses, abs=TOLERANCE)


@needs_trl
def test_with_weights_of_one_our_engine_gives_the_dpo_loss_of_trl_to_six_digits(checkpoint: Path) -> None:
    class Unweighted(Workload):
        def step(self, index: int):
            return [replace(pair, weight=1.0) for pair in super().step(index)]

    workload = Unweighted(**{name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__})
    ours, trl = (_run(side, checkpoint, workload).losses for side in ("ours", "trl"))
    assert ours == pytest.approx(trl, abs=1e-6)


def test_our_side_feeds_the_tokens_that_the_closed_form_counts(checkpoint: Path) -> None:
    # The last token of an answer predicts nothing: one less for each distinct answer.
    answers = sum(SMALL.questions) * 3
    assert _run("ours", checkpoint).tokens == [tokens(SMALL).trie - answers] * STEPS


@needs_trl
def test_checkpointing_leaves_the_losses_of_trl_alone(checkpoint: Path) -> None:
    assert _run("trl", checkpoint, checkpointing=True).losses == pytest.approx(
        _run("trl", checkpoint).losses, abs=TOLERANCE
    )


@needs_trl
def test_trl_without_padding_feeds_the_tokens_that_the_closed_form_counts(checkpoint: Path) -> None:
    workload = replace(SMALL, rejected_tokens=SMALL.chosen_tokens)
    assert _run("trl", checkpoint, workload, micro_pairs=2).tokens == [tokens(workload).independent] * STEPS


@needs_trl
def test_the_first_loss_is_the_mean_weight_times_ln_2(checkpoint: Path) -> None:
    """At the start the policy is the reference; without a weight per pair this would be ln 2 itself."""
    mean_weight = sum(pair.weight for pair in SMALL.step(0)) / SMALL.pairs_per_step
    assert _run("trl", checkpoint).losses[0] == pytest.approx(mean_weight * 0.6931471805599453, abs=1e-6)


def test_the_rejected_image_matters(checkpoint: Path) -> None:
    """Without the noised pictures a visual pair's margin stays 0 and later losses change."""

    class Same(Workload):
        def pixels(self, image: str):
            return super().pixels(image.replace("noised", "clean"))

    same = Same(**{name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__})
    assert abs(_run("plain", checkpoint, same).losses[2] - _run("plain", checkpoint).losses[2]) > 1e-5
