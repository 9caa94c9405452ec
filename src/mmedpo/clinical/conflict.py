"""How strongly one answer contradicts another, and in what.

Each aspect that is stated by both answers and differs gives a conflict of fixed clinical weight; the
score is the largest of them, so it can be derived by hand. Saying less is no contradiction.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmedpo.clinical.cues import find_cues
from mmedpo.clinical.facts import LUNG_ABNORMALITY, Facts, FindingFact, content_words
from mmedpo.clinical.findings import DEVICES, FOCAL, GENERIC_FINDINGS, LUNG_FINDINGS, RELATED
from mmedpo.clinical.kinds import same_kind
from mmedpo.clinical.sentences import tokens_of
from mmedpo.clinical.vocabulary import PARTS
from mmedpo.records import ErrorType

WEIGHTS: dict[str, float] = {
    "polarity": 1.0,
    "presence": 1.0,
    "normality": 1.0,
    "inferred polarity": 0.8,
    "finding": 0.9,
    "asked": 0.9,
    "side": 0.8,
    "zone": 0.7,
    "organ": 0.7,
    "count": 0.6,
    "size": 0.5,
    "attribute": 0.5,
    "added finding": 0.4,
    "modality": 0.4,
    "plane": 0.4,
    "words": 0.3,
}
"""Clinical weight of a full conflict in each aspect.

