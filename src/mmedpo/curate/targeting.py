"""Wrong answers of the kind a question asks for, plausible on the kind of image it asks about (arXiv 2601.17918).

One operator per question type: what may be changed of the truth, and which words may stand for it on this modality
and in this body region. A chest radiograph is not said to show an infarct, nor an MRI to be dense.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmedpo.clinical.conflict import WEIGHTS
from mmedpo.clinical.lexicon import find_terms, words
from mmedpo.clinical.question_types import question_types
from mmedpo.curate.edits import Edit, edits, match_case
from mmedpo.curate.perturb import (
    NOTHING_TO_PERTURB,
    Perturbation,
    accepted,
    opposite,
    other_choices,
    regions_of,
)
from mmedpo.curate.validators import STAGE
from mmedpo.records import Drop, ErrorType, Example

OPERATORS: Mapping[ErrorType, tuple[ErrorType, ...]] = {
    "presence": ("presence", "abnormality"),
    "abnormality": ("abnormality", "presence", "organ"),
    "side": ("side",),
    "zone": ("zone", "organ", "side"),
    "count": ("count",),
    "size": ("size", "attribute"),
    "modality": ("modality", "attribute"),
    "plane": ("plane", "zone"),
    "organ": ("organ", "zone"),
    "attribute": ("attribute", "size"),
    "other": (),
}
"""Question type to the kinds of edits that make its answer wrong, best first: "where is the mass" is answered by an
organ as well as by a zone. Alternatives and a yes or no can be turned round whatever is asked."""

_ON: Mapping[str, frozenset[str]] = {
    "ct": frozenset({"ct", "mri"}),
    "mri": frozenset({"mri", "ct"}),
    "x-ray": frozenset({"x-ray", "ct"}),
    "ultrasound": frozenset({"ultrasound", "ct", "mri"}),
    "pet": frozenset({"pet", "ct"}),
}
"""Modality to what it may be taken for where no body region is told."""
_TAKEN: Mapping[str, frozenset[str]] = {
    "chest": frozenset({"x-ray", "ct"}),
    "head": frozenset({"ct", "mri"}),
    "abdomen": frozenset({"ct", "mri", "x-ray", "ultrasound"}),
}
"""Body region to the modalities it is imaged by."""
_NOT_ON: Mapping[str, frozenset[str]] = {
    "x-ray": frozenset({"pericardial effusion", "edema", "hemorrhage", "infarct", "tumor", "metastasis",
                        "hydrocephalus", "atrophy", "aneurysm", "abscess", "cyst", "gallstone", "appendicitis",
                        "diverticulitis", "cirrhosis", "ascites", "hernia", "axial", "coronal", "sagittal", "flair",
                        "dwi", "t1", "t2", "adc", "hypointense", "hyperintense", "isointense"}),
    "ct": frozenset({"pa", "ap", "flair", "dwi", "t1", "t2", "adc", "hypointense", "hyperintense", "isointense"}),
    "mri": frozenset({"pa", "ap", "hypodense", "hyperdense", "isodense"}),
}  # fmt: skip
"""Modality to the terms that nobody would say of its images."""
_SYSTEMS = (
    ("gastrointestinal", "gastrointestinal system", "digestive system", "gi"),
    ("central nervous", "central nervous system", "nervous system", "cns"),
    ("musculoskeletal", "musculoskeletal system", "skeletal system", "msk"),
    ("genitourinary", "genitourinary system", "urinary system", "gu"),
)
"""Organ systems that share no organ; spellings of one kind stand at the same place."""
_EXCLUSIVE: Mapping[ErrorType, tuple[tuple[tuple[str, ...], ...], ...]] = {
    "organ": (_SYSTEMS, (*_SYSTEMS[:1], ("respiratory", "respiratory system", "pulmonary system", "cardiopulmonary"))),
    "zone": ((("top",), ("bottom",)),),
    "modality": ((("iv",), ("oral",)), (("contrast", "with contrast"), ("no contrast", "without contrast"))),
}  # fmt: skip
"""Whole answers that exclude each other and that the lexicon does not know, by type."""
_HOSTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("pneumothorax", "pleural effusion", "emphysema", "atelectasis", "pneumonia"), frozenset({"lung"})),
    **dict.fromkeys(("cardiomegaly", "pericardial effusion", "pacemaker"), frozenset({"heart"})),
    "fracture": frozenset({"rib", "clavicle", "spine", "bone"}),
    "gallstone": frozenset({"gallbladder"}),
    "cirrhosis": frozenset({"liver"}),
    "appendicitis": frozenset({"appendix"}),
    "diverticulitis": frozenset({"bowel", "colon"}),
    **dict.fromkeys(("ascites", "hernia", "hydrocephalus"), frozenset[str]()),
}
"""Findings to the organs that can have them; the others may be in any."""
_LOBES = frozenset({"frontal", "temporal", "parietal", "occipital"})
_TWO = frozenset({"lung", "kidney", "clavicle", "adrenal gland", "diaphragm"})
"""Organs of which nobody has three."""
_SIDED = _TWO | {"rib", "hilum"}
"""What may be called left or right."""
_OF_OTHER_PICTURES: frozenset[ErrorType] = frozenset({"abnormality", "organ", "modality", "plane"})
"""Kinds of edits whose words are those of radiology: none of them is said of a slide or an eye."""
_HEAD = re.compile(r"\b(?:which|what) ([\w-]+)")
_ARTICLES = frozenset({"a", "an", "the"})
_LONGEST = 8
"""Words of another question's truth that may stand for this one's."""
_FREE = 24
"""Truths of other questions that are tried."""


@dataclass(frozen=True)
class Setting:
    """What an image is; empty where nothing tells."""

    modalities: frozenset[str]
    regions: frozenset[str]
    other: str = ""
    """What its dataset calls it, where that is no modality of radiology: fundus, pathology."""

    @classmethod
    def of(cls, example: Example) -> Setting:
        """As tags, question and answer tell."""
        tagged = " ".join(tag.partition(":")[2] for tag in example.tags if tag.startswith("modality:"))
        found = _modalities(tagged) or _modalities(example.question)
        if example.error_type == "modality":
            found = found or _modalities(example.answer)
        if tagged.strip() and not _modalities(tagged):
            return cls(frozenset(), frozenset(), tagged.strip().lower())
        return cls(found, regions_of(example))

    def allows(self, name: str) -> bool:
        """Whether a term may be said of such an image."""
        if self.modalities and all(name in _NOT_ON.get(one, frozenset()) for one in self.modalities):
            return False
        if name not in _ON:
            return True
        if self.regions:
            return any(name in _TAKEN[one] for one in self.regions)
        return not self.modalities or any(name in _ON[one] for one in self.modalities)


Truths = Mapping[tuple[ErrorType, Setting], tuple[str, ...]]
"""Short true answers of other questions, by what was asked of which kind of image."""


def asked_of(example: Example) -> tuple[ErrorType, ...]:
    """What a question asks for: as its dataset says, then as its words say."""
    told = () if example.error_type == "other" else (example.error_type,)
    return tuple(dict.fromkeys((*told, *question_types(example.question)))) or ("other",)


def truths_of(examples: Iterable[Example]) -> Truths:
    """The vocabulary of whole answers that a dataset uses, by question type and kind of image."""
    found: dict[tuple[ErrorType, Setting], dict[str, None]] = defaultdict(dict)
    for example in examples:
        short = len(example.answer.split()) <= _LONGEST and opposite(example.answer) is None
        if short and example.answer_type != "report":
            found[asked_of(example)[0], Setting.of(example)][example.answer] = None
    return {key: tuple(sorted(answers)) for key, answers in found.items()}


def target(example: Example, seed: int, vocabulary: Set[str] | None, truths: Truths) -> Perturbation | Drop:
    """A wrong answer of a kind that `example` asks for, the same for the same example and seed.

    Args:
        example: the question with its truth.
        seed: drives every draw, together with the example's id.
        vocabulary: words of the dataset's truths; proposals within it come first.
        truths: of other questions (`truths_of`).

    Returns:
        The perturbation, or a `Drop` with reason `nothing-to-perturb`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(example.example_id.encode())])
    types = asked_of(example)
    for text in _turned(example, rng):
        made = accepted(example, text, types[0])
        if made:
            return made
    setting = Setting.of(example)
    for kind in types:
        for text, least in _proposed(example, kind, setting, vocabulary, truths, rng):
            made = accepted(example, text, kind, least)
            if made:
                return made
    detail = f"no {' or '.join(types)} of {example.answer[:60]!r} can be exchanged"
    return Drop(stage=STAGE, item=example.example_id, reason=NOTHING_TO_PERTURB, detail=detail)


