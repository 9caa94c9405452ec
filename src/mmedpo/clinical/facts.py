"""What an answer states, as facts that can be compared.

`extract_facts` reads one answer in the light of its question. Left and right are the patient's, as
everywhere. A fact that the lexicon does not know is not guessed: then only the words remain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mmedpo.clinical.assertion import Clause, Mention, Status, clauses, frame
from mmedpo.clinical.binding import Bound, bind, is_moved
from mmedpo.clinical.cues import Category
from mmedpo.clinical.findings import FOCAL
from mmedpo.clinical.kinds import kinds, same_kind
from mmedpo.clinical.lexicon import find_terms, is_yes_no_question, words
from mmedpo.records import ErrorType

LUNG_ABNORMALITY = "lung abnormality"
"""Pseudo-finding that "the lungs are clear" denies."""

SETTLED: frozenset[Status] = frozenset({"present", "absent", "resolved"})
"""What says yes or no of a finding now."""

_OPENING = re.compile(r"^\W*(yes|no)\b(\W*)(\w*)", re.IGNORECASE)
_SUBJECTS = frozenset(["there", "it", "the", "this", "that", "they", "these", "i", "we"])
_MEASURE = re.compile(r"(\d+(?:\.\d+)?)\s*-?\s*(cm|mm)\b", re.IGNORECASE)
_LEVEL = re.compile(r"\b(?:[TLCS]\d{1,2}|\d{1,2}(?:st|nd|rd|th))\b", re.IGNORECASE)
_STOP_WORDS = frozenset(
    ["zone", "lobe", "region", "area", "side", "a", "an", "the", "is", "are", "was", "were", "be", "been", "it", "its",
     "this", "that", "there", "of", "in", "on", "at", "to", "for", "with", "and", "or", "by", "as", "from", "has",
     "have", "i", "we", "image", "picture", "scan", "patient", "seen", "shows", "show", "appears", "appear", "located",
     "likely", "due", "which"]
)  # fmt: skip
_WHOLE_IMAGE = frozenset({"chest", "head", "abdomen"})
_NOT_A_STATE = frozenset(["evidence", "sign", "signs", "indication", "view", "image", "evident"])
_NOT_A_COUNT = frozenset(["of", "side", "lung", "another"])
_OPPOSITE: dict[Status, Status] = {"present": "absent", "absent": "present", "resolved": "present"}
_BARE = frozenset(
    ["present", "seen", "on", "in", "at", "the", "side", "lung", "lobe", "within", "is", "only", "but", "none", "not",
     "one", "there", "also", "rather", "hemithorax", "no", "visible", "noted", "absent", "a", "and"]
)  # fmt: skip


@dataclass(frozen=True)
class FindingFact:
    """One finding and what is said of it."""

    name: str
    """Canonical name of the finding."""
    status: Status
    """Whether it is there."""
    sides: frozenset[str] = frozenset()
    """Subset of {left, right}; bilateral is both; empty when not said."""
    zones: frozenset[str] = frozenset()
    """`axis=name`, e.g. `height=lower`."""
    sizes: frozenset[str] = frozenset()
    """Subset of {small, moderate, large}."""
    counts: frozenset[str] = frozenset()
    """Numbers as digits, or `multiple`."""
    kinds: frozenset[str] = frozenset()
    """`axis=pole` of its attributes ("time=acute"), `axis=-pole` of those denied; what is absent is this kind only."""

    @property
    def present(self) -> bool:
        """Stated as present now."""
        return self.status == "present"


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
    """Findings said to be there or not, by the answer, and by the question where a yes or no settles them."""
    unsettled: tuple[FindingFact, ...] = ()
    """Findings that are named without being asserted or denied: uncertain, historical, unknown."""
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
    directions: frozenset[str] = frozenset()
    """Sides that something moves to ("shifted to the left"); they are no finding's side."""
    content: frozenset[str] = frozenset()
    """Content words without plural s, for answers the lexicon does not know."""
    unknown: frozenset[str] = frozenset()
    """Those of `content` that belong to no term of the lexicon."""

    @property
    def present(self) -> frozenset[str]:
        """Names of the particular findings stated as present."""
        return frozenset(f.name for f in self.findings if f.present and f.name not in ("abnormality", LUNG_ABNORMALITY))

    @property
    def named(self) -> frozenset[str]:
        """Names of all findings the answer speaks of, whatever it says of them."""
        return frozenset(f.name for f in (*self.findings, *self.unsettled))

    @property
    def uncertain(self) -> frozenset[str]:
        """Names of the findings that are hedged."""
        return frozenset(f.name for f in self.unsettled if f.status == "uncertain")

    @property
    def normal(self) -> bool:
        """True when the image as a whole is called normal and no finding is stated beside it."""
        denied = any(f.name == "abnormality" and not f.present for f in self.findings)
        return denied and not self.present and not self.uncertain


