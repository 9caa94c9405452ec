"""Questions of the model's own: which are judged, what is preferred, and that no ground truth is claimed for them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from curate.curation_examples import example
from mmedpo.config import CurateSettings, load_settings
from mmedpo.curate.judges.known_facts import KnownFactsJudge
from mmedpo.curate.pairs import text_pair
from mmedpo.curate.self_asked import as_asked, self_asked
from mmedpo.curate.sources.self_question import SelfQuestion
from mmedpo.curate.sources.source import Sampling
from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.errors import ConfigError
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.generation import Decoding
from mmedpo.records import ASK, Candidate, ImageRef
from mmedpo.seeds import derive_seed

OTHER = ImageRef(path="images/b.png", sha256="b" * 64, width=64, height=64)


def said(question: str, *texts: str, example_id: str = "e1", finished: bool = True) -> list[Candidate]:
    fields = {"example_id": example_id, "seed": 0, "temperature": 1.0, "finished": finished, "question": question}
    return [Candidate(index=index, text=text, **fields) for index, text in enumerate(texts)]


def test_a_question_and_its_answers_are_drawn_from_the_model_on_the_image(small_vlm, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    asked = example("no", "Is there a nodule?", image=ImageRef(path="a.png", sha256="a", width=64, height=64))
    settings = CurateSettings(candidates=2, temperature=1.2, top_p=0.95, max_new_tokens=200)
    place = Sampling(Engine(small_vlm, FeatureStore(small_vlm, read_image_file), 4096), tmp_path, tmp_path, settings, 3)
    found = SelfQuestion().candidates(place, [asked])
    decoding = Decoding(200, 1.2, 0.95)
    view = (tmp_path / "a.png",)
    (own,) = place.engine.answers([Asked(view, ASK)], decoding, [derive_seed(3, "self-question", "e1")])
    assert {candidate.question for candidate in found} == {own.text}
    if not own.finished:  # a model of random weights seldom ends
        assert [(candidate.text, candidate.finished) for candidate in found] == [("", False)]
        return
    seeds = [derive_seed(3, "sample", "e1", index) for index in range(2)]
    answers = place.engine.answers([Asked(view, own.text)] * 2, decoding, seeds)
    assert [candidate.text for candidate in found] == [answer.text for answer in answers]


def test_what_cannot_be_judged_is_counted_by_its_reason():
    ids = ("first", "again", "elsewhere", "none", "empty", "cut", "told", "unasked")
    items = [example("no", example_id=name, **({"image": OTHER} if name == "elsewhere" else {})) for name in ids]
    asked = {
        "first": said("Is there a mass?", "yes", "no"),
        "again": said("is there  a MASS ?", "yes", "no"),
        "elsewhere": said("Is there a mass?", "yes", "no"),
        "none": said("a mass in the left lung.", "yes", "no"),
        "empty": said(" ?", "yes", "no"),
        "cut": said("is there a nodule in the left lung and", "", finished=False),
        "told": said(ASK, "yes", "no"),
        "unasked": [],
    }
    questions, refused = self_asked(items, asked, "known-facts")
    assert [item.example_id for item in questions] == ["first", "elsewhere"]
    assert {verdict.example_id: verdict.reason for verdict in refused} == {
        "again": "self-question-repeats",
        "none": "self-question-is-none",
        "empty": "self-question-empty",
        "cut": "self-question-unfinished",
        "told": "self-question-is-none",
        "unasked": "self-question-empty",
    }
    assert all(verdict.outcome == "dropped" for verdict in refused)


REPORT = example("a small nodule in the right upper zone is seen. no pleural effusion.", "Write a report.")


@pytest.mark.parametrize(
    ("question", "answers", "chosen", "rejected"),
    [
        ("Which side is the nodule on?", ("left", "right"), "right", "left"),
        ("Is there an effusion?", ("no", "yes"), "no", "yes"),
        ("Which side is the nodule on?", ("left", "the left side"), "", "answers-all-wrong"),
        ("Which side is the nodule on?", ("right", "the right side"), "", "answers-all-right"),
        ("Is there a fracture?", ("no", "yes"), "", "answers-undecided"),
        ("Which side is the nodule on?", ("left", "round"), "", "answers-undecided"),
        ("Is there an effusion?", ("no",), "", "fewer-than-two-answers"),
    ],
)
def test_known_facts_prefer_one_answer_or_say_why_not(question, answers, chosen, rejected):
    asked = as_asked(REPORT, question)
    assert asked.answer == "", "nobody knows the true answer"
    verdict = KnownFactsJudge().prepare([REPORT]).judge(asked, said(question, *answers), 0)
    if chosen:
        assert (verdict.outcome, verdict.chosen, verdict.rejected) == ("picked", chosen, rejected)
    else:
        assert (verdict.outcome, verdict.reason) == ("dropped", rejected)


def test_a_pair_says_that_both_sides_are_the_models_own():
    question = "Which side is the nodule on?"
    asked = as_asked(REPORT, question)
    verdict = KnownFactsJudge().prepare([REPORT]).judge(asked, said(question, "left", "right"), 0)
    pair = text_pair(REPORT, verdict.model_copy(update={"question": question}))
    assert (pair.question, pair.chosen, pair.rejected, pair.origin) == (question, "right", "left", "self-asked")
    assert (pair.example_id, pair.error_type) == ("e1", "side")


def test_a_judge_that_needs_a_truth_is_refused_beside_it():
    line = "asks questions that have no ground truth, but the judge 'contradiction' compares with one; set curate.judge"
    with pytest.raises(ConfigError, match=line):
        load_settings("phantom-stllava-med", ["curate.judge=contradiction"])
    with pytest.raises(ConfigError, match="works on the model itself"):
        load_settings(
            "phantom-stllava-med", ["model.server=s", "finetune=null", "chat.endpoints.s={model: m, images: true}"]
        )