def _turned(example: Example, rng: np.random.Generator) -> Iterator[str]:
    """Another of the choices, the opposite polarity, the other of two things that the question itself offers."""
    yield from other_choices(example, rng)
    turned = opposite(example.answer)
    if turned is not None:
        yield turned
    else:
        yield from offered(example.question, example.answer)


def offered(question: str, answer: str) -> list[str]:
    """What a question names as the alternative to a one-word answer: "solid or cystic" has "cystic" for "solid"."""
    truth = [word for word in words(answer) if word not in _ARTICLES]
    found = re.findall(r"([\w-]+),? or (?:an? |the )?([\w-]+)", question.lower())
    others = [other for pair in found for own, other in (pair, pair[::-1]) if truth == words(own)]
    return [match_case(answer, other) for other in others]


def _proposed(
    example: Example,
    kind: ErrorType,
    setting: Setting,
    vocabulary: Set[str] | None,
    truths: Truths,
    rng: np.random.Generator,
) -> list[tuple[str, float]]:
    """Wrong answers of one type, best first, each with the least conflict it must show (below 0: none)."""
    fitting: dict[ErrorType, list[str]] = {}
    report = example.answer_type == "report"
    for edit in edits(example.answer, example.question, report, setting.regions):
        fits = edit.error_type in OPERATORS[kind] and all(setting.allows(name) for name in _names(edit.replacement))
        if fits and _plausible(example, edit, setting):
            fitting.setdefault(edit.error_type, []).append(edit.apply(example.answer))
    found = [(text, 0.0) for made in OPERATORS[kind] for text in _shuffled(fitting.get(made, []), rng)]
    found += [(text, -1.0) for text in _shuffled(_exclusive(example.answer, kind), rng)]
    free = _shuffled([text for text in truths.get((kind, setting), ()) if text != example.answer], rng)[:_FREE]
    # Words that the lexicon does not know may be another name of the same thing.
    found += [(match_case(example.answer, text), WEIGHTS["words"]) for text in free]
    if vocabulary is not None:
        found.sort(key=lambda one: not set(words(one[0])) <= vocabulary)
    return found


