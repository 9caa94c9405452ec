"""Cues of assertion as data: the words that say whether a finding is there, was there, or may be there.

The categories are those of NegEx and ConText (Chapman et al. 2001; Harkema et al. 2009) as radiology uses
them (Peng et al. 2018; Irvin et al. 2019): absence, uncertainty apart from absence, history and resolution apart
from presence, what is only asked for, pseudo-cues that look like a negation and assert presence, and comparisons,
which say nothing. A cue acts `forward` on what follows, `backward` on what stands before, or `around` on both.

Cues are read off words and marks joined by single blanks, lower case, apostrophes and inner hyphens gone
("isn't" -> "isn t"). Edit here; the code in `assertion` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

Category = Literal["present", "absent", "resolved", "uncertain", "historical", "unknown", "persists", "nothing"]
"""What a cue says. `persists`: there now, though told of the past; `nothing`: consumed without effect."""
Direction = Literal["forward", "backward", "around"]


@dataclass(frozen=True)
class Cue:
    """One cue in a sentence."""

    category: Category
    direction: Direction
    first: int
    """Index of its first token."""
    last: int
    """Index of its last token."""

    def behind(self, start: int) -> Cue:
        """The same, counted from token `start`."""
        return Cue(self.category, self.direction, self.first - start, self.last - start)


_CLASSES = {
    "be": "is|are|was|were|be|been|being|am|s|appears?|remains?|seems?|considered|thought|felt|deemed|believed|looks?",
    "adv": "clearly|definitely|definitively|obviously|currently|readily|well|also|now|entirely|completely|fully|totally"
    "|absolutely|confidently|reliably|convincingly|safely|certainly|still|otherwise|very|highly|quite|rather|most"
    "|more|less|somewhat|since|subsequently|again|just|as|to|be|been|being|yet|really|at|all|specifically|directly",
    "seen": "seen|present|visible|identified|identifiable|visuali[sz]ed|evident|observed|appreciated|appreciable|noted"
    "|detected|detectable|found|shown|demonstrated|demonstrable|viewed|depicted|apparent|recogni[sz]ed|discernible"
    "|discerned|delineated|supported|revealed|described|reported|mentioned|made out|there|encountered|suspected"
    "|suggested",
    "degree": "significant|significantly|substantial|substantially|appreciable|appreciably|definite|definitely|relevant"
    "|interval|major|marked|markedly|much|real|really|obvious|noticeable|noticeably|further|considerable|considerably"
    "|any|clear|great|greatly|material|materially|overall|notable|notably|important|short|term|appreciated|other|the"
    "|substantive|essentially|essential|size|clinically|dramatic|dramatically|measurable|at|all|apparent|recent",
    "change": "changes?|increases?|decreases?|enlargements?|growth|progression|improvements?|worsening|reductions?"
    "|differences?|evolution|deterioration|extension|expansion|regression|variation|alterations?|decline|diminution",
    "changed": "changed|increased|decreased|enlarged|grown|progressed|improved|worsened|reduced|different|altered"
    "|evolved|deteriorated|regressed|larger|smaller|bigger|worse|better|greater|moved|shrunk|diminished|increasing"
    "|decreasing|enlarging|growing|progressing|improving|worsening|changing",
    "again": "recurred|returned|reaccumulated|re accumulated|reappeared|re appeared|developed|come back",
    "study": "study|studies|exam|exams|examinations?|films?|radiographs?|images?|imaging|ct|mri|mr|scans?|x rays?"
    "|xrays?|chest films?|views?|chest x rays?|chest radiographs?|comparisons?|visits?|day|occasions?"
    "|ultrasound|cxrs?|pet",
    "former": "prior|previous|earlier|last|old|preceding|outside|most recent|recent|yesterday s|initial|baseline"
    "|preoperative|former|comparison",
    "cannot": "cannot|can not|can t|cant|could not|couldn t|couldnt|can neither|can hardly|unable to|not possible to"
    "|difficult to|hard to|impossible to",
    "not": "not|isn t|isnt|aren t|arent|wasn t|wasnt|weren t|werent|doesn t|doesnt|don t|dont|didn t|didnt|hasn t|hasnt"
    "|haven t|havent|never",
    "gone": "resolved|cleared|disappeared|vanished|gone|resorbed|dissipated|subsided|regressed completely|abated"
    "|gone away|been removed|been evacuated|been withdrawn|been taken out|been explanted",
    "wholly": "completely|fully|totally|entirely|now|since|also|already|in the interval|essentially|clearly|apparently"
    "|meanwhile|subsequently|spontaneously|otherwise|all|both|interval|been",
    "partly": "(?:nearly|almost|near|mostly|largely) (?:entirely|fully|totally|wholly|all|complete|completely)|nearly"
    "|almost|partially|partly|near|incompletely|incomplete|partial|mostly|largely|not|not yet|not fully"
    "|not completely|substantially|significantly",
}

_MAY = "may|might|could|can"
_POSSIBLE = (
    "possible|possibly|probable|probably|likely|questionable|questionably|suspected|presumed|presumably|potential"
    "|potentially|perhaps|equivocal|conceivable|conceivably|plausible|indeterminate|doubtful|borderline|suspicious"
    "|concerning|worrisome|suggested"
)

_TABLE: tuple[tuple[Category, Direction, tuple[str, ...]], ...] = (
    ("present", "forward", (  # look like a negation: no change in something asserts it
        r"(?:no|not|without|no evidence of|not any|neither|lack of) (?:(?:{degree}) )*(?:{change})"
        r"(?: (?:of|in|to|for))?",
        r"no (?:(?:{degree}) )*(?:longer|bigger|larger|smaller|worse|better|greater|different) than",
        r"(?:{not}|no|without) (?:only|just|merely|necessarily)",
        r"(?:no|without|beyond|little) (?:a )?(?:doubt|question)",
        r"with (?:stable|unchanged|persistent|persisting|residual|a stable|an unchanged|known)",
        r"apart from|aside from|other than|except(?: for| that)?|with the exception of|besides",
        r"positive for|\+ ve(?: for)?|\[ x \]|\( x \)|☑|✓|✔",
    )),
    ("persists", "around", (
        r"(?:{not}) previously (?:{seen})(?: before)?|(?:{not}) (?:{seen}) (?:before|previously|earlier|in the past)",
        r"(?:{not}) (?:{seen}) (?:on|in|at) (?:the |any |a )?(?:{former}) (?:{study})?",
        r"redemonstrat\w+|again(?: (?:{seen}))|re identified|unchanged|persist\w*|persistent|ongoing|stable|stably",
        r"(?:{partly}) (?:{gone})|(?:{partly}) (?:resolution|clearing|disappearance)(?: of)?|resolving",
        r"(?:placement|insertion|implantation|introduction)(?: of)?",
    )),
    ("persists", "backward", (
        r"(?:{not}) (?:(?:{degree}|{adv}) )*(?:{changed})",
        r"(?:{be}) (?:no|neither) (?:{changed})(?: (?:nor|or) (?:{changed}))?",
        r"(?:{be}) (?:{not}|not) (?:(?:{adv}) )*(?:suspicious|worrisome|concerning)(?! (?:for|of))",
        r"(?:neither) (?:{changed}) nor (?:{changed})",
        r"remains?|is left|are left|(?:has|have) (?:(?:{adv}|{degree}) )*(?:{changed})",
        r"(?:(?:is|are) )(?:(?:{adv}) )*(?:{changed}|unchanged|stable|similar)",
        r"(?:{again})|recurring",
    )),
    ("present", "backward", (
        r"(?:(?:is|are) )?(?:(?:now|also|still|again|clearly) )*(?:present|seen|visible|noted|identified|evident)",
        r"yes|positive|\( \+ \)|\+",
    )),
    ("unknown", "backward", (  # asked for, not found
        r"(?:should|must|needs? to|has to|have to|ought to|is to|are to|to)(?: also| still)? be (?:(?:{adv}) )*"
        r"(?:excluded|ruled out|confirmed|sought|looked for)",
        r"needs? (?:exclusion|confirmation|to be looked for)",
    )),
    ("absent", "forward", (
        r"no|non|{not}|without|w o|neither|nor|{cannot} (?:see|identify|find|detect|appreciate|visuali[sz]e|discern)",
        r"cannot|can not|can t|couldn t|could not",
        r"absence of|lack(?:s|ing)?(?: of)?|nothing|none(?: of(?: the following)?)?"
        r"|free (?:of|from)|clear of|devoid of|void of|empty of",
        r"negative(?: \w+)? for|unremarkable for|rather than|instead of|as opposed to|in place of|negative|neg",
        r"(?:fail|fails|failed|failing) to (?:reveal|show|demonstrate|identify|detect|disclose)|denies|denied|denying",
        r"(?:excludes|ruled out|rules out|ruling out|excluding)(?= (?!by\b))",
        r"no (?:evidence|sign|signs|suggestion|indication|suspicion|features|findings|hint|trace)s?"
        r"(?: (?:of|for|to (?:suggest|indicate|support)|suggesting|suspicious for|suggestive of))?",
        r"mimicking|mimics?|simulating|simulates?|(?:argu\w+|speaks?|militates?) against"
        r"|(?:inconsistent|incompatible) with|- ve(?: for)?",
        r"\[ \]|\( \)|☐|✗|✘|unlikely to (?:be|represent|reflect|indicate)|less likely",
    )),
    ("absent", "backward", (
        r"(?:{be}|has|have|had|{cannot})? ?(?:{not}|cannot|can not|can t|could not|couldn t) (?:(?:{adv}|{degree}) )*"
        r"(?:{seen})",
        r"(?:(?:has|have|had) )?(?:{not}) (?:(?:{adv}) )*(?:{again})",
        r"(?:{be}) (?:(?:a|felt|to|be) )*(?:less|least) likely"
        r"(?: (?:possibility|consideration|diagnosis|alternative))?",
        r"nowhere(?: to be)?(?: (?:{seen}))?",
        r"(?:(?:{be}) )*(?:absent|unlikely|improbable|nil|excluded|ruled out)|0",
        r"(?<=[|:=] )-(?= \||$)|-(?= ,|$)",
        r"(?:(?:{be}|has|have) )+(?:(?:{adv}) )*(?:excluded|ruled out)",
        r"(?:{be}) (?:(?:{adv}) )*(?:negative)|\( - \)",
    )),
    ("resolved", "backward", (
        r"(?:(?:is|are|was|were|has|have|had) )(?:(?:{wholly}) )*(?:removed|withdrawn|explanted|evacuated|resected)",
        r"(?:(?:has|have|had|is|are|was|were) )?(?:(?:{wholly}) )*(?:{gone})",
        r"(?:(?:is|are|was|were|has|have) )?no longer(?: (?:{be}|{adv}))*(?: (?:{seen}))?",
        r"(?:{not}) (?:(?:{adv}) )*(?:{seen}) (?:today|now|any ?more|any longer|currently|at present|at this time)",
        r"(?:{not}) (?:today|now|any ?more) (?:{seen})",
    )),
    ("resolved", "forward", (
        r"(?:complete |interval |full |total |spontaneous |subsequent )*"
        r"(?:resolution|clearing|clearance|disappearance|resorption|removal|evacuation)(?: of)?",
        r"(?:completely |now |interval |fully )*resolved|no longer"
        r"(?: (?:a|an|any|the|seen|there|has|have|shows?))*",
        r"(?:no|without)(?: (?:definite|significant|visible|any))* (?:residual|remaining|persistent|persisting)",
    )),
    ("uncertain", "forward", (
        r"(?:(?:{_may}) )(?:(?:also|well|then|still|possibly|potentially|simply|in part|theoretically) )*"
        r"(?:be|represent|reflect|indicate|suggest|relate to|include|have|mean|signify|correspond to|mask|hide)",
        r"(?:most |more |very |quite |highly |less |felt to be |is |are )*(?:{_possible})(?: (?:for|of))?",
        r"(?:suspicion|concern|possibility|question|likelihood|hint|suggestion|probability|worry|query|impression)"
        r"(?: is raised)? (?:of|for|about)",
        r"suspect\w*|suspicious (?:for|of)|worrisome for|concerning for|suggest(?:s|ive|ing|ed)?(?: of)?",
        r"(?:{cannot}) (?:(?:{adv}) )*(?:exclude|rule out|preclude|confirm|determine)",
        r"(?:{not}|no) (?:(?:{adv}) )*(?:exclude|rule out|preclude|ruling out|excluding)|without excluding",
        r"(?:the )?differential(?: diagnos[ie]s)?(?: (?:would )?(?:includes?|is|considerations?|remains))?",
        r"(?:it |this )?(?:is |remains )?(?:{not} (?:clear|certain|known|sure|definite)|unclear|uncertain|unknown"
        r"|unsure) (?:whether|if)|whether|equivocal for|indeterminate for|consider(?:ing)?"
        r"|considerations? (?:of|for|includes?)",
        r"favou?r(?:s|ed|ing)?|raises?|raising|\?|query|may|might|could|doubt(?:s|ful)?(?: for)?",
        r"(?:neither|nor) (?:can|could)",
    )),
    ("uncertain", "around", (r"versus|vs|as against|if (?:any|present|at all)",)),
    ("uncertain", "backward", (
        r"(?:(?:{be}|{_may}) )+(?:(?:{adv}) )*(?:{_possible}|uncertain|unclear|questioned|unconfirmed|raised)",
        r"(?:{cannot}|{not}|{be} not|has not|have not)(?: (?:{be}|{adv}))* (?:excluded|ruled out|exclude|rule out"
        r"|confirmed|determined|assessed|evaluated)",
        r"(?:(?:{be}) )*(?:difficult|hard|impossible) to (?:exclude|rule out|confirm|assess|evaluate)",
        r"(?:{_may}) (?:(?:also|well|still|then) )*be (?:(?:{adv}) )*(?:{seen})",
        r"(?:{be}) (?:also )?(?:in|part of|on|among|within) the differential(?: diagnosis)?",
        r"(?:{be}) (?:also )?(?:a|one) (?:possibility|consideration|concern)|uncertain|unclear"
        r"|(?:until|unless) (?:proven|shown|proved) otherwise",
    )),
    ("historical", "forward", (
        r"(?:(?:past|prior|previous|remote|known|old|medical|surgical|clinical|long|positive) )*(?:history|hx)"
        r"(?: (?:of|for|significant for|includes?|notable for))*|h o|status post|s p|prior|previous|previously|former"
        r"|formerly|treated|pre existing history",
        r"(?:\w+(?:ectomy|plasty|therapy)|resection|surgery|excision|irradiation|radiation|treatment|therapy) for",
        r"(?:the |a |an |on |his |her |in )*(?:{former}) (?:{study})(?: (?:showed|demonstrated|revealed|described"
        r"|reported|from|of))*",
    )),
    ("historical", "backward", (
        r"(?:on|in|at|from) (?:the |a |an |his |her )*(?:{former}) (?:{study})|previously|in the past|formerly"
        r"|(?:(?:\d+|an?|one|two|three|four|five|six|several|few|some|many) )*"
        r"(?:days?|weeks?|months?|years?) ago|last (?:week|month|year)|earlier",
    )),
    ("nothing", "around", (
        r"(?:as )?(?:compared|comparison|relative|similar|in comparison|identical)(?: (?:is|was)(?: made)?)? ?"
        r"(?:with|to|against) (?:\w+ ){0,4}?(?:prior|previous|earlier|last|yesterday|before|comparison|preceding)"
        r"(?: (?:{study}))?",
        r"(?:than|since|from|like) (?:\w+ ){0,3}?(?:prior|previous|previously|earlier|last|yesterday|before|preceding)"
        r"(?: (?:{study}))?",
        r"not yet(?: \w+ed)?|no doubt about|prior to|previous to",
        # what a follow-up is for; it has not happened
        r"(?:to|until|till|pending|awaiting|for)(?: (?:document|ensure|confirm|assess|evaluate|demonstrate|verify"
        r"|monitor|establish|show|check|prove|see|follow|reassess|re assess|await|watch)(?: for)?)?"
        r"(?: (?:the|its|their|any|complete|full|interval|continued|expected|further|eventual))*"
        r" (?:resolution|clearing|clearance|disappearance|resorption|regression)(?: of)?",
    )),
    ("unknown", "forward", (
        r"rule out|r o|(?:to|please|must|should) (?:(?:{adv}) )*(?:exclude|rule out|confirm|detect)|exclude|rule in",
        r"(?:evaluat|assess|check|look|screen|test|search|monitor|examin|investigat)\w*(?: \w+)?? for"
        r"|assessment for|follow up for|work ?up for|surveillance for|concern regarding",
        r"if|unless|until|in case(?: of)?|in the event of|should there be|(?:at |increased |high )*risk (?:of|for)"
        r"|at risk|susceptible to|prevent\w*|prophylaxis|predispos\w+ to|before|watch for|return (?:if|for|with)",
    )),
    ("unknown", "around", (
        r"would (?:indicate|show|appear|suggest|be|typically|usually|present|manifest|look|have)",
        r"(?:is|are) (?:a|the) (?:medical )?(?:terms?|condition|disease|disorder|name)|refers? to|(?:is|are) defined as"
        r"|means that|typically|usually|(?:is|are) characteri[sz]ed by|commonly|in general|by definition",
        r"can be (?:seen|caused|due|associated|found|a sign)|family|mother|father|brother|sister|siblings?|grand\w+"
        r"|aunt|uncle|cousin|maternal|paternal|familial|relatives?",
    )),
)  # fmt: skip

HEADINGS: tuple[tuple[Category, str], ...] = (
    ("unknown", r"indications?|clinical (?:question|information|data|indication|details|concern)"
                r"|reason for(?: \w+)*|exam(?:ination)?|procedure|request(?:ed)?|referral|technique|plan"
                r"|recommendations?"
                r"|advice|diagnosis code|order|query|study"),
    ("historical", r"(?:past |prior |clinical |medical |surgical |patient )*(?:history|hx)|pmh|comparisons?"
                   r"|(?:prior|previous) (?:study|studies|findings?|exam|imaging|reports?)"),
    ("nothing", r"findings?|impressions?|conclusions?|results?|report|summary|opinion|assessment|interpretation"),
)  # fmt: skip
"""What a heading says of all below it, until the next heading."""

TERMINATORS = re.compile(
    r"(?<!\S)(?:but(?! also (?:in|on|at|of) )|however|although|though|nevertheless"
    r"|yet(?! \w+ed)|whereas|while|still(?= there)"
    r"|which(?! (?:has|have|had|is|are|was|were)(?: (?:since|now|also|completely|fully|subsequently))*"
    r" (?:resolved|cleared|disappeared|gone|removed|no longer))"
    r"|now (?:with|has|shows?)|presenting with|only(?= (?:an?|the) )|otherwise(?= there)"
    r"|with (?:now|interval development of))(?!\S)"
)
"""Words that end every scope."""

FILLERS = frozenset(
    ["seen", "identified", "evidence", "evident", "noted", "present", "found", "visible", "at", "this", "time", "today",
     "now", "currently", "detected", "demonstrated", "definite", "clearly", "of", "is", "are", "was", "be", "known",
     "visualized", "visualised", "observed", "appreciated", "apparent", "any", "the", "date", "it", "that", "one"]
)  # fmt: skip
"""Words that may follow a cue that stands alone as an answer: "none seen", "no evidence"."""


class _Row(NamedTuple):
    """A row of the table, compiled."""

    category: Category
    direction: Direction
    patterns: tuple[re.Pattern[str], ...]
    any: re.Pattern[str]
    """Matches where one of the patterns does."""


@lru_cache(maxsize=1)
def _compiled() -> tuple[_Row, ...]:
    classes = _CLASSES | {"_may": _MAY, "_possible": _POSSIBLE}
    rows = []
    for category, direction, patterns in _TABLE:
        filled = []
        for pattern in patterns:
            for name, words in classes.items():
                pattern = pattern.replace(f"{{{name}}}", f"(?:{words})")
            filled.append(pattern)
        rows.append(_Row(category, direction, tuple(map(_whole, filled)), _whole("|".join(filled))))
    return tuple(rows)


def _whole(pattern: str) -> re.Pattern[str]:
    """Matches whole words and marks alone."""
    return re.compile(rf"(?<!\S)(?:{pattern})(?!\S)")


def find_cues(tokens: Sequence[str], barred: Set[int] = frozenset()) -> list[Cue]:
    """The cues among `tokens`, in order; the longest of those that overlap, the first of the table among equals.

    Args:
        tokens: words and marks of a sentence.
        barred: indices of tokens that belong to a finding's name and so to no cue.
    """
    text = " ".join(tokens)
    index: dict[int, int] = {}
    at = 0
    for i, token in enumerate(tokens):
        index[at] = i
        at += len(token) + 1
    spans = sorted(_spans(text), key=lambda s: (s[0] - s[1], s[0]))
    taken = [i in barred for i in range(len(tokens))]
    found: list[Cue] = []
    for start, end, category, direction in spans:
        first = index[start]
        last = first + text[start:end].count(" ")
        if not any(taken[first : last + 1]):
            taken[first : last + 1] = [True] * (last + 1 - first)
            found.append(Cue(category, direction, first, last))
    return sorted(found, key=lambda c: c.first)


def may_hold(tokens: Sequence[str], categories: Set[Category]) -> bool:
    """Whether a cue of these categories stands among `tokens`, be it part of a longer one of another category."""
    return _any(frozenset(categories)).search(" ".join(tokens)) is not None


@lru_cache(maxsize=8)
def _any(categories: frozenset[Category] = frozenset(get_args(Category))) -> re.Pattern[str]:
    """Matches wherever one of the cues of these categories does."""
    return re.compile("|".join(row.any.pattern for row in _compiled() if row.category in categories))


def _starts(text: str) -> list[int]:
    """Where cues may begin: few places, so that few patterns go through the whole text."""
    found, at = [], 0
    while at <= len(text) and (m := _any().search(text, at)):
        found.append(m.start())
        at = m.start() + 1
    return found


@lru_cache(maxsize=256)
def _spans(text: str) -> tuple[tuple[int, int, Category, Direction], ...]:
    return tuple(_found(text))


def _found(text: str) -> Iterator[tuple[int, int, Category, Direction]]:
    starts = _starts(text)
    for row in _compiled() if starts else ():
        here = [at for at in starts if row.any.match(text, at)]
        for pattern in row.patterns if here else ():
            first = next((at for at in here if pattern.match(text, at)), None)
            for m in pattern.finditer(text, first) if first is not None else ():
                start = m.start() + len(m.group()) - len(m.group().lstrip())
                end = start + len(m.group().strip())
                if end > start:
                    yield start, end, row.category, row.direction


@lru_cache(maxsize=256)
def heading(label: str) -> Category | None:
    """What a heading (lower case, words joined by blanks) says of what stands below it; None when it is none."""
    return next((category for category, pattern in HEADINGS if re.fullmatch(pattern, label)), None)
