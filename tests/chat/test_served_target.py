"""The target model behind a server: sampled and evaluated there, in the same tables as when it runs here."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from chat.chat_server import ChatServer
from chat.scripts import answer, failing, status
from mmedpo import load_settings, open_run, run_stages
from mmedpo.chat.answering import question_request
from mmedpo.chat.wire import request_body
from mmedpo.config import EndpointSettings, ModelSettings
from mmedpo.errors import ChatError, ConfigError, EgressError, Paused
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.hub import load_model
from mmedpo.records import IMAGE_PLACE, Candidate, Example, ImageRef, Prediction, places_of
from mmedpo.run import CallOptions
from mmedpo.run.layout import CANDIDATES, EXAMPLES, predictions_of
from mmedpo.storage.tables import read_table
from models.zoo.checkpoints import save

SMALL = [
    "data.phantom.train_images=2",
    "data.phantom.validation_images=2",
    "data.phantom.test_images=2",
    "curate.candidates=2",
    "evaluate.probes.lesion-reliance=null",
]


def served(url, *further):
    """A recipe whose target model is served; nothing of the model is loaded here for sampling and answering."""
    endpoint = {"base_url": url, "model": "med", "images": True, "image_side": 64}
    return load_settings(
        "phantom-dpo", [*SMALL, f"chat.endpoints.vllm={json.dumps(endpoint)}", "model.server=vllm", *further]
    )


def question_in(body):
    return next(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")


def told(body, number):
    """An answer that says what was asked, and with which seed."""
    return answer(f"none, asked {question_in(body)} with {body.get('seed')}")


def test_candidates_come_from_the_server_each_with_its_own_seed_and_picture(tmp_path):
    with ChatServer(told) as server:
        settings = served(server.url)
        with open_run(tmp_path / "run", settings) as run:
            run_stages(run, until="curate")
            root = run.image_root
        bodies = server.requests
    candidates = read_table(tmp_path / "run" / CANDIDATES, Candidate)
    asked = {e.example_id: e for e in read_table(tmp_path / "run" / EXAMPLES, Example) if e.split == "train"}
    assert sorted((c.example_id, c.index) for c in candidates) == sorted((i, n) for i in asked for n in range(2))
    assert len({candidate.seed for candidate in candidates}) == len(candidates)
    for candidate in candidates:
        assert candidate.text == f"none, asked {asked[candidate.example_id].question} with {candidate.seed}"
        assert candidate.finished
    curate = settings.curate
    for body in bodies:
        assert (body["temperature"], body["max_tokens"]) == (curate.temperature, curate.max_new_tokens)
        assert body["model"] == "med"
        (shown,) = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        sent = np.array(Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))))
        assert max(sent.shape) == 64
    one = asked[candidates[0].example_id]
    (first, *_) = [
        part for body in bodies if question_in(body) == one.question for part in body["messages"][0]["content"]
    ]
    assert first["type"] == "image_url"
    assert max(read_image_file(root / one.image.path).shape) > 64


def test_test_questions_are_answered_greedily_by_the_server_of_the_model_that_is_asked(tmp_path):
    with ChatServer(told) as server:
        with open_run(tmp_path / "run", served(server.url)) as run:
            run_stages(run, until="data")
            run_stages(run, only="predict-base")
        bodies = server.requests
    predictions = read_table(tmp_path / "run" / predictions_of("base"), Prediction)
    assert predictions
    assert all(prediction.text.endswith("with None") for prediction in predictions)
    assert {body["temperature"] for body in bodies} == {0.0}
    assert [p.example_id for p in predictions] == sorted(p.example_id for p in predictions)


def test_what_was_answered_is_kept_when_the_server_fails_and_is_not_asked_again(tmp_path):
    broken = [True]

    def sometimes(body, number):
        return status(400) if broken[0] and number == 5 else told(body, number)

    with ChatServer(sometimes) as server:
        settings = served(server.url, "chat.endpoints.vllm.concurrency=1", "chat.endpoints.vllm.attempts=1")
        with open_run(tmp_path / "run", settings) as run:
            with pytest.raises(
                ChatError, match="which serves the target model, gave no answer to .*run the same command"
            ):
                run_stages(run, until="curate")
            assert not (tmp_path / "run" / CANDIDATES).exists()
        broken[0] = False
        with open_run(tmp_path / "run", settings) as run:
            run_stages(run, until="curate")
        paid = server.paid
    # What was in flight when the other one failed, one call here, is asked again.
    assert sum(paid.values()) - len(paid) <= 1


def test_an_unfinished_thought_is_no_finished_answer(tmp_path):
    thinking = ChatServer(lambda body, number: answer(["<think>it may be", "<think>so</think> no"][number % 2]))
    with thinking as server, open_run(tmp_path / "run", served(server.url)) as run:
        run_stages(run, until="data")
        run_stages(run, only="predict-base")
    found = {(p.text, p.finished) for p in read_table(tmp_path / "run" / predictions_of("base"), Prediction)}
    assert found == {("", False), ("no", True)}


def test_an_estimate_says_what_will_be_asked_and_sends_nothing(tmp_path, capsys):
    with ChatServer(failing) as server:
        with open_run(tmp_path / "run", served(server.url)) as run:
            run_stages(run, until="data")
            run.calls = CallOptions(estimate_only=True)
            with pytest.raises(Paused, match="nothing was sent"):
                run_stages(run, only="predict-base")
        assert not server.requests


def test_restricted_data_never_go_to_a_server_elsewhere(tmp_path, monkeypatch):
    settings = served("http://203.0.113.5:8000/v1")
    with open_run(tmp_path / "run", settings) as run:
        run_stages(run, until="data")
        monkeypatch.setattr(type(run), "restricted", property(lambda self: True))
        with pytest.raises(EgressError, match="endpoint 'vllm' .* is not local"):
            run_stages(run, until="curate")


@pytest.mark.parametrize(
    ("further", "why"),
    [
        (["model.server=other"], "endpoint 'other' is not among chat.endpoints"),
        (
            ["chat.endpoints.vllm={base_url: 'http://127.0.0.1:9/v1', model: m}"],
            "set chat.endpoints.vllm.images=true",
        ),
        (["chat.endpoints.vllm.temperature=0.7"], "chat.endpoints.vllm.temperature has no effect because it serves"),
        (["rounds=2"], "serve a checkpoint as it is, but rounds=2 makes another one"),
        (["finetune={epochs: 1}"], "serve a checkpoint as it is, but a finetune stage makes another one"),
    ],
)
def test_a_server_that_could_not_be_the_model_is_refused(further, why):
    with pytest.raises(ConfigError, match=why):
        served("http://127.0.0.1:9/v1", *further)


def test_images_stand_where_the_question_has_places_for_them(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    images = [ImageRef(path="a.png", sha256=str(number), width=8, height=8) for number in range(2)]
    asked = Example(
        example_id="q",
        dataset="x",
        split="test",
        image=images[0],
        other_images=(images[1],),
        answer="no",
        question=f"more in {IMAGE_PLACE} than in {IMAGE_PLACE}?",
        answer_type="closed",
    )
    body = request_body(EndpointSettings(model="m", images=True), question_request(asked, tmp_path))
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    assert places_of("is it?", 2) == (None, None, "is it?")
    assert places_of(f"{IMAGE_PLACE}is it?", 1) == (None, f"{IMAGE_PLACE}is it?")


def test_a_real_server_answers_what_the_model_answers_here(tmp_path, model_server):
    """`transformers serve` with the processor of the checkpoint: template, pictures and decoding agree."""
    from transformers import LlavaProcessor

    folder = tmp_path / "llava"
    save("llava_mistral", folder)
    vlm = load_model(ModelSettings(name=str(folder), device="cpu"))
    LlavaProcessor(
        vlm.image_processor,
        vlm.tokenizer,
        patch_size=vlm.base.config.vision_config.patch_size,
        vision_feature_select_strategy=vlm.base.config.vision_feature_select_strategy,
        chat_template=vlm.tokenizer.chat_template,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    endpoint = {"base_url": model_server.url, "model": str(folder), "images": True, "concurrency": 1}
    common = [*SMALL, f"model.name={folder}", "evaluate.max_new_tokens=8", "evaluate.splits=[test]"]
    answers = {}
    for name, further in (
        ("here", []),
        ("there", [f"chat.endpoints.served={json.dumps(endpoint)}", "model.server=served"]),
    ):
        with open_run(tmp_path / name, load_settings("phantom-dpo", [*common, *further])) as run:
            run_stages(run, until="data")
            run_stages(run, only="predict-base")
        answers[name] = read_table(tmp_path / name / predictions_of("base"), Prediction)
    assert answers["here"] == answers["there"]
    assert len({prediction.text for prediction in answers["here"]}) > 1
