"""What a stage will ask for, before anything is sent: calls, tokens and money, least and most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, estimated_input_tokens

SHORT_REPLY = 60
"""Tokens of a usual reply: a score and one sentence."""


@dataclass(frozen=True)
class Estimate:
    """What one endpoint is going to be asked; calls whose answers are in the cache are left out."""

    endpoint: str
    cached: int
    """First calls that are answered already."""
    least_calls: int
    most_calls: int
    least_tokens: int
    """Input and output."""
    most_tokens: int
    least_usd: float
    most_usd: float
    priced: bool


def estimate(line: Line, requests: Iterable[ChatRequest], most: int, growth: int = 0) -> Estimate:
    """From the first call of every item.

    Args:
        line: the endpoint.
        requests: the first call of each item.
        most: the most calls one item can need.
        growth: input tokens by which each further call of an item is longer than the one before.
    """
    cached = calls = read = 0
    for request in requests:
        if line.cache.get(line.key(request)) is not None:
            cached += 1
        else:
            calls += 1
            read += estimated_input_tokens(line.settings, request)
    settings = line.settings
    longest = read * most + calls * growth * most * (most - 1) // 2
    written, longest_written = calls * SHORT_REPLY, calls * most * settings.max_tokens
    return Estimate(
        endpoint=line.name,
        cached=cached,
        least_calls=calls,
        most_calls=calls * most,
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
        known = f"; {item.cached:,} first calls are in the cache" if item.cached else ""
        lines.append(
            f"{item.endpoint}: {item.least_calls:,} to {item.most_calls:,} calls, about {item.least_tokens:,} to "
            f"{item.most_tokens:,} tokens{money}{known}"
        )
    if sum(item.priced for item in estimates) > 1:
        least, most = sum(item.least_usd for item in estimates), sum(item.most_usd for item in estimates)
        lines.append(f"together ${least:.2f} to ${most:.2f}")
    return lines
