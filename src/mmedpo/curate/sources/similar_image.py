"""`similar-image`: the question answered on the image of another patient that looks most alike.

One of the formulations of the benchmark arXiv 2601.17918, with the model's own image features in place of a
CLIP model's: what it says of the other image is fluent, and wrong wherever the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mmedpo.curate.sources.source import Sampling
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Candidate, Example
from mmedpo.registry import register

if TYPE_CHECKING:
    import torch


@register("source", "similar-image")
class SimilarImage:
    """Answers on the nearest other image of the training questions, by cosine of the mean image feature."""

    draws: ClassVar[bool] = True

    def __init__(self) -> None:
        self._nearest: dict[str, Path] = {}
        """View that is shown instead, by the hash of the first image of a question."""

    def prepare(self, sampling: Sampling, examples: Sequence[Example]) -> None:
        """Finds the neighbour of every image; see `Source`."""
        import torch

        first = {example.image.sha256: example for example in examples}
        views = [image_file(sampling.image_root, example.image.path) for example in first.values()]
        with torch.no_grad():
            looks = torch.stack([_look(sampling, view) for view in views])
        patients = [example.patient_id or sha for sha, example in first.items()]
        number_of = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        patient = torch.tensor([number_of[name] for name in patients])
        for place, sha in enumerate(first):
            likeness = (looks @ looks[place]).masked_fill(patient == patient[place], -2.0)
            nearest = int(likeness.argmax())
            if patients[nearest] != patients[place]:
                self._nearest[sha] = views[nearest]

    def candidates(self, sampling: Sampling, examples: Sequence[Example]) -> list[Candidate]:
        """See `Source`. Of several images the first is replaced; without another patient there is no answer."""
        from mmedpo.engine import Asked

        shown = [example for example in examples if example.image.sha256 in self._nearest]
        asked = []
        for example in shown:
            views, question = Asked.of(example, sampling.image_root)
            asked.append(Asked((self._nearest[example.image.sha256], *views[1:]), question))
        return sampling.answers(shown, asked)


def _look(sampling: Sampling, view: Path) -> torch.Tensor:
    """[hidden] mean feature of an image, of length 1."""
    import torch

    (image,) = sampling.engine.features([view])
    rows = torch.cat([row.flatten(0, -2) for row in image.rows]).float()
    return torch.nn.functional.normalize(rows.mean(0), dim=0).cpu()
