"""What is said on the way to a pair and its weight: candidates, verdicts, turns of a debate, what they cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.records.core import ErrorType, PreferencePair, Record


class Candidate(Record):
    """One answer of the target model, sampled as a possible dispreferred response."""

    sparse = frozenset({"question"})

    example_id: str
    """The question it answers."""
    index: int
    """0-based number of the sample for this question."""
    text: str
    """The answer as decoded, stripped."""
    seed: int
    """Seed this sample was drawn with."""
    temperature: float
    """Sampling temperature."""
    finished: bool = True
    """False when the length limit cut it before the end-of-sequence token."""
    question: str = ""
    """What it answers where the model asked that itself, on the example's images; empty: the example's question."""


class Verdict(Record):
    """How the judge settled one question: a picked candidate, a written answer, or none."""

    sparse = frozenset({"question"})

    example_id: str
    """The question it is about."""
    judge: str
    """Registered name of the judge."""
    outcome: Literal["picked", "injected", "dropped"]
    """`picked` from the candidates, `injected` by the judge, or `dropped` with a reason."""
    rejected: str
    """The dispreferred answer; empty when dropped."""
    chosen: str = ""
    """The preferred answer, where it is a candidate as well (self-rewarding, critic); empty: the ground truth."""
    question: str = ""
    """What was judged, where the model asked it itself: it has no ground truth; `chosen` is what the judge prefers."""
    candidate_index: int | None = None
    """Index of the picked candidate; None when written or dropped."""
    error_type: ErrorType = "other"
    """What the dispreferred answer gets wrong."""
    conflict: float | None = None
    """Judge's measure of contradiction in [0, 1]; None when the judge gives none."""
    reason: str = ""
    """The judge's explanation, or the countable reason why the question was dropped."""
    raw: str = ""
    """The reply of a language model as received; empty for rules."""
    model: str = ""
    """Name and version of that model, as its server gives them."""
    calls: int = 0
    """Calls it took, repairs and retries included."""
    input_tokens: int = 0
    """Tokens those calls read."""
    output_tokens: int = 0
    """Tokens they wrote."""


class Turn(Record):
    """One turn of the clinical debate."""

    pair_id: str
    """The pair under debate."""
    agent: str
    """Name of the agent that spoke."""
    round: int
    """1-based round."""
    position: int
    """1-based position of this turn in the whole debate."""
    score: float | None
    """Score in [0, 1] standing after this turn; None when the agent abstained."""
    agreed: bool
    """True when the agent kept the previous score."""
    reason: str
    """The agent's reason, or why it abstained."""
    raw: str = ""
    """The agent's reply as received."""
    model: str = ""
    """Name and version of the language model that spoke, as its server gives them; empty for rules."""
    calls: int = 0
    """Calls of a language model that this turn took, repairs included."""
    input_tokens: int = 0
    """Tokens those calls read."""
    output_tokens: int = 0
    """Tokens they wrote."""


class Debated(Record):
    """One pair after its debate; how far a killed stage got is kept in these."""

    pair: PreferencePair
    """With its score, or the reason why there is none."""
    turns: tuple[Turn, ...]
    """Everything that was said."""


class FactorValue(Record):
    """One factor of one pair's weight: a row of `train/factors.parquet`."""

    pair_id: str
    """The pair."""
    factor: str
    """Registered name of the factor."""
    probability: float
    """Of the true answer under the reference, on the image as the factor shows it; mean per token."""
    value: float
    """What the weight is multiplied by."""


class BlindPair(Record):
    """What the model, before it was tuned, makes of a text pair without its image: a row of `blind.parquet`."""

    pair_id: str
    """The pair."""
    example_id: str
    """The question it was made from."""
    image_sha256: str
    """The image that was not shown."""
    chosen: float
    """log pi(y_w | question), nats, summed over the answer, end of turn included."""
    rejected: float
    """log pi(y_l | question)."""
    chosen_tokens: int
    """Tokens of the former."""
    rejected_tokens: int
    """Tokens of the latter."""


class SourceWeights(Record):
    """How the weights of one source of scores came out."""

    source: str
    """Statistics are taken per source: `text` or `visual`; where scores of a kind have several origins, these apart, as
    `text (imported)` and `text (debate)`."""
    pairs: int
    """Scored pairs."""
    mean: float
    """Mean of the raw scores."""
    std: float
    """Population standard deviation of the raw scores."""
    at_lower: int
    """Weights on the lower bound."""
    at_upper: int
    """Weights on the upper bound."""
    warnings: tuple[str, ...] = ()
    """What the user must know of them."""


class JudgedAnswers(Record):
    """Two models' answers to one question as one judge marked them in both orders: a row of `judged.parquet`."""

    example_id: str
    """The question."""
    judge: str
    """As it stands in the recipe, e.g. `chat:med42`."""
    model: str
    """Slot of the one model."""
    against: str
    """Slot of the other, which all are compared with."""
    after: dict[str, float] = Field(default_factory=dict)
    """Criterion -> mark of the former's answer in [0, 1], mean of both orders; empty when unscored."""
    before: dict[str, float] = Field(default_factory=dict)
    """The same of the latter's."""
    turned: bool = False
    """True when either answer was preferred in one of the two orders."""
    reason: str = ""
    """The judge's words where A is the latter's answer and B the former's; empty when unscored."""
    unscored: str = ""
    """Why there are no marks; empty when there are."""
    raw: str = ""
    """Both replies as received."""
    served: str = ""
    """Name and version of the judge's model, as its server gives them."""
    calls: int = 0
    """Calls it took, repairs and retries included."""
    input_tokens: int = 0
    """Tokens those calls read."""
    output_tokens: int = 0
    """Tokens they wrote."""
