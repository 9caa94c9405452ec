"""What is known of each finding, in one table: its words, where it occurs, how urgent it is, how it may be swapped.

Edit here; lexicon, conflicts, injected errors, rubrics and readers of box labels read it. Spellings are lower
case, the first is the preferred one; a trailing `*` marks a form that is plural already, regular plurals are made
by rule.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that an image may show."""

    spellings: tuple[str, ...]
    """Its written forms."""
    regions: tuple[str, ...]
    """Body regions it occurs in: chest, head, abdomen."""
    countable: bool = True
    """Whether "a" or a plural can stand with it."""
    urgency: int = 5
    """Consequence of getting it wrong, of 10."""
    offered: bool = False
    """Common enough to be written into a wrong answer."""
    spread: bool = False
    """Has no side or zone."""
    focal: bool = False
    """A circumscribed thing: a "lesion" may be it."""
    lung: bool = False
    """What "the lungs are clear" rules out."""
    device: bool = False
    """Man-made: "no abnormality" does not rule it out."""


FINDINGS: dict[str, Finding] = {
    "opacity": Finding(
        (
            "opacity",
            "consolidation",
            "infiltrate",
            "airspace disease",
            "lung opacity",
            "opacification",
            "hazy",
            "opacified",
            "infiltration",
            "airspace opacity",
            "white out",
        ),
        ("chest",),
        urgency=7,
        offered=True,
        lung=True,
    ),
    "nodule": Finding(
        ("nodule", "lung nodule", "pulmonary nodule", "nodular opacity"),
        ("chest",),
        urgency=7,
        offered=True,
        focal=True,
        lung=True,
    ),
    "mass": Finding(
        ("mass", "lung mass", "mass lesion", "soft tissue mass"),
        ("chest", "abdomen", "head"),
        urgency=8,
        offered=True,
        focal=True,
        lung=True,
    ),
    "pleural effusion": Finding(
        (
            "pleural effusion",
            "effusion",
            "pleural fluid",
            "blunted costophrenic angle",
            "blunting of the costophrenic angle",
            "blunting of costophrenic angle",
        ),
        ("chest",),
        urgency=7,
        offered=True,
    ),
    "pericardial effusion": Finding(("pericardial effusion",), ("chest",), offered=True, spread=True),
    "pneumothorax": Finding(
        ("pneumothorax", "pneumothoraces*", "collapsed lung", "ptx"), ("chest",), urgency=9, offered=True
    ),
    "hydropneumothorax": Finding(("hydropneumothorax",), ("chest",), urgency=9),
    "cardiomegaly": Finding(
        (
            "cardiomegaly",
            "enlarged heart",
            "heart enlargement",
            "cardiac enlargement",
            "enlarged cardiac silhouette",
            "enlarged heart size",
        ),
        ("chest",),
        countable=False,
        urgency=6,
        offered=True,
        spread=True,
    ),
    "atelectasis": Finding(
        ("atelectasis", "volume loss", "atelectatic change", "lung collapse", "atelectatic"),
        ("chest",),
        countable=False,
        offered=True,
        lung=True,
    ),
    "fracture": Finding(
        ("rib fracture", "fracture", "fractured", "broken rib", "fractured rib", "bone fracture"),
        ("chest",),
        urgency=6,
        offered=True,
    ),
    "pacemaker": Finding(
        ("pacemaker", "cardiac device", "cardiac pacemaker", "implanted device", "icd"),
        ("chest",),
        urgency=4,
        offered=True,
        device=True,
    ),
    "catheter": Finding(("catheter", "central line", "picc line", "central venous catheter"), ("chest",), device=True),
    "surgical hardware": Finding(
        ("sternal wires*", "sternotomy wires*", "surgical clips*", "surgical clip"),
        ("chest",),
        countable=False,
        device=True,
    ),
    "pneumonia": Finding(
        ("pneumonia", "lung infection", "pna"), ("chest",), countable=False, urgency=7, offered=True, lung=True
    ),
    "pulmonary edema": Finding(
        ("pulmonary edema", "pulmonary oedema", "vascular congestion"),
        ("chest",),
        countable=False,
        urgency=8,
        spread=True,
        lung=True,
    ),
    "emphysema": Finding(
        ("emphysema", "copd", "hyperinflation", "hyperinflated"),
        ("chest",),
        countable=False,
        offered=True,
        spread=True,
        lung=True,
    ),
    "bronchiectasis": Finding(("bronchiectasis",), ("chest",), countable=False, spread=True, lung=True),
    "pulmonary fibrosis": Finding(
        ("pulmonary fibrosis", "fibrosis", "interstitial lung disease"),
        ("chest",),
        countable=False,
        spread=True,
        lung=True,
    ),
    "tuberculosis": Finding(("tuberculosis", "tb"), ("chest",), countable=False, lung=True),
    "free air": Finding(("free air", "pneumoperitoneum", "extraluminal air"), ("abdomen",), countable=False, urgency=9),
    "edema": Finding(
        ("edema", "oedema", "cerebral edema", "swelling", "edematous"),
        ("head",),
        countable=False,
        urgency=7,
        offered=True,
    ),
    "hemorrhage": Finding(
        (
            "hemorrhage",
            "haemorrhage",
            "bleed",
            "hematoma",
            "bleeding",
            "hemorrhagic",
            "subdural hematoma",
            "intracranial hemorrhage",
            "cerebral hemorrhage",
        ),
        ("head",),
        urgency=9,
        offered=True,
        focal=True,
    ),
    "infarct": Finding(
        (
            "infarct",
            "infarction",
            "stroke",
            "ischemia",
            "infarcted",
            "ischemic stroke",
            "cerebral infarction",
            "ischemic",
        ),
        ("head",),
        urgency=9,
        offered=True,
        focal=True,
    ),
    "tumor": Finding(
        ("tumor", "tumour", "neoplasm", "cancer", "malignancy", "carcinoma", "glioma", "brain tumor"),
        ("head", "abdomen"),
        urgency=8,
        offered=True,
        focal=True,
    ),
    "metastasis": Finding(
        ("metastasis", "metastatic disease", "metastatic"), ("head", "abdomen"), urgency=8, offered=True, focal=True
    ),
    "hydrocephalus": Finding(
        ("hydrocephalus", "enlarged ventricles*", "dilated ventricles*"),
        ("head",),
        countable=False,
        urgency=8,
        offered=True,
    ),
    "atrophy": Finding(
        ("atrophy", "atrophied", "brain atrophy", "cortical atrophy"), ("head",), countable=False, offered=True
    ),
    "multiple sclerosis": Finding(("multiple sclerosis", "ms plaques*", "demyelination"), ("head",), countable=False),
    "aneurysm": Finding(("aneurysm",), ("head", "abdomen"), urgency=8, offered=True),
    "sinusitis": Finding(("sinusitis",), ("head",), countable=False),
    "abscess": Finding(("abscess", "abcess"), ("abdomen", "head"), urgency=8, offered=True, focal=True),
    "cyst": Finding(("cyst", "kidney cyst", "renal cyst"), ("abdomen",), urgency=4, offered=True, focal=True),
    "gallstone": Finding(("gallstone", "cholelithiasis"), ("abdomen",), offered=True),
    "kidney stone": Finding(("kidney stone", "nephrolithiasis", "renal stone"), ("abdomen",)),
    "stone": Finding(("stone", "calculus", "calculi*"), ("abdomen",)),
    "appendicitis": Finding(("appendicitis",), ("abdomen",), countable=False, urgency=8, offered=True),
    "diverticulitis": Finding(("diverticulitis",), ("abdomen",), countable=False, offered=True),
    "pancreatitis": Finding(("pancreatitis",), ("abdomen",), countable=False),
    "cirrhosis": Finding(("cirrhosis", "cirrhotic liver"), ("abdomen",), countable=False, offered=True),
    "ascites": Finding(("ascites",), ("abdomen",), countable=False, offered=True),
    "hydronephrosis": Finding(("hydronephrosis",), ("abdomen",), countable=False),
    "fat stranding": Finding(("fat stranding", "stranding"), ("abdomen",), countable=False),
    "bowel obstruction": Finding(
        ("bowel obstruction", "small bowel obstruction", "obstruction"), ("abdomen",), urgency=8
    ),
    "hernia": Finding(("hernia", "hiatal hernia"), ("abdomen",), offered=True),
    "lymphadenopathy": Finding(
        ("lymphadenopathy", "enlarged lymph nodes*", "adenopathy"), ("abdomen", "chest"), countable=False
    ),
    "calcification": Finding(
        ("calcification", "calcified", "atherosclerotic calcification"),
        ("abdomen", "chest", "head"),
        urgency=3,
        focal=True,
    ),
    "mediastinal shift": Finding(
        ("mediastinal shift", "tracheal deviation", "mediastinal widening"), ("chest",), urgency=8, spread=True
    ),
    "midline shift": Finding(("midline shift",), ("head",), urgency=9),
    "scoliosis": Finding(("scoliosis",), ("chest",), countable=False, spread=True),
}
"""Findings that name a thing seen; of two different ones at most one is the answer."""

