"""The tiny checkpoints answer as they are made to, through a server and a client that others wrote."""

from __future__ import annotations

import json

import openai
import pytest

from chat import model_server as module
from chat.model_server import ModelServer, serving


def ask(server: ModelServer, model: str, content: str = "Score this answer.", **options):
    with openai.OpenAI(base_url=server.url, api_key="unused", max_retries=0, timeout=60) as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], **{"max_tokens": 40, **options}
        )


def test_a_checkpoint_answers_its_text_whatever_it_is_asked(model_server):
    scores_seven, scores_two = model_server.model(), model_server.model('{"reason": "größe", "score": 2}')
    for content in ("Score this answer.", "x" * 5000, '{"reason": "side", "score": 7} {"score": 10}'):
        reply = ask(model_server, scores_seven, content, temperature=1.0)
        assert json.loads(reply.choices[0].message.content) == {"reason": "side", "score": 7}
        assert (reply.choices[0].finish_reason, reply.model) == ("stop", f"{scores_seven}@main")
        # `user: ...\nassistant:`, one token per byte; four words and perhaps the end of the answer.
        assert reply.usage.prompt_tokens == len(f"user: {content}\nassistant:".encode())
        assert reply.usage.completion_tokens in (4, 5)
    other = ask(model_server, scores_two).choices[0].message.content
    assert json.loads(other) == {"reason": "größe", "score": 2}


def test_too_few_tokens_cut_the_answer(model_server):
    [choice] = ask(model_server, model_server.model(), max_tokens=2).choices
    assert (choice.message.content, choice.finish_reason) == ('{"reason": "side", ', "length")


def test_without_a_text_the_answer_is_gibberish(model_server):
    reply = ask(model_server, model_server.model(None), temperature=0)
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.choices[0].message.content)


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such module: fastapi\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3.*no such module: fastapi"), serving(tmp_path):
        pass
