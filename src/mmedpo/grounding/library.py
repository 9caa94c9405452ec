"""Reading what the `ground` stage made, and opening the configured tool: shared by the stages and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmedpo.config import AssumeSettings, GroundSettings, Settings, tool_settings
from mmedpo.errors import RunFolderError, brief
from mmedpo.grounding.grounder import UNKNOWN, About, Grounder, Region
from mmedpo.imaging import pictures
from mmedpo.records import Box, Example, Grounding
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import lookup
from mmedpo.run import Run
from mmedpo.storage.files import hash_input

UNTOLD_VIEW = "untold"
"""View of a further image of a question: no tool for one view takes it."""


def open_tools(settings: GroundSettings) -> list[Grounder]:
    """The configured visual tools, in order of preference, each with its own settings.

    Raises:
        ConfigError: an unknown tool, or a setting that it does not know or cannot take.
        GroundingError: a tool whose weights or files are missing or unusable.
    """
    return [_open(name, own) for name, own in tool_settings(settings).items()]


def fingerprint(settings: GroundSettings) -> dict[str, Any]:
    """What decides the maps: the settings, and the content of every file or folder they name.

    Raises:
        ConfigError: as `open_tools`, or a named file that does not exist.
    """
    files: dict[str, str] = {}
    for name, own in tool_settings(settings).items():
        for field, value in dict(own or {}).items():
            if isinstance(value, Path) or str(value).endswith(".json"):
                files[f"{name}.{field}"] = hash_input(Path(value))
    return {"ground": settings.model_dump(mode="json", exclude={"minimum_confidence"}), "files": files}


class Everywhere:
    """A tool that does not say what it is for, and is asked about pixels, boxes and mask alone."""

    def __init__(self, tool: Any) -> None:
        self._tool = tool
        self.name: str = tool.name
        if hasattr(tool, "organs"):
            self.organs = tool.organs

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To every image."""
        return ""

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`."""
        region: Region = self._tool.ground(image, example_boxes, mask)
        return region


def about(example: Example, assume: AssumeSettings) -> About:
    """What the data say of an example's image, and what is assumed where they say nothing."""
    tags = dict(reversed([tag.partition(":")[::2] for tag in example.tags if ":" in tag]))
    told = {name: (tags.get(name) or getattr(assume, name)).casefold() for name in ("modality", "organ", "view")}
    return About(path=example.image.path, annotated=example.annotated, **told)


def apart(examples: Iterable[Example]) -> dict[str, Example]:
    """Every image by its hash, as a question on it alone, with what the data say of it.

    Boxes, mask and `view:` tag of a question speak of its first image. What its others show is not told, and a
    view that is assumed of all images is assumed of first ones.
    """
    found: dict[str, Example] = {}
    listed = list(examples)
    for example in listed:
        found.setdefault(example.image.sha256, example.model_copy(update={"other_images": ()}))
    for example in listed:
        tags = (*(tag for tag in example.tags if not tag.startswith("view:")), f"view:{UNTOLD_VIEW}")
        update = {"other_images": (), "boxes": (), "annotated": False, "mask_path": None, "tags": tags}
        update |= {"organs": (), "organ_mask_path": None}
        for image in example.other_images:
            found.setdefault(image.sha256, example.model_copy(update={**update, "image": image}))
    return found


def read_mask(image_root: Path, relative: str | None) -> np.ndarray | None:
    """An annotated mask (`Example.mask_path`, `organ_mask_path`), bool [H, W]; None when there is no mask file."""
    return None if relative is None else pictures.read_mask(image_root, relative)


def heatmap_of(run: Run, grounding: Grounding) -> np.ndarray:
    """Reads the stored heatmap of a grounding that has one, float32 [H, W].

    Raises:
        RunFolderError: the file is damaged, or is none.
    """
    assert grounding.heatmap_path is not None
    return map_of(run, grounding.heatmap_path)


def map_of(run: Run, relative: str) -> np.ndarray:
    """Reads a stored map of a lesion or an organ, float32 [H, W].

    Raises:
        RunFolderError: the file is damaged, or is none.
    """
    path = run.file(relative)
    try:
        heatmap = np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header raises whatever the parsers below raise
        raise RunFolderError(f"{path} is no heatmap ({brief(str(error), 80)}); run `ground` again") from error
    if not isinstance(heatmap, np.ndarray) or heatmap.ndim != 2 or heatmap.dtype != np.float32:
        raise RunFolderError(f"{path} is no heatmap (float32 with two axes); run `ground` again")
    return heatmap


def by_image(groundings: Sequence[Grounding]) -> dict[str, Grounding]:
    """Groundings keyed by the image they speak of."""
    return {grounding.image_sha256: grounding for grounding in groundings}


def _open(name: str, own: Settings | None) -> Grounder:
    kind = lookup("grounder", name)
    tool = kind() if own is None else kind.from_settings(own)
    return tool if hasattr(tool, "applies") else Everywhere(tool)
