"""The nouns every stage shares. Frozen, validated, and never aware of torch.

Stages do not import each other: they meet in these records and in the tables of the run folder
(`mmedpo.storage.tables` turns a list of records into Parquet and back). Every table's record is
defined here; arrays and the conventions of coordinates are in `mmedpo.records.shapes`.
"""

from mmedpo.records.core import (
    IMAGE_PLACE,
    AnswerType,
    Box,
    DataNotes,
    Drop,
    ErrorType,
    Example,
    Grounding,
    ImageRef,
    NoisedView,
    NoiseRegion,
    NoiseSpec,
    PairKind,
    PreferencePair,
    Record,
    places_of,
    question_text,
)
from mmedpo.records.evaluation import (
    AtEqualLength,
    Difference,
    Evaluation,
    ItemScore,
    MetricSummary,
    Prediction,
    SplitScores,
    Summary,
)
from mmedpo.records.judging import (
    Candidate,
    Debated,
    FactorValue,
    SourceWeights,
    Turn,
    Verdict,
)
from mmedpo.records.probing import (
    MAP_SIDE,
    Looking,
    LooksMean,
    LooksPart,
    LooksScore,
    Measurement,
    ProbePart,
    ProbeSummary,
    Reliance,
)
from mmedpo.records.rows import (
    Message,
    Part,
    PreferenceRow,
)
from mmedpo.records.study import (
    Cell,
    Contrast,
    ProbeCell,
)

__all__ = [
    "IMAGE_PLACE",
    "MAP_SIDE",
    "AnswerType",
    "AtEqualLength",
    "Box",
    "Candidate",
    "Cell",
    "Contrast",
    "DataNotes",
    "Debated",
    "Difference",
    "Drop",
    "ErrorType",
    "Evaluation",
    "Example",
    "FactorValue",
    "Grounding",
    "ImageRef",
    "ItemScore",
    "Looking",
    "LooksMean",
    "LooksPart",
    "LooksScore",
    "Measurement",
    "Message",
    "MetricSummary",
    "NoiseRegion",
    "NoiseSpec",
    "NoisedView",
    "PairKind",
    "Part",
    "Prediction",
    "PreferencePair",
    "PreferenceRow",
    "ProbeCell",
    "ProbePart",
    "ProbeSummary",
    "Record",
    "Reliance",
    "SourceWeights",
    "SplitScores",
    "Summary",
    "Turn",
    "Verdict",
    "places_of",
    "question_text",
]
