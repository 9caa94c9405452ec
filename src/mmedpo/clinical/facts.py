"""What an answer states, as facts that can be compared.

`extract_facts` reads one answer in the light of its question. Left and right are the patient's, as
everywhere. A fact that the lexicon does not know is not guessed: then only the words remain.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from functools import lru_cache

from mmedpo.clinical.lexicon import Match, find_terms, is_yes_no_question, words
from mmedpo.clinical.negation import Clause, clauses, joins
from mmedpo.clinical.vocabulary import FOCAL
from mmedpo.records import ErrorType

LUNG_ABNORMALITY = "lung abnormality"
"""Pseudo-finding that "the lungs are clear" denies."""

_OPENING = re.compile(r"^\W*(yes|no)\b(\W*)(\w*)", re.IGNORECASE)
_SUBJECTS = frozenset(["there", "it", "the", "this", "that", "they", "these", "i", "we"])
_MEASURE = re.compile(r"(\d+(?:\.\d+)?)\s*-?\s*(cm|mm)\b", re.IGNORECASE)
_LEVEL = re.compile(r"\b(?:[TLCS]\d{1,2}|\d{1,2}(?:st|nd|rd|th))\b", re.IGNORECASE)
_STOP_WORDS = frozenset(
    [
        "zone",
        "lobe",
        "region",
        "area",
        "side",
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "it",
        "its",
        "this",
        "that",
        "there",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "with",
        "and",
        "or",
        "by",
        "as",
        "from",
        "has",
        "have",
        "i",
        "we",
        "image",
        "picture",
        "scan",
        "patient",
        "seen",
        "shows",
        "show",
        "appears",
        "appear",
        "located",
        "likely",
        "due",
        "which",
    ]
)
_WHOLE_IMAGE = frozenset({"chest", "head", "abdomen"})
_NOT_A_STATE = frozenset(["evidence", "sign", "signs", "indication", "view", "image", "evident"])
_NOT_A_COUNT = frozenset(["of", "side", "lung", "another"])


@dataclass(frozen=True)
class FindingFact:
    """One finding, stated as present or as absent."""

    name: str
    """Canonical name of the finding."""
    present: bool
    """False when denied."""
    sides: frozenset[str] = frozenset()
    """Subset of {left, right}; bilateral is both; empty when not said."""
    zones: frozenset[str] = frozenset()
    """`axis=name`, e.g. `height=lower`."""
    sizes: frozenset[str] = frozenset()
    """Subset of {small, moderate, large}."""
    counts: frozenset[str] = frozenset()
    """Numbers as digits, or `multiple`."""


@dataclass(frozen=True)
class Facts:
    """All that was recognised in one answer; sets hold affirmed values only."""

    text: str
    """The answer as given."""
    asked: ErrorType = "other"
    """What the question asks for."""
    polarity: bool | None = None
    """Yes (True) or no (False) to a yes/no question; None where neither is said nor follows."""
    polarity_inferred: bool = False
    """True when the polarity follows from the statement, not from the word yes or no."""
    findings: tuple[FindingFact, ...] = ()
    """Findings stated by the answer, and by the question where a yes or no settles them."""
    sides: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    organs: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    """Modalities; a pulse sequence implies MRI and is listed as `sequence=name` in `attributes`."""
    planes: frozenset[str] = frozenset()
    """`projection=pa` and the like, `section=axial` and the like."""
    attributes: frozenset[str] = frozenset()
    """`axis=pole`, e.g. `density=hypodense`."""
    measures_mm: frozenset[float] = frozenset()
    """Lengths in millimetres."""
    denied: frozenset[str] = frozenset()
    """Denied values as `kind:value`, e.g. `zone:brain-part=frontal` in "not in the frontal lobe"."""
    levels: frozenset[str] = frozenset()
    """Vertebral levels and ordinals: `t5`, `4th`."""
    content: frozenset[str] = frozenset()
    """Content words without plural s, for answers the lexicon does not know."""
    unknown: frozenset[str] = frozenset()
    """Those of `content` that belong to no term of the lexicon."""

    @property
    def present(self) -> frozenset[str]:
        """Names of the particular findings stated as present."""
        return frozenset(f.name for f in self.findings if f.present and f.name not in ("abnormality", LUNG_ABNORMALITY))

    @property
    def normal(self) -> bool:
        """True when the image as a whole is called normal and no finding is stated beside it."""
        return any(f.name == "abnormality" and not f.present for f in self.findings) and not self.present


@dataclass(frozen=True)
class _Mention:
    match: Match
    denied: bool
    member: int
    """Number of the coordination member: modifiers bind to findings of the same member."""


def extract_facts(text: str, question: str = "", error_type: ErrorType = "other") -> Facts:
    """Reads the facts of one answer.

    Args:
        text: the answer (a word, a sentence or a report).
        question: the question; needed for what a bare "yes" or "no" settles.
        error_type: what the question asks for.
    """
    polarity, body = _opening(text, question)
    facts = replace(_statement(body, error_type), text=text)
    if polarity is None and is_yes_no_question(question):
        polarity = _follows(facts, _statement(question, error_type), body)
        facts = replace(facts, polarity_inferred=polarity is not None)
    facts = replace(facts, polarity=polarity)
    if polarity is not None and is_yes_no_question(question):
        facts = replace(facts, findings=_settled(facts, _statement(question, error_type), polarity))
    return facts


def _opening(text: str, question: str) -> tuple[bool | None, str]:
    """Polarity said by a leading yes or no, and the text that remains to be read."""
    m = _OPENING.match(text)
    if not m:
        return None, text
    polarity = m.group(1).lower() == "yes"
    opens = not m.group(3) or m.group(3).lower() in _SUBJECTS or any(c in m.group(2) for c in ",.;:-")
    if opens:
        return polarity, text[m.end(2) :]
    return (polarity if is_yes_no_question(question) else None), text if not polarity else text[m.end(1) :]


@lru_cache(maxsize=8192)
def _statement(text: str, asked: ErrorType) -> Facts:
    findings: list[FindingFact] = []
    values: dict[str, set[str]] = {}
    for clause in clauses(text):
        mentions = _mentions(clause)
        findings += _findings(mentions)
        findings += _states(clause, mentions)
        for kind, name in _values(clause, mentions, asked):
            values.setdefault(kind, set()).add(name)
        if not any(m.match.term.kind == "finding" for m in mentions):
            flipped = [replace(m, denied=not m.denied) for m in mentions]
            values.setdefault("denied", set()).update(f"{k}:{n}" for k, n in _values(clause, flipped, asked))
    if "sequence" in values:
        values.setdefault("modality", set()).add("mri")
    sequences = {f"sequence={name}" for name in values.get("sequence", ())}

    def get(kind: str) -> frozenset[str]:
        return frozenset(values.get(kind, ()))

    return Facts(
        text=text, asked=asked, findings=tuple(dict.fromkeys(findings)), sides=get("side"), zones=get("zone"),
        organs=get("organ"), sizes=get("size"), counts=get("count"), modalities=get("modality"), planes=get("plane"),
        attributes=get("attribute") | sequences, denied=get("denied"),
        measures_mm=frozenset(round(float(n) * (10 if u.lower() == "cm" else 1), 3) for n, u in _MEASURE.findall(text)),
        levels=frozenset(m.lower() for m in _LEVEL.findall(text)) - values.get("sequence", set()),
        content=content_words(text),
        unknown=content_words(text) - content_words(" ".join(text[m.start : m.end] for m in find_terms(text))),
    )  # fmt: skip


def content_words(text: str) -> frozenset[str]:
    """Words that carry meaning, without a plural s."""
    return frozenset(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words(text) if w not in _STOP_WORDS)


def _mentions(clause: Clause) -> list[_Mention]:
    if not clause.tokens:
        return []
    start, end = clause.tokens[0].start, clause.tokens[-1].end
    matches = [replace(m, start=m.start + start, end=m.end + start) for m in find_terms(clause.text[start:end])]
    findings = [m for m in matches if m.term.kind == "finding"]
    cuts = [_cut(clause, a, b) for a, b in itertools.pairwise(findings)]
    return [_Mention(m, _denied(clause, m), sum(m.first >= cut for cut in cuts)) for m in matches]


def _denied(clause: Clause, match: Match) -> bool:
    """Denied as a whole; the "without" of "without contrast" belongs to the term and denies nothing."""
    if match.form.text.startswith(("without", "non")):
        return match.first > 0 and clause.denied[match.first - 1]
    return clause.denied[match.first] or clause.denied[match.last]


def _cut(clause: Clause, a: Match, b: Match) -> int:
    """First word of the coordination member that holds finding b, a being the finding before it."""
    between = range(a.last + 1, b.first + 1)
    joiners = [i for i in between if joins(clause.text, clause.tokens, i)]
    return joiners[-1] if joiners else a.last + 1


def _findings(mentions: list[_Mention]) -> list[FindingFact]:
    found: list[FindingFact] = []
    for mention in mentions:
        if mention.match.term.kind != "finding":
            continue
        near = [m for m in mentions if m.member == mention.member]
        found.append(
            FindingFact(
                name=mention.match.term.name,
                present=not mention.denied,
                sides=_names(near, "side"),
                zones=_names(near, "zone"),
                sizes=_names(near, "size"),
                counts=_names(near, "count"),
            )
        )
    return found


def _names(mentions: list[_Mention], kind: str) -> frozenset[str]:
    terms = [m.match.term for m in mentions if m.match.term.kind == kind]
    if kind == "side":
        return frozenset(s for t in terms for s in _sides(t.name))
    if kind == "zone":
        return frozenset(f"{t.group}={t.name}" for t in terms)
    return frozenset(t.name for t in terms)


def _sides(name: str) -> tuple[str, ...]:
    return ("left", "right") if name == "bilateral" else (name,)


def _states(clause: Clause, mentions: list[_Mention]) -> list[FindingFact]:
    """Findings that are said without their name: "the heart is enlarged", "the lungs are clear"."""
    organs = {m.match.term.name for m in mentions if m.match.term.kind == "organ"}
    found: list[FindingFact] = []
    for mention in mentions:
        term = mention.match.term
        if term.kind != "attribute":
            continue
        if term.name == "enlarged" and "heart" in organs:
            found.append(FindingFact("cardiomegaly", not mention.denied))
        if term.name != "normal" or _follower(clause, mention) in _NOT_A_STATE:
            continue
        if "heart" in organs:
            found.append(FindingFact("cardiomegaly", mention.denied))
        if "lung" in organs:
            found.append(FindingFact(LUNG_ABNORMALITY, mention.denied, sides=_names(mentions, "side")))
        if organs <= _WHOLE_IMAGE and not any(m.match.term.kind == "finding" for m in mentions):
            found.append(FindingFact("abnormality", mention.denied))
    return found


def _follower(clause: Clause, mention: _Mention) -> str:
    i = mention.match.last + 1
    return clause.tokens[i].text if i < len(clause.tokens) else ""


def _values(clause: Clause, mentions: list[_Mention], asked: ErrorType) -> list[tuple[str, str]]:
    """Affirmed (kind, value) pairs. A denied finding keeps its place and size to itself."""
    found: list[tuple[str, str]] = []
    has_finding = any(m.match.term.kind == "finding" for m in mentions)
    for mention in mentions:
        term = mention.match.term
        if mention.denied or term.kind == "finding":
            continue
        if term.kind == "count":
            bare = len(clause.tokens) <= 2
            if _follower(clause, mention) in _NOT_A_COUNT or not (bare or has_finding or asked == "count"):
                continue
        if term.kind == "side":
            found += [("side", s) for s in _sides(term.name)]
        elif term.kind in ("zone", "plane", "attribute"):
            found.append((term.kind, f"{term.group}={term.name}"))
        else:
            found.append((term.kind, term.name))
    return found


def _settled(facts: Facts, asked: Facts, polarity: bool) -> tuple[FindingFact, ...]:
    """The findings of the answer, with those of the question where the answer does not restate them."""
    stated = {f.name for f in facts.findings}
    extra = [replace(f, present=f.present == polarity) for f in asked.findings if f.name not in stated]
    return facts.findings + tuple(extra)


def _follows(facts: Facts, asked: Facts, body: str) -> bool | None:
    """Polarity that a statement implies for a yes/no question; None when it does not settle it."""
    for q in asked.findings:
        for f in facts.findings:
            if f.name == q.name or (q.name == "lesion" and f.name in FOCAL):
                if f.present and q.present and q.sides and f.sides and not q.sides & f.sides:
                    return False
                return f.present == q.present
        if q.name == "abnormality" and facts.present:
            return q.present
        if q.name != "abnormality" and facts.normal:
            return not q.present
    pairs = [(asked.planes, facts.planes), (asked.modalities, facts.modalities), (asked.attributes, facts.attributes)]
    for mine, theirs in pairs:
        for axis in {v.split("=")[0] for v in mine if "=" in v} or {""}:
            a = {v for v in mine if v.startswith(axis)}
            b = {v for v in theirs if v.startswith(axis)}
            if a and b:
                return bool(a & b)
    return _echoes(asked, facts, body)


def _echoes(asked: Facts, facts: Facts, body: str) -> bool | None:
    """A statement that repeats most of the question's words affirms it, or denies it with a negation."""
    shared = asked.content & facts.content
    if not asked.content or len(shared) < max(1, round(0.6 * len(asked.content))):
        return None
    return not any(any(clause.denied) for clause in clauses(body))
