"""`mmedpo import` and `mmedpo export`: preference files in and out of the canonical table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mmedpo.pipeline.inputs import READ

if TYPE_CHECKING:
    from mmedpo.imaging.index import ImageIndex
    from mmedpo.preferences.pairs import ImageIndexer
    from mmedpo.preferences.reading import RowsReading
    from mmedpo.preferences.writing import ExportReport
    from mmedpo.progress import Reporter
    from mmedpo.records import Drop, Example, PreferenceRow

FileArgument = Annotated[Path, typer.Argument(help="Preference file of any known format.", **READ)]
FormatOption = Annotated[
    str, typer.Option("--format", help="mmedpo-json, benchmark-json, trl, ms-swift, llama-factory, rlhf-v, mmedpo.")
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder the images are relative to; default: the file's own.", **READ)
]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Dataset of the rows, to join them by image.")]
RootOption = Annotated[Path | None, typer.Option("--root", help="Folder of that dataset as downloaded.", **READ)]
SplitOption = Annotated[str, typer.Option("--split", help="Split scheme of that dataset, e.g. official.")]


def import_file(
    file: FileArgument,
    out: Annotated[Path, typer.Argument(help="The table to write (.parquet); its card (.md) is written beside it.")],
    images: ImagesOption = None,
    format_name: FormatOption = "",
    dataset: DatasetOption = "",
    root: RootOption = None,
    split: SplitOption = "",
    licence: Annotated[str, typer.Option(help="Licence of the preference file, for the card.")] = "not stated",
) -> None:
    """Read a preference file of any known format into the canonical table.

    Images that lie inside the file are written to images/ beside OUT. Faulty rows are kept: `mmedpo lint` lists them.

    Example: mmedpo import pairs.json prefs.parquet --images VQA_RAD/images --dataset vqa-rad --root VQA_RAD
    """
    from mmedpo.errors import ConfigError
    from mmedpo.imaging.index import ImageIndex
    from mmedpo.preferences.card import card_path
    from mmedpo.preferences.pairs import join_rows, row_images
    from mmedpo.preferences.reading import read_rows, reasons, require_rows
    from mmedpo.preferences.writing import export_rows
    from mmedpo.progress import LineReporter
    from mmedpo.storage.paths import check_output, written

    if out.suffix.lower() != ".parquet":
        raise ConfigError(f"{out.name} must end in .parquet: the canonical table is Parquet")
    check_output(out, [file])
    check_output(card_path(out), [file])
    reporter = LineReporter()
    folder = images or file.parent
    with written(out), TemporaryDirectory(prefix="mmedpo-import-") as scratch:
        reading = read_rows(file, format_name, folder, extract=Path(scratch), progress=reporter.track("reading rows"))
        require_rows(file, reading)
        examples, licences = read_dataset(dataset, root, split, reporter)
        index = ImageIndex(*row_images(reading.rows, folder, reading.embedded, _indexer(reporter)))
        rows, complete, joined = join_rows(reading.rows, index.images, examples)
        report = export_rows(rows, out, "mmedpo", folder, embedded=reading.embedded)
        _write_card(file, out, rows, [*reading.drops, *report.left_out], reading, index, licence, licences)
    left_out = [*reading.drops, *report.left_out]
    print(f"{report.written} rows imported from {file.name} ({reading.format}), {len(left_out)} left out")
    _print_lines("left out", reasons(left_out))
    print(f"{complete} rows with all their images, {len(index.images)} images read, {len(index.failures)} not")
    if examples:
        print(f"{joined} rows joined to a question of {dataset}")
    _print_lines("note", reading.notes)
    _print_first(index.failures)
    _print_images(report)
    print(f"wrote {out} and {card_path(out)}; next: mmedpo lint {out} --images {report.image_root}")


def export_file(
    file: FileArgument,
    out: Annotated[Path, typer.Argument(help="File to write; its suffix must fit the format.")],
    to: Annotated[str, typer.Option("--to", help="Target format, as in --format of `import`.")],
    images: ImagesOption = None,
    format_name: FormatOption = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Write the target's own columns only; what is lost is listed.")
    ] = False,
) -> None:
    """Write a preference file in another format, and list what that format cannot hold.

    Example: mmedpo export prefs.parquet prefs-trl.parquet --to trl --images VQA_RAD/images
    """
    from mmedpo.preferences.reading import read_rows, reasons, require_rows
    from mmedpo.preferences.writing import export_rows
    from mmedpo.progress import LineReporter
    from mmedpo.storage.paths import check_output, written

    check_output(out, [file])
    check_output(out.with_name("dataset_info.json"), [file])
    reporter = LineReporter()
    folder = images or file.parent
    with written(out), TemporaryDirectory(prefix="mmedpo-export-") as scratch:
        reading = read_rows(file, format_name, folder, extract=Path(scratch), progress=reporter.track("reading rows"))
        require_rows(file, reading)
        report = export_rows(
            reading.rows,
            out,
            to,
            folder,
            embedded=reading.embedded,
            carry=not plain,
            progress=reporter.track("writing rows"),
        )
    print(f"{report.written} rows written to {out} as {to}, {len(report.left_out) + len(reading.drops)} left out")
    _print_lines("left out", reasons([*reading.drops, *report.left_out]))
    for loss in report.losses:
        print(f"not read by {to}: {loss}")
    _print_images(report)
    if to in ("ms-swift", "llama-factory"):
        print(f"image paths are relative to {report.image_root}: start {to} there, or give it as its media folder")


def read_dataset(name: str, root: Path | None, split: str, reporter: Reporter) -> tuple[list[Example], dict[str, str]]:
    """Examples and licence of the dataset that --dataset, --root and --split name; nothing without --dataset.

    Raises:
        ConfigError: one of the three without the others it needs.
    """
    from mmedpo.config import DataSettings
    from mmedpo.data.dataset import DatasetSettings, make_dataset
    from mmedpo.errors import ConfigError

    if not name:
        if root is not None or split:
            raise ConfigError("--root and --split have no effect without --dataset; name the dataset")
        return [], {}
    if root is None:
        raise ConfigError(f"--dataset {name} needs --root: its folder as downloaded")
    dataset = make_dataset(DataSettings(dataset=name))
    reading = dataset.read(root, DatasetSettings(split=split), reporter.track(f"reading {name}"))
    for note in reading.notes:
        reporter.message(note)
    return reading.examples, {name: getattr(dataset, "licence", "not stated")}


def _indexer(reporter: Reporter) -> ImageIndexer:
    from mmedpo.imaging.index import index_images

    def index(root: Path, names: Sequence[str]) -> ImageIndex:
        return index_images(root, names, progress=reporter.track("reading images"))

    return index


def _print_images(report: ExportReport) -> None:
    if report.images:
        print(f"{report.images} images from inside the file written to {report.image_root / 'images'}")


def _write_card(
    file: Path,
    out: Path,
    rows: Sequence[PreferenceRow],
    left_out: Sequence[Drop],
    reading: RowsReading,
    index: ImageIndex,
    licence: str,
    licences: Mapping[str, str],
) -> None:
    from mmedpo.preferences.card import card_markdown, card_path
    from mmedpo.storage.files import hash_path
    from mmedpo.storage.tables import write_text

    notes = list(reading.notes)
    if index.failures:
        notes.append(f"{len(index.failures)} images could not be read")
    text = card_markdown(
        rows,
        title=out.stem,
        files={file.name: hash_path(file), out.name: hash_path(out)},
        licences={f"{reading.format} ({file.name})": licence, **licences},
        command=f"mmedpo import {file.name} {out.name}",
        left_out=Counter(drop.reason for drop in left_out),
        notes=notes,
    )
    write_text(card_path(out), text)


def _print_lines(what: str, lines: Sequence[str]) -> None:
    for line in lines:
        print(f"{what}: {line}")


def _print_first(failures: Mapping[str, str], most: int = 3) -> None:
    for line in list(failures.values())[:most]:
        print(f"image: {line}")
    if len(failures) > most:
        print(f"image: {len(failures) - most} more; `mmedpo lint` lists the rows")
