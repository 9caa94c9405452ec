"""A run folder is data, whoever made it: opening one changes nothing outside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from mmedpo.config import RunSettings
from mmedpo.errors import ImageError, RunFolderError
from mmedpo.imaging.pictures import views_of
from mmedpo.pipeline.status import stage_lines
from mmedpo.pipeline.submitting import SUBMITTED
from mmedpo.records import ImageRef, PreferencePair
from mmedpo.run import Run, Stage, open_run, read_run
from mmedpo.run.layout import JOBS, MANIFEST
from mmedpo.storage.tables import write_text


def write_one(run: Run) -> None:
    write_text(run.file("out.txt"), "mine")


def stage(setting: int = 0) -> Stage:
    return Stage("s", write_one, {"setting": setting}, writes=("out.txt",))


@pytest.fixture
def received(tmp_path: Path) -> Path:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file.txt").write_text("precious")
    with open_run(tmp_path / "runs" / "r", RunSettings()) as run:
        run.execute(stage())
    return tmp_path / "runs" / "r"


NAMES = [
    "../../victim/file.txt",
    "/etc/hostname",
    "a/../../../victim/file.txt",
    "..",
    ".",
    "",
    "a//b",
    "a\\..\\b",
    "x\0y",
    ".lock",
    ".work/s",
    MANIFEST,
    "config.resolved.yaml",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["outputs", "stamps"])
def test_a_manifest_names_nothing_outside(received: Path, tmp_path: Path, name: str, field: str) -> None:
    manifest = json.loads((received / MANIFEST).read_text())
    manifest["stages"]["s"][field][name] = "0" * 64
    (received / MANIFEST).write_text(json.dumps(manifest))
    for opened in (lambda: open_run(received).__enter__(), lambda: read_run(received)):
        with pytest.raises(RunFolderError, match="damaged"):
            opened()
    assert (tmp_path / "victim" / "file.txt").read_text() == "precious"


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-1", "1e300", "null"])
def test_a_time_that_is_none_is_a_damaged_manifest(received: Path, seconds: str) -> None:
    text = re.sub(r'"seconds": *[^,}\s]+', f'"seconds": {seconds}', (received / MANIFEST).read_text())
    (received / MANIFEST).write_text(text)
    with pytest.raises(RunFolderError, match="damaged"):
        read_run(received)


@pytest.mark.parametrize("line", ["\0 1 0", "a\0b 1 3", "../x 1 2", ".. 1 0", "data 1 999999", "x" * 5000 + " 1 2"])
def test_a_list_of_jobs_names_nothing_outside_and_ends(tmp_path: Path, line: str) -> None:
    with open_run(tmp_path / "r", RunSettings()):
        pass
    (tmp_path / "r" / JOBS).mkdir()
    (tmp_path / "r" / JOBS / SUBMITTED).write_text(f"{line}\n" * 3)
    assert all(told.endswith("not started") for told in stage_lines(read_run(tmp_path / "r")))


@pytest.mark.parametrize("name", ["../s", "/tmp/s", "", ".hidden"])
def test_a_manifest_has_no_stage_outside(received: Path, name: str) -> None:
    manifest = json.loads((received / MANIFEST).read_text())
    manifest["stages"][name] = manifest["stages"]["s"]
    (received / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match="damaged"):
        read_run(received)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_process_set_aside_names_nothing_outside(received: Path, tmp_path: Path, name: str) -> None:
    aside = received / ".work" / "s.earlier"
    aside.mkdir(parents=True)
    state = json.loads((received / MANIFEST).read_text())["stages"]["s"]
    state["outputs"] = {name: "0" * 64}
    (aside / ".state.json").write_text(json.dumps(state))
    with pytest.raises(RunFolderError, match="damaged"), open_run(received):
        pass
    assert (tmp_path / "victim" / "file.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "link", ["out.txt", "data", ".work", ".lock", ".holder", ".work/s.earlier", MANIFEST, "groundings/deep/x", "drops"]
)
def test_a_folder_that_holds_a_link_is_refused_before_anything_is_written(
    received: Path, tmp_path: Path, link: str
) -> None:
    victim = tmp_path / "victim"
    place = received / link
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(victim if link in ("data", ".work", ".work/s.earlier", "drops") else victim / "file.txt")
    if link == MANIFEST:
        (victim / "file.txt").write_text(json.dumps({"format": 3}))
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    for settings in (None, RunSettings()):
        with pytest.raises(RunFolderError, match="symbolic link|not a run folder"), open_run(received, settings):
            pass
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["calls.sqlite", "calls.sqlite-wal"])
def test_a_file_that_is_one_with_another_is_not_written_into(received: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim" / "file.txt"
    (received / name).unlink(missing_ok=True)
    (received / name).hardlink_to(victim)
    for settings in (None, RunSettings()):
        with pytest.raises(RunFolderError, match="hard link"), open_run(received, settings):
            pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["evaluation.json", "calls.sqlite", ".lock", "data/images/x.png", "config.resolved.yaml"]
)
def test_a_pipe_is_refused_and_not_waited_for(received: Path, name: str) -> None:
    (received / name).parent.mkdir(parents=True, exist_ok=True)
    (received / name).unlink(missing_ok=True)
    os.mkfifo(received / name)
    for opened in (lambda: open_run(received).__enter__(), lambda: read_run(received)):
        with pytest.raises(RunFolderError, match="neither a file nor a folder"):
            opened()


def test_a_file_in_the_place_of_a_folder_is_one_line(received: Path) -> None:
    (received / ".work").rmdir()
    (received / ".work").write_text("x")
    with open_run(received) as run, pytest.raises(RunFolderError, match="a file lies where a folder is needed"):
        run.execute(stage(1))


def test_folders_in_folders_without_end_are_no_recursion(received: Path) -> None:
    here = received
    for _ in range(1200):
        here = here / "d"
        try:
            here.mkdir()
        except OSError:
            break
    try:
        read_run(received)
    finally:
        # Python's own clean-up of temporary folders would not come to the bottom of it.
        subprocess.run(["rm", "-rf", received / "d"], check=True)


def test_a_donor_that_holds_a_link_gives_nothing(tmp_path: Path) -> None:
    def fill(run: Run) -> None:
        write_text(run.file("folder/inner.txt"), "mine")

    made = Stage("s", fill, {}, writes=("folder",))
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with open_run(tmp_path / "donor", RunSettings()) as run:
        run.execute(made)
        stamps = dict(run.manifest.stages["s"].stamps)
    (tmp_path / "donor/folder/inner.txt").unlink()
    (tmp_path / "donor/folder/inner.txt").symlink_to(secret)
    assert stamps
    with open_run(tmp_path / "other", RunSettings(), donors=[tmp_path / "donor"]) as run:
        assert run.execute(made), "computed, not taken over"
        assert run.file("folder/inner.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../victim/a.png", "/etc/a.png", "a/../../b.png", "", "a\\b.png", "link/a.png"])
def test_an_image_of_a_table_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")
    image = ImageRef(path="a.png", sha256="0" * 64, width=1, height=1)
    pair = PreferencePair(pair_id="p", example_id="e", kind="text", image=image, question="q", chosen="a", rejected="b")
    root = tmp_path / "data"
    assert views_of(pair, root, root) == ((root / "a.png",), (root / "a.png",))
    both = pair.model_copy(update={"other_images": (image.model_copy(update={"path": "b.png"}),), "noised_image": 1})
    noised = both.model_copy(update={"rejected_image_path": "n.png"})
    assert views_of(both, root, root) == ((root / "a.png", root / "b.png"),) * 2
    assert views_of(noised, root, tmp_path) == ((root / "a.png", root / "b.png"), (root / "a.png", tmp_path / "n.png"))
    with pytest.raises(ImageError):
        views_of(pair.model_copy(update={"rejected_image_path": name}), root, root)
    with pytest.raises(ImageError):
        views_of(pair.model_copy(update={"other_images": (image.model_copy(update={"path": name}),)}), root, root)
    with pytest.raises(ImageError):
        views_of(pair.model_copy(update={"image": image.model_copy(update={"path": name})}), root, root)


@pytest.mark.parametrize("name", ["out.txt/../../victim", "/etc/passwd", "..", "a\0b"])
def test_a_path_from_a_table_stays_in_the_folder(received: Path, name: str) -> None:
    reading = Stage("t", lambda run: run.file(name).read_text(), {}, reads=("out.txt",))
    with open_run(received) as run:
        with pytest.raises(RunFolderError, match="not the name of a file inside"):
            run.execute(reading)
        with pytest.raises(RunFolderError, match="not the name of a file inside"):
            run.file(name)
