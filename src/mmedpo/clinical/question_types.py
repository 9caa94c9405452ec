"""What a question asks for, read off its words: several types where it asks several things. Pure.

A question names what it wants by its question word and head ("in which lobe"), or, asked for yes or no, by what it
says of its subject ("is the heart enlarged?", "is this an axial image?"). A word alone decides little: "the axial
section" asks for no plane where the question is whether an organ is seen in it. Measured against the annotators of
VQA-RAD in docs/results/question-types.md.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import get_args

from mmedpo.clinical.lexicon import find_terms
from mmedpo.records import ErrorType

_CLASSES = {
    "picture": r"(?:images?|imaging|pictures?|scans?|stud(?:y|ies)|films?|radiographs?|x ?rays?|cxr|mri?|ct|slices?|"
    r"sections?|photo(?:graph)?s?|views?|exam(?:ination)?s?|ultrasounds?|sonograms?)",
    "this": r"(?:this|it|that|these|the above|(?:the|this|that) (?:above )?(?:[\w]+ ){0,2}?{picture})",
    "be": r"(?:is|was|are|were)",
    "made": r"(?:taken|obtained|acquired|made|produced|captured|generated|used|performed|done|created|shot)",
    "seen": r"(?:seen|shown|visible|visuali[sz]ed|present|depicted|displayed|noted|identified|observed|evident|"
    r"demonstrated|appreciated|pictured|imaged|found|detected|captured|highlighted|represented|evaluated)",
    "which": r"(?:what|which)",
    "quality": r"(?:shape|form|consistency|composition|texture|colou?r|density|densities|intensity|intensities|signal|"
    r"border|margin|contour|edge|appearance|characteri\w+|feature|pattern|morphology|description|distribution)",
    "paired": r"(?:lung|kidney|ventricle|hemithorax|hemisphere|breast|adrenal|hemidiaphragm|diaphragm|eye|rib|clavicle|"
    r"artery|lobe|hilum|ventricles|lobes|lungs|ureter|hip|femur|shoulder)",
    "place": r"(?:lobes?|regions?|areas?|part|portions?|quadrants?|hemispheres?|zones?|territor(?:y|ies)|"
    r"direction|levels?|aspect|segments?|locations?|spaces?|compartments?|cavity|distribution|vertebrae?)",
    "part_of": r"(?:the )?(?:body|cns|central nervous system|anatomy|patient)",
}  # fmt: skip
"""Words that stand for each other in a question."""

_REASONING = (
    r"^(?:why|how come)\b|\bhow (?:can|do|does|would|could) (?:you|one|we) (?:tell|know|determine|distinguish|diagnos)",
    r"\b(?:causes?|caused|causing|etiolog\w+|diagnos\w+|suggests?|suggestive|indicat\w+|consistent with|typical of|"
    r"suspect\w*|likely|favou?r|explanation|explains?|due to|secondary to|responsible|symptoms?|complain\w*|treat\w*|"
    r"manage\w*|therap\w+|surgery|prognosis|risk|prevent\w*|synonym\w*|term|function|sex|gender|male|female|signif\w+|"
    r"supine|prone|best|need|safe|difference|represents?|constitutes?)\b",
    r"\bwhat would|\bwould (?:be|you expect|you suspect)|\bprocess\b|\broles?\b|\beffects? of\b|\bhow to\b",
    r"\borgans?\b[^?]*\b(?:belong to|that|which has|used for)\b",
)
"""Asks for a reason, a diagnosis, knowledge or the patient: nothing of the picture alone answers it."""

_CUES: dict[ErrorType, tuple[str, ...]] = {
    "count": (
        r"\bhow many\b|\bnumber of\b|\bcount\b|\bmore tha[nt] (?:one|two|three|\d+)\b|\bat least (?:one|two|\d+)\b",
        r"[<>]\s*\d|\bare (?:there|these) (?:only )?(?:one|two|three|four|\d+)\b|\bjust (?:one|1)\b",
        r"\b(?:one|single|singular|solitary|multiple|many|several|1)\b[^?]*\bor\b[^?]*"
        r"\b(?:one|single|singular|solitary|multiple|many|more|several|1|multi\w+)\b",
        r"\bonly one\b|\b(?:single|solitary) or\b",
    ),
    "plane": (
        r"\bplanes?\b(?! of the (?:lesion|fracture))|\bplanar\b|\bcross ?-?section\w*\b",
        r"{be} {this}[^?]*\b(?:axial|coronal|sagg?it?tal|transverse|p ?a|a ?p|postero ?-?anterior|antero ?-?posterior|"
        r"(?:anterior|posterior)[ -](?:anterior|posterior)|lateral (?:{picture}|projection)|decubitus|oblique|"
        r"supratentorial|infratentorial)\b(?! (?:lobe|horn|ventricle))",
        r"\b{which} (?:[\w]+ )?(?:view|projection|orientation|slice|section level)\b|\bhow {be} {this} oriented\b",
        r"\b(?:section|slice) level\b|\bwhere {be} this (?:slice|section)\b|\bhow {be} {this} {made}\b",
        r"\bwhat is the (?:orientation|view|projection) of (?:this|the) {picture}\b",
    ),
    "modality": (
        r"\bmodalit\w*|\bt[12][ -]weighted\b|\bweighting\b|\bpulse sequence\b|\bpenetration\b",
        r"\b(?:{which}|what is the) (?:(?:type|kind|form|sort|sequence|technique)s? of )(?:[\w]+ ){0,2}"
        r"(?:{picture}|contrast|technique|sequence|procedure|machine)\b",
        r"\b{which} (?:imaging|{picture}) (?:technique|method|technology|sequence|weighting|study|was|is)\b",
        r"\bhow {be} {this} {made}\b|\b{this} (?:[\w]+ )?{made} (?:with|by|using|from)\b|\b{made} (?:with|by|using)\b",
        r"\b(?:contrast|gadolinium)\b[^?]*\b(?:used|given|applied|receive\w*|administered|phase|agent|selected)\b",
        r"\b(?:use|uses|used|receive|received|given|have|has|with|without|iv|intravenous|oral|gi|no)\b (?:[\w]+ )??"
        r"contrast(?! in (?:the|a))\b|\bcontrast or (?:no|not|non)\b",
        r"{be} {this} (?:an?|the) (?:[\w]+[ -]){0,4}?(?:contrast|noncontrast)\b|{be} {this} enhanced\b",
    ),
    "size": (
        r"\b(?:size|sized|sizes|big|bigger|biggest|large|larger|largest|small|smaller|smallest|wide|wider|width|long|longer|length|tall|thick|"
        r"thickness|diameter|volume|measure\w*|dimensions?|cm|mm|massive|tiny)\b(?! (?:bowel|intestine|vessel|cell))",
        r"\b(?:enlarge\w*|dilat\w*|disten\w+|cardiomegal\w+|\w+megaly|hypertroph\w+|atroph\w+|widen\w*|narrow\w*|"
        r"swollen|swelling|thicken\w*|ectatic|hyper-?inflat\w+|hypo-?inflat\w+|expanded|shrunken|shrinkage|stenos\w+|"
        r"aneurysmal|hydronephro\w+|ventriculomegaly|prominen\w+|elongat\w+)\b",
        r"\bgreater than (?:half|\d+)|\bless than (?:half|\d+)|\bexceed\w*",
    ),
    "organ": (
        r"\borgans?\b|\borgan systems?\b|\b{which} system\b|\bsystem is\b|\b\w+ system\b|\banatomi\w+|\banatomy\b",
        r"\b(?:body )?(?:parts?|regions?|areas?|sections?) of {part_of}|\bbody (?:part|region|area|structure)",
        r"{be} (?:this|it|the image)(?: an?)? (?:[\w]+ )?(?:{picture} )?of the\b|{be} this (?:the|an?) "
        r"(?:brain|chest|abdomen|head|heart|lung|liver|thorax|skull|pelvis)\b(?! {picture})",
        r"\b(?:display|contain|show|include)s? (?:the )?(?:parts|contents) of\b|\bnot pictured\b",
        r"\b{which} (?:anatomical )?structures? (?:{be} )?{seen}",
    ),
    "abnormality": (
        r"\b(?:abnormal\w*|normal\w*|patholog\w*|anomal\w+|unusual|wrong|healthy|unaltered|alter\w*|disease[ds]?|"
        r"condition|affected|involve\w*|intact|unremarkable|typical|impair\w*|injured|damaged)\b",
        r"\b{which} (?:is|are) (?:the )?(?:[\w]+ )?(?:finding|happening|going on)\w*|\bfindings?\b",
    ),
}  # fmt: skip
"""Type to what asks for it, in words of the question, lower case."""

_DESCRIBES = (
    r"\bhow would you (?:best )?(?:describe|characteri[sz]e)\b|^(?:can you )?(?:please )?describe\b",
    r"\bcharacteri[sz]ed\b|\bhow {be} the borders?\b|\b(?:made|composed) (?:up )?of\b",
    r"\b(?:{which}|how) (?:is|are) (?:more |less )?(?:dens|bright|dark|hyper|hypo)\w*",
    r"\b{which} (?:[\w]+ )?{quality}s?\b",
    r"\bwhat (?:is|are) the (?:[\w]+ ){{0,3}}?{quality}s?(?: \w+)? (?:of|in)\b",
)
"""Asks openly what something is like."""
_QUALITIES = (
    r"\b(?:shaped?|hyper ?-?dens\w+|hypo ?-?dens\w+|dens(?:e|er|ity)|hyper ?-?intens\w+|hypo ?-?intens\w+|intens\w+|"
    r"\w*attenuat\w+|enhanc\w+|homogen\w+|heterogen\w+|uniform|solid|cystic|calcified|a?symmetr\w+|circumscribed|"
    r"(?:well|ill)[ -]?defined|consistency|borders?|margins?|contours?|appearance|sharp|blunt\w*|flat\w*|focal|diffuse|"
    r"round|oval|irregular|smooth|\w*lobulated|spiculated|loculated|encapsulated|opaque|radio-?opa\w+|\w*lucent|bright\w*|"
    r"dark\w*|whit(?:e|er)|differentiat\w+|cyst|varied|hi-?light\w*|air-?filled|fluid-?filled)\b(?! matter)",
)
"""What the subject of a question for yes or no, or between alternatives, may be said to be."""
_HEADS = (
    r"\bthere (?:[\w/-]+ ){{0,3}}?(?:(?:evidence|signs?) of )?(?:[\w-]+ ){{0,2}}?"
    r"(?:enhancement|differentiation|asymmetry|flattening|blunting)\b",
)
"""Qualities that are there or not."""

_SIDE = (
    r"\b{which} (?:[\w]+ )?sides?\b|\blaterality\b|\bboth sides\b|\b(?:left|right|r|l)\b[^?]*\bor\b|"
    r"\bor (?:the )?(?:left|right|both|bilateral)\b|\b(?:bi|uni)lateral or\b|\bside of\b[^?]*\b(?:is|are|was)\b",
    r"\b{which} {paired}\b",
    r"\bon {which}[^?]*\bside\b",
)
_PLACE = (
    r"\bwhere\b|\blocations?\b|\blocated in (?:{which}|the)\b|\bpositions?\b",
    r"\b{which} (?:[\w]+ ){{0,2}}?{place}\b|\b{place} of (?:the )?[^?]*\b(?:is|are) (?:the|this)\b",
    r"^which is (?:the )?[\w ]+ in (?:this|the) {picture}$",
    r"^(?:in|on|at|from|to|within) {which} (?!sides?\b|plane|view|modality|organ system)",
    r"\b(?:interior|exterior|inside|outside|inner|outer|internal|above|below|anterior|posterior|superior|inferior|proximal|"
    r"distal|medial|upper|lower)\b[^?]*\bor\b",
)
_PLACED = (
    r"^(?:is|are|was|were) (?:the|this|these|that|those|it) (?!there)(?:[\w'-]+ ){{0,4}}?"
    r"(?:in|on|within|under|inside|near|along|at|above|below) (?:the|a|an|both|left|right|its)\b",
)
"""Asked for yes or no: the subject is said to be at a place, and nothing else is said of it."""
_OF_PICTURE = (
    r"^(?:does|do|did) (?:this|the) (?:[\w]+ )?{picture} (?:contain|show|include|display|capture|cover)",
    r"^(?:is|are|does|do)(?:/are|/is)? [^?]* (?:in|on) (?:this|the) {picture}$",
)
_OTHER_ORGANS = (
    r"\b(?:ears?|eyes?|eyeballs?|spinal cord|o?esophagus|larynx|pharynx|thyroid|parotid|tongue|nose|teeth|rectum|"
    r"uterus|prostate|ovar(?:y|ies)|cerebrum|femur|femoral heads?|bones?|muscles?|spine|vertebra\w*|bowels?|"
    r"intestines?|organs?|mandible|temporal lobes?|ureters?|veins?|arteries|artery|neck|breasts?)\b",
)
"""What the lexicon has no word for."""
_ABNORMALITY = (r"\babnormalit|\bpatholog",)
_EXISTS_AT = (r"\bexist in the (?!{picture})",)
_OF_MODALITY = (
    r"{be} {this}(?: (?:image|film|scan|study|picture))?(?: a| an| the| {made}| by| in| from| with| kind| special)",
)

_YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|any|am|isn'?t|aren'?t|notice)\b"
)
_EXISTS = (
    r"\bthere\b|\b(?:evidence|signs?|presence|absence|existence|leakage|hint) of\b|\bany\b|\b{seen}\b|"
    r"\b(?:see|show|shows|have|has|contain|contains|demonstrate|demonstrates|reveal|reveals|exist|exists|display|displays|notice|"
    r"appear to have)\b|\bclear\b",
)


def question_types(question: str) -> tuple[ErrorType, ...]:
    """What a question asks for, in the order of `ErrorType`; empty where it is nothing of the picture.

    Args:
        question: plain text, English.
    """
    text = " ".join(question.lower().replace("_", " ").split()).strip(" ?.!\"'")
    if not text or (not text.startswith("where") and _says(text, _REASONING)):
        return ()
    found: set[ErrorType] = {kind for kind, cues in _CUES.items() if _says(text, cues)}
    yes_no = bool(_YES_NO.match(text))
    exists = yes_no and _says(text, _EXISTS)
    if _says(text, _DESCRIBES) or (yes_no and _says(text, _HEADS if exists else _QUALITIES)):
        found.add("attribute")
    found |= _places(text, yes_no, exists, found)
    if yes_no and _says(text, _OF_MODALITY) and _names_modality(text) and not found & {"abnormality", "size"}:
        found.add("modality")
    if found & {"size", "count"} and not _says(text, _ABNORMALITY):
        found.discard("abnormality")  # "normal size" asks for a size
    if "attribute" in found and _says(text, _ABNORMALITY):
        found.discard("abnormality")  # it is what is described
    if found & {"side", "zone"} and not yes_no:
        found -= {"size", "abnormality", "attribute", "count"}  # "where is the large mass" asks where
    if "count" in found:
        found -= {"organ", "size", "abnormality", "attribute"}  # they are what is counted
    if "modality" in found or "plane" in found:
        found -= {"attribute", "size", "side", "zone", "organ"}
    if exists:
        found.discard("organ")
        if not found and _says(text, _OF_PICTURE) and _names_organ(text):
            found = {"presence", "organ"}
    return tuple(kind for kind in get_args(ErrorType) if kind in (found or {"presence"}))


def _places(text: str, yes_no: bool, exists: bool, found: set[ErrorType]) -> set[ErrorType]:
    side, place = _says(text, _SIDE), _says(text, _PLACE)
    if yes_no and (_says(text, _EXISTS_AT) or (not exists and not found and _says(text, _PLACED))):
        place = True
    asked: set[ErrorType] = {"side"} if side else set()
    if place:
        asked |= {"zone"} if yes_no else {"side", "zone"}
    return asked


def _names_organ(text: str) -> bool:
    """Whether the question names organs, or a body region, and no finding."""
    kinds = {"organ" if m.term.group == "brain-part" else m.term.kind for m in find_terms(text)}
    return bool(_says(text, _OTHER_ORGANS) or "organ" in kinds) and "finding" not in kinds


def _names_modality(text: str) -> bool:
    return any(m.term.kind in ("modality", "sequence") for m in find_terms(text)) or bool(
        re.search(r"\b(?:cxr|kub|x-?rays?|radiographs?|plain films?|angiogra\w+|mammogra\w+|fluoroscop\w+)\b", text)
    )


def _says(text: str, patterns: tuple[str, ...]) -> bool:
    return any(pattern.search(text) for pattern in _compiled(patterns))


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    made = []
    for pattern in patterns:
        for _ in range(2):  # a class may name another one
            for name, words in _CLASSES.items():
                pattern = pattern.replace(f"{{{name}}}", words)
        made.append(re.compile(pattern.replace("{{", "{").replace("}}", "}")))
    return tuple(made)
