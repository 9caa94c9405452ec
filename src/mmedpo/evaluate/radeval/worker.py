"""Serves one metric of RadEval over JSON lines. Runs in RadEval's environment and imports nothing of mmedpo.

Started as `python -I worker.py METRIC`. First it says `{"ready": METRIC, "version": ...}` or `{"error": ...}`; then for
every line `{"refs": [...], "hyps": [...], "key": ..., "each": true}` one line `{"values": [...]}` or `{"error": ...}`:
a value for every pair of reports, or with `each` false one for all of them. A value that is not finite is null.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Any


def serve(metric: str) -> None:
    """Answers until its input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    # What libraries print must not stand among the replies.
    os.dup2(2, 1)

    def say(**reply: Any) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    try:
        if metric == "f1chexbert":
            _without_gpu()
        evaluator = importlib.import_module("radeval").RadEval(metrics=[metric], show_progress=False)
        say(ready=metric, version=version("radeval"))
    except Exception as error:
        say(error=_told(error))
        return
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            evaluator.per_sample = asked["each"]
            found = evaluator(refs=asked["refs"], hyps=asked["hyps"])[asked["key"]]
            say(values=[_finite(value) for value in (found if asked["each"] else [found])])
        except Exception as error:
            say(error=_told(error))


def _without_gpu() -> None:
    """CheXbert goes to the processor where there is no GPU, as its evaluator means to; RadEval 2.2.1 asks for one."""
    with suppress(ImportError):  # of what is missing, RadEval itself says so
        if not importlib.import_module("torch").cuda.is_available():
            scorer = importlib.import_module("radeval.metrics.f1chexbert.f1chexbert").F1CheXbert
            scorer.__init__.__kwdefaults__["device"] = "cpu"


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


if __name__ == "__main__":
    serve(sys.argv[1])
