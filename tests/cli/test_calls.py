"""The command line of language models: estimate, limits, batch files, recording and replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chat.chat_server import ChatServer
from chat.scripts import always, status
from mmedpo.cli.main import main
from mmedpo.records import PreferencePair
from mmedpo.run import read_run
from score.panel import debating_run, pair, panellist, settings

PAIRS = [pair(number) for number in range(6)]


def command(*arguments: object) -> int:
    try:
        return int(main([str(item) for item in arguments]) or 0)
    except SystemExit as end:
        return int(end.code or 0)


def scores(folder: Path) -> dict[str, float | None]:
    return {item.pair_id: item.score for item in read_run(folder).read("pairs.parquet", PreferencePair)}


def test_score_then_calls_then_record_then_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = tmp_path / "live"
    with ChatServer(panellist) as server:
        debating_run(live, settings({"a": server.url, "b": server.url}), PAIRS)
        assert command("score", live) == 0
        sent = len(server.requests)
    capsys.readouterr()
    assert command("calls", live, "--record", tmp_path / "answers.jsonl") == 0
    out = capsys.readouterr().out
    assert f"{sent} answers written to" in out
    assert [line.split()[0] for line in out.splitlines()[:2]] == ["a", "b"]
    assert command("calls", live, "--record", live / "calls.sqlite") == 2
    assert "is the input" in capsys.readouterr().err
    replayed = {"kind": "replay", "recording": str(tmp_path / "answers.jsonl")}
    again = tmp_path / "again"
    debating_run(again, settings({"a": server.url, "b": server.url}, endpoint=replayed), PAIRS)
    assert command("score", again) == 0
    assert scores(again) == scores(live)
    other = tmp_path / "other"
    debating_run(other, settings({"a": server.url, "b": server.url}, endpoint=replayed), [pair(77)])
    assert command("score", other) == 2
    assert "has no answer to call" in capsys.readouterr().err


def test_an_estimate_ends_well_and_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(panellist) as server:
        debating_run(tmp_path / "r", settings({"a": server.url}), PAIRS)
        assert command("score", tmp_path / "r", "--estimate") == 0
    assert server.received == []
    err = capsys.readouterr().err
    assert "a: 6 to 30 calls" in err
    assert "nothing was sent" in err


def test_batch_files_go_out_and_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "r"
    debating_run(folder, settings({"a": "http://127.0.0.1:9/v1"}), PAIRS)
    assert command("score", folder, "--batch-out", tmp_path / "out") == 0
    assert "6 requests for 6 items written to" in capsys.readouterr().err
    (file,) = (tmp_path / "out").iterdir()
    results = []
    for line in file.read_text().splitlines():
        entry = json.loads(line)
        body = json.loads(panellist(entry["body"], 0).reply.partition(b"\r\n\r\n")[2])
        results.append({"custom_id": entry["custom_id"], "response": {"status_code": 200, "body": body}})
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, reversed(results))))
    assert command("score", folder, "--batch-in", tmp_path / "in.jsonl") == 0
    assert len(scores(folder)) == 6
    # A request file in the place of results is one clear line.
    debating_run(tmp_path / "s", settings({"a": "http://127.0.0.1:9/v1"}), PAIRS)
    assert command("score", tmp_path / "s", "--batch-in", file) == 2
    assert "give the results, not the requests" in capsys.readouterr().err


def test_restricted_data_needs_its_name_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "r"
    debating_run(folder, settings({"a": "http://192.0.2.1/v1"}), PAIRS, data_use="restricted")
    assert command("score", folder) == 2
    assert "dataset 'phantom' is restricted" in capsys.readouterr().err
    assert command("score", folder, "--allow-external", "mimic-cxr") == 2
    assert "type that name" in capsys.readouterr().err
    assert command("score", folder, "--allow-external", "phantom", "--estimate") == 0


def test_options_without_effect_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    debating_run(tmp_path / "r", settings({}, score={"agents": ["rubric-language"]}), PAIRS)
    assert command("score", tmp_path / "r", "--estimate") == 2
    assert "no language model works in score of this run" in capsys.readouterr().err
    assert command("run", "phantom-dpo", "--runs", tmp_path, "--allow-external", "phantom") == 2
    assert "no language model works in curate or score" in capsys.readouterr().err


def test_no_line_of_a_failing_run_carries_patient_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = pair(1).model_copy(update={"question": "Does Mrs Example have a nodule?"})
    for number, code in enumerate((400, 404, 500)):
        folder = tmp_path / f"run{number}"
        with ChatServer(always(status(code, body=b'{"error": {"message": "Mrs Example"}}'))) as server:
            debating_run(folder, settings({"a": server.url}, endpoint={"attempts": 2}, score={"rounds": 1}), [secret])
            command("score", folder)
        printed = capsys.readouterr()
        assert "Example" not in printed.out + printed.err
