"""Every visual tool on ten pictures, drawn, and its speed on one core.

    python bench/tool_sheet.py sheet OUT.png [FOLDER] [ROW ...]   image, heat, noised view of each tool; a column a film
    python bench/tool_sheet.py speed [ROW ...]                    a table: 1024 x 1024 films per second and core

FOLDER holds films and an `annotations.json`; without it the pictures are generated. Networks have random weights of
their true shape (one seed): what they mark shows that a map is whole and noise goes where it is, nothing about lesions.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from mmedpo.data.phantom import BALANCED_PRIORS, generate_case
from mmedpo.grounding.annotations import Marked, read_annotations
from mmedpo.grounding.grounder import About, Grounder, resize_map
from mmedpo.grounding.marking import open_marked, scaled_boxes
from mmedpo.grounding.overlay import overlay
from mmedpo.grounding.regions import components
from mmedpo.grounding.runlength import Runs, read_runs
from mmedpo.grounding.tools.annotation import AnnotationGrounder
from mmedpo.grounding.tools.biovil import BiovilGrounder
from mmedpo.grounding.tools.boxes import BoxesGrounder
from mmedpo.grounding.tools.chest_probe import ChestProbe, ChestProbeSettings
from mmedpo.grounding.tools.clip_patch import ClipPatchGrounder, ClipPatchSettings
from mmedpo.grounding.tools.medklip import MedKLIPGrounder
from mmedpo.grounding.tools.patch_probe import shipped
from mmedpo.grounding.tools.seg import SegGrounder
from mmedpo.grounding.tools.xrv import XrvGrounder
from mmedpo.imaging.noise import noise_image
from mmedpo.records import Box, NoiseSpec
from mmedpo.records.shapes import Mask, Pixels

if TYPE_CHECKING:
    from mmedpo.grounding.networks.pspnet import PSPNet
    from mmedpo.grounding.networks.segmentation import NamedClass, PromptedClass

FIRST_SEED, CASES, STEP = 950_000_000, 10, 700
"""Far from the seeds of any dataset the package writes."""
SHOWN, MARGIN, FILM = 128, 96, 1024
COLOURS = 48
SHEET_SAM = 256
"""Drawn with the layers of SAM ViT-B on smaller squares: at 1024 pixels ten pictures take minutes."""
LEAST_SECONDS = 4.0


class Case(NamedTuple):
    """One picture with what is marked in it."""

    name: str
    image: Pixels
    boxes: tuple[Box, ...]
    mask: Mask | None = None
    """The lesion, where more than boxes is known."""


def phantoms() -> Iterator[Case]:
    """Generated radiographs with a lesion."""
    for seed in range(FIRST_SEED, FIRST_SEED + 1000):
        case = generate_case(seed, BALANCED_PRIORS)
        if case.mask.any() and case.modality == "x-ray":
            yield Case(f"{seed}.png", case.image, components(case.mask, "lesion"), case.mask)


def films(folder: Path) -> Iterator[Case]:
    """Films of a folder with boxes."""
    for row in read_annotations(folder / "annotations.json"):
        if row.boxes:
            image = np.asarray(Image.fromarray(open_marked(folder, row)).resize((FILM // 2, FILM // 2)))
            yield Case(row.file, image, scaled_boxes(row, FILM // 2, FILM // 2))


def tools_of(cases: list[Case], real: bool, sam_side: int) -> dict[str, Callable[[], Grounder]]:
    """Every tool and every kind of it by its row, SAM for squares of that side.

    `xrv` does without lungs where it finds none, on generated pictures; random weights of the anatomy network call
    about half of every picture lungs.
    """
    from mmedpo.grounding.networks.biovil import JOINT, ImageSide
    from mmedpo.grounding.networks.densenet import FINDINGS, DenseNet
    from mmedpo.grounding.networks.medklip import MedKLIP
    from mmedpo.grounding.networks.queries import Queries

    torch.manual_seed(0)
    vectors = np.random.default_rng(0).standard_normal((75, 768)).astype(np.float32)
    densenet = DenseNet().eval()
    densenet.classifier.weight.data.abs_()  # so that every activation has a place
    marked = [Marked(case.name, case.boxes) for case in cases]
    drawn = [Marked(case.name, case.boxes, runs=_runs(case), outlined=case.boxes) for case in cases]
    direction = torch.nn.functional.normalize(torch.randn(JOINT), dim=0)
    return {
        "annotation": AnnotationGrounder,
        "boxes": lambda: BoxesGrounder(marked, Path()),
        "boxes, run-length": lambda: BoxesGrounder(drawn, Path()),
        "patch-probe": lambda: shipped("phantom"),
        "chest-probe": lambda: ChestProbe.from_settings(ChestProbeSettings()),
        "xrv": lambda: XrvGrounder(densenet, FINDINGS, "Lung Opacity", None, lungs=real),
        "xrv, anatomy": lambda: XrvGrounder(densenet, FINDINGS, "Lung Opacity", None, lungs=True, anatomy=_anatomy()),
        "medklip": lambda: MedKLIPGrounder(MedKLIP().eval(), Queries(tuple(map(str, range(75))), vectors), "74"),
        "biovil": lambda: BiovilGrounder(ImageSide().eval(), direction, "disease"),
        "clip-patch": lambda: ClipPatchGrounder(*_clip()),
        "seg, SAM": lambda: SegGrounder(_sam(sam_side)),
        "seg, Segformer": lambda: SegGrounder(_segformer()),
        "seg, Mask2Former": lambda: SegGrounder(_mask2former()),
        "seg, CLIPSeg": lambda: SegGrounder(_clipseg()),
    }


def _runs(case: Case) -> tuple[Runs, ...]:
    """The lesion down its columns, as COCO counts it; an ellipse in each box where only boxes are known."""
    height, width = case.image.shape[:2]
    mask = case.mask
    if mask is None:
        canvas = Image.new("1", (width, height))
        for box in case.boxes:
            ImageDraw.Draw(canvas).ellipse((box.x0, box.y0, box.x1, box.y1), fill=1)
        mask = np.asarray(canvas)
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(np.concatenate([[0], turns, [height * width]]))
    told = {"size": [height, width], "counts": [int(length) for length in lengths]}
    return (read_runs(told, case.name),)


def _clip() -> tuple[object, ClipPatchSettings]:
    from transformers import CLIPConfig, CLIPModel

    from mmedpo.grounding.networks.clip import HALF, ClipPatches

    model = CLIPModel(CLIPConfig(vision_config={"patch_size": 16})).eval()
    return ClipPatches(model, torch.randn(1, 512), 224, HALF, HALF), ClipPatchSettings(folder=Path())


def _sam(side: int) -> object:
    from transformers import SamConfig, SamModel

    from mmedpo.grounding.networks.sam import BoxRefiner

    return BoxRefiner(
        SamModel(
            SamConfig(
                vision_config={"image_size": side},
                prompt_encoder_config={"image_size": side, "image_embedding_size": side // 16},
            )
        ).eval()
    )


def _anatomy() -> PSPNet:
    from mmedpo.grounding.networks.pspnet import PSPNet

    return PSPNet().eval()


def _segformer() -> NamedClass:
    """Segformer-B0."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    from mmedpo.grounding.networks.segmentation import NamedClass

    return NamedClass(SegformerForSemanticSegmentation(SegformerConfig()).eval(), SegformerImageProcessorPil(), 1)


