"""The vocabulary itself, as data: edit here, the code in `lexicon` reads it.

Spellings are lower case; the first is the preferred one; a trailing `*` marks a form that is plural
already. Regular plurals of findings and organs are made by rule.
"""

from __future__ import annotations

from typing import Literal

FINDINGS: dict[str, tuple[tuple[str, ...], bool, tuple[str, ...]]] = {
    # name: (regions, countable, spellings)
    "opacity": (
        ("chest",),
        True,
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
    ),
    "nodule": (("chest",), True, ("nodule", "lung nodule", "pulmonary nodule", "nodular opacity")),
    "mass": (("chest", "abdomen", "head"), True, ("mass", "lung mass", "mass lesion", "soft tissue mass")),
    "pleural effusion": (
        ("chest",),
        True,
        (
            "pleural effusion",
            "effusion",
            "pleural fluid",
            "blunted costophrenic angle",
            "blunting of the costophrenic angle",
            "blunting of costophrenic angle",
        ),
    ),
    "pericardial effusion": (("chest",), True, ("pericardial effusion",)),
    "pneumothorax": (("chest",), True, ("pneumothorax", "pneumothoraces*", "collapsed lung")),
    "hydropneumothorax": (("chest",), True, ("hydropneumothorax",)),
    "cardiomegaly": (
        ("chest",),
        False,
        (
            "cardiomegaly",
            "enlarged heart",
            "heart enlargement",
            "cardiac enlargement",
            "enlarged cardiac silhouette",
            "enlarged heart size",
        ),
    ),
    "atelectasis": (
        ("chest",),
        False,
        ("atelectasis", "volume loss", "atelectatic change", "lung collapse", "atelectatic"),
    ),
    "fracture": (
        ("chest",),
        True,
        ("rib fracture", "fracture", "fractured", "broken rib", "fractured rib", "bone fracture"),
    ),
    "pacemaker": (("chest",), True, ("pacemaker", "cardiac device", "cardiac pacemaker", "implanted device", "icd")),
    "catheter": (("chest",), True, ("catheter", "central line", "picc line", "central venous catheter")),
    "surgical hardware": (
        ("chest",),
        False,
        ("sternal wires*", "sternotomy wires*", "surgical clips*", "surgical clip"),
    ),
    "pneumonia": (("chest",), False, ("pneumonia", "lung infection")),
    "pulmonary edema": (("chest",), False, ("pulmonary edema", "pulmonary oedema", "vascular congestion")),
    "emphysema": (("chest",), False, ("emphysema", "copd", "hyperinflation", "hyperinflated")),
    "bronchiectasis": (("chest",), False, ("bronchiectasis",)),
    "pulmonary fibrosis": (("chest",), False, ("pulmonary fibrosis", "fibrosis", "interstitial lung disease")),
    "tuberculosis": (("chest",), False, ("tuberculosis",)),
    "free air": (("abdomen",), False, ("free air", "pneumoperitoneum", "extraluminal air")),
    "edema": (("head",), False, ("edema", "oedema", "cerebral edema", "swelling", "edematous")),
    "hemorrhage": (
        ("head",),
        True,
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
    ),
    "infarct": (
        ("head",),
        True,
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
    ),
    "tumor": (
        ("head", "abdomen"),
        True,
        ("tumor", "tumour", "neoplasm", "cancer", "malignancy", "carcinoma", "glioma", "brain tumor"),
    ),
    "metastasis": (("head", "abdomen"), True, ("metastasis", "metastatic disease", "metastatic")),
    "hydrocephalus": (("head",), False, ("hydrocephalus", "enlarged ventricles*", "dilated ventricles*")),
    "atrophy": (("head",), False, ("atrophy", "atrophied", "brain atrophy", "cortical atrophy")),
    "multiple sclerosis": (("head",), False, ("multiple sclerosis", "ms plaques*", "demyelination")),
    "aneurysm": (("head", "abdomen"), True, ("aneurysm",)),
    "sinusitis": (("head",), False, ("sinusitis",)),
    "abscess": (("abdomen", "head"), True, ("abscess", "abcess")),
    "cyst": (("abdomen",), True, ("cyst", "kidney cyst", "renal cyst")),
    "gallstone": (("abdomen",), True, ("gallstone", "cholelithiasis")),
    "kidney stone": (("abdomen",), True, ("kidney stone", "nephrolithiasis", "renal stone")),
    "appendicitis": (("abdomen",), False, ("appendicitis",)),
    "diverticulitis": (("abdomen",), False, ("diverticulitis",)),
    "pancreatitis": (("abdomen",), False, ("pancreatitis",)),
    "cirrhosis": (("abdomen",), False, ("cirrhosis", "cirrhotic liver")),
    "ascites": (("abdomen",), False, ("ascites",)),
    "hydronephrosis": (("abdomen",), False, ("hydronephrosis",)),
    "fat stranding": (("abdomen",), False, ("fat stranding", "stranding")),
    "bowel obstruction": (("abdomen",), True, ("bowel obstruction", "small bowel obstruction", "obstruction")),
    "hernia": (("abdomen",), True, ("hernia", "hiatal hernia")),
    "lymphadenopathy": (("abdomen", "chest"), False, ("lymphadenopathy", "enlarged lymph nodes*", "adenopathy")),
    "calcification": (
        ("abdomen", "chest", "head"),
        True,
        ("calcification", "calcified", "atherosclerotic calcification"),
    ),
    "mediastinal shift": (("chest",), True, ("mediastinal shift", "tracheal deviation", "mediastinal widening")),
    "midline shift": (("head",), True, ("midline shift",)),
    "scoliosis": (("chest",), False, ("scoliosis",)),
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
    ),
    "lung abnormality": ("lung abnormality", "lung disease"),
    "lesion": ("lesion", "focal lesion", "cystic lesion"),
}
"""Words that name no particular finding: they exclude nothing but a statement of normality."""

