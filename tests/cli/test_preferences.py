"""`import`, `export`, `lint` and `deidentify` as a user calls them, and the released file through all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imaging.dicom_files import dicom_bytes, dicom_dataset
from mmedpo import load_settings, open_run, run_stages
from mmedpo.cli.main import main
from mmedpo.lint.findings import Change, LintReport
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.writing import export_rows
from mmedpo.records import PreferencePair, PreferenceRow
from mmedpo.storage.tables import read_table
from preferences.rows import preference_row


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    written = capsys.readouterr()
    return int(caught.value.code or 0), written.out, written.err


@pytest.fixture
def released(shared_data: Path, decoded_once: None) -> tuple[Path, Path]:
    return (
        shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json",
        shared_data / "vqa_rad",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "noised.png"):
        seed = [7, len(name), ord(name[0])]
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)).save(tmp_path / name)
    return tmp_path


def _file(folder: Path, *rows: PreferenceRow) -> Path:
    export_rows(rows, folder / "prefs.json", "mmedpo-json", folder)
    return folder / "prefs.json"


def _report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, LintReport]:
    code, out, _ = _run(capsys, "lint", *arguments, "--json")
    return code, LintReport.model_validate_json(out)


def _counts(report: LintReport) -> dict[str, int]:
    return {finding.check: finding.count for finding in report.findings}


# The released file (the numbers of METHOD section 7, that concern VQA-RAD).


def test_released_file_is_imported_and_joined(released, tmp_path: Path, capsys) -> None:
    file, root = released
    out = tmp_path / "prefs.parquet"
    code, told, _ = _run(
        capsys, "import", file, out, "--images", root / "images", "--dataset", "vqa-rad", "--root", root,
        "--licence", "Apache-2.0",
    )  # fmt: skip
    assert code == 0
    assert "1797 rows imported from vqa-rad_dpo_weighted.json (mmedpo-json), 0 left out" in told
    assert "1797 rows with all their images, 313 images read, 0 not" in told
    assert "1797 rows joined to a question of vqa-rad" in told
    rows = read_table(out, PreferenceRow)
    assert len(rows) == 1797
    assert len({row.image_hashes for row in rows}) == 313
    assert all(row.example_id.startswith("vqa-rad-") for row in rows)
    card = (tmp_path / "prefs.md").read_text()
    assert "| pairs | 1797 |" in card
    assert "| mmedpo-json (vqa-rad_dpo_weighted.json) | Apache-2.0 |" in card
    assert "| vqa-rad | CC0-1.0" in card
    assert "18569b89645ca856e5e7ee7823059009597a869daa95277766a9d4a5a280e4ef" in card


def test_released_file_shows_the_published_faults(released, capsys) -> None:
    file, root = released
    code, report = _report(capsys, file, "--images", root / "images")
    found = {finding.check: finding for finding in report.findings}
    assert (code, report.rows, report.format) == (3, 1797, "mmedpo-json")
    assert found["leaked-prompt-chosen"].count == 28
    assert found["leaked-prompt-rejected"].rows == (298, 1532, 1578, 1596, 1795)
    assert found["zero-weight"].count == 12
    length = found["length-shortcut"].numbers
    assert length["rejected_longer"] == pytest.approx(0.94, abs=0.005)
    assert length["rejected_mean"] == pytest.approx(13, abs=0.5)
    assert length["chosen_mean"] == pytest.approx(2, abs=0.05)
    assert length["accuracy"] > 0.95
    assert found["word-shortcut"].numbers["accuracy"] > 0.95
    assert found["same-polarity"].rows == (370, 1352)
    assert found["chosen-contained"].count == 43
    assert found["weights-on-a-bound-zscore"].count / 1797 == pytest.approx(0.63, abs=0.005)
    assert found["weights-on-a-bound-literal"].count == 1797
    assert "weights-on-a-bound-rescale" not in found
    assert "unreadable-image" not in found


def test_released_file_leaks_into_the_official_test(released, capsys) -> None:
    file, root = released
    _, report = _report(
        capsys, file, "--images", root / "images", "--dataset", "vqa-rad", "--root", root, "--split", "official"
    )
    assert _counts(report)["test-image"] == 1063
    assert "test-leak" in report.checked


@pytest.mark.long
def test_cleaned_copy_of_the_released_file_trains(released, tmp_path: Path, small_vlm_folder: Path, capsys) -> None:
    file, root = released
    cleaned = tmp_path / "cleaned.json"
    code, out, err = _run(capsys, "lint", file, "--images", root / "images", "--fix", cleaned, "--json")
    report = LintReport.model_validate_json(out)
    assert code == 1
    assert not [finding for finding in report.findings if finding.severity == "error"]
    assert "1782 of 1797 rows written" in err
    log = (tmp_path / "cleaned.changes.jsonl").read_text()
    changes = [Change.model_validate_json(line) for line in log.splitlines()]
    dropped = {change.row for change in changes if change.action == "drop"}
    assert len(dropped) == 15
    rows = {row.row_id for row in read_rows(cleaned).rows}
    assert len(rows) == 1782
    overrides = [
        f"data.root={root}",
        f"preferences.path={cleaned}",
        f"model.name={small_vlm_folder}",
        "finetune=null",
        "data.max_train_examples=40",
        "evaluate.max_new_tokens=4",
        "train.epochs=1",
        "train.watch.questions=8",
        "train.watch.every=50",
    ]
    with open_run(tmp_path / "run", load_settings("vqa-rad-released", overrides)) as run:
        run_stages(run, until="train")
        pairs = run.read("pairs.parquet", PreferencePair)
        assert len(pairs) > 10
        assert {pair.pair_id.removesuffix("/text") for pair in pairs} <= rows
        assert (run.file("adapter") / "adapter_model.safetensors").exists()


# Exit codes, options, mistakes.


def test_exit_code_is_by_severity(folder: Path, capsys) -> None:
    fine = [
        preference_row(n, f"Q{n}?", chosen, rejected, score=0.5 + n / 10)
        for n, (chosen, rejected) in enumerate([("yes", "no"), ("no", "yes"), ("left", "right")])
    ]
    assert _report(capsys, _file(folder, *fine))[0] == 0
    warned = preference_row(3, "Q3?", "loss", "no loss", score=0.7)
    code, report = _report(capsys, _file(folder, *fine, warned))
    assert code == 1
    assert next(f for f in report.findings if f.severity == "warning").check == "chosen-contained"
    bad = preference_row(4, "Q4?", "same", "same", score=0.8)
    code, report = _report(capsys, _file(folder, *fine, warned, bad))
    assert (code, report.worst()) == (3, "error")
    code, _, err = _run(capsys, "lint", folder / "nowhere.json")
    assert code == 2
    assert err.startswith("error: ")


def test_table_and_rows_are_for_people(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    rows = [preference_row(0, "Where?", "loss", "no loss [at all]"), preference_row(1, "How?", "no", "yes")]
    file = _file(folder, *rows)
    code, out, _ = _run(capsys, "lint", file)
    assert code == 1
    assert "chosen-contained" in out
    assert "rows 0" in out
    assert "not checked: truncated" in out
    assert "0 errors, 2 warnings, 0 notes" in out
    _, out, _ = _run(capsys, "lint", file, "--rows", "chosen-contained")
    assert out.splitlines()[1:] == [
        "row 0 (a.png, weight 0.5)",
        "  asked    Where?",
        "  chosen   loss",
        "  rejected no loss [at all]",
    ]
    code, _, err = _run(capsys, "lint", file, "--rows", "duplicate")
    assert (code, err.count("\n")) == (2, err.count("\n"))
    assert "no such finding in this file; found were" in err


def test_noised_area_is_measured_on_the_images(folder: Path, capsys) -> None:
    pixels = np.asarray(Image.open(folder / "a.png")).copy()
    pixels[0, 0] ^= 255  # one of 256 pixels: 0.4 %
    Image.fromarray(pixels).save(folder / "b.png")
    rows = [
        preference_row(0, "Q0?", "yes", "yes", pair_type="visual", rejected_images=("noised.png",), score=0.1),
        preference_row(1, "Q1?", "yes", "yes", pair_type="visual", rejected_images=("b.png",), score=0.2),
    ]
    _, report = _report(capsys, _file(folder, *rows))
    assert {c for c in _counts(report) if c.startswith("noised")} == {"noised-nearly-everything"}
    Image.fromarray(np.asarray(Image.open(folder / "a.png"))).save(folder / "b.png", compress_level=0)
    _, report = _report(capsys, _file(folder, *rows))
    assert _counts(report)["noised-nearly-nothing"] == 1


def test_tokenizer_tells_what_would_be_cut(folder: Path, small_vlm_folder: Path, capsys) -> None:
    rows = [preference_row(0, "Q?", "yes", "no"), preference_row(1, "Q2?", "yes", "no " * 200, score=0.6)]
    file = _file(folder, *rows)
    options = ("--tokenizer", small_vlm_folder, "--image-tokens", 64, "--max-length", 200)
    _, report = _report(capsys, file, *options)
    truncated = next(finding for finding in report.findings if finding.check == "truncated")
    assert truncated.rows == (1,)
    code, _, err = _run(capsys, "lint", file, "--max-length", 200)
    assert code == 2
    assert "--max-length has no effect without --tokenizer" in err


def test_lint_reads_images_inside_a_file_and_leaves_nothing_behind(folder: Path, tmp_path: Path, capsys) -> None:
    rows = [preference_row(n, f"Q{n}?", "left", "right", score=n / 10 + 0.1) for n in range(3)]
    alone = tmp_path / "alone"
    export_rows(rows, alone / "p.parquet", "trl", folder, carry=False)
    code, report = _report(capsys, alone / "p.parquet")
    assert _counts(report) == {"missing-weight": 3}
    assert code == 0
    assert [path.name for path in alone.iterdir()] == ["p.parquet"]


def test_rows_are_told_by_their_place_in_the_file_at_hand(folder: Path, capsys) -> None:
    rows = [preference_row(n, f"Q{n}?", "left", "left" if n == 17 else "right", score=n / 100) for n in (5, 17)]
    export_rows(rows, folder / "table.parquet", "mmedpo", folder)
    _, report = _report(capsys, folder / "table.parquet")
    assert next(f for f in report.findings if f.check == "identical-sides").rows == (1,)
    _run(capsys, "lint", folder / "table.parquet", "--fix", folder / "clean.parquet")
    (kept,) = read_table(folder / "clean.parquet", PreferenceRow)
    assert kept.source_row == 5, "where it came from stays"


def test_a_mending_that_would_leave_no_row_says_what_it_left_out(folder: Path, capsys) -> None:
    rows = [preference_row(n, f"Q{n}?", "left", "left") for n in (5, 17)]
    code, _, err = _run(capsys, "lint", _file(folder, *rows), "--fix", folder / "clean.jsonl")
    assert code == 2
    assert "clean.jsonl would hold no row: all 2 are left out (2 x identical-sides)" in err.splitlines()[-1]
    assert not (folder / "clean.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--root", "."], "--root and --split have no effect without --dataset"),
        (["--dataset", "vqa-rad"], "--dataset vqa-rad needs --root"),
        (["--drop", "blanks"], "--drop has no effect without --fix"),
        (["--fix", "out.json", "--drop", "nothing"], "--drop nothing: no such finding"),
        (["--format", "csv"], "unknown preference-format 'csv'; known: benchmark-json, llama-factory"),
        (["--tokenizer", "nowhere"], "--tokenizer nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], line: str, folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    code, _, err = _run(capsys, "lint", _file(folder, preference_row()), *arguments)
    assert code == 2
    assert line in err.splitlines()[-1]


def test_export_says_what_the_target_cannot_hold(folder: Path, capsys) -> None:
    rows = [
        preference_row(0),
        preference_row(1, "Q?", "yes", "yes", pair_type="visual", rejected_images=("noised.png",)),
    ]
    code, out, _ = _run(capsys, "export", _file(folder, *rows), folder / "t.parquet", "--to", "trl")
    assert code == 0
    assert "1 rows written to" in out
    assert "left out: 1 rejected-image-not-held; the first: trl has no column for the image of a rejected side" in out
    assert "not read by trl: score of 1 rows" in out


def test_deidentified_folder_tells_nothing(tmp_path: Path, capsys, monkeypatch) -> None:
    source = tmp_path / "Secret Patient"
    source.mkdir()
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    (source / "secret.dcm").write_bytes(dicom_bytes(dicom_dataset(pixels, PatientName="Secret^Name")))
    (source / "burned.dcm").write_bytes(dicom_bytes(dicom_dataset(pixels, BurnedInAnnotation="YES")))
    (source / "notes.txt").write_text("Secret")
    monkeypatch.delenv("MMEDPO_SALT", raising=False)
    code, _, err = _run(capsys, "deidentify", source, tmp_path / "clean")
    assert code == 2
    assert "MMEDPO_SALT" in err
    monkeypatch.setenv("MMEDPO_SALT", "a long secret")
    code, out, _ = _run(capsys, "deidentify", source, tmp_path / "clean")
    assert code == 1
    assert "1 files written" in out
    assert "1 refused, 1 hold no DICOM image" in out
    (copy,) = (tmp_path / "clean").iterdir()
    assert b"ecret" not in copy.read_bytes()
    assert "ecret" not in copy.name
    code, _, err = _run(capsys, "deidentify", source, source / "clean")
    assert code == 2
    assert "lies in" in err


def test_card_is_read_by_hubs(folder: Path, capsys) -> None:
    import yaml

    _run(capsys, "import", _file(folder, preference_row(0), preference_row(1)), folder / "out.parquet")
    text = (folder / "out.md").read_text()
    front: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    assert front["pretty_name"] == "out"
    assert "preference" in front["tags"]
    assert json.dumps(front)


@pytest.mark.parametrize("name", ["prefs.json", "link.json", "hard.json", "sub/../prefs.json"])
def test_an_output_never_replaces_its_input(name: str, folder: Path, capsys, monkeypatch) -> None:
    file = _file(folder, preference_row(0))
    before = file.read_bytes()
    (folder / "link.json").symlink_to(file)
    (folder / "hard.json").hardlink_to(file)
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder)
    for arguments in (
        ("export", "prefs.json", name, "--to", "mmedpo-json", "--plain"),
        ("lint", "prefs.json", "--fix", name),
    ):
        code, _, err = _run(capsys, *arguments)
        assert (code, "is the input" in err.splitlines()[-1]) == (2, True)
    assert file.read_bytes() == before
    export_rows([preference_row(0)], folder / "t.parquet", "mmedpo", folder)
    code, _, err = _run(capsys, "import", folder / "t.parquet", folder / "t.parquet")
    assert (code, "is the input" in err.splitlines()[-1]) == (2, True)


def test_the_log_of_changes_never_replaces_the_input(folder: Path, capsys) -> None:
    file = folder / "x.changes.jsonl"
    export_rows([preference_row(0)], file, "ms-swift", folder)
    code, _, err = _run(capsys, "lint", file, "--fix", folder / "x.jsonl")
    assert (code, "is the input" in err.splitlines()[-1]) == (2, True)


@pytest.mark.parametrize("place", ["/proc/x.{}", "/proc/1/x.{}", "prefs.json/x.{}"])
def test_a_place_that_cannot_be_written_is_one_line(place: str, folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    _file(folder, preference_row(0))
    for arguments in (
        ("import", "prefs.json", place.format("parquet")),
        ("export", "prefs.json", place.format("json"), "--to", "mmedpo-json"),
        ("lint", "prefs.json", "--fix", place.format("json")),
    ):
        code, _, err = _run(capsys, *arguments)
        assert code == 2
        assert "cannot be written (" in err.splitlines()[-1]
        assert ".partial" not in err


def test_images_inside_a_file_are_written_beside_the_output(folder: Path, tmp_path: Path, capsys) -> None:
    rows = [preference_row(n, f"Q{n}?", "left", "right", score=n / 10 + 0.1) for n in range(3)]
    alone, out = tmp_path / "alone", tmp_path / "out"
    out.mkdir()
    export_rows(rows, alone / "p.parquet", "rlhf-v", folder, carry=False)
    for arguments in (
        ("import", alone / "p.parquet", out / "t.parquet"),
        ("export", alone / "p.parquet", out / "t.jsonl", "--to", "ms-swift"),
    ):
        code, told, _ = _run(capsys, *arguments)
        assert code == 0
        assert f"1 images from inside the file written to {out / 'images'}" in told
        assert _report(capsys, out / arguments[2].name)[0] == 0
    assert [path.name for path in alone.iterdir()] == ["p.parquet"]
    code, _, err = _run(capsys, "lint", alone / "p.parquet", "--fix", out / "clean.jsonl")
    assert code == 2
    assert "rlhf-v is written to .parquet" in err


@pytest.mark.parametrize("command", [("import", "out.parquet"), ("export", "out.jsonl", "--to", "ms-swift")])
def test_a_file_without_a_usable_row_is_an_error_not_an_empty_table(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    rows = [{"messages": [{"role": "user", "content": "Q?"}], "rejected_response": "No"}] * 2
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name, out, *more = command
    code, _, told = _run(capsys, name, folder / "p.jsonl", folder / out, *more)
    assert code == 2
    assert "none of its 2 rows is a preference (2 malformed-row; the first: row 0" in told
    assert not (folder / out).exists()
