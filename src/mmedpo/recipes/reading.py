"""YAML as plain values, whatever was written: bounded in size and depth, every fault one short line."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError

from mmedpo.errors import ConfigError, brief, shown

MOST_BYTES = 1_000_000
"""Length of a text that is read as YAML; a resolved recipe has 5,000."""
MOST_VALUES = 20_000
"""Values of a text, each as often as aliases repeat it."""
MOST_LEVELS = 30
"""Groups inside groups."""
LONGEST_NUMBER = 100
"""Characters of a value that is no text; longer ones only cost time."""

_TEXT = "tag:yaml.org,2002:str"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHER_BASE = re.compile(r"[-+]?(?:0[0-9_]+|[0-9_]+(?::[0-9_]+)+(?:\.[0-9_]*)?)")
"""What YAML 1.1 reads as octal (010 is 8) or as degrees (1:30 is 90), and hardly anybody means."""


def read_yaml(text: str, what: str) -> Any:
    """The plain values of a YAML text; nothing in the result is shared between two places.

    Args:
        text: the YAML.
        what: names it in messages, e.g. `recipe mine.yaml`.

    Raises:
        ConfigError: not valid YAML, or larger or deeper than any recipe is.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{what} is not valid YAML for a recipe: longer than {MOST_BYTES:,} characters")
    try:
        loader = _Bounded(text)
        try:
            return _unshared(loader.get_single_data())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        told = brief(error.problem or "cannot be read")
        raise ConfigError(f"{what} is not valid YAML: {told}{where}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not valid YAML: {brief(' '.join(str(error).split()))}") from None
    except Exception as error:
        # Its constructors let through whatever Python says of a date, a number or a tag that is none.
        raise ConfigError(f"{what} is not valid YAML: a value cannot be read ({brief(str(error), 100)})") from None


class _Bounded(yaml.SafeLoader):
    """Counts while it reads, so that a text that unfolds without end is given up early."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._levels = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        before = self._values
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._levels += 1
        if self._levels > MOST_LEVELS:
            raise ComposerError(None, None, f"more than {MOST_LEVELS} groups inside groups", mark)
        node = super().compose_node(parent, index)
        self._levels -= 1
        if node is None:
            return None
        if is_alias and node not in self._sizes:
            raise ComposerError(None, None, "a value that holds itself", mark)
        self._values += self._sizes[node] if is_alias else 1
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES:,} values", mark)
        self._sizes.setdefault(node, self._values - before)
        if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > LONGEST_NUMBER:
            raise ComposerError(None, None, f"{shown(node.value)} is no number or date", mark)
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and _OTHER_BASE.fullmatch(node.value):
            raise ComposerError(None, None, f"{shown(node.value)} would be read to base 8 or 60", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise ComposerError(None, None, f"{shown(key.value)} stands twice in one group", key.start_mark)
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key)
        return node


def _unshared(value: Any) -> Any:
    """A copy without aliases: what changes one place changes no other; raises ValueError on dates, bytes, sets."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unshared(item) for item in value]
    if value is not None and not isinstance(value, str | bool | int | float):
        raise ValueError(f"a {type(value).__name__} is no setting; put it in quotes")
    return value
