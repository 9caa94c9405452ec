"""Log-probabilities of answers given images: the seam between models and everything that asks them.

`trie`, `layout` and `bins` are pure; `attention` and `logprobs` compute; `features` and `reference`
keep what is computed once; an `Engine` puts them together, and checks itself against plain sequences.
"""

from mmedpo.engine.answers import Asked
from mmedpo.engine.branches import Branch, build_branch
from mmedpo.engine.engine import Agreement, Engine
from mmedpo.engine.features import FeatureStore
from mmedpo.engine.logprobs import TokenLogprobs
from mmedpo.engine.reference import ReferenceCache

__all__ = ["Agreement", "Asked", "Branch", "Engine", "FeatureStore", "ReferenceCache", "TokenLogprobs", "build_branch"]
