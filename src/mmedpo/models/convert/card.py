"""The model card of a converted checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmedpo.models.convert.layouts import Layout


def card(layout: Layout, record: Mapping[str, Any]) -> str:
    """Markdown: what it is, what was decided, how it is asked, and the hashes of both sides."""
    notes = "\n".join(f"- {note}" for note in record["notes"])
    sides = "\n\n".join(
        f"### {title}\n\n" + "\n".join(f"    {digest}  {name}" for name, digest in record[key].items())
        for title, key in (("Source", "source_sha256"), ("Result", "sha256"))
    )
    return f"""# {record["source"]}, converted

Weights of {layout.title} (`{layout.model_type}`), renamed and otherwise unchanged, in the LLaVA layout of
`transformers`, by mmedpo {record["mmedpo"]}. Licence and terms of use are those of the source.

{notes}

## Prompt

    {layout.prompt("QUESTION", 1)!r}

The chat template in this folder writes it, `<image>` becomes one token per image feature.

## SHA-256

{sides}
"""
