from __future__ import annotations

import errno
import functools
import io
import itertools
import os
import pickle
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from degrade_kit import remote
from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.image_bounds import image_bounds_raised
from degrade_kit.sources import Sources, open_sources
from degrade_kit.store import open_store

numbers = itertools.count()


@pytest.fixture
def url() -> str:
    """A folder in memory that no other test uses."""
    return f"memory://remote{next(numbers)}/faces"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAITS", (0.0, 0.0, 0.0))


class Elsewhere(MemoryFileSystem):
    """A file system of another scheme."""

    protocol: ClassVar[Any] = "elsewhere"  # pyrefly: ignore[bad-override] (fsspec asks for it on the class)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.rpartition("://")[2]


def put(url: str, files: dict[str, bytes]) -> str:
    fs = fsspec.filesystem("memory")
    for name, data in files.items():
        fs.pipe_file(f"{url}/{name}", data)
    return url


def upload(folder: Path, url: str) -> str:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return put(url, files)


def contents(sources: Sources) -> dict[str, bytes]:
    return {name: sources.read(index) for index, name in enumerate(sources.names)}


def tar_of(folder: Path, target: Path) -> Path:
    made = shutil.make_archive(str(target.with_suffix("")), "tar", folder)
    return Path(made)


# ------------------------------------------------------------------------------------------------- the same as if local


