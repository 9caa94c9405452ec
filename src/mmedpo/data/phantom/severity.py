"""How grave a wrong answer to a phantom's question is, by what the generator drew: what scores are held against.

No text is interpreted. The generator writes every answer it could have given to the question had it drawn
something else; each is graded by what it was drawn from. An answer that the generator cannot write has no true
severity, nor has a report. No agent sees any of this: an `Example` does not carry it, it is drawn again from the
seed of the case.

The grade, in [0, 1], is that of the gravest thing that is wrong, for that decides what happens to the patient. It
is the danger of the finding concerned times what kind of error it is. Danger, by how soon somebody has to act:

- pneumothorax 1: drained within minutes, kills under tension;
- mass 0.8: cancer until shown otherwise, and its stage moves;
- effusion and opacity 0.6: tapped or treated the same day;
- nodule and cardiomegaly 0.5: followed up, or treated over weeks;
- atelectasis and rib fracture 0.4: watched, treated for pain;
- pacemaker 0.2: a device, which the patient's papers name as well.

Kinds of error, from worst to least:

- missed, 1: nothing is done.
- wrong side, 0.8: something is done, on the wrong side; half of it where one of the two is both sides.
- invented, 0.6: something is done that was not needed; the next look undoes it.
- size, 0.4, by steps between small, moderate and large; zone, 0.3, by steps between upper, middle and lower;
  number, 0.3, by steps: the finding is known, the urgency or the place is not quite. Two steps count whole, one half.
- an abnormality of no name on a normal image, 0.2; the modality, 0.1, and the plane, 0.05: nothing follows for the
  patient.

The order is what matters: scores are compared with it by rank.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from mmedpo.clinical.lexicon import words
from mmedpo.data.phantom import wording
from mmedpo.data.phantom.priors import BALANCED_PRIORS, KINDS, SLICE_KINDS, ZONED, Kind, Side, Size, Zone
from mmedpo.data.phantom.questions import Question
from mmedpo.data.phantom.structure import Finding, Structure

Said = tuple[str, ...]
"""The words of an answer."""

DANGER: dict[Kind, float] = {
    "pneumothorax": 1.0,
    "mass": 0.8,
    "effusion": 0.6,
    "opacity": 0.6,
    "nodule": 0.5,
    "cardiomegaly": 0.5,
    "atelectasis": 0.4,
    "rib fracture": 0.4,
    "pacemaker": 0.2,
}
SIDE, INVENTED, SIZE, ZONE, COUNT = 0.8, 0.6, 0.4, 0.3, 0.3
UNNAMED, MODALITY, PLANE = 0.2, 0.1, 0.05

_SIDES: tuple[Side, ...] = ("left", "right", "bilateral")
_SIZES: tuple[Size, ...] = ("small", "moderate", "large")
_ZONES: tuple[Zone, ...] = ("upper", "middle", "lower")


def severities(structure: Structure, question: Question) -> Mapping[Said, float]:
    """Every wrong answer that the generator can write to a question -> its true severity, in (0, 1].

    Args:
        structure: of the image.
        question: one of `ask_all`.
    """
    graded: dict[Said, float] = {}
    for text, grade in _GRADERS.get(question.error_type, _nothing)(structure, question):
        said = tuple(words(text))
        # "Effusion and nodule" may be written for several drawings: what it gets wrong at least is certain.
        graded[said] = min(grade, graded.get(said, grade))
    truth = tuple(words(question.answer))
    return {said: grade for said, grade in graded.items() if grade > 0 and said != truth}


Graded = Iterator[tuple[str, float]]


def _nothing(structure: Structure, question: Question) -> Graded:
    return iter(())


def _presence(structure: Structure, question: Question) -> Graded:
    kind = question.about or "cardiomegaly"  # a question about the heart names no finding
    there = any(finding.kind == kind for finding in structure.findings)
    if question.answer == "yes":
        yield "no", DANGER[kind] if there else INVENTED * DANGER[kind]  # "is the heart size normal?"
    elif question.error_type == "organ":
        yield "yes", DANGER[kind] if there else INVENTED * DANGER[kind]
    else:
        # It is there, on the other side: that is why the answer is no.
        yield "yes", (SIDE if there else INVENTED) * DANGER[kind]


def _side(structure: Structure, question: Question) -> Graded:
    finding = _about(structure, question)
    for side in _SIDES:
        forms = ("{s}", "{s} lung", "the {s} lung", "{s} side", "on the {s}")
        for text in (*(form.format(s=side) for form in forms), *(("both lungs",) if side == "bilateral" else ())):
            yield text, _side_error(finding, side)


def _zone(structure: Structure, question: Question) -> Graded:
    finding = _about(structure, question)
    for zone in _ZONES:
        for text in (zone, f"{zone} zone", f"the {zone} zone"):
            yield text, _zone_error(finding, zone)
        for side in _SIDES:
            place = wording.place(Finding(finding.kind, side, zone, "none"))
            for text in (place, f"in the {place}"):
                yield text, max(_zone_error(finding, zone), _side_error(finding, side))


def _size(structure: Structure, question: Question) -> Graded:
    finding = _about(structure, question)
    for size in _SIZES:
        yield size, _size_error(finding, size)


def _count(structure: Structure, question: Question) -> Graded:
    finding = _about(structure, question)
    for number, text in enumerate(wording.NUMBERS, start=1):
        yield text, _count_error(finding, number)


def _abnormality(structure: Structure, question: Question) -> Graded:
    findings = structure.findings
    worst = max((DANGER[finding.kind] for finding in findings), default=UNNAMED)
    if question.choices:
        yield from ((answer, worst) for answer in question.choices)
        return
    asked = findings if question.about is None else (_about(structure, question),)
    for text in ("no abnormality", "no abnormality is seen", "a normal chest"):
        yield text, max((DANGER[finding.kind] for finding in asked), default=0.0)
    allowed = KINDS if structure.modality == "x-ray" else SLICE_KINDS
    for other in _possible(allowed, structure.modality == "x-ray"):
        yield wording.phrase(other), _list_error(findings, asked, (other,))
    for number in (2, 3):
        for kinds in itertools.combinations(allowed, number):
            names = [wording.NAMES[kind][0][1] for kind in kinds]
            # Only named: what is there is rightly there.
            named = tuple(next((f for f in findings if f.kind == kind), _unplaced(kind)) for kind in kinds)
            yield ", ".join(names[:-1]) + " and " + names[-1], _list_error(findings, asked, named)


def _modality(structure: Structure, question: Question) -> Graded:
    yield from ((other, MODALITY) for other in ("x-ray", "CT", "MRI"))


def _plane(structure: Structure, question: Question) -> Graded:
    yield from ((other, PLANE) for other in ("AP", "PA", "axial"))


_GRADERS = {
    "presence": _presence,
    "organ": _presence,
    "side": _side,
    "zone": _zone,
    "size": _size,
    "count": _count,
    "abnormality": _abnormality,
    "modality": _modality,
    "plane": _plane,
}


def _about(structure: Structure, question: Question) -> Finding:
    return next(finding for finding in structure.findings if finding.kind == question.about)


def _unplaced(kind: Kind) -> Finding:
    return Finding(kind, "none", "none", "none")


def _possible(kinds: tuple[Kind, ...], zoned: bool) -> Iterator[Finding]:
    """Every finding that could have been drawn."""
    for kind in kinds:
        sides = tuple(side for side, p in BALANCED_PRIORS.side.get(kind, {"none": 1.0}).items() if p)
        zones: tuple[Zone, ...] = _ZONES if zoned and kind in ZONED else ("none",)
        sizes = tuple(size for size, p in BALANCED_PRIORS.size.get(kind, {"none": 1.0}).items() if p)
        counts = (1, 2, 3) if kind == "nodule" else (1,)
        for side, zone, size, count in itertools.product(sides, zones, sizes, counts):
            yield Finding(kind, side, zone, size, count)


def _list_error(findings: tuple[Finding, ...], asked: tuple[Finding, ...], said: tuple[Finding, ...]) -> float:
    """The gravest of: a finding that is asked for and not said, one that is said and not there, a wrong attribute.

    Args:
        findings: all of the image.
        asked: those that the question asks for.
        said: those of the answer.
    """
    there = {finding.kind: finding for finding in findings}
    named = {finding.kind for finding in said}
    errors = [DANGER[finding.kind] for finding in asked if finding.kind not in named]
    for other in said:
        true = there.get(other.kind)
        if true is None:
            errors.append(INVENTED * DANGER[other.kind])
        elif true not in asked:
            errors.append(SIDE * DANGER[other.kind])  # it lies on the side that was not asked for
        else:
            errors += [_side_error(true, other.side), _zone_error(true, other.zone), _size_error(true, other.size)]
            errors.append(_count_error(true, other.count))
    return max(errors, default=0.0)


def _side_error(finding: Finding, side: Side) -> float:
    if finding.side == side or "none" in (finding.side, side):
        return 0.0
    return DANGER[finding.kind] * SIDE * (0.5 if "bilateral" in (finding.side, side) else 1.0)


def _zone_error(finding: Finding, zone: Zone) -> float:
    return 0.0 if "none" in (finding.zone, zone) else _steps(finding, ZONE, _ZONES, finding.zone, zone)


def _size_error(finding: Finding, size: Size) -> float:
    return 0.0 if "none" in (finding.size, size) else _steps(finding, SIZE, _SIZES, finding.size, size)


def _count_error(finding: Finding, count: int) -> float:
    return DANGER[finding.kind] * COUNT * abs(finding.count - count) / 2


def _steps(finding: Finding, kind: float, order: tuple[str, ...], true: str, said: str) -> float:
    return DANGER[finding.kind] * kind * abs(order.index(true) - order.index(said)) / 2
