"""Which process computes which groups: every group once, balanced, and the same order for any number of processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmedpo.train.sampler import StepLoader, StepSampler, deal

SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=30)


@given(SIZES, st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_in_every_epoch_every_group_is_seen_once_by_one_process(sizes, batch, processes, seed):
    samplers = [StepSampler(sizes, batch, seed, rank, processes) for rank in range(processes)]
    for epoch in (0, 1):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        seen = [group for sampler in samplers for step in sampler for group in step]
        assert sorted(seen) == list(range(len(sizes)))
        assert len({len(list(sampler)) for sampler in samplers} | {len(samplers[0])}) == 1


@given(SIZES, st.integers(1, 3), st.integers(2, 4), st.integers(0, 9))
def test_a_step_of_several_processes_holds_what_one_process_with_a_larger_batch_takes(sizes, batch, processes, seed):
    one = list(StepSampler(sizes, batch * processes, seed))
    several = [list(StepSampler(sizes, batch, seed, rank, processes)) for rank in range(processes)]
    for step, whole in enumerate(one):
        assert sorted(group for steps in several for group in steps[step]) == sorted(whole)


def test_hands_are_balanced_by_tokens():
    hands = deal([0, 1, 2, 3], [100, 60, 50, 10], 2)
    assert hands == [[0, 3], [1, 2]]


def test_another_epoch_is_another_order_and_the_loader_passes_it_on():
    sampler = StepSampler([1] * 20, 4, seed=0)
    loader = StepLoader(sampler)
    first = [batch["groups"].tolist() for batch in loader]
    loader.set_epoch(1)
    second = [batch["groups"].tolist() for batch in loader]
    assert first != second
    assert all(sorted(group for step in epoch for group in step) == list(range(20)) for epoch in (first, second))


def test_a_process_may_have_nothing_in_a_step():
    steps = [batch["groups"].tolist() for batch in StepLoader(StepSampler([5], 1, 0, rank=1, processes=2))]
    assert steps == [[]]
