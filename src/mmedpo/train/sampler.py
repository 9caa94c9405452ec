"""Which groups an optimizer step takes, and which process computes which of them. Pure but for torch's generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class GroupIndex(Dataset[int]):
    """The trainer's dataset: numbers of groups; the groups themselves never leave the process."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class StepSampler(Sampler[list[int]]):
    """Batches of group numbers for one of several processes.

    Every epoch is a new order; every batch takes `size` groups per process and deals them out so that
    the processes have about as many tokens each. The last batch of an epoch may be smaller, and then a
    process may get none: no group is ever seen twice to fill up.

    Args:
        tokens: size of each group, tokens.
        size: groups per process and batch.
        seed: seed of the orders.
        rank: number of this process.
        processes: how many there are.
    """

    def __init__(self, tokens: Sequence[int], size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.tokens = tokens
        self.size = size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass; the trainer calls it before each epoch, also when it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.tokens) // (self.size * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.tokens), generator=generator).tolist()
        step = self.size * self.processes
        for start in range(0, len(order), step):
            yield deal(order[start : start + step], self.tokens, self.processes)[self.rank]


class StepLoader(DataLoader[int]):
    """Hands the sampler's batches to the trainer as tensors, empty ones included."""

    def __init__(self, sampler: StepSampler) -> None:
        super().__init__(GroupIndex(len(sampler.tokens)), batch_sampler=sampler, collate_fn=_as_tensor)
        self.steps = sampler

    def set_epoch(self, epoch: int) -> None:
        """See `StepSampler.set_epoch`."""
        self.steps.set_epoch(epoch)


def deal(groups: Sequence[int], tokens: Sequence[int], processes: int) -> list[list[int]]:
    """Deals groups out, the largest first, each to the process with the least so far; each hand keeps their order."""
    hands: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    place = {group: position for position, group in enumerate(groups)}
    for group in sorted(groups, key=lambda group: (-tokens[group], place[group])):
        least = min(range(processes), key=lambda process: (load[process], process))
        hands[least].append(group)
        load[least] += tokens[group]
    return [sorted(hand, key=place.__getitem__) for hand in hands]


def _as_tensor(groups: list[int]) -> dict[str, torch.Tensor]:
    return {"groups": torch.tensor(groups, dtype=torch.long)}