def extract_facts(text: str, question: str = "", error_type: ErrorType = "other") -> Facts:
    """Reads the facts of one answer.

    Args:
        text: the answer (a word, a sentence or a report).
        question: the question; needed for what a bare "yes" or "no" settles.
        error_type: what the question asks for.
    """
    polarity, body = _opening(_unquoted(text, question), question)
    facts, inferred = _statement(body, error_type, frame(question)), False
    findings = facts.findings
    if is_yes_no_question(question):
        asked = _statement(question.rstrip("? "), error_type)
        if polarity is None:
            polarity = _follows(facts, asked, body)
            inferred = polarity is not None
        if polarity is not None:
            findings = _settled(facts, asked, polarity)
    return replace(facts, text=text, polarity=polarity, polarity_inferred=inferred, findings=findings)


def _unquoted(text: str, question: str) -> str:
    """An answer that repeats its question is read without it."""
    asked = question.strip()
    if not asked or asked.casefold() not in text.casefold():
        return text
    rest = re.sub(rf"(?:question\s*:\s*)?{re.escape(asked)}", " ", text, flags=re.IGNORECASE).strip()
    return rest if words(rest) else text


def _opening(text: str, question: str) -> tuple[bool | None, str]:
    """Polarity said by a leading yes or no, and the text that remains to be read."""
    m = _OPENING.match(text)
    if not m:
        return None, text
    polarity = m.group(1).lower() == "yes"
    if ":" in m.group(2) and m.group(3).lower() not in _SUBJECTS:  # "No: effusion, pneumothorax" is a heading
        return None, text
    opens = not m.group(3) or m.group(3).lower() in _SUBJECTS or any(c in m.group(2) for c in ",.;:-")
    if opens:
        return polarity, text[m.end(2) :]
    return (polarity if is_yes_no_question(question) else None), text if not polarity else text[m.end(1) :]