`asked` replaces `modality` and `plane` where the question asks for them; `words` is the fallback for
short answers the lexicon does not know: they share less than half of the truth's content words.
"""

PARTIAL = 0.6
"""Factor where the two values overlap, e.g. bilateral against left."""

_LONGEST_FALLBACK = 12
_TOLD_BY_STATE = frozenset({"heart", "lung"})
"""Organs whose state is a finding: "the heart is enlarged"."""
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Conflict:
    """The clearest contradiction between two answers."""

    score: float
    """In [0, 1]; 0 when nothing contradicts."""
    error_type: ErrorType = "other"
    """What the other answer gets wrong."""
    reason: str = ""
    """One line; empty when nothing contradicts."""


def conflict(truth: Facts, other: Facts) -> Conflict:
    """The clearest contradiction of `truth` by `other`; the first in clinical order among equals.

    The same facts never conflict, even where a text contradicts itself ("a nodule, the lungs are clear").
    """
    if truth == other:
        return Conflict(0.0)
    found = [*_polarity(truth, other), *_findings(truth, other), *_values(truth, other), *_denials(truth, other)]
    if not found:
        found = _words(truth, other)
    return max(found, key=lambda c: c.score, default=Conflict(0.0))


def related(a: str, b: str) -> bool:
    """True when naming finding b for finding a is no clear contradiction."""
    if (GENERIC_FINDINGS.keys() - {"lesion"}) & {a, b} or a == b:
        return True
    if "lesion" in (a, b):
        return bool({a, b} & FOCAL)
    return frozenset({a, b}) in RELATED


def _polarity(truth: Facts, other: Facts) -> list[Conflict]:
    if truth.polarity is None or other.polarity is None or truth.polarity == other.polarity:
        return []
    inferred = truth.polarity_inferred or other.polarity_inferred
    kind: ErrorType = "presence" if truth.asked == "other" else truth.asked
    said = "yes" if truth.polarity else "no"
    return [
        Conflict(
            WEIGHTS["inferred polarity" if inferred else "polarity"],
            kind,
            f"truth says {said}, the answer the opposite",
        )
    ]


def _findings(truth: Facts, other: Facts) -> list[Conflict]:
    found: list[Conflict] = []
    for fact in truth.findings:
        found += _one_finding(fact, truth, other)
    return found + _normality(truth, other) + _unnamed(truth, other)


def _one_finding(fact: FindingFact, truth: Facts, other: Facts) -> list[Conflict]:
    same = [g for g in other.findings if g.name == fact.name]
    opposite = [g for g in same if _opposed(fact, g) and not any(_stated(g, t) for t in truth.findings)]
    agreeing = [g for g in same if g.present == fact.present]
    if any(_overlap(g.sides, fact.sides) for g in agreeing) or any(_opposed(fact, g) for g in truth.findings):
        opposite = []  # or the truth says both: "normal to mildly enlarged"
    if opposite:
        state = "present" if fact.present else "absent"
        kind: ErrorType = "abnormality" if fact.name == "abnormality" else "presence"
        return [
            Conflict(WEIGHTS["presence"], kind, f"{fact.name} is {state} in the truth, denied otherwise by the answer")
        ]
    if fact.name == LUNG_ABNORMALITY and not fact.present:
        claimed = sorted(
            g.name
            for g in other.findings
            if g.present and g.name in LUNG_FINDINGS - truth.uncertain and _overlap(g.sides, fact.sides)
        )
        return (
            [Conflict(WEIGHTS["presence"], "presence", f"the lungs are clear, the answer claims {claimed[0]}")]
            if claimed
            else []
        )
    if not fact.present or not agreeing:
        return []
    # The most similar mention counts: "effusion left; small effusion right" against "effusion right" is no conflict.
    return min((_modifiers(fact, g) for g in agreeing), key=lambda cs: max((c.score for c in cs), default=0.0))


def _opposed(a: FindingFact, b: FindingFact) -> bool:
    """One says there is what the other denies; "no large effusion" denies no small one, "no acute one" no old one."""
    same = a.name == b.name and a.present != b.present and same_kind(a.kinds, b.kinds)
    return same and _overlap(a.sides, b.sides) and _overlap(a.sizes, b.sizes)


def _stated(a: FindingFact, b: FindingFact) -> bool:
    """The second says the first too; a denial of one kind, size or side says no wider one."""
    if a.name != b.name or a.present != b.present:
        return False
    if not a.present:
        widths = ((a.sides, b.sides), (a.sizes, b.sizes))
        return b.kinds <= a.kinds and all(not theirs or (ours and ours <= theirs) for ours, theirs in widths)
    return same_kind(a.kinds, b.kinds) and _overlap(a.sides, b.sides) and _overlap(a.sizes, b.sizes)


def _modifiers(a: FindingFact, b: FindingFact) -> list[Conflict]:
    pairs: list[tuple[ErrorType, frozenset[str], frozenset[str]]] = [
        ("side", a.sides, b.sides),
        *(("zone", x, y) for x, y in _by_axis(a.zones, b.zones)),
        ("count", _counts(a), _counts(b)),
        ("size", a.sizes, b.sizes),
    ]
    found = [_differ(kind, kind, x, y, f" of {a.name}") for kind, x, y in pairs]
    return [c for c in found if c]


def _counts(fact: FindingFact) -> frozenset[str]:
    return frozenset("1" if c == "1" else c for c in fact.counts)


def _normality(truth: Facts, other: Facts) -> list[Conflict]:
    healthy = next((f for f in truth.findings if f.name == "abnormality" and not f.present), None)
    abnormal = {g.name for g in other.findings if healthy and g.present and same_kind(healthy.kinds, g.kinds)}
    abnormal &= other.present - DEVICES
    if truth.normal and abnormal:
        return [Conflict(WEIGHTS["normality"], "abnormality", f"truth is normal, the answer claims {min(abnormal)}")]
    missed = sorted(truth.present - DEVICES)
    if other.normal and missed:
        return [Conflict(WEIGHTS["normality"], "abnormality", f"truth has {missed[0]}, the answer calls it normal")]
    denied = any(f.name == LUNG_ABNORMALITY and not f.present for f in other.findings)
    lung = sorted(truth.present & LUNG_FINDINGS)
    if denied and lung and not (other.present | other.uncertain) & LUNG_FINDINGS:
        return [Conflict(WEIGHTS["presence"], "presence", f"truth has {lung[0]}, the answer calls the lungs clear")]
    return []


def _unnamed(truth: Facts, other: Facts) -> list[Conflict]:
    """Findings of the answer that the truth does not state."""
    extra = sorted(
        n for n in other.present - truth.named if not any(related(n, k) for k in truth.present | truth.uncertain)
    )
    if not extra or not truth.findings or truth.normal:
        return []
    missing = sorted(truth.present - other.present - other.uncertain)
    if missing:
        return [Conflict(WEIGHTS["finding"], "abnormality", f"{extra[0]} instead of {missing[0]}")]
    return [Conflict(WEIGHTS["added finding"], "presence", f"{extra[0]} is not in the truth")]


def _values(truth: Facts, other: Facts) -> list[Conflict]:
    found: list[Conflict | None] = []
    if not truth.present & other.present:  # otherwise place and size were compared finding by finding
        found.append(_differ("side", "side", *_places(truth, other)))
        found += [_differ("zone", "zone", a, b) for a, b in _by_axis(truth.zones, other.zones)]
        found.append(_differ("count", "count", truth.counts, other.counts))
        found.append(_differ("size", "size", truth.sizes, other.sizes))
        found.append(_differ("organ", "organ", *_organs(truth.organs, other.organs)))
    asked = truth.asked
    for kind, a, b in (
        ("modality", truth.modalities, other.modalities),
        *(("plane", x, y) for x, y in _planes(truth.planes, other.planes)),
    ):
        weight = "asked" if asked == kind else kind
        found.append(_differ(weight, "modality" if kind == "modality" else "plane", a, b))
    for a, b in _by_axis(truth.attributes, other.attributes):
        sequence = asked == "modality" and any(v.startswith("sequence=") for v in a)
        found.append(_differ("asked" if sequence else "attribute", "modality" if sequence else "attribute", a, b))
    found.append(_differ("zone", "zone", truth.levels, other.levels))
    found.append(_lengths(truth.measures_mm, other.measures_mm))
    return [c for c in found if c]


def _places(truth: Facts, other: Facts) -> tuple[frozenset[str], frozenset[str]]:
    """Sides to compare; a direction stands against a direction, and for the side of an answer that has no other."""
    if truth.directions and other.directions:
        return truth.directions, other.directions
    return truth.sides or truth.directions, other.sides or other.directions


def _denials(truth: Facts, other: Facts) -> list[Conflict]:
    """Values that one affirms and the other denies: "not in the frontal lobe"."""
    ours = [c for c in _denied(other, truth, "the truth") if c.error_type not in ("modality", "plane")]
    return [*_denied(truth, other, "the answer"), *ours]  # "not well viewed by x-rays" says how it was made


def _denied(truth: Facts, other: Facts, who: str) -> list[Conflict]:
    """What `other`, called `who`, denies of what `truth` says."""
    kinds: list[tuple[ErrorType, frozenset[str], frozenset[str]]] = [
        ("side", truth.sides, other.sides),
        ("zone", truth.zones, other.zones),
        ("organ", truth.organs, other.organs),
        ("modality", truth.modalities, other.modalities),
        ("plane", truth.planes, other.planes),
        ("attribute", truth.attributes, other.attributes),
    ]
    found: list[Conflict] = []
    moved = sorted(v for v in truth.directions - other.directions if f"direction:{v}" in other.denied)
    if moved:
        found.append(Conflict(WEIGHTS["side"], "side", f"side: {who} denies {moved[0]}"))
    for kind, mine, theirs in kinds:
        denied = sorted(v for v in mine - theirs if f"{kind}:{v}" in other.denied)
        if denied:
            weight = WEIGHTS["asked" if kind == truth.asked and kind in ("modality", "plane") else kind]
            found.append(Conflict(weight, kind, f"{kind}: {who} denies {_plain(frozenset(denied))[0]}"))
    return found


def _organs(a: frozenset[str], b: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Organ sets to compare; empty where one names the region the other lies in."""
    for x, y in ((a, b), (b, a)):
        if any(PARTS.get(region, frozenset()) & y for region in x):
            return frozenset(), frozenset()
    return (a, b) if not a & b else (frozenset(), frozenset())


