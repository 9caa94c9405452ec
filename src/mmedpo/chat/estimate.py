"""What a stage will ask for, before anything is sent: calls, tokens and money, least and most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, estimated_input_tokens

SHORT_REPLY = 60
"""Tokens of a usual reply: a score and one sentence."""


@dataclass(frozen=True)
class Ahead:
    """What one item still needs of one endpoint."""

    request: ChatRequest
    """A call of the usual length: the next one, or one like it."""
    least: int
    """Calls that are certain."""
    most: int
    """Calls that are possible."""


@dataclass(frozen=True)
class Estimate:
    """What one endpoint is going to be asked; what the cache answers is left out."""

    endpoint: str
    cached: int
    """Items the cache answers."""
    least_calls: int
    most_calls: int
    least_tokens: int
    """Input and output."""
    most_tokens: int
    least_usd: float
    most_usd: float
    priced: bool


def estimate(line: Line, ahead: Iterable[Ahead], growth: int, cached: int = 0) -> Estimate:
    """Sums up what lies ahead.

    Args:
        line: the endpoint.
        ahead: what each item that is not finished still needs.
        growth: input tokens by which each further call of an item is longer than the one before.
        cached: items the cache answers.
    """
    settings = line.settings
    least_calls = most_calls = read = longest = 0
    for item in ahead:
        tokens = estimated_input_tokens(settings, item.request)
        least_calls, most_calls = least_calls + item.least, most_calls + item.most
        read += tokens * item.least
        longest += tokens * item.most + growth * item.most * (item.most - 1) // 2
    written, longest_written = least_calls * SHORT_REPLY, most_calls * settings.max_tokens
    return Estimate(
        endpoint=line.name,
        cached=cached,
        least_calls=least_calls,
        most_calls=most_calls,
        least_tokens=read + written,
        most_tokens=longest + longest_written,
        least_usd=settings.usd(read, written),
        most_usd=settings.usd(longest, longest_written),
        priced=settings.priced,
    )


def describe(estimates: Sequence[Estimate]) -> list[str]:
    """One line per endpoint, and a sum where several cost money."""
    lines = []
    for item in estimates:
        money = f", ${item.least_usd:.2f} to ${item.most_usd:.2f}" if item.priced else ""
        known = f"; {item.cached:,} answered by the cache" if item.cached else ""
        lines.append(
            f"{item.endpoint}: {item.least_calls:,} to {item.most_calls:,} calls, about {item.least_tokens:,} to "
            f"{item.most_tokens:,} tokens{money}{known}"
        )
    if sum(item.priced for item in estimates) > 1:
        least, most = sum(item.least_usd for item in estimates), sum(item.most_usd for item in estimates)
        lines.append(f"together ${least:.2f} to ${most:.2f}")
    return lines
