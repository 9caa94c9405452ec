"""`released`: bug-compatible with the evaluation scripts of MMedPO."""

from __future__ import annotations

from mmedpo.evaluate import metrics
from mmedpo.evaluate.normalise import released_text
from mmedpo.evaluate.protocols.judgement import Judgement
from mmedpo.records import Example
from mmedpo.registry import register


@register("protocol", "released")
class Released:
    """Bug-compatible with the evaluation scripts of MMedPO; use it to compare with the paper's tables only.

    Closed: the normalised ground truth is a substring of the normalised prediction ("no" is in "normal").
    Open: recall with the prediction's multiplicities. Report: BLEU with smoothing method 7, ROUGE-L of the
    `rouge` package, METEOR on white-space tokens. Text is normalised once, and a second time for open questions.
    The scripts join by position; we join by id, which gives the same numbers where their order was right.
    """

    def score(self, example: Example, text: str) -> Judgement:
        """See the class; like the scripts it scores everything, an empty ground truth included."""
        reference, said = released_text(example.answer), released_text(text)
        if example.answer_type == "closed":
            return Judgement({"closed_accuracy": float(reference in said)})
        if example.answer_type == "open":
            return Judgement({"open_recall": twice_normalised_recall(reference, said)})
        return Judgement(
            {
                "bleu": metrics.bleu_released(reference.split(), said.split()),
                "rouge_l": metrics.rouge_l_released(reference, said),
                "meteor": metrics.meteor(reference.split(), said.split()),
            }
        )


def twice_normalised_recall(reference: str, said: str) -> float:
    """Recall as the scripts compute it for open questions: their normalisation runs twice."""
    return metrics.released_recall(released_text(reference).split(), released_text(said).split())
