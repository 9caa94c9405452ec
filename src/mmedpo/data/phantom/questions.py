"""Questions and answers of one case, made from its structure alone.

Sides, zones, sizes and counts are asked only of findings that are there. The share of presence
questions answered `yes` follows the priors: it is set by choosing which findings to ask about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmedpo.data.phantom import wording
from mmedpo.data.phantom.priors import KINDS, SLICE_KINDS, Kind, Priors
from mmedpo.data.phantom.structure import Finding, Structure
from mmedpo.records import AnswerType, ErrorType

Rng = np.random.Generator

YES_NO = ("yes", "no")
_ASKED = (1, 2, 3, 3)
"""Presence questions for 0, 1, 2, 3 findings: never more than have both a yes and a no."""
MAX_QUESTIONS = 12


@dataclass(frozen=True)
class Question:
    """One question with its ground truth."""

    question: str
    """Plain text."""
    answer: str
    """Ground truth, lower case but for acronyms."""
    answer_type: AnswerType
    """closed, open or report."""
    error_type: ErrorType
    """What is asked for."""
    choices: tuple[str, ...] = ()
    """Alternatives of a closed question."""
    about: Kind | None = None
    """The finding it asks about; None when it asks about the image."""


def ask_all(rng: Rng, structure: Structure, priors: Priors) -> tuple[Question, ...]:
    """All questions of one case, 5 to 12; the report comes last."""
    asked = _presence(rng, structure, priors)
    for finding in structure.findings:
        asked += _attributes(rng, finding)
    asked += _abnormality(rng, structure)
    if structure.modality == "x-ray" and rng.random() < 0.6:
        asked.append(_heart(rng, structure))
    if rng.random() < 0.5:
        asked.append(_normality(rng, structure))
    asked.append(_modality(rng, structure))
    asked.append(_plane(rng, structure))
    if len(asked) > MAX_QUESTIONS - 1:
        # Presence questions stay, so that their share of yes stays what the priors say.
        first = sum(question.error_type == "presence" for question in asked)
        keep = sorted(rng.permutation(len(asked) - first)[: MAX_QUESTIONS - 1 - first])
        asked = asked[:first] + [asked[first + i] for i in keep]
    text = wording.report(rng, structure)
    return (*asked, Question(wording.pick(rng, wording.REPORT), text, "report", "other"))


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _presence(rng: Rng, structure: Structure, priors: Priors) -> list[Question]:
    """One to three questions; the abnormal images make up for the normal ones, where all answers are no."""
    findings = {finding.kind: finding for finding in structure.findings}
    allowed = KINDS if structure.modality == "x-ray" else SLICE_KINDS
    weights = [probability * asked for probability, asked in zip(priors.number, _ASKED, strict=True)]
    share = priors.yes * sum(weights) / sum(weights[1:])
    yes: list[tuple[Kind, bool]] = [(kind, sided) for kind in findings for sided in (False, True)]
    no: list[tuple[Kind, bool]] = []
    for kind in allowed:
        sided = rng.random() < 0.5
        if kind not in findings:
            no.append((kind, sided))
        elif findings[kind].side in ("left", "right") and rng.random() < 0.5:
            no.append((kind, True))
    yes = [yes[i] for i in rng.permutation(len(yes))]
    no = [no[i] for i in rng.permutation(len(no))]
    questions: list[Question] = []
    for _ in range(_ASKED[len(findings)]):
        wanted = bool(findings) and rng.random() < share
        pool = yes if (wanted and yes) or not no else no
        if pool:
            kind, sided = pool.pop()
            questions.append(_presence_question(rng, kind, sided, findings.get(kind), pool is yes))
    return questions


def _presence_question(rng: Rng, kind: Kind, sided: bool, finding: Finding | None, value: bool) -> Question:
    if kind == "cardiomegaly":
        words = wording.NAMES[kind][int(sided)]
        text = wording.pick(rng, wording.PRESENCE).format(a=" ".join(words).strip())
        return Question(text, _yes_no(value), "closed", "presence", YES_NO, kind)
    if not sided:
        text = wording.pick(rng, wording.PRESENCE).format(a=wording.with_article(rng, kind))
        return Question(text, _yes_no(value), "closed", "presence", YES_NO, kind)
    side = wording.pick(rng, ("left", "right"))
    if finding is not None and finding.side in ("left", "right"):
        other = {"left": "right", "right": "left"}[finding.side]
        side = finding.side if value else other
    text = wording.pick(rng, wording.PRESENCE_SIDED).format(a=wording.with_article(rng, kind), side=side)
    return Question(text, _yes_no(value), "closed", "presence", YES_NO, kind)


def _attributes(rng: Rng, finding: Finding) -> list[Question]:
    asked: list[Question] = []
    if finding.side != "none" and rng.random() < 0.85:
        asked.append(_side(rng, finding))
    if finding.zone != "none" and rng.random() < 0.75:
        asked.append(_zone(rng, finding))
    if finding.size != "none" and rng.random() < 0.6:
        asked.append(_size(rng, finding))
    if finding.kind == "nodule":
        asked.append(_count(rng, finding))
    return asked


def _named(rng: Rng, finding: Finding) -> str:
    return "nodules" if finding.count > 1 else wording.name(rng, finding.kind)


def _fill(rng: Rng, templates: tuple[str, ...], finding: Finding) -> str:
    text = wording.pick(rng, templates).format(name=_named(rng, finding))
    if finding.count > 1:
        text = text.replace("is the nodules", "are the nodules").replace("Is the nodules", "Are the nodules")
    return text


def _side(rng: Rng, finding: Finding) -> Question:
    if rng.random() < 0.55:
        if finding.kind in ("opacity", "effusion"):
            choices: tuple[str, ...] = ("left", "right", "bilateral")
            text = _fill(rng, wording.SIDE_CLOSED_THREE, finding)
        else:
            choices = ("left", "right")
            text = _fill(rng, wording.SIDE_CLOSED, finding)
        return Question(text, finding.side, "closed", "side", choices, finding.kind)
    in_lung = finding.kind not in ("pacemaker", "rib fracture")
    text = _fill(rng, wording.SIDE_OPEN_LUNG if in_lung else wording.SIDE_OPEN, finding)
    if finding.side == "bilateral":
        answer = wording.pick(rng, ("bilateral", "both lungs"))
    elif "lung" in text:
        answer = wording.pick(rng, ("{s}", "{s} lung", "the {s} lung")).format(s=finding.side)
    else:
        answer = wording.pick(rng, ("{s}", "{s} side", "on the {s}")).format(s=finding.side)
    return Question(text, answer, "open", "side", (), finding.kind)


def _zone(rng: Rng, finding: Finding) -> Question:
    draw = rng.random()
    if draw < 0.45:
        text = _fill(rng, wording.ZONE_CLOSED, finding)
        return Question(text, finding.zone, "closed", "zone", ("upper", "middle", "lower"), finding.kind)
    if draw < 0.75:
        text = _fill(rng, wording.ZONE_OPEN, finding)
        answer = wording.pick(rng, ("{z} zone", "the {z} zone")).format(z=finding.zone)
    else:
        text = _fill(rng, wording.PLACE_OPEN, finding)
        answer = wording.pick(rng, ("{p}", "in the {p}")).format(p=wording.place(finding))
    return Question(text, answer, "open", "zone", (), finding.kind)


def _size(rng: Rng, finding: Finding) -> Question:
    three = finding.kind in ("opacity", "effusion")
    if rng.random() < 0.6:
        text = _fill(rng, wording.SIZE_THREE if three else wording.SIZE_TWO, finding)
        choices: tuple[str, ...] = ("small", "moderate", "large") if three else ("small", "large")
        return Question(text, finding.size, "closed", "size", choices, finding.kind)
    return Question(_fill(rng, wording.SIZE_OPEN, finding), finding.size, "open", "size", (), finding.kind)


def _count(rng: Rng, finding: Finding) -> Question:
    answer = wording.NUMBERS[finding.count - 1]
    if rng.random() < 0.4:
        return Question(
            wording.pick(rng, wording.COUNT_CLOSED), answer, "closed", "count", wording.NUMBERS, finding.kind
        )
    return Question(wording.pick(rng, wording.COUNT_OPEN), answer, "open", "count", (), finding.kind)


def _abnormality(rng: Rng, structure: Structure) -> list[Question]:
    """One question on the whole image; a second on one side when exactly one finding lies there."""
    findings = structure.findings
    text = wording.pick(rng, wording.ABNORMALITY)
    if not findings:
        answer = wording.pick(rng, ("no abnormality", "no abnormality is seen", "a normal chest"))
        return [Question(text, answer, "open", "abnormality")]
    if len(findings) == 1:
        answer = wording.phrase(findings[0])
    else:
        names = [wording.NAMES[finding.kind][0][1] for finding in findings]
        answer = ", ".join(names[:-1]) + " and " + names[-1]
    asked = [Question(text, answer, "open", "abnormality")]
    for side in ("left", "right"):
        here = [finding for finding in findings if finding.side in (side, "bilateral")]
        if len(findings) > 1 and len(here) == 1 and rng.random() < 0.5:
            text = wording.pick(rng, wording.ABNORMALITY_SIDED).format(side=side)
            asked.append(Question(text, wording.phrase(here[0]), "open", "abnormality", (), here[0].kind))
    return asked


def _heart(rng: Rng, structure: Structure) -> Question:
    large = any(finding.kind == "cardiomegaly" for finding in structure.findings)
    if rng.random() < 0.7:
        return Question(wording.pick(rng, wording.HEART_YES), _yes_no(large), "closed", "organ", YES_NO)
    return Question(wording.pick(rng, wording.HEART_NO), _yes_no(not large), "closed", "organ", YES_NO)


def _normality(rng: Rng, structure: Structure) -> Question:
    normal = not structure.findings
    if rng.random() < 0.5:
        return Question(wording.pick(rng, wording.NORMAL_YES), _yes_no(normal), "closed", "abnormality", YES_NO)
    return Question(wording.pick(rng, wording.NORMAL_NO), _yes_no(not normal), "closed", "abnormality", YES_NO)


def _modality(rng: Rng, structure: Structure) -> Question:
    if rng.random() < 0.5:
        text = wording.pick(rng, wording.MODALITY_CLOSED)
        return Question(text, structure.modality, "closed", "modality", ("x-ray", "CT", "MRI"))
    return Question(wording.pick(rng, wording.MODALITY_OPEN), structure.modality, "open", "modality")


def _plane(rng: Rng, structure: Structure) -> Question:
    if rng.random() < 0.5:
        text = wording.pick(rng, wording.PLANE_CLOSED)
        return Question(text, structure.plane, "closed", "plane", ("AP", "PA", "axial"))
    return Question(wording.pick(rng, wording.PLANE_OPEN), structure.plane, "open", "plane")
