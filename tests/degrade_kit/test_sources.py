from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import lmdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from degrade_kit import sources as sources_module
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.sources import Sources, data_files, display_name, open_sources

ODD_NAMES = [
    b"with space.png",
    b" leading.png",
    b"new\nline.png",
    b"-dash.png",
    b".dot.png",
    b"..png",
    b".png",
    b"a.b.png",
    b"100%.png",
    b"quote'\".png",
    b"[1].png",
    b"{2}.png",
    "Zoë-日本語-😀.png".encode(),
    b"caf\xe9.png",  # Latin-1, not UTF-8
    b"\xff\xfe.jpg",
    b"A.png",
    b"a.png",
    b"x.PNG",
]


def fill(root: Path, names: Mapping[str, bytes] | list[str]) -> Path:
    """Make files; those without given bytes hold their own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(names[name] if isinstance(names, Mapping) else os.fsencode(name))
    return root


def read_all(sources: Sources) -> dict[str, bytes]:
    return {name: sources.read(index) for index, name in enumerate(sources.names)}


def reasons(sources: Sources) -> dict[str, str]:
    return {name: reason for name, reason, _ in sources.skipped}


def write_tar(path: Path, members: Mapping[str, bytes], *more: tarfile.TarInfo) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return path


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_lmdb(path: Path, values: Mapping[str, bytes], lines: list[str]) -> Path:
    environment = lmdb.open(str(path), map_size=2**22)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    environment.close()
    (path / "meta_info.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# ---------------------------------------- folders


def test_a_folder_tree_is_listed_by_relative_names_sorted_by_their_bytes(tmp_path: Path) -> None:
    fill(
        tmp_path, ["00001/b.png", "00000/00000.png", "00000.png", "b/Z.jpg", "b/a.jpg", "é.webp", "z.bmp", "readme.md"]
    )
    sources = open_sources(tmp_path)
    assert sources.names == ("00000.png", "00000/00000.png", "00001/b.png", "b/Z.jpg", "b/a.jpg", "z.bmp", "é.webp")
    assert read_all(sources) == {name: name.encode() for name in sources.names}
    assert (sources.skipped, len(sources)) == ((), 7)


def test_every_image_extension_is_listed_in_any_case(tmp_path: Path) -> None:
    names = [f"{k}{extension}" for k, extension in enumerate(sources_module.IMAGE_EXTENSIONS)]
    fill(tmp_path, [*names, "U.JPG", "png", "a.png.txt", "b.npy"])
    assert set(open_sources(tmp_path).names) == {*names, "U.JPG"}


def test_odd_names_are_listed_and_read(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    for name in ODD_NAMES:
        Path(os.fsdecode(os.path.join(root, name))).write_bytes(name)
    sources = open_sources(tmp_path)
    assert [name.encode("utf-8", "surrogateescape") for name in sources.names] == sorted(ODD_NAMES)
    for name, data in read_all(pickle.loads(pickle.dumps(sources))).items():
        assert name.encode("utf-8", "surrogateescape") == data


@settings(max_examples=30)
@given(st.sets(st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name)), min_size=1, max_size=8))
def test_any_bytes_make_a_name(stems: set[bytes]) -> None:
    stems = {stem for stem in stems if not stem.startswith(b"._")}  # macOS's doubles are never data
    assume(stems)
    with tempfile.TemporaryDirectory() as folder:
        for stem in stems:
            Path(os.path.join(folder, os.fsdecode(stem + b".png"))).write_bytes(stem)
        sources = open_sources(folder)
        found = {
            name.encode("utf-8", "surrogateescape").removesuffix(b".png"): data
            for name, data in read_all(sources).items()
        }
    assert found == {stem: stem for stem in stems}
    assert json.dumps([display_name(name) for name in sources.names], ensure_ascii=False).encode()


@pytest.mark.slow
def test_the_listing_does_not_depend_on_the_locale(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    program = "import sys; from degrade_kit.sources import *; print(ascii(open_sources(sys.argv[1]).names))"
    outputs = set[str]()
    for variables in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, check=True
        )
        outputs.add(done.stdout.decode())
    assert outputs == {ascii(open_sources(tmp_path).names) + "\n"}


def test_same_basenames_and_case_twins_are_distinct(tmp_path: Path) -> None:
    fill(tmp_path, ["a/x.png", "b/x.png", "b/X.png", "x.png", "x.jpg"])
    assert len(set(read_all(open_sources(tmp_path)).values())) == 5


def test_hidden_folders_are_left_out_and_hidden_files_are_not(tmp_path: Path) -> None:
    fill(tmp_path, [".cache/a.png", "x/.thumbs/b.png", "__MACOSX/c.png", ".hidden.png", "x/d.png"])
    assert open_sources(tmp_path).names == (".hidden.png", "x/d.png")


SERVICE = {
    "@eaDir": ["@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "sub/@EADIR/b.jpg", "sub/@eaDir/deep/er/c.jpg"],
    "#recycle": ["#recycle/gone.png"],
    "$RECYCLE.BIN": ["$RECYCLE.BIN/S-1-5/x.png"],
    "lost+found": ["lost+found/12.png"],
    "System Volume Information": ["System Volume Information/x.bmp"],
    ".AppleDouble": ["sub/.AppleDouble/a.png"],
    "__MACOSX": ["__MACOSX/._a.png", "__MACOSX/sub/b.png"],
    "hidden folder": [".thumbs/a.png"],
    "._ file": ["._a.png", "sub/._b.jpg"],
    "Thumbs.db": ["Thumbs.db", "sub/thumbs.db"],
    ".heic": ["IMG_1.HEIC", "sub/IMG_2.heic"],
}
COUNTS = {**dict.fromkeys(SERVICE, 1), "@eaDir": 3, "._ file": 2, "Thumbs.db": 2, ".heic": 2}
"""Folders count once each, whatever is in them."""


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_what_machines_make_for_themselves_is_left_out_and_counted_by_cause(kind: str, tmp_path: Path) -> None:
    members = {name: b"" for names in SERVICE.values() for name in names}
    members |= {"a.png": b"a", "sub/b.png": b"b", ".degrade_kit/sheet.png": b"ours", "notes.txt": b""}
    if kind == "folder":
        sources = open_sources(fill(tmp_path / "d", members))
    elif kind == "zip":
        sources = open_sources(write_zip(tmp_path / "f.zip", members))
    else:
        sources = open_sources(write_tar(tmp_path / "f.tar", members))
    prefix = "f.tar/" if kind == "tar" else ""
    assert read_all(sources) == {f"{prefix}a.png": b"a", f"{prefix}sub/b.png": b"b"}
    assert sources.skipped == ()
    assert dict(sources.left_out) == COUNTS
    assert sources.summary() == dict(sorted(COUNTS.items()))
    assert sources.select(0, 1).left_out == sources.only(sources.names).left_out == ()


def test_a_list_takes_hidden_folders_and_not_what_is_never_data(tmp_path: Path) -> None:
    names = ["a.png", ".cache/b.png", "@eaDir/c.png", "._d.png", "Thumbs.db", ".AppleDouble/e.png", "IMG.heic"]
    fill(tmp_path, names)
    (tmp_path / "list.txt").write_text("\n".join(names))
    sources = open_sources(tmp_path / "list.txt")
    assert sources.names == (".cache/b.png", "IMG.heic", "a.png")
    assert sources.summary() == {".AppleDouble": 1, "._ file": 1, "@eaDir": 1, "Thumbs.db": 1}


def test_an_archive_that_macos_doubled_is_not_read_as_a_damaged_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "d/s0.tar", {"a.png": b"a"})
    fill(tmp_path, {"d/._s0.tar": b"\0\x05\x16\x07"})
    for spec in (tmp_path / "d", f"{tmp_path}/d/*.tar", f"{tmp_path}/d/*s0.tar"):
        assert (open_sources(spec).names, open_sources(spec).skipped) == (("s0.tar/a.png",), ())


def test_what_is_refused_and_what_is_left_out_stand_in_one_summary(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "@eaDir/a.png", "@eaDir/b.png"])
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "gone.too.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert list(open_sources(tmp_path).summary().items()) == [("unreadable", 2), ("not a file", 1), ("@eaDir", 1)]


def test_nothing_but_what_is_left_out_is_told_apart_from_an_empty_folder(tmp_path: Path) -> None:
    fill(tmp_path, ["@eaDir/a.png", "IMG_1.heic"])
    with pytest.raises(ConfigError, match=r"no image found; .*left out 1 \.heic, 1 @eaDir"):
        open_sources(tmp_path)


def test_one_image_is_a_source(tmp_path: Path) -> None:
    fill(tmp_path, ["face.png", "other.png"])
    assert read_all(open_sources(tmp_path / "face.png")) == {"face.png": b"face.png"}


def test_relative_specs_and_the_home_folder_hold_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ["faces/a.png"])
    write_tar(tmp_path / "t.tar", {"b.png": b"b"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    listed = [open_sources(spec) for spec in ("faces", "~/faces", "t.tar", "./t*.tar")]
    monkeypatch.chdir("/")
    assert [read_all(sources) for sources in listed] == [{"a.png": b"faces/a.png"}] * 2 + [{"t.tar/b.png": b"b"}] * 2


# ---------------------------------------- what a folder's listing refuses


def test_what_is_no_regular_file_is_skipped_with_a_reason_and_nothing_hangs(tmp_path: Path) -> None:
    fill(tmp_path, ["good.png", "folder.png/inside.png"])
    (tmp_path / "dangling.png").symlink_to("missing.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        bind_in(listener, tmp_path, "socket.png")
        sources = open_sources(tmp_path)
    assert sources.names == ("folder.png/inside.png", "good.png")
    assert sources.skipped == (
        ("dangling.png", "unreadable", "No such file or directory"),
        ("device.png", "not a file", "device"),
        ("folder.png", "not a file", "folder"),
        ("loop.png", "unreadable", "Too many levels of symbolic links"),
        ("pipe.png", "not a file", "pipe"),
        ("socket.png", "not a file", "socket"),
    )


def bind_in(listener: socket.socket, folder: Path, name: str) -> None:
    """Bind by a short path: those of sockets are limited to 108 bytes."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        listener.bind(name)
    finally:
        os.chdir(before)


