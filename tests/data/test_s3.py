"""Datasets and preference files on S3, from a server that the test starts: the same as from a disk, or one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.layouts import LAYOUTS, Layout, dataset_of, settings_of, table_jsonl, vqa_rad
from mmedpo.cli.main import main
from mmedpo.errors import ImageError, MMedPOError, StorageError
from mmedpo.imaging.images import read_image
from mmedpo.run.layout import EXAMPLES
from mmedpo.storage import remote
from mmedpo.storage.remote import RemotePath, located

pytestmark = pytest.mark.long
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


class Store:
    """A bucket of the server."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._send("", b"")

    def _send(self, key: str, content: bytes) -> None:
        where = f"{self.endpoint}/bucket/{urllib.parse.quote(key)}" if key else f"{self.endpoint}/bucket"
        # Without a type of its own the body would be taken for a form.
        request = urllib.request.Request(where, content, {"Content-Type": "application/octet-stream"}, method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()

    def put(self, key: str, content: bytes) -> None:
        self._send(key, content)

    def delete(self, key: str) -> None:
        remote._store(located(Path("s3://bucket"))).delete_file(f"bucket/{key}")  # signed, as a server wants it

    def upload(self, folder: Path, below: str) -> Path:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{below}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return located(Path(f"s3://bucket/{below}"))


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    pytest.importorskip("moto", reason="the S3 server of these tests (mmedpo[dev]) is not installed")
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield Store(f"http://{host}:{port}")
    started.stop()


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(remote, "_buckets", set())
    return server


@every_layout
def test_every_dataset_is_read_as_from_a_disk(layout: Layout, tmp_path: Path, store: Store) -> None:
    layout.write(tmp_path)
    here = dataset_of(layout).read(tmp_path, settings_of(layout))
    there = dataset_of(layout).read(store.upload(tmp_path, f"sets/{layout.dataset}-{id(layout)}"), settings_of(layout))
    assert there.examples == here.examples
    assert there.drops == here.drops
    assert there.notes == here.notes


def test_nothing_of_a_bucket_lies_on_the_disk_but_tables(tmp_path: Path, store: Store) -> None:
    vqa_rad(tmp_path / "data")
    root = store.upload(tmp_path / "data", "vqa-rad")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = _folder_of(_run_data(tmp_path / "here", str(tmp_path / "data")))
    there = _folder_of(_run_data(tmp_path / "there", str(root)))
    assert there[EXAMPLES] == here[EXAMPLES]
    assert not [name for name in there if name.endswith((".jpg", ".png"))]
    assert "secret" not in " ".join(content.decode(errors="ignore") for content in there.values())


def _folder_of(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def _run_data(folder: Path, root: str) -> Path:
    """The run folder after its data stage."""
    from mmedpo.config import validate_settings
    from mmedpo.data.stage import stage
    from mmedpo.run import open_run

    settings = validate_settings(
        {"data": {"dataset": "vqa-rad", "root": root, "fractions": [1, 0, 0]}, "ground": {"tool": "annotation"}}, "it"
    )
    with open_run(folder / "run", settings) as run:
        assert run.execute(stage(run.settings))
        assert not run.execute(stage(run.settings)), "a bucket that did not change is read once"
        assert (run.image_root / "VQA_RAD Image Folder" / "synpic0.jpg").is_file()
    return folder / "run"


def test_import_and_lint_read_a_bucket_and_write_here(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    table_jsonl(tmp_path / "data")
    root = store.upload(tmp_path / "data", "prefs")
    image = next(path for path in root.rglob("*.png"))
    turns = [{"role": "user", "content": "<image>a?"}, {"role": "assistant", "content": "yes"}]
    row = {"messages": turns, "rejected_response": "no", "images": [str(image.relative_to(root))]}
    store.put("prefs/pairs.jsonl", json.dumps(row).encode())
    main_ok(["import", "s3://bucket/prefs/pairs.jsonl", str(tmp_path / "rows.parquet")])
    assert "1 rows with all their images, 1 images read, 0 not" in capsys.readouterr().out
    main_ok(["export", "s3://bucket/prefs/pairs.jsonl", str(tmp_path / "t.parquet"), "--to", "trl"])
    assert (tmp_path / "t.parquet").is_file()
    main_ok(["lint", "s3://bucket/prefs/pairs.jsonl", "--json"])


def main_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code in (0, None)


def test_keys_cannot_lead_out_of_the_folder(tmp_path: Path, store: Store) -> None:
    for key in ("keys/a/../../evil.png", "keys//double.png", "keys/./dot.png", "keys/a\x1b[31m.png", "keys/good.png"):
        store.put(key, b"x")
    store.put("outside.png", b"x")
    root = located(Path("s3://bucket/keys"))
    names = {path.name for path in root.rglob("*") if path.is_file()}
    assert names == {"good.png", "a\x1b[31m.png"}
    assert all(path.is_relative_to(root) for path in root.rglob("*"))
    for bad in ("../outside.png", "/etc/passwd", "a/../../outside.png", "s3://other/x.png", "..\\outside.png"):
        with pytest.raises(ImageError) as caught:
            read_image(root, bad)
        assert "\n" not in str(caught.value)
        assert "unreadable" not in str(caught.value), "it was fetched"
    with pytest.raises(ImageError, match="unreadable"):
        read_image(root, "good.png")


def _one_line(read: Callable[[], Any], *says: str) -> None:
    begun = time.monotonic()
    with pytest.raises(MMedPOError) as caught:
        read()
    assert time.monotonic() - begun < 30
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 300
    assert all(part in told for part in says), told


def test_what_a_store_refuses_is_one_line(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    layout = LAYOUTS["vqa-rad"]
    layout.write(tmp_path)
    root = store.upload(tmp_path, "refused")

    def read(where: str = "s3://bucket/refused") -> Any:
        return dataset_of(layout).read(located(Path(where)), settings_of(layout))

    _one_line(lambda: read("s3://no-such-bucket/x"), "has no bucket 'no-such-bucket'", "check its name")
    _one_line(lambda: read("s3://bucket/nothing-here"), "s3://bucket/nothing-here does not exist")
    with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        _one_line(read, "refuses the key", "check AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        _one_line(read, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        _one_line(read, "asks for a key; set AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    _one_line(read, "http://127.0.0.1:9 cannot be reached", "check AWS_ENDPOINT_URL")
    assert isinstance(root, RemotePath)


@pytest.mark.timeout(900)
def test_workers_of_a_cluster_see_a_bucket_as_one_process_sees_a_disk(tmp_path: Path, store: Store) -> None:
    """Marking, noising and sampling read images and masks there; keys come from the environment of the node."""
    pytest.importorskip("ray")
    LAYOUTS["slake"].write(tmp_path / "data")
    root = store.upload(tmp_path / "data", "on-ray")
    small = ["data.dataset=slake", "finetune=null", "curate.kinds=[text,visual]", "ground.minimum_confidence=0"]
    for name, given in (
        ("local", [f"data.root={tmp_path / 'data'}"]),
        ("ray", [f"data.root={root}", "executor.name=ray"]),
    ):
        sets = [part for one in (*small, *given) for part in ("--set", one)]
        command = ["run", "vqa-rad", "--name", name, "--runs", str(tmp_path), "--until", "score", *sets]
        environment = {**os.environ, "RAY_worker_niceness": "0", "RAY_ADDRESS": ""}
        done = subprocess.run(
            [sys.executable, "-m", "mmedpo", *command], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
    local, ray = (_folder_of(tmp_path / name) for name in ("local", "ray"))
    tables = {name for name in local if name.endswith((".parquet", ".npy"))}
    assert {"groundings.parquet", "candidates.parquet", "pairs.parquet"} <= tables
    assert {name: ray[name] for name in tables} == {name: local[name] for name in tables}


def test_a_store_that_is_silent_or_cut_ends_the_work_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 2)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    remote._opened.cache_clear()
    root = located(Path("s3://bucket/x"))
    with answering(b"") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        _one_line(lambda: read_image(root, "a.png"), "does not answer in time")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n"
    with answering(head, b"HTTP/1.1 206 OK\r\nContent-Length: 100000\r\n\r\nabc") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        _one_line(lambda: read_image(root, "a.png"), "cuts connections")
    remote._opened.cache_clear()


class answering:
    """A server that says one thing to HEAD and one to everything else; it hangs where it says nothing."""

    def __init__(self, head: bytes, other: bytes | None = None) -> None:
        self._head, self._other = head, head if other is None else other

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        held = []
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                break
            said = self._head if client.recv(65536).startswith(b"HEAD") else self._other
            held.append(client)
            if said:
                client.sendall(said)
                client.close()
        for client in held:
            client.close()

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_an_object_that_vanishes_is_missing_and_one_that_cannot_be_asked_ends_the_reading(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LAYOUTS["vqa-rad"]
    layout.write(tmp_path)
    root = store.upload(tmp_path, "vanish")
    seen = [path for path in root.rglob("*") if path.name == "synpic3.jpg"]
    store.delete("vanish/VQA_RAD Image Folder/synpic3.jpg")
    with pytest.raises(FileNotFoundError):
        seen[0].read_bytes()
    reading = dataset_of(layout).read(root, settings_of(layout))
    assert [drop.reason for drop in reading.drops] == ["unreadable-image"]
    assert "is missing in s3://bucket/vanish; download it again" in reading.drops[0].detail

    def cut(path: Path, *_: object) -> bytes:
        raise StorageError(f"{path} cannot be read: cut")

    # A network that fails is not a broken image: nothing is dropped for it.
    monkeypatch.setattr(RemotePath, "read_bytes", cut)
    with pytest.raises(StorageError):
        dataset_of(layout).read(root, settings_of(layout))
