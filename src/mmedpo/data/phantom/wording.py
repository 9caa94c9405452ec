"""The words of the phantom dataset: noun phrases, question templates, report sentences.

A small vocabulary on purpose, so that a tiny language model can learn it. Everything is lower case
except the acronyms CT, MRI, AP, PA and the first word of a question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmedpo.data.phantom.priors import Kind
from mmedpo.data.phantom.structure import Finding, Structure

NAMES: dict[Kind, tuple[tuple[str, str], ...]] = {
    "opacity": (("an", "opacity"),),
    "nodule": (("a", "nodule"),),
    "mass": (("a", "mass"),),
    "effusion": (("a", "pleural effusion"), ("an", "effusion")),
    "pneumothorax": (("a", "pneumothorax"),),
    "cardiomegaly": (("", "cardiomegaly"), ("an", "enlarged heart")),
    "atelectasis": (("", "atelectasis"),),
    "rib fracture": (("a", "rib fracture"),),
    "pacemaker": (("a", "pacemaker"),),
}
"""Article and noun of each finding; the first is the usual one."""

NUMBERS = ("one", "two", "three")

PRESENCE = (
    "Is there {a}?",
    "Does the image show {a}?",
    "Can you see {a}?",
    "Is {a} present?",
    "Is {a} visible in this image?",
)
PRESENCE_SIDED = (
    "Is there {a} on the {side}?",
    "Is there {a} on the {side} side?",
    "Does the {side} side show {a}?",
    "Is {a} present on the {side}?",
    "Can you see {a} on the {side} side?",
)
SIDE_CLOSED = (
    "Is the {name} on the left or the right side?",
    "Is the {name} on the left or on the right?",
    "Which side is the {name} on, left or right?",
    "Left or right: where is the {name}?",
)
SIDE_CLOSED_THREE = (
    "Is the {name} left, right or bilateral?",
    "Is the {name} on the left, on the right or bilateral?",
    "Left, right or bilateral: where is the {name}?",
)
SIDE_OPEN_LUNG = (
    "Which lung is affected by the {name}?",
    "Which lung shows the {name}?",
    "In which lung is the {name} seen?",
    "On which side is the {name}?",
    "Which side is affected by the {name}?",
)
SIDE_OPEN = (
    "On which side is the {name}?",
    "On which side is the {name} seen?",
    "Which side shows the {name}?",
)
ZONE_CLOSED = (
    "Is the {name} in the upper, middle or lower zone?",
    "Upper, middle or lower zone: where is the {name}?",
    "Is the {name} seen in the upper, the middle or the lower zone?",
)
ZONE_OPEN = (
    "In which zone is the {name}?",
    "Which zone shows the {name}?",
    "Which zone is affected by the {name}?",
)
PLACE_OPEN = (
    "Where is the {name}?",
    "Where is the {name} seen?",
    "What is the location of the {name}?",
)
SIZE_TWO = (
    "Is the {name} small or large?",
    "Small or large: what is the size of the {name}?",
    "Is the size of the {name} small or large?",
)
SIZE_THREE = (
    "Is the {name} small, moderate or large?",
    "Small, moderate or large: what is the size of the {name}?",
    "Is the size of the {name} small, moderate or large?",
)
SIZE_OPEN = ("How large is the {name}?", "What is the size of the {name}?", "What size is the {name}?")
COUNT_OPEN = ("How many nodules are there?", "How many nodules are seen?", "What is the number of nodules?")
COUNT_CLOSED = ("Are there one, two or three nodules?", "Is the number of nodules one, two or three?")
MODALITY_OPEN = (
    "What is the modality of this image?",
    "Which modality was used?",
    "What kind of image is this?",
)
MODALITY_CLOSED = (
    "Is this image an x-ray, a CT or an MRI?",
    "Was this image taken with x-ray, CT or MRI?",
    "X-ray, CT or MRI: which modality is this?",
)
PLANE_OPEN = (
    "What is the plane of this image?",
    "In which plane was this image taken?",
    "Which projection is shown?",
)
PLANE_CLOSED = (
    "Is this image AP, PA or axial?",
    "AP, PA or axial: what is the plane?",
    "Was this image taken in the AP, the PA or the axial plane?",
)
NORMAL_YES = ("Is this image normal?", "Is this a normal chest?", "Does the chest look normal?")
NORMAL_NO = ("Is there any abnormality?", "Is any abnormality seen?", "Does the image show any abnormality?")
HEART_YES = ("Is the heart enlarged?", "Is the heart too large?", "Does the heart look enlarged?")
HEART_NO = ("Is the heart size normal?", "Is the size of the heart normal?", "Does the heart have a normal size?")
ABNORMALITY = (
    "What abnormality is seen?",
    "What abnormality does the image show?",
    "What is abnormal in this image?",
    "What is the main finding?",
    "What does this image show?",
)
ABNORMALITY_SIDED = (
    "What abnormality is seen on the {side}?",
    "What is abnormal on the {side} side?",
    "What does the {side} side show?",
)
REPORT = (
    "Write a short report of this image.",
    "Write a report.",
    "Describe this image in a short report.",
    "Report the findings of this image.",
    "Please describe the findings.",
)


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Draw one option uniformly."""
    return options[int(rng.integers(len(options)))]


