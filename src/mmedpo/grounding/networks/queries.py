"""Text queries of MedKLIP: descriptions of entities embedded once by a BERT, and stored."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mmedpo.errors import GroundingError
from mmedpo.grounding.networks.medklip import TEXT_WIDTH
from mmedpo.storage.tables import write_bytes

LONGEST = 64
"""Tokens of a description, as in training."""


class Queries(NamedTuple):
    """Entities and their embedded descriptions."""

    names: tuple[str, ...]
    embeddings: NDArray[np.float32]
    """[Q, 768]."""

    def place(self, name: str) -> int:
        """Where an entity stands.

        Raises:
            GroundingError: it is none of them; the message lists some.
        """
        if name not in self.names:
            raise GroundingError(f"no entity {name[:40]!r} among the queries; known: {', '.join(self.names[:80])}")
        return self.names.index(name)


def embed(descriptions: Path, encoder: Path, out: Path) -> Queries:
    """Embeds a JSON object {entity: description} with the BERT in a local folder, and writes the queries.

    The order of the entities is that of the file; MedKLIP's own has 75.

    Raises:
        GroundingError: unusable descriptions or encoder.
    """
    from transformers import AutoModel, AutoTokenizer

    if not descriptions.is_file():  # a pipe or device might never end
        raise GroundingError(f"descriptions {descriptions} are not a file; give a JSON object of entity: description")
    try:
        told = json.loads(descriptions.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GroundingError(f"descriptions {descriptions} must be a JSON object of entity: description") from error
    if not isinstance(told, dict) or not told or not all(isinstance(text, str) and text for text in told.values()):
        raise GroundingError(f"descriptions {descriptions} must be a JSON object of entity: description")
    if not encoder.is_dir():
        raise GroundingError(f"text encoder {encoder} is not a folder; give a downloaded Bio_ClinicalBERT")
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
        model = AutoModel.from_pretrained(encoder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise GroundingError(f"text encoder {encoder} cannot be loaded ({str(error)[:120]})") from error
    shape = {"padding": "max_length", "truncation": True, "max_length": LONGEST}
    tokens = tokenizer(list(told.values()), return_tensors="pt", **shape)
    with torch.inference_mode():
        states = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    queries = Queries(tuple(told), states[:, 0].float().numpy())
    save(queries, out)
    return queries


def save(queries: Queries, path: Path) -> None:
    """Writes `.npz` with `names` and `embeddings`."""
    buffer = io.BytesIO()
    np.savez(buffer, names=np.array(queries.names), embeddings=queries.embeddings)
    write_bytes(path, buffer.getvalue())


def load(path: Path) -> Queries:
    """Reads what `save` wrote.

    Raises:
        GroundingError: missing, or of another content.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            names, embeddings = content["names"], content["embeddings"].astype(np.float32)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GroundingError(f"queries {path} cannot be read; make them with `mmedpo ground queries`") from error
    if names.ndim != 1 or not len(names) or embeddings.shape != (len(names), TEXT_WIDTH):
        raise GroundingError(f"queries {path} have shape {list(embeddings.shape)}; allowed: [entities, {TEXT_WIDTH}]")
    if not np.isfinite(embeddings).all():
        raise GroundingError(f"queries {path} hold a number that is not finite; make them with `mmedpo ground queries`")
    return Queries(tuple(str(name) for name in names), embeddings)
