"""Settings of preference fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Named, Settings, refuse_set
from mmedpo.records import PairKind

Part = Literal["language_model", "projector", "vision_tower"]
"""Parts of a vision-language model that can be trained."""
FINETUNED_PARTS: tuple[Part, ...] = ("language_model", "projector")
"""What the `finetune` stage trains."""
Grouping = Literal["none", "example", "image"]
"""What stays together in one optimizer step."""
Form = Literal["given", "joint", "reversed", "mirrored", "causal", "consistent", "inherent", "own", "composite"]
"""Which answers under which images a term compares; see `mmedpo.train.forms`."""
Tokens = Literal["all", "edited"]
"""Which tokens of an answer count: all, or those in which the right and the wrong answer differ."""

LARGEST_FACTOR = 100.0
"""No factor of a weight may be larger."""


class LoraSettings(Settings):
    """The adapter on every linear layer of the trained parts."""

    rank: int = Field(128, ge=1, le=4096)
    """r (paper: 128); at 4,096, the width of a 7B model, an adapter is as large as the layer it stands beside."""
    alpha: int = Field(256, ge=1, le=1_000_000)
    """Scale (paper: 256)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout inside the adapter."""


class WatchSettings(Settings):
    """What is watched while training, and when to stop."""

    every: int = Field(20, ge=1, le=1_000_000_000)
    """Optimizer steps between two looks at the validation probe."""
    questions: int = Field(240, ge=1, le=1_000_000)
    """Validation questions answered by greedy decoding at each look (reports only where there is nothing else)."""
    collapse_drop: float = Field(0.5, gt=0, le=1)
    """Stop when the probe's score falls below this share of its value at the start."""
    collapse_logprob: float = Field(3.0, gt=0, le=1e6)
    """Stop when log pi(y_w) per token fell by more than this since the start, nats."""
    keep: Literal["best", "last"] = "best"
    """Which adapter is the result: the best on the validation probe, or the last."""


class TermSettings(Settings):
    """One term of the objective: weight * mean over the pairs of loss (METHOD section 4)."""

    loss: str = "sigmoid"
    """Registered name, see docs/training.md: sigmoid, ipo, margin, nll ... It is looked up when a run that trains
    starts, not when the recipe is read: losses load torch."""
    weight: float = Field(1.0, gt=0, le=1e6)
    """lambda, the share of this term."""
    beta: float | None = Field(None, gt=0, le=1000)
    """Temperature of this term; None: `train.beta`."""
    delta: float | None = Field(None, ge=-1000, le=1000)
    """Margin subtracted inside the sigmoid; None: 0."""
    label_smoothing: float | None = Field(None, ge=0, lt=0.5)
    """Assumed share of flipped preferences (sigmoid: conservative DPO; robust); None: 0."""
    margin: float | None = Field(None, gt=0, le=1000)
    """Nats by which a bounded loss (margin, image-margin) wants the one ahead of the other; None: 1."""
    per: Literal["answer", "token"] | None = None
    """nll: summed over the answer, or its mean per token; None: per token."""
    scale: float | None = Field(None, ge=0, le=1)
    """asymmetric: share of the rejected reward that counts; None: 0.5."""
    penalty: float | None = Field(None, ge=0, le=1000)
    """positive: how much a chosen answer below the reference costs; None: 50."""
    mix: float | None = Field(None, ge=0, le=1)
    """token-kl: share of KL(reference || policy), the rest is KL(policy || reference); None: 0.5."""
    weighted: bool | None = None
    """Whether the pair's weight multiplies this term; None: as the loss has it (regularisers are not weighted)."""
    kinds: tuple[PairKind, ...] = Field(("text", "visual", "answer"), min_length=1)
    """Kinds of pairs this term looks at, as far as they hold what it compares; the mean is over all pairs all the
    same."""
    form: Form = "given"
    """What it compares: the two sides of a pair as they stand (`given`), or, of visual pairs, other answers and images;
    those need the wrong answer of the same question (a text pair)."""
    tokens: Tokens = "all"
    """`edited`: only the answer tokens in which the right and the wrong answer differ."""
    after: float = Field(0.0, ge=0, lt=1)
    """Share of the optimizer steps after which this term begins to count: a second stage of training."""
    until: float = Field(1.0, gt=0, le=1)
    """Share of the optimizer steps after which it counts no more."""

    @model_validator(mode="after")
    def _counts_at_all(self) -> Self:
        if self.after >= self.until:
            raise ValueError(f"after={self.after:g} until={self.until:g}: the term never counts; after must be smaller")
        return self

    def counts(self, progress: float) -> bool:
        """Whether it counts at this share of the steps."""
        return self.after <= progress < self.until


