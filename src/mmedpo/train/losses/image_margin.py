"""`image-margin`: the answer must be likelier on its own image than on another image of the step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


@register("loss", "image-margin")
class ImageMargin:
    """max(0, m - [log pi(y_w | x) - log pi(y_w | x')]), x' another image of the step, m in nats.

    Only for answers that rest on a finding that x shows and x' is not known to show (`mmedpo.train.contrast`).
    Needs no reference, no noise and no rejected answer; the image x' is computed in the step anyway.
    """

    options: ClassVar[frozenset[str]] = frozenset({"margin"})
    uses: ClassVar[frozenset[Use]] = frozenset({"other-image"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss, nats."""
        return relu(options.margin - (pairs.chosen_logprob - pairs.other_logprob))
