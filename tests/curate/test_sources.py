"""Where candidates come from: the question's own image, another patient's that looks alike, noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmedpo.config import CurateSettings, load_settings
from mmedpo.curate.judges.contradiction import ContradictionJudge
from mmedpo.curate.judges.own_answer import OwnAnswerJudge
from mmedpo.curate.sources.noised_argmax import STEP, NoisedArgmax
from mmedpo.curate.sources.sampled import Sampled
from mmedpo.curate.sources.similar_image import SimilarImage
from mmedpo.curate.sources.source import Sampling
from mmedpo.engine import Asked, Branch, Engine, FeatureStore
from mmedpo.engine.logprobs import plain_logprobs
from mmedpo.errors import ConfigError
from mmedpo.imaging.noise import noise_image
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.generation import Decoding
from mmedpo.records import Candidate, Example, ImageRef, NoiseSpec

GREEDY = CurateSettings(candidates=1, temperature=0, max_new_tokens=6)
QUESTIONS = ("is there a nodule in the left upper zone?", "is there a mass?")


@pytest.fixture
def films(tmp_path):
    """Two patients that look alike, the first of them twice, and one that looks like none."""
    draw = np.random.default_rng(0)
    first = draw.integers(0, 256, (64, 64), dtype=np.uint8)
    near = np.clip(first.astype(int) + 3, 0, 255).astype(np.uint8)
    pictures = {"a": first, "a-again": first // 2 * 2, "b": near, "c": 255 - first}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def question(name, text=QUESTIONS[0], answer="no", patient=None):
    return Example(
        example_id=f"{name}/{text}",
        dataset="x",
        split="train",
        image=ImageRef(path=f"{name}.png", sha256=name, width=64, height=64),
        patient_id=patient or name,
        question=text,
        answer=answer,
        answer_type="closed",
    )


def sampling(vlm, films, settings=GREEDY):
    return Sampling(Engine(vlm, FeatureStore(vlm, read_image_file), 4096), films, films / "views", settings, 3)


EXAMPLES = [
    *(question(name, text) for name in ("b", "c") for text in QUESTIONS),
    question("a", patient="p"),
    question("a-again", patient="p"),
]


def test_an_answer_on_the_image_of_the_patient_that_looks_most_alike(small_vlm, films):
    place, source = sampling(small_vlm, films), SimilarImage()
    source.prepare(place, EXAMPLES)
    found = {candidate.example_id: candidate for candidate in source.candidates(place, EXAMPLES)}
    assert set(found) == {example.example_id for example in EXAMPLES}
    # Patient p has two films; neither is the other's neighbour, and b looks like both.
    shown = {"a": "b", "a-again": "b"}
    for example in EXAMPLES:
        name = shown.get(example.image.sha256)
        if name:
            (expected,) = place.engine.answers(
                [Asked((films / f"{name}.png",), example.question)], Decoding(GREEDY.max_new_tokens)
            )
            assert found[example.example_id].text == expected.text
    on_b = [found[f"b/{text}"].text for text in QUESTIONS]
    near = [
        answer.text
        for answer in place.engine.answers(
            [Asked((films / f"{name}.png",), text) for name in ("a", "a-again") for text in QUESTIONS],
            Decoding(GREEDY.max_new_tokens),
        )
    ]
    assert on_b in (near[:2], near[2:])


def test_without_another_patient_there_is_no_answer(small_vlm, films):
    place, source = sampling(small_vlm, films), SimilarImage()
    alone = [question("a", patient="p"), question("a-again", patient="p")]
    source.prepare(place, alone)
    assert source.candidates(place, alone) == []


def test_the_likeliest_token_at_every_place_of_the_true_answer_under_noise(small_vlm, films):
    place = sampling(small_vlm, films)
    asked = [question("a", answer="a small mass in the right lower zone"), question("c", QUESTIONS[1], "yes")]
    found = NoisedArgmax().candidates(place, asked)
    for example, candidate in zip(asked, found, strict=True):
        (view,) = [path for path in (films / "views").iterdir() if path.stem == example.image.sha256]
        spec = NoiseSpec(kind="diffusion", region="global", step=STEP, seed=candidate.seed)
        drowned = noise_image(read_image_file(films / example.image.path), None, spec)
        assert np.array_equal(read_image_file(view), drowned)
        prompt = tuple(small_vlm.prompt_ids(example.question))
        true = small_vlm.answer_ids(example.answer)
        likeliest = []
        for place_of in range(len(true)):
            # One token behind the true beginning, as a sequence of its own.
            one = Branch((view,), prompt, tuple(true[: place_of + 1]))
            with torch.no_grad():
                values = plain_logprobs(small_vlm, [one], place.engine.features)
            likeliest.append(int(values.logits[values.node[-1]].argmax()))
        ends = [n for n, token in enumerate(likeliest) if token in small_vlm.family.stops]
        assert candidate.text == small_vlm.decode(likeliest[: ends[0] if ends else None])


def test_samples_on_the_own_image_have_a_seed_each(small_vlm, films):
    drawn = CurateSettings(candidates=2, temperature=1.0, max_new_tokens=6)
    whole = Sampled().candidates(sampling(small_vlm, films, drawn), EXAMPLES)
    assert len({candidate.seed for candidate in whole}) == 2 * len(EXAMPLES)
    # A chunk more or less changes no answer.
    assert Sampled().candidates(sampling(small_vlm, films, drawn), EXAMPLES[2:4]) == whole[4:8]


def test_only_what_the_model_said_is_rejected():
    asked = question("a", answer="no")

    def said(*texts):
        return [
            Candidate(example_id=asked.example_id, index=n, text=text, seed=0, temperature=1.0)
            for n, text in enumerate(texts)
        ]

    picked = OwnAnswerJudge().judge(asked, said("no", "yes"), 0)
    assert (picked.outcome, picked.rejected, picked.candidate_index) == ("picked", "yes", 1)
    assert ContradictionJudge().judge(asked, said("no"), 0).outcome == "injected"
    for nothing in (said("no"), said()):
        dropped = OwnAnswerJudge().judge(asked, nothing, 0)
        assert (dropped.outcome, dropped.rejected, dropped.reason) == ("dropped", "", "no-own-answer-conflicts")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["curate.source=noised-argmax"], "gives one answer by rule; set curate.temperature=0 and curate.candidates=1"),
        (["curate.source=similar"], "unknown source 'similar'; did you mean 'similar-image'"),
    ],
)
def test_a_source_that_cannot_be_is_refused(given, why):
    with pytest.raises(ConfigError, match=why):
        load_settings("phantom-mmedpo", given)


def test_a_source_beside_a_judge_that_reads_no_answers_is_refused():
    with pytest.raises(ConfigError, match="curate.source has no effect because the judge 'targeted' writes every"):
        load_settings("phantom-targeted", ["curate.source=similar-image"])
