"""`medevalkit`: the rules of MedEvalKit for VQA-RAD and SLAKE, without its language-model judge."""

from __future__ import annotations

import re

from mmedpo.evaluate.protocols.judgement import Judgement
from mmedpo.records import Example
from mmedpo.registry import register

_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_ANNOUNCED = (
    "**answer**:",
    "**answer**",
    "*answer*:",
    "**answer:**",
    "answer is",
    "answer:",
    "答案:",
    "final answer",
)
"""What stands before an answer; each in turn, only what follows its last occurrence counts."""


@register("protocol", "medevalkit")
class MedEvalKit:
    """MedEvalKit (2026-02), its own rules re-written from the published files.

    What counts is what is boxed, or tagged as the answer, or follows a phrase that announces it. Closed, truth yes or
    no: exactly one of the letters "yes" and "no" occurs, and the truth does ("no" is in "normal"). Closed otherwise:
    equal but for full stops. Open: equal (`open_exact`), and recall and F1 of *distinct* words split at blanks, marks
    included. Its script for SLAKE asks that a capitalised "Yes" be equal; here yes and no are judged alike everywhere.
    """

    def score(self, example: Example, text: str) -> Judgement:
        """See the class; reports are unscored, they have other rules there."""
        if example.answer_type == "report":
            return Judgement(unscored="no-report-metric")
        truth, said = example.answer.lower().strip(), announced(text)
        if example.answer_type == "open":
            return Judgement({"open_exact": float(said == truth), **_of_distinct_words(truth, said)})
        said = said.replace("\n", "").replace(".", "")
        if truth not in ("yes", "no"):
            return Judgement({"closed_accuracy": float(said == truth)})
        return Judgement({"closed_accuracy": float(("yes" in said) != ("no" in said) and truth in said)})


def announced(text: str) -> str:
    """The part of an answer that counts, lower case."""
    said = text.lower().strip()
    if "boxed" in said:
        found = _BOXED.search(said)
        said = found.group(1) if found else ""
    elif "<answer>" in said:
        found = _TAGGED.search(said)
        said = found.group(1) if found else said
    for phrase in _ANNOUNCED:
        said = said.rpartition(phrase)[2]
    return said


def _of_distinct_words(truth: str, said: str) -> dict[str, float]:
    wanted, given = set(truth.split()), set(said.split())
    common = len(wanted & given)
    recall = common / len(wanted) if wanted else 0.0
    return {"open_recall": recall, "open_f1": 2 * common / (len(wanted) + len(given)) if common else 0.0}
