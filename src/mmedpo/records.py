"""The nouns every stage shares. Frozen, validated, and never aware of torch.

Stages do not import each other: they meet in these records and in the tables of the run folder
(`mmedpo.tables` turns a list of records into Parquet and back).

Conventions, once for the whole project: image arrays are `[row, column]`; a box is
`(x0, y0, x1, y1)` in pixels of the original image, x to the right, y down, upper bounds
exclusive; *left* and *right* in any text are the **patient's** (a frontal radiograph shows the
patient's right lung on the left of the picture); heatmaps are float32 in [0, 1] with the height
and width of the original image.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

AnswerType = Literal["closed", "open", "report"]
ErrorType = Literal[
    "presence",
    "abnormality",
    "side",
    "zone",
    "count",
    "size",
    "modality",
    "plane",
    "organ",
    "attribute",
    "other",
]
"""What a question asks for, and so the way in which its answer can go wrong."""

PairKind = Literal["text", "visual"]
"""`text`: two answers to one image (D_t). `visual`: one answer to two images (D_v)."""

NoiseKind = Literal["diffusion", "blank", "crop", "mask-out", "released"]
NoiseRegion = Literal["lesion", "global"]
Protocol = Literal["strict", "released", "llava-med"]


class Record(BaseModel):
    """A frozen record: unknown fields are refused, values are validated once."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Box(Record):
    """An axis-aligned region in pixels of the original image, upper bounds exclusive."""

    x0: float
    """Left edge, pixels."""
    y0: float
    """Top edge, pixels."""
    x1: float
    """Right edge, pixels, exclusive."""
    y1: float
    """Bottom edge, pixels, exclusive."""
    label: str = ""
    """Finding named by the annotator or the tool; empty when unnamed."""


class ImageRef(Record):
    """Where one image lies and what it held when it was indexed."""

    path: str
    """Path relative to the dataset's root, with forward slashes; never leaves that root."""
    sha256: str
    """Hash of the file's bytes: the identity of an image throughout a run."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    perceptual: str = ""
    """Hash of what the picture looks like (`mmedpo.imaging.perceptual`); empty when not computed or featureless."""


class Example(Record):
    """One question on one image, with its ground truth."""

    example_id: str
    """Unique in the run; every join is by this key, never by position."""
    dataset: str
    """Registered name of the dataset it comes from."""
    split: str
    """Name of the split, e.g. `train`, `validation`, `test`, `test-balanced`."""
    image: ImageRef
    """The image the question is about."""
    question: str
    """Plain text, without any image placeholder."""
    answer: str
    """Ground truth, plain text, stripped, never empty."""
    answer_type: AnswerType
    """How the answer is scored: closed (accuracy), open (recall) or report (BLEU, ROUGE-L, METEOR)."""
    error_type: ErrorType = "other"
    """What the question asks for."""
    choices: tuple[str, ...] = ()
    """The alternatives of a closed question, ground truth included; empty when unknown."""
    patient_id: str | None = None
    """Patient (or case) for splits that must not share one; None when the dataset has none."""
    boxes: tuple[Box, ...] = ()
    """Annotated lesion boxes of the image."""
    annotated: bool = False
    """True when boxes (or a mask) were looked for by the annotator: then empty means no lesion."""
    mask_path: str | None = None
    """Binary lesion mask (PNG, non-zero = lesion) relative to the dataset's root."""
    tags: tuple[str, ...] = ()
    """Free labels of the dataset, e.g. `modality:xray`, `organ:chest`; tools read these to know what applies."""


class Grounding(Record):
    """What a visual tool says of one image: where the lesion is and how sure it is."""

    image_sha256: str
    """The image it speaks of."""
    tool: str
    """Registered name of the grounder."""
    heatmap_path: str | None
    """`.npy` (float32, [height, width], 0..1) relative to the run folder; None when unavailable."""
    confidence: float | None
    """The tool's confidence in [0, 1] for the region it marked; None when the tool gives none."""
    calibrated: bool = False
    """True when the confidence was calibrated on held-out labels."""
    boxes: tuple[Box, ...] = ()
    """Regions the tool marked."""
    label: str = ""
    """Finding the tool was asked for or names."""
    reason: str = ""
    """Why no heatmap or no confidence could be given; empty otherwise."""


class Candidate(Record):
    """One answer of the target model, sampled as a possible dispreferred response."""

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


class Verdict(Record):
    """How the judge settled one question: a picked candidate, a written answer, or none."""

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


class NoiseSpec(Record):
    """Everything needed to rebuild one noised image alone, bit for bit (METHOD, Eq. 2)."""

    kind: NoiseKind = "diffusion"
    """`diffusion` is Eq. 2; the others are ablations; `released` mimics the published code."""
    region: NoiseRegion = "lesion"
    """`lesion`: inside the heatmap; `global`: h = 1 everywhere."""
    step: int = 500
    """Noise step k, 0..999 (index into the schedule); xi_bar_k is the share of the signal's variance that is kept."""
    schedule: str = "povid-sigmoid"
    """Name of the schedule that gives the 1000 factors xi."""
    seed: int = 0
    """Seed of eps (and of the crop)."""


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


