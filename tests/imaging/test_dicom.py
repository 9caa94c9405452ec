"""DICOM: each step of the standard by hand-derived values, compressed syntaxes, frames, bombs, burned-in text."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from imaging.dicom_files import dicom_bytes, dicom_dataset
from mmedpo.errors import ImageError
from mmedpo.imaging.deidentify import deidentify
from mmedpo.imaging.images import index_image, read_image

RAMP = np.array([[0, 1000, 2000, 4095]], dtype=np.uint16)


def _read(folder: Path, content: bytes, name: str = "a.dcm", **options: object) -> np.ndarray:
    (folder / name.split("#")[0]).write_bytes(content)
    return read_image(folder, name, **options)  # type: ignore[arg-type]


def test_window_maps_its_edges_to_black_and_white(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.2.1: below c - 0.5 - (w-1)/2 black, above c - 0.5 + (w-1)/2 white, linear between.
    dataset = dicom_dataset(np.array([[0, 500, 999, 1499, 4000]], dtype=np.uint16), WindowCenter=1000, WindowWidth=1000)
    expected = [0, 0, round(((999 - 999.5) / 999 + 0.5) * 255), round(((1499 - 999.5) / 999 + 0.5) * 255), 255]
    np.testing.assert_array_equal(_read(tmp_path, dicom_bytes(dataset)), [expected])


def test_window_is_in_units_of_the_modality_lut(tmp_path: Path) -> None:
    # Hounsfield units: 1024 -> 0 HU. A window of 2 round -1000 and 0 separates them.
    dataset = dicom_dataset(
        np.array([[24, 1024]], dtype=np.uint16),
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=-500,
        WindowWidth=100,
    )
    np.testing.assert_array_equal(_read(tmp_path, dicom_bytes(dataset)), [[0, 255]])


def test_monochrome1_is_inverted_after_the_window(tmp_path: Path) -> None:
    plain = _read(tmp_path, dicom_bytes(dicom_dataset(RAMP, WindowCenter=2048, WindowWidth=4096)))
    inverted = _read(tmp_path, dicom_bytes(dicom_dataset(RAMP, "MONOCHROME1", WindowCenter=2048, WindowWidth=4096)))
    np.testing.assert_array_equal(inverted, 255 - plain)
    assert plain[0, 0] == 0
    assert plain[0, 3] == 255


def test_voi_lut_goes_before_the_window(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor = [4, 0, 8]  # 4 entries, first input value 0, 8 bits out
    item.LUTData = [10, 20, 200, 250]
    pixels = np.array([[0, 1, 2, 3, 9]], dtype=np.uint16)
    dataset = dicom_dataset(pixels, VOILUTSequence=Sequence([item]), WindowCenter=1, WindowWidth=1)
    dataset["VOILUTSequence"].value[0]["LUTDescriptor"].VR = "US"
    dataset["VOILUTSequence"].value[0]["LUTData"].VR = "US"
    np.testing.assert_array_equal(_read(tmp_path, dicom_bytes(dataset)), [[10, 20, 200, 250, 250]])


def test_without_a_window_values_are_stretched_and_padding_left_out(tmp_path: Path) -> None:
    pixels = np.array([[0, 1000, 1255, 1510]], dtype=np.uint16)
    dataset = dicom_dataset(pixels)
    dataset.add_new("PixelPaddingValue", "US", 0)
    np.testing.assert_array_equal(_read(tmp_path, dicom_bytes(dataset)), [[0, 0, 128, 255]])


def test_frames_are_chosen_by_name_and_each_is_an_image_of_its_own(tmp_path: Path) -> None:
    frames = np.stack([np.full((2, 2), 100), np.array([[0, 4095], [0, 0]])]).astype(np.uint16)
    content = dicom_bytes(dicom_dataset(frames, WindowCenter=2048, WindowWidth=4096))
    with pytest.raises(ImageError, match=r"has 2 frames; name one of 0\.\.1, as in 'a\.dcm#frame=0'"):
        _read(tmp_path, content)
    np.testing.assert_array_equal(_read(tmp_path, content, "a.dcm#frame=1"), [[0, 255], [0, 0]])
    with pytest.raises(ImageError, match="has 2 frames"):
        _read(tmp_path, content, "a.dcm#frame=2")
    first, second = (index_image(tmp_path, f"a.dcm#frame={n}") for n in (0, 1))
    assert first.sha256 != second.sha256
    assert first.path == "a.dcm#frame=0"


def test_file_without_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    content = dicom_bytes(dicom_dataset(RAMP))
    np.testing.assert_array_equal(_read(tmp_path, content, "IM0001"), _read(tmp_path, content, "a.dcm"))


@pytest.mark.parametrize("syntax", ["JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1"])
def test_lossless_compressed_file_gives_the_pixels_of_the_plain_one(tmp_path: Path, syntax: str) -> None:
    gdcm = pytest.importorskip("gdcm", reason="compressed DICOM needs mmedpo[dicom]")
    pixels = np.random.default_rng(0).integers(0, 4096, (32, 40), dtype=np.uint16)
    content = dicom_bytes(dicom_dataset(pixels, WindowCenter=2048, WindowWidth=4096))
    (tmp_path / "plain.dcm").write_bytes(content)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(tmp_path / "plain.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(tmp_path / "packed.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_image(tmp_path, "packed.dcm"), read_image(tmp_path, "plain.dcm"))


def test_size_is_refused_by_the_header(tmp_path: Path) -> None:
    dataset = dicom_dataset(RAMP)
    dataset.Rows, dataset.Columns = 60_000, 60_000
    with pytest.raises(ImageError, match="60000 x 60000 pixels"):
        _read(tmp_path, dicom_bytes(dataset))


def test_deflated_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    dataset = dicom_dataset(RAMP)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = dicom_bytes(dataset)
    assert _read(tmp_path, content).shape == (1, 4)
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = content[:start] + packer.compress(bytes(64 << 20)) + packer.flush()
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="inflates to more than"):
        _read(tmp_path, bomb, max_pixels=1_000_000)


def test_burned_in_text_is_refused_only_where_asked(tmp_path: Path) -> None:
    for tag in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        content = dicom_bytes(dicom_dataset(RAMP, **{tag: "YES"}))
        assert _read(tmp_path, content).shape == (1, 4)
        with pytest.raises(ImageError, match=rf"'a\.dcm' says {tag} = YES"):
            _read(tmp_path, content, burned_in=False)
    assert _read(tmp_path, dicom_bytes(dicom_dataset(RAMP, BurnedInAnnotation="NO")), burned_in=False).shape == (1, 4)


def test_a_report_without_pixels_is_refused_by_name(tmp_path: Path) -> None:
    dataset = dicom_dataset(RAMP)
    del dataset.Rows
    with pytest.raises(ImageError, match=r"'a\.dcm' is a DICOM file without Rows"):
        _read(tmp_path, dicom_bytes(dataset))


def test_deidentified_copy_holds_allowed_tags_only_and_the_same_picture(tmp_path: Path) -> None:
    dataset = dicom_dataset(RAMP, WindowCenter=2048, WindowWidth=4096, Modality="CR", PatientSex="F")
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Secret^Name", "secret-id", "20200131"
    dataset.ImageComments = "seen by Dr Secret"
    dataset.add(DataElement("BodyPartExamined", "CS", "CHEST OF MRS SECRET", validation_mode=config.IGNORE))
    dataset.StudyInstanceUID = "1.2.3.4"
    dataset.private_block(0x0011, "Secret", create=True).add_new(1, "LO", "Secret")
    dataset.add_new(0x60003000, "OW", b"Secret\0\0")
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.ContentCreatorName = "R-1", "postero-anterior", "Secret^Creator"
    dataset.ViewCodeSequence = Sequence([item])
    content = bytearray(dicom_bytes(dataset))
    content[:6] = b"Secret"
    copy, name, _ = deidentify(bytes(content), "salt")
    assert b"ecret" not in copy
    assert b"ecret" not in name.encode()
    assert b"20200131" not in copy
    assert b"1.2.3.4" not in copy
    seen = dcmread(io.BytesIO(copy))
    assert (seen.Modality, seen.PatientSex, seen.PatientIdentityRemoved) == ("CR", "F", "YES")
    assert seen.ViewCodeSequence[0].CodeMeaning == "postero-anterior"
    np.testing.assert_array_equal(_read(tmp_path, copy), _read(tmp_path, bytes(content)))
    again, *_ = deidentify(bytes(content), "salt")
    other, *_ = deidentify(bytes(content), "another salt")
    assert again == copy
    assert dcmread(io.BytesIO(other)).PatientID != seen.PatientID


def test_deidentifying_refuses_burned_in_text_and_no_salt() -> None:
    with pytest.raises(ImageError, match="removing tags does not remove"):
        deidentify(dicom_bytes(dicom_dataset(RAMP, BurnedInAnnotation="YES")), "salt")
    with pytest.raises(ImageError, match="salt"):
        deidentify(dicom_bytes(dicom_dataset(RAMP)), "")
    with pytest.raises(ImageError, match="cut off or damaged"):
        deidentify(b"\0" * 128 + b"DICM" + b"junk" * 10, "salt")


def test_pixels_of_a_type_that_does_not_exist_are_refused_in_one_line() -> None:
    content = dicom_bytes(dicom_dataset(RAMP))
    damaged = content[: content.index(bytes.fromhex("e07f1000")) + 4] + b"O\0" + b"\0" * 8
    with pytest.raises(ImageError, match=r"^[^\n]{10,250}$"):
        deidentify(damaged, "salt")


@pytest.mark.parametrize("tag", ["28000103", "28001000", "28000400"])
def test_an_empty_tag_of_a_type_that_does_not_exist_is_one_line_or_nothing(tag: str) -> None:
    content = dicom_bytes(dicom_dataset(RAMP, BurnedInAnnotation="NO"))
    start = content.index(bytes.fromhex(tag))
    damaged = content[: start + 4] + b"O\0" + b"\0" * 6
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    damaged += content[start + 8 + length :]
    try:
        deidentify(damaged, "salt")
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 300  # noqa: PT017


class TestRealFiles:
    """pydicom's own sample files."""

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("CT_small.dcm", (128, 128)),
            ("ExplVR_BigEnd.dcm", (60, 80, 3)),
            ("JPEG2000.dcm", (1024, 256)),
            ("MR_small.dcm", (64, 64)),
            ("SC_rgb_small_odd.dcm", (3, 3, 3)),
            ("examples_overlay.dcm", (300, 484)),
            ("liver_1frame.dcm", (512, 512)),
        ],
    )
    def test_every_sample_is_shown(self, shared_data: Path, name: str, shape: tuple[int, ...]) -> None:
        picture = read_image(shared_data / "dicom", name)
        assert picture.shape == shape
        assert picture.dtype == np.uint8
        assert picture.std() > 5

    def test_run_length_coding_changes_nothing(self, shared_data: Path) -> None:
        folder = shared_data / "dicom"
        np.testing.assert_array_equal(read_image(folder, "MR_small_RLE.dcm"), read_image(folder, "MR_small.dcm"))

    def test_no_identifier_of_a_sample_survives(self, shared_data: Path) -> None:
        for file in sorted((shared_data / "dicom").glob("*.dcm")):
            source = dcmread(file)
            copy, *_ = deidentify(file.read_bytes(), "salt")
            for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID", "InstitutionName"):
                value = str(source.get(keyword, ""))
                assert len(value) < 4 or value.encode() not in copy, (file.name, keyword)