GENERIC_FINDINGS: dict[str, tuple[str, ...]] = {
    "abnormality": (
        "abnormality",
        "abnormal",
        "pathology",
        "pathological",
        "wrong",
        "anomaly",
        "disease",
        "abnormal finding",
        "cardiopulmonary process",
        "intrathoracic process",
        "acute process",
    ),
    "bone abnormality": ("bone abnormality", "osseous abnormality", "bony abnormality", "skeletal abnormality"),
    "lung abnormality": ("lung abnormality", "lung disease"),
    "lesion": ("lesion", "focal lesion", "cystic lesion"),
}
"""Words that name no particular finding: they exclude nothing but a statement of normality."""

LUNG_FINDINGS = frozenset(name for name, finding in FINDINGS.items() if finding.lung)
DEVICES = frozenset(name for name, finding in FINDINGS.items() if finding.device)
FOCAL = frozenset(name for name, finding in FINDINGS.items() if finding.focal)

RELATED: tuple[frozenset[str], ...] = (
    frozenset({"opacity", "pneumonia"}),
    frozenset({"opacity", "atelectasis"}),
    frozenset({"opacity", "tuberculosis"}),
    frozenset({"opacity", "pulmonary edema"}),
    frozenset({"opacity", "pulmonary fibrosis"}),
    frozenset({"pneumonia", "tuberculosis"}),
    frozenset({"edema", "pulmonary edema"}),
    frozenset({"mass", "tumor"}),
    frozenset({"mass", "metastasis"}),
    frozenset({"mass", "abscess"}),
    frozenset({"tumor", "metastasis"}),
    frozenset({"nodule", "metastasis"}),
    frozenset({"stone", "kidney stone"}),
    frozenset({"stone", "gallstone"}),
    frozenset({"stone", "calcification"}),
    frozenset({"hydropneumothorax", "pneumothorax"}),
    frozenset({"hydropneumothorax", "pleural effusion"}),
    frozenset({"fat stranding", "edema"}),
    frozenset({"fat stranding", "appendicitis"}),
    frozenset({"fat stranding", "diverticulitis"}),
    frozenset({"fat stranding", "pancreatitis"}),
)
"""Pairs of which one does not exclude the other: naming the second for the first is no clear contradiction."""

WIDER: dict[str, frozenset[str]] = dict.fromkeys(("stroke", "strokes"), frozenset({"hemorrhage"}))
"""Spellings that say less than the finding they stand for here, to the other findings that they may mean as well."""


def urgency(name: str) -> int:
    """Consequence of getting a finding wrong, of 10; 5 for what the table does not name."""
    return FINDINGS[name].urgency if name in FINDINGS else 5
