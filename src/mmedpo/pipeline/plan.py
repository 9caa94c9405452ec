"""The way through the house: which stages a run has, in which order, and running them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mmedpo.config import UNWEIGHTED, RunSettings, TrainSettings, check_names, refuse_demonstration
from mmedpo.curate import stage as curation
from mmedpo.data import stage as data
from mmedpo.errors import ConfigError, TrainingCollapsed, shown
from mmedpo.evaluate import stage as evaluation
from mmedpo.evaluate.judging import judge_stage
from mmedpo.evaluate.radeval.stage import radeval_stage
from mmedpo.grounding import stage as grounding
from mmedpo.preferences import stage as importing
from mmedpo.records import Example
from mmedpo.registry import lookup
from mmedpo.registry import names as registered
from mmedpo.report import stage as report
from mmedpo.run import BASE, TUNED, Run, Stage, in_folder
from mmedpo.run.layout import DATA_NOTES, EXAMPLES
from mmedpo.run.slots import round_folder, round_name
from mmedpo.score import stage as scoring
from mmedpo.train import stage as training

if TYPE_CHECKING:
    from mmedpo.train.objectives import Objective
    from mmedpo.train.training import GenerationProbe


def plan(settings: RunSettings) -> list[Stage]:
    """The stages of a run, in order."""
    stages = [data.stage(settings)]
    if settings.evaluate.answers:
        stages += [evaluation.answers_stage(settings, name) for name in settings.evaluate.answers]
        return [*stages, *_scorers(settings), evaluation.stage(settings), report.stage(settings)]
    if settings.finetune is not None:
        stages.append(training.finetune_stage(settings))
    if settings.grounds:
        stages.append(grounding.stage(settings))
    last: Sequence[Stage] = ()
    for number in range(1, settings.rounds + 1):
        last = _round(settings, number)
        stages += last
    stages += [evaluation.predict_stage(settings, model) for model in (BASE, TUNED)]
    stages += _scorers(settings)
    # Of several rounds, what is said of pairs and training is that of the last.
    stages += [replace(stage(settings), places=last[-1].places) for stage in (evaluation.stage, report.stage)]
    return stages


def _scorers(settings: RunSettings) -> list[Stage]:
    """What scores answers before the evaluation: language models and RadEval, where a recipe asks for them."""
    judges = [judge_stage(settings)] if settings.evaluate.judges else []
    return [*judges, radeval_stage(settings)] if settings.evaluate.radeval.metrics else judges


def _round(settings: RunSettings, number: int) -> list[Stage]:
    """Pairs, weights and training from the model of the round before; of several rounds, each has its folder."""
    model, own = BASE if number == 1 else round_name(number - 1), settings.of_round(number)
    pairs = curation.stage(own, model) if own.preferences is None else importing.stage(own)
    loop = [pairs, scoring.stage(own), training.stage(own, model, _generation_probe)]
    if settings.rounds == 1:
        return loop
    return in_folder(round_folder(number), [replace(stage, work=partial(_by, own, stage.work)) for stage in loop])


def _by(own: RunSettings, work: Callable[[Run], object], run: Run) -> object:
    """The work of a stage by the settings of its round."""
    of_run, run.settings = run.settings, own
    try:
        return work(run)
    finally:
        run.settings = of_run


def _generation_probe(run: Run) -> GenerationProbe:
    from mmedpo.evaluate.predictions import AnswersProbe

    return AnswersProbe(run.settings.evaluate.protocol)


def last_called(name: str, names: Sequence[str]) -> int:
    """Place of a stage; of what every round does, `train` is that of the last round.

    Raises:
        ConfigError: no stage is called so.
    """
    called = [place for place, full in enumerate(names) if name in (full, full.rpartition("/")[2])]
    if not called:
        raise ConfigError(_no_stage(name, names))
    return called[-1]


def _no_stage(name: str, names: Sequence[str]) -> str:
    return f"this recipe has no stage {shown(name)}; it has {', '.join(names)}"


def run_stages(run: Run, until: str | None = None, only: str | None = None) -> None:
    """Executes the stages that are not done, in order.

    Args:
        run: an open run.
        until: the last stage to execute, as `last_called`; None for all.
        only: the single stage to execute; what it reads must be there.

    Raises:
        ConfigError: no such stage in this recipe, or settings that one of them could not work with.
        RunFolderError: the operating system refuses to read or write, in a stage or between two.
    """
    with run.guarded():
        _run_stages(run, until, only)


def _run_stages(run: Run, until: str | None, only: str | None) -> None:
    _check_kinds(run.settings)
    stages = plan(run.settings)
    names = [stage.name for stage in stages]
    if only is not None and only not in names:
        raise ConfigError(_no_stage(only, names))
    done = []
    wanted_stages = stages if until is None else stages[: last_called(until, names) + 1]
    if only is not None:
        wanted_stages = [stage for stage in stages if stage.name == only]
    _ready_executor(run, wanted_stages)
    _check_pieces(run, wanted_stages)
    if run.file(DATA_NOTES).exists():
        _check_endpoints(run, wanted_stages)
    for stage in wanted_stages:
        try:
            executed = run.execute(stage)
        except TrainingCollapsed:
            _report_collapse(run, stages[-1], stage)
            raise
        if not executed:
            done.append(stage.name)
        if stage.name == "data":
            _check_splits(run)
            _check_endpoints(run, wanted_stages)
    if done:
        run.message(f"already done: {', '.join(done)}")


def _check_kinds(settings: RunSettings) -> None:
    """Refuses at the start endpoints whose settings do not fit their kind."""
    if settings.chat.endpoints:
        from mmedpo.chat.kind import check_kind

        for name, endpoint in settings.chat.endpoints.items():
            check_kind(name, endpoint)


def _ready_executor(run: Run, stages: Sequence[Stage]) -> None:
    """Refuses what an executor would refuse when the first model is to work; begins it where the run begins."""
    executor = lookup("executor", run.settings.executor.name)
    if hasattr(executor, "check"):
        executor.check(run.settings)
    if hasattr(executor, "begin") and stages[0].name == "data" and not run.is_done(stages[0]):
        executor.begin(run.settings)


def _check_trackers(settings: RunSettings) -> None:
    """Refuses at the start what the trainer would refuse when it begins."""
    if settings.train.report_to:
        from mmedpo.train.trackers import check_trackers

        check_trackers(settings.train.report_to)


def _check_adapter(settings: RunSettings) -> None:
    """Refuses at the start an adapter of a rank that no layer of the model can have."""
    from mmedpo.models.checkpoints import widest_layer

    rank, widest = settings.train.lora.rank, widest_layer(settings.model.name)
    if settings.train.tune == "lora" and widest is not None and rank > widest:
        raise ConfigError(
            f"train.lora.rank={rank} is more than any layer of {settings.model.name!r} has (its widest: {widest}); "
            f"choose {widest} or less"
        )


def _report_collapse(run: Run, report: Stage, training: Stage) -> None:
    """The report says that training collapsed, and how it came to it, before the error ends the run."""
    if run.rank:
        return
    if training.name in run.manifest.stages:
        run.message("what an earlier training left here, and its report, stay as they were")
    else:
        run.execute(replace(report, places=training.places))


def _check_pieces(run: Run, stages: Sequence[Stage]) -> None:
    """Refuses before anything is computed a name that stands for nothing, and a term that its loss cannot use."""
    check_names(run.settings)
    if any(stage.name == "ground" and not run.is_done(stage) for stage in stages):
        refuse_demonstration(run.settings)
    trains = any(stage.name.rpartition("/")[2] == "train" and not run.is_done(stage) for stage in stages)
    if trains:
        check_objectives(run.settings)
        _check_trackers(run.settings)
        _check_adapter(run.settings)
    if any(stage.name == "report" and not run.is_done(stage) for stage in stages):
        for name in registered("section"):
            lookup("section", name)
    if run.settings.model.device.startswith("cuda") and any(
        stage.models and not run.is_done(stage) for stage in stages
    ):
        from mmedpo.models.devices import device_of

        device_of(run.settings.model.device)
        number = run.settings.model.device.partition(":")[2]
        if trains and number not in ("", "0"):
            raise ConfigError(
                f"model.device={run.settings.model.device!r}: training takes the first GPU that it sees; set "
                f"model.device=cuda and the environment's CUDA_VISIBLE_DEVICES={number}"
            )


def check_objectives(settings: RunSettings) -> None:
    """Looks at what every round of preference tuning optimises.

    Raises:
        ConfigError: a term that cannot be computed, or a setting that no term reads.
    """
    if settings.train.method != "preference":
        if settings.score.weights != UNWEIGHTED:
            raise ConfigError(
                f"score.weights={settings.score.weights!r} has no effect because train.method is 'sft'; set "
                "score.weights=none"
            )
        return
    from mmedpo.train.objectives import Objective

    for own in settings.every_round:
        objective = Objective(own.train.objective, own.train.beta)
        _check_objective(objective, own.train)
        _check_weights(objective, own)


def _check_objective(objective: Objective, settings: TrainSettings) -> None:
    """Refuses terms that cannot be computed, and settings that no term reads."""
    if (objective.spreads or objective.draws) and settings.tune == "full":
        raise ConfigError(
            "train.objective asks the reference in every step, which is the model without its adapter; "
            "set train.tune=lora, or remove the term"
        )
    if settings.reference == "first" and (objective.spreads or objective.draws or objective.rewards):
        raise ConfigError(
            "train.objective asks the model that the round began with in every step, or learns from what it sampled; "
            "set train.reference=previous, or remove the term"
        )
    if settings.reference == "first" and not objective.refers:
        raise ConfigError(
            "train.reference has no effect because no term of train.objective compares with a reference; remove it"
        )
    if objective.whole_families and settings.grouping == "none":
        raise ConfigError(
            "train.objective sets an answer against all of its question's others, but train.grouping='none' takes "
            "them apart; set train.grouping=example or image"
        )
    if objective.contrasts and settings.batch_groups == 1:
        raise ConfigError(
            "train.objective compares with another image of the step, but train.batch_groups=1 gives a step one image; "
            "raise it"
        )
    if settings.beta != TrainSettings.model_fields["beta"].default and not objective.tempered:
        raise ConfigError(
            f"train.beta={settings.beta:g} has no effect because every term of train.objective has its own beta or "
            "none; remove it, or set beta in a term that has one"
        )
    if settings.factors and not objective.weighs:
        raise ConfigError(
            "train.factors has no effect because no term of train.objective is weighted; set weighted: true on one, "
            "or remove it"
        )


def _check_weights(objective: Objective, settings: RunSettings) -> None:
    """Refuses weights that no term reads, which may cost a debate, and terms that read a weight which is always 1."""
    if settings.score.weights != UNWEIGHTED and not objective.weighs:
        raise ConfigError(
            f"score.weights={settings.score.weights!r} has no effect because no term of train.objective is weighted; "
            "set score.weights=none, or weighted: true on a term"
        )
    if settings.debates and not objective.weighs_kind("text"):
        raise ConfigError(
            "score.agents would debate text pairs, whose weights no term of train.objective reads; set "
            "score.agents=[] and score.unscored=mu, or let a weighted term look at text pairs"
        )
    made = "text" in settings.curate.kinds and settings.preferences is None
    if made and not settings.score.agents and settings.score.unscored == "drop":
        raise ConfigError(
            "score.agents is empty, so no text pair has a score, and score.unscored='drop' leaves them all out; set "
            "score.unscored=mu, or name agents"
        )
    alike = settings.score.weights == UNWEIGHTED and not settings.train.factors
    if alike and any(term.weighted for term in settings.train.objective):
        raise ConfigError(
            "train.objective: weighted: true has no effect because every pair weighs 1 (score.weights is 'none' and "
            "train.factors is empty); remove it, or set one of these"
        )


def _check_endpoints(run: Run, stages: Sequence[Stage]) -> None:
    """Refuses at the start what would be refused after the sampling: data that may not leave, a missing key."""
    ahead = {stage.name.rpartition("/")[2] for stage in stages if not run.is_done(stage)}
    rounds = run.settings.every_round
    spoken_to = dict.fromkeys(name for stage in sorted(ahead) for own in rounds for name in own.used_endpoints(stage))
    if spoken_to:
        from mmedpo.chat.opening import check_endpoints

        check_endpoints(run, tuple(spoken_to))


def _check_splits(run: Run) -> None:
    """Refuses before an hour of training what evaluation would refuse after it."""
    present = {example.split for example in run.read(EXAMPLES, Example)}
    trained = () if run.settings.evaluate.answers else ("validation",)
    for split in (*run.settings.evaluate.splits, *trained):
        if split not in present:
            raise ConfigError(f"split {split!r} is not in the data, which has {', '.join(sorted(present))}")
