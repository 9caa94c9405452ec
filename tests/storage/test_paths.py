"""Paths out of data stay in their folder; an output is never an input, whatever it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmedpo.errors import ConfigError, DataError
from mmedpo.storage.paths import check_output, safe_join, same_file, written
from mmedpo.storage.splits import official_name, split_in


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "C:\\x", "a\\b", "out/x", "n" * 50_000]
)
def test_a_path_that_leaves_its_folder_is_refused_under_its_own_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    try:
        safe_join(tmp_path / "in", name, "report", DataError)
    except DataError as error:
        assert str(error).startswith("report ")  # noqa: PT017
        assert len(str(error)) < 500  # noqa: PT017
    else:
        assert name.startswith("nnn"), "only this one is a name, if a long one"


def test_an_output_that_is_an_input_is_refused_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "in.json"
    given.write_text("[]")
    (tmp_path / "link.json").symlink_to(given)
    os.link(given, tmp_path / "hard.json")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    names = ["in.json", "link.json", "hard.json", "sub/../in.json", "./in.json", str(given)]
    for name in names:
        with pytest.raises(ConfigError, match="is the input"):
            check_output(Path(name), [given])
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(Path("sub"), [given])
    check_output(Path("other.json"), [given])
    assert not same_file(Path("other.json"), Path("third.json"))
    assert same_file(Path("other.json"), Path("sub/../other.json"))


def test_what_the_file_system_refuses_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"x\.json cannot be written \(No such file or directory\)"),
        written(Path("x.json")),
    ):
        (tmp_path / "nowhere" / "x").write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file lies where a folder is needed"), written(tmp_path / "file" / "x.json"):
        (tmp_path / "file" / "x.json").parent.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("VQA_test_llavamed_format.jsonl", "test"),
        ("train-00000-of-00002.parquet", "train"),
        ("val_qa.json", "validation"),
        ("validation.json", "validation"),
        ("dev.tsv", "validation"),
        ("vqaTest.json", "test"),
        ("TEST.csv", "test"),
        ("train_test_split_test.csv", "test"),
        ("testing.csv", "test"),
        ("trainval.json", "train"),
        ("latest.csv", ""),
        ("contest_devices.csv", ""),
        ("evaluation.json", ""),
        ("constrained.json", ""),
    ],
)
def test_split_of_a_file_name(name: str, split: str) -> None:
    assert split_in(name) == split


def test_split_names_as_people_spell_them() -> None:
    assert [official_name(name) for name in (" Val", "TEST", "training", "fold-3")] == [
        "validation",
        "test",
        "train",
        "fold-3",
    ]