def test_links_that_name_no_image_are_not_counted(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png"])
    (tmp_path / "latest").symlink_to("missing")
    os.mkfifo(tmp_path / "control")
    assert open_sources(tmp_path).skipped == ()


def test_linked_files_and_folders_are_read(tmp_path: Path) -> None:
    fill(tmp_path, ["elsewhere/deep/a.png"])
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/one.png").symlink_to(tmp_path / "elsewhere/deep/a.png")
    (tmp_path / "faces/two.png").symlink_to(tmp_path / "elsewhere/deep/a.png")
    (tmp_path / "faces/more").symlink_to(tmp_path / "elsewhere")
    sources = open_sources(tmp_path / "faces")
    assert sources.names == ("more/deep/a.png", "one.png", "two.png")
    assert set(read_all(sources).values()) == {b"elsewhere/deep/a.png"}


def test_each_real_folder_is_listed_once_however_links_lead_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, ["z/a.png"])
    (tmp_path / "a-link").symlink_to("z")
    (tmp_path / "z/up").symlink_to("..")
    (tmp_path / "self").symlink_to(".")
    sources = open_sources(tmp_path)
    assert sources.names == ("z/a.png",)
    assert sources.skipped == (), "no image is lost"
    assert "3 links or lines lead to what is listed already" in caplog.text
    assert "the first: a-link (a link to a folder)" in caplog.text


