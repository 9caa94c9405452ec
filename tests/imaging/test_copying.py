"""A folder de-identified: every file is written, refused or counted, and no two under one name."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from typer.testing import CliRunner

from imaging.dicom_files import dicom_bytes, dicom_dataset, raw_dicom_bytes
from mmedpo.cli.main import app, main
from mmedpo.errors import DataError
from mmedpo.imaging.copying import Copied, copy_deidentified
from mmedpo.imaging.dicom import read_dicom


def _file(value: int = 7, instance: str | None = "1.2.3", **tags: Any) -> bytes:
    dataset = dicom_dataset(np.array([[0, value]], dtype=np.uint16), **tags)
    del dataset.SOPInstanceUID
    if instance is not None:
        dataset.SOPInstanceUID = instance
    return raw_dicom_bytes(dataset)


def _copy(folder: Path, files: dict[str, bytes], target: str = "out") -> Copied:
    for name, content in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(content)
    return copy_deidentified(folder / "in", folder / target, "secret salt", lambda done, total: None)


def _uids(folder: Path) -> list[str]:
    return [str(dcmread(file).SOPInstanceUID) for file in sorted(folder.iterdir())]


@pytest.mark.parametrize("instance", [None, "", "1.2.3"])
def test_missing_or_shared_identity_never_costs_a_file(tmp_path: Path, instance: str | None) -> None:
    result = _copy(tmp_path, {f"{n}.dcm": _file(n + 1, instance) for n in range(4)})
    assert (result.written, result.refused, result.repeated, result.other) == (4, [], 0, 0)
    assert len(list((tmp_path / "out").iterdir())) == len(set(_uids(tmp_path / "out"))) == 4
    said = "shares its SOPInstanceUID with 0.dcm" if instance else "has no SOPInstanceUID"
    assert len(result.notes) == (3 if instance else 4)
    assert all(said in note for note in result.notes)
    values = {read_dicom(file.read_bytes(), 100).tobytes() for file in (tmp_path / "out").iterdir()}
    assert len(values) == 1  # each of them is 0, white: none was mixed with another


def test_the_same_file_twice_is_written_once_and_counted(tmp_path: Path) -> None:
    result = _copy(tmp_path, {"a.dcm": _file(1), "b.dcm": _file(1), "c.dcm": _file(2), "sub/d.dcm": _file(2)})
    assert (result.written, result.repeated) == (2, 2)
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "b.dcm is the same file as a.dcm; written once" in result.notes


def test_files_without_a_patient_are_not_one_patient(tmp_path: Path) -> None:
    _copy(tmp_path, {"a.dcm": _file(1, "1.2"), "b.dcm": _file(2, "1.3", PatientID="P7", StudyInstanceUID="1.9")})
    copies = [dcmread(file) for file in (tmp_path / "out").iterdir()]
    assert sorted(bool(copy.PatientID) for copy in copies) == [False, True]
    assert sorted("StudyInstanceUID" in copy for copy in copies) == [False, True]


@pytest.mark.parametrize("kept", [-2, -3, 200])
def test_cut_off_files_are_refused(tmp_path: Path, kept: int) -> None:
    result = _copy(tmp_path, {"a.dcm": _file()[:kept], "b.dcm": _file()})
    assert result.written == 1
    assert len(result.refused) == 1
    assert result.refused[0].startswith("a.dcm is ")
    assert "cut off" in result.refused[0]


def test_other_files_are_counted_and_damaged_ones_refused(tmp_path: Path) -> None:
    report = dicom_dataset(np.zeros((1, 1), dtype=np.uint16))
    del report.PixelData, report.Rows, report.Columns
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"  # Basic Text SR
    files = {"report.dcm": dicom_bytes(report), "notes.txt": b"hello", "empty.dcm": b"", "page.dcm": b"<html>"}
    result = _copy(tmp_path, files)
    assert (result.written, result.other, len(result.refused)) == (0, 2, 2)
    assert not list((tmp_path / "out").iterdir())


def test_what_cannot_be_read_or_is_a_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.dcm").write_bytes(_file())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    (tmp_path / "in" / "folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "in" / "pipe")
    result = _copy(tmp_path, {"a.dcm": _file()})
    assert (result.written, result.other) == (1, 1)
    assert sorted(line.split()[0] for line in result.refused) == ["folder", "link.dcm"]


def test_second_call_with_the_same_salt_replaces_nothing(tmp_path: Path) -> None:
    assert _copy(tmp_path, {"a.dcm": _file(1), "b.dcm": _file(2, None)}).written == 2
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert _copy(tmp_path, {}).written == 2
    again = _copy(tmp_path, {"a.dcm": _file(3)})
    assert again.written == 1
    assert "would replace another file" in again.refused[0]
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


@given(st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_numbers_add_up(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("many")
    kinds = st.tuples(st.integers(1, 3), st.sampled_from([None, "", "1.2", "1.3"]), st.sampled_from([None, -2, 150]))
    chosen = data.draw(st.lists(kinds, min_size=1, max_size=8))
    files = {f"{n}.dcm": _file(value, uid)[:end] for n, (value, uid, end) in enumerate(chosen)}
    result = _copy(folder, files)
    written = list((folder / "out").iterdir())
    assert len(written) == result.written == len(set(_uids(folder / "out")))
    assert result.written + result.repeated + result.other + len(result.refused) == len(files)
    assert result.repeated == sum(end is None for *_, end in chosen) - len({c for c in chosen if c[2] is None}) - (
        len({c for c in chosen if c[2] is None and not c[1]})
        - len({_file(value, uid) for value, uid, end in chosen if end is None and not uid})
    )


@pytest.mark.parametrize("place", ["/proc/1/x", "/dev/null", "/dev/null/x"])
def test_unwritable_place_is_one_line(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(_file())
    monkeypatch.setenv("MMEDPO_SALT", "secret salt")
    with pytest.raises(SystemExit) as end:
        main(["deidentify", str(tmp_path / "in"), place])
    assert end.value.code == 2
    assert f"error: {place} cannot be written to" in capsys.readouterr().err


def test_full_disk_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def write(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmedpo.imaging.copying.write_bytes", write)
    with pytest.raises(DataError, match=r"No space left on device\), 1 files were written before"):
        _copy(tmp_path, {"a.dcm": _file(1, "1.2"), "b.dcm": _file(2, "1.3")})


@pytest.mark.parametrize("target", ["in", "in/sub", "in/../in", "alias"])
def test_an_output_is_never_its_own_input(tmp_path: Path, target: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    with pytest.raises(DataError, match="lies in"):
        _copy(tmp_path, {"a.dcm": _file()}, target)


def test_command_prints_counts_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in {"a.dcm": _file(1), "b.dcm": _file(2), "c.dcm": _file(3)[:-2], "d.txt": b""}.items():
        (tmp_path / "in" / name).write_bytes(content)
    arguments = ["deidentify", str(tmp_path / "in"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, env={"MMEDPO_SALT": "secret salt"})
    assert result.exit_code == 1
    assert f"2 files written to {tmp_path / 'out'}, 1 refused, 1 hold no DICOM image" in result.output
    assert "refused: c.dcm is cut off" in result.output
    assert "note: b.dcm shares its SOPInstanceUID with a.dcm" in result.output


def test_garbage_in_a_display_tag_does_not_come_along(tmp_path: Path) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    dataset = dicom_dataset(np.array([[0, 5]], dtype=np.uint16))
    tag = Tag("WindowWidth")
    dataset._dict[tag] = RawDataElement(tag, "DS", 16, b"Mrs Secret^Name ", 0, False, True, True)
    assert _copy(tmp_path, {"a.dcm": raw_dicom_bytes(dataset)}).written == 1
    (copy,) = (tmp_path / "out").iterdir()
    assert b"Secret" not in copy.read_bytes()
    assert read_dicom(copy.read_bytes(), 100).tolist() == [[0, 255]]
    assert "WindowWidth" not in dcmread(io.BytesIO(copy.read_bytes()))


@pytest.mark.parametrize(
    ("keyword", "value"), [("PhotometricInterpretation", b"MONOCHROME1 "), ("Rows", b"1 "), ("BitsStored", b"3 ")]
)
def test_copy_that_would_look_otherwise_is_refused(tmp_path: Path, keyword: str, value: bytes) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    dataset = dicom_dataset(np.array([[0, 5]], dtype=np.uint16))
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, "LO", len(value), value, 0, False, True, True)
    result = _copy(tmp_path, {"a.dcm": raw_dicom_bytes(dataset)})
    assert result.written == 0
    assert len(result.refused) == 1
