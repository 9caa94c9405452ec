"""Log-probabilities of answers given images: the seam between models and everything that asks them.

Training, reference, probes and ranking all ask through `branch_logprobs`. Today it runs one padded
sequence per branch; a faster layout replaces it here and nowhere else.
"""

from mmedpo.engine.branches import Branch, build_branch
from mmedpo.engine.features import FeatureStore
from mmedpo.engine.logprobs import BranchLogprobs, branch_logprobs, logprobs_in_batches

__all__ = ["Branch", "BranchLogprobs", "FeatureStore", "branch_logprobs", "build_branch", "logprobs_in_batches"]
