"""Eq. 3 written down plainly: independent sequences, stock forward, nothing shared.

Not a contestant. Its losses say what TRL and our engine have to give.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.throughput import models
from bench.throughput.side import Memory, Options, SideResult, synchronize, versions
from bench.throughput.workloads import Pair, Workload


def run(
    folder: Path, workload: Workload, *, steps: int, checkpointing: bool, device: str, options: Options
) -> SideResult:
    """Trains `steps` optimizer steps, `micro_pairs` (default 1) pairs per forward."""
    from peft import get_peft_model

    if checkpointing:
        raise ValueError("the plain side has no activation checkpointing; run it with --checkpointing off")
    base = models.load_base(folder, options.dtype, device)
    torch.manual_seed(options.seed)
    model: Any = get_peft_model(base, models.adapter_config(base, options.rank, options.alpha))
    model.eval()
    scorer = _Scorer(model, models.load_processor(folder), workload, device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=options.learning_rate, weight_decay=0.0)
    memory = Memory(device)
    losses, seconds, counts = [], [], []
    micro = options.micro_pairs or 1
    for pairs in workload.steps(steps):
        begin = time.perf_counter()
        scorer.tokens, loss_sum = 0, 0.0
        for start in range(0, len(pairs), micro):
            part = pairs[start : start + micro]
            with torch.no_grad(), model.disable_adapter():
                reference = scorer.margins(part)
            margin = scorer.margins(part) - reference
            weights = torch.tensor([pair.weight for pair in part], device=device)
            loss = -(weights * F.logsigmoid(options.beta * margin)).sum() / len(pairs)
            loss.backward()
            loss_sum += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trainable, options.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        synchronize(device)
        losses.append(loss_sum)
        seconds.append(time.perf_counter() - begin)
        counts.append(scorer.tokens // 2)
    return SideResult(
        losses=losses,
        seconds=seconds,
        tokens=counts,
        once_seconds=0.0,
        peak_memory=memory.peak(),
        memory_before=memory.before,
        settings=f"plain torch, {micro} pair(s) per forward, reference in every step",
        versions=versions("torch", "transformers", "peft"),
    )


class _Scorer:
    """Log-probabilities of answers, one padded batch at a time."""

    def __init__(self, model: Any, processor: Any, workload: Workload, device: str) -> None:
        self.model, self.processor, self.workload, self.device = model, processor, workload, device
        self.tokens = 0

    def margins(self, pairs: list[Pair]) -> Tensor:
        """log pi(chosen) - log pi(rejected) of each pair, [pairs]."""
        chosen = self._logprobs([(pair.image, pair.question, pair.chosen) for pair in pairs])
        rejected = self._logprobs([(pair.rejected_image, pair.question, pair.rejected) for pair in pairs])
        return chosen - rejected

    def _logprobs(self, rows: list[tuple[str, str, str]]) -> Tensor:
        tokenizer = self.processor.tokenizer
        image_id = tokenizer.convert_tokens_to_ids(models.IMAGE)
        sequences, answers = [], []
        for _, question, answer in rows:
            prompt = tokenizer(f"{question}{models.ASSISTANT}", add_special_tokens=False)["input_ids"]
            target = tokenizer(answer + models.EOS, add_special_tokens=False)["input_ids"]
            sequences.append([image_id] * self.workload.image_tokens + prompt + target)
            answers.append(len(target))
        longest = max(map(len, sequences))
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids in sequences])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences])
        pictures = [self.workload.pixels(image) for image, _, _ in rows]
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        self.tokens += ids.numel()
        logits = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            pixel_values=pixels.to(self.device, self.model.dtype),
        ).logits
        sums = []
        for row, (sequence, answer_length) in enumerate(zip(sequences, answers, strict=True)):
            end = len(sequence)
            predicted = logits[row, end - answer_length - 1 : end - 1].float().log_softmax(-1)
            targets = torch.tensor(sequence[end - answer_length :], device=self.device)
            sums.append(predicted.gather(1, targets[:, None]).sum())
        return torch.stack(sums)
