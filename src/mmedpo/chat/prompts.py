"""Prompts: text files with a version, whose fields are filled with fenced data.

A prompt file begins with `version: N` and holds one part per turn under `=== system` and `=== user`.
`${name}` stands for a text that comes from data: a question, an answer, an opinion. Such text is never
an order to the model. Each is put between two marks that occur nowhere in the data (their name is
drawn from a hash of it), and marks of chat templates inside it are broken up, so that it can neither
close its fence nor begin a turn of its own. `$${name}` (a plain field) is for our own words: numbers,
lists of allowed values.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mmedpo.chat.model import text_message
from mmedpo.records import Message

_TEMPLATE_MARK = re.compile(
    r"<\|[^|<>]{0,40}\|>|</?s>|\[/?(?:INST|SYS)\]|<</?SYS>>|<(?:start|end)_of_turn>|<image>|<(?:bos|eos|pad|unk)>", re.I
)
_FIELD = re.compile(r"\$(\$?)\{(\w+)\}")


@dataclass(frozen=True)
class Prompt:
    """One prompt as it is written."""

    name: str
    """Name of its file, without ending."""
    version: int
    """Raised with every change of its words; part of the key of every call."""
    turns: tuple[tuple[str, str], ...]
    """Role and template."""

    @property
    def label(self) -> str:
        """Name and version, e.g. `judge@1`."""
        return f"{self.name}@{self.version}"

    def fill(
        self, data: Mapping[str, str], plain: Mapping[str, str] | None = None, images: int = 0
    ) -> tuple[Message, ...]:
        """The turns with their fields filled.

        Args:
            data: texts that come from data or from other models; fenced.
            plain: our own words; put in as they are.
            images: how many images the last turn begins with.

        Raises:
            KeyError: a field of the prompt is not given.
        """
        fence = fence_for(data.values())

        def put(found: re.Match[str]) -> str:
            if found.group(1):
                return (plain or {})[found.group(2)]
            name = found.group(2)
            return f"<{fence} {name}>\n{without_template_marks(data[name])}\n</{fence}>"

        filled = [(role, _FIELD.sub(put, template)) for role, template in self.turns]
        return tuple(
            text_message("system" if role == "system" else "user", text, images if number == len(filled) else 0)
            for number, (role, text) in enumerate(filled, start=1)
        )


def fence_for(texts: Iterable[str]) -> str:
    """Name of a fence that occurs in none of the texts; the same for the same texts, so that calls can be cached."""
    joined = "\0".join(texts)
    seed = joined.encode("utf-8", "surrogatepass")
    while True:
        fence = f"data-{hashlib.sha256(seed).hexdigest()[:10]}"
        if fence not in joined:
            return fence
        seed = hashlib.sha256(seed).digest()


def without_template_marks(text: str) -> str:
    """The text with a blank inside each mark of a chat template, so that no tokenizer takes it for one."""
    return _TEMPLATE_MARK.sub(lambda found: f"{found.group()[0]} {found.group()[1:]}", text)


@cache
def read_prompt(room: str, name: str) -> Prompt:
    """A prompt of a package, e.g. `read_prompt("mmedpo.score", "debate_first")`.

    Raises:
        ValueError: the file has no version or no turn; a fault of the package, not of the user.
    """
    text = resources.files(room).joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    head, *parts = re.split(r"^=== (system|user)\n", text, flags=re.MULTILINE)
    version = re.fullmatch(r"version: (\d+)\s*", head)
    if version is None or not parts:
        raise ValueError(f"prompt {name} must begin with `version: N` and hold `=== user`")
    turns = tuple((parts[i], parts[i + 1].strip()) for i in range(0, len(parts), 2))
    return Prompt(name.replace("_", "-"), int(version.group(1)), turns)


def prompts_hash(room: str) -> str:
    """Hash of every prompt of a package: a changed word makes its stage run again."""
    folder = resources.files(room).joinpath("prompts")
    digest = hashlib.sha256()
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name.endswith(".txt"):
            digest.update(f"{item.name}\0{item.read_text(encoding='utf-8')}\0".encode())
    return digest.hexdigest()
