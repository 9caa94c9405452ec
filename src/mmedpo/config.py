"""Every setting of a run, with its default, unit and source. This is the only place of a default.

A recipe (YAML) gives the settings that differ; `--set train.beta=0.2` overrides one of them. Unknown
settings are refused, and so is a setting that would have no effect.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmedpo.errors import ConfigError
from mmedpo.recipes import apply_override, read_recipe
from mmedpo.records import AnswerType, NoiseKind, NoiseRegion, PairKind, Protocol


class Settings(BaseModel):
    """A frozen group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _refuse_set(group: Settings, idle: set[str], prefix: str, why: str, allow: set[str] | None = None) -> None:
    """Raises when one of the `idle` settings was given although `why` makes it meaningless."""
    for name in sorted(idle & group.model_fields_set):
        value = getattr(group, name)
        if value is None or value == type(group).model_fields[name].get_default():
            continue
        if allow and isinstance(value, Settings) and _changed(value) <= allow:
            continue
        raise ValueError(f"{prefix + '.' if prefix else ''}{name} has no effect because {why}; remove it")


def _changed(group: Settings) -> set[str]:
    """Names of the settings that differ from their defaults."""
    return {name for name, field in type(group).model_fields.items() if getattr(group, name) != field.get_default()}


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path in which `~` is the user's home, also where no shell has replaced it."""


class PhantomSettings(Settings):
    """The embedded dataset of generated radiographs."""

    train_images: int = Field(240, ge=2)
    """Images the preference pairs are made from, drawn with the training priors."""
    validation_images: int = Field(60, ge=2)
    """Images for choosing learning rate and stopping, balanced against the priors."""
    test_images: int = Field(120, ge=2)
    """Images of each of the two test splits: with the training priors, and balanced against them."""
    size: int = Field(128, ge=96)
    """Height and width, pixels."""
    seed: int = 0
    """Seed of the dataset: the same data for every run seed, as with a real dataset."""


class DataSettings(Settings):
    """Which dataset, and how it is split."""

    dataset: str = "phantom"
    """Registered name."""
    root: UserPath | None = None
    """Folder as downloaded; None for a dataset that is generated."""
    split: Literal["image-disjoint", "official"] = "image-disjoint"
    """`image-disjoint`: no image or patient in two splits. `official`: as published, leaks reported."""
    split_seed: int = 0
    """Seed of the image-disjoint split."""
    max_train_examples: int | None = Field(None, ge=1)
    """Use at most this many training questions (whole images, drawn with the run's seed); None: all."""
    phantom: PhantomSettings = PhantomSettings()
    """Settings of the generated dataset."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.dataset == "phantom":
            _refuse_set(self, {"root", "split", "split_seed"}, "data", "the phantom dataset is generated and split")
        else:
            _refuse_set(self, {"phantom"}, "data", f"the dataset is {self.dataset!r}")
            if self.root is None:
                raise ValueError(f"data.root is needed for dataset {self.dataset!r}: the folder as downloaded")
        return self


class ModelSettings(Settings):
    """The target Med-LVLM."""

    name: str = "tiny"
    """`tiny` (ships in the package) or a local checkpoint folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type the weights are loaded in."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""


class FinetuneSettings(Settings):
    """Supervised fine-tuning of the whole language side *before* curation; its result becomes the base."""

    epochs: int = Field(10, ge=1)
    """Passes over the training questions."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak, AdamW, cosine."""
    batch_images: int = Field(16, ge=1)
    """Images (with all their questions) per step."""


