"""Where a model's thought ends and its answer begins.

Models think aloud before they answer, between marks that every family writes differently. What stands
before a closing mark is thought, also where the opening one stood in the prompt; a thought that was
opened and not closed by a mark of its own kind has no answer behind it, nor has one in which only a thought inside
it was closed. Marks are known by their form, a word for thinking in the brackets a template uses, so that the next
family's are known too; between quotes or backticks they are spoken of, and mark nothing.
"""

from __future__ import annotations

import re

_STEM = re.compile(
    r"think|thought|reason|reflect|ponder|deliberat|ruminat|analys|analyz|scratch_?pad|rationale|monolog|\bcot\b"
    r"|\bplan(?:ning)?\b|\bdraft|\bsteps?\b|\bdetails\b|思考|思维|推理|分析",
    re.IGNORECASE,
)
_MARK = re.compile(
    # <unused94>thought ... <unused95> of MedGemma
    r"(?P<unused><unused\d{1,3}>\s{0,3}(?:thought|think)|<unused94>)|(?P<used><unused95>)"
    # <|channel|>analysis ... <|channel|>final<|message|> of gpt-oss; <|channel>thought ... <channel|> of Gemma
    r"|<\|channel\|?>\s{0,3}(?P<channel>\w{0,20})|(?P<left><channel\|>)"
    # <|im_start|>assistant/think ... <|im_start|>assistant of HyperCLOVA X
    r"|<\|im_start\|>\s?assistant(?P<turn>/\w{1,20})?"
    # <think>, </seed:think>, <|START_THINKING|>, <|end_of_thought|>, <think level="high">
    r"|(?:<|＜|&lt;)[|｜]?\s{0,3}(?P<angle>[/|]?\s{0,3}[\w:.\-]{1,40})"
    r"(?P<told>(?:\s{1,3}[\w-]{1,20}=[^<>]{0,40})?)\s{0,3}[|｜]?(?:>|＞|&gt;)"
    # [THINK] of Mistral, ◁think▷ of Kimi, and brackets of the same use
    r"|[\[◁【《「〈](?P<square>/?\w{3,20})[\]▷】》」〉]"
    # A fenced block that its language calls a thought
    r"|^[ \t]{0,3}`{3,}[ \t]{0,3}(?P<fence>\w{0,20})[ \t]*$"
    # What is left of gpt-oss and MedGemma where a server takes special tokens out of the text
    r"|\A\s*(?P<bare>(?:analysis|commentary)(?=[A-Z\"'])|thought[ \t]*\n)|(?P<final>assistantfinal)"
    # ## Thinking ... ## Final Response of HuatuoGPT-o1
    r"|^[ \t]{0,3}(?:#{1,6}|\*\*)[ \t]{0,3}"
    r"(?:(?P<response>final (?:response|answer))|(?P<heading>th(?:inking|oughts?)[\w ]{0,20}))[:* \t]{0,5}$"
    # Here are my reasoning steps: ... [BEGIN FINAL RESPONSE] of Apriel; Here is my thought process: ... of Granite;
    # Thinking... ...done thinking. of Ollama
    r"|\A\s*(?P<prose>here are my reasoning steps|here is my thought process|thinking\.\.\.)"
    r"|(?P<begin>\[BEGIN FINAL RESPONSE\]|^here is my response:|\.\.\.done thinking\.?)",
    re.IGNORECASE | re.MULTILINE,
)
_OPENING = {"unused": "unused", "bare": "", "heading": "prose", "prose": "prose"}
_CLOSING = {"used": "unused", "left": "channel", "final": "channel", "response": "prose", "begin": "prose"}
"""Group of a mark to the kind of thought that it opens or closes; one that opened with no kind ends at any mark."""
_END = re.compile(r"[/|]|(?:.*[^a-z])?(?:end|stop)(?![a-z])", re.IGNORECASE)
_AFFIX = re.compile(r"[\W_]+|(?<![a-z])(?:begin|start|end|stop|of)(?![a-z])", re.IGNORECASE)


def answer_in(text: str) -> str:
    """What a model says after it has thought; the whole text where it does not think aloud.

    Raises:
        ValueError: a thought has no end, so that nothing in the text is an answer.
    """
    opened: str | None = None
    start = depth = 0
    for mark in _MARK.finditer(text):
        kind, closes = _meaning(mark, opened)
        if kind is None or _spoken_of(mark):
            continue
        inside = opened is not None and _paired(mark)
        if opened and kind and not (opened.startswith(kind) or kind.startswith(opened)):
            continue  # of another kind, inside the thought
        if not closes:
            opened, depth = opened if opened is not None else kind, depth + 1 if inside else 1
        elif not inside or depth == 1:
            opened, start, depth = None, mark.end(), 0
        else:
            depth -= 1
    if opened is not None:
        raise ValueError("its thought has no end")
    return text[start:]


def _paired(mark: re.Match[str]) -> bool:
    """Whether each opening one has a closing one of its own; channels, turns and headings follow one another."""
    if mark["channel"] is not None:
        return mark[0].startswith("<|channel>")
    return any(mark[name] is not None for name in ("unused", "used", "left", "angle", "square", "fence"))


def _spoken_of(mark: re.Match[str]) -> bool:
    around = mark.string[max(0, mark.start() - 1) : mark.start()], mark.string[mark.end() : mark.end() + 1]
    return around[0] == around[1] and around[0] in ("`", '"', "'")


def _meaning(mark: re.Match[str], opened: str | None) -> tuple[str | None, bool]:
    """(kind of thought, whether the mark closes it); None for what is no mark of a thought."""
    group = mark.lastgroup or ""
    if mark["channel"] is not None:
        return "channel", mark["channel"].lower() == "final"
    if mark["fence"] is not None:
        thought = bool(_STEM.search(mark["fence"]))
        return ("fence" if thought or (opened == "fence" and not mark["fence"]) else None), not thought
    if mark["turn"] is not None or mark[0].lower().endswith("assistant"):
        return "turn", mark["turn"] is None
    tag = mark["angle"] or mark["square"]
    if tag is None:
        return (_CLOSING[group], True) if group in _CLOSING else (_OPENING[group], False)
    closes = _END.match(tag) is not None
    known = _STEM.search(f"{tag} {mark['told'] or ''}")
    return (_AFFIX.sub("", tag).lower() if known else None), closes