class PreferencePair(Record):
    """One preference: `chosen` given the image over `rejected` given the (noised) image.

    A text pair has two answers and no noise; a visual pair has the same answer twice and a noised
    image on the rejected side. Raw score and derived weight are stored apart.
    """

    pair_id: str
    """Unique in the run: `<example_id>/<kind>`."""
    example_id: str
    """The question it was made from."""
    kind: PairKind
    """Text (D_t) or visual (D_v)."""
    image: ImageRef
    """The clean image, shown on the chosen side."""
    question: str
    """Plain text without image placeholder."""
    chosen: str
    """Preferred answer y_w."""
    rejected: str
    """Dispreferred answer y_l; equal to `chosen` in a visual pair."""
    rejected_noise: NoiseSpec | None = None
    """How the rejected side's image was noised; None in a text pair, and where it was imported ready-made."""
    rejected_image_path: str | None = None
    """The noised image (PNG) relative to the run folder; None in a text pair."""
    error_type: ErrorType = "other"
    """What the rejected answer gets wrong."""
    origin: str = ""
    """Where the rejected side comes from: `picked`, `injected`, `imported`, a grounder's name."""
    score: float | None = None
    """Raw clinical relevance in [0, 1]; None while unscored."""
    score_source: str = ""
    """What gave the score: `debate`, a grounder's name, `imported`; empty while unscored."""
    unscored_reason: str = ""
    """Why there is no score; empty when there is one."""
    weight: float | None = None
    """s' of Eq. 3 derived from the score by the run's weighting mode; None while not derived."""


class Part(Record):
    """One piece of a message: a text, or the place where an image stands."""

    type: Literal["image", "text"]
    """An `image` part takes the next image of its side."""
    text: str | None = None
    """The text, verbatim; None for an image."""


class Message(Record):
    """One turn of a conversation, in the typed layout that TRL and `datasets` read."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: tuple[Part, ...]
    """Its pieces in order."""

    @property
    def text(self) -> str:
        """Every text of the message, joined; image parts say nothing."""
        return "".join(part.text or "" for part in self.content)

    @property
    def images(self) -> int:
        """How many image parts it holds."""
        return sum(part.type == "image" for part in self.content)


class PreferenceRow(Record):
    """One row of the canonical preference table: what every preference format is read into and written from.

    Nothing is cleaned here: a row holds what its file holds, so that a linter can see it. What a run
    trains on is a `PreferencePair`.
    """

    row_id: str
    """Unique in the table; letters, digits, dot, dash, underscore."""
    pair_type: Literal["text", "visual", "both"]
    """`text`: two answers, one image. `visual`: one answer, two images. `both`: two answers, two images."""
    prompt: tuple[Message, ...]
    """Turns before the answer; the last one is the user's."""
    chosen: tuple[Message, ...]
    """The preferred answer."""
    rejected: tuple[Message, ...]
    """The dispreferred answer."""
    images: tuple[str, ...] = ()
    """Images of the chosen side, relative to the image folder, forward slashes; not yet trusted."""
    rejected_images: tuple[str, ...] = ()
    """Images of the rejected side; empty when they are those of the chosen side."""
    image_hashes: tuple[str, ...] = ()
    """SHA-256 of the files of `images`, where they were looked at; otherwise empty."""
    rejected_image_hashes: tuple[str, ...] = ()
    """SHA-256 of the files of `rejected_images`, where they were looked at; otherwise empty."""
    score: float | None = None
    """Raw clinical relevance in [0, 1]; None when there is none."""
    unscored_reason: str = ""
    """Why there is no score; empty when there is one."""
    weight: float | None = None
    """Weight in the loss, where the file gives one apart from the score."""
    example_id: str = ""
    """The question it was made from, where it could be joined to a dataset; otherwise empty."""
    dataset: str = ""
    """Registered name of that dataset."""
    split: str = ""
    """The split of that question."""
    origin: str = ""
    """Where the rejected side comes from: `picked`, `injected`, a grounder's name; empty when unknown."""
    source: str = ""
    """`<format>:<file name>` it was imported from."""
    source_row: int = 0
    """Position in that file, counted from 0."""
    extra: str = ""
    """Columns of the source that have no place here, as a JSON object; empty when there are none."""

    @property
    def question(self) -> str:
        """Text of the last user turn, stripped."""
        return next((turn.text.strip() for turn in reversed(self.prompt) if turn.role == "user"), "")

    @property
    def chosen_text(self) -> str:
        """The preferred answer as text, verbatim."""
        return "".join(turn.text for turn in self.chosen)

    @property
    def rejected_text(self) -> str:
        """The dispreferred answer as text, verbatim."""
        return "".join(turn.text for turn in self.rejected)


class Prediction(Record):
    """One generated answer of one model to one question."""

    example_id: str
    """The question it answers."""
    model: str
    """Which model answered: `base` or `tuned`."""
    text: str
    """The answer as decoded, stripped."""
    finished: bool = True
    """False when the length limit cut it."""


class Drop(Record):
    """Something that was left out, with the reason under which it is counted."""

    stage: str
    """The stage that dropped it."""
    item: str
    """Its key: an example id, a pair id, or a file and row."""
    reason: str
    """Short, countable reason, e.g. `unreadable-image`."""
    detail: str = ""
    """What exactly was met."""
