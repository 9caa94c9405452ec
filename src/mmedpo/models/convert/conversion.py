"""`mmedpo convert`: a checkpoint of the LLaVA code base becomes one that `transformers` reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from mmedpo.errors import ConfigError, ModelError, shown
from mmedpo.models.convert.card import card
from mmedpo.models.convert.layouts import recognise
from mmedpo.models.convert.settings import generation_config, image_processor, llava_config, pads, read_config
from mmedpo.models.convert.shards import TOWER, Writer, new_name, read_shard, runtime_name, shapes, shard_files
from mmedpo.models.convert.tower import Comparison, Tower, TowerChoice, choose_tower, clip_tensors
from mmedpo.models.convert.words import build_words
from mmedpo.progress import Advance
from mmedpo.storage.files import hash_path, move
from mmedpo.storage.tables import PARTIAL, partial_name

RECORD = "conversion.json"
"""What was converted from what: layout, tower, hashes."""
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
_GROWING = (EMBEDDING, HEAD)
"""Weights with a row for every token."""


class Converted(NamedTuple):
    """What a conversion did, for the user."""

    title: str
    """The model it was recognised as."""
    weights: int
    """Weights written."""
    notes: tuple[str, ...]
    """What was decided, one sentence each."""


def convert(
    src: Path,
    dst: Path,
    *,
    clip: Path | None = None,
    tower: TowerChoice = "authors",
    tokenizer: Path | None = None,
    advance: Advance | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Rewrites a published checkpoint; nothing appears at `dst` before everything is written and checked.

    Args:
        src: folder as downloaded: LLaVA-Med v1.5, HuatuoGPT-Vision-7B or LLaVA-Med++ without S2.
        dst: folder to be made.
        clip: folder of the CLIP model that the configuration names.
        tower: which vision tower to take.
        tokenizer: folder of the tokenizer, where `src` holds none that can be read.
        advance: told of weight files done.
        message: told what takes long.

    Raises:
        ModelError: the checkpoint is of another kind, incomplete or damaged, or prompts would have other ids.
        ConfigError: `dst` is there already, or has no room.
    """
    source = read_config(src)
    layout = recognise(source, str(src))
    files = shard_files(src)
    _check_place(src, dst, files)
    sizes = {name: size for file in files for name, size in shapes(file).items()}
    if EMBEDDING not in sizes:
        raise ModelError(f"{src} holds no weight {EMBEDDING!r}; is it complete? download it again")
    taken = choose_tower(layout, source, src, sizes, clip, tower)
    words = build_words(tokenizer or src, layout, sizes[EMBEDDING][0])
    with _staged(dst) as staging:
        idle = {HEAD} if source.get("tie_word_embeddings") else set()
        written, tower_note, dtype = _weights(files, staging, taken, words.rows, idle, advance)
        config = llava_config(layout, source, taken, words, dtype)
        _check_weights(config, written)
        processor = image_processor(layout, source, src, taken)
        for part in (config, words.tokenizer, processor, generation_config(src, words)):
            part.save_pretrained(staging)
        pictures = "padded to a square" if pads(layout, source) else "cropped at their centre"
        checked = f"{words.checked} sample prompts have the ids of the authors' own code"
        notes = (tower_note, words.how, f"images are {pictures}", checked)
        message("hashing source and result")
        record = _record(src, staging, layout.model_type, taken, notes, files)
        (staging / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        (staging / "README.md").write_text(card(layout, record), encoding="utf-8")
    return Converted(layout.title, len(written), notes)


@contextmanager
def _staged(dst: Path) -> Iterator[Path]:
    """A folder beside `dst` that takes its name when everything in it is written, and else is removed."""
    staging = partial_name(dst)
    _clear(dst)
    staging.mkdir(parents=True)
    try:
        yield staging
        if dst.is_dir():
            dst.rmdir()  # it was empty
        move(staging, dst)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear(dst: Path) -> None:
    """Removes what conversions to the same place left that were killed."""
    for left in dst.parent.glob(f".{dst.name}{PARTIAL}*"):
        number = left.name.rpartition("-")[2]
        if not number.isdecimal() or not psutil.pid_exists(int(number)) or int(number) == os.getpid():
            shutil.rmtree(left, ignore_errors=True)


def _check_place(src: Path, dst: Path, files: list[Path]) -> None:
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise ConfigError(f"{dst} is there already; name a new folder, or delete it")
    if dst.resolve().is_relative_to(src.resolve()):
        raise ConfigError(f"{dst} lies in the checkpoint it is made from; name a folder outside of {src}")
    home = next(folder for folder in dst.resolve().parents if folder.is_dir())
    needed, free = sum(file.stat().st_size for file in files), shutil.disk_usage(home).free
    if needed > free:
        raise ConfigError(f"{dst} needs {needed / 1e9:.1f} GB and {home} has {free / 1e9:.1f} GB left; make room")


def _weights(
    files: list[Path], staging: Path, taken: Tower, rows: int, idle: set[str], advance: Advance | None
) -> tuple[Mapping[str, tuple[int, ...]], str, str]:
    """Writes the weights; returns their shapes, a sentence on the tower, and their type."""
    writer = Writer(staging, len(files) + int(taken.source == "clip"))
    dtype = _dtype(files[0])
    clip = clip_tensors(taken.folder, dtype) if taken.has_weights and taken.folder is not None else {}
    comparison = Comparison(clip) if clip else None
    seen = 0
    for number, file in enumerate(files):
        # In a function of its own: when the next file is read, nothing of this one is left.
        seen += _rewrite(file, writer, taken, rows, idle, comparison)
        if advance:
            advance(number + 1, len(files))
    if taken.source == "clip":
        writer.write({f"vision_tower.{name}": value for name, value in clip.items()})
    writer.finish()
    note = f"vision tower: from {'the shards' if taken.source == 'shards' else taken.folder} ({taken.why})"
    if comparison is not None and seen:
        apart, where = comparison.result()
        note += f"; largest difference between the shards' and the CLIP folder's weights: {apart:.3g} (at {where})"
    return writer.shapes, note, str(dtype).removeprefix("torch.")


def _rewrite(file: Path, writer: Writer, taken: Tower, rows: int, idle: set[str], comparison: Comparison | None) -> int:
    """Writes the weights of one file under their new names; returns how many of them are a tower's."""
    kept: dict[str, Tensor] = {}
    seen = 0
    for name, value in read_shard(file).items():
        new = new_name(name)
        if new is None or name in idle:
            continue
        if name.startswith(TOWER):
            seen += 1
            if comparison is not None:
                comparison.see(name.removeprefix(TOWER), value)
            if taken.source == "clip":
                continue
        kept[new] = _grown(value, rows) if name in _GROWING else value
    writer.write(kept)
    return seen


def _dtype(file: Path) -> torch.dtype:
    """Type of the weights."""
    return next((value.dtype for value in read_shard(file).values() if value.is_floating_point()), torch.float32)


def _grown(value: Tensor, rows: int) -> Tensor:
    """A weight with a row for every token, with zeros for those it lacks."""
    lacking = rows - len(value)
    return torch.cat([value, value.new_zeros(lacking, *value.shape[1:])]) if lacking > 0 else value


def _check_weights(config: Any, written: Mapping[str, tuple[int, ...]]) -> None:
    """Compares what was written with what the model is made of, name by name and shape by shape."""
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        model: Any = LlavaForConditionalGeneration(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {runtime_name(name): size for name, size in written.items()}
    if config.tie_word_embeddings:
        expected.pop(HEAD, None)
    lacking, idle = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if lacking or idle:
        what = f"{len(lacking)} weights are missing" if lacking else f"{len(idle)} weights have no place"
        raise ModelError(f"{what}, first {shown((lacking or idle)[0])}; download the checkpoint again")
    for name, size in expected.items():
        if found[name] != size:
            raise ModelError(
                f"weight {shown(name)} has shape {found[name]}, its configuration says {size}; download config.json "
                "and weights of the same checkpoint"
            )


def _record(
    src: Path, staging: Path, model_type: str, taken: Tower, notes: tuple[str, ...], files: list[Path]
) -> dict[str, Any]:
    """What a converted folder tells of itself."""
    beside = [file for file in sorted(src.iterdir()) if file.suffix in (".json", ".model")]
    return {
        "layout": model_type,
        "source": src.name,
        "tower": taken.source,
        "notes": list(notes),
        "mmedpo": version("mmedpo"),
        "source_sha256": {file.name: hash_path(file) for file in [*files, *beside]},
        "sha256": {file.name: hash_path(file) for file in sorted(staging.iterdir())},
    }
