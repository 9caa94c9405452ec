"""What was found of a checkpoint: facts to read, and what is wrong or suspicious, each with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["warning", "error"]
EXIT = {None: 0, "warning": 1, "error": 3}
"""Exit code by the worst finding; 2 is an examination that could not be carried out."""


@dataclass(frozen=True)
class Finding:
    """Something wrong (`error`) or suspicious (`warning`)."""

    severity: Severity
    text: str
    """One sentence: what was met, and behind a semicolon the fix."""


@dataclass
class Diagnosis:
    """Everything that was found."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    """Name and value, in order."""
    findings: list[Finding] = field(default_factory=list)
    seconds: float | None = None
    """What the run takes with the fine-tuning before it, where a step was measured."""

    def fact(self, name: str, value: str) -> None:
        """Adds a fact."""
        self.facts.append((name, value))

    def error(self, text: str) -> None:
        """Adds what is wrong."""
        self.findings.append(Finding("error", " ".join(text.split())))

    def warn(self, text: str) -> None:
        """Adds what is suspicious."""
        self.findings.append(Finding("warning", " ".join(text.split())))

    @property
    def worst(self) -> Severity | None:
        """The worst severity found."""
        found: set[Severity] = {finding.severity for finding in self.findings}
        return "error" if "error" in found else "warning" if found else None

    @property
    def exit_code(self) -> int:
        """0 where nothing was found."""
        return EXIT[self.worst]

    def lines(self) -> Iterator[str]:
        """One line for each fact and finding."""
        width = max((len(name) for name, _ in self.facts), default=0)
        for name, value in self.facts:
            yield f"{name:{width}}  {value}"
        for finding in self.findings:
            yield f"{finding.severity}: {finding.text}"
        if not self.findings:
            yield "nothing suspicious was found"
