"""DICOM as it is met: tags that are empty, misspelt, of the wrong type, or contradicted by the bytes.

Each is shown as viewers show it, or refused with the tag that leaves the picture in doubt. Expected values by hand.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from imaging.dicom_files import dicom_bytes, dicom_dataset, raw_dicom_bytes
from mmedpo.errors import ImageError
from mmedpo.imaging.dicom import read_dicom
from mmedpo.imaging.tags import expand_segments

STEPS = np.array([[0, 512, 1024, 1536, 2048, 2560, 3072, 4095]], dtype=np.uint16)
RANGE = [[0, 32, 64, 96, 128, 159, 191, 255]]
"""`STEPS` from its smallest to its largest value: value * 255 / 4095."""
WINDOWED = [[0, 64, 128, 191, 255, 255, 255, 255]]
"""`STEPS` under center 1024, width 2048: ((value - 1023.5) / 2047 + 0.5) * 255."""
WINDOW = {"WindowCenter": 1024, "WindowWidth": 2048}


def _show(dataset: FileDataset | bytes, frame: int | None = None) -> list[Any]:
    content = dataset if isinstance(dataset, bytes) else raw_dicom_bytes(dataset)
    shown: list[Any] = read_dicom(content, 1_000_000, frame).tolist()
    return shown


def _put(dataset: Any, keyword: str, kind: str, value: bytes) -> Any:
    """A tag of any type and content, past everything that would check it."""
    tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
    dataset._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True, True)
    return dataset


def _steps(**tags: Any) -> FileDataset:
    return dicom_dataset(STEPS, **tags)


def _table(entries: list[int], first: int = 0, bits: int = 16, kind: str = "US", count: int | None = None) -> Dataset:
    item = Dataset()
    size = len(entries) if count is None else count
    _put(item, "LUTDescriptor", kind, struct.pack("<HHH", size % 65536, first % 65536, bits))
    return _put(item, "LUTData", "OW", struct.pack(f"<{len(entries)}H", *entries))  # type: ignore[no-any-return]


class TestRescale:
    @pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
    @pytest.mark.parametrize("value", [b"", b"abc ", b"nan ", b"inf ", b"1e999 ", b"- ", b"\0\0"])
    def test_what_is_no_number_counts_as_absent(self, keyword: str, value: bytes) -> None:
        assert _show(_put(_steps(**WINDOW), keyword, "DS", value)) == WINDOWED

    def test_slope_of_zero_would_erase_the_image(self) -> None:
        assert _show(_put(_steps(**WINDOW), "RescaleSlope", "DS", b"0 ")) == WINDOWED

    def test_each_stands_without_the_other(self) -> None:
        assert _show(_steps(RescaleIntercept=-1024, WindowCenter=0, WindowWidth=2048)) == WINDOWED
        doubled = _steps(RescaleSlope=2, WindowCenter=2048, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT")
        assert _show(doubled) == _show(_steps(**WINDOW, VOILUTFunction="LINEAR_EXACT"))

    def test_first_of_several_and_a_comma_for_a_point(self) -> None:
        several = _put(_steps(WindowCenter=512, WindowWidth=1024), "RescaleSlope", "DS", b"0,5\\7 ")
        assert _show(several) == [[0, 64, 128, 191, 255, 255, 255, 255]]  # ((value / 2 - 511.5) / 1023 + 0.5) * 255


class TestWindow:
    @pytest.mark.parametrize("center", [b"", b"abc ", b"nan ", b"inf "])
    def test_center_that_is_no_number_leaves_the_range(self, center: bytes) -> None:
        assert _show(_put(_steps(WindowWidth=2048), "WindowCenter", "DS", center)) == RANGE

    @pytest.mark.parametrize("width", [b"", b"0 ", b"-1", b"-2048 ", b"abc ", b"nan ", b"inf "])
    def test_width_that_is_no_width_leaves_the_range(self, width: bytes) -> None:
        assert _show(_put(_steps(WindowCenter=1024), "WindowWidth", "DS", width)) == RANGE

    def test_first_usable_of_several(self) -> None:
        several = _put(_steps(), "WindowCenter", "DS", b"40\\\\1024\\99")
        assert _show(_put(several, "WindowWidth", "DS", b"0\\400\\2048\\1 ")) == WINDOWED

    def test_more_centers_than_widths(self) -> None:
        assert _show(_put(_steps(WindowWidth=2048), "WindowCenter", "DS", b"1024\\9")) == WINDOWED

    @pytest.mark.parametrize("function", [b"", b"FOO ", b"linear", b"LINEAR\0", b"LINEAR\\SIGMOID"])
    def test_unknown_function_is_linear(self, function: bytes) -> None:
        assert _show(_put(_steps(**WINDOW), "VOILUTFunction", "CS", function)) == WINDOWED

    def test_sigmoid(self) -> None:
        # 255 / (1 + exp(-4 (value - 1024) / 2048)): exp(2) = 7.39, exp(1) = 2.72
        shown = _show(_steps(**WINDOW, VOILUTFunction="SIGMOID"))
        assert shown[0][:5] == [30, 69, 128, 186, 225]

    def test_width_below_one_is_meant_exactly(self) -> None:
        # Values of 0..1 by a slope of 1 / 4095; (value - 0.5) / 0.5 + 0.5.
        narrow = _steps(RescaleSlope="0.000244200244", RescaleIntercept=0, WindowCenter=0.5, WindowWidth=0.5)
        assert _show(narrow) == [[0, 0, 0, 64, 128, 191, 255, 255]]


class TestLookupTables:
    @pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
    def test_what_is_no_table_counts_as_absent(self, keyword: str) -> None:
        lacking, empty, short = Dataset(), Dataset(), Dataset()
        _put(lacking, "LUTData", "OW", b"\1\0\2\0")
        _put(_put(empty, "LUTDescriptor", "US", b"\4\0\0\0\x10\0"), "LUTData", "OW", b"")
        _put(_put(short, "LUTDescriptor", "US", b"\4\0"), "LUTData", "OW", b"\1\0\2\0")
        for items in ([], [Dataset()], [lacking], [empty], [short]):
            assert _show(_steps(**WINDOW, **{keyword: Sequence(items)})) == WINDOWED

    def test_second_item_where_the_first_is_empty(self) -> None:
        table = _table([0, 65535] * 2048)
        assert _show(_steps(VOILUTSequence=Sequence([Dataset(), table]))) == [[0, 0, 0, 0, 0, 0, 0, 255]]

    @pytest.mark.parametrize("count", [4096, 0, 9999])
    def test_as_many_entries_as_there_are(self, count: int) -> None:
        table = _table(list(range(4096)), bits=12, count=count)
        assert _show(_steps(VOILUTSequence=Sequence([table]), **WINDOW)) == RANGE

    def test_data_of_odd_length(self) -> None:
        table = _table(list(range(4096)), bits=12)
        _put(table, "LUTData", "OB", table["LUTData"].value + b"\7")
        assert _show(_steps(VOILUTSequence=Sequence([table]))) == RANGE

    def test_size_of_the_words_given_as_range(self) -> None:
        assert _show(_steps(VOILUTSequence=Sequence([_table(list(range(4096)), bits=16)]))) == RANGE

    def test_entries_beyond_the_range_that_is_given(self) -> None:
        assert _show(_steps(VOILUTSequence=Sequence([_table(list(range(4096)), bits=8)]))) == RANGE

    def test_bytes_as_entries(self) -> None:
        table = _put(_table([], bits=8, count=4), "LUTData", "OW", bytes([0, 100, 200, 250]))
        pixels = dicom_dataset(np.array([[0, 1, 2, 3, 9]], dtype=np.uint16), VOILUTSequence=Sequence([table]))
        assert _show(pixels) == [[0, 100, 200, 250, 250]]

    @pytest.mark.parametrize("kind", ["US", "SS"])
    def test_first_value_in_the_sign_of_what_goes_in(self, kind: str) -> None:
        below = dicom_dataset(np.array([[-1024, -1023, -1022]], dtype=np.int16), bits=16)
        below.VOILUTSequence = Sequence([_table([0, 100, 255], first=-1024, bits=8, kind=kind)])
        assert _show(below) == [[0, 100, 255]]
        above = dicom_dataset(np.array([[40000, 40001, 40002]], dtype=np.uint16), bits=16)
        above.VOILUTSequence = Sequence([_table([0, 100, 255], first=40000, bits=8, kind=kind)])
        assert _show(above) == [[0, 100, 255]]

    def test_modality_table_goes_before_the_window_and_instead_of_the_slope(self) -> None:
        pixels = dicom_dataset(np.array([[0, 1, 2]], dtype=np.uint16), RescaleSlope=9, RescaleIntercept=9, **WINDOW)
        pixels.ModalityLUTSequence = Sequence([_table([2048, 1024, 0], bits=12)])
        assert _show(pixels) == [[255, 128, 0]]  # ((1024 - 1023.5) / 2047 + 0.5) * 255 = 127.6

    def test_big_endian_data(self) -> None:
        big = dicom_dataset(STEPS.byteswap())
        big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        big["PixelData"].VR = "OW"
        item = Dataset()
        item.LUTDescriptor = [4096, 0, 12]
        item["LUTDescriptor"].VR = "US"
        item.add_new("LUTData", "OW", np.arange(4096, dtype=">u2").tobytes())
        big.VOILUTSequence = Sequence([item])
        buffer = io.BytesIO()
        dcmwrite(buffer, big, implicit_vr=False, little_endian=False, force_encoding=True)
        assert _show(buffer.getvalue()) == RANGE


class TestPadding:
    PIXELS = np.array([[-2000, -1000, 0, 1000]], dtype=np.int16)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("SS", struct.pack("<h", -2000)),
            ("US", struct.pack("<H", 63536)),
            ("OW", struct.pack("<H", 63536)),
            ("SL", struct.pack("<i", -2000)),
            ("DS", b"-2000 "),
            ("LO", b"63536 "),
            ("SS", struct.pack("<hh", -2000, 7)),
        ],
    )
    def test_in_any_spelling(self, kind: str, value: bytes) -> None:
        dataset = _put(dicom_dataset(self.PIXELS, bits=16), "PixelPaddingValue", kind, value)
        assert _show(dataset) == [[0, 0, 128, 255]]  # -1000..1000 is the range

    @pytest.mark.parametrize(("kind", "value"), [("SS", b""), ("LO", b"none"), ("OB", b"\1"), ("DS", b"nan ")])
    def test_that_is_no_number_leaves_nothing_out(self, kind: str, value: bytes) -> None:
        dataset = _put(dicom_dataset(self.PIXELS, bits=16), "PixelPaddingValue", kind, value)
        assert _show(dataset) == [[0, 85, 170, 255]]

    @pytest.mark.parametrize("ends", [(-2000, -1000), (-1000, -2000)])
    def test_range_is_left_out_from_either_end(self, ends: tuple[int, int]) -> None:
        dataset = dicom_dataset(np.array([[-2000, -1500, -1000, 0, 500, 1000]], dtype=np.int16), bits=16)
        for keyword, value in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True):
            dataset.add_new(keyword, "SS", value)
        assert _show(dataset) == [[0, 0, 0, 0, 128, 255]]  # 0..1000 is the range

    def test_unsigned_pixels_with_a_signed_spelling(self) -> None:
        dataset = dicom_dataset(np.array([[65535, 0, 120, 200]], dtype=np.uint16), bits=16)
        assert _show(_put(dataset, "PixelPaddingValue", "SS", b"\xff\xff")) == [[255, 0, 153, 255]]

    def test_image_of_padding_alone_is_shown(self) -> None:
        dataset = dicom_dataset(np.full((1, 2), 0, dtype=np.uint16))
        assert _show(_put(dataset, "PixelPaddingValue", "US", b"\0\0")) == [[0, 0]]


class TestRange:
    @pytest.mark.parametrize(("bits", "grey"), [(10, 255), (12, 64), (16, 4)])
    def test_constant_image_keeps_its_share_of_the_bits_stored(self, bits: int, grey: int) -> None:
        # 1023 of 2^10 - 1, of 2^12 - 1 and of 2^16 - 1
        assert _show(dicom_dataset(np.full((1, 2), 1023, dtype=np.uint16), bits=bits)) == [[grey, grey]]

    def test_what_is_no_number_is_black_and_leaves_the_range(self) -> None:
        values = np.array([[np.nan, -1.0, 0.0, 1.0]], dtype=np.float32)
        dataset = dicom_dataset(STEPS[:, :4])
        del dataset.PixelData, dataset.BitsStored, dataset.PixelRepresentation
        dataset.BitsAllocated = 32
        dataset.add_new("FloatPixelData", "OF", values.tobytes())
        assert _show(dataset) == [[0, 0, 128, 255]]
        dataset["FloatPixelData"].value = np.full((1, 4), np.nan, dtype=np.float32).tobytes()
        with pytest.raises(ImageError, match="nothing to show"):
            _show(dataset)


class TestLayout:
    @pytest.mark.parametrize("said", [b"", b"monochrome2 ", b"MONOCHROME 2", b"MONOCHROME2\0"])
    def test_photometric_interpretation_missing_or_misspelt(self, said: bytes) -> None:
        assert _show(_put(_steps(), "PhotometricInterpretation", "CS", said)) == RANGE

    def test_unknown_photometric_interpretation_is_named(self) -> None:
        with pytest.raises(ImageError, match="says PhotometricInterpretation = 'HSV', readable are MONOCHROME1"):
            _show(_put(_steps(), "PhotometricInterpretation", "CS", b"HSV "))

    @pytest.mark.parametrize("keyword", ["BitsStored", "BitsAllocated", "HighBit", "PixelRepresentation"])
    @pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x63\0", b"\0\0\0"])
    def test_bits_are_taken_from_the_bytes(self, keyword: str, value: bytes) -> None:
        assert _show(_put(_steps(), keyword, "US", value)) == RANGE

    def test_more_bits_stored_than_allocated(self) -> None:
        wide = _steps()
        wide.BitsAllocated, wide.BitsStored = 8, 12  # the bytes are of 16
        assert _show(wide) == RANGE
        narrow = dicom_dataset(np.array([[0, 51, 255]], dtype=np.uint8), bits=12)
        assert _show(narrow) == [[0, 51, 255]]

    @pytest.mark.parametrize("value", [b"", b"abc ", b"0 ", b"-1", b"5 "])
    def test_number_of_frames_that_the_bytes_deny(self, value: bytes) -> None:
        assert _show(_put(_steps(), "NumberOfFrames", "IS", value)) == RANGE

    def test_more_frames_than_announced_are_excess(self) -> None:
        dataset = dicom_dataset(np.concatenate([STEPS, STEPS[:, ::-1]])[:, None, :])
        dataset.NumberOfFrames = 1
        assert _show(dataset) == RANGE

    @pytest.mark.parametrize("missing", [1, 2, 9, 15])
    def test_cut_off_pixels_are_refused(self, missing: int) -> None:
        with pytest.raises(ImageError, match=r"cut off.*download it again"):
            _show(raw_dicom_bytes(_steps())[:-missing])
        dataset = _steps()
        dataset.PixelData = dataset.PixelData[: (16 - min(missing, 14)) // 2 * 2]
        with pytest.raises(ImageError, match=r"its pixels take 16 bytes, \d+ are there; download it again"):
            _show(dataset)

    def test_last_frame_cut_off_is_not_a_wrong_count(self) -> None:
        dataset = dicom_dataset(np.concatenate([STEPS] * 3)[:, None, :])
        dataset.PixelData = dataset.PixelData[:-6]
        with pytest.raises(ImageError, match="cut off"):
            _show(dataset, 0)

    @pytest.mark.parametrize(("keyword", "value"), [("Rows", b"\0\0"), ("Columns", b""), ("Rows", b"abc")])
    def test_size_that_is_none_is_named(self, keyword: str, value: bytes) -> None:
        with pytest.raises(ImageError, match=f"says {keyword} = .*no size"):
            _show(_put(_steps(), keyword, "US" if value[:1] < b"a" else "LO", value))

    def test_high_bits_that_are_not_stored_are_not_seen(self) -> None:
        assert _show(dicom_dataset(STEPS | 0x8000)) == RANGE  # an old overlay in bit 15


class TestColour:
    RGB = np.array([[[0, 0, 0], [200, 40, 10], [90, 90, 90], [255, 255, 255]]], dtype=np.uint8)

    def _dataset(self, photometric: str, pixels: np.ndarray, **tags: Any) -> FileDataset:
        dataset = dicom_dataset(self.RGB[..., 0], photometric, bits=8, SamplesPerPixel=3, **tags)
        dataset.PixelData = pixels.tobytes()
        return dataset

    def test_rgb_under_the_name_of_what_it_was_compressed_from(self) -> None:
        assert _show(self._dataset("YBR_FULL_422", self.RGB, PlanarConfiguration=0)) == self.RGB.tolist()

    def test_full_chroma_under_the_name_of_half(self) -> None:
        luma = np.array([[[0, 128, 128], [97, 128, 128], [200, 120, 140], [255, 128, 128]]], dtype=np.uint8)
        full = _show(self._dataset("YBR_FULL", luma, PlanarConfiguration=0))
        assert full[0][1] == [97, 97, 97]
        assert _show(self._dataset("YBR_FULL_422", luma, PlanarConfiguration=0)) == full

    def test_half_chroma_under_the_name_of_full(self) -> None:
        halved = np.array([[0, 97, 128, 128], [200, 255, 128, 128]], dtype=np.uint8)  # Y Y Cb Cr
        grey = [[[value] * 3 for value in (0, 97, 200, 255)]]
        assert _show(self._dataset("YBR_FULL_422", halved, PlanarConfiguration=0)) == grey
        assert _show(self._dataset("YBR_FULL", halved, PlanarConfiguration=0)) == grey

    @pytest.mark.parametrize("photometric", ["YBR_ICT", "YBR_RCT", "MONOCHROME2", "rgb", ""])
    def test_three_samples_that_can_only_be_rgb(self, photometric: str) -> None:
        dataset = self._dataset("RGB", self.RGB, PlanarConfiguration=0)
        _put(dataset, "PhotometricInterpretation", "CS", photometric.encode())
        assert _show(dataset) == self.RGB.tolist()

    @pytest.mark.parametrize("value", [None, b"", b"\7\0", b"\0\0"])
    def test_planar_configuration_missing_is_by_pixel(self, value: bytes | None) -> None:
        dataset = self._dataset("RGB", self.RGB)
        assert _show(dataset if value is None else _put(dataset, "PlanarConfiguration", "US", value)) == (
            self.RGB.tolist()
        )

    def test_by_plane(self) -> None:
        planes = np.moveaxis(self.RGB, -1, 0).copy()
        assert _show(self._dataset("RGB", planes, PlanarConfiguration=1)) == self.RGB.tolist()

    def test_samples_missing_or_wrong(self) -> None:
        for samples in (b"", b"\1\0", b"\7\0"):
            dataset = self._dataset("RGB", self.RGB, PlanarConfiguration=0)
            assert _show(_put(dataset, "SamplesPerPixel", "US", samples)) == self.RGB.tolist()
        grey = dicom_dataset(np.array([[0, 51, 255]], dtype=np.uint8), "RGB", bits=8)
        assert _show(grey) == [[0, 51, 255]]


class TestPalette:
    def _dataset(self, data: dict[str, bytes], bits: int = 8, segmented: bool = False) -> FileDataset:
        dataset = dicom_dataset(np.array([[0, 1, 2, 200]], dtype=np.uint8), "PALETTE COLOR", bits=8)
        for colour, entries in data.items():
            name = f"{colour}PaletteColorLookupTable"
            _put(dataset, f"{name}Descriptor", "US", struct.pack("<HHH", 3, 0, bits))
            _put(dataset, f"{'Segmented' if segmented else ''}{name}Data", "OW", entries)
        return dataset

    EXPECTED = ([[[0, 10, 255], [100, 20, 0], [255, 30, 7], [255, 30, 7]]],)

    def test_bytes_words_and_words_of_bytes(self) -> None:
        entries = {"Red": (0, 100, 255), "Green": (10, 20, 30), "Blue": (255, 0, 7)}
        packed = {colour: bytes(values) + b"\0" for colour, values in entries.items()}
        words = {colour: struct.pack("<3H", *values) for colour, values in entries.items()}
        wide = {colour: struct.pack("<3H", *(257 * value for value in values)) for colour, values in entries.items()}
        for data, bits in ((packed, 8), (words, 8), (words, 16), (wide, 16)):
            assert _show(self._dataset(data, bits)) == self.EXPECTED[0]

    def test_segments(self) -> None:
        # Red: one entry 0, then two on the line to 200; the others: three entries as they are.
        line = struct.pack("<6H", 0, 1, 0, 1, 2, 200)
        plain = struct.pack("<5H", 0, 3, 5, 6, 7)
        shown = _show(self._dataset({"Red": line, "Green": plain, "Blue": plain}, 16, segmented=True))
        assert shown[0][:3] == [[0, 5, 5], [100, 6, 6], [200, 7, 7]]

    def test_segments_cannot_grow_without_end(self) -> None:
        once = [0, 3, 1, 2, 3]
        assert expand_segments([*once, 2, 1, 0, 0], bits=16) == [1, 2, 3, 1, 2, 3]
        endless = [0, 1, 7, *[1, 65535, 9] * 50, *[2, 65535, 0, 0] * 5000]
        assert len(expand_segments(endless, bits=16)) == 65536
        assert expand_segments([0, 1, 7, *[0, 0] * 1000, 2, 65535, 0, 0], bits=16) == [7]

    @pytest.mark.parametrize("colour", ["Red", "Green", "Blue"])
    def test_no_palette_is_named(self, colour: str) -> None:
        data = dict.fromkeys(("Red", "Green", "Blue"), b"\0\1\2\0") | {colour: b""}
        with pytest.raises(ImageError, match="holds no usable palette"):
            _show(self._dataset(data))


class TestBeginning:
    def test_without_preamble_mark_meta_group_or_any_of_them(self) -> None:
        whole = dicom_bytes(_steps(**WINDOW))
        meta = 12 + 132 + int.from_bytes(whole[140:144], "little")
        for content in (whole, whole[128:], whole[132:], whole[meta:]):
            assert _show(content) == WINDOWED

    def test_bare_implicit_and_bare_big_endian(self) -> None:
        for little in (True, False):
            dataset = dicom_dataset(STEPS if little else STEPS.byteswap(), **WINDOW)
            dataset["PixelData"].VR = "OW"
            buffer = io.BytesIO()
            del dataset.file_meta, dataset.preamble
            dcmwrite(buffer, dataset, implicit_vr=little, little_endian=little, force_encoding=True)
            assert buffer.getvalue()[:2] in (b"\x08\0", b"\0\x08")
            assert _show(buffer.getvalue()) == WINDOWED

    @pytest.mark.parametrize("said", [b"", b"1.2.3.4.5\0", b"garbage ", str(JPEGBaseline8Bit).encode() + b"\0"])
    def test_transfer_syntax_that_does_not_say_how_the_pixels_lie(self, said: bytes) -> None:
        dataset = _steps(**WINDOW)
        _put(dataset.file_meta, "TransferSyntaxUID", "UI", said)
        assert _show(raw_dicom_bytes(dataset)) == WINDOWED

    @pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x08\0" * 7, b"DIC", bytes(200)])
    def test_what_is_no_dicom_file(self, content: bytes) -> None:
        with pytest.raises(ImageError, match=r"is no DICOM file \(it (is empty|begins with)"):
            _show(content)


class TestCompressed:
    @pytest.fixture
    def grey(self) -> np.ndarray:
        return np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 6

    def _dataset(self, pixels: np.ndarray, frame: bytes, syntax: UID) -> FileDataset:
        dataset = dicom_dataset(pixels, bits=8)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        return dataset

    def _jpeg(self, pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=100)
        return buffer.getvalue()

    def test_frame_decides_how_it_is_compressed(self, grey: np.ndarray) -> None:
        right = _show(self._dataset(grey, self._jpeg(grey), JPEGBaseline8Bit))
        for wrong in (RLELossless, JPEG2000Lossless, UID("1.2.840.10008.1.2.1")):
            assert _show(self._dataset(grey, self._jpeg(grey), wrong)) == right

    def test_frames_that_are_there_are_counted(self, grey: np.ndarray) -> None:
        dataset = self._dataset(grey, self._jpeg(grey), JPEGBaseline8Bit)
        dataset.NumberOfFrames = 7
        assert len(_show(dataset)) == 16

    @pytest.mark.parametrize("size", [(60_000, 60_000), (16, 25), (1, 1)])
    def test_another_size_inside_is_refused_before_it_is_decoded(self, grey: np.ndarray, size: tuple[int, int]) -> None:
        frame = bytearray(self._jpeg(grey))
        start = frame.index(b"\xff\xc0") + 5
        frame[start : start + 4] = struct.pack(">HH", *size)
        with pytest.raises(ImageError, match=rf"says 24 x 16 x 1, its JPEG holds {size[1]} x {size[0]} x 1"):
            _show(self._dataset(grey, bytes(frame), JPEGBaseline8Bit))

    def test_cut_off_is_told(self, grey: np.ndarray) -> None:
        content = raw_dicom_bytes(self._dataset(grey, self._jpeg(grey), JPEGBaseline8Bit))
        with pytest.raises(ImageError, match=r"cut off.*download it again"):
            _show(content[:-60])

    def test_colour_inside_grey(self) -> None:
        pixels = np.full((8, 8, 3), (200, 40, 10), dtype=np.uint8)
        shown = np.array(_show(self._dataset(pixels[..., 0], self._jpeg(pixels), JPEGBaseline8Bit)))
        assert np.abs(shown - pixels).max() < 6


def test_enhanced_file_holds_slope_and_window_of_each_frame() -> None:
    dataset = dicom_dataset(np.stack([STEPS, STEPS]))
    transform, first, second = Dataset(), Dataset(), Dataset()
    transform.RescaleSlope, transform.RescaleIntercept = 1, -1024
    first.WindowCenter, first.WindowWidth = 0, 2048
    second.WindowCenter, second.WindowWidth = 0, 1
    shared, groups = Dataset(), [Dataset(), Dataset()]
    shared.PixelValueTransformationSequence = Sequence([transform])
    for group, window in zip(groups, (first, second), strict=True):
        group.FrameVOILUTSequence = Sequence([window])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    assert _show(dataset, 0) == WINDOWED
    assert _show(dataset, 1) == [[0, 0, 255, 255, 255, 255, 255, 255]]


def test_shown_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    from mmedpo.imaging.images import read_image

    (tmp_path / "a.png").write_bytes(dicom_bytes(_steps(**WINDOW, BurnedInAnnotation="YES")))
    assert read_image(tmp_path, "a.png").tolist() == WINDOWED
    with pytest.raises(ImageError, match="BurnedInAnnotation"):
        read_image(tmp_path, "a.png", burned_in=False)
    (tmp_path / "a.dcm").write_bytes(b"II*\0" + dicom_bytes(_steps(**WINDOW))[4:])  # TIFF and DICOM in one
    assert read_image(tmp_path, "a.dcm").tolist() == WINDOWED
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1, 2]], dtype=np.uint8)).save(buffer, "PNG")
    (tmp_path / "b.dcm").write_bytes(buffer.getvalue())
    assert read_image(tmp_path, "b.dcm").tolist() == [[1, 2]]
