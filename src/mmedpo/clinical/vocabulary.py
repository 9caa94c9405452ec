"""The vocabulary itself, as data: edit here, the code in `lexicon` reads it.

Spellings are lower case; the first is the preferred one; a trailing `*` marks a form that is plural
already. Regular plurals of organs are made by rule. Findings have a table of their own (`findings`).
"""

from __future__ import annotations

from typing import Literal

_Kind = Literal["side", "zone", "organ", "size", "count", "modality", "sequence", "plane"]

OTHER_TERMS: dict[tuple[_Kind, str], dict[str, tuple[str, ...]]] = {
    ("side", "side"): {
        "left": ("left", "left sided", "leftsided", "l"),
        "right": ("right", "right sided", "rightsided", "r"),
        "bilateral": (
            "bilateral",
            "both",
            "bilaterally",
            "both sides",
            "left and right",
            "right and left",
            "bibasilar",
            "bibasal",
            "biapical",
        ),
    },
    ("zone", "height"): {
        "upper": ("upper", "apical", "apex", "apices*"),
        "middle": ("middle", "mid"),
        "lower": ("lower", "basal", "base", "bases*"),
    },
    ("zone", "front-back"): {
        "anterior": ("anterior", "anteriorly", "ventral"),
        "posterior": ("posterior", "posteriorly", "dorsal"),
    },
    ("zone", "above-below"): {
        "superior": ("superior", "above", "supratentorial"),
        "inferior": ("inferior", "below", "infratentorial", "underneath", "beneath"),
    },
    ("zone", "brain-part"): {
        "frontal": ("frontal", "frontal lobe"),
        "temporal": ("temporal", "temporal lobe"),
        "parietal": ("parietal", "parietal lobe"),
        "occipital": ("occipital", "occipital lobe"),
        "cerebellum": ("cerebellum", "cerebellar"),
        "thalamus": ("thalamus", "thalami*"),
        "basal ganglia": ("basal ganglia",),
        "brainstem": ("brainstem", "brain stem", "pons"),
        "ventricle": ("ventricle", "lateral ventricle", "ventricular"),
        "sella": ("sella", "pituitary fossa", "suprasellar", "pituitary"),
        "pineal region": ("pineal region", "pineal gland"),
        "corpus callosum": ("corpus callosum",),
    },
    ("organ", "body-region"): {
        "chest": ("chest", "thorax", "thoracic"),
        "head": ("head", "brain", "skull", "intracranial", "cranial"),
        "abdomen": ("abdomen", "abdominal", "belly"),
        "pelvis": ("pelvis", "pelvic"),
    },
    ("organ", "chest-organ"): {
        "lung": ("lung", "lung field", "pulmonary", "respiratory system"),
        "heart": ("heart", "cardiac", "cardiac silhouette", "cardiomediastinal", "cardiomediastinal silhouette"),
        "mediastinum": ("mediastinum", "mediastinal"),
        "diaphragm": ("diaphragm", "hemidiaphragm"),
        "trachea": ("trachea", "tracheal"),
        "aorta": ("aorta", "aortic"),
        "hilum": ("hilum", "hila*", "hilar"),
        "rib": ("rib",),
        "clavicle": ("clavicle",),
    },
    ("organ", "abdominal-organ"): {
        "liver": ("liver", "hepatic"),
        "spleen": ("spleen", "splenic"),
        "pancreas": ("pancreas", "pancreatic"),
        "kidney": ("kidney", "renal"),
        "stomach": ("stomach", "gastric"),
        "small bowel": ("small bowel", "jejunum", "ileum", "duodenum", "small intestine"),
        "colon": (
            "colon",
            "large bowel",
            "cecum",
            "sigmoid colon",
            "large intestine",
            "descending colon",
            "ascending colon",
        ),
        "appendix": ("appendix",),
        "gallbladder": ("gallbladder", "gall bladder"),
        "bladder": ("bladder", "urinary bladder"),
        "adrenal gland": ("adrenal gland", "adrenal"),
    },
    ("size", "size"): {
        "small": ("small", "tiny", "mild", "minimal", "trace", "slight"),
        "moderate": ("moderate", "medium", "moderately"),
        "large": ("large", "huge", "severe", "massive", "big", "sizable", "sizeable"),
    },
    ("count", "count"): {"1": ("single", "solitary"), "multiple": ("multiple*", "several*", "many*", "numerous*")},
    ("modality", "modality"): {
        "x-ray": ("x-ray", "xray", "radiograph", "plain film", "plain radiograph", "x rays*"),
        "ct": ("ct", "cat scan", "ct scan", "computed tomography", "cta"),
        "mri": ("mri", "mr", "mri scan", "magnetic resonance imaging"),
        "ultrasound": ("ultrasound", "sonogram", "ultrasonography"),
        "pet": ("pet", "pet scan"),
    },
    ("sequence", "sequence"): {
        "flair": ("flair",),
        "dwi": ("dwi", "diffusion weighted", "diffusion weighted imaging"),
        "t1": ("t1", "t1 weighted"),
        "t2": ("t2", "t2 weighted"),
        "adc": ("adc", "adc map"),
    },
    ("plane", "projection"): {
        "pa": ("pa", "posteroanterior", "posterior anterior"),
        "ap": ("ap", "anteroposterior", "anterior posterior"),
        "lateral": ("lateral view", "lateral projection", "lateral film", "lateral radiograph"),
    },
    ("plane", "section"): {
        "axial": ("axial", "axially", "transverse"),
        "coronal": ("coronal",),
        "sagittal": ("sagittal", "saggital"),
    },
}
"""Everything but findings and attributes: (kind, swap group) -> name -> spellings."""

ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "density": {
        "hypodense": (
            "hypodense",
            "less dense",
            "hypoattenuating",
            "hypo dense",
            "hypodensity",
            "radiolucent",
            "hypo attenuated",
        ),
        "isodense": ("isodense",),
        "hyperdense": (
            "hyperdense",
            "more dense",
            "hyperattenuating",
            "hyper dense",
            "hyperdensity",
            "radiopaque",
            "hyper attenuated",
        ),
    },
    "intensity": {
        "hypointense": ("hypointense", "hypointensity", "hypo intense"),
        "isointense": ("isointense",),
        "hyperintense": ("hyperintense", "hyperintensity", "hyper intense"),
    },
    "content": {"solid": ("solid",), "cystic": ("cystic",)},
    "extent": {"focal": ("focal", "localized", "unilateral"), "diffuse": ("diffuse", "diffusely", "widespread")},
    "texture": {
        "homogeneous": ("homogeneous", "homogenous", "uniform"),
        "heterogeneous": ("heterogeneous", "heterogenous"),
    },
    "symmetry": {"symmetric": ("symmetric", "symmetrical"), "asymmetric": ("asymmetric", "asymmetrical")},
    "border": {
        "smooth": ("smooth", "regular", "well defined"),
        "irregular": ("irregular", "ragged", "spiculated", "ill defined"),
    },
    "time": {
        "acute": ("acute", "subacute", "hyperacute", "fresh"),
        "chronic": ("chronic", "old", "healed", "longstanding", "long standing"),
    },
    "activity": {"active": ("active",), "inactive": ("inactive", "quiescent")},
    "displacement": {
        "displaced": ("displaced", "dislocated"),
        "nondisplaced": ("nondisplaced", "non displaced", "undisplaced"),
    },
    "chambers": {"loculated": ("loculated",), "free flowing": ("free flowing", "nonloculated", "non loculated")},
    "pressure": {"tension": ("tension", "under tension")},
    "passage": {
        "obstructing": ("obstructing", "obstructive"),
        "nonobstructing": ("nonobstructing", "non obstructing", "nonobstructive", "non obstructive"),
    },
    "rupture": {"ruptured": ("ruptured",), "unruptured": ("unruptured", "nonruptured", "non ruptured")},
    "severity": {"high grade": ("high grade",), "low grade": ("low grade",)},
    "looks": {"suspicious": ("suspicious", "worrisome")},
    "grade": {"benign": ("benign",), "malignant": ("malignant",)},
    "sex": {"female": ("female", "woman"), "male": ("male", "man")},
    "contrast": {
        "with contrast": ("with contrast", "contrast enhanced"),
        "without contrast": ("without contrast", "non contrast", "noncontrast"),
    },
    "matter": {"gray matter": ("gray matter", "grey matter"), "white matter": ("white matter",)},
    "position": {"supine": ("supine",), "prone": ("prone",), "upright": ("upright", "erect", "standing")},
    "dimension": {
        "enlarged": ("enlarged", "larger", "enlargement", "dilated"),
        "shrunken": ("shrunken", "smaller", "narrowed"),
    },
    "change": {"increased": ("increased", "elevated"), "decreased": ("decreased", "reduced", "diminished")},
    "status": {"normal": ("normal", "unremarkable", "clear", "healthy"), "abnormal-status": ("distended", "thickened")},
    "alignment": {"midline": ("midline",), "deviated": ("deviated", "shifted")},
    "material": {"air": ("air", "gas"), "fluid": ("fluid",), "fat": ("fat", "adipose tissue", "fatty tissue")},
    "process": {"medical process": ("medical process",), "physical injury": ("physical injury", "trauma")},
    "effect": {"mass effect": ("mass effect",)},
    "germ": {"viral": ("viral",), "bacterial": ("bacterial",), "parasitic": ("parasitic",)},
    "bleed": {"subarachnoid": ("subarachnoid",), "subdural": ("subdural",), "epidural": ("epidural",)},
    "enhancement": {"enhancing": ("ring enhancing", "enhancing"), "non-enhancing": ("non enhancing", "nonenhancing")},
    "angle": {"sharp": ("sharp",), "blunted": ("blunted",)},
    "shade": {"bright": ("bright", "white"), "dark": ("dark", "black")},
    "artery": {"aca": ("aca",), "mca": ("mca",), "pca": ("pca",), "pica": ("pica",)},
    "shape": {"round": ("round", "rounded", "circular"), "elliptical": ("elliptical", "oval", "ovoid")},
}
"""Axes of description; the poles of one axis exclude each other."""

PARTS: dict[str, frozenset[str]] = {
    "chest": frozenset(
        {"lung", "heart", "mediastinum", "rib", "aorta", "hilum", "trachea", "diaphragm", "clavicle"}
    ),
    "abdomen": frozenset(
        {"liver", "spleen", "pancreas", "kidney", "stomach", "small bowel", "colon", "appendix", "gallbladder",
         "bladder", "adrenal gland"}
    ),
}  # fmt: skip
"""Organs of a body region: naming the one for the other is no contradiction."""
