"""Replies held to a JSON schema while they are written: only tokens that can still become one are let through.

The grammar is llguidance's (extra `[local]`). Its masks are computed row by row, so that replies of several forms
are written in one batch. A reply that comes near its length limit is led to its end: of what the grammar allows, only
what closes a text, a list or an object is let through, so that a model that would go on for ever still answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmedpo.errors import ChatError

OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as models write it; free white space would be a reply without end."""
CLOSING = ('"', "]}", ",")
"""What leads a reply to its end, first to last: within a text all but the first are letters like others."""
PER_VALUE = 8
"""Tokens kept for the end of a reply, for each property beside its name."""


class Constraint:
    """The grammars of one tokenizer."""

    def __init__(self, name: str, tokenizer: Any, vocabulary: int, stops: Sequence[int]) -> None:
        """Reads the vocabulary, which takes about a second.

        Args:
            name: the endpoint's, for errors.
            tokenizer: a fast tokenizer of transformers.
            vocabulary: size of the model's output, tokens.
            stops: tokens that end a reply.

        Raises:
            ChatError: llguidance cannot read this tokenizer.
        """
        from llguidance.hf import from_tokenizer

        try:
            self._tokens = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(stops))
        except Exception as error:
            raise ChatError(
                f"endpoint {name!r}: its tokenizer cannot be held to a form ({' '.join(str(error).split())[:200]}); "
                "set structured: none"
            ) from None
        self.vocabulary = vocabulary
        self.stops = list(stops)
        self._grammars: dict[str, str] = {}
        known = tokenizer.convert_ids_to_tokens(range(min(len(tokenizer), vocabulary)))
        first = [text[:1] if text else "" for text in known] + [""] * (vocabulary - len(known))
        self.closing = [torch.tensor([char != "" and char in ends for char in first]) for ends in CLOSING]
        """[vocabulary] each: tokens that begin by closing a text, what holds it, or a part of that."""

    def masks(self, schemas: Sequence[Mapping[str, Any] | None], limit: int) -> Masks:
        """What holds the rows of a batch, each to its schema; None: a row that may say anything.

        Args:
            schemas: one per row.
            limit: tokens a reply may have.
        """
        return Masks(self, [None if schema is None else self._matcher(schema) for schema in schemas], schemas, limit)

    def _matcher(self, schema: Mapping[str, Any]) -> Any:
        from llguidance import LLMatcher

        text = json.dumps(schema, sort_keys=False)
        if text not in self._grammars:
            self._grammars[text] = LLMatcher.grammar_from_json_schema(text, overrides=OPTIONS)
        matcher = LLMatcher(self._tokens, self._grammars[text])
        if matcher.is_error():
            raise ChatError(f"a reply cannot be held to its form ({matcher.get_error()[:200]}); set structured: none")
        return matcher


class Masks:
    """A step of every row; called by `generate` with what was written and the scores of the next tokens."""

    def __init__(
        self,
        constraint: Constraint,
        matchers: Sequence[Any],
        schemas: Sequence[Mapping[str, Any] | None],
        limit: int,
    ) -> None:
        self.constraint = constraint
        self.matchers = matchers
        self._from = [0 if schema is None else limit - _room(schema, limit) for schema in schemas]
        self._step = 0
        self._bits = np.zeros((1, (constraint.vocabulary + 31) // 32), dtype=np.int32)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """[rows, vocabulary] scores, -inf where a token would leave the form.

        Args:
            ids: [rows, length] prompts and what was written.
            scores: [rows, vocabulary].
        """
        written = ids[:, -1].tolist() if self._step else [None] * len(self.matchers)
        allowed = torch.ones(scores.shape, dtype=torch.bool)
        for row, (matcher, token) in enumerate(zip(self.matchers, written, strict=True)):
            if matcher is not None:
                allowed[row] = self._allowed(matcher, token, self._step >= self._from[row])
        self._step += 1
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))

    def _allowed(self, matcher: Any, token: int | None, ending: bool) -> Tensor:
        from llguidance.numpy import fill_next_token_bitmask

        own = self.constraint
        if token is not None and not matcher.is_stopped():
            matcher.consume_token(token)
        if matcher.is_stopped():
            allowed = torch.zeros(own.vocabulary, dtype=torch.bool)
            allowed[own.stops] = True
            return allowed
        fill_next_token_bitmask(matcher, self._bits, 0)
        bits = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[: own.vocabulary]
        allowed = torch.from_numpy(bits).bool()
        for closing in own.closing if ending else ():
            narrower: Tensor = allowed & closing
            if narrower.any():
                return narrower
        return allowed


def _room(schema: Mapping[str, Any], limit: int) -> int:
    """Tokens kept for the end of a reply: its names, a byte a token at worst, and short values; at most half."""
    names = list(_names(schema))
    return min(limit // 2, sum(len(name) + PER_VALUE for name in names))


def _names(schema: Any) -> list[str]:
    """Names of the properties, those of inner objects included."""
    if isinstance(schema, list):
        return [name for item in schema for name in _names(item)]
    if not isinstance(schema, Mapping):
        return []
    own = schema.get("properties")
    return [*(own if isinstance(own, Mapping) else ()), *(name for item in schema.values() for name in _names(item))]
