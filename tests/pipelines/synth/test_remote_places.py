"""Faces and shards on a server that speaks S3's protocol, behind a network that fails."""

from __future__ import annotations

import http.client
import itertools
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

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