@pytest.fixture
def messy(faces_dir: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(faces_dir, tmp_path / "messy")
    for name in (
        "@eaDir/a.png",
        "nested/@eaDir/b.png",
        "._astronaut.png",
        "nested/c.HEIC",
        ".hidden/d.png",
        "notes.md",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize("include", [None, "nested/*"])
def test_a_folder_is_listed_as_a_local_one_is(messy: Path, url: str, include: str | None) -> None:
    here, there = open_sources(messy, include=include), open_sources(upload(messy, url), include=include)
    assert there.names == here.names
    assert there.summary() == here.summary() == {".heic": 1, "._ file": 1, "@eaDir": 2, "hidden folder": 1}
    assert contents(there) == contents(here)


def test_archives_and_lists_are_listed_as_local_ones_are(faces_dir: Path, url: str, tmp_path: Path) -> None:
    places = shutil.copytree(faces_dir, tmp_path / "places" / "faces").parent
    tar_of(faces_dir, places / "a.tar")
    tar_of(faces_dir / "nested", places / "b.tar")
    shutil.make_archive(str(places / "all"), "zip", faces_dir)
    with zipfile.ZipFile(places / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(faces_dir / "astronaut.png", "x/y.png")
    (places / "list.txt").write_text("faces/astronaut.png\nfaces/nested/hopper.png\n\n")
    (places / "faces/list.lst").write_text("../faces/astronaut.png\n./nested/hopper.png\r\n")
    upload(places, url)
    kinds = ("a.tar", "{a,b}.tar", "[ab].tar", "*.tar", "all.zip", "deflated.zip", "list.txt", "faces/list.lst")
    for name in (*kinds, "faces/astronaut.png", "faces/"):
        here, there = open_sources(f"{places}/{name}"), open_sources(f"{url}/{name}")
        assert there.names == here.names, name
        assert (there.skipped, there.left_out) == (here.skipped, here.left_out)
        assert contents(there) == contents(here)
        assert contents(pickle.loads(pickle.dumps(there.select(0, 1)))) == contents(here.select(0, 1))


def test_a_folder_of_tars_and_a_data_set_are_their_members(faces_dir: Path, url: str, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    tar_of(faces_dir, tmp_path / "tars/a.tar")
    here = open_sources(tmp_path / "tars")
    assert contents(open_sources(upload(tmp_path / "tars", url))) == contents(here)
    put(url, {"preview.png": b"x", ".degrade_kit/config.yaml": b"x"})
    assert open_sources(url).names == here.names
    fsspec.filesystem("memory").rm_file(f"{url}/.degrade_kit/config.yaml")
    with pytest.raises(ConfigError, match=r"holds 1 \.tar files and 1 images"):
        open_sources(url)


def test_a_list_may_name_urls_anywhere(url: str, tmp_path: Path) -> None:
    put(url, {"a/1.png": b"one", "b/2.png": b"two"})
    file = tmp_path / "list.txt"
    file.write_text(f"{url}/a/1.png\n{url}/b/2.png\n{url}/b/2.png\n")
    sources = open_sources(file)
    assert contents(sources) == {"a/1.png": b"one", "b/2.png": b"two"}
    put(url, {"list.txt": f"a/1.png\n{url}/b/2.png\n".encode()})
    assert open_sources(f"{url}/list.txt").names == sources.names


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("memory://a/b.png\nlocal.png\n", "line 2: expected a URL, as in other lines, got 'local.png'"),
        ("memory://a/b.png\ns3://c/d.png\n", "expected addresses of one scheme"),
    ],
)
def test_a_list_of_urls_and_others_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(lines)
    with pytest.raises(ConfigError, match=re.escape(message)):
        open_sources(file)


def test_a_file_url_is_a_local_path(faces_dir: Path) -> None:
    assert open_sources(f"file://{faces_dir}").names == open_sources(faces_dir).names


# ---------------------------------------------------------------------------------------------------- bounds and faults


def test_images_beyond_the_bounds_are_refused_as_local_ones_are(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degrade_kit.sources.MAX_BYTES", 5)
    (tmp_path / "a.png").write_bytes(b"123456")
    put(url, {"a.png": b"123456"})
    (tmp_path / "list.txt").write_text(f"{url}/a.png\n")
    with pytest.raises(ImageError) as here:
        open_sources(tmp_path, include="a.png").read(0)
    for place in (url, f"{url}/a.png"):
        with pytest.raises(ImageError) as there:
            open_sources(place).read(0)
        assert str(there.value) == str(here.value)
    monkeypatch.setattr("degrade_kit.sources.MAX_BYTES", 200)  # of the list, too
    put(url, {"a.png": bytes(201)})
    listed = open_sources(tmp_path / "list.txt")
    with pytest.raises(ImageError, match="too large"):
        listed.read(0)  # its size was not known
    with image_bounds_raised(2):
        assert listed.read(0) == bytes(201)


def test_an_image_that_is_gone_or_shorter_is_a_fault_of_the_image(url: str) -> None:
    sources = open_sources(put(url, {"a.png": b"123", "b.png": b"", "c.png": b"1"}))
    put(url, {"a.png": b"12"})
    with pytest.raises(ImageError, match="truncated: 2 of 3 bytes"):
        sources.read(0)
    assert sources.read(1) == b""


def test_what_is_in_memory_is_not_there_in_another_process(url: str) -> None:
    sources = open_sources(put(url, {"a.png": b"123"}))
    fsspec.filesystem("memory").rm_file(f"{url}/a.png")
    with pytest.raises(RunError, match=r"a\.png: not in the memory of this process; give --workers 0"):
        sources.read(0)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "nothing is there; expected a folder of images"),
        ("/none.zip", "no such file; expected a folder"),
        ("/none.tar", "no such file"),
        ("/none.png", "no such file"),
        ("/none.txt", "no such file"),
        ("/none-*.tar", r"no \.tar file matches"),
        ("/{a.tar", "Unbalanced braces"),
        ("/x.lmdb", "an LMDB is read from a local folder alone"),
    ],
)
def test_what_is_not_there_is_said(url: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_sources(f"{url}{place}")


def test_names_that_lead_out_are_refused(url: str) -> None:
    class Liar(Elsewhere):
        protocol: ClassVar[Any] = "liar"

        def find(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 (as fsspec has it)
            return {f"/x/{name}": {"type": "file", "size": 1} for name in ("a.png", "../b.png", "c//d.png")}

    cast("Any", fsspec).register_implementation("liar", Liar, clobber=True)
    sources = open_sources("liar://x")
    assert sources.names == ("a.png",)
    assert [(name, reason) for name, reason, _ in sources.skipped] == [
        ("../b.png", "unsafe name"),
        ("c//d.png", "unsafe name"),
    ]


# ------------------------------------------------------------------------------------------------ patience and messages


class Failing(Elsewhere):
    """A file system whose next answers are errors."""

    protocol: ClassVar[Any] = "failing"
    errors: ClassVar[list[Exception]] = []

    def cat_file(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as fsspec has it)
        if self.errors:
            raise self.errors.pop()
        return b"123"

    def find(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as fsspec has it)
        if self.errors:
            raise self.errors.pop()
        return {"/x/a.png": {"type": "file", "size": 3}}


class NoCredentialsError(Exception):
    """As botocore has it."""


class Answered(Exception):
    """As aiohttp has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}, message")
        self.status = status


@pytest.fixture
def failing() -> list[Exception]:
    cast("Any", fsspec).register_implementation("failing", Failing, clobber=True)
    Failing.errors.clear()
    return Failing.errors


@pytest.mark.parametrize(
    "error", [OSError(errno.EBUSY, "Slow down"), ConnectionResetError(), Answered(503), Answered(429)]
)
def test_what_may_pass_is_tried_again(failing: list[Exception], error: Exception) -> None:
    failing.extend([error] * 3)
    sources = open_sources("failing://x")
    assert not failing
    failing.extend([error] * 3)
    assert sources.read(0) == b"123"
    failing.extend([error] * 4)
    with pytest.raises(RunError, match=r"failing://x/a\.png: "):  # and not an ImageError, which would leave it out
        sources.read(0)
    assert not failing


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), NoCredentialsError("Unable"), Answered(403)])
def test_what_lacks_access_is_said_at_once(failing: list[Exception], error: Exception) -> None:
    failing.extend([error] * 2)
    with pytest.raises(RunError, match=r"failing://x: (Access Denied|Unable|403, message): no access$"):
        open_sources("failing://x")
    assert len(failing) == 1


def test_a_message_says_where_credentials_come_from() -> None:
    text = remote._explain("simplecache::s3://bucket/a", PermissionError("Access Denied"))
    assert text == (
        "simplecache::s3://bucket/a: Access Denied: no access. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY; for a public bucket, FSSPEC_S3_ANON=true"
    )


@pytest.mark.parametrize(("scheme", "extra"), sorted(remote.EXTRAS.items()))
def test_a_scheme_without_its_package_names_the_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError(f"Install something to access {scheme}")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    message = rf"cannot open {scheme}://a/b\.png: pip install 'degrade-kit\[{extra}\]' \(Install something"
    with pytest.raises(ConfigError, match=message):
        open_sources(f"{scheme}://a/b.png")


def test_an_unknown_scheme_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot open nosuch://a: Protocol not known: nosuch"):
        open_sources("nosuch://a")


def test_sizes_and_names_are_those_of_now(url: str) -> None:
    store = open_store(url)
    assert (store.names(), store.size("a")) == ([], None)
    put(url, {"a": b"12"})
    assert (store.names(), store.size("a")) == (["a"], 2)


# -------------------------------------------------------------------------------------------------------------- the web


class Handler(SimpleHTTPRequestHandler):
    """Serves files and, unlike its base, parts of them."""

    ranges = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep still."""

    def send_head(self) -> Any:  # noqa: ANN401 (as http.server has it)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if found is None or not self.ranges or not path.is_file():
            return super().send_head()
        data, (first, last) = path.read_bytes(), map(int, found.groups())
        part = data[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)


class WholeFiles(Handler):
    """Serves whole files alone."""

    ranges = False


Serve = Callable[[type[Handler], Path], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def start(handler: type[Handler], folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=os.fspath(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_files_of_the_web_are_read_and_folders_are_not_listed(faces_dir: Path, tmp_path: Path, serve: Serve) -> None:
    tar_of(faces_dir, tmp_path / "a.tar")
    tar_of(faces_dir / "nested", tmp_path / "b.tar")
    shutil.make_archive(str(tmp_path / "c"), "zip", faces_dir)
    shutil.copy(faces_dir / "astronaut.png", tmp_path)
    (tmp_path / "list.txt").write_text("astronaut.png\n")
    web = serve(Handler, tmp_path)
    for name in ("a.tar", "{a,b}.tar", "c.zip", "list.txt", "astronaut.png"):
        assert contents(open_sources(f"{web}/{name}")) == contents(open_sources(f"{tmp_path}/{name}")), name
    signed = open_sources(f"{web}/a.tar?signature=x/y.zip")
    assert contents(signed) == contents(open_sources(tmp_path / "a.tar"))
    for folder in (web, f"{web}/faces/"):
        with pytest.raises(ConfigError, match="a folder of the web cannot be listed; expected a"):
            open_sources(folder)
    with pytest.raises(ConfigError, match=r"none\.tar: no such file"):
        open_sources(f"{web}/none.tar")
    whole = serve(WholeFiles, tmp_path)
    assert contents(open_sources(f"{whole}/astronaut.png")) == {
        "astronaut.png": (tmp_path / "astronaut.png").read_bytes()
    }
    with pytest.raises(RunError, match="the server does not give parts of files; download it"):
        contents(open_sources(f"{whole}/a.tar"))
