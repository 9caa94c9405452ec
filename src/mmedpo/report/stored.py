"""What a run folder holds, read once: the input of the report. What a recipe did not make is empty, not an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from mmedpo.chat.cache import EndpointCost, costs_of
from mmedpo.chat.opening import cache_path
from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError
from mmedpo.records import (
    Candidate,
    Drop,
    Evaluation,
    Example,
    Grounding,
    Prediction,
    PreferencePair,
    Record,
    SourceWeights,
    Turn,
    Verdict,
)
from mmedpo.run import Run

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Stored:
    """The tables of one run; an empty one was not written, or has no rows."""

    settings: RunSettings
    examples: Mapping[str, Example]
    """By example id."""
    data: Mapping[str, Any]
    """`data.json`: notes, questions per split, data use."""
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
    costs: Sequence[EndpointCost]
    """What language models have cost this run; empty where none was called, or another run paid."""
    log: Sequence[Mapping[str, Any]]
    """The trainer's log with the looks at the validation probe."""
    trained: bool
    """False when training stopped (it collapsed, or was killed) and so left a log but no adapter."""
    evaluation: Evaluation | None
    predictions: Mapping[str, Mapping[str, Prediction]]
    """Model -> example id -> answer."""
    drops: Sequence[Drop]


def read_stored(run: Run) -> Stored:
    """Reads everything the report needs.

    Raises:
        RunFolderError: a file is there, but damaged or of another version.
    """
    evaluation = _json(run, "evaluation.json")
    try:
        checked = None if evaluation is None else Evaluation.model_validate(evaluation)
    except ValidationError as error:
        raise RunFolderError(
            f"{run.file('evaluation.json')} does not hold an evaluation of this version "
            f"({error.error_count()} fields differ); run `mmedpo evaluate {run.path}` again"
        ) from None
    return Stored(
        settings=run.settings,
        examples={example.example_id: example for example in _table(run, "examples.parquet", Example)},
        data=_json(run, "data.json") or {},
        groundings=_table(run, "groundings.parquet", Grounding) if _is_grounded(run.settings) else [],
        candidates=_table(run, "candidates.parquet", Candidate),
        verdicts={verdict.example_id: verdict for verdict in _table(run, "verdicts.parquet", Verdict)},
        curated=_table(run, "curated.parquet", PreferencePair),
        pairs=_table(run, "pairs.parquet", PreferencePair),
        turns=_table(run, "debates.parquet", Turn),
        weights=_table(run, "weights.parquet", SourceWeights),
        costs=_costs(run),
        log=_json(run, "train/log.json") or [],
        trained="train" in run.manifest.stages,
        evaluation=checked,
        predictions={
            model: {answer.example_id: answer for answer in _table(run, f"predictions/{model}.parquet", Prediction)}
            for model in ("base", "tuned")
        },
        drops=run.drops(),
    )


def _is_grounded(settings: RunSettings) -> bool:
    """Whether groundings in the folder are this recipe's; an earlier one may have left some there."""
    return settings.preferences is None and "visual" in settings.curate.kinds


def _costs(run: Run) -> list[EndpointCost]:
    path = cache_path(run)
    return costs_of(path, run.path.name) if run.settings.chat.endpoints and path.exists() else []


def _table(run: Run, name: str, kind: type[R]) -> list[R]:
    return run.read(name, kind) if run.file(name).exists() else []


def _json(run: Run, name: str) -> Any:
    path = run.file(name)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete it and run its stage again") from None
