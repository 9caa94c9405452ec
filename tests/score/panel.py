"""A panel of scripted Med-LLMs: what each says depends on its name and the case alone."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from chat.scripts import Action, answer
from mmedpo.config import RunSettings, validate_settings
from mmedpo.records import ImageRef, PreferencePair
from mmedpo.run import Run, open_run
from mmedpo.run.layout import CURATED
from mmedpo.score.stage import stage

IMAGE = ImageRef(path="a.png", sha256="0" * 64, width=8, height=8)


def panellist(body: dict[str, Any], number: int) -> Action:
    """Scores by a hash of model and case; agrees with a standing score within 4 points."""
    text = body["messages"][1]["content"]
    case = re.search(r"rejected>\n(.*?)\n</data", text, re.DOTALL)
    assert case is not None
    own = hashlib.sha256(f"{body['model']} {case.group(1)}".encode()).digest()[0] % 11
    standing = re.search(r"standing score is (\S+) of 10", text)
    reply: dict[str, Any] = {"reason": f"{body['model']} thinks of {own}", "score": own}
    if standing is not None:
        agrees = abs(own - int(standing.group(1))) <= 4
        reply |= {"agree": agrees, "score": int(standing.group(1)) if agrees else own}
    return answer(json.dumps(reply), usage=(100, 10), model=f"{body['model']}@1")


def pair(number: int, rejected: str = "") -> PreferencePair:
    return PreferencePair(
        pair_id=f"e{number}/text",
        example_id=f"e{number}",
        kind="text",
        image=IMAGE,
        question=f"What is seen in image {number}?",
        chosen="a nodule in the left lung",
        rejected=rejected or f"a normal chest, case {number}",
        unscored_reason="not debated yet",
    )


def settings(urls: dict[str, str], **changes: Any) -> RunSettings:
    """A run whose agents speak through these endpoints."""
    endpoint = {"concurrency": 16, "longest_wait": 0.01, "timeout": 10}
    own = changes.pop("endpoint", {})
    endpoints = {name: {"model": name, "base_url": url, **endpoint, **own} for name, url in urls.items()}
    return validate_settings(
        {
            "curate": {"kinds": ["text"]},
            "chat": {"endpoints": endpoints, **changes.pop("chat", {})},
            "score": {"agents": [f"chat:{name}" for name in urls], **changes.pop("score", {})},
            **changes,
        },
        "test",
    )


def debating_run(path: Path, chosen: RunSettings, pairs: list[PreferencePair], data_use: str = "open") -> Run:
    """An open run folder that holds these pairs, ready to be scored (its lock is let go at once)."""
    with open_run(path, chosen) as run:
        run.write(CURATED, PreferencePair, pairs)
        run.file("data.json").write_text(json.dumps({"data_use": data_use}))
        run.stage = stage(run.settings)
        run.work_folder.mkdir(parents=True, exist_ok=True)
        return run