class TrainSettings(Settings):
    """Clinical-aware preference fine-tuning (Eq. 3)."""

    method: Literal["preference", "sft"] = "preference"
    """Preference objective on the pairs, or supervised fine-tuning on the chosen answers (same examples)."""
    objective: tuple[TermSettings, ...] = Field((TermSettings(),), min_length=1)
    """Terms that are added up; the default alone is Eq. 3."""
    beta: float = Field(0.1, gt=0, le=1000)
    """Temperature of the implicit reward (the paper writes alpha)."""
    reference: Literal["previous", "first"] = "previous"
    """pi_0 of several rounds: the model that the round before came to (iterative DPO), or always the one before the
    first round."""
    factors: tuple[Annotated[str, Named("factor")], ...] = ()
    """Registered names of what multiplies the weight of a question's pairs, measured with the reference: `necessity`,
    `hardness`; see `mmedpo.train.factors`."""
    factor_bounds: tuple[float, float] = (0.5, 2.0)
    """Each factor is divided by its mean, clipped to these, and divided by its mean again."""
    edited_token_weight: float = Field(1.0, gt=0, le=1000)
    """Weight of answer tokens in which the two sides of a text pair differ (DDPO of RLHF-V); others have 1."""
    tune: Literal["lora", "full"] = "lora"
    """Adapter on every linear layer of `parts`, or all their weights."""
    parts: tuple[Part, ...] = Field(("language_model",), min_length=1)
    """What is trained; the rest is frozen, and computed once."""
    lora: LoraSettings = LoraSettings()
    """The adapter."""
    learning_rate: float = Field(1e-7, gt=0, le=10)
    """Peak (paper: 1e-7 for 7B with LoRA)."""
    epochs: float = Field(3.0, gt=0, le=100_000)
    """Passes over the pairs."""
    grouping: Grouping = "example"
    """What stays together in a step: `none` pairs at random (the paper's sampling); `example` all pairs of a
    question (the same randomness over questions, and the preferred branch is computed once); `image` all pairs
    of an image (the fastest; neighbouring questions are no longer drawn independently)."""
    group_questions: int | None = Field(None, ge=2, le=100_000)
    """Most questions of an image in one group, with grouping `image`; an image with more makes several groups,
    drawn by the seed. None: all of them."""
    batch_groups: int = Field(4, ge=1, le=100_000)
    """Groups (see `grouping`) per optimizer step, process and accumulation; each brings all its pairs."""
    gradient_accumulation: int = Field(1, ge=1, le=100_000)
    """Batches per optimizer step; the loss stays the mean over all pairs of the step."""
    max_length: int = Field(1024, ge=1, le=10_000_000)
    """Longest sequence, tokens; a longer pair is refused, image tokens are never cut."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """Learning-rate schedule."""
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    """Share of the steps that warm up."""
    weight_decay: float = Field(0.0, ge=0, le=100)
    """AdamW."""
    max_gradient_norm: float = Field(1.0, gt=0, le=1e9)
    """Clip of the gradient's norm."""
    checkpoint_every: int = Field(50, ge=1, le=1_000_000_000)
    """Optimizer steps between checkpoints; a killed run resumes from the last one."""
    report_to: tuple[str, ...] = ()
    """Experiment trackers of transformers, e.g. tensorboard; the run's own log is always written."""
    watch: WatchSettings = WatchSettings()
    """Validation probe and collapse."""

    @property
    def result(self) -> str:
        """Folder of the run that training writes: an adapter, or a whole checkpoint."""
        return "adapter" if self.tune == "lora" else "tuned"

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.method == "sft":
            idle = {"beta", "objective", "edited_token_weight", "factors"}
            refuse_set(self, idle, "train", "train.method is 'sft'")
        if not self.factors:
            refuse_set(self, {"factor_bounds"}, "train", "train.factors is empty")
        for start in sorted({0.0, *(term.until for term in self.objective if term.until < 1)}):
            if not any(term.counts(start) for term in self.objective):
                raise ValueError(f"train.objective: no term counts from {start:g} of the steps on; see after and until")
        low, high = self.factor_bounds
        if not 0 < low <= 1 <= high <= LARGEST_FACTOR:
            raise ValueError(
                f"train.factor_bounds is [{low:g}, {high:g}]; allowed: 0 < lower <= 1 <= upper <= {LARGEST_FACTOR:g}"
            )
        if self.grouping != "image":
            refuse_set(self, {"group_questions"}, "train", f"train.grouping is {self.grouping!r}")
        if self.tune == "full":
            refuse_set(self, {"lora"}, "train", "train.tune is 'full'")
        return self


class FinetuneSettings(Settings):
    """Supervised fine-tuning of the whole language side *before* curation; its result becomes the base."""

    epochs: int = Field(10, ge=1, le=100_000)
    """Passes over the training questions."""
    learning_rate: float = Field(5e-4, gt=0, le=10)
    """Peak, AdamW, cosine."""
    batch_images: int = Field(16, ge=1, le=100_000)
    """Images (with all their questions) per step."""
    questions: bool = False
    """Whether it learns to ask as well: the questions themselves, where it is told to ask one (STLLaVA-Med)."""
    lora: LoraSettings | None = None
    """An adapter on language model and projector, merged into the result: as little memory as preference tuning takes.
    None: all their weights."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    checkpoint_every: int = Field(50, ge=1, le=1_000_000_000)
    """Optimizer steps between checkpoints; a killed run resumes from the last one."""

    def as_training(self, longest: int) -> TrainSettings:
        """The stage in the terms of training.

        Args:
            longest: sequence, tokens.
        """
        adapter = {} if self.lora is None else {"lora": self.lora}
        return TrainSettings(
            method="sft",
            tune="full" if self.lora is None else "lora",
            parts=FINETUNED_PARTS,
            grouping="image",
            batch_groups=self.batch_images,
            epochs=self.epochs,
            max_length=longest,
            activation_checkpointing=self.activation_checkpointing,
            **adapter,
        )
