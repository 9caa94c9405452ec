"""What is looked for first, so that most texts are not gone through, changes nothing of what is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmedpo.clinical import cues, scorer_talk, talk_markup
from mmedpo.clinical.assertion import frame
from mmedpo.clinical.sentences import tokens_of
from mmedpo.clinical.talk_words import talk_words

_MARKUP = (
    *("<!-- a -->", "```x```", "{a}", "return {1}", '"score": 9', "<|im_end|>", "[/INST]", "| 10 | 9 |", "round 2 | 9"),
    *("Score: 9", "ſcore = 10", "MARKS", "K", "result -> 4", "9 out of 10.", "final grade ten", "me: 8 (disagree)"),
    *("f(x=1)", "P. S. ", "n.b.", "https://a.b", "aB3" * 9, "s c o r e ", "User:", "\nsystem :", "10/10", "評価"),
)
_TALK = ("ignore", "contrast,", "score", "10", "Gleason:", "no")
_SPOKEN = ("effusion", "left", "yes", "lobe", "mm", "12", "small", "heart", "prior text", "you", "is", "(right)", "in")
_CUES = (
    *("no", "not", "isn't", "likely", "if", "may", "be", "rule", "out", "history", "of", "prior", "longer", "resolved"),
    *("unchanged", "for", "change", "in", "versus", "could", "exclude", "cannot", "\n", "[ ]", "-", "previously"),
)
_KINDS = [kind for kind in vars(talk_markup).values() if isinstance(kind, talk_markup._Kind)]


def _text(*words: str) -> st.SearchStrategy[str]:
    joined = st.tuples(st.sampled_from(words), st.sampled_from((" ", ", ", ": ", "; ", "\n"))).map("".join)
    return st.lists(joined, max_size=9).map("".join)


@given(_text(*_MARKUP, *_SPOKEN))
def test_markup_is_found_with_its_signs_as_without(text: str) -> None:
    assert _KINDS
    for kind in _KINDS:
        assert kind.sub("\n", text) == kind.pattern.sub("\n", text)


@given(_text(*_SPOKEN, *_TALK))
def test_a_sentence_is_passed_over_where_no_talk_would_be_found(text: str) -> None:
    shared = frozenset(["effusion", "lobe"])
    assert scorer_talk._cleaned(text, shared) == scorer_talk._without_talk(text, talk_words(text), shared)


@given(_text(*_CUES, *_SPOKEN))
def test_every_cue_is_found_where_it_may_begin(text: str) -> None:
    joined = " ".join(token.text for token in tokens_of(text))
    every = [
        (m.start() + len(m.group()) - len(m.group().lstrip()), m.start() + len(m.group().rstrip()), row.category)
        for row in cues._compiled()
        for pattern in row.patterns
        for m in pattern.finditer(joined)
    ]
    assert [span[:3] for span in cues._found(joined)] == every


@given(_text(*_CUES, *_SPOKEN))
def test_a_question_leaves_open_what_its_cues_say(text: str) -> None:
    told = {cue.category for cue in cues.find_cues([t.text for t in tokens_of(text) if t.text != "?"])}
    assert frame(text) == told & {"uncertain", "unknown"}
