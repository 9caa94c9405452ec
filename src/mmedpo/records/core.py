"""What every stage shares: examples, groundings, pairs, drops."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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

PairKind = Literal["text", "visual", "answer"]
"""`text`: two answers to one image (D_t). `visual`: one answer to two images (D_v). `answer`: the truth alone."""


NoiseRegion = Literal["lesion", "organ", "global"]


IMAGE_PLACE = "<image>"
"""Where an image stands in a question, if several stand between its words."""
ASK = "Ask a question about this image."
"""What a model is told that is to ask itself (STLLaVA-Med)."""


def question_text(text: str, images: int) -> str:
    """A question as records hold it: without the places of its images, unless several stand between its words."""
    plain = text.replace(IMAGE_PLACE, "").strip()
    return text.strip() if images > 1 and plain not in text else plain


def places_of(question: str, images: int) -> tuple[str | None, ...]:
    """A question as a prompt shows it: its texts, and None where an image stands.

    Images stand before the question, or at its places where it has one for each of several.
    """
    pieces = question.split(IMAGE_PLACE)
    if images == 1 or len(pieces) != images + 1:
        pieces = [*[""] * images, question]
    parts = [part for piece in pieces for part in (piece, None)][:-1]
    return tuple(part for part in parts if part != "")


class Record(BaseModel):
    """A frozen record: unknown fields are refused, values are validated once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sparse: ClassVar[frozenset[str]] = frozenset()
    """Fields that a table has no column for where no record of it fills them."""


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
    """One question on one image or several, with its ground truth."""

    sparse = frozenset({"other_images", "organs", "organ_mask_path"})

    example_id: str
    """Unique in the run; every join is by this key, never by position."""
    dataset: str
    """Registered name of the dataset it comes from."""
    split: str
    """Name of the split, e.g. `train`, `validation`, `test`, `test-balanced`."""
    image: ImageRef
    """The image the question is about; of several the one that boxes, mask and `view:` tag speak of. Shown first."""
    other_images: tuple[ImageRef, ...] = ()
    """What is shown behind it, in this order: another view, a prior study, further slices."""
    question: str
    """Plain text; images stand before it, or each at an `<image>` where several stand between its words."""
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
    """Lesion mask (PNG) relative to the dataset's root: any colour but black, or `#values=3+7` after the name."""
    organs: tuple[Box, ...] = ()
    """Annotated organs of the image; never a lesion."""
    organ_mask_path: str | None = None
    """Mask of the organs and of the lesions in them, as `mask_path`; it counts inside the boxes of `organs`."""
    tags: tuple[str, ...] = ()
    """Free labels of the dataset, e.g. `modality:xray`, `organ:chest`; tools read these to know what applies."""

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Every image, in the order in which a model is shown them."""
        return (self.image, *self.other_images)


class Grounding(Record):
    """What a visual tool says of one image: where the lesion is and how sure it is."""

    sparse = frozenset({"organ_path", "organ", "organ_tool", "anatomy"})

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
    skipped: tuple[str, ...] = ()
    """`TOOL: reason` of every tool of the chain that did not apply to this image."""
    organ_path: str | None = None
    """Map of the organ, stored as the heatmap is; None where none was asked for or found."""
    organ: str = ""
    """What that map marks, e.g. `lung`."""
    organ_tool: str = ""
    """Registered name of the tool that gave it."""
    anatomy: str = ""
    """Who says where the organ lies that the heat was kept inside, or that was mapped, e.g. `chest template`."""


class NoiseSpec(Record):
    """Everything needed to rebuild one noised image alone, bit for bit (METHOD section 1, Eq. 2)."""

    kind: str = "diffusion"
    """Registered name; `diffusion` is Eq. 2, the others are ablations, `released` mimics the published code."""
    region: NoiseRegion = "lesion"
    """`lesion`: inside the heatmap; `organ`: inside the map of the organ; `global`: h = 1 everywhere."""
    step: int = 500
    """Noise step k, 0..999 (index into the schedule); xi_bar_k is the share of the signal's variance that is kept."""
    schedule: str = "povid-sigmoid"
    """Name of the schedule that gives the 1000 factors xi."""
    seed: int = 0
    """Seed of eps (and of the crop)."""
    organ: str = ""
    """Organ that was noised; empty for another region."""
    tissue: str = ""
    """Rule (`mmedpo.imaging.tissue`) that told tissue from background, which stays as it is; empty: none."""


class NoisedView(Record):
    """The noised view of one image, which all questions on it share."""

    image_sha256: str
    """The image it was made from."""
    noise: NoiseSpec | None = None
    """How it was noised; None where it was not."""
    path: str = ""
    """The view (PNG) relative to the run folder; empty where there is none."""
    reason: str = ""
    """Why there is no view; empty when there is one."""


class PreferencePair(Record):
    """One preference: `chosen` given the image over `rejected` given the (noised) image.

    A text pair has two answers and no noise; a visual pair has the same answer twice and a noised
    image on the rejected side, in place of one of its images; an `answer` has nothing on that side. Raw score
    and derived weight are stored apart.
    """

    sparse = frozenset({"other_images", "noised_image"})

    pair_id: str
    """Unique in the run: `<example_id>/<kind>`."""
    example_id: str
    """The question it was made from."""
    kind: PairKind
    """Text (D_t), visual (D_v), or the ground truth alone."""
    image: ImageRef
    """The clean image, shown on the chosen side; of several the first."""
    other_images: tuple[ImageRef, ...] = ()
    """What is shown behind it, on both sides."""
    question: str
    """As in `Example`."""
    chosen: str
    """Preferred answer y_w."""
    rejected: str
    """Dispreferred answer y_l; equal to `chosen` in a visual pair, empty in an `answer`."""
    rejected_noise: NoiseSpec | None = None
    """How the rejected side's image was noised; None in a text pair, and where it was imported ready-made."""
    rejected_image_path: str | None = None
    """The noised image (PNG) relative to the run folder; None in a text pair."""
    noised_image: int = Field(0, ge=0)
    """Number of the image, counted from 0, whose place it takes on the rejected side; the others stay."""
    error_type: ErrorType = "other"
    """What the rejected answer gets wrong."""
    origin: str = ""
    """Where the rejected side comes from: `picked`, `injected`, `imported`, a grounder's name; `self-asked`: both sides
    are answers to a question of the model's own, and neither is a ground truth."""
    score: float | None = None
    """Raw clinical relevance in [0, 1]; None while unscored."""
    score_source: str = ""
    """What gave the score: `debate`, a grounder's name, `imported`; empty while unscored."""
    unscored_reason: str = ""
    """Why there is no score; empty when there is one."""
    weight: float | None = None
    """s' of Eq. 3 derived from the score by the run's weighting mode; None while not derived."""

    @model_validator(mode="after")
    def _noised_image_is_shown(self) -> PreferencePair:
        if self.noised_image >= len(self.images):
            raise ValueError(f"noised_image is {self.noised_image}, the pair has {len(self.images)} image(s)")
        return self

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Every image of the chosen side, in the order in which a model is shown them."""
        return (self.image, *self.other_images)


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


class DataNotes(Record):
    """`data.json`: what a dataset's reader says beside its examples."""

    notes: tuple[str, ...] = ()
    """Lines for the user and the report."""
    questions: dict[str, int] = {}
    """Questions of every split."""
    data_use: str | None = None
    """`open`, or `restricted`: may not leave the building, as whatever is not said to be open."""