@lru_cache(maxsize=8192)
def _statement(text: str, asked: ErrorType, framed: frozenset[Category] = frozenset()) -> Facts:
    findings: list[FindingFact] = []
    values: dict[str, set[str]] = {}
    elsewhere = False
    for clause in clauses(text, framed):
        bound = bind(clause)
        found = [*_findings(clause, bound), *_states(clause)]
        findings = [*findings, *found] if found or not findings else _carried_on(clause, findings, elsewhere)
        elsewhere = any(m.elsewhere for m in clause.mentions)
        for kind, name in _values(clause, asked):
            values.setdefault(kind, set()).add(name)
        about = [m for m in clause.mentions if m.elsewhere] if any(_is_finding(m) for m in clause.mentions) else None
        if about is None or about:
            turned = tuple(
                Mention(m.match, _OPPOSITE.get(m.status, "unknown"), m.elsewhere) for m in about or clause.mentions
            )
            denied = _values(replace(clause, mentions=turned), asked)
            values.setdefault("denied", set()).update(f"{k}:{n}" for k, n in denied)
    if "sequence" in values:
        values.setdefault("modality", set()).add("mri")
    sequences = {f"sequence={name}" for name in values.get("sequence", ())}

    def get(kind: str) -> frozenset[str]:
        return frozenset(values.get(kind, ()))

    every, content = tuple(dict.fromkeys(findings)), content_words(text)
    return Facts(
        text=text, asked=asked, findings=tuple(f for f in every if f.status in SETTLED),
        unsettled=tuple(f for f in every if f.status not in SETTLED), directions=get("direction"),
        sides=get("side"), zones=get("zone"), organs=get("organ"), sizes=get("size"), counts=get("count"),
        modalities=get("modality"), planes=get("plane"), attributes=get("attribute") | sequences, denied=get("denied"),
        measures_mm=frozenset(round(float(n) * (10 if u.lower() == "cm" else 1), 3) for n, u in _MEASURE.findall(text)),
        levels=frozenset(m.lower() for m in _LEVEL.findall(text)) - values.get("sequence", set()),
        content=content,
        unknown=content - content_words(" ".join(text[m.start : m.end] for m in find_terms(text))),
    )  # fmt: skip


@lru_cache(maxsize=256)
def content_words(text: str) -> frozenset[str]:
    """Words that carry meaning, without a plural s."""
    return frozenset(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words(text) if w not in _STOP_WORDS)


def _is_finding(mention: Mention) -> bool:
    return mention.match.term.kind == "finding"


def _findings(clause: Clause, bound: list[Bound]) -> list[FindingFact]:
    found: list[FindingFact] = []
    for one in bound:
        if _is_finding(one.mention):
            own = [b for b in bound if one.member in (b.member, *b.shared) and not b.moved]
            denied = one.mention.status in ("absent", "resolved")
            near = [b.mention for b in own if denied or not b.mention.elsewhere]
            found.append(
                FindingFact(
                    name=one.mention.match.term.name,
                    status=one.mention.status,
                    kinds=kinds(clause, one.mention, [b.mention for b in own]),
                    sides=_names(near, "side"),
                    zones=_names(near, "zone"),
                    sizes=_names([m for m in near if not denied or m.match.first < one.mention.match.first], "size"),
                    counts=_names(near, "count"),
                )
            )
    return found


def _carried_on(clause: Clause, before: list[FindingFact], elsewhere: bool) -> list[FindingFact]:
    """The findings so far, with what a clause says of the last one without naming it.

    "..., but present on the right": it is on another side too; "not on the left, but on the right" (`elsewhere`): it
    is there alone; "was considered, but is not seen": that is what counts.
    """
    *earlier, last = before
    if clause.verdict and not any(m.match.term.kind == "side" for m in clause.mentions):
        return [*earlier, replace(last, status=clause.verdict)]
    sides = [m for m in clause.mentions if m.match.term.kind == "side"]
    spoken = any(t.text in ("present", "seen", "one", "none", "not", "absent") for t in clause.tokens)
    sizes = _names(clause.mentions, "size")
    bare = all(
        t.text in _BARE or not t.text.isalnum() or any(m.match.first <= i <= m.match.last for m in clause.mentions)
        for i, t in enumerate(clause.tokens)
    )
    if not sides or not bare or not (spoken or sizes or elsewhere):
        return before
    there = FindingFact(last.name, sides[0].status, sides=_names(sides, "side"), sizes=sizes)
    return [*earlier, replace(last, sides=there.sides)] if elsewhere and not last.sides else [*before, there]


def _names(mentions: Sequence[Mention], kind: str) -> frozenset[str]:
    terms = [m.match.term for m in mentions if m.match.term.kind == kind]
    if kind == "side":
        return frozenset(s for t in terms for s in _sides(t.name))
    if kind == "zone":
        return frozenset(f"{t.group}={t.name}" for t in terms)
    return frozenset(t.name for t in terms)


def _sides(name: str) -> tuple[str, ...]:
    return ("left", "right") if name == "bilateral" else (name,)


