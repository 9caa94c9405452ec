"""What a run has paid for, read beside whoever writes, and without a trace."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mmedpo.chat.cache import CallCache, answers_of, costs_of
from mmedpo.errors import RunFolderError
from report.spoken_run import pay


def test_costs_hold_this_runs_calls_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    pay(path, "mine")
    pay(path, "another")
    biomistral, gpt, med42 = costs_of(path, "mine")
    assert (gpt.endpoint, gpt.calls, gpt.attempts, gpt.input_tokens, gpt.output_tokens) == ("gpt", 9, 9, 8100, 540)
    assert gpt.usd == pytest.approx(0.027)
    assert (med42.calls, med42.attempts, med42.failures) == (21, 23, (("HTTP 503", 2),))
    assert (biomistral.estimated, biomistral.failures) == (10, (("HTTP 500", 40),))
    assert costs_of(path, "nobody") == []


def test_reading_costs_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    pay(path, "mine")
    before = path.read_bytes(), sorted(tmp_path.iterdir())
    costs_of(path, "mine")
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_costs_are_seen_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    writing = CallCache(path, "mine")
    try:
        pay(path, "mine")
        assert [item.calls for item in costs_of(path, "mine")] == [10, 9, 21]
        assert [item.calls for item in writing.costs()] == [10, 9, 21]
    finally:
        writing.close()


def test_an_endpoint_that_never_answered_is_told(tmp_path: Path) -> None:
    cache = CallCache(tmp_path / "calls.sqlite", "mine")
    cache.failed("med42", "timeout")
    cache.close()
    (item,) = costs_of(tmp_path / "calls.sqlite", "mine")
    assert (item.endpoint, item.calls, item.attempts, item.failures) == ("med42", 0, 0, (("timeout", 1),))


def test_a_name_with_marks_of_an_address_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=rw&b #1%20.sqlite"
    pay(path, "mine")
    assert len(costs_of(path, "mine")) == 3


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at as one" * 20, None])
def test_what_is_no_cache_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "calls.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"calls\.sqlite cannot be read as a call cache") as raised:
        costs_of(path, "mine")
    assert "\n" not in str(raised.value)
    assert path.exists() == (content is not None)


def test_a_cache_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    pay(path, "mine")
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version=9")
    file.close()
    with pytest.raises(RunFolderError, match=r"another version \(9\)"):
        costs_of(path, "mine")


def test_a_database_of_another_program_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.sqlite"
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE places (url TEXT)")
    file.commit()
    file.close()
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match="a database of something else"):
        CallCache(path, "mine")
    with pytest.raises(RunFolderError, match="a database of something else"):
        costs_of(path, "mine")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "hostile",
    [
        "ALTER TABLE calls RENAME TO c; CREATE VIEW calls AS WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key "
        "FROM n) SELECT * FROM n",
        "CREATE TRIGGER t AFTER INSERT ON calls BEGIN UPDATE calls SET reply = '10'; END",
        "DROP TABLE failures; CREATE VIEW failures AS SELECT * FROM calls",
    ],
)
def test_a_received_cache_computes_nothing(tmp_path: Path, hostile: str) -> None:
    """A view without end would hang whoever looks; a trigger would write what it likes."""
    path = tmp_path / "calls.sqlite"
    pay(path, "mine")
    file = sqlite3.connect(path)
    file.executescript(hostile)
    file.close()
    for opened in (lambda: CallCache(path, "mine"), lambda: costs_of(path, "mine"), lambda: list(answers_of(path))):
        with pytest.raises(RunFolderError, match="a database of something else"):
            opened()
