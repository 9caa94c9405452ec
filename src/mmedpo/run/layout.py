"""Every file and folder of a run, named once. What a stage reads and writes is declared in these names."""

from __future__ import annotations

MANIFEST = "manifest.json"
"""Versions, and which stages are done under which fingerprint."""
RESOLVED = "config.resolved.yaml"
"""Every setting, defaults included."""
LOCK = ".lock"
HOLDER = ".holder"
"""Beside the lock: who holds it, and for which launch."""
WORK = ".work"
"""`<stage>/`: unfinished work; `<stage>.earlier/`: what a stage wrote before, while it works anew."""
DROPS = "drops"
"""`<stage>.parquet`: what each stage left out, and why."""
JOBS = "slurm"
"""Job scripts, their logs, and what became of each job; no stage's output."""
CALLS = "calls.sqlite"
"""Every answer of a language model and its cost; no stage's output, so that no rerun sets it aside."""

DATA = "data"
"""Images of a generated dataset, or those of a table that held them; not there where all lie in data.root."""
EXAMPLES = "examples.parquet"
DATA_NOTES = "data.json"
"""Notes, questions per split, data use."""

FINETUNED = "finetuned"
"""Checkpoint after supervised fine-tuning, where a recipe asks for one."""

GROUNDINGS = "groundings.parquet"
HEATMAPS = "groundings"
"""`<image>.npy`: float32 [H, W], 0..1."""

CANDIDATES = "candidates.parquet"
VERDICTS = "verdicts.parquet"
IMAGES = "images"
"""Noised views (PNG)."""
CURATED = "curated.parquet"
"""Pairs before scoring."""

DEBATES = "debates.parquet"
WEIGHTS = "weights.parquet"
PAIRS = "pairs.parquet"
"""Pairs with score and weight: what is trained on."""

REFERENCE = "reference"
TRAINING = "train"
LOG = f"{TRAINING}/log.json"
FACTORS = f"{TRAINING}/factors.parquet"
"""Factors of the weights that training measured, where a recipe asks for some."""
BLIND = "blind.parquet"
"""What the model made of the text pairs without their images, before it was tuned."""

SCORES = "scores.parquet"
"""Every answer of every model under every protocol, scored once."""
JUDGED = "judged.parquet"
"""What language models said of the answers, where a recipe asks some."""
RADEVAL = "radeval.parquet"
"""RadEval's values of reports, where a recipe asks for some."""
PROBES = "probes"
"""`<probe>/<model>.parquet`: what probes measured."""
EVALUATION = "evaluation.json"
REPORT = "report.html"


def drops_of(stage: str) -> str:
    """Table of what a stage left out."""
    return f"{DROPS}/{stage}.parquet"


def predictions_of(model: str) -> str:
    """Table of the answers of one model of the run."""
    return f"predictions/{model}.parquet"


def measured_by(probe: str, model: str) -> str:
    """Table of what a probe measured of one model of the run."""
    return f"{PROBES}/{probe}/{model}.parquet"