def _states(clause: Clause) -> list[FindingFact]:
    """Findings that are said without their name: "the heart is enlarged", "the lungs are clear"."""
    organs = {m.match.term.name for m in clause.mentions if m.match.term.kind == "organ"}
    found: list[FindingFact] = []
    for mention in clause.mentions:
        term, turned = mention.match.term, _OPPOSITE.get(mention.status, mention.status)
        if term.kind != "attribute":
            continue
        no_growth = mention.match.form.text == "larger" and mention.status == "absent"  # "no larger than before"
        if term.name == "enlarged" and "heart" in organs and not no_growth:
            found.append(FindingFact("cardiomegaly", mention.status))
        compared = clause.tokens[max(mention.match.first - 1, 0)].text == "than"
        if term.name != "normal" or compared or _follower(clause, mention) in _NOT_A_STATE:
            continue
        if "heart" in organs:
            found.append(FindingFact("cardiomegaly", turned))
        if "lung" in organs:
            found.append(FindingFact(LUNG_ABNORMALITY, turned, sides=_names(clause.mentions, "side")))
        if organs <= _WHOLE_IMAGE and not any(m.match.term.kind == "finding" for m in clause.mentions):
            found.append(FindingFact("abnormality", turned))
    return found


def _follower(clause: Clause, mention: Mention) -> str:
    i = mention.match.last + 1
    return clause.tokens[i].text if i < len(clause.tokens) else ""


def _values(clause: Clause, asked: ErrorType) -> list[tuple[str, str]]:
    """Affirmed (kind, value) pairs. A denied finding keeps its place and size to itself."""
    found: list[tuple[str, str]] = []
    told = [m.status in SETTLED for m in clause.mentions if m.match.term.kind == "finding"]
    has_finding, open_only = bool(told), bool(told) and not any(told)
    for mention in clause.mentions:
        term = mention.match.term
        if mention.status in ("absent", "resolved", "unknown") or term.kind == "finding":
            continue
        if open_only and term.kind in ("side", "zone", "size", "count"):
            continue  # the place of what may not be there
        if term.kind == "count":
            bare = sum(t.text.isalnum() for t in clause.tokens) <= 2
            if _follower(clause, mention) in _NOT_A_COUNT or not (bare or has_finding or asked == "count"):
                continue
        if term.kind == "side":
            kind = "direction" if is_moved(clause, mention) else "side"
            found += [(kind, s) for s in _sides(term.name)]
        elif term.kind in ("zone", "plane", "attribute"):
            found.append((term.kind, f"{term.group}={term.name}"))
        else:
            found.append((term.kind, term.name))
    return found


def _settled(facts: Facts, asked: Facts, polarity: bool) -> tuple[FindingFact, ...]:
    """The findings of the answer, with those of the question where the answer does not restate them."""
    extra = [
        replace(f, status="present" if f.present == polarity else "absent")
        for f in asked.findings
        if f.name not in facts.named
    ]
    return facts.findings + tuple(extra)


def _follows(facts: Facts, asked: Facts, body: str) -> bool | None:
    """Polarity that a statement implies for a yes/no question; None when it does not settle it."""
    open_names = {f.name for f in facts.unsettled}
    for q in asked.findings:
        if q.name in open_names or (q.name in ("abnormality", "lesion") and open_names and not facts.findings):
            return None
        for f in facts.findings:
            if f.name == q.name or (q.name == "lesion" and f.name in FOCAL):
                if f.present and q.present and q.sides and f.sides and not q.sides & f.sides:
                    return False
                return f.present == q.present if same_kind(f.kinds, q.kinds) else None
        if q.name == "abnormality" and facts.present:
            return q.present
        if q.name != "abnormality" and facts.normal:
            return not q.present
    if asked.directions and facts.directions:
        return bool(asked.directions & facts.directions)
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
    return not any(clause.negated for clause in clauses(body))
