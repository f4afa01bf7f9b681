"""Whatever a file system takes as a name passes through every command; one that no output can have costs one image."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from degrade_kit.errors import ImageError
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.images import check_output
from degrade_kit.sources import display_name, open_sources

SIZE = 64
NAMES = [
    b"caf\xe9.png",  # Latin-1, not UTF-8
    b"\xed\xa0\x80.png",  # half a surrogate pair in UTF-8
    b"new\nline.png",
    b"quote'\"`$(x).png",
    b"-dash.png",
    b"--out=x.png",
    "😀 Zoë 日本.png".encode(),
    b"100%d%s%.png",
    "\u202egnp.exe\u200f.png".encode(),
    b"dots...png",
    b"space .png",
    b" lead.png",
    b"[a]*?.png",
    b"{1..3}.png",
    b"back\\slash.png",
    b"tab\t\x1b[31m.png",
    b"~.png",
    b"a:b.png",
    b"<img src=x>&amp;.png",
    b"| pipe *md*.png",
    b"n" * 251 + b".png",
    b"dir. /in.png",
    b"caf\xe9/x.png",
    b"-d/{x}.png",
]
ODD = b"caf\xe9 {1..2} [a]* \n'-%"
"""Name of a folder."""


def fill(root: Path, photo: Pixels) -> Path:
    for number, name in enumerate(NAMES):
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        crop = np.ascontiguousarray(photo[4 * number : 4 * number + 2 * SIZE : 2, 100 : 100 + 2 * SIZE : 2])
        path.write_bytes(encode_png(crop))
    return root


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """A folder of an odd name that is full of odd names."""
    return fill(Path(os.fsdecode(os.fsencode(tmp_path_factory.mktemp("odd")) + b"/" + ODD)), astronaut)


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """A place for outputs, of an odd name too."""
    return lambda name: Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD + name.encode()))


def run(code: int, *words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def shards(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(os.fsdecode(os.fsencode(tmp_path_factory.mktemp("shards")) + b"/" + ODD))
    run(0, "synth", "--hq", odd, "--shards", out, "--size", SIZE, "--preset", "gfpgan", "--workers", 0)
    return out


def shown_names() -> set[str]:
    return {display_name(name.decode("utf-8", "surrogateescape")) for name in NAMES}


@pytest.mark.slow
def test_synth_and_what_reads_its_shards(shards: Path, odd: Path, place: Callable[[str], Path]) -> None:
    assert json.loads((shards / "manifest.json").read_text())["num_samples"] == len(NAMES)
    run(0, "synth", "--hq", odd, "--shards", shards, "--size", SIZE, "--preset", "gfpgan", "--workers", 0)
    run(0, "verify", shards, "--workers", 0, "--replay", 1)
    run(0, "inspect", shards)
    run(0, "replay", shards, "000000000", "--out", place("look"))
    run(0, "view", shards, "--out", place("page"))
    for form in ("folder", "lq-only"):
        run(0, "export", shards, "--out", place(form), "--to", form)
    run(0, "join", place("lq-only"), "--hq", odd, "--out", place("joined"), "--workers", 0)


@pytest.mark.slow
def test_preview(odd: Path, place: Callable[[str], Path]) -> None:
    run(0, "preview", "--hq", odd, "--out", place("p.png"), "--size", SIZE, "--num-faces", len(NAMES), "--variants", 1)


@pytest.mark.slow
def test_align(odd: Path, place: Callable[[str], Path]) -> None:
    landmarks = place("landmarks.json")
    points = [[20, 25], [44, 25], [32, 38], [24, 48], [40, 48]]
    landmarks.write_text(json.dumps(dict.fromkeys(shown_names(), points)))
    options = ["align", "--input", odd, "--size", 32, "--landmarks", landmarks, "--workers", 0]
    for _ in range(2):
        run(0, *options, "--out", place("out"))
    assert [name.encode("utf-8", "surrogateescape") for name in open_sources(place("out")).names] == sorted(NAMES)
    assert "not usable: 1 unsafe name" in run(3, *options, "--face", "all", "--out", place("all")).output
    assert "name too long" in (place("all") / "align_failures.jsonl").read_text()
    assert len(open_sources(place("all"))) == len(NAMES) - 1


@pytest.mark.slow
def test_evaluate(odd: Path, place: Callable[[str], Path]) -> None:
    for number in range(2):
        run(0, "evaluate", "--restored", odd, "--reference", odd, "--out", place(f"out{number}"), "--workers", 0)
    run(0, "compare", f"a={place('out0')}", f"b={place('out1')}", "--out", place("compared"))


@pytest.mark.slow
def test_make_testset(odd: Path, place: Callable[[str], Path]) -> None:
    options = ["make-testset", "--hq", odd, "--count", len(NAMES), "--size", SIZE, "--preset", "gfpgan"]
    for _ in range(2):
        run(0, *options, "--out", place("a"), "--workers", 0)
    run(0, "make-testset", "--real", odd, "--size", SIZE, "--out", place("b"))
    assert len(open_sources(place("b") / "lq")) == len(NAMES)


@pytest.mark.slow
@pytest.mark.long
def test_analyze_distribution(odd: Path, shards: Path, place: Callable[[str], Path]) -> None:
    run(
        0, "analyze-distribution", "--synth", f"ours={shards}", "--real", f"photos={odd}", "--size", SIZE,
        "--projection", "pca", "--out", place("out"), "--workers", 0,
    )  # fmt: skip


@pytest.mark.slow
def test_pairs(odd: Path, place: Callable[[str], Path]) -> None:
    run(0, "pairs", "--hq", odd, "--preset", "gfpgan", "--out", place("look"), "--size", 32, "--shown", 2)


@pytest.mark.slow
def test_plans_of_commands_that_take_models_or_minutes(odd: Path, place: Callable[[str], Path]) -> None:
    place("model").mkdir()
    run(0, "caption", "--hq", odd, "--caption-model", place("model"), "--out", place("c.jsonl"), "--dry-run")
    run(0, "match", "--real", odd, "--hq", odd, "--shards", place("s"), "--size", SIZE, "--num-faces", 8, "--workers",
        0, "--dry-run")  # fmt: skip
    run(0, "pairs", "from-photos", "--real", odd, "--restorer", "cp -r {input}/. {output}", "--size", 48, "--out",
        place("pairs"), "--dry-run")  # fmt: skip
    run(0, "distill", "--hq", odd, "--size", SIZE, "--out", place("distilled"), "--dry-run")


@pytest.mark.slow
def test_a_configuration_file_of_an_odd_name(odd: Path, place: Callable[[str], Path]) -> None:
    config = place("c.yaml")
    config.write_text(f"variants: 2\nsize: {SIZE}\n")
    run(0, "synth", "--config", config, "--hq", odd, "--shards", place("s"), "--preset", "gfpgan", "--workers", 0)


@pytest.mark.parametrize("name", NAMES)
def test_one_photograph_of_an_odd_name(name: bytes, odd: Path, place: Callable[[str], Path]) -> None:
    photo = os.fsdecode(os.path.join(os.fsencode(odd), name))
    run(0, "synth", "--hq", photo, "--shards", place("s"), "--size", SIZE, "--preset", "gfpgan", "--workers", 0)


@pytest.mark.slow
def test_restoration_plans_every_name(odd: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from degrade_kit.pipelines.models.restore import RestoreJob, list_inputs

    inputs, names = list_inputs(RestoreJob(model="m", input=str(odd), out_dir=tmp_path, device="cpu"))
    assert len(names) == len(set(names)) == len(inputs.names) == len(NAMES)
    for name in names:
        (tmp_path / f"{name}.png").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").touch()


@pytest.mark.slow
def test_a_name_that_no_result_can_have_costs_one_image(astronaut: Pixels, place: Callable[[str], Path]) -> None:
    folder = place("list")
    folder.mkdir()
    names = ["n" * 253, "good"]  # in a list, names need no ending
    for name in names:
        (folder / name).write_bytes(encode_png(np.ascontiguousarray(astronaut[:SIZE, :SIZE])))
    (folder / "list.txt").write_text("\n".join(names))
    run(0, "synth", "--hq", folder / "list.txt", "--shards", place("s"), "--size", SIZE, "--workers", 0)
    for name in ("x.png", "d/" + "n" * 251 + ".png"):
        check_output(name)
    for name in ("d/" + "n" * 252 + ".png", "é" * 127 + ".png", "a/../b.png", "/b.png", "a\0.png"):
        with pytest.raises(ImageError, match="unsafe name"):
            check_output(name)


@pytest.fixture
def plain_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system for outputs that takes no name with a colon, as FAT."""
    real = os.open

    def call(path: str | os.PathLike[str], flags: int, *more: Any, **options: Any) -> int:  # noqa: ANN401 (as it is)
        if flags & os.O_CREAT and ":" in os.path.basename(os.fsdecode(path)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", call)


@pytest.mark.usefixtures("plain_names")
def test_a_name_that_the_outputs_file_system_does_not_take_costs_one_image(
    tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b:c", "d"):
        Image.fromarray(astronaut[:256, 100:356]).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(photos / f"{name}.png")
    landmarks = tmp_path / "points.json"
    points = [[100, 110], [145, 110], [122, 140], [105, 160], [140, 160]]
    landmarks.write_text(json.dumps({f"{name}.png": points for name in ("a", "b:c", "d")}))
    options = ["--size", 64, "--out"]
    told = run(3, "align", "--input", photos, "--landmarks", landmarks, "--workers", 0, *options, tmp_path / "aligned")
    assert "not usable: 1 unsafe name" in told.output
    assert "takes no such name: Invalid argument" in (tmp_path / "aligned/align_failures.jsonl").read_text()
    assert open_sources(tmp_path / "aligned").names == ("a.png", "d.png")
    told = run(3, "make-testset", "--real", photos, *options, tmp_path / "set")
    assert "1 unsafe name" in told.output
    assert open_sources(tmp_path / "set/lq").names == ("a.png", "d.png")


FOLDING = """
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
static __thread char places[2][4096];
static const char *folded(const char *path, int place) {
    const char *root = getenv("FOLDED");
    if (!path || !root || strncmp(path, root, strlen(root)) || strlen(path) >= 4096) return path;
    strcpy(places[place], path);
    for (char *c = places[place] + strlen(root); *c; c++) *c = tolower(*c);
    return places[place];
}
#define MODE va_list more; va_start(more, flags); int mode = flags & O_CREAT ? va_arg(more, int) : 0; va_end(more);
int open(const char *path, int flags, ...) { MODE return REAL(open)(folded(path, 0), flags, mode); }
int open64(const char *path, int flags, ...) { MODE return REAL(open64)(folded(path, 0), flags, mode); }
int openat(int fd, const char *path, int flags, ...) { MODE return REAL(openat)(fd, folded(path, 0), flags, mode); }
FILE *fopen(const char *path, const char *how) { return REAL(fopen)(folded(path, 0), how); }
FILE *fopen64(const char *path, const char *how) { return REAL(fopen64)(folded(path, 0), how); }
DIR *opendir(const char *path) { return REAL(opendir)(folded(path, 0)); }
int stat(const char *path, struct stat *found) { return REAL(stat)(folded(path, 0), found); }
int lstat(const char *path, struct stat *found) { return REAL(lstat)(folded(path, 0), found); }
int stat64(const char *path, struct stat64 *found) { return REAL(stat64)(folded(path, 0), found); }
int lstat64(const char *path, struct stat64 *found) { return REAL(lstat64)(folded(path, 0), found); }
int access(const char *path, int how) { return REAL(access)(folded(path, 0), how); }
int mkdir(const char *path, mode_t mode) { return REAL(mkdir)(folded(path, 0), mode); }
int rmdir(const char *path) { return REAL(rmdir)(folded(path, 0)); }
int unlink(const char *path) { return REAL(unlink)(folded(path, 0)); }
int rename(const char *path, const char *other) { return REAL(rename)(folded(path, 0), folded(other, 1)); }
int link(const char *path, const char *other) { return REAL(link)(folded(path, 0), folded(other, 1)); }
"""
"""A file system that keeps all names in lower case, and finds them by any: what is below $FOLDED."""


@pytest.fixture(scope="module")
def folding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes it of any folder, for LD_PRELOAD."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    root = tmp_path_factory.mktemp("folding")
    (root / "folding.c").write_text(FOLDING)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", root / "folding.so", root / "folding.c", "-ldl"], check=True)
    return root / "folding.so"


@pytest.mark.slow
def test_names_that_are_one_on_the_outputs_file_system_are_refused(
    folding: Path, astronaut: Pixels, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for name in ("Anna.png", "anna.png", "b.png"):
        (photos / name).write_bytes(encode_png(np.ascontiguousarray(astronaut[:SIZE, :SIZE])))
    points = [[20, 25], [44, 25], [32, 38], [24, 48], [40, 48]]
    (tmp_path / "points.json").write_text(json.dumps(dict.fromkeys(("Anna.png", "anna.png", "b.png"), points)))
    with (tmp_path / "plain.tar").open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for key in ("Anna", "anna"):
            for side in ("hq", "lq"):
                data = (photos / "b.png").read_bytes()
                info = tarfile.TarInfo(f"{key}.{side}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    commands: list[list[object]] = [
        ["align", "--input", photos, "--landmarks", tmp_path / "points.json", "--size", 32, "--workers", 0, "--out"],
        ["make-testset", "--real", photos, "--size", 32, "--out"],
        ["export", tmp_path / "plain.tar", "--out"],
    ]
    code = """
import json, sys
from click.testing import CliRunner
from degrade_kit.pipelines.cli import main
done = [CliRunner().invoke(main, words) for words in json.loads(sys.argv[1])]
print(json.dumps([(each.exit_code, each.output) for each in done]))
"""

    def ends(**more: str) -> list[tuple[int, str]]:
        words = [[*map(str, each), str(out / f"{number}{len(more)}")] for number, each in enumerate(commands)]
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    for status, said in ends(LD_PRELOAD=str(folding), FOLDED=str(out)):
        assert status == 2, said
        assert "Anna" in said
        assert "that takes their names for one; rename one, or write to another file system" in said
    assert [status for status, _ in ends()] == [0, 0, 0]


@pytest.mark.slow
def test_the_locale_makes_no_difference(odd: Path, shards: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    options = ["--size", str(SIZE), "--preset", "gfpgan", "--workers", "0"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "degrade_kit.pipelines.cli",
            "synth",
            "--hq",
            odd,
            "--shards",
            tmp_path / "out",
            *options,
        ],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    found, expected = (json.loads((place / "manifest.json").read_text()) for place in (tmp_path / "out", shards))
    assert found["digest"] == expected["digest"]