LUNG_FINDINGS = frozenset(
    {
        "opacity",
        "nodule",
        "mass",
        "atelectasis",
        "pneumonia",
        "pulmonary edema",
        "emphysema",
        "bronchiectasis",
        "pulmonary fibrosis",
        "tuberculosis",
    }
)
"""What "the lungs are clear" rules out."""

DEVICES = frozenset({"pacemaker", "catheter", "surgical hardware"})
"""Man-made things: "no abnormality" does not rule them out."""

FOCAL = frozenset(
    {"nodule", "mass", "tumor", "metastasis", "abscess", "cyst", "infarct", "hemorrhage", "calcification"}
)

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
    frozenset({"hydropneumothorax", "pneumothorax"}),
    frozenset({"hydropneumothorax", "pleural effusion"}),
    frozenset({"fat stranding", "edema"}),
    frozenset({"fat stranding", "appendicitis"}),
    frozenset({"fat stranding", "diverticulitis"}),
    frozenset({"fat stranding", "pancreatitis"}),
)
"""Pairs of which one does not exclude the other: naming the second for the first is no clear contradiction."""

_Kind = Literal["side", "zone", "organ", "size", "count", "modality", "sequence", "plane"]

OTHER_TERMS: dict[tuple[_Kind, str], dict[str, tuple[str, ...]]] = {
    ("side", "side"): {
        "left": ("left", "left sided", "leftsided", "l"),
        "right": ("right", "right sided", "rightsided", "r"),
        "bilateral": ("bilateral", "both", "bilaterally", "both sides", "left and right", "right and left"),
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
        "heart": ("heart", "cardiac", "cardiac silhouette"),
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
        "small": ("small", "tiny", "mild", "minimal"),
        "moderate": ("moderate", "medium", "moderately"),
        "large": ("large", "huge", "severe", "massive", "big"),
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
        "axial": ("axial", "transverse", "axially"),
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
    "time": {"acute": ("acute",), "chronic": ("chronic",)},
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
    "germ": {"viral": ("viral",), "bacterial": ("bacterial",), "parasitic": ("parasitic",)},
    "bleed": {"subarachnoid": ("subarachnoid",), "subdural": ("subdural",), "epidural": ("epidural",)},
    "enhancement": {"enhancing": ("ring enhancing", "enhancing"), "non-enhancing": ("non enhancing", "nonenhancing")},
    "angle": {"sharp": ("sharp",), "blunted": ("blunted",)},
    "shade": {"bright": ("bright", "white"), "dark": ("dark", "black")},
    "artery": {"aca": ("aca",), "mca": ("mca",), "pca": ("pca",), "pica": ("pica",)},
    "shape": {"round": ("round", "rounded", "circular"), "elliptical": ("elliptical", "oval", "ovoid")},
}
"""Axes of description; the poles of one axis exclude each other."""
