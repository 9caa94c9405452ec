"""The terminal obeys nothing that data say, and shows everything else as it is."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.cli.main import main
from mmedpo.errors import ConfigError
from mmedpo.progress import LineReporter
from mmedpo.terminal import console, printable, safe_streams, shortened

ESCAPES = "\x1b]0;pwned\x07 \x1b[2J \x9b31m \u202eabc \u200b \ufeff \x08\x7f"
ORDINARY = "右侧胸腔积液, naïve Größe, مرحبا, हिन्दी, 한국어, µm², 4–5 × 10⁻³, \t tab"


@given(st.text())
def test_nothing_invisible_is_left_and_nothing_visible_changed(text: str) -> None:
    shown = printable(text)
    # Signs of Arabic and Brahmi that are written before a number are of the same category, and visible.
    visible = {"\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd", "\u070f", "\u0890", "\u0891"}
    visible |= {"\u08e2", "\U000110bd", "\U000110cd", "\n", "\t"}
    for character in set(shown) - visible:
        hieroglyphs_or_shorthand = 0x13430 <= ord(character) <= 0x1343F or 0x1BCA0 <= ord(character) <= 0x1BCA3
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or hieroglyphs_or_shorthand
    assert json.loads(f'"{shown}"') == text if shown.isprintable() and not set(text) & set('"\\') else True


def test_ordinary_text_of_any_script_stays() -> None:
    assert printable(ORDINARY) == ORDINARY
    assert printable(ESCAPES).startswith("\\u001b]0;pwned\\u0007 \\u001b[2J \\u009b31m \\u202eabc \\u200b \\ufeff")


def test_streams_are_safe_for_everything_and_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with safe_streams():
        print(ESCAPES, ORDINARY)  # noqa: T201
        sys.stderr.writelines([ESCAPES])
    assert (sys.stdout, sys.stderr) == before
    shown = capsys.readouterr()
    assert shown.out == f"{printable(ESCAPES)} {ORDINARY}\n"
    assert shown.err == printable(ESCAPES)


def test_what_the_encoding_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    with safe_streams():
        print("右 right \udcff")  # noqa: T201
        sys.stdout.flush()
    assert raw.getvalue() == b"\\u53f3 right \\udcff\n"


def test_progress_and_tables_spell_out_what_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    reporter.message(f"read {ESCAPES}")
    reporter.track(ESCAPES)(1, 1)
    console().print(ESCAPES, markup=False)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\x9b" not in shown.out + shown.err
    assert "\\u001b[2J" in shown.out


def test_error_line_is_short_and_safe_whatever_the_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConfigError(f"value is {ESCAPES * 3000}; allowed is less; say less")

    monkeypatch.setattr("mmedpo.cli.main.app", fail)
    with pytest.raises(SystemExit):
        main([])
    line = capsys.readouterr().err
    assert line.startswith("error: value is \\u001b]0;pwned")
    assert line.endswith("allowed is less; say less\n")
    assert line.count("\n") == 1
    assert len(line) < 4000  # each of the characters kept may take six
    assert "\x1b" not in line


def test_short_lines_are_left_as_they_are() -> None:
    assert shortened("a\n b") == "a b"
    assert len(shortened("x" * 5000, 100)) <= 100


@pytest.mark.parametrize("name", ["a\x1b]0;x\x07.json", "右\u202egnj.json"])
def test_on_a_real_terminal(tmp_path: Path, name: str) -> None:
    """File names in error lines, and tables, on a pseudo terminal, where colours are on."""
    row = {"question": f"Q {ESCAPES}?", "chosen": ESCAPES, "rejected": ESCAPES, "image": f"{ESCAPES}.jpg"}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    shown = b""
    for arguments in (["lint", name, "--images", "."], ["lint", "rows.json", "--images", ".", "--format", name]):
        parent, child = pty.openpty()
        command = [sys.executable, "-m", "mmedpo", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stdin=child, stdout=child, stderr=child, close_fds=True)
        os.close(child)
        try:
            while part := os.read(parent, 65536):
                shown += part
        except OSError:  # how Linux says that the other end has closed
            pass
        process.wait()
        os.close(parent)
    assert b"error" in shown
    for escape in (b"\x1b]", b"\x07", "\u202e".encode()):
        assert escape not in shown
    assert name[0].encode() in shown
