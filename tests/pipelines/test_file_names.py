"""Whatever a file system takes as a name passes through every command; one that no output can have costs one image."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
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