def _differ(weight: str, kind: ErrorType, a: frozenset[str], b: frozenset[str], of: str = "") -> Conflict | None:
    if not a or not b or a == b or ("multiple" in a | b and "1" not in a | b):
        return None
    factor = PARTIAL if a & b else 1.0
    if kind in ("modality", "plane", "attribute") and a & b:
        return None
    said, truth = " and ".join(sorted(_plain(b))), " and ".join(sorted(_plain(a)))
    return Conflict(WEIGHTS[weight] * factor, kind, f"{kind}{of}: {said} instead of {truth}")


def _plain(values: frozenset[str]) -> list[str]:
    return [v.split("=")[-1] for v in values]


def _by_axis(a: frozenset[str], b: frozenset[str]) -> list[tuple[frozenset[str], frozenset[str]]]:
    axes = sorted({v.split("=")[0] for v in a} & {v.split("=")[0] for v in b})
    return [
        (frozenset(v for v in a if v.startswith(f"{x}=")), frozenset(v for v in b if v.startswith(f"{x}=")))
        for x in axes
    ]


def _planes(a: frozenset[str], b: frozenset[str]) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Planes by axis; a projection (AP) and a section (axial) exclude each other too."""
    return _by_axis(a, b) or [(a, b)]


def _overlap(a: frozenset[str], b: frozenset[str]) -> bool:
    return not a or not b or bool(a & b)


def _lengths(a: frozenset[float], b: frozenset[float]) -> Conflict | None:
    if not a or not b or any(abs(x - y) <= _TOLERANCE * x for x in a for y in b):
        return None
    return Conflict(WEIGHTS["size"], "size", f"size: {min(b):g} mm instead of {min(a):g} mm")


def _comparable(truth: Facts, other: Facts) -> bool:
    """True when some aspect is stated by both."""
    return bool(
        (truth.findings and other.findings)
        or all(_places(truth, other))
        or (truth.organs and other.organs)
        or (truth.sizes and other.sizes)
        or (truth.counts and other.counts)
        or (truth.modalities and other.modalities)
        or (truth.planes and other.planes)
        or (truth.measures_mm and other.measures_mm)
        or _by_axis(truth.zones | truth.attributes, other.zones | other.attributes)
    )


def _words(truth: Facts, other: Facts) -> list[Conflict]:
    if (not truth.unknown and _comparable(truth, other)) or truth.unsettled:
        return []
    if any(_of_another_kind(a, b) for a in truth.findings for b in other.findings):
        return []
    if _in_other_words(truth, other) or other.content <= truth.content:  # saying less is no contradiction
        return []
    if not truth.content or not other.content or len(truth.content) > _LONGEST_FALLBACK or truth.polarity is not None:
        return []
    shared = len(truth.content & other.content)
    if shared * 2 >= len(truth.content):
        return []
    reason = f"shares {shared} of {len(truth.content)} content words with the truth"
    return [Conflict(WEIGHTS["words"], truth.asked, reason)]


def _of_another_kind(a: FindingFact, b: FindingFact) -> bool:
    """ "No acute fracture" and "old fracture" speak of one finding, and differ."""
    return (a.name == b.name or "abnormality" in (a.name, b.name)) and not same_kind(a.kinds, b.kinds)


def _in_other_words(truth: Facts, other: Facts) -> bool:
    """Both speak of one finding, and the answer says nothing else but cues ("again noted", "has not recurred")."""
    if not truth.named & other.named or not other.organs <= truth.organs | _TOLD_BY_STATE:
        return False
    told = [token.text for token in tokens_of(other.text)]
    cued = content_words(" ".join(told[i] for cue in find_cues(told) for i in range(cue.first, cue.last + 1)))
    return other.unknown - cued <= truth.content
