"""One run: every group together, and what holds between them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from mmedpo.config.chat import ChatSettings, endpoint_of
from mmedpo.config.curate import CurateSettings, GroundSettings, ImportSettings
from mmedpo.config.data import DataSettings
from mmedpo.config.engine import EngineSettings
from mmedpo.config.evaluate import EvaluateSettings
from mmedpo.config.executor import ExecutorSettings
from mmedpo.config.explain import explain
from mmedpo.config.groups import IdleSetting, Seed, Settings, refuse_set
from mmedpo.config.model import ModelSettings
from mmedpo.config.score import UNWEIGHTED, ScoreSettings
from mmedpo.config.slurm import SlurmSettings
from mmedpo.config.train import FinetuneSettings, TrainSettings
from mmedpo.errors import brief, shown

DEBATING = {"agents", "rounds", "agreement"}
"""Settings of the score stage that only a debate reads."""
OF_ROUND = ("curate", "score", "train")
"""Groups that a round may have settings of its own in."""


class RunSettings(Settings):
    """One run: a recipe with every default filled in."""

    description: str = ""
    """What this recipe is, one line."""
    seed: Seed = 0
    """Seed of sampling, noise, adapter and order; the dataset has its own."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    finetune: FinetuneSettings | None = None
    """Supervised fine-tuning before curation; None: the checkpoint is the base as it is."""
    chat: ChatSettings = ChatSettings()
    """Language models that judge and debate; none: the offline rules do."""
    ground: GroundSettings = GroundSettings()
    curate: CurateSettings = CurateSettings()
    preferences: ImportSettings | None = None
    """Import pairs instead of curating them."""
    score: ScoreSettings = ScoreSettings()
    train: TrainSettings = TrainSettings()
    rounds: int = Field(1, ge=1, le=20)
    """Times the loop curate, score, train is gone through; each round samples, and refers to, the model of the round
    before (self-rewarding and iterative DPO)."""
    each_round: tuple[dict[str, dict[str, Any]], ...] = ()
    """What each round has of its own, in order: groups `curate`, `score` and `train` laid over those of the recipe, as
    `[{}, {curate: {temperature: 1.2}}, {train: {learning_rate: 1.0e-4}}]`; none: all rounds are alike."""
    engine: EngineSettings = EngineSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    executor: ExecutorSettings = ExecutorSettings()
    slurm: SlurmSettings = SlurmSettings()
    """What `mmedpo run --submit slurm` asks for; nothing else reads it."""
    caveats: tuple[str, ...] = ()
    """What the reader of the report must know about this recipe."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.preferences is not None:
            reason = "pairs are imported (preferences.path)"
            refuse_set(self, {"curate", "ground"}, "", reason)
            if self.score.rescore is None:
                kept = f"{reason} and keep their scores: give score.rescore=missing or all with it"
                refuse_set(self.score, DEBATING, "score", kept)
        elif "visual" not in self.curate.kinds:
            refuse_set(self, {"ground"}, "", "curate.kinds has no visual pairs", allow={"tool"})
        if "vision_tower" in self.train.parts:
            refuse_set(self.engine, {"features"}, "engine", "the vision tower is trained (train.parts)")
        if self.preferences is None:
            refuse_set(self.score, {"rescore"}, "score", "no pairs are imported, and all that are made here are scored")
            if "text" not in self.curate.kinds:
                refuse_set(self.score, DEBATING, "score", "there are no text pairs to debate")
                refuse_set(self.train, {"edited_token_weight"}, "train", "there are no text pairs, whose sides differ")
        if self.model.quantise != "none":
            self._check_quantised()
        if self.rounds > 1:
            self._check_rounds()
        else:
            refuse_set(self.train, {"reference"}, "train", "there is one round, which begins with the first model")
        if self.each_round and len(self.each_round) != self.rounds:
            raise ValueError(
                f"each_round speaks of {len(self.each_round)} rounds, but rounds={self.rounds}; give one entry each, "
                "{} where a round has nothing of its own"
            )
        if self.each_round and not any(group for of_round in self.each_round for group in of_round.values()):
            raise IdleSetting(("each_round",), "it gives no round anything of its own; remove it")
        self.every_round  # noqa: B018  refuses what a round cannot be
        self._check_endpoints()
        if self.train.tune == "full" and self.model.dtype != "float32":
            raise ValueError(
                f"train.tune=full needs model.dtype=float32 (not {self.model.dtype}, where most steps are too small to "
                "change a weight); model.autocast=true computes in bfloat16 all the same"
            )
        return self

    def _check_quantised(self) -> None:
        """Weights in 4 bits are never changed: only an adapter beside them is."""
        needed = f"model.quantise={self.model.quantise} needs"
        if self.train.tune != "lora":
            raise ValueError(f"{needed} train.tune=lora: weights in 4 bits cannot be trained themselves")
        if self.finetune is not None:
            raise ValueError(
                f"{needed} finetune=null: its result cannot be put into 4 bits without loss; use train.method=sft for "
                "an adapter beside them"
            )
        if self.rounds > 1:
            raise ValueError(f"{needed} rounds=1: the adapter of a round cannot be merged into 4 bits without loss")

    def of_round(self, number: int) -> RunSettings:
        """The settings that the stages of a round work by, counted from 1.

        Raises:
            ValueError: an unknown group or setting, a bad value, or a change of what all rounds share.
        """
        if not self.each_round:
            return self
        changed: dict[str, Settings] = {}
        for name, given in self.each_round[number - 1].items():
            where = f"each_round, round {number}: {brief(name, 40)}"
            if name not in OF_ROUND:
                raise ValueError(f"{where} is the same in every round; allowed: {', '.join(OF_ROUND)}")
            if number == 1 and name == "train" and "reference" in given:
                raise ValueError(
                    f"{where}.reference has no effect: the first round begins with the first model; remove it"
                )
            group: Settings = getattr(self, name)
            try:
                changed[name] = type(group).model_validate({**group.model_dump(exclude_unset=True), **given})
            except ValidationError as error:
                raise ValueError(f"{where}: {explain(error, type(group))}") from None
        own = self.model_copy(update={**changed, "each_round": ()})
        for shared in ("grounds", "maps_organs", "judging", "samples"):
            if getattr(own, shared) != getattr(self, shared):
                raise ValueError(
                    f"each_round, round {number}: visual tool and judge's endpoint are the same in every round; "
                    "set curate.kinds, curate.noise.region and that endpoint for the whole recipe"
                )
        own._check_rounds()
        return own

    @property
    def every_round(self) -> tuple[RunSettings, ...]:
        """The settings of each round."""
        return tuple(self.of_round(number) for number in range(1, self.rounds + 1))

    def _check_rounds(self) -> None:
        """A round samples a model that the round before changed, and adds an adapter to it."""
        if self.preferences is not None:
            raise ValueError(f"rounds={self.rounds} but pairs are imported (preferences.path): nothing is sampled anew")
        if "text" not in self.curate.kinds:
            raise ValueError(f"rounds={self.rounds} but curate.kinds has no text pairs: nothing is sampled anew")
        if self.train.method != "preference" or self.train.tune != "lora":
            raise ValueError(f"rounds={self.rounds} needs train.method=preference and train.tune=lora")

    @property
    def grounds(self) -> bool:
        """Whether a visual tool marks the images."""
        return self.preferences is None and "visual" in self.curate.kinds and self.ground.tools != ("none",)

    @property
    def maps_organs(self) -> bool:
        """Whether a visual tool maps the organ of each image, because the noise goes there."""
        return self.grounds and self.curate.noise.region == "organ"

    @property
    def debates(self) -> bool:
        """Whether the score stage holds debates: over pairs that are made here, or over imported ones where asked."""
        if self.score.weights == UNWEIGHTED or not self.score.agents:
            return False
        return "text" in self.curate.kinds if self.preferences is None else self.score.rescore is not None

    @property
    def samples(self) -> bool:
        """Whether the model is sampled for wrong answers."""
        return self.preferences is None and "text" in self.curate.kinds

    @property
    def judging(self) -> tuple[str, ...]:
        """Name of the endpoint the judge speaks through, if any."""
        return tuple(filter(None, [endpoint_of(self.curate.judge)])) if self.samples else ()

    def used_endpoints(self, stage: str) -> tuple[str, ...]:
        """Names of the endpoints a stage speaks to, in order, each once."""
        used: dict[str, tuple[str, ...]] = {
            "curate": (*self.judging, self.model.server if self.samples else ""),
            "score": tuple(endpoint_of(name) for name in self.score.agents) if self.debates else (),
            "predict-base": (self.model.server,),
            "predict-tuned": (self.model.tuned_server,),
            "judge-answers": tuple(endpoint_of(name) for name in self.evaluate.judges),
        }
        return tuple(dict.fromkeys(name for name in used.get(stage, ()) if name))

    def _check_endpoints(self) -> None:
        known = self.chat.endpoints
        servers = tuple(filter(None, (self.model.server, self.model.tuned_server)))
        seeing = (*self.judging, *self.used_endpoints("judge-answers"))
        speaking = (*seeing, *self.used_endpoints("score"))
        for name in (*speaking, *servers):
            if name not in known:
                given = brief(", ".join(known)) or "none"
                raise ValueError(f"endpoint {shown(name)} is not among chat.endpoints ({given}); describe it there")
        for name in known:
            where = ("chat", "endpoints", name)
            if name not in (*speaking, *servers):
                use = f"set e.g. score.agents=[chat:{brief(name, 40)}], or remove it"
                raise IdleSetting(where, f"no judge or agent uses it; {use}")
            if known[name].images and name not in (*seeing, *servers):
                raise IdleSetting((*where, "images"), "agents of the debate see text only; remove it")
        for name in servers:
            self._check_server(name, alone=name not in speaking)

    def _check_server(self, name: str, *, alone: bool) -> None:
        """A server of the target model sees images, and answers as curation and evaluation say."""
        where = f"chat.endpoints.{brief(name, 40)}"
        if not self.chat.endpoints[name].images:
            raise ValueError(f"{where} serves the target model, which is asked about images; set {where}.images=true")
        if alone:
            idle = {"temperature", "top_p", "max_tokens", "structured"}
            said = "it serves the target model, whose answers are made as curate.* and evaluate.* say"
            refuse_set(self.chat.endpoints[name], idle, where, said)
        if self.rounds > 1 or self.finetune is not None:
            changing = f"rounds={self.rounds}" if self.rounds > 1 else "a finetune stage"
            raise ValueError(
                f"model.server and model.tuned_server serve a checkpoint as it is, but {changing} makes another one "
                "before it is asked; leave one of the two out"
            )
