"""Faces and shards on servers that speak the protocols of S3, of Google's storage and of the Hugging Face hub.

S3's is behind a network that fails.
"""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner, Result
from fsspec.config import conf

from degrade_kit.errors import RunError
from degrade_kit.pipelines.cli import main
from degrade_kit.sources import open_sources
from degrade_kit.store import open_store
from degrade_kit.streaming import PairDataset

pytestmark = pytest.mark.long

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
numbers = itertools.count()


def upload(folder: Path, url: str) -> str:
    store = open_store(url)
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path.read_bytes())
    return url


OPTIONS = ("--preset", "gfpgan", "--size", "64", "--variants", "2", "--samples-per-shard", "2", "--seed", "3")


def command(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def local(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The data set of a run without a network."""
    out = tmp_path_factory.mktemp("local") / "out"
    command("synth", "--hq", faces_dir, "--shards", out, *OPTIONS, "--workers", 0)
    return {name: open_store(str(out)).read(name) for name in open_store(str(out)).names()}


def files_at(url: str) -> dict[str, bytes]:
    store = open_store(url)
    return {name: store.read(name) for name in store.names()}


# ------------------------------------------------------------------------------------------------------------------- S3


class Network(ThreadingHTTPServer):
    """Hands requests on to a server; answers some by itself, and breaks off some answers."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.address = address
        self.slow_down = self.broken = self.denied = 0
        """One of so many requests; 0 is none."""
        self.count = itertools.count(1)
        self.faults = 0
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as socketserver has it)
        """Keep still about clients that hung up."""


class Passing(BaseHTTPRequestHandler):
    server: Network  # pyright: ignore[reportIncompatibleVariableOverride] (socketserver sets it)
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep still."""

    def pass_on(self) -> None:
        number = next(self.server.count)
        self.server.requests.append(f"{self.command} {self.path}")
        body = self._body()

        def hits(period: int) -> bool:
            return period > 0 and number % period == 0

        if hits(self.server.denied):
            return self._answer(403, {}, DENIED)
        if hits(self.server.slow_down):
            self.server.faults += 1
            return self._answer(503, {}, SLOW_DOWN)
        upstream = http.client.HTTPConnection(*self.server.address, timeout=30)
        upstream.request(self.command, self.path, body, {**self.headers, "Connection": "close"})
        answer = upstream.getresponse()
        data = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() in PASSED}
        if hits(self.server.broken):
            self.server.faults += 1
            if self.command == "GET" and data:  # as far as half of the content; others get no answer
                head = f"HTTP/1.1 {answer.status} Broken\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data[: len(data) // 2])
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self._answer(answer.status, headers, data)

    def _body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        if self.command != "HEAD":
            headers = {**headers, "Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on


PASSED = {
    "content-type",
    "content-length",
    "etag",
    "last-modified",
    "content-range",
    "accept-ranges",
    "x-amz-bucket-region",
}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """A server in this process that speaks S3's protocol."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    logging.getLogger("werkzeug").disabled = True
    running = pytest.importorskip("moto.server", reason="needs moto").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def network(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    passing = Network(server)
    threading.Thread(target=passing.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{passing.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # one knows the endpoint that it began with
    yield passing
    passing.shutdown()
    passing.server_close()


@pytest.fixture
def bucket(network: Network) -> str:
    name = f"bucket{next(numbers)}"
    connection = http.client.HTTPConnection(*network.address)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    return f"s3://{name}"


def test_faces_and_shards_on_s3_give_the_bytes_of_a_local_run(
    bucket: str, network: Network, faces_dir: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    upload(faces_dir, f"{bucket}/faces")
    network.requests.clear()
    command("synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", 0)
    listings = [request for request in network.requests if "prefix=faces" in request]
    assert len(listings) == 1
    assert files_at(f"{bucket}/out") == local
    command("verify", f"{bucket}/out", "--workers", 0)
    assert len(list(PairDataset(f"{bucket}/out", cache_dir=tmp_path, shuffle=False))) == 6
    # A data set is a source, too: its tars.
    again = open_sources(f"{bucket}/out", include="*.hq.png")
    assert len(again.names) == 6
    made = command("synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", 0)
    assert "0 made, 3 kept" in made.output


@pytest.mark.parametrize("fault", ["slow_down", "broken"])
def test_a_network_that_fails_changes_no_byte(
    fault: str, bucket: str, network: Network, faces_dir: Path, local: dict[str, bytes]
) -> None:
    upload(faces_dir, f"{bucket}/faces")
    setattr(network, fault, 3)
    command("synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", 0)
    assert network.faults > 10
    setattr(network, fault, 0)
    assert files_at(f"{bucket}/out") == local


def test_a_network_that_is_down_ends_the_run_and_leaves_no_image_out(
    bucket: str, network: Network, faces_dir: Path, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degrade_kit.remote._WAITS", (0.01,))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    sources = open_sources(upload(faces_dir, f"{bucket}/faces"))
    network.slow_down = 1
    with pytest.raises(RunError, match=r"faces/astronaut\.png: Please reduce your request rate"):
        sources.read(0)
    failed = command("synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", 0, code=1)
    assert "Please reduce your request rate" in failed.output
    network.slow_down = 0
    command("synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", 0)
    assert files_at(f"{bucket}/out") == local


def test_no_access_and_no_credentials_are_said(
    bucket: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.denied = 1
    options = ("--shards", tmp_path / "out", *OPTIONS, "--workers", 0)
    refused = command("synth", "--hq", f"{bucket}/faces", *options, code=1)
    assert "no access. Set AWS_PROFILE" in refused.output
    network.denied = 0
    missing = command("synth", "--hq", f"{bucket}-none/faces", *options, code=2)
    assert "nothing is there" in missing.output
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    unknown = command("synth", "--hq", f"{bucket}/faces", *options, code=1)
    assert "Unable to locate credentials: no access. Set AWS_PROFILE" in unknown.output


def test_workers_read_and_write_what_the_first_process_listed(
    bucket: str, network: Network, faces_dir: Path, local: dict[str, bytes]
) -> None:
    upload(faces_dir, f"{bucket}/faces")
    network.slow_down, network.broken = 7, 11
    folder = tempfile.mkdtemp(prefix="dk-", dir="/tmp")  # short, since Ray's sockets lie in it
    words = ["synth", "--hq", f"{bucket}/faces", "--shards", f"{bucket}/out", *OPTIONS, "--workers", "2"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "degrade_kit.pipelines.cli", *words],
            env={**os.environ, "TMPDIR": folder, "RAY_ADDRESS": "127.0.0.1:1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    assert network.faults
    network.slow_down = network.broken = 0
    assert files_at(f"{bucket}/out") == local


# ---------------------------------------------------------------------------------------------------- Google's storage


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server in this process that speaks the protocol of Google's storage."""
    fs = pytest.importorskip("gcsfs", reason="needs the extra gs").GCSFileSystem
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="needs gcp-storage-emulator")
    monkeypatch.setattr(socketserver.BaseServer, "handle_error", lambda *_: None)  # clients hang up early
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    running.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    fs.clear_instance_cache()
    yield "gs://bucket"
    running.stop()
    fs.clear_instance_cache()


def test_faces_and_shards_on_googles_storage_give_the_bytes_of_a_local_run(
    google: str, faces_dir: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    upload(faces_dir, f"{google}/faces")
    command("synth", "--hq", f"{google}/faces", "--shards", f"{google}/out", *OPTIONS, "--workers", 0)
    assert files_at(f"{google}/out") == local
    command("verify", f"{google}/out", "--workers", 0)
    assert len(list(PairDataset(f"{google}/out", cache_dir=tmp_path, shuffle=False))) == 6
    missing = command("synth", "--hq", f"{google}/none", "--shards", tmp_path / "out", *OPTIONS, code=2)
    assert "gs://bucket/none: nothing is there" in missing.output


# ------------------------------------------------------------------------------------------------------------- the hub

TOKEN = "hf_token"


class Hub(ThreadingHTTPServer):
    """Answers what `hf://` asks the hub about repositories, folders and files; for the private one it wants a token."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.folder = folder
        self.faults = 0
        """How many of the next requests fail."""


class HubRequest(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride] (socketserver sets it)

    def log_message(self, format: str, *args: object) -> None:
        """Keep still."""

    def do_GET(self) -> None:
        place = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"(?:/api)?/datasets/(faces/\w+)(?:/(revision|tree|resolve)/main(?:/(.*))?)?", place)
        if self.server.faults:
            self.server.faults -= 1
            return self.answer(503)
        assert found is not None, place
        name, kind, path = found.groups()
        if name == "faces/private" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, error="RepoNotFound")  # as one that is not there
        file = self.server.folder / (path or "")
        if not file.exists():
            return self.answer(404, error="EntryNotFound")
        if kind in (None, "revision"):
            return self.answer(200, json.dumps({"id": name, "sha": "0" * 40}).encode())
        if kind == "tree":
            return self.answer(200, json.dumps([*self.entries(file)]).encode())
        first, last = map(int, re.findall(r"\d+", self.headers.get("Range", "bytes=0-999999999")))
        return self.answer(206, file.read_bytes()[first : last + 1])

    def entries(self, folder: Path) -> Iterator[dict[str, Any]]:
        for file in sorted(folder.glob("**/*" if "recursive=true" in self.path.lower() else "*")):
            kind = {"type": "directory"} if file.is_dir() else {"type": "file", "size": file.stat().st_size}
            yield {"path": file.relative_to(self.server.folder).as_posix(), "oid": "0" * 40, **kind}

    def answer(self, status: int, data: bytes = b"{}", error: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, with the faces in a folder of a public and of a private data set."""
    fs = pytest.importorskip("huggingface_hub", reason="needs the extra hf").HfFileSystem
    shutil.copytree(faces_dir, tmp_path / "repository/photos")
    running = Hub(tmp_path / "repository")
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    # HF_ENDPOINT is read once, when the package is imported.
    monkeypatch.setitem(conf, "hf", {"endpoint": f"http://127.0.0.1:{running.server_port}"})
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    fs.clear_instance_cache()
    yield running
    running.shutdown()
    running.server_close()
    fs.clear_instance_cache()


def test_faces_of_the_hub_give_the_bytes_of_a_local_run(
    hub: Hub, local: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degrade_kit.remote._WAITS", (0.01, 0.01, 0.01))
    hub.faults = 2
    out = tmp_path / "out"
    command("synth", "--hq", "hf://datasets/faces/public/photos", "--shards", out, *OPTIONS, "--workers", 0)
    assert hub.faults == 0
    assert files_at(str(out)) == local


def test_a_private_data_set_of_the_hub_asks_for_a_token(
    hub: Hub, local: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("synth", "--hq", "hf://datasets/faces/private/photos", "--shards", tmp_path / "out", *OPTIONS)
    refused = command(*words, "--workers", 0, code=1)
    assert "no access. Set HF_TOKEN, or run `hf auth login`" in refused.output
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pytest.importorskip("huggingface_hub").HfFileSystem.clear_instance_cache()
    command(*words, "--workers", 0)
    assert files_at(str(tmp_path / "out")) == local
    missing = command("synth", "--hq", "hf://datasets/faces/private/none", *words[3:], code=2)
    assert "nothing is there" in missing.output