def test_a_web_of_linked_folders_is_listed_in_linear_time(tmp_path: Path) -> None:
    for level in range(25):  # 2 ** 25 paths
        fill(tmp_path, [f"all/{level}/x.png"])
        for side in "ab":
            (tmp_path / f"all/{level}/{side}").symlink_to(f"../{level + 1}")
    assert len(open_sources(tmp_path / "all")) == 25
    assert len(open_sources(tmp_path / "all/0")) == 25


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that its owner can make unreadable for the test itself, even where that runs as root."""
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_files_without_permission_are_unreadable_with_the_systems_words(unprivileged: Path) -> None:
    fill(unprivileged, ["a.png", "closed.png", "shut/b.png"])
    (unprivileged / "closed.png").chmod(0)
    (unprivileged / "shut").chmod(0)
    sources = open_sources(unprivileged)
    assert sources.names == ("a.png", "closed.png")
    assert sources.skipped == (("shut", "unreadable", "Permission denied"),)
    with pytest.raises(ImageError, match=r"^unreadable: Permission denied$"):
        sources.read(1)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_sources(unprivileged / "shut")


def test_a_file_that_vanishes_or_changes_its_kind_is_unreadable(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "b.png", "c.png"])
    sources = open_sources(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").mkdir()
    for index, words in enumerate(("No such file or directory", "pipe", "folder|Is a directory")):
        with pytest.raises(ImageError, match=rf"^unreadable: ({words})$"):
            sources.read(index)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match=r"^too large: 1099511627776 bytes"):
        open_sources(tmp_path).read(0)


# ---------------------------------------- nothing to list, wrong specs


def test_an_empty_folder_says_what_was_looked_for_and_seen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no image found; looked for \.png, .*\.gif; saw 0 other files"):
        open_sources(tmp_path)
    fill(tmp_path, ["a.npy", "b.npy", "LICENSE"])
    (tmp_path / "x.png").symlink_to("gone")
    with pytest.raises(ConfigError) as caught:
        open_sources(tmp_path)
    message = str(caught.value)
    assert "saw 3 other files (2 .npy, 1 without extension)" in message
    assert "refused 1, the first: x.png: unreadable, No such file or directory" in message
    fill(tmp_path, ["y.png"])
    with pytest.raises(ConfigError, match=r"2 images do not match 'z\*'"):
        open_sources(tmp_path, include="z*")


@pytest.mark.parametrize("url", ["pipe:cat x.tar", "http:list.txt", "file:x"])
def test_what_only_looks_like_a_url_is_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"no URL that is read; expected a folder of images, .* BasicSR .*s3://"):
        open_sources(url)


def test_a_folder_whose_name_looks_like_a_url_or_a_pattern_is_a_folder(tmp_path: Path) -> None:
    for name in ("pipe:x", "a[1]", "{b}", "list.txt"):
        fill(tmp_path / name, ["a.png"])
        assert open_sources(tmp_path / name).names == ("a.png",)


@pytest.mark.parametrize("name", ["missing", "missing.zip", "missing.txt", "", "nul\0"])
def test_a_missing_source_is_a_configuration_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="expected a folder of images"):
        open_sources(name)


def test_other_files_are_refused_with_what_is_accepted(tmp_path: Path) -> None:
    fill(tmp_path, ["a.tar.gz", "b.parquet"])
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("a.tar.gz", "b.parquet", "pipe.txt"):
        with pytest.raises(ConfigError, match="expected a folder of images"):
            open_sources(tmp_path / name)


# ---------------------------------------- include


def test_include_matches_the_whole_relative_name(tmp_path: Path) -> None:
    fill(tmp_path, ["a.hq.png", "a.lq0.png", "sub/b.hq.png", "sub/B.HQ.png"])
    (tmp_path / "gone.lq0.png").symlink_to("nowhere")
    assert open_sources(tmp_path, include="*.hq.png").names == ("a.hq.png", "sub/b.hq.png")
    assert open_sources(tmp_path, include="*.hq.png").skipped == ()
    assert open_sources(tmp_path, include="sub/*").names == ("sub/B.HQ.png", "sub/b.hq.png")


# ---------------------------------------- lists


def test_a_list_of_relative_paths_names_files_relative_to_its_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, ["d/x/b.png", "d/x/a b.png", "d/x/sub/c.dat", "d/x/unlisted.png"])
    text = "\ufeffx/b.png\r\n\n./x/a b.png\nx/sub/../sub/c.dat\n./x/b.png\nx/missing.png\nx/sub\n  \n"
    (tmp_path / "d/list.txt").write_text(text, encoding="utf-8", newline="")
    sources = open_sources(tmp_path / "d/list.txt")
    assert read_all(sources) == {"x/a b.png": b"d/x/a b.png", "x/b.png": b"d/x/b.png", "x/sub/c.dat": b"d/x/sub/c.dat"}
    assert sources.skipped == (
        ("x/missing.png", "unreadable", "No such file or directory"),
        ("x/sub", "not a file", "folder"),
    )
    assert "1 links or lines lead to what is listed already, which counts once; the first: x/b.png" in caplog.text


def test_a_list_of_absolute_paths_gives_the_names_of_the_tree_wherever_list_and_tree_lie(tmp_path: Path) -> None:
    found: list[tuple[str, ...]] = []
    for mount, place in (("a", "elsewhere"), ("b/deeper", "b/deeper/ffhq"), ("c", "c/ffhq/00000")):
        fill(tmp_path / mount, ["ffhq/00000/1.png", "ffhq/01000/1.png", "ffhq/unlisted.png"])
        (tmp_path / place).mkdir(exist_ok=True)
        lines = [f"{tmp_path}/{mount}/ffhq/{name}" for name in ("01000/1.png", "./00000/1.png")]
        (tmp_path / place / "list.txt").write_text("\n".join(lines))
        sources = open_sources(tmp_path / place / "list.txt")
        assert read_all(sources) == {f"{n}/1.png": f"ffhq/{n}/1.png".encode() for n in ("00000", "01000")}
        found.append(sources.names)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("outside", ["../faces/1.png", "{root}/faces/1.png"])
def test_a_list_that_leads_out_of_its_folder_is_relative_to_what_its_files_have_in_common(
    outside: str, tmp_path: Path
) -> None:
    fill(tmp_path, ["faces/1.png", "lists/own/2.png"])
    (tmp_path / "lists/list.txt").write_text(f"own/2.png\n{outside.format(root=tmp_path)}\n")
    assert read_all(open_sources(tmp_path / "lists/list.txt")) == {
        "faces/1.png": b"faces/1.png",
        "lists/own/2.png": b"lists/own/2.png",
    }


def test_what_a_list_has_in_common_does_not_depend_on_what_is_there(tmp_path: Path) -> None:
    fill(tmp_path, ["faces/b/2.png"])
    (tmp_path / "list.txt").write_text(f"{tmp_path}/faces/a/1.png\n{tmp_path}/faces/b/2.png\n")
    sources = open_sources(tmp_path / "list.txt")
    assert sources.names == ("b/2.png",)
    assert [name for name, _, _ in sources.skipped] == ["a/1.png"]


def test_include_is_asked_of_the_names_that_an_absolute_list_gives(tmp_path: Path) -> None:
    fill(tmp_path, ["faces/a/1.png", "faces/b/1.png"])
    (tmp_path / "list.txt").write_text(f"{tmp_path}/faces/a/1.png\n{tmp_path}/faces/b/1.png\n")
    assert open_sources(tmp_path / "list.txt", include="b/*").names == ("b/1.png",)


def test_a_list_of_files_that_have_only_the_root_in_common_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, ["caf\udce9.png"])
    (tmp_path / "list.txt").write_bytes(os.fsencode(tmp_path) + b"/caf\xe9.png\n/no-such-folder/1.png\n")
    sources = open_sources(tmp_path / "list.txt")
    assert sources.names == (f"{tmp_path}"[1:] + "/caf\udce9.png",)
    assert "no folder in common but /" in caplog.text


def test_a_list_of_missing_files_shows_the_first(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\nb.png\n")
    with pytest.raises(ConfigError, match=r"refused 2, the first: a\.png: unreadable, No such file"):
        open_sources(tmp_path / "list.txt")


# ---------------------------------------- zip


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_member_by_member(compression: int, tmp_path: Path) -> None:
    members = {
        "b/x.png": b"x" * 5000,
        "a.png": bytes(range(256)) * 9,
        "空.jpg": b"",
        "./c.png": b"c",
        "readme.txt": b"",
    }
    sources = open_sources(write_zip(tmp_path / "f.zip", members, compression))
    assert sources.names == ("a.png", "b/x.png", "c.png", "空.jpg")
    assert read_all(pickle.loads(pickle.dumps(sources))) == {
        "a.png": members["a.png"],
        "b/x.png": members["b/x.png"],
        "c.png": b"c",
        "空.jpg": b"",
    }


def test_a_zip_behind_other_data_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "f.zip", {"a.png": b"abc"})
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert read_all(open_sources(path)) == {"a.png": b"abc"}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_refuses_members_that_it_must_not_read(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name in (
            "ok.png",
            "/etc/abs.png",
            "../up.png",
            "x/../../up2.png",
            "ok.png",
            "__MACOSX/._ok.png",
            ".git/x.png",
        ):
            archive.writestr(name, b"data")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("lzma.png", b"data", zipfile.ZIP_LZMA)
        archive.writestr("coded.png", b"data")
        archive.filelist[-1].flag_bits |= 1
    sources = open_sources(tmp_path / "f.zip")
    assert sources.names == ("ok.png",)
    assert reasons(sources) == {
        "/etc/abs.png": "unsafe name",
        "../up.png": "unsafe name",
        "x/../../up2.png": "unsafe name",
        "ok.png": "duplicate",
        "link.png": "not a file",
        "lzma.png": "unsupported format",
        "coded.png": "unsupported format",
    }


def test_a_zip_bomb_does_not_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "f.zip", {"big.png": bytes(3_000_000), "a.png": b"a"})
    monkeypatch.setattr(sources_module, "MAX_BYTES", 2_000_000)
    assert reasons(open_sources(path)) == {"big.png": "too large"}
    # A directory that lies about the size: no more than that is unpacked.
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10)))
    with pytest.raises(ImageError, match=r"^unreadable: wrong checksum"):
        open_sources(path).read(1)


def test_damage_in_a_zip_is_found(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "f.zip", {"a.png": b"0123456789"}, zipfile.ZIP_STORED)
    sources = open_sources(path)
    whole = path.read_bytes()
    for damaged, words in (
        (whole.replace(b"0123456789", b"0123456780"), "unreadable: wrong checksum in the zip"),
        (b"XX" + whole[2:], "unreadable: no member of the zip at byte 0"),
        (whole[:40], "truncated: 5 of 10 bytes"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=f"^{words}"):
            sources.read(0)
    for data in (b"", b"no zip", whole[:-10]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="not a zip file"):
            open_sources(path)


# ---------------------------------------- tar


def shard(index: int) -> dict[str, bytes]:
    return {f"{index:09}.{part}": f"{index} {part}".encode() for part in ("hq.png", "json", "lq0.jpg")}


def test_the_members_of_a_tar_are_named_after_it(tmp_path: Path) -> None:
    sources = open_sources(write_tar(tmp_path / "s.tar", {**shard(0), "./sub/x.png": b"x", "caf\udce9.png": b"e"}))
    assert read_all(pickle.loads(pickle.dumps(sources))) == {
        "s.tar/000000000.hq.png": b"0 hq.png",
        "s.tar/000000000.lq0.jpg": b"0 lq0.jpg",
        "s.tar/sub/x.png": b"x",
        "s.tar/caf\udce9.png": b"e",
    }
    assert sources.skipped == ()


def test_folders_globs_and_braces_name_the_same_tars(tmp_path: Path) -> None:
    for index in range(3):
        write_tar(tmp_path / f"d/shard-{index:03}.tar", shard(index))
    fill(tmp_path, ["d/manifest.json", "d/README.md"])
    expected = {f"shard-{k:03}.tar/{k:09}.hq.png": f"{k} hq.png".encode() for k in range(3)}
    for spec in ("d", "d/", "d/shard-*.tar", "d/shard-{000..002}.tar", "d/*", "d/shard-00[0-2].tar"):
        assert read_all(open_sources(f"{tmp_path}/{spec}", include="*.hq.png")) == expected
    assert len(open_sources(f"{tmp_path}/d/shard-{{000,002}}.tar", include="*.hq.png")) == 2


def test_tars_of_one_name_in_several_folders_stay_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_tar(tmp_path / folder / "0.tar", {"x.png": folder.encode()})
    expected = {"a/0.tar/x.png": b"a", "b/0.tar/x.png": b"b"}
    for spec in ("{a,b}/0.tar", "*/0.tar", "**/*.tar"):
        assert read_all(open_sources(f"{tmp_path}/{spec}")) == expected


def test_a_data_set_of_this_toolkit_is_read_from_its_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "shard-000000.tar", shard(0))
    fill(tmp_path, ["preview.png", ".degrade_kit/shard-000000.json"])
    assert open_sources(tmp_path, include="*.hq.png").names == ("shard-000000.tar/000000000.hq.png",)


def test_a_folder_of_both_tars_and_images_is_ambiguous(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", shard(0))
    fill(tmp_path, ["a.png"])
    with pytest.raises(ConfigError, match=r"holds 1 \.tar files and 1 images; .* name .*/\*\.tar"):
        open_sources(tmp_path)


def test_patterns_that_match_too_little_are_errors(tmp_path: Path) -> None:
    write_tar(tmp_path / "s-0.tar", shard(0))
    with pytest.raises(ConfigError, match=r"2 files are missing, the first: .*s-1\.tar"):
        open_sources(f"{tmp_path}/s-{{0..2}}.tar")
    with pytest.raises(ConfigError, match=r"no \.tar file matches"):
        open_sources(f"{tmp_path}/x-*.tar")
    with pytest.raises(ConfigError, match=r"x-\{0"):
        open_sources(f"{tmp_path}/x-{{0.tar")


def test_a_tar_refuses_members_that_it_must_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "MAX_BYTES", 100)
    kinds = {
        "sym.png": tarfile.SYMTYPE,
        "hard.png": tarfile.LNKTYPE,
        "fifo.png": tarfile.FIFOTYPE,
        "dir.png": tarfile.DIRTYPE,
    }
    more = [tarfile.TarInfo(name) for name in kinds]
    for info in more:
        info.type, info.linkname = kinds[info.name], "/etc/passwd"
    members = {
        "ok.png": b"ok",
        "/abs.png": b"",
        "../up.png": b"",
        "a/../../b.png": b"",
        "big.png": bytes(101),
        ".d/x.png": b"",
        "x.pkl": b"",
    }
    path = write_tar(tmp_path / "s.tar", members, *more, tarfile.TarInfo("ok.png"))
    sources = open_sources(path)
    assert read_all(sources) == {"s.tar/ok.png": b"ok"}
    assert reasons(sources) == {
        "s.tar//abs.png": "unsafe name",
        "s.tar/../up.png": "unsafe name",
        "s.tar/a/../../b.png": "unsafe name",
        "s.tar/big.png": "too large",
        "s.tar/sym.png": "not a file",
        "s.tar/hard.png": "not a file",
        "s.tar/fifo.png": "not a file",
        "s.tar/ok.png": "duplicate",
    }


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", shard(0))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ConfigError, match="not compressed is expected"):
        open_sources(path)


def test_a_damaged_tar_among_whole_ones_is_counted_even_if_include_leaves_it_out(tmp_path: Path) -> None:
    for index in range(6):
        write_tar(tmp_path / f"{index}.tar", {f"{k}.hq.png": bytes(1000) for k in range(3)})
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(whole[: 3 * 1536])  # between the last member and the end mark
    (tmp_path / "2.tar").write_bytes(whole[: 2 * 1536 + 700])  # within a member
    (tmp_path / "3.tar").write_bytes(whole[:1536] + b"\xff" * 512 + whole[2048:])  # a header overwritten
    (tmp_path / "4.tar").write_bytes(b"")
    (tmp_path / "5.tar").unlink()
    os.mkfifo(tmp_path / "5.tar")
    sources = open_sources(f"{tmp_path}/*.tar", include="*.hq.png")
    assert reasons(sources) == {
        "1.tar": "truncated",
        "2.tar": "truncated",
        "3.tar": "truncated",
        "4.tar": "unreadable",
        "5.tar": "unreadable",
    }
    counts = [sum(name.startswith(f"{k}.tar/") for name in sources.names) for k in range(6)]
    assert counts == [3, 3, 3, 1, 0, 0]
    with pytest.raises(ImageError, match=r"^truncated: 188 of 1000 bytes"):
        sources.read(sources.names.index("2.tar/2.hq.png"))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data())
def test_a_tar_with_any_damage_is_listed_or_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tar(Path(folder) / "s.tar", shard(0))
        content = bytearray(path.read_bytes()[:4096])
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            sources = open_sources(path)
        except ConfigError:
            return
        for index in range(len(sources)):
            with suppress(ImageError):
                sources.read(index)
    assert len(sources) <= 2


@settings(max_examples=60)
@given(st.data())
def test_a_zip_with_any_damage_is_listed_or_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder) / "f.zip", shard(0))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            sources = open_sources(path)
        except ConfigError:
            return
        for index in range(len(sources)):
            with suppress(ImageError):
                sources.read(index)


def tar_header(name: str, size: bytes) -> bytes:
    """A header with any bytes in its size field, and the right sum."""
    header = bytearray(tarfile.TarInfo(name).tobuf())
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@pytest.mark.parametrize(
    "size", [b"\xff" * 12, b"\xff" * 10 + b"\xfe\x00", b"\x80" + b"\x7f" * 11], ids=["-1", "-512", "huge"]
)
def test_a_tar_with_crafted_sizes_ends(size: bytes, tmp_path: Path) -> None:
    first = tar_header("first.hq.png", b"00000000000\0")
    (tmp_path / "s.tar").write_bytes(first + tar_header("x.png", size) + bytes(2048))
    sources = open_sources(tmp_path)
    assert sources.names[0] == "s.tar/first.hq.png"
    assert "s.tar" in reasons(sources)


# ---------------------------------------- LMDB


def test_a_basicsr_lmdb_is_read_by_its_meta_info(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        "00001.png (512,512,3) 1",
        "sub/00000.png (512,512,3) 1",
        "with space.png (8,8,1) 9",
        "plain.png",
        "a.b.png (1,1,3) 1",
    ]
    values = {"00001": b"1", "sub/00000": b"0", "with space": b"s", "plain": b"p", "a.b": b"ab"}
    path = write_lmdb(tmp_path / "ffhq.lmdb", values, [*lines, "", "00001.png (512,512,3) 1", "notes.txt (1,1,1) 1"])
    sources = open_sources(path)
    assert read_all(sources) == {
        "00001.png": b"1",
        "a.b.png": b"ab",
        "plain.png": b"p",
        "sub/00000.png": b"0",
        "with space.png": b"s",
    }
    assert sources.skipped == ()
    assert "the first: 00001.png (in meta_info.txt)" in caplog.text
    assert open_sources(path, include="sub/*").names == ("sub/00000.png",)


def test_an_lmdb_may_be_opened_twice_pickled_and_used_after_a_fork_and_in_threads(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "f.lmdb", {"a": b"1"}, ["a.png (1,1,3) 1"])
    first, second = open_sources(path), open_sources(path)
    copy = pickle.loads(pickle.dumps(first.select(0, 1)))
    results = list[bytes]()
    threads = [threading.Thread(target=lambda: results.append(first.read(0))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"1"] * 8
    assert first.read(0) == second.read(0) == copy.read(0) == b"1"
    child = os.fork()
    if child == 0:  # no test code runs on in the child
        os._exit(0 if first.read(0) == b"1" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_an_lmdb_lacks_is_reported(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "f.lmdb", {"a": b"1"}, ["missing.png (1,1,3) 1"])
    with pytest.raises(ImageError, match=r"^unreadable: the database has no key b'missing'$"):
        open_sources(path).read(0)
    fill(tmp_path, {"broken.lmdb/meta_info.txt": b"a.png (1,1,3) 1\n", "broken.lmdb/data.mdb": b"junk" * 4096})
    with pytest.raises(ImageError, match=r"^unreadable: data\.mdb: no LMDB database"):
        open_sources(tmp_path / "broken.lmdb").read(0)
    (tmp_path / "empty.lmdb").mkdir()
    with pytest.raises(ConfigError, match=r"meta_info\.txt: No such file"):
        open_sources(tmp_path / "empty.lmdb")


HOSTILE_LINES = {
    "../../climbed.png (256,256,3) 1": "unsafe name",
    "/etc/absolute.png (256,256,3) 1": "unsafe name",
    "a/../../b.png (1,1,3) 1": "unsafe name",
    "nul\0.png (1,1,3) 1": "unsafe name",
}


def test_names_of_an_lmdb_pass_what_those_of_archives_pass(tmp_path: Path) -> None:
    lines = [*HOSTILE_LINES, "good.png (1,1,3) 1", "@eaDir/x.png (1,1,3) 1", ".hidden/x.png (1,1,3) 1"]
    path = write_lmdb(tmp_path / "f.lmdb", {"good": b"1"}, [*lines, "x" * 3000 + ".png (1,1,3) 1"])
    sources = open_sources(path)
    assert sources.names == ("good.png", "x" * 3000 + ".png")
    assert reasons(sources) == {line.partition(" (")[0]: reason for line, reason in HOSTILE_LINES.items()}
    assert dict(sources.left_out) == {"@eaDir": 1, "hidden folder": 1}
    with pytest.raises(ImageError, match="the database has no key"):
        sources.read(1)


def test_a_pipe_in_place_of_a_list_or_database_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "f.lmdb").mkdir()
    os.mkfifo(tmp_path / "f.lmdb/meta_info.txt")
    with pytest.raises(ConfigError, match=r"meta_info\.txt: pipe; expected a file"):
        open_sources(tmp_path / "f.lmdb")
    (tmp_path / "f.lmdb/meta_info.txt").unlink()
    fill(tmp_path, {"f.lmdb/meta_info.txt": b"a.png\n"})
    os.mkfifo(tmp_path / "f.lmdb/data.mdb")
    with pytest.raises(ImageError, match=r"^unreadable: pipe$"):
        open_sources(tmp_path / "f.lmdb").read(0)


def test_an_lmdb_is_read_without_the_library_whatever_its_size(tmp_path: Path) -> None:
    rng = random.Random(0)
    values = {
        f"{number * 7919 % 5000:05}/{'k' * (1 + number % 40)}": rng.randbytes(number % 3000) for number in range(900)
    }
    values |= {"big": rng.randbytes(300_000), "empty": b"", "z" * 511: b"longest key"}
    path = write_lmdb(tmp_path / "f.lmdb", values, [f"{key}.png (1,1,3) 1" for key in values])
    environment = lmdb.open(str(path), map_size=2**24)
    with environment.begin(write=True) as transaction:  # pages come and go
        for key in list(values)[::3]:
            transaction.delete(key.encode())
            del values[key]
        for key in list(values)[::5]:
            values[key] = rng.randbytes(5000)
            transaction.put(key.encode(), values[key])
    environment.close()
    sources = open_sources(path)
    for index, name in enumerate(sources.names):
        key = name.removesuffix(".png")
        if key in values:
            assert sources.read(index) == values[key]
        else:
            with pytest.raises(ImageError, match="the database has no key"):
                sources.read(index)


def test_a_cut_lmdb_is_refused_and_never_ends_the_process(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "f.lmdb", {f"{k}": bytes([k]) * 9000 for k in range(20)}, ["7.png (1,1,3) 1"])
    whole = (path / "data.mdb").read_bytes()
    for size in (0, 100, 4096, 8192, len(whole) // 10, len(whole) // 2, len(whole) - 1):
        (path / "data.mdb").write_bytes(whole[:size])
        with pytest.raises(ImageError, match=r"^(truncated|unreadable): data\.mdb"):
            open_sources(path).read(0)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.data())
def test_an_lmdb_with_any_damage_gives_bytes_or_an_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_lmdb(Path(folder) / "f.lmdb", {f"{k:03}": bytes([k]) * 90 for k in range(120)}, ["077.png"])
        content = bytearray((path / "data.mdb").read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(content) - 8))
            content[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8))
        (path / "data.mdb").write_bytes(content)
        with suppress(ImageError):
            open_sources(path).read(0)


# ---------------------------------------- the object


@pytest.mark.slow
def test_a_selection_is_cheap_to_pickle_and_reads_what_it_names(tmp_path: Path) -> None:
    names = [f"{k:05}.png" for k in range(2000)]
    fill(tmp_path / "d", names[:30])
    (tmp_path / "d/gone.png").symlink_to("nowhere")
    for sources in (
        open_sources(tmp_path / "d"),
        open_sources(write_zip(tmp_path / "f.zip", {name: name.encode() for name in names})),
        open_sources(write_tar(tmp_path / "f.tar", {name: name.encode() for name in names})),
    ):
        part = sources.select(10, 20)
        assert part.names == sources.names[10:20]
        assert part.skipped == ()
        assert len(pickle.dumps(part)) < 2500
        copy = pickle.loads(pickle.dumps(part))
        assert copy == part
        assert read_all(copy) == {name: name[-9:].encode() for name in sources.names[10:20]}


def test_no_handle_stays_open(tmp_path: Path) -> None:
    specs = [
        fill(tmp_path / "d", ["a.png"]),
        write_zip(tmp_path / "f.zip", {"a.png": b""}),
        write_tar(tmp_path / "f.tar", {"a.png": b""}),
    ]
    before = set(os.listdir("/proc/self/fd"))
    for spec in specs:
        open_sources(spec).read(0)
    assert set(os.listdir("/proc/self/fd")) == before


def test_sources_do_not_change(tmp_path: Path) -> None:
    sources = open_sources(fill(tmp_path, ["a.png"]))
    with pytest.raises(AttributeError):
        sources.names = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_display_names_are_plain_text_and_leave_good_names_alone() -> None:
    assert display_name("caf\udce9 \udcff.png") == "caf%E9 %FF.png"
    for name in ("Zoë-日本語-😀.png", "100%.png", "new\nline.png"):
        assert display_name(name) == name


@pytest.mark.slow
def test_listing_many_files_is_quick(tmp_path: Path) -> None:
    for folder in range(5):
        (tmp_path / f"{folder}").mkdir()
        for index in range(1000):
            os.close(os.open(tmp_path / f"{folder}/{index:05}.png", os.O_CREAT))
    start = time.process_time()
    assert len(open_sources(tmp_path)) == 5000
    assert time.process_time() - start < 1  # about 0.03 s; 70 000 files take 0.4 s


def test_files_of_a_model_are_listed_without_those_of_services(tmp_path: Path) -> None:
    fill(tmp_path, ["a.json", "b/c.json", ".cache/d.json", "._a.json", "b/.DS_Store", "b/@eaDir/c.json", "b/e.bin"])
    names = [path.relative_to(tmp_path).as_posix() for path in data_files(tmp_path)]
    assert names == [".cache/d.json", "a.json", "b/c.json", "b/e.bin"]
    assert data_files(tmp_path / "b", "*.json") == [tmp_path / "b/c.json"]
