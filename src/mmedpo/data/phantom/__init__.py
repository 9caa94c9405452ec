"""Generated chest images with exact lesion masks, questions and reports: the embedded dataset.

Nothing to download and nothing private: every picture is made from a seed. `TRAINING_PRIORS` are
skewed so that a model can answer without looking; `BALANCED_PRIORS` are not, so that it cannot.
"""

from __future__ import annotations

from mmedpo.data.phantom.case import PhantomCase, generate_case
from mmedpo.data.phantom.contact_sheet import contact_sheet
from mmedpo.data.phantom.dataset import case_seed, severity, write_phantoms
from mmedpo.data.phantom.priors import BALANCED_PRIORS, TRAINING_PRIORS, Priors
from mmedpo.data.phantom.questions import Question
from mmedpo.data.phantom.structure import Finding, Structure, sample_structure
from mmedpo.data.phantom.worlds import WORLDS, World, WorldName

__all__ = [
    "BALANCED_PRIORS",
    "TRAINING_PRIORS",
    "WORLDS",
    "Finding",
    "PhantomCase",
    "Priors",
    "Question",
    "Structure",
    "World",
    "WorldName",
    "case_seed",
    "contact_sheet",
    "generate_case",
    "sample_structure",
    "severity",
    "write_phantoms",
]