class GroundSettings(Settings):
    """The visual tool T."""

    tool: str = "patch-probe"
    """Registered name, or `none`: text pairs only."""
    probe: str = "phantom"
    """Coefficients of the patch probe: `phantom`, `chest-xray`, or a JSON file of `mmedpo ground fit`."""
    only_tags: tuple[str, ...] = ()
    """Ground only images of examples that carry all these tags, e.g. `organ:chest`; empty: all."""
    minimum_confidence: float = Field(0.0, ge=0, le=1)
    """Below this confidence an image gives no visual pair (counted as a drop)."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.tool != "patch-probe":
            _refuse_set(self, {"probe"}, "ground", f"the tool is {self.tool!r}")
        if self.tool == "none":
            _refuse_set(self, {"only_tags", "minimum_confidence"}, "ground", "the tool is 'none'")
        return self


class NoiseSettings(Settings):
    """How the rejected image of a visual pair is made (Eq. 2 and its ablations)."""

    kind: NoiseKind = "diffusion"
    """`diffusion` is the paper."""
    region: NoiseRegion = "lesion"
    """`global` is the ablation of the paper's Table 4."""
    step: int = Field(700, ge=0, le=999)
    """k; the paper does not give it. At 700 the schedule keeps 35 % of the signal's variance."""
    schedule: Literal["povid-sigmoid"] = "povid-sigmoid"
    """The 1000 factors xi; the paper does not give it, this is the lineage's (POVID)."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.kind != "diffusion":
            _refuse_set(self, {"step", "schedule"}, "curate.noise", f"curate.noise.kind is {self.kind!r}")
        if self.kind == "crop":
            _refuse_set(self, {"region"}, "curate.noise", "a crop concerns the whole image")
        return self


class CurateSettings(Settings):
    """Preference data curation (paper, section 3.1)."""

    kinds: tuple[PairKind, ...] = ("text", "visual")
    """Which pairs to make: D_t, D_v or both."""
    candidates: int = Field(3, ge=2)
    """K, answers sampled from the target model per question."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus of the sampling."""
    max_new_tokens: int = Field(96, ge=1)
    """Length limit of a candidate; a cut one is never picked."""
    judge: str = "contradiction"
    """Registered name of the judge that picks the clearest hallucination or writes one."""
    noise: NoiseSettings = NoiseSettings()
    """Noise of the visual pairs."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if not self.kinds:
            raise ValueError("curate.kinds is empty; allowed: text, visual, or both")
        if "visual" not in self.kinds:
            _refuse_set(self, {"noise"}, "curate", "curate.kinds has no visual pairs")
        if "text" not in self.kinds:
            idle = {"candidates", "temperature", "top_p", "max_new_tokens", "judge"}
            _refuse_set(self, idle, "curate", "curate.kinds has no text pairs")
        return self


class ImportSettings(Settings):
    """Ready-made preference pairs instead of curation."""

    path: UserPath
    """The preference file."""
    format: str = "mmedpo-json"
    """Registered name of the layout."""
    image_root: UserPath | None = None
    """Folder of the images the file names; None: the folder the dataset's own images lie in."""


WeightMode = Literal["rescale", "zscore", "literal", "raw", "none"]
Unscored = Literal["drop", "mu"]


class ScoreSettings(Settings):
    """Clinical relevance scores and weights (paper, section 3.2; METHOD section 2)."""

    agents: tuple[str, ...] = Field(("rubric-radiologist", "rubric-internist", "rubric-language"), min_length=1)
    """Registered names of the debating agents, in speaking order."""
    rounds: int = Field(5, ge=1)
    """r, rounds without consensus after which the history is averaged."""
    weights: WeightMode = "rescale"
    """How a raw score becomes s'; see `mmedpo.score.weights`."""
    mu: float = 1.0
    """Mean the scores are rescaled to."""
    sigma: float = Field(0.1**0.5, gt=0)
    """Standard deviation they are rescaled to (the paper: sigma^2 = 0.1)."""
    lower: float = 0.75
    """Lower clip of s'."""
    upper: float = 1.25
    """Upper clip of s'."""
    unscored: Unscored = "drop"
    """What to do with a pair that has no score."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.weights in ("raw", "none"):
            idle = {"mu", "sigma", "lower", "upper"}
            _refuse_set(self, idle, "score", f"score.weights is {self.weights!r}")
        if self.lower >= self.upper:
            raise ValueError(f"score.lower ({self.lower}) must be below score.upper ({self.upper})")
        return self


class LoraSettings(Settings):
    """The adapter on every linear layer of the language model."""

    rank: int = Field(128, ge=1)
    """r (paper: 128)."""
    alpha: int = Field(256, ge=1)
    """Scale (paper: 256)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout inside the adapter."""


class WatchSettings(Settings):
    """What is watched while training, and when to stop."""

    every: int = Field(20, ge=1)
    """Optimizer steps between two looks at the validation probe."""
    questions: int = Field(240, ge=1)
    """Validation questions answered by greedy decoding at each look (reports excluded)."""
    collapse_drop: float = Field(0.5, gt=0, le=1)
    """Stop when the probe's score falls below this share of its value at the start."""
    collapse_logprob: float = Field(3.0, gt=0)
    """Stop when log pi(y_w) per token fell by more than this since the start, nats."""
    keep: Literal["best", "last"] = "best"
    """Which adapter is the result: the best on the validation probe, or the last."""


