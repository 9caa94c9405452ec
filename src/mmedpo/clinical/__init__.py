"""Clinical language: a lexicon, the facts an answer states, and how two answers contradict each other."""

from mmedpo.clinical.conflict import Conflict, conflict
from mmedpo.clinical.facts import Facts, FindingFact, extract_facts

__all__ = ["Conflict", "Facts", "FindingFact", "conflict", "extract_facts"]
