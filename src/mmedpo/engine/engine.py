"""The engine: how a model is asked for log-probabilities, checked once, then used everywhere.

Training, reference, probes and candidate ranking all ask one `Engine`. It packs branches into tries
where the model was shown to be exact under packing, compares both ways on real branches before a run
relies on it, and falls back to plain sequences otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mmedpo.config import EngineSettings, RunSettings
from mmedpo.engine.answers import Asked, Bounds, decode_answers, decodes_by_likelihood, decodes_plainly
from mmedpo.engine.attention import TRIE_ATTENTION, register_trie_attention
from mmedpo.engine.bins import fill_bins
from mmedpo.engine.branches import Branch
from mmedpo.engine.features import FeatureStore
from mmedpo.engine.layout import branch_symbols
from mmedpo.engine.logprobs import (
    TokenLogprobs,
    image_columns,
    missing_inputs,
    packed_logprobs,
    pixel_logprobs,
    plain_logprobs,
)
from mmedpo.engine.rebuild import Rebuilding
from mmedpo.engine.support import layer_windows, trie_refusal
from mmedpo.errors import TrainingError
from mmedpo.models.generation import Decoding, Generated, read_answer, refuse_too_long
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.progress import Advance

Form = Literal["packed", "dense", "plain"]
"""How branches become forward passes: tries with prefix-group attention, tries with one dense mask, or rows."""

MAX_TOKENS = "engine.max_tokens"
"""Name of the setting that bounds a forward pass."""


ENOUGH_ON_CPU = 512
"""Tokens at which a processor's matrix products are as fast as they get; a GPU wants passes as large as fit."""


