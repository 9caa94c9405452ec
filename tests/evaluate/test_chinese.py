"""Chinese answers: yes and no, negation by one sign, no blanks between words."""

from __future__ import annotations

import pytest

from mmedpo.evaluate.protocols.strict import Strict, polarity
from mmedpo.records import AnswerType, Example, ImageRef


def scored(
    answer: str, question: str, text: str, kind: AnswerType = "closed", choices: tuple[str, ...] = ()
) -> tuple[float, str]:
    image = ImageRef(path="a.png", sha256="0" * 64, width=8, height=8)
    example = Example(
        example_id="q", dataset="d", split="test", image=image, question=question, answer=answer, answer_type=kind,
        choices=choices,
    )  # fmt: skip
    judged = Strict().score(example, text)
    return judged.values["closed_accuracy" if kind == "closed" else "open_recall"], judged.note


@pytest.mark.parametrize(
    ("answer", "question", "text", "credit"),
    [
        ("是", "肺部看起来异常吗？", "是的。", 1),
        ("是", "肺部看起来异常吗？", "肺部异常", 1),
        ("是", "肺部看起来异常吗？", "肺部没有异常", 0),
        ("是", "肺部看起来异常吗？", "不是", 0),
        ("是", "肺部看起来异常吗？", "不清楚", 0),
        ("是", "图中有肺吗？", "是，否", 0),
        ("是", "图中有肺吗？", "Yes", 1),
        ("是", "肺部不健康吗？", "不健康", 1),
        ("否", "图中有肿瘤吗？", "未见肿瘤", 1),
        ("没有", "图中有肿瘤吗？", "有肿瘤", 0),
        ("有", "有积液吗？", "没有肿瘤，有积液", 1),
        ("不健康", "肺部健康吗？", "肺部不健康", 1),
        ("健康", "肺部健康吗？", "肺部不健康", 0),
        ("健康", "肺部健康吗？", "非常健康", 1),
        ("不健康", "肺部健康吗？", "不太健康", 1),
        ("不健康", "肺部健康吗？", "否", 1),
        ("不健康", "肺部健康吗？", "健康", 0),
    ],
)
def test_closed(answer: str, question: str, text: str, credit: float) -> None:
    assert scored(answer, question, text)[0] == credit


def test_choices_exclude_each_other() -> None:
    sides = ("左侧", "右侧")
    assert scored("左侧", "病变在哪侧？", "在左侧", choices=sides) == (1.0, "")
    assert scored("左侧", "病变在哪侧？", "在右侧", choices=sides) == (0.0, "other-alternative")
    assert scored("左侧", "病变在哪侧？", "左侧和右侧", choices=sides) == (0.0, "both-alternatives")
    assert scored("左侧", "病变在哪侧？", "肝脏", choices=sides) == (0.0, "no-alternative")


def test_open_answers_need_no_blanks() -> None:
    assert scored("肺、心脏", "有哪些器官？", "图中有心脏和肺", "open")[0] == 1.0
    assert scored("肺、心脏", "有哪些器官？", "肺", "open")[0] == pytest.approx(1 / 3)
    assert scored("2个", "有几个结节？", "两个", "open")[0] == 1.0


def test_polarity_of_chinese() -> None:
    assert [polarity(text) for text in ("是的", "没有", "是，否", "肝脏")] == ["yes", "no", "both", "neither"]
    assert [polarity(text) for text in ("没错", "不是没有", "没问题")] == ["yes", "yes", "yes"]
    assert [polarity(text) for text in ("是吗？", "是否", "有没有")] == ["neither", "neither", "neither"]
    assert [polarity(text) for text in ("没有肿块", "并没有", "不是")] == ["no", "no", "no"]