def _plausible(example: Example, edit: Edit, setting: Setting) -> bool:
    """Whether somebody who knows the body might say it: the finding of such an organ, the side of what has two."""
    names, asked = _names(edit.replacement), example.question.lower()
    before, after = example.answer[: edit.start], example.answer[edit.end :]
    organs = _organs(asked) | _organs(f"{before} ; {after}")
    if setting.other and (edit.error_type in _OF_OTHER_PICTURES or names & _LOBES):
        return False
    if edit.error_type == "abnormality" and organs:
        return all(organs & _HOSTS[name] for name in names if name in _HOSTS)
    if edit.error_type == "organ" and re.search(r"\b(?:left|right|both|bilateral) $", before, re.IGNORECASE):
        return names <= _SIDED
    if edit.error_type == "count" and _organs(asked) & _TWO and not _findings(asked):
        return edit.replacement.lower() in {"1", "2", "one", "two"}
    # "Which ventricle?" is not answered by what is none.
    head = _HEAD.search(asked)
    return head is None or head[1] not in words(example.answer) or head[1] in words(edit.apply(example.answer))


def _exclusive(answer: str, kind: ErrorType) -> list[str]:
    plain = " ".join(answer.lower().split()).strip(" .")
    return [
        match_case(answer, other[min(mine.index(plain), len(other) - 1)])
        for group in _EXCLUSIVE.get(kind, ())
        for mine in group
        if plain in mine
        for other in group
        if other != mine
    ]


def _shuffled(texts: list[str], rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.permutation(len(texts))]


@lru_cache(maxsize=4096)
def _organs(text: str) -> frozenset[str]:
    """Organs that a text names; a body region is none."""
    terms = [match.term for match in find_terms(text)]
    return frozenset(term.name for term in terms if term.kind == "organ" and term.group != "body-region")


@lru_cache(maxsize=4096)
def _findings(text: str) -> frozenset[str]:
    return frozenset(match.term.name for match in find_terms(text) if match.term.kind == "finding")


@lru_cache(maxsize=4096)
def _names(text: str) -> frozenset[str]:
    return frozenset(match.term.name for match in find_terms(text))


def _modalities(text: str) -> frozenset[str]:
    terms = [match.term for match in find_terms(text)]
    named = {term.name for term in terms if term.kind == "modality"}
    return frozenset(named | ({"mri"} if any(term.kind == "sequence" for term in terms) else set()))
