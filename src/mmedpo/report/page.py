"""`render`: content in, one HTML page out. Jinja2 with autoescape; a name missing in a template is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from mmedpo.report import formatting
from mmedpo.report.content import ReportContent
from mmedpo.report.section import files_of, sections
from mmedpo.report.verdict import NOTHING_STORED, Headline, direction, heads_of, table_rows, tone, verdict_sentences

TEMPLATES = Path(__file__).parent / "templates"


class Rendered(NamedTuple):
    """One section as it stands on the page."""

    anchor: str
    heading: str
    body: Markup


def render(content: ReportContent) -> str:
    """The report as one HTML document that needs nothing else: styles inline, images as data URIs, no script.

    All texts are escaped; control characters and lone surrogates become U+FFFD, so that the result always encodes
    as UTF-8.
    """
    known = sections()
    environment = _environment(tuple((name, files_of(section)[1].parent) for name, section in known.items()))
    rendered: list[Rendered] = []
    headlines: list[Headline] = []
    said: list[str] = []
    pointers: list[tuple[str, str]] = []
    for name, section in known.items():
        part = content.parts.get(name)
        if part is None:
            continue
        template = environment.get_template(f"{name}/{section.template}")
        body = template.render(part=part, **section.draw(part))
        # What a template made has been escaped there.
        rendered.append(Rendered(name, section.heading, Markup(body)))
        headlines += section.compares(part)
        said += section.says(part)
        if text := section.points(part):
            pointers.append((name, text))
    verdict = [*verdict_sentences(headlines), *said]
    rows = table_rows(headlines)
    page = environment.get_template("page.html.j2").render(
        content=content,
        sections=rendered,
        verdict=" ".join(verdict) or NOTHING_STORED,
        headlines=rows,
        heads=heads_of([row.comparison for row in rows]),
        pointers=pointers,
    )
    return formatting.printable(page)


@cache
def _environment(folders: tuple[tuple[str, Path], ...]) -> Environment:
    """Templates of the page, and of each section under its name."""
    environment = Environment(
        loader=ChoiceLoader(
            [
                PrefixLoader({name: FileSystemLoader(folder) for name, folder in folders}),
                FileSystemLoader(TEMPLATES),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formatting.number, count=formatting.count, share=formatting.share, duration=formatting.duration,
        level=formatting.level, money=formatting.money, data_uri=formatting.data_uri, png_size=formatting.png_size,
        p_value=formatting.p_value,
    )  # fmt: skip
    environment.globals.update(
        style=Markup((TEMPLATES / "page.css").read_text("utf-8")),
        measured=formatting.measured, interval=formatting.interval, differing_words=formatting.differing_words,
        direction=direction, tone=tone,
    )  # fmt: skip
    return environment
