"""Files of others' making, from a server to a folder."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result

from degrade_kit.analysis import download as module
from degrade_kit.analysis.download import download
from degrade_kit.analysis.weights import WEIGHTS, Weight
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.pipelines.cli import main
from degrade_kit.progress import Progress, silent

DATA = bytes(range(256)) * 20_000  # more than one chunk
SHA256 = hashlib.sha256(DATA).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        if self.path not in ("/whole", "/cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path == "/whole" else DATA[:-1000])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server in this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def only_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def weight(url: str, sha256: str = SHA256) -> Weight:
    return replace(WEIGHTS["vgg19"], url=url, sha256=sha256)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["weights", *map(str, words)])


@pytest.mark.parametrize("page", ["whole", "moved"])
@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], ""])
def test_a_file_arrives_whole_under_its_public_name(tmp_path: Path, server: str, page: str, sha256: str) -> None:
    seen: list[Progress] = []
    path = download(weight(f"{server}/{page}", sha256), tmp_path / "new", seen.append)

    assert path == tmp_path / "new" / "vgg19-dcbb9e9d.pth"
    assert path.read_bytes() == DATA
    assert (seen[-1].done, seen[-1].total) == (len(DATA), len(DATA))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("page", "sha256", "says"),
    [
        ("whole", "dcbb9e9d", f"not the published file: its SHA-256 is {SHA256}, expected dcbb9e9d..."),
        ("cut", SHA256, "cut short|stopped after"),
        ("nothing", SHA256, "cannot be downloaded: the server answers 404 Not Found"),
    ],
)
def test_what_is_wrong_leaves_nothing_and_is_named(
    tmp_path: Path, server: str, page: str, sha256: str, says: str
) -> None:
    with pytest.raises(RunError, match=says) as caught:
        download(weight(f"{server}/{page}", sha256), tmp_path)

    assert f"{server}/{page}" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"127\.0\.0\.1:1/x: cannot be downloaded"):
        download(weight("http://127.0.0.1:1/x"), tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = module._receive

    def full(url: str, file: IO[bytes], progress: object) -> str:
        receive(url, file, silent)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_receive", full)
    with pytest.raises(RunError, match=r"cannot write .*vgg19-dcbb9e9d.pth: No space left on device"):
        download(weight(f"{server}/whole"), tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, server: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"cannot write .*: Not a directory"):
        download(weight(f"{server}/whole"), tmp_path / "file" / "in")


def test_https_is_not_left_for_http() -> None:
    import urllib.error
    import urllib.request
    from email.message import Message
    from io import BytesIO

    headers = Message()
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.URLError, match=r"redirected from https to http://example\.org/b"):
        module._KeepHttps().redirect_request(request, BytesIO(), 302, "", headers, "http://example.org/b")  # type: ignore[arg-type]


def test_each_file_has_an_address_or_a_way_to_get_it() -> None:
    for entry in WEIGHTS.values():
        assert bool(entry.url) != bool(entry.by_hand), entry.name
        assert entry.url.startswith("https://") or not entry.url


def test_the_command_prints_the_address_and_fetches_into_the_first_folder(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WEIGHTS, "vgg19", weight(f"{server}/whole"))
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    path = tmp_path / "first" / "vgg19-dcbb9e9d.pth"
    found = run("--download", "vgg19")

    assert found.exit_code == 0, found.output
    assert found.stdout == f"vgg19: {server}/whole (548 MB)\nvgg19: {path} (hash as published)\n"
    assert path.read_bytes() == DATA


def test_an_existing_file_is_left_alone(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "vgg19", weight(f"{server}/whole"))
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    path.write_bytes(b"mine")
    found = run("--download", "vgg19", "--out", tmp_path)

    assert found.output == f"vgg19: there already: {path}\n"
    assert download(WEIGHTS["vgg19"], tmp_path) == path
    assert path.read_bytes() == b"mine"


def test_what_no_plain_address_serves_says_how_to_get_it(tmp_path: Path) -> None:
    found = run("--download", "arcface-deg", "--out", tmp_path)

    assert found.exit_code == 2
    assert "arcface-deg: cannot be downloaded by this command: take it, in a browser, from" in found.output
    with pytest.raises(ConfigError, match="hf download"):
        download(WEIGHTS["sd21-base"], tmp_path)


def test_wrong_options_are_told_before_anything_is_fetched(tmp_path: Path) -> None:
    assert "give --out DIR, or set DEGRADE_KIT_WEIGHTS" in run("--download", "vgg19").output
    assert "did you mean `vgg19`" in run("--download", "vgg91", "--out", tmp_path).output
    assert run("--out", tmp_path).exit_code == 2
    assert run("--download", "--json", "--out", tmp_path).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_names_shorten_the_list() -> None:
    found = run("niqe")

    assert "niqe_pris_params.npz" in found.output
    assert "alignment_WFLW_4HG.pth" not in found.output
