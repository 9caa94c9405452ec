"""A checkpoint's folder, looked at before anything is loaded: is it one, is it whole, can it be used? No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmedpo.errors import brief, shown
from mmedpo.models.checkpoints import TINY, checkpoint_path
from mmedpo.models.convert.layouts import LAYOUTS
from mmedpo.models.refusals import checkpoint_refusal
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.registry import lookup, names

_POINTER = b"version https://git-lfs"
_AGAIN = "download it again"


def examine_folder(name: str, diagnosis: Diagnosis) -> Path | None:
    """Looks at the files; returns the folder where the model can be loaded, else None with errors noted."""
    folder = checkpoint_path(TINY) if name == TINY else Path(name).expanduser()
    config = _config(folder, diagnosis)
    if config is None:
        return None
    kind = str(config.get("model_type"))
    diagnosis.fact("type", kind)
    if kind in LAYOUTS:
        diagnosis.error(f"{name} {checkpoint_refusal(config, names('family')).replace('FOLDER', str(folder))}")
        return None
    refusal = checkpoint_refusal(config, names("family"))
    if refusal:
        diagnosis.error(f"{name} {refusal}")
        return None
    _weights(folder, diagnosis)
    _processors(folder, lookup("family", kind).templated, diagnosis)
    return None if diagnosis.worst == "error" else folder


def _config(folder: Path, diagnosis: Diagnosis) -> Mapping[str, Any] | None:
    if not folder.is_dir():
        diagnosis.error(f"{shown(str(folder))} is no folder here; give {TINY!r} or a downloaded checkpoint's folder")
        return None
    file = folder / "config.json"
    if not file.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        fix = "it is an adapter: give the model it belongs to" if adapter else f"it is no checkpoint: {_AGAIN}"
        diagnosis.error(f"{folder} holds no config.json; {fix}")
        return None
    config = _json(file, diagnosis)
    if config is not None and not isinstance(config.get("model_type"), str):
        diagnosis.error(f"{file} names no model_type; {_AGAIN}")
        return None
    return config


def _json(file: Path, diagnosis: Diagnosis) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        diagnosis.error(f"{file} is unreadable ({brief(str(error), 80)}); {_AGAIN}")
        return None
    if not isinstance(content, dict):
        diagnosis.error(f"{file} holds no JSON object; {_AGAIN}")
        return None
    return content


def _weights(folder: Path, diagnosis: Diagnosis) -> None:
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        content = _json(index, diagnosis) or {}
        wanted = sorted({str(value) for value in dict(content.get("weight_map") or {}).values()})
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            diagnosis.error(
                f"{len(missing)} of {len(wanted)} weight files are missing, first {missing[0]}; download them"
            )
    elif not files:
        pickled = list(folder.glob("*.bin")) or list(folder.glob("*.pth"))
        what = "only pickled weights, which are never loaded" if pickled else "no weights"
        fix = "take the safetensors version of the checkpoint" if pickled else "download *.safetensors"
        diagnosis.error(f"{folder} holds {what}; {fix}")
    for file in files:
        problem = _damage(file)
        if problem:
            diagnosis.error(f"{file} {problem}; {_AGAIN}")


def _damage(file: Path) -> str:
    """What is wrong with a safetensors file, by its head and its length; empty where nothing is."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        head = handle.read(8)
        if (head + handle.read(len(_POINTER) - 8)).startswith(_POINTER):
            return "is a Git LFS pointer, not the weights"
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > size - 8:
            return f"is cut off or no safetensors file ({size} bytes)"
        handle.seek(8)
        try:
            entries = json.loads(handle.read(length))
            end = max(
                (int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__"), default=0
            )
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return "has a damaged head"
    return f"is cut off: {size} bytes instead of {8 + length + end}" if size != 8 + length + end else ""


def _processors(folder: Path, templated: bool, diagnosis: Diagnosis) -> None:
    there = {file.name for file in folder.iterdir()}
    if "tokenizer.json" not in there:
        beside = "; make it from tokenizer.model with `transformers`, or" if "tokenizer.model" in there else ";"
        diagnosis.error(f"tokenizer.json is missing{beside} copy it from the published checkpoint")
    if "tokenizer_config.json" not in there:
        diagnosis.error("tokenizer_config.json is missing; copy it from the published checkpoint")
    if not there & {"preprocessor_config.json", "processor_config.json"}:
        diagnosis.error("preprocessor_config.json is missing; copy it from the published checkpoint")
    if templated and not there & {"chat_template.jinja", "chat_template.json"}:
        file = folder / "tokenizer_config.json"
        content = _json(file, diagnosis) if file.is_file() else {}
        if content is not None and not content.get("chat_template"):
            diagnosis.error(
                "there is no chat template; copy chat_template.jinja or .json from the published checkpoint"
            )
