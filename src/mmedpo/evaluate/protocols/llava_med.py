"""`llava-med`: LLaVA-Med's own script."""

from __future__ import annotations

from mmedpo.evaluate.normalise import released_text
from mmedpo.evaluate.protocols.judgement import Judgement
from mmedpo.evaluate.protocols.released import twice_normalised_recall
from mmedpo.records import Example
from mmedpo.registry import register


@register("protocol", "llava-med")
class LlavaMed:
    """LLaVA-Med's own script (`llava/eval/run_eval.py`).

    Closed: credit only when the prediction contains `yes` or `no` as a substring, and the ground truth as well; so
    a question like "left or right?" can only be won by a prediction that happens to hold those letters. Open: as
    `released`. The script never counts a wrong answer that contains yes or no, so the accuracy it *prints* is too
    high; `closed_accuracy` divides by all closed questions, `closed_accuracy_printed` by those the script counts.
    """

    def score(self, example: Example, text: str) -> Judgement:
        """See the class; reports are unscored, the script has no metric for them."""
        reference, said = released_text(example.answer), released_text(text)
        if example.answer_type == "report":
            return Judgement(unscored="no-report-metric")
        if example.answer_type == "open":
            return Judgement({"open_recall": twice_normalised_recall(reference, said)})
        speaks = "yes" in said or "no" in said
        correct = float(speaks and reference in said)
        values = {"closed_accuracy": correct}
        if correct or not speaks:
            values["closed_accuracy_printed"] = correct
        return Judgement(values)
