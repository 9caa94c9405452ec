"""Settings of the visual tool, of curation, and of imported pairs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Named, Settings, UserPath, refuse_set
from mmedpo.errors import shown
from mmedpo.records import NoiseRegion, PairKind


class GroundSettings(Settings):
    """The visual tool T."""

    tool: Annotated[str, Named("grounder", also=("none",))] = "patch-probe"
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
            refuse_set(self, {"probe"}, "ground", f"the tool is {shown(self.tool)}")
        if self.tool == "none":
            refuse_set(self, {"only_tags", "minimum_confidence"}, "ground", "the tool is 'none'")
        return self


class NoiseSettings(Settings):
    """How the rejected image of a visual pair is made (Eq. 2 and its ablations)."""

    kind: Annotated[str, Named("noise")] = "diffusion"
    """Registered name; `diffusion` is the paper. See `mmedpo.imaging.noises`."""
    region: NoiseRegion = "lesion"
    """`global` is the ablation of the paper's Table 4."""
    step: int = Field(700, ge=0, le=999)
    """k; the paper does not give it. At 700 the schedule keeps 35 % of the signal's variance."""
    schedule: Literal["povid-sigmoid"] = "povid-sigmoid"
    """The 1000 factors xi; the paper does not give it, this is the lineage's (POVID)."""


class CurateSettings(Settings):
    """Preference data curation (paper, section 3.1)."""

    kinds: tuple[PairKind, ...] = ("text", "visual")
    """Which pairs to make: D_t, D_v or both."""
    candidates: int = Field(3, ge=2, le=1000)
    """K, answers sampled from the target model per question."""
    temperature: float = Field(1.0, ge=0.001, le=100)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus of the sampling."""
    max_new_tokens: int = Field(96, ge=1, le=100_000)
    """Length limit of a candidate; a cut one is never picked."""
    judge: Annotated[str, Named("judge", speaks=True)] = "contradiction"
    """Registered name of the judge that picks the clearest hallucination or writes one; `NAME:ENDPOINT` for one that
    asks a language model."""
    noise: NoiseSettings = NoiseSettings()
    """Noise of the visual pairs."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if not self.kinds:
            raise ValueError("curate.kinds is empty; allowed: text, visual, or both")
        if "visual" not in self.kinds:
            refuse_set(self, {"noise"}, "curate", "curate.kinds has no visual pairs")
        if "text" not in self.kinds:
            idle = {"candidates", "temperature", "top_p", "max_new_tokens", "judge"}
            refuse_set(self, idle, "curate", "curate.kinds has no text pairs")
        return self


class ImportSettings(Settings):
    """Ready-made preference pairs instead of curation."""

    path: UserPath
    """The preference file."""
    format: Annotated[str, Named("preference-format", also=("",))] = ""
    """Registered name of its layout; empty: told from the columns of its rows."""
    image_root: UserPath | None = None
    """Folder of the images the file names; None: the folder the dataset's own images lie in."""