def name(rng: np.random.Generator, kind: Kind) -> str:
    """A noun for the finding without article."""
    return _drawn_name(rng, kind)[1]


def with_article(rng: np.random.Generator, kind: Kind) -> str:
    """A noun for the finding with its article, if it takes one."""
    return " ".join(part for part in _drawn_name(rng, kind) if part)


def _drawn_name(rng: np.random.Generator, kind: Kind) -> tuple[str, str]:
    options = NAMES[kind]
    return options[0] if len(options) == 1 or rng.random() < 0.6 else options[1]


def place(finding: Finding) -> str:
    """`right upper zone`, `lower zone of both lungs` or `left lung`."""
    if finding.side == "bilateral":
        return f"{finding.zone} zone of both lungs"
    if finding.zone != "none":
        return f"{finding.side} {finding.zone} zone"
    return f"{finding.side} lung"


def phrase(finding: Finding) -> str:
    """The whole finding in at most eight words, e.g. `a small nodule in the right upper zone`."""
    kind = finding.kind
    if kind == "cardiomegaly":
        return "cardiomegaly"
    if kind == "pacemaker":
        return f"a pacemaker on the {finding.side}"
    size = "" if finding.size == "none" else finding.size + " "
    if kind in ("effusion", "pneumothorax"):
        return f"a {size}{finding.side} {NAMES[kind][0][1]}"
    where = f"in the {place(finding)}"
    if finding.count > 1:
        return f"{NUMBERS[finding.count - 1]} {size}nodules {where}"
    article = "" if kind == "atelectasis" else "a "
    if finding.side == "bilateral":
        return f"{article}{size}bilateral {kind} in the {finding.zone} zone"
    return f"{article}{size}{kind} {where}"


def report(rng: np.random.Generator, structure: Structure) -> str:
    """Two to four sentences: every finding, then normal statements that are true."""
    sentences = [_finding_sentence(rng, finding) for finding in structure.findings]
    kinds = {finding.kind for finding in structure.findings}
    normal: list[str] = []
    clear = not kinds - {"cardiomegaly", "pacemaker", "rib fracture"}
    if clear:
        normal.append(pick(rng, ("the lungs are clear.", "both lungs are clear.", "no lung abnormality is seen.")))
    if "cardiomegaly" not in kinds and structure.modality == "x-ray":
        normal.append(pick(rng, ("the heart size is normal.", "the heart is normal in size.", "the heart is normal.")))
    absent = [word for word in ("pleural effusion", "pneumothorax") if word.split()[-1] not in kinds]
    if structure.modality != "x-ray":
        absent = absent[:1] if "pleural effusion" in absent else []
    if absent:
        normal.append(pick(rng, ("there is no {x}.", "no {x} is seen.", "no {x}.")).format(x=" or ".join(absent)))
    if not normal:
        normal.append(pick(rng, ("there is no other abnormality.", "no other abnormality is seen.")))
    needed = 3 if not sentences else (1 if len(sentences) == 3 else int(rng.integers(1, 3)))
    chosen = sorted(rng.permutation(len(normal))[: max(needed, 2 - len(sentences))])
    return " ".join(sentences + [normal[i] for i in chosen])


def _finding_sentence(rng: np.random.Generator, finding: Finding) -> str:
    words = phrase(finding)
    if finding.kind == "cardiomegaly":
        return pick(rng, ("the heart is enlarged.", "there is cardiomegaly.", "cardiomegaly is present."))
    verb = "are" if finding.count > 1 else "is"
    return pick(rng, (f"there {verb} {words}.", f"{words} {verb} seen.", f"the image shows {words}."))
