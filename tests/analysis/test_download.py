"""Files of others' making, from a server to a folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
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
from degrade_kit.files import scratch_path
from degrade_kit.pipelines.cli import main
from degrade_kit.progress import Progress, silent

DATA = b"\x80\x02" + bytes(range(256)) * 20_000  # begins as a pickle; more than one chunk
PAGE = b"<!DOCTYPE html><title>Log in to the network</title>" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    sent = 0
    """Bytes of the body that has no end."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        bodies = {"/whole": DATA, "/cut": DATA[:-1000], "/lengthless": DATA, "/endless": b"", "/page": PAGE}
        if self.path not in bodies:
            self.send_error(404)
            return
        body = bodies[self.path]
        self.send_response(200)
        if self.path not in ("/lengthless", "/endless"):
            self.send_header("Content-Length", str(len(PAGE if self.path == "/page" else DATA)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who has had enough hangs up
            self.wfile.write(body)
            while self.path == "/endless":
                self.wfile.write(DATA)
                type(self).sent += len(DATA)

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
    monkeypatch.setattr(module, "_SCHEME", "http")  # the server here has no certificate
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def weight(url: str, sha256: str = SHA256) -> Weight:
    return replace(WEIGHTS["vgg19"], url=url, sha256=sha256, num_bytes=len(DATA))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["weights", *map(str, words)])


@pytest.mark.parametrize("page", ["whole", "moved"])
def test_a_file_arrives_whole_under_its_public_name(tmp_path: Path, server: str, page: str) -> None:
    seen: list[Progress] = []
    path = download(weight(f"{server}/{page}"), tmp_path / "new", seen.append)

    assert path == tmp_path / "new" / "vgg19-dcbb9e9d.pth"
    assert path.read_bytes() == DATA
    assert (seen[-1].done, seen[-1].total) == (len(DATA), len(DATA))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("page", "sha256", "says"),
    [
        ("whole", "0" * 64, f"not the published file: its SHA-256 is {SHA256}, expected {'0' * 64}"),
        ("cut", SHA256, "cut short|stopped after"),
        ("endless", SHA256, r"not the published file: expected about 5\.1 MB, the server sends more and more"),
        ("page", SHA256, r"what came is no \.pth file, perhaps a page that asks for a login"),
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


@pytest.mark.parametrize("sha256", [SHA256[:8], ""])
def test_nothing_is_fetched_without_a_whole_hash_which_the_user_may_give(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, sha256: str
) -> None:
    monkeypatch.setitem(WEIGHTS, "vgg19", weight(f"{server}/whole", sha256))
    path, note = tmp_path / "vgg19-dcbb9e9d.pth", tmp_path / "vgg19-dcbb9e9d.pth.sha256"
    found = run("--download", "vgg19", "--out", tmp_path)
    assert found.exit_code == 2
    assert "nothing is fetched without one" in found.output
    assert f"{server}/whole and put it to {path}; or write the SHA-256" in found.output
    with pytest.raises(ConfigError, match="nothing is fetched without one"):
        download(WEIGHTS["vgg19"], tmp_path)
    assert not list(tmp_path.iterdir())

    note.write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(RunError, match="not the published file"):
        download(WEIGHTS["vgg19"], tmp_path)
    assert not path.exists()
    note.write_text(f"{SHA256.upper()} *{path.name}\n")
    for said in (f"vgg19: {path} (hash as its .sha256 file has it)", f"vgg19: there already: {path} (hash as its"):
        found = run("--download", "vgg19", "--out", tmp_path)
        assert found.exit_code == 0, found.output
        assert said in found.output
    assert path.read_bytes() == DATA


def test_a_body_without_an_end_is_broken_off_soon(tmp_path: Path, server: str) -> None:
    _Handler.sent = 0
    with pytest.raises(RunError, match="sends more and more"):
        download(weight(f"{server}/endless"), tmp_path)
    assert _Handler.sent < 4 * len(DATA)  # what is on its way counts


def test_a_file_that_is_announced_too_long_is_not_fetched(tmp_path: Path, server: str) -> None:
    seen: list[Progress] = []
    with pytest.raises(RunError, match=r"expected about 1\.0 kB, the server sends 5,120,002 bytes"):
        download(replace(weight(f"{server}/whole"), num_bytes=1000), tmp_path, seen.append)
    assert not seen
    assert not list(tmp_path.iterdir())


def test_a_whole_hash_makes_up_for_a_length_that_is_not_said(tmp_path: Path, server: str) -> None:
    assert download(weight(f"{server}/lengthless"), tmp_path).read_bytes() == DATA


def test_nothing_but_https_is_asked(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SCHEME", "https")
    for url in (f"{server}/whole", "file:///etc/hostname", "ftp://127.0.0.1/x"):
        with pytest.raises(RunError, match="expected an address of https"):
            download(weight(url), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("by_hand", [False, True], ids=["fetched again", "put there by hand"])
def test_what_a_killed_download_left_is_swept(by_hand: bool, tmp_path: Path, server: str) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = scratch_path(tmp_path / "vgg19-dcbb9e9d.pth")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    left.write_bytes(DATA)
    if by_hand:
        (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(DATA)
    path = download(weight(f"{server}/whole"), tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"127\.0\.0\.1:1/x: cannot be downloaded"):
        download(weight("http://127.0.0.1:1/x"), tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = module._receive

    def full(weight: Weight, file: IO[bytes], progress: object) -> str:
        receive(weight, file, silent)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_receive", full)
    with pytest.raises(RunError, match=r"cannot write .*vgg19-dcbb9e9d.pth: No space left on device"):
        download(weight(f"{server}/whole"), tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, server: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"cannot write .*: Not a directory"):
        download(weight(f"{server}/whole"), tmp_path / "file" / "in")


def test_https_is_not_left_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error
    import urllib.request
    from email.message import Message
    from io import BytesIO

    monkeypatch.setattr(module, "_SCHEME", "https")
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
    assert found.stdout == f"vgg19: {server}/whole (5.1 MB)\nvgg19: {path} (hash as published)\n"
    assert path.read_bytes() == DATA


def test_a_file_that_is_there_is_checked_and_left_alone(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WEIGHTS, "vgg19", weight(f"{server}/nothing"))
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    path.write_bytes(DATA)
    found = run("--download", "vgg19", "--out", tmp_path)

    assert found.output == f"vgg19: there already: {path} (hash as published)\n"
    assert download(WEIGHTS["vgg19"], tmp_path) == path


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], ""])
def test_another_file_that_is_there_is_not_believed(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, sha256: str
) -> None:
    monkeypatch.setitem(WEIGHTS, "vgg19", weight(f"{server}/whole", sha256))
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    path.write_bytes(b"half")
    found = run("--download", "vgg19", "--out", tmp_path)

    assert found.exit_code == 1
    assert f"{path}: is there, and is not the published file: expected 5.1 MB" in found.output
    assert "found 4 bytes; remove it, and run the command again" in found.output
    with pytest.raises(RunError, match="is not the published file"):
        download(WEIGHTS["vgg19"], tmp_path)
    assert path.read_bytes() == b"half"


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
