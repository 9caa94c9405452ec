"""What the code cites as METHOD exists in docs/method.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = set(re.findall(r"^## (\d+)\.", (ROOT / "docs" / "method.md").read_text(encoding="utf-8"), re.MULTILINE))


def citations() -> Iterator[tuple[str, str]]:
    """File and what stands behind the word, for every mention of METHOD."""
    for folder in ("src", "tests", "docs", "bench"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".md", ".yaml", ".txt") and file not in (Path(__file__), ROOT / "docs/method.md"):
                for found in re.finditer(r"\bMETHOD\b\s*(.{0,12})", file.read_text(encoding="utf-8")):
                    yield file.relative_to(ROOT).as_posix(), found.group(1)


@pytest.mark.parametrize(("file", "cited"), sorted(set(citations())))
def test_a_citation_names_a_section_that_exists(file: str, cited: str) -> None:
    section = re.match(r"sections? (\d+)", cited)
    assert section is not None, f"{file} cites METHOD without a section: {cited!r}"
    assert section.group(1) in SECTIONS, f"{file} cites section {section.group(1)}, the page has {sorted(SECTIONS)}"