class TrainSettings(Settings):
    """Clinical-aware preference fine-tuning (Eq. 3)."""

    method: Literal["preference", "sft"] = "preference"
    """Weighted DPO on the pairs, or supervised fine-tuning on the chosen answers (same examples)."""
    beta: float = Field(0.1, gt=0)
    """Temperature of the implicit reward (the paper writes alpha)."""
    learning_rate: float = Field(1e-7, gt=0)
    """Peak (paper: 1e-7 for 7B with LoRA)."""
    epochs: float = Field(3.0, gt=0)
    """Passes over the pairs."""
    batch_examples: int = Field(4, ge=1)
    """Questions per optimizer step and process; each brings all its pairs."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes per optimizer step."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """Learning-rate schedule."""
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    """Share of the steps that warm up."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Clip of the gradient's norm."""
    max_length: int = Field(1024, ge=1)
    """Longest sequence, tokens; a longer pair is refused, image tokens are never cut."""
    checkpoint_every: int = Field(50, ge=1)
    """Optimizer steps between checkpoints; a killed run resumes from the last one."""
    lora: LoraSettings = LoraSettings()
    """The adapter."""
    watch: WatchSettings = WatchSettings()
    """Validation probe and collapse."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.method == "sft":
            _refuse_set(self, {"beta"}, "train", "train.method is 'sft'")
        return self


class EvaluateSettings(Settings):
    """Generation, protocol and statistics."""

    splits: tuple[str, ...] = Field(("test-balanced", "test"), min_length=1)
    """Splits that are scored; the first is the headline."""
    protocol: Protocol = "strict"
    """Scoring protocol of the headline; every table names it."""
    max_new_tokens: int = Field(96, ge=1)
    """Length limit of an answer."""
    batch_size: int = Field(96, ge=1)
    """Questions decoded at once."""
    answer_types: tuple[AnswerType, ...] = Field(("closed", "open", "report"), min_length=1)
    """Which questions are asked."""
    bootstrap_samples: int = Field(10_000, ge=100)
    """Resamples of the paired bootstrap over images."""
    reliance_images: int = Field(80, ge=0)
    """Images for the lesion-reliance probe (needs annotated lesions); 0 leaves it out."""


class RunSettings(Settings):
    """One run: a recipe with every default filled in."""

    description: str = ""
    """What this recipe is, one line."""
    seed: int = 0
    """Seed of sampling, noise, adapter and order; the dataset has its own."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    finetune: FinetuneSettings | None = None
    """Supervised fine-tuning before curation; None: the checkpoint is the base as it is."""
    ground: GroundSettings = GroundSettings()
    curate: CurateSettings = CurateSettings()
    preferences: ImportSettings | None = None
    """Import pairs instead of curating them."""
    score: ScoreSettings = ScoreSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    caveats: tuple[str, ...] = ()
    """What the reader of the report must know about this recipe."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.preferences is not None:
            reason = "pairs are imported (preferences.path)"
            _refuse_set(self, {"curate", "ground"}, "", reason)
            _refuse_set(self.score, {"agents", "rounds"}, "score", reason)
        elif self.ground.tool == "none" and "visual" in self.curate.kinds:
            raise ValueError("curate.kinds asks for visual pairs but ground.tool is 'none'; set curate.kinds=[text]")
        elif "visual" not in self.curate.kinds:
            _refuse_set(self, {"ground"}, "", "curate.kinds has no visual pairs", allow={"tool"})
        if self.preferences is None and "text" not in self.curate.kinds:
            _refuse_set(self.score, {"agents", "rounds"}, "score", "there are no text pairs to debate")
        return self


def load_settings(recipe: str | Path, overrides: list[str] | None = None) -> RunSettings:
    """Reads a recipe (shipped name or YAML file) and applies `a.b=c` overrides.

    Raises:
        ConfigError: unknown recipe or setting, a bad value, or a setting without effect.
    """
    raw = read_recipe(recipe)
    for override in overrides or []:
        apply_override(raw, override)
    return validate_settings(raw, str(recipe))


def validate_settings(raw: dict[str, Any], source: str) -> RunSettings:
    """Turns a plain mapping into settings, with one clear line on error."""
    try:
        return RunSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from None


def dump_settings(settings: RunSettings) -> str:
    """YAML of the whole resolved configuration, every default written out; `load_settings` reads it back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def _explain(error: ValidationError) -> str:
    every = error.errors()
    # A misspelt name explains why another one is missing, not the other way round.
    first = next((item for item in every if item["type"] == "extra_forbidden"), every[0])
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_settings(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown setting {where!r}; {hint}known here: {', '.join(known)}{more}"
    if first["type"] == "missing":
        return f"{where} is needed; set it in the recipe or with --set {where}=...{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{message}{more}" if first["type"] == "value_error" else f"{where}={first['input']!r}: {message}{more}"


def _known_settings(location: tuple[int | str, ...]) -> list[str]:
    group: type[BaseModel] = RunSettings
    for part in location:
        annotation = group.model_fields[str(part)].annotation if str(part) in group.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if inner is None:
            break
        group = inner
    return sorted(group.model_fields)