class Agreement(NamedTuple):
    """How far two forms are apart on the same branches."""

    logprob: float
    """Largest difference of one token's log-probability, nats."""
    gradient: float
    """Norm of the gradients' difference over the norm of the plain gradient; 0 where nothing is trained."""

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether the difference is rounding in arithmetic of this type."""
        logprob, gradient = (1e-3, 1e-3) if dtype == torch.float32 else (0.25, 0.1)
        return self.logprob <= logprob and self.gradient <= gradient


class Engine:
    """Log-probabilities of branches under one model.

    Args:
        vlm: model and tokenizer; with or without adapter.
        features: its image features.
        max_tokens: most tokens of one forward pass.
        form: `packed` unless asked otherwise; see `settle`.
        autocast: arithmetic type of the forward pass where it differs from the weights'; None: the weights'.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        features: FeatureStore,
        max_tokens: int,
        form: Form = "packed",
        autocast: torch.dtype | None = None,
        kept_tokens: int = 16_384,
    ) -> None:
        self.vlm = vlm
        self.features = features
        self.max_tokens = max_tokens
        self.autocast = autocast
        self.kept_tokens = kept_tokens
        self.form: Form = form
        self.settled = False
        """Whether the form was decided on real branches."""
        self._checked = False
        register_trie_attention()
        # Without the `trie` argument this is SDPA attention: generation and plain sequences do not change.
        vlm.base.set_attn_implementation({"text_config": TRIE_ATTENTION})

    @classmethod
    def from_settings(cls, vlm: VisionLanguageModel, features: FeatureStore, settings: RunSettings) -> Engine:
        """The engine a run asks for."""
        return cls(
            vlm,
            features,
            settings.engine.max_tokens,
            "plain" if settings.engine.packing == "off" else "packed",
            torch.bfloat16 if settings.model.autocast else None,
            settings.engine.kept_tokens,
        )

    def logprobs(self, branches: Sequence[Branch], model: Any = None) -> TokenLogprobs:
        """Log-probabilities of distinct branches in one forward pass, differentiable.

        Args:
            branches: at least one.
            model: the module to call instead of `vlm.model`, e.g. its data-parallel wrapper.
        """
        with self._arithmetic():
            return self._ask(self.form, branches, model)

    def _ask(self, form: Form, branches: Sequence[Branch], model: Any = None) -> TokenLogprobs:
        if form == "plain":
            return plain_logprobs(self.vlm, branches, self.features, model)
        with Rebuilding() if torch.is_grad_enabled() else nullcontext():
            return packed_logprobs(self.vlm, branches, self.features, model, dense=form == "dense")

    @torch.no_grad()
    def likeliest(self, branches: Sequence[Branch]) -> dict[Branch, tuple[int, ...]]:
        """Of distinct branches, the likeliest token at each place of the answer, behind the true ones."""
        found: dict[Branch, tuple[int, ...]] = {}
        for batch, said in self._passes(branches):
            found.update(zip(batch, _likeliest(said), strict=True))
        return found

    @torch.no_grad()
    def measure(self, branches: Sequence[Branch], advance: Advance | None = None) -> TokenLogprobs:
        """The same without gradients for any number of branches, on the CPU; each distinct one is computed once."""
        return self._measure(branches, lambda batch, said: None, advance)

    @torch.no_grad()
    def measure_and_answer(
        self, branches: Sequence[Branch], asked: Sequence[Asked], decoding: Decoding
    ) -> tuple[TokenLogprobs, list[Generated]]:
        """`measure` of answers, and beside each the model's own greedy one to the same question, as `answers` gives it.

        Where the likeliest token is the given answer's at every place, its end included, that answer is the greedy one
        and nothing is decoded.

        Args:
            branches: one per question, with any answer.
            asked: the questions.
            decoding: greedy.

        Raises:
            ModelError: a prompt and its answer exceed the model's context.
        """
        if branches:
            refuse_too_long(self.vlm, [branch.prompt for branch in branches], decoding)
        same: set[Branch] = set()

        def compare(batch: Sequence[Branch], said: TokenLogprobs) -> None:
            same.update(branch for branch, own in zip(batch, _likeliest(said), strict=True) if own == branch.response)

        measured = self._measure(branches, compare)
        # Answers are decoded in the arithmetic of the weights, and may be chosen otherwise than by the likeliest token.
        if self.autocast is not None or not decodes_by_likelihood(self.vlm):
            same.clear()
        fits = [branch in same and len(branch.response) <= decoding.max_new_tokens for branch in branches]
        decoded = iter(self.answers([one for one, known in zip(asked, fits, strict=True) if not known], decoding))
        return measured, [
            read_answer(self.vlm, branch.response) if known else next(decoded)
            for branch, known in zip(branches, fits, strict=True)
        ]

    def _measure(
        self,
        branches: Sequence[Branch],
        see: Callable[[Sequence[Branch], TokenLogprobs], None],
        advance: Advance | None = None,
    ) -> TokenLogprobs:
        # Branches on one image, and to one question, stand together.
        distinct = sorted(dict.fromkeys(branches), key=lambda b: ([str(v) for v in b.views], b.prompt, b.response))
        first = next((branch for branch in distinct if branch.views), None)
        if first is not None:
            self.check_features(first)
        known: dict[Branch, Tensor] = {}
        for batch, said in self._passes(distinct):
            known.update(zip(batch, torch.split(said.values.cpu(), said.tokens.tolist()), strict=True))
            see(batch, said)
            if advance:
                advance(len(known), len(distinct))
        tokens = torch.tensor([len(branch.response) for branch in branches])
        owner = torch.arange(len(branches)).repeat_interleave(tokens)
        values = torch.cat([known[branch] for branch in branches]) if branches else torch.empty(0)
        return TokenLogprobs(values, owner, tokens)

    def _passes(self, branches: Sequence[Branch]) -> Iterator[tuple[list[Branch], TokenLogprobs]]:
        """Distinct branches, forward pass by forward pass."""
        for part in self.bins([[branch] for branch in branches]):
            batch = [branches[number] for number in part]
            yield batch, self.logprobs(batch)

    def bins(self, units: Sequence[Sequence[Branch]]) -> list[list[int]]:
        """Numbers of the units, forward pass by forward pass.

        Args:
            units: branches that must be computed together, each unit at least one.

        Raises:
            TrainingError: a unit that no forward pass may hold; the message names the setting.
        """
        if self.form == "plain":
            return self._plain_bins(units)
        flat = [branch for unit in units for branch in unit]
        whole = self.vlm.family.both_ways == "prompt"
        parts = iter(branch_symbols(flat, partial(image_columns, self.vlm), whole=whole)[0])
        enough = ENOUGH_ON_CPU if self.vlm.device.type == "cpu" else None
        return fill_bins([[next(parts) for _ in unit] for unit in units], self.max_tokens, MAX_TOKENS, enough)

    def _plain_bins(self, units: Sequence[Sequence[Branch]]) -> list[list[int]]:
        """Rows are as wide as the longest, so a bin costs rows times width."""
        bins: list[list[int]] = []
        rows = width = 0
        for number, unit in enumerate(units):
            longest = max(len(branch.prompt) + len(branch.response) - 1 for branch in unit)
            rows, width = rows + len(unit), max(width, longest)
            if not bins or rows * width > self.max_tokens:
                rows, width = len(unit), longest
                bins.append([])
                if rows * width > self.max_tokens:
                    raise TrainingError(
                        f"{rows} answers that must be computed together take {rows * width} tokens as plain sequences, "
                        f"more than {MAX_TOKENS}={self.max_tokens}; raise {MAX_TOKENS}"
                    )
            bins[-1].append(number)
        return bins

    @torch.no_grad()
    def answers(
        self, asked: Sequence[Asked], decoding: Decoding, seeds: Sequence[int] | None = None
    ) -> list[Generated]:
        """One decoded answer per question, in order; what prompts share is computed once where that is exact.

        In the arithmetic of the weights, as answers are decoded anywhere else.

        Args:
            asked: any number; a question that is there K times gets K answers.
            decoding: limits and temperature.
            seeds: one per question, which alone its sample depends on; needed when the temperature is above 0.

        Raises:
            ModelError: a prompt and its answer exceed the model's context.
        """
        views = list(dict.fromkeys(view for question in asked for view in question.views))
        images = dict(zip(views, self.features(views), strict=True))
        shared = self.form == "packed" and not trie_refusal(self.vlm.text_config) and decodes_plainly(self.vlm)
        bounds = Bounds(self.max_tokens, self.kept_tokens)
        return decode_answers(self.vlm, asked, images, decoding, seeds, bounds, shared=shared)

    @torch.no_grad()
    def settle_on(self, asked: Sequence[Asked], settings: EngineSettings, message: Callable[[str], None]) -> None:
        """`settle`, once, for what only decodes answers: on questions with an answer that stands for any."""
        if self.settled:
            return
        branches = []
        for views, question in dict.fromkeys(asked):
            sizes = tuple(image.size for image in self.features(views))
            prompt, answer = self.vlm.prompt_ids(question, sizes), self.vlm.answer_ids("yes")
            branches.append(Branch(views, tuple(prompt), tuple(answer), sizes))
        self.settle(branches, strict=settings.packing == "strict", message=message)

    @torch.no_grad()
    def check_features(self, branch: Branch) -> None:
        """Once per engine: a branch from its image's features against the same from pixels.

        Packed and plain agree also where both lack an input that the model needs. From pixels the model
        gets everything by its own code.

        Raises:
            TrainingError: they differ by more than rounding.
        """
        if self._checked:
            return
        left_out = missing_inputs(self.vlm, branch)
        if left_out:
            raise TrainingError(
                f"{self.vlm.name!r} takes {', '.join(left_out)}, which its family {type(self.vlm.family).__name__!r} "
                "does not give: results would be wrong without any error; use another checkpoint"
            )
        with self._arithmetic():
            kept = self._ask("plain", [branch]).values
            own = pixel_logprobs(self.vlm, branch, self.features).values
        apart = Agreement(float((kept - own).abs().max()), 0.0)
        if not apart.holds(self.autocast or self.vlm.base.dtype):
            raise TrainingError(
                f"{self.vlm.name!r}: log-probs from image features and from pixels differ by {apart.logprob:.2g} nats; "
                f"family {type(self.vlm.family).__name__!r} leaves out an input of this model: use another checkpoint"
            )
        self._checked = True

    def settle(self, branches: Sequence[Branch], *, strict: bool, message: Callable[[str], None]) -> Agreement | None:
        """Decides the form before a run relies on it: packed where it is exact, else dense, else plain.

        Args:
            branches: of the run's first batch, as many as one forward pass holds.
            strict: stop instead of falling back.
            message: told, in one line, of a fallback.

        Returns:
            How far packed and plain were apart; None where packing was not tried.

        Raises:
            TrainingError: packing does not hold and `strict` is set, or features are not those of the pixels.
        """
        self.settled = True
        first = next((branch for branch in branches if branch.views), None)
        if first is not None:
            self.check_features(first)
        if self.form == "plain":
            return None
        agreement, said = None, ""
        reason = trie_refusal(self.vlm.text_config)
        # What an earlier look found not to hold is not tried again.
        for form in () if reason else self._shared_forms()[self.form == "dense" :]:
            self.form = form
            agreement = self.compare(branches)
            if agreement.holds(self.autocast or self.vlm.base.dtype):
                if said:
                    message(f"prefixes are shared by one dense mask, which takes more memory: {said}")
                return agreement
            said = said or (
                f"packed and plain log-probs differ by {agreement.logprob:.2g} nats, "
                f"gradients by {agreement.gradient:.2g} of their norm"
            )
        reason = reason or said
        if strict:
            raise TrainingError(
                f"prefix sharing is off for {self.vlm.name!r}: {reason}; set engine.packing=off to go on"
            )
        message(f"prefix sharing is off: {reason}; every answer is computed as a sequence of its own")
        self.form = "plain"
        return agreement

    def _shared_forms(self) -> tuple[Form, ...]:
        """Packed; and dense, for a model that takes a mask as it is and yet does not hand our attention on."""
        windows = layer_windows(self.vlm.text_config, self.vlm.context_length)
        alike = len(set(windows.values())) == 1
        return ("packed", "dense") if alike or self.vlm.family.masks_by_kind else ("packed",)

    def compare(self, branches: Sequence[Branch]) -> Agreement:
        """Log-probabilities and gradients of the current form against plain sequences, on a few parameters.

        Without dropout, which would draw other neurons for each; training turns it on again.
        """
        self.vlm.model.eval()
        trained = [p for p in self.vlm.model.parameters() if p.requires_grad]
        # A few of them, from the first layer to the last: all would need a second copy of every gradient.
        # An odd step, for an adapter's halves alternate, and one of them has no gradient at the start.
        chosen = trained[:: len(trained) // 16 | 1]
        generator = torch.Generator().manual_seed(0)
        lengths = [len(branch.response) for branch in branches]
        coefficients = torch.split(torch.randn(sum(lengths), generator=generator), lengths)
        packed, packed_gradients = self._derive(self.form, branches, coefficients, chosen)
        plain, plain_gradients = packed.new_zeros(0), [torch.zeros_like(p) for p in chosen]
        for branch, coefficient in zip(branches, coefficients, strict=True):
            values, gradients = self._derive("plain", [branch], [coefficient], chosen)
            plain = torch.cat([plain, values])
            plain_gradients = [total + part for total, part in zip(plain_gradients, gradients, strict=True)]
        norm = sum(float(gradient.norm()) ** 2 for gradient in plain_gradients) ** 0.5
        apart = sum(float((a - b).norm()) ** 2 for a, b in zip(packed_gradients, plain_gradients, strict=True)) ** 0.5
        return Agreement(float((packed - plain).abs().max()), apart / norm if norm else 0.0)

    def _derive(
        self, form: Form, branches: Sequence[Branch], coefficients: Sequence[Tensor], parameters: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Token log-probs, and the gradient of their sum with the given coefficients."""
        with self._arithmetic():
            values = self._ask(form, branches).values
        if not parameters:
            return values.detach(), []
        total = (values * torch.cat(list(coefficients)).to(values.device)).sum()
        return values.detach(), list(torch.autograd.grad(total, parameters, materialize_grads=True))

    def _arithmetic(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.vlm.device.type, self.autocast) if self.autocast else nullcontext()


def _likeliest(said: TokenLogprobs) -> list[tuple[int, ...]]:
    """Of each branch of one pass, the likeliest token at each place of its answer."""
    assert said.logits is not None
    tokens = said.logits.argmax(-1)[said.node].cpu()
    return [tuple(answer.tolist()) for answer in torch.split(tokens, said.tokens.tolist())]
