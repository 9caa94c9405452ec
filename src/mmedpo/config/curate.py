"""Settings of the visual tool, of curation, and of imported pairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import IdleSetting, Named, Settings, UserPath, refuse_set
from mmedpo.errors import shown
from mmedpo.records import AnswerType, NoiseRegion, PairKind


class AssumeSettings(Settings):
    """What is taken of images where the dataset says nothing."""

    modality: str = ""
    """`xray`, `ct`, `mri`, `pathology`, `fundus`, `dermoscopy`, `ultrasound` ..."""
    organ: str = ""
    """`chest`, `head`, `abdomen` ..."""
    view: str = ""
    """`pa`, `ap`, `lateral` ..."""


class GroundSettings(Settings):
    """The visual tool T, or several in order of preference."""

    tool: Annotated[str | tuple[str, ...], Named("grounder", also=("none",))] = "patch-probe"
    """Registered name, or several: the first that applies to an image marks it. `none`: text pairs only.
    The default's own probe knows generated images alone: for others a recipe names its tool."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of each tool by its name, e.g. `options: {patch-probe: {probe: phantom}}`; see docs/tools.md."""
    assume: AssumeSettings = AssumeSettings()
    """Taken where the data do not say: a tool that does not know what it looks at does not apply."""
    only_tags: tuple[str, ...] = ()
    """Ground only images of examples that carry all these tags, e.g. `organ:chest`; empty: all."""
    minimum_confidence: float = Field(0.0, ge=0, le=1)
    """Below this confidence an image gives no visual pair (counted as a drop); a tool without confidence gives none."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Names in order of preference."""
        return (self.tool,) if isinstance(self.tool, str) else self.tool

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "probe" in raw:
            raise ValueError("ground.probe is unknown; it is now ground.options.patch-probe.probe")
        return raw

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if not self.tools or len(set(self.tools)) < len(self.tools):
            raise ValueError(f"ground.tool is {shown(list(self.tools))}; allowed: one name, or several different ones")
        if "none" in self.tools:
            if len(self.tools) > 1:
                raise ValueError(
                    f"ground.tool is {shown(list(self.tools))}; 'none' stands alone, remove it or the others"
                )
            refuse_set(self, {"only_tags", "minimum_confidence", "assume", "options"}, "ground", "the tool is 'none'")
        for name in self.options:
            if name not in self.tools:
                told = (
                    f"ground.options for {shown(name)} has no effect: the tool is {shown(list(self.tools))}; remove it"
                )
                raise IdleSetting(("ground", "options", name), told=told)
        return self


class NoiseSettings(Settings):
    """How the rejected image of a visual pair is made (Eq. 2 and its ablations)."""

    kind: Annotated[str, Named("noise")] = "diffusion"
    """Registered name; `diffusion` is the paper. See `mmedpo.imaging.noises`."""
    region: NoiseRegion = "lesion"
    """`organ`: the organ that the data mark or a tool finds; `global`: the ablation of the paper's Table 4."""
    tissue: bool = True
    """Background stays as it is where the data tell the modality: air of CT and MR slices, the frame of fundus and
    dermoscopy pictures, glass of slides. False: it is noised where the region covers it."""
    step: int = Field(700, ge=0, le=999)
    """k; the paper does not give it. At 700 the schedule keeps 35 % of the signal's variance."""
    schedule: Literal["povid-sigmoid"] = "povid-sigmoid"
    """The 1000 factors xi; the paper does not give it, this is the lineage's (POVID)."""


LEAST_TEMPERATURE = 0.001
"""Below it, sampling is greedy decoding by another name."""


class CurateSettings(Settings):
    """Preference data curation (paper, section 3.1)."""

    kinds: tuple[PairKind, ...] = ("text", "visual")
    """Which pairs to make: `text` (D_t), `visual` (D_v), `answer` (the ground truths alone: supervised data)."""
    source: Annotated[str, Named("source")] = "sampled"
    """Registered name of where the model's own answers come from, see `mmedpo.curate.sources`: `sampled` on the
    question's own images (paper), `similar-image`, `noised-argmax`; `self-question`: to questions of its own."""
    candidates: int = Field(3, ge=1, le=1000)
    """K, answers sampled from the target model per question."""
    temperature: float = Field(1.0, ge=0, le=100)
    """Sampling temperature; 0: the one greedy answer."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus of the sampling."""
    max_new_tokens: int = Field(96, ge=1, le=100_000)
    """Length limit of a candidate; a cut one is never picked."""
    judge: Annotated[str, Named("judge", speaks=True)] = "contradiction"
    """Registered name of the judge that picks the clearest hallucination or writes one; `NAME:ENDPOINT` for one that
    asks a language model."""
    noise: NoiseSettings = NoiseSettings()
    """Noise of the visual pairs."""
    visual_questions: Literal["all", "lesion", "side"] = "all"
    """`all`: a visual pair of every question, as in the paper; `lesion`: only of those whose truth rests on a finding
    that is there, and, where the tool names what it marked, on that (`mmedpo.clinical.bearing`). With noise in the
    organ: of those that are about it; a question about a finding always is asked for that. `side`: of those whose truth
    names one side, for the noise `mirror`."""
    visual_answers: tuple[AnswerType, ...] = Field(("closed", "open", "report"), min_length=1)
    """Which of these questions, by the form of their answer. Of a yes/no question whose truth is the finding, a noised
    image can be told apart by saying "yes" less often everywhere; the words of an open answer must come from it."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if not self.kinds:
            raise ValueError("curate.kinds is empty; allowed: text, visual, answer, or several of them")
        if "visual" not in self.kinds:
            idle = {"noise", "visual_questions", "visual_answers"}
            refuse_set(self, idle, "curate", "curate.kinds has no visual pairs")
        if "text" not in self.kinds:
            idle = {"source", "candidates", "temperature", "top_p", "max_new_tokens", "judge"}
            refuse_set(self, idle, "curate", "curate.kinds has no text pairs")
        if self.temperature == 0:
            refuse_set(self, {"top_p"}, "curate", "curate.temperature is 0")
        elif self.temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"curate.temperature={self.temperature:g}: allowed are 0 (greedy) and {LEAST_TEMPERATURE:g} or more"
            )
        if "text" in self.kinds and (self.temperature == 0) != (self.candidates == 1):
            raise ValueError(
                f"curate.candidates={self.candidates} at curate.temperature={self.temperature:g}: the greedy answer "
                "(temperature 0) is always the same one, so it goes with candidates=1, and 1 with it"
            )
        return self


class ImportSettings(Settings):
    """Ready-made preference pairs instead of curation."""

    path: UserPath
    """The preference file."""
    format: Annotated[str, Named("preference-format", also=("",))] = ""
    """Registered name of its layout; empty: told from the columns of its rows."""
    image_root: UserPath | None = None
    """Folder of the images the file names; None: the folder the dataset's own images lie in."""
