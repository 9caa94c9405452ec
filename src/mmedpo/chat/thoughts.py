"""Where a model's thought ends and its answer begins.

Models think aloud before they answer, between marks that every family writes differently. What stands
before a closing mark is thought, also where the opening one stood in the prompt; a thought that was
opened and not closed has no answer behind it. Marks are known by their form, a word for thinking in the
brackets a template uses, so that the next family's are known too.
"""

from __future__ import annotations

import re

_STEM = r"think|thought|reason|reflect|ponder|deliberat|ruminat|analys|analyz|scratch_?pad|rationale|monolog|\bcot\b"
_MARK = re.compile(
    # <unused94>thought ... <unused95> of MedGemma
    r"(?P<unused><unused\d{1,3}>\s{0,3}(?:thought|think)|<unused94>)|(?P<used><unused95>)"
    # <|channel|>analysis ... <|channel|>final<|message|> of gpt-oss; <|channel>thought ... <channel|> of Gemma
    r"|<\|channel\|?>\s{0,3}(?P<channel>\w{0,20})|(?P<left><channel\|>)"
    # <think>, </seed:think>, <|START_THINKING|>, <|end_of_thought|>, <think level="high">
    r"|<[|｜]?\s{0,3}(?P<angle>[/|]?\s{0,3}[\w:.\-]{1,40})(?:\s{1,3}[\w-]{1,20}=[^<>]{0,40})?\s{0,3}[|｜]?>"
    # [THINK] of Mistral, ◁think▷ of Kimi, and brackets of the same use
    r"|[\[◁【《「〈](?P<square>/?\w{3,20})[\]▷】》」〉]"
    # What is left of gpt-oss and MedGemma where a server takes special tokens out of the text
    r"|\A\s*(?P<bare>(?:analysis|commentary)(?=[A-Z\"'])|thought[ \t]*\n)|(?P<final>assistantfinal)"
    # ## Thinking ... ## Final Response of HuatuoGPT-o1
    r"|^[ \t]{0,3}(?:#{1,6}|\*\*)[ \t]{0,3}"
    r"(?:(?P<response>final (?:response|answer))|(?P<heading>th(?:inking|oughts?)[\w ]{0,20}))[:* \t]{0,5}$"
    # Here are my reasoning steps: ... [BEGIN FINAL RESPONSE] of Apriel; Here is my thought process: ... of Granite
    r"|\A\s*(?P<prose>here are my reasoning steps|here is my thought process)"
    r"|(?P<begin>\[BEGIN FINAL RESPONSE\]|^here is my response:)",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSING = ("used", "left", "final", "response", "begin")


def answer_in(text: str) -> str:
    """What a model says after it has thought; the whole text where it does not think aloud.

    Raises:
        ValueError: a thought has no end, so that nothing in the text is an answer.
    """
    thinks, start = False, 0
    for mark in _MARK.finditer(text):
        named = mark["angle"] or mark["square"]
        if named is not None and not re.search(_STEM, named, re.IGNORECASE):
            continue
        if _closes(mark):
            thinks, start = False, mark.end()
        else:
            thinks = True
    if thinks:
        raise ValueError("its thought has no end")
    return text[start:]


def _closes(mark: re.Match[str]) -> bool:
    if mark["channel"] is not None:
        return mark["channel"].lower() == "final"
    named = mark["angle"] or mark["square"]
    if named is None:
        return any(mark[name] is not None for name in _CLOSING)
    return re.match(r"[/|]|(?:.*[^a-z])?(?:end|stop)(?![a-z])", named, re.IGNORECASE) is not None
