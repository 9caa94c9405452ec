"""The page as a reader's browser meets it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from mmedpo.report import ReportContent, render
from mmedpo.report import content as c
from mmedpo.report.page import TEMPLATES
from mmedpo.report.sections.curation import Curation, CurationCount, LengthRow
from mmedpo.report.sections.reliance import Reliance, RelianceRow
from mmedpo.report.sections.results import Arm, Results
from mmedpo.report.sections.scores import Scores, ScoreSource
from mmedpo.report.sections.training import CurvePanel, CurveSeries, Training

VOID = {"meta", "img", "br", "link", "input", "hr"}
SECTION_IDS = {
    "results", "judged", "external", "reliance", "predictions", "drops", "training", "curation", "scores", "calls",
    "groundings",
    "pairs", "reproduce",
}  # fmt: skip


class Page(HTMLParser):
    """Elements, visible text and nesting errors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.errors: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        if self.open:
            self.errors.append(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title", "desc"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(rich_content: ReportContent) -> str:
    return render(rich_content)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.errors == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_section_is_there_and_reachable(page: Page) -> None:
    assert {attributes["id"] for attributes in page.all("section")} == SECTION_IDS
    targets = {attributes["href"] for attributes in page.all("a")}
    assert {f"#{name}" for name in SECTION_IDS} | {"#main"} == targets


def test_nothing_is_loaded_from_elsewhere(html: str, page: Page) -> None:
    assert not re.search(r"https?:|url\(|@import|srcset", html)
    sources = [
        a[key] for _, a in page.elements for key in ("src", "srcset", "data", "poster", "xlink:href") if key in a
    ]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {"script", "link", "iframe", "object", "form"} & {name for name, _ in page.elements}
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "number",
    [
        "+4.8", "61.2 66.0 +4.8", "−17.0 to −1.0", "56.2–66.2", "n = 318", "61", "94 %", "0.95", "1 h 05 min",
        "+0.56 (+0.43 to +0.69)", "22 % on the lower bound", "not measured on the upper", "k = 500", "was 0.70",
        "test-balanced · strict", "1 warning and 66 dropped items", "3 unscored", "6 of 11 intervals exclude 0",
    ],
)  # fmt: skip
def test_numbers_are_printed(page: Page, number: str) -> None:
    assert number in page.text


def test_right_and_wrong_are_words_not_only_colours(page: Page) -> None:
    assert page.text.count("✓ right") == 3
    assert page.text.count("✗ wrong") == 3


def test_accessible_names(page: Page) -> None:
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("scope") in ("col", "row", "colgroup", "rowgroup") for attributes in page.all("th"))
    assert all(attributes.get("aria-label") and attributes.get("role") == "img" for attributes in page.all("svg"))
    scrolling = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert scrolling
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolling)
    assert page.all("html")[0]["lang"] == "en"


HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'</svg></style>{{ 7*7 }}\x00\ud800"""


def hostile(value: object) -> object:
    """The same content with every text replaced by markup."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(item) if key not in KEPT else item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(hostile(item) for item in value)
    return value


KEPT = {"metric", "key", "kind", "region", "sha256", "error_type", "values", "rejected_noise", "schedule"}


def test_markup_in_any_text_is_inert(rich_content: ReportContent) -> None:
    parts = {name: type(part).model_validate(hostile(part.model_dump())) for name, part in rich_content.parts.items()}
    head = type(rich_content.head).model_validate(hostile(rich_content.head.model_dump()))
    text = render(ReportContent(title=HOSTILE, head=head, caveats=(HOSTILE,), parts=parts))
    page = Page(text)
    assert page.errors == []
    assert "script" not in {name for name, _ in page.elements}
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert all(a["src"].startswith("data:image/png") for a in page.all("img"))
    assert "49" not in page.text.split("interval")[0]
    assert "alert(1)" in page.text
    text.encode("utf-8")


def test_a_title_alone_is_a_report_that_claims_nothing() -> None:
    page = Page(render(ReportContent(title="Empty")))
    assert page.errors == []
    assert page.all("section") == page.all("nav") == []
    assert "No evaluation is stored in this run, so nothing is claimed." in page.text


@pytest.mark.parametrize("name", sorted(SECTION_IDS))
def test_an_empty_part_leaves_no_heading(rich_content: ReportContent, name: str) -> None:
    parts = {key: part for key, part in rich_content.parts.items() if key != name}
    page = Page(render(dataclasses.replace(rich_content, parts=parts)))
    assert {attributes["id"] for attributes in page.all("section")} == SECTION_IDS - {name}
    assert page.errors == []


def test_what_was_not_measured_is_never_zero() -> None:
    metric = c.Metric(key="a", name="accuracy", split="test")
    text = Page(
        render(
            ReportContent(
                title="t",
                parts={
                    "results": Results(
                        metrics=(metric,),
                        arms=(
                            Arm(name="base", values={}),
                            Arm(name="tuned", values={"a": c.Interval(value=float("nan"))}),
                        ),
                        comparisons=(c.Comparison(metric="a", arm="tuned", baseline="base"),),
                        by_error_type=(c.Comparison(metric="a", arm="tuned", baseline="base", error_type="side"),),
                    ),
                    "reliance": Reliance(
                        rows=(RelianceRow(model="base", lesion=c.Interval(), elsewhere=c.Interval()),)
                    ),
                    "training": Training(
                        panels=(CurvePanel(title="Loss", series=(CurveSeries(name="l", points=()),)),)
                    ),
                    "curation": Curation(
                        counts=(CurationCount(label="picked", count=None),),
                        lengths=(
                            LengthRow(group="g", n=3, chosen_words=None, rejected_words=None, rejected_longer=None),
                        ),
                    ),
                    "scores": Scores(sources=(ScoreSource(source="debate", scores=(None,), weights=(None,)),)),
                },
            )
        )
    ).text
    assert text.count("not measured") > 15
    assert not re.search(r"\b0\.0|\b0 %", text)


def test_equal_content_gives_equal_pages(rich_content: ReportContent, html: str) -> None:
    assert render(rich_content) == html


def test_the_report_needs_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mmedpo.report; print({'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "set()"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_contrast(mode: int) -> None:
    """WCAG 2.1: 4.5 for text, 3 for graphics."""
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text("utf-8"), re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[mode]))
    for name in ("ink", "soft", "accent", "good", "bad", "warn"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["ink"], colours["mark"]) >= 4.5
    assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
    assert contrast(colours["ink"], colours["warn-paper"]) >= 4.5
    for index in range(1, 6):
        assert contrast(colours[f"fig-{index}"], colours["paper"]) >= 3, index
    assert contrast(colours["fig-muted"], colours["paper"]) >= 4.5