def _mask2former() -> NamedClass:
    """Mask2Former with Swin-T, two classes."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

    from mmedpo.grounding.networks.segmentation import NamedClass

    swin = SwinConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    model = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin, num_labels=2))
    return NamedClass(model.eval(), Mask2FormerImageProcessorPil(size={"height": 384, "width": 384}), 1)


def _clipseg() -> PromptedClass:
    """CLIPSeg with ViT-B/16, 352 pixels, and a text of five tokens."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    from mmedpo.grounding.networks.segmentation import PromptedClass

    vision = {"patch_size": 16, "image_size": 352}
    model = CLIPSegForImageSegmentation(CLIPSegConfig(vision_config=vision)).eval()
    tokens = {"input_ids": torch.tensor([[49406, 320, 1125, 539, 49407]])}
    return PromptedClass(model, ViTImageProcessorPil(size={"height": 352, "width": 352}), tokens)


def sheet(out: Path, folder: Path | None, names: Sequence[str] = ()) -> None:
    """Draws the first CASES pictures, of every tool or of the rows named."""
    found = phantoms() if folder is None else films(folder)
    cases = [case for case, _ in zip(found, range(CASES), strict=False)]
    rows = [("image", [_small(overlay(case.image, None, case.boxes)) for case in cases])]
    for name, made in tools_of(cases, folder is not None, SHEET_SAM).items():
        if not _wanted(name, names):
            continue
        tool = made()
        drawn = [_drawn(case, tool, number) for number, case in enumerate(cases)]
        rows += [(name, [one[0] for one in drawn]), ("noised", [one[1] for one in drawn])]
    canvas = Image.new("RGB", (MARGIN + CASES * SHOWN, len(rows) * SHOWN), "white")
    pen = ImageDraw.Draw(canvas)
    for row, (name, pictures) in enumerate(rows):
        pen.text((6, row * SHOWN + SHOWN // 2 - 6), name, fill="black")
        for column, picture in enumerate(pictures):
            canvas.paste(picture, (MARGIN + column * SHOWN, row * SHOWN))
    small = canvas.resize((canvas.width * 3 // 4, canvas.height * 3 // 4), Image.Resampling.LANCZOS)
    small.quantize(COLOURS).save(out, optimize=True)


def _wanted(row: str, names: Sequence[str]) -> bool:
    """All rows where none is named; `seg` names all of its kinds."""
    return not names or row in names or row.partition(",")[0] in names


def _drawn(case: Case, tool: Grounder, seed: int) -> tuple[Image.Image, Image.Image]:
    """Heat over the image, and the noised view; the reason in both places where the tool marks nothing."""
    region = tool.ground(case.image, case.boxes, None, About("xray", "chest", "", case.name, True))
    if region.heatmap is None:
        blank = Image.new("RGB", (SHOWN, SHOWN), "black")
        ImageDraw.Draw(blank).text((4, 50), region.reason.replace("-", "\n", 3), fill="white")
        return blank, blank
    noised = noise_image(case.image, region.heatmap, NoiseSpec(step=STEP, seed=seed))
    return _small(overlay(case.image, region.heatmap)), _small(overlay(noised, None))


def _small(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)


def _on_a_copy(tool: Grounder, film: Pixels, boxes: tuple[Box, ...], about: About) -> object:
    return tool.ground(film.copy(), boxes, None, about)


def speed(names: Sequence[str]) -> None:
    """Films per second of one thread, as Markdown, fastest first."""
    torch.set_num_threads(1)
    case = next(phantoms())
    scale = FILM / case.image.shape[1]
    grey = case.image if case.image.ndim == 2 else case.image[..., 0]
    large = np.clip(np.rint(resize_map(grey.astype(np.float32), FILM, FILM)), 0, 255).astype(np.uint8)
    box = case.boxes[0]
    boxes = (Box(x0=box.x0 * scale, y0=box.y0 * scale, x1=box.x1 * scale, y1=box.y1 * scale, label=box.label),)
    film = Case(case.name, large, boxes)
    about = About("xray", "chest", "pa", film.name, True)
    found = []
    for name, made in tools_of([film], False, FILM).items():
        if _wanted(name, names):
            # A copy each time: a tool may keep what it found on the picture that it saw last.
            found.append((_rate(partial(_on_a_copy, made(), large, boxes, about)), name))
    print("| tool | films per second and core |\n|---|---|")
    for rate, name in sorted(found, reverse=True):
        tool, _, kind = name.partition(", ")
        print(f"| `{tool}`{f' ({kind})' if kind else ''} | {rate:.2g} |", flush=True)


def _rate(work: Callable[[], object]) -> float:
    """Per second of this process's own time, which other processes on the machine do not lengthen much."""
    work()
    started, count = time.process_time(), 0
    while count == 0 or time.process_time() - started < LEAST_SECONDS:
        work()
        count += 1
    return count / (time.process_time() - started)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sheet"] and len(sys.argv) > 2:
        given = sys.argv[3:]
        films_in = Path(given.pop(0)) if given and Path(given[0]).is_dir() else None
        sheet(Path(sys.argv[2]), films_in, given)
    elif sys.argv[1:2] == ["speed"]:
        speed(sys.argv[2:])
    else:
        sys.exit(__doc__)
