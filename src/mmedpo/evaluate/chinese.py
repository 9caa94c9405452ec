"""Chinese answers (SLAKE is bilingual): no blanks part the words, and one sign before a word turns it around.

A closed answer is compared by its stem and its sign: 不健康 is 健康 denied, 未见肿瘤 denies 肿瘤. Yes and no are
words (是, 有, 对 ...; 否, 没有, 不是 ...), or follow from what is said of the question's predicate.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

_IDEOGRAPH = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_MARK = re.compile(r"[\s，。、；：！？,.;:!?\"“”‘’'（）()《》]+")
_UNSURE = re.compile(
    r"不(?:清楚|确定|確定|知道|明确|明|详|好说)|(?:无法|難以|难以|不能)(?:判断|确定|看出|评估|确认)|也许|说不准"
)
_PARTICLE = re.compile(r"[的了呢啊呀哦吧嘛]+$")
_NEGATOR = "不没無无未非否"
_DENIED = re.compile(
    rf"(?:[{_NEGATOR}](?:有|是|见到?|發現|发现|存在|太|能|会|显示|显著|明显|怎么|觉得|排除)?(?:到|出|任何|明显|的)*)$"
)
_DOUBLE = re.compile(r"(?:不能排除|不排除|无法排除|不是不|并非不|不会不|没有不)$")
_AGREED = re.compile(r"^(?:没|沒)(?:有)?(?:错|錯|问题|問題)|^不(?:错|錯)")
_ASKED = re.compile(r"是否|有无|有無|有没有|是不是|(?:吗|嗎)\s*[？?]?\s*$")
"""A question asked back, which says nothing."""
_YES = re.compile(r"^(?:是|有|對|对|存在|正确|正確|可以|能|会|會|确实|肯定|嗯|好|yes|true)")
_NO = re.compile(rf"^(?:(?:并|並|都|完全|绝对)?(?!非常)[{_NEGATOR}]|错|錯|no\b|false)")
_DOUBLE_NO = re.compile(r"^(?:并)?(?:不是|并非|不会)(?:没有|沒有|没|无|無)")
_BARE_YES = frozenset(["是", "有", "对", "對", "存在", "正确", "正確", "可以", "能", "会", "會", "yes"])
_BARE_NO = frozenset(
    ["否", "不", "没", "无", "無", "不是", "没有", "沒有", "不存在", "不对", "不對", "不正确", "不可以", "不能", "不会",
     "不會", "no"]
)  # fmt: skip
_NUMBERS = {c: str(n) for n, c in enumerate("零一二三四五六七八九十")} | {"两": "2", "兩": "2"}
_COUNTED = re.compile(rf"([{''.join(_NUMBERS)}])(?=\s*[个個处處枚根条條块塊张張只隻颗顆])")
_STEM = 2
"""Signs of a question's predicate that an answer has to repeat to say yes or no by it."""

Outcome = Literal["right", "wrong", "both", "neither"]


def is_chinese(text: str) -> bool:
    """True when a text holds a Chinese sign."""
    return _IDEOGRAPH.search(text) is not None


def parted(text: str) -> str:
    """Every sign a word of its own, counted numbers as digits; other scripts as they are."""
    return _IDEOGRAPH.sub(r" \1 ", _COUNTED.sub(lambda m: _NUMBERS[m.group(1)], text))


def polarity(text: str, question: str = "") -> Literal["yes", "no", "both", "neither"]:
    """Yes or no as the answer's first word, or by what it says of the question's predicate (健康 in 肺部健康吗)."""
    parts = _parts(text)
    if _UNSURE.search(text) or (_ASKED.search(text) and len(parts) < 2):
        return "neither"
    if parts and (_AGREED.match(parts[0]) or _DOUBLE_NO.match(parts[0])):
        return "yes"
    bare = {p in _BARE_YES for p in parts if p in _BARE_YES | _BARE_NO}
    if len(bare) == 2:
        return "both"
    if parts and parts[0] in _BARE_YES | _BARE_NO:
        return "yes" if parts[0] in _BARE_YES else "no"
    stem = _predicate(question)
    signs = {sign == (False not in _signs(stem, question)) for sign in _signs(stem, text)} if stem else set()
    if signs:
        return "both" if len(signs) == 2 else "yes" if True in signs else "no"
    if parts and _NO.match(parts[0]):
        return "no"
    return "yes" if parts and _YES.match(parts[0]) else "neither"


def closed(truth: str, choices: tuple[str, ...], question: str, said: str) -> Outcome:
    """Whether a closed answer asserts the truth, something else, both, or nothing that can be compared."""
    bare = _parts(truth)
    word = bare[0] if len(bare) == 1 else ""
    if word in _BARE_YES | _BARE_NO:
        told = polarity(said, question)
        if told in ("both", "neither"):
            return told
        return "right" if (told == "yes") == (word in _BARE_YES) else "wrong"
    stem, sign = _stem(word or "".join(bare))
    signs = _signs(stem, said)
    if not signs and stem in "".join(_parts(question)):
        told = polarity(said)
        signs = {told == "yes"} if told in ("yes", "no") else set()
    others = [_stem("".join(_parts(c))) for c in choices if _parts(c) and _parts(c) != bare]
    other = any(o != stem and stem not in o and s in _signs(o, said) for o, s in others)
    if sign in signs:
        return "both" if other or len(signs) == 2 else "right"
    return "wrong" if signs or other else "neither"


def _parts(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [p for p in (_PARTICLE.sub("", part) or part for part in _MARK.split(folded)) if p]


def _stem(phrase: str) -> tuple[str, bool]:
    """A phrase without its negator, and whether it affirms: 不健康 is (健康, False)."""
    m = re.match(rf"(?:{'|'.join(sorted(_BARE_NO - {'no', '否'}, key=len, reverse=True))}|未见|非)(?=.)", phrase)
    return (phrase[m.end() :], False) if m else (phrase, True)


def _signs(stem: str, said: str) -> set[bool]:
    """How `said` speaks of the stem: affirmed (True), denied (False), both, or not at all."""
    found = set()
    for part in _parts(said):
        for m in re.finditer(re.escape(stem), part):
            before = part[: m.start()]
            denied = _DENIED.search(before) is not None and _DOUBLE.search(before) is None
            found.add(not denied)
    return found


def _predicate(question: str) -> str:
    """The last signs of a yes/no question before its particle; empty when it is none."""
    asked = "".join(_parts(question))
    m = re.search(r"(.*?)(?:吗|嗎|么|麼|没有|不)$", asked)
    return m.group(1)[-_STEM:] if m and len(m.group(1)) >= _STEM else ""
