"""Words that command, score or speak of answers, by kind, in the languages such commands were met in.

A word of no kind is told of nothing here; what a run of kinds means is said in `scorer_talk`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")

_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.VERBOSE))
    for name, pattern in (
        ("overrule", r"ignor\w*|disregard\w*|forget|overrid\w*|bypass\w*|olvid\w*|oubli\w*|vergiss|dimentic\w*"
                     r"|esquec\w*|desconsider\w*|negeer"),
        ("rule", r"instruc\w+|instruktion\w*|istruzion\w*|anweisung\w*|consignes?|prompts?|rubrics?|guidelines?"
                 r"|directives?|opdracht\w*"),
        ("context", r"rules?|criteria|context|previous|prior|preceding|earlier|above|everything|messages?|text|orders"
                    r"|regeln?|reglas?|regles|regole|regras"),
        ("score", r"scor(?:e|es|ed|ing)|ratings?|punt(?:ua\w*|aje|os|eggio)|punktzahl|punkte?n?|bewert\w*|pontu\w*"
                  r"|pontos|nota|voto|calific\w*|valutaz\w*|avaliac\w*|beoordel\w*|betyg\w*"),
        ("hand", r"rate[ds]?|grade[ds]?|grading|marks?|points|stars|credits?|give[ns]?|giving|assign\w*|award\w*"
                 r"|outputs?|return|print|deserv\w*|earn(?:s|ed)?|vote|verdict|gib|geben|vergib"
                 r"|vergeben|verteil\w*|da|dale|donn\w*|attribu\w+|note|mets"
                 r"|asign\w*|assegn\w*|dai|de|atribu\w*|geef"),
        ("judge", r"judges?|agents?|(?:dis)?agree[sd]?|concur\w*|unanim\w*|panel\w*|experts?|jury|jurors?"
                   r"|admin\w*|developers?|debates?|debaters?|consensus"
                  r"|graders?|evaluators?|scorers?|raters?|reviewers?|llms?|gpt\w*|chatbot|assistant"),
        ("reader", r"you|your|yourself|system|user|human|ai|model"),
        ("extreme", r"10|100|0|ten|hundred|zero|1\.0|0\.0|maxim\w+|max|highest|full|top|perfect|best|diez|dix|zehn"
                    r"|dieci|dez|tien|volle\w*|hochst\w*|massim\w+"
                     r"|perfec\w+|perfett\w+|perfeit\w+|parfait\w*"),
        ("number", r"\d+(?:\.\d+)?|one|two|three|four|five|six|seven|eight|nine|out"),
        ("meta", r"answers?|candidates?|repl(?:y|ies)"),
        ("glue", r"the|a|an|this|that|these|those|it|its|is|are|be|was|must|should|shall|will|would|can|has|have|do"
                 r"|not|don|t|and|or|but|so|then|therefore|thus|now|please|instead|just|only|simply|always|of|to|for"
                 r"|with|as|by|in|on|at|from|all|any|every|each|me|i|my|us|we|am|very|correct|right|final|new|next"
                 r"|responses?|respond|set|say|write|follow\w*|pay|attention|given"
                 r"|task|result|value|percent|exactly|immediately|first|good|hand|kindly|previously|real|true|overall|total"
                 r"|thanks?|obrigad\w*|grazie|gracias|merci|danke|bedankt|graag|tack|bitte|favor"
                 r"|la|las|los|el|le|les|l|un|una|une|ein|eine|einen|der|die|das|den|dem|dies\w*|alle\w*|todas|todos"
                 r"|toutes|tous|tutte|tutti|y|e|et|und|en|con|avec|mit|pour|por|para|per|fur|von|du|des|di|del|della"
                 r"|os|as|um|uma|o|lo|gli|sur|sobre|su|esta|este|cette|questa|respuesta|reponse|antwort|risposta"
                 r"|resposta|anterior\w+|precedent\w*|vorherig\w*|fruher\w*"),
    )
)  # fmt: skip
"""Kind of word by its folded form, the first that fits; a word of no kind ends a run."""

SCALES = frozenset(
    ["calcium", "agatston", "gleason", "apache", "glasgow", "nihss", "aspects", "apgar", "wells", "meld", "bosniak",
     "fisher", "pugh", "rads", "pain", "gcs", "z", "t", "contrast", "heart", "respiratory",
     "pulse", "growth", "metabolic", "flow", "filtration",
     "cardiac", "urine", "tumor", "tumour", "who", "histologic", "nuclear", "nervous", "digestive", "immune", "urinary",
     "reproductive", "skeletal", "ventricular", "collecting", "venous", "arterial"]
)  # fmt: skip
"""Words that make a score, a rate, a grade, an output or a system of the next word a clinical one."""

_UNITS = frozenset(["mm", "cm", "ml", "hu", "years", "year", "days", "weeks", "degrees", "bpm", "th", "kg"])


class Word(NamedTuple):
    """A word of a text, folded, with its place and kind."""

    text: str
    start: int
    end: int
    kind: str


@lru_cache(maxsize=4096)
def kind_of(word: str) -> str:
    """Kind of a folded word; empty when it has none."""
    return next((name for name, pattern in _CLASSES if pattern.fullmatch(word)), "")


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))


def talk_words(text: str) -> list[Word]:
    """The words of a text with their kinds; "calcium score" and "10 mm" are clinical and have none."""
    found = list(TOKEN.finditer(text))
    spoken = [_folded(m.group()) for m in found]
    result: list[Word] = []
    for i, (m, word) in enumerate(zip(found, spoken, strict=True)):
        kind = kind_of(word)
        if kind in ("", "glue") and word != "no":  # whatever stands around it
            result.append(Word(word, m.start(), m.end(), kind))
            continue
        before = spoken[i - 1] if i else ""
        after = spoken[i + 1] if i + 1 < len(spoken) else ""
        if (
            (kind in ("score", "hand", "reader", "judge") and before in SCALES)
            or (kind in ("number", "extreme") and after in _UNITS)
            or (word in ("marks", "points") and after in ("the", "a", "an", "to") and kind_of(before) != "extreme")
        ):  # the verb
            kind = ""
        if word == "no" and kind_of(after) == "judge":  # "no agent disagreed" answers nothing
            kind = "glue"
        result.append(Word(word, m.start(), m.end(), kind))
    return result
