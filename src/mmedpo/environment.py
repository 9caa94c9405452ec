"""What the libraries under the program read from the environment, where the user has not said otherwise."""

from __future__ import annotations

import os

DEFAULTS = {
    # Nothing is ever downloaded: models and data come from local folders.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # numpy's threads wait by spinning, on the cores that torch's threads want: small models then take twice the time.
    "OPENBLAS_NUM_THREADS": "1",
    # Pieces of many sizes leave gaps in the C library's heap; in huge pages a training step peaks a quarter lower.
    "THP_MEM_ALLOC_ENABLE": "1",
    # The colours of usage errors would be spelled out, for a message may quote what is no colour.
    "_TYPER_FORCE_DISABLE_TERMINAL": "1",
    # Our own progress lines are enough.
    "TQDM_DISABLE": "1",
}


def set_defaults() -> None:
    """Before numpy and torch are imported, which read theirs once."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
