"""MMedPO's judge (METHOD section 1): picks the sampled answer that contradicts the truth most, or writes one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import get_args

from mmedpo.chat.model import ChatRequest
from mmedpo.chat.prompts import read_prompt
from mmedpo.chat.structured import Objection, ReplyForm, ask_form, is_refusal, schema_of
from mmedpo.clinical import conflict, extract_facts
from mmedpo.clinical.lexicon import words
from mmedpo.curate.judges.asking import AskedJudge, countable
from mmedpo.curate.validators import validate, validate_candidate
from mmedpo.records import Candidate, ErrorType, Example, Verdict
from mmedpo.registry import register

_ADVICE = {
    "identical-sides": "It is the correct answer itself.",
    "same-polarity": "It says yes or no as the correct answer does: it must say the opposite.",
    "chosen-contained-in-rejected": "It holds the whole correct answer: it must contradict it.",
    "leaked-prompt-text": "It mentions this task, the other answers or the prompt: it must read as an answer alone.",
    "length-shortcut": "It must be about as long as the correct answer.",
    "empty-side": "It is empty.",
    "refused": "It refuses instead of answering the question.",
}
"""What the model is told of a refused answer."""


class Choice(ReplyForm):
    """Reply of the judge."""

    reason: str
    choice: int | None = None
    written: str | None = None
    error_type: ErrorType


@register("judge", "chat")
class ChatJudge(AskedJudge):
    """Speaks through one endpoint; `curate.judge: chat:NAME`."""

    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> list[ChatRequest]:
        """The call a question begins with."""
        return [self._request(example, offered(example, candidates))]

    async def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question.

        Candidates that a validator refuses are not offered. What the model picks or writes is validated
        again; an objection goes back to it, and after the last retry the question is dropped for it.
        """
        shown = offered(example, candidates)
        check = partial(objection, example=example, shown=shown)
        said = await ask_form(self.line, self._request(example, shown), Choice, self.retries, check)
        if said.value is None:
            return self.dropped(example, countable(said.reason), [said])
        picked = shown[said.value.choice - 1] if said.value.choice is not None else None
        text = _answer(said.value, shown)
        return self.verdict(
            example,
            [said],
            outcome="injected" if picked is None else "picked",
            rejected=text,
            candidate_index=None if picked is None else picked.index,
            error_type=said.value.error_type,
            conflict=_conflict(example, text),
            reason=said.value.reason,
        )

    def _request(self, example: Example, shown: Sequence[Candidate]) -> ChatRequest:
        prompt = read_prompt("mmedpo.curate", "judge")
        listed = [{"number": number, "answer": item.text.strip()} for number, item in enumerate(shown, start=1)]
        data = {
            "question": example.question,
            "truth": example.answer,
            "candidates": json.dumps(listed, ensure_ascii=False, indent=0),
        }
        images = self.images(example)
        messages = prompt.fill(data, {"error_types": ", ".join(get_args(ErrorType))}, len(images))
        return ChatRequest(messages, prompt.label, images, schema_of(Choice))


def offered(example: Example, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that may be picked, in order, each wording once."""
    found: dict[tuple[str, ...], Candidate] = {}
    for candidate in sorted(candidates, key=lambda item: item.index):
        if validate_candidate(example, candidate) is None:
            found.setdefault(tuple(words(candidate.text)), candidate)
    return list(found.values())


def objection(reply: Choice, example: Example, shown: Sequence[Candidate]) -> Objection | None:
    """Why a judge's reply is not taken; None when it may stand."""
    if (reply.choice is None) == (reply.written is None):
        return Objection("choice-and-written", 'Exactly one of "choice" and "written" must be null.')
    if reply.choice is not None and not 1 <= reply.choice <= len(shown):
        numbers = f"the numbers are 1 to {len(shown)}" if shown else "the list is empty, so write one"
        return Objection("no-such-candidate", f"There is no answer {reply.choice}: {numbers}.")
    text = _answer(reply, shown)
    refused = validate(example, text)
    reason = refused.reason if refused is not None else ""
    if not reason and reply.written is not None and is_refusal(text):
        reason = "refused"
    if not reason and reply.written is not None and not _same_length(example.answer, text):
        reason = "length-shortcut"
    return Objection(reason, _ADVICE.get(reason, f"The answer is refused: {reason}.")) if reason else None


def _answer(reply: Choice, shown: Sequence[Candidate]) -> str:
    text = reply.written if reply.choice is None else shown[reply.choice - 1].text
    return (text or "").strip()


def _conflict(example: Example, text: str) -> float | None:
    """How strongly the lexicon sees the answer contradict the truth; None where it sees nothing, which is no 0."""
    truth = extract_facts(example.answer, example.question, example.error_type)
    return conflict(truth, extract_facts(text, example.question, example.error_type)).score or None


def _same_length(truth: str, written: str) -> bool:
    """A written answer of another length would teach the model to count words."""
    wanted, found = len(words(truth)), len(words(written))
    return wanted / 3 <= found <= 2 * wanted + 5
