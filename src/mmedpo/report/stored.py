"""What a run folder holds, read once: the input of the report. What a recipe did not make is empty, not an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mmedpo.chat.cache import EndpointCost, costs_of
from mmedpo.chat.opening import cache_path
from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError, shown
from mmedpo.records import (
    Candidate,
    DataNotes,
    Drop,
    Evaluation,
    Example,
    FactorValue,
    Grounding,
    ItemScore,
    JudgedAnswers,
    Prediction,
    PreferencePair,
    ProbeSummary,
    Record,
    SourceWeights,
    Turn,
    Verdict,
)
from mmedpo.records.looks import LogEntry
from mmedpo.run import Run
from mmedpo.run.layout import (
    CANDIDATES,
    CURATED,
    DATA_NOTES,
    DEBATES,
    EVALUATION,
    EXAMPLES,
    FACTORS,
    GROUNDINGS,
    JUDGED,
    LOG,
    PAIRS,
    SCORES,
    VERDICTS,
    WEIGHTS,
    predictions_of,
)
from mmedpo.run.slots import in_round
from mmedpo.storage.json_file import read_json

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """The tables of one run; an empty one was not written, or has no rows."""

    settings: RunSettings
    examples: Mapping[str, Example]
    """By example id."""
    data: DataNotes
    """`data.json`."""
    groundings: Sequence[Grounding]
    candidates: Sequence[Candidate]
    verdicts: Mapping[str, Verdict]
    """By example id."""
    curated: Sequence[PreferencePair]
    """Before scoring, unscored ones included."""
    pairs: Sequence[PreferencePair]
    """With score and weight: what was trained on."""
    turns: Sequence[Turn]
    """All debates."""
    weights: Sequence[SourceWeights]
    factors: Sequence[FactorValue]
    """Factors of the weights that training measured."""
    costs: Sequence[EndpointCost]
    """What language models have cost this run; empty where none was called, or another run paid."""
    log: Sequence[Mapping[str, Any]]
    """The trainer's log with the looks at the validation probe."""
    trained: bool
    """False when training stopped (it collapsed, or was killed) and so left a log but no adapter."""
    evaluation: Evaluation | None
    scores: Sequence[ItemScore]
    """Every answer of every model under every protocol; empty before the evaluation."""
    predictions: Mapping[str, Mapping[str, Prediction]]
    """Model -> example id -> answer, of the evaluated models."""
    judged: Sequence[JudgedAnswers]
    """What language models said of the answers; empty where a recipe asks none."""
    drops: Sequence[Drop]

    def probe(self, name: str) -> ProbeSummary | None:
        """What a probe found; None when it was not measured."""
        found = self.evaluation.probes if self.evaluation else ()
        return next((summary for summary in found if summary.probe == name), None)


def read_stored(run: Run) -> Stored:
    """Reads everything the report needs.

    Raises:
        RunFolderError: a file is there, but damaged or of another version.
    """
    checked = _json(run, EVALUATION, Evaluation)
    stored = Stored(
        settings=run.settings,
        examples={example.example_id: example for example in _table(run, EXAMPLES, Example)},
        data=_json(run, DATA_NOTES, DataNotes) or DataNotes(),
        groundings=_table(run, GROUNDINGS, Grounding) if _is_grounded(run.settings) else [],
        candidates=_table(run, CANDIDATES, Candidate),
        verdicts={verdict.example_id: verdict for verdict in _table(run, VERDICTS, Verdict)},
        curated=_table(run, CURATED, PreferencePair),
        pairs=_table(run, PAIRS, PreferencePair),
        turns=_table(run, DEBATES, Turn),
        weights=_table(run, WEIGHTS, SourceWeights),
        factors=_table(run, FACTORS, FactorValue),
        costs=_costs(run),
        log=_json(run, LOG, list[LogEntry]) or [],
        trained=_last_training(run.settings) in run.manifest.stages,
        evaluation=checked,
        scores=_table(run, SCORES, ItemScore) if checked else [],
        predictions={
            model: {answer.example_id: answer for answer in _table(run, predictions_of(model), Prediction)}
            for model in (checked.models if checked else ())
        },
        judged=_table(run, JUDGED, JudgedAnswers) if checked and checked.judged else [],
        drops=run.drops(),
    )
    _check_joins(run, stored)
    return stored


def _check_joins(run: Run, stored: Stored) -> None:
    """Refuses scores and marks of answers, or of questions, that no other table of the folder holds."""
    said = [(SCORES, score.example_id, score.model) for score in stored.scores]
    said += [(JUDGED, row.example_id, model) for row in stored.judged for model in (row.model, row.against)]
    for table, name, model in said:
        answered = stored.predictions.get(model)
        if name not in stored.examples or (answered is not None and name not in answered):
            where = EXAMPLES if name not in stored.examples else predictions_of(model)
            raise RunFolderError(
                f"{run.file(table)} scores {shown(name)}, which {where} does not hold; "
                f"run `mmedpo evaluate {run.path}` again"
            )


def _last_training(settings: RunSettings) -> str:
    """Name of the stage that gives the tuned model."""
    return in_round(settings, "train")


def _is_grounded(settings: RunSettings) -> bool:
    """Whether groundings in the folder are this recipe's; an earlier one may have left some there."""
    return settings.grounds


def _costs(run: Run) -> list[EndpointCost]:
    path = cache_path(run)
    return costs_of(path, run.path.name) if run.settings.chat.endpoints and path.exists() else []


def _table(run: Run, name: str, kind: type[R]) -> list[R]:
    return run.read(name, kind) if run.file(name).exists() else []


def _json(run: Run, name: str, kind: type[T]) -> T | None:
    path = run.file(name)
    return read_json(path, kind) if path.exists() else None
