"""Bad inputs of all kinds: `degrade-kit synth` says what is wrong, loses nothing in silence, and never breaks down.

The rows are those of the table of bad inputs in the project's design notes; each keeps its number. Whatever a row does,
`Box.synth` checks what must hold for all: the exit status, no traceback, every input among the samples or the failures,
and a data set that passes `degrade-kit verify`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import warnings
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import webdataset
from click.testing import CliRunner
from PIL import Image, PngImagePlugin

import degrade_kit.files
import degrade_kit.pipelines.commands.progress
import degrade_kit.pipelines.synth.plan
import degrade_kit.pipelines.synth.synthesize
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.image import decode_image, encode_jpeg, encode_png, encode_webp
from degrade_kit.pipelines.cli import main
from degrade_kit.shards import Sample, iterate_samples, open_shards
from degrade_kit.store import open_store
from degrade_kit.wording import counted_noun
from tests.distinct import PLAIN_PRESETS

Pixels = npt.NDArray[np.uint8]

SIDE = 64
DEADLY = b"kills the worker"


@dataclass
class Run:
    """How one command ended."""

    code: int
    output: str

    def says(self, *words: str) -> None:
        for word in words:
            assert word in self.output, f"{word!r} is not in:\n{self.output}"


@dataclass
class Box:
    """A folder of faces, a place for shards, and the command between them."""

    folder: Path
    photo: Pixels
    monkeypatch: pytest.MonkeyPatch
    inputs: int = 0
    """How many files were put in: each must be found among the samples or the failures."""
    hq: Path = field(init=False)
    out: Path = field(init=False)

    def __post_init__(self) -> None:
        self.hq, self.out = self.folder / "faces", self.folder / "out"
        self.hq.mkdir()
        for number, name in enumerate(["face0.png", "face1.png", "sub/face2.png", "zz.png"]):
            self.put(name, encode_png(self.face(number)))

    def face(self, shift: int = 0) -> Pixels:
        """A face of 64 x 64 pixels, for each number a slightly different one."""
        return np.ascontiguousarray(self.photo[shift : shift + 256 : 4, 96 + shift : 352 + shift : 4])

    def put(self, name: str | bytes, data: bytes) -> Path:
        path = self.hq / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.inputs += 1
        return path

    def put_image(self, name: str, image: Image.Image, format: str, **options: Any) -> None:  # noqa: ANN401
        self.put(name, saved(image, format, **options))

    def arguments(self, *options: str | Path, hq: str | Path | None = None) -> list[str]:
        fixed = ["--shards", str(self.out), "--size", str(SIDE), "--samples-per-shard", "2", "--workers", "0"]
        return ["synth", "--hq", str(hq or self.hq), *fixed, *map(str, options)]

    def run(self, *arguments: str | Path, code: int) -> Run:
        """Run a command in this process."""
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return checked(Run(result.exit_code, result.output), code)

    def process(self, *arguments: str | bytes | Path, code: int, launcher: str = "", **variables: str) -> Run:
        """Run a command in a process of its own; one that hangs fails."""
        start = [sys.executable, *(["-c", launcher] if launcher else ["-m", "degrade_kit.pipelines.cli"])]
        done = subprocess.run(
            [*start, *arguments],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        return checked(Run(done.returncode, done.stdout.decode("utf-8", "replace")), code)

    def synth(
        self, *options: str | Path, failures: Mapping[str, str] | None = None, hq: Path | None = None
    ) -> dict[str, Sample]:
        """Make shards; status 3 if inputs are to fail, and 0 once that is allowed. Returns the samples by source."""
        failures = failures or {}
        first = self.run(*self.arguments(*options, hq=hq), code=3 if failures else 0)
        for reason in failures.values():
            first.says(reason)
        again = self.run(*self.arguments("--max-failures", "1", *options, hq=hq), code=0)
        again.says("(0 made, ")
        return self.check(failures)

    def check(self, failures: Mapping[str, str]) -> dict[str, Sample]:
        """Check the whole data set against the inputs; returns its samples by source."""
        shards = open_shards(self.out)
        lines = [json.loads(line) for line in (self.out / ".degrade_kit/failures.jsonl").read_text().splitlines()]
        assert {line["source"]: line["reason"] for line in lines} == failures
        assert len(lines) == len(failures)
        assert all(line["detail"] for line in lines)
        samples = {sample.info["source"]: sample for sample in shards.samples()}
        assert len(samples) == shards.manifest["num_samples"]
        assert len(samples) + len(failures) == shards.manifest["num_sources"] == self.inputs
        assert {"face0.png", "face1.png", "sub/face2.png", "zz.png"} <= samples.keys() | failures.keys()
        self.run("verify", self.out, "--workers", "0", "--replay", "1", code=0)
        assert not (self.out / ".degrade_kit/tmp").exists()
        return samples


def checked(run: Run, code: int) -> Run:
    assert run.code == code, run.output
    assert "Traceback" not in run.output, run.output
    return run


def saved(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: ANN401
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def notes_of(sample: Sample) -> list[str]:
    return [change["note"] for change in json.loads(sample.info["hq_changes"]) if change["op"] == "decode"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, packed: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join(parts) + packer.compress(bytes(count % (1 << 20))) + packer.flush()


def with_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


# ------------------------------------------------------------------------------------------------------------- the rows

Check = Callable[[Box], None]
ROWS: list[tuple[int, Check]] = []

ELSEWHERE = {
    18: ("`evaluate` and `synth --lq` have tests of their own for lists that do not fit each other", ()),
    25: ("`synth` loads no weights", ("checkpoint", "weights", "model")),
    26: ("`synth` loads no checkpoint", ("checkpoint", "weights", "model")),
    27: ("`synth` loads no checkpoint", ("checkpoint", "weights", "model")),
    28: ("`synth` loads no checkpoint", ("checkpoint", "weights", "model")),
}
"""Rows of the table that are not of this command, why, and the options with which they would be."""


def row(number: int) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        ROWS.append((number, check))
        return check

    return add


@row(1)
def truncated_files(box: Box) -> None:
    jpeg = encode_jpeg(box.face(), 95)
    box.put("cut.png", encode_png(box.face())[:-20])
    box.put("half.png", encode_png(box.face())[:4000])
    box.put("cut.jpg", jpeg[: len(jpeg) // 2])
    box.put("closed.jpg", jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    box.put("cut.webp", encode_webp(box.face(), 90)[:-50])
    box.put("cut.bmp", saved(Image.fromarray(box.face()), "BMP")[:-500])
    box.put("cut.gif", saved(Image.fromarray(box.face()), "GIF")[:-500])
    names = ["cut.png", "half.png", "cut.jpg", "closed.jpg", "cut.webp", "cut.bmp", "cut.gif"]
    box.synth(failures=dict.fromkeys(names, "truncated"))


@row(2)
def sixteen_bits(box: Box) -> None:
    deep = (box.face().astype(np.uint16) * 257 + np.arange(64, dtype=np.uint16)[:, None, None]).clip(0, 65535)
    rows = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    box.put("rgb16.png", png(SIDE, SIDE, 16, 2, zlib.compress(rows)))
    rows = b"".join(b"\0" + line[:, 0].astype(">u2").tobytes() for line in deep)
    box.put("grey16.png", png(SIDE, SIDE, 16, 0, zlib.compress(rows)))
    samples = box.synth()
    expected = np.rint(deep / 257).astype(np.uint8)
    assert np.array_equal(samples["rgb16.png"].hq(), expected)
    assert np.array_equal(samples["grey16.png"].hq(), np.repeat(expected[:, :, :1], 3, axis=2))
    assert notes_of(samples["rgb16.png"]) == ["bit_depth:16"]
    assert notes_of(samples["grey16.png"]) == ["bit_depth:16", "grayscale"]


@row(3)
def cmyk(box: Box) -> None:
    inks = Image.new("CMYK", (SIDE, SIDE), (200, 30, 30, 10))
    box.put_image("plain.jpg", inks, "JPEG", quality=95)
    box.put_image("odd_profile.jpg", inks, "JPEG", quality=95, icc_profile=b"no profile at all")
    samples = box.synth()
    for name in ("plain.jpg", "odd_profile.jpg"):
        assert notes_of(samples[name]) == ["cmyk"]
        assert np.abs(samples[name].hq().astype(int) - (53, 216, 216)).max() <= 6


@row(4)
def exif_orientation(box: Box) -> None:
    upright = Image.fromarray(box.face())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 1.0)  # a latitude
    box.put_image("turned.jpg", upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=98, exif=exif)
    box.put_image("turned.png", upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    exif[0x0112] = 1
    box.put_image("upright.png", upright, "PNG", exif=exif)
    samples = box.synth()
    assert np.abs(samples["turned.jpg"].hq().astype(int) - box.face()).mean() < 3
    assert np.array_equal(samples["turned.png"].hq(), box.face())
    assert notes_of(samples["turned.png"]) == ["orientation:6"]
    assert np.array_equal(samples["upright.png"].hq(), box.face())
    assert json.loads(samples["upright.png"].info["hq_changes"]) == [{"op": "strip_metadata"}]
    for path in (path for path in box.out.rglob("*") if path.is_file()):
        assert b"Exif" not in path.read_bytes()
        assert b"eXIf" not in path.read_bytes()
    for sample in samples.values():
        with Image.open(io.BytesIO(sample.image("hq"))) as image:
            assert not image.getexif()


@row(4)
def exif_of_files_that_are_passed_through(box: Box) -> None:
    shutil.rmtree(box.hq)
    box.inputs = 0
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 1.0)
    names = ["face0.png", "face1.png", "sub/face2.png", "zz.png"]
    for name in names:  # JPEG whatever the name: the content decides
        box.put_image(name, Image.fromarray(box.face()), "JPEG", quality=95, exif=exif, comment=b"my address")
    samples = box.synth()
    for name in names:
        stored = samples[name].members["hq.jpg"]
        assert b"Exif" not in stored
        assert b"my address" not in stored
        source = (box.hq / name).read_bytes()
        assert source.endswith(stored[-2000:])
        assert np.array_equal(samples[name].hq(), decode_image(source).pixels)


@row(5)
def alpha(box: Box) -> None:
    box.put("opaque.png", encode_rgba(box.face(), np.full((SIDE, SIDE), 255, np.uint8)))
    hidden = np.full((SIDE, SIDE), 255, np.uint8)
    hidden[:, :20] = 0
    box.put("holes.png", encode_rgba(box.face(), hidden))
    samples = box.synth()
    assert np.array_equal(samples["opaque.png"].hq(), box.face())
    assert notes_of(samples["opaque.png"]) == []
    assert notes_of(samples["holes.png"]) == ["alpha:black"]
    assert not samples["holes.png"].hq()[:, :20].any()
    assert np.array_equal(samples["holes.png"].hq()[:, 20:], box.face()[:, 20:])
    shutil.rmtree(box.out)
    samples = box.synth("--alpha", "white")
    assert (samples["holes.png"].hq()[:, :20] == 255).all()
    shutil.rmtree(box.out)
    box.synth("--alpha", "error", failures={"holes.png": "alpha"})


def encode_rgba(pixels: Pixels, alpha: Pixels) -> bytes:
    return saved(Image.fromarray(np.dstack([pixels, alpha])), "PNG")


@row(6)
def grey_and_black_and_white(box: Box) -> None:
    grey = Image.fromarray(box.face()).convert("L")
    box.put_image("grey.png", grey, "PNG")
    box.put_image("grey.jpg", grey, "JPEG", quality=95)
    box.put_image("bits.png", grey.convert("1"), "PNG")
    samples = box.synth()
    for name in ("grey.png", "grey.jpg", "bits.png"):
        hq = samples[name].hq()
        assert (hq == hq[:, :, :1]).all()
        assert notes_of(samples[name]) == ["grayscale"]
    assert np.array_equal(samples["grey.png"].hq()[:, :, 0], np.asarray(grey))
    assert set(np.unique(samples["bits.png"].hq())) == {0, 255}


@row(7)
def palettes(box: Box) -> None:
    image = Image.fromarray(box.face()).quantize(32)
    box.put_image("palette.png", image, "PNG")
    box.put_image("transparent.png", image, "PNG", transparency=int(np.asarray(image)[0, 0]))
    samples = box.synth()
    assert np.array_equal(samples["palette.png"].hq(), np.asarray(image.convert("RGB")))
    assert notes_of(samples["palette.png"]) == ["palette"]
    assert notes_of(samples["transparent.png"]) == ["palette", "alpha:black"]
    assert not samples["transparent.png"].hq()[0, 0].any()


@row(8)
def animations(box: Box) -> None:
    first, second = (Image.fromarray(box.face(shift)) for shift in (0, 40))
    box.put_image("moving.webp", first, "WEBP", save_all=True, append_images=[second], lossless=True)
    box.put_image("moving.gif", first, "GIF", save_all=True, append_images=[second])
    box.put_image("moving.png", first, "PNG", save_all=True, append_images=[second])
    samples = box.synth()
    for name in ("moving.webp", "moving.gif", "moving.png"):
        assert notes_of(samples[name])[0] == "first_frame"
        assert np.abs(samples[name].hq().astype(int) - box.face()).mean() < 8
    assert np.array_equal(samples["moving.png"].hq(), box.face())


@row(9)
def tiny_images(box: Box) -> None:
    sizes = {"dot.png": (1, 1), "flat.png": (200, 31), "narrow.png": (31, 200)}
    for name, size in sizes.items():
        box.put_image(name, Image.new("RGB", size, (90, 60, 30)), "PNG")
    box.synth(failures=dict.fromkeys(sizes, "too small"))


@row(9)
def images_smaller_than_the_kernels(box: Box) -> None:
    sizes = {"dot.png": (1, 1), "line.png": (7, 1), "sliver.png": (3, 200), "small.png": (5, 4)}
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        box.put(name, encode_png(rng.integers(0, 256, (height, width, 3), np.uint8)))
    for preset in PLAIN_PRESETS:
        options = ("--size", "0", "--min-side", "1", "--preset", preset, "--variants", "2", "--overwrite")
        box.run(*box.arguments(*options), code=0)
        samples = box.check({})
        for name, (width, height) in sizes.items():
            assert samples[name].hq().shape == (height, width, 3)
            assert samples[name].pair(1)[1].shape == (height, width, 3)


@row(9)
def images_longer_than_recipes_can_take(box: Box) -> None:
    box.put("long.png", encode_png(np.full((32, 66_000, 3), 90, np.uint8)))
    box.synth("--size", "0", failures={"long.png": "too large"})


PEAK = """
import re, sys
from pathlib import Path
from degrade_kit.pipelines.cli import main
try:
    main(sys.argv[1:])
finally:
    print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@row(10)
def bombs(box: Box) -> None:
    def peak(code: int) -> int:
        run = box.process(*box.arguments(), code=code, launcher=PEAK)
        return int(run.output.rpartition("peak ")[2])

    flat = peak(0)
    shutil.rmtree(box.out)
    side = 20_000
    box.put("bomb.png", png(side, side, 1, 0, zeros(side * (1 + side // 8))))
    assert (box.hq / "bomb.png").stat().st_size < 60_000
    box.put("lie.png", png(60_000, 60_000, 8, 2, zlib.compress(bytes(100))))
    jpeg = encode_jpeg(box.face(), 95)
    at = jpeg.index(b"\xff\xc0") + 5
    box.put("lie.jpg", jpeg[:at] + struct.pack(">HH", 60_000, 60_000) + jpeg[at + 4 :])
    gif = saved(Image.fromarray(box.face()), "GIF")
    box.put("lie.gif", gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:])
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(300 << 20))
    face = encode_png(box.face())
    box.put("text.png", face[:33] + text + face[33:])
    grown = peak(3)
    assert grown < flat + 60_000, f"{grown} kB with bombs, {flat} kB without"
    names = ["bomb.png", "lie.png", "lie.jpg", "lie.gif"]
    samples = box.check(dict.fromkeys(names, "too large"))
    assert notes_of(samples["text.png"]) == ["unread_metadata"]
    assert np.array_equal(samples["text.png"].hq(), box.face())


@row(11)
def files_that_are_no_images(box: Box) -> None:
    box.put("text.png", b"not an image\n" * 500)
    box.put("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>")
    box.put("empty.png", b"")
    box.put("program.png", b"\x7fELF" + bytes(3000))
    box.put("archive.png", zlib.compress(bytes(3000)))
    box.put("video.png", b"\0\0\0\x18ftypmp42" + bytes(100))
    names = ["text.png", "page.jpg", "empty.png", "program.png", "archive.png"]
    box.synth(failures={**dict.fromkeys(names, "not an image"), "video.png": "unsupported format"})


@row(11)
def wrong_extensions(box: Box) -> None:
    box.put("really_png.jpg", encode_png(box.face(5)))
    box.put("really_jpeg.png", encode_jpeg(box.face(6), 95))
    box.put("really_webp.tif", encode_webp(box.face(7), None))
    samples = box.synth("--hq-format", "png")
    assert np.array_equal(samples["really_png.jpg"].hq(), box.face(5))
    assert np.array_equal(samples["really_jpeg.png"].hq(), decode_image(encode_jpeg(box.face(6), 95)).pixels)
    assert np.array_equal(samples["really_webp.tif"].hq(), box.face(7))


@row(12)
def files_that_vanish(box: Box) -> None:
    plan = degrade_kit.pipelines.synth.plan.make_plan
    box.put("gone.png", encode_png(box.face()))

    def plan_and_delete(config: degrade_kit.pipelines.synth.plan.SynthConfig) -> degrade_kit.pipelines.synth.plan.Plan:
        made = plan(config)
        (box.hq / "gone.png").unlink()
        return made

    box.monkeypatch.setattr(degrade_kit.pipelines.synth.synthesize, "make_plan", plan_and_delete)
    box.run(*box.arguments(), code=3).says("unreadable")
    box.check({"gone.png": "unreadable"})
    assert "No such file" in (box.out / ".degrade_kit/failures.jsonl").read_text()


@row(12)
def files_without_permission(box: Box) -> None:
    box.put("secret.png", encode_png(box.face())).chmod(0)
    folder = box.put("closed/inside.png", encode_png(box.face())).parent
    folder.chmod(0)
    try:
        launcher = without_root(box.hq / "secret.png")
        run = box.process(*box.arguments(), code=3, launcher=launcher)
    finally:
        folder.chmod(0o755)
    run.says("unreadable")
    box.check({"secret.png": "unreadable", "closed": "unreadable"})
    assert "Permission denied" in (box.out / ".degrade_kit/failures.jsonl").read_text()


# Root reads and writes everything, by two capabilities that a process can give up for those that it starts.
WITHOUT_ROOT = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *{start}, *sys.argv[1:]])
"""


def without_root(forbidden: Path) -> str:
    """A launcher of the command that respects permissions, also for root; `forbidden` is a file of mode 000."""
    probe = WITHOUT_ROOT.format(start=["-c", "import sys; open(sys.argv[1])"])
    tried = subprocess.run([sys.executable, "-c", probe, forbidden], capture_output=True, check=False)
    if tried.returncode == 0:
        pytest.skip("this process is root and may not give up the right to read everything")
    return WITHOUT_ROOT.format(start=["-m", "degrade_kit.pipelines.cli"])


@row(13)
def loops_pipes_and_devices(box: Box) -> None:
    (box.hq / "self.png").symlink_to("self.png")
    (box.hq / "dangling.png").symlink_to("nothing.png")
    (box.hq / "sub/up").symlink_to("..")
    (box.hq / "device.png").symlink_to("/dev/zero")
    os.mkfifo(box.hq / "pipe.png")
    box.put("folder.png/face.png", encode_png(box.face()))
    (box.hq / "link.png").symlink_to("face0.png")  # to a plain file: an image like others
    box.inputs += 6
    box.process(*box.arguments(), code=3).says("listed already", "sub/up")
    failures = {
        **dict.fromkeys(["self.png", "dangling.png"], "unreadable"),
        **dict.fromkeys(["device.png", "pipe.png", "folder.png"], "not a file"),
    }
    samples = box.check(failures)
    assert {"link.png", "folder.png/face.png"} <= samples.keys()


NAMES = {
    "übung ß 日本 😀.png": "übung ß 日本 😀.png",
    "two\nlines.png": "two\nlines.png",
    "-o.png": "-o.png",
    ".hidden.png": ".hidden.png",
    "tab\tquote\"'`$(touch x)|.png": "tab\tquote\"'`$(touch x)|.png",
    "caf\udce9.png": "caf%E9.png",
    "%s {0} \\n.png": "%s {0} \\n.png",
    " .png": " .png",
}


@row(14)
def names_of_all_kinds(box: Box) -> None:
    for name in NAMES:
        box.put(name, encode_png(box.face()))
    box.put("bad\n\udcff.png", b"no image")
    samples = box.synth(failures={"bad\n%FF.png": "not an image"})
    assert set(NAMES.values()) < samples.keys()
    assert all(re.fullmatch(r"[0-9]{9}", sample.key) for sample in samples.values())
    assert len({sample.key for sample in samples.values()}) == len(samples)
    for sample in samples.values():
        box.run("replay", box.out, sample.key, "--out", box.folder / "replayed", code=0)


@row(14)
def folders_of_all_kinds(box: Box) -> None:
    expected = box.synth()
    for name in (b"-x", b"caf\xe9 \n", "日本".encode()):
        hq, out = box.folder / os.fsdecode(b"hq" + name), box.folder / os.fsdecode(b"-out" + name)
        shutil.copytree(box.hq, hq)
        arguments = [f"--hq={hq}", f"--shards={out}", "--size=64", "--samples-per-shard=2", "--workers=0"]
        box.run("synth", *arguments, code=0)
        box.run("verify", out, "--workers", "0", code=0)
        for encoding in ("utf-8:strict", "ascii:strict") if b"\xe9" in name else ():
            box.process("synth", *arguments, "--dry-run", code=0, PYTHONIOENCODING=encoding)
            box.process("inspect", out, code=0, PYTHONIOENCODING=encoding)
        found = {sample.info["source"]: sample for sample in open_shards(out).samples()}
        assert {name: sample.members for name, sample in found.items()} == {
            name: sample.members for name, sample in expected.items()
        }


@row(15)
def dots_in_names(box: Box) -> None:
    names = ["a.b.png", "a.c.png", "..png", "...x.png", "a.b.hq.png", "v1.0/a.b.png", "shard.tar.png"]
    for number, name in enumerate(names):
        box.put(name, encode_png(box.face(number)))
    samples = box.synth()
    for number, name in enumerate(names):
        assert "." not in samples[name].key
        assert np.array_equal(samples[name].hq(), box.face(number))
    urls = [str(path) for path in sorted(box.out.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves closing its files to the collector
        read = cast("Any", webdataset).WebDataset(urls, shardshuffle=False)
        seen = {sample["__key__"].rpartition("/")[2]: sample["hq.png"] for sample in read}
        del read
        gc.collect()
    assert seen == {sample.key: sample.members["hq.png"] for sample in samples.values()}


@row(16)
def equal_names_in_other_folders(box: Box) -> None:
    names = ["a/x.png", "b/x.png", "A.png", "a.png", "a.PNG", "B/x.png"]
    for number, name in enumerate(names):
        box.put(name, encode_png(box.face(number)))
    samples = box.synth()
    for number, name in enumerate(names):
        assert np.array_equal(samples[name].hq(), box.face(number))
    records = {sample.info["lq0_record"] for sample in samples.values()}
    assert len(records) == len(samples)


@row(17)
def nothing_to_do(box: Box) -> None:
    empty = box.folder / "empty"
    empty.mkdir()
    box.run(*box.arguments(hq=empty), code=2).says("no image found", ".png", ".webp", "saw 0 other files")
    for number in range(3):
        (empty / f"{number}.docx").write_text("text")
    box.run(*box.arguments(hq=empty), code=2).says("saw 3 other files", "3 .docx")
    box.run(*box.arguments("--include", "*.gif"), code=2).says("4 images do not match '*.gif'")
    box.run(*box.arguments(hq=box.folder / "nowhere"), code=2).says("nowhere", "No such file")
    (empty / "dangling.png").symlink_to("nothing")
    box.run(*box.arguments(hq=empty), code=2).says("refused 1", "dangling.png")
    assert not box.out.exists()


@row(17)
def nothing_that_can_be_used(box: Box) -> None:
    names = ["face0.png", "face1.png", "sub/face2.png", "zz.png"]
    for name in names:
        (box.hq / name).write_bytes(b"")
    box.synth(failures=dict.fromkeys(names, "not an image"))
    assert list(box.out.glob("*.tar")) == []
    box.run("inspect", box.out, code=0).says("4 not an image")


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Generator[None]:
    """Mount a file system of that size; needs root."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False)
    if made.returncode:
        pytest.skip("this user may not mount a small file system; the row is also checked with a simulated error")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def is_full(box: Box, run: Run, left: int) -> None:
    """Check what a full disk must leave behind."""
    run.says("No space left on device", "MB are free", f"{counted_noun(left, 'missing shard')} would take about 0.")
    assert run.output.count("error:") == 1
    assert not list(box.out.rglob("tmp/*"))
    assert not (box.out / "manifest.json").exists()
    sidecars = [json.loads(path.read_bytes()) for path in box.out.glob(".degrade_kit/shard-*.json")]
    assert {f"{sidecar['shard']}.tar" for sidecar in sidecars} == {path.name for path in box.out.glob("*.tar")}
    for sidecar in sidecars:
        assert len(list(iterate_samples(box.out / f"{sidecar['shard']}.tar"))) == sidecar["count"]


@row(19)
def disk_full_simulated(box: Box) -> None:
    sync = degrade_kit.files._sync

    def full(path: Path) -> None:
        if "shard-000001.tar." in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    with box.monkeypatch.context() as patch:
        patch.setattr(degrade_kit.files, "_sync", full)
        is_full(box, box.run(*box.arguments(), code=1), left=1)
    box.synth()


@row(19)
def disk_full(box: Box) -> None:
    whole = box.synth()
    whole_tree = tree(box.out)
    disk = box.folder / "disk"
    with small_disk(disk, "3m"):
        box.out = disk / "out"
        count = degrade_kit.pipelines.commands.progress.ProgressLine.__call__

        def count_and_fill(self: Any, report: Any) -> None:  # noqa: ANN401
            count(self, report)
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass

        with box.monkeypatch.context() as patch:
            patch.setattr(degrade_kit.pipelines.commands.progress.ProgressLine, "__call__", count_and_fill)
            is_full(box, box.run(*box.arguments(), code=1), left=1)
        assert len(list(box.out.glob("*.tar"))) == 1
        (disk / "filler").unlink()
        box.synth()
        assert tree(box.out) == whole_tree
    assert len(whole) == 4


@row(19)
def disk_too_small_from_the_start(box: Box) -> None:
    disk = box.folder / "disk"
    with small_disk(disk, "32k"):
        box.out = disk / "out"
        box.run(*box.arguments(), code=1).says("are free there", "2 shards to make would take about 0.")
        assert not box.out.exists()


@row(20)
def output_that_cannot_be_written(box: Box) -> None:
    file = box.folder / "file"
    file.write_text("text")
    for out in (file, file / "out", box.folder / ("x" * 300)):
        box.out = out
        box.run(*box.arguments(), code=1).says("cannot write to")
    assert file.read_text() == "text"


@row(20)
def output_without_permission(box: Box) -> None:
    parent, locked = box.folder / "parent", box.folder / "locked"
    locked.touch(0)
    parent.mkdir(0o555)
    box.out = parent / "deep" / "out"
    launcher = without_root(locked)
    box.process(*box.arguments(), code=1, launcher=launcher).says("cannot write to", str(parent))
    parent.chmod(0)
    box.process(*box.arguments(), code=1, launcher=launcher).says("cannot write to", str(parent))
    parent.chmod(0o755)
    assert not any(parent.iterdir())


@row(21)
def output_that_is_not_empty(box: Box) -> None:
    box.out.mkdir()
    (box.out / "shard-000000.tar").write_text("mine")
    (box.out / "README.md").write_text("mine")
    before = tree(box.out)
    for options in ([], ["--overwrite"]):
        box.run(*box.arguments(*options), code=1).says("is not empty", "README.md and 1 more")
        assert tree(box.out) == before


@row(21)
def output_of_another_configuration(box: Box) -> None:
    box.synth()
    before = tree(box.out)
    box.run(*box.arguments("--seed", "5", "--alpha", "white"), code=1).says(
        "seed: there 0, now 5", "image.alpha: there 'black', now 'white'", "--overwrite"
    )
    assert tree(box.out) == before
    (box.out / "notes.txt").write_text("mine")
    (box.out / "extra").mkdir()
    (box.out / "extra/shard-000001.tar").write_text("mine")
    (box.out / "shard-one.tar").write_text("mine")
    kept = {name: data for name, data in tree(box.out).items() if name not in before}
    assert len(kept) == 3
    box.run(*box.arguments("--seed", "5", "--samples-per-shard", "4", "--overwrite"), code=0)
    after = tree(box.out)
    assert {name: data for name, data in after.items() if name in kept} == kept
    assert [name for name in after if re.fullmatch(r"shard-\d+\.tar", name)] == ["shard-000000.tar"]
    box.run(*box.arguments("--seed", "5", "--samples-per-shard", "4"), code=0).says("0 made, 1 kept")
    assert tree(box.out) == after
    (box.out / ".degrade_kit/config.yaml").write_text("{")
    box.run(*box.arguments(), code=1).says("config.yaml is damaged")


KILLER = """
import importlib.abc, importlib.util, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "degrade_kit.pipelines.synth.shard":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            prepare = module.prepare

            def deadly(raw, config):
                if {deadly!r} in raw:
                    os.kill(os.getpid(), signal.SIGKILL)
                return prepare(raw, config)

            module.prepare = deadly

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@row(22)
def images_that_kill_the_worker(box: Box) -> None:
    site = box.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(KILLER.format(deadly=DEADLY))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", DEADLY.decode())
    for name in ("deadly1.png", "deadly2.png"):  # in one shard, between two others
        box.put_image(name, Image.fromarray(box.face()), "PNG", pnginfo=text)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    arguments = box.arguments("--workers", "1", "--samples-per-shard", "6")
    run = box.process(*arguments, code=3, PYTHONPATH=path)
    run.says("2 crashed the worker")
    box.check(dict.fromkeys(["deadly1.png", "deadly2.png"], "crashed the worker"))


@row(23)
def killed_driver(box: Box) -> None:
    for number in range(12):
        box.put(f"more{number}.png", encode_png(box.face(number)))
    options = ("--variants", "12")
    box.synth(*options)
    whole = tree(box.out)
    shutil.rmtree(box.out)
    driver = started(box, *options)
    driver.kill()
    driver.communicate()
    assert not (box.out / "manifest.json").exists(), "the run was over before it was killed"
    box.run(*box.arguments(*options), code=0).says("kept from before")
    assert tree(box.out) == whole
    box.check({})


@row(24)
def times_in_the_future(box: Box) -> None:
    box.synth()
    before = tree(box.out)
    shutil.rmtree(box.out)
    for number, path in enumerate(sorted(box.hq.rglob("*"))):
        os.utime(path, (4_102_444_800 * (number % 2), 4_102_444_800 * (number % 2)))  # 2100 and 1970
    box.monkeypatch.setenv("TZ", "Pacific/Apia")
    time.tzset()
    box.synth()
    box.monkeypatch.undo()
    time.tzset()
    assert tree(box.out) == before
    with tarfile.open(box.out / "shard-000000.tar") as tar:
        assert {(member.mtime, member.uid, member.gid) for member in tar} == {(0, 0, 0)}


def is_damaged(box: Box, shard: str, *words: str) -> None:
    """Check that `verify` finds the fault and names the shard, readers refuse it, and its advice mends it."""
    run = box.run("verify", box.out, "--workers", "0", code=1)
    run.says(shard, *words)
    others = {f"shard-00000{n}" for n in range(3)} - {shard}
    assert not any(line.startswith(tuple(others)) for line in run.output.splitlines())
    run.says(f"to make this shard again, delete .degrade_kit/{shard}.json and manifest.json")
    (box.out / f".degrade_kit/{shard}.json").unlink()
    (box.out / "manifest.json").unlink()
    box.run(*box.arguments(), code=0).says("1 made, 1 kept from before")


@row(29)
def damaged_shards(box: Box) -> None:
    box.synth()
    whole = tree(box.out)
    tar = box.out / "shard-000001.tar"
    with tarfile.open(tar) as file:
        members = file.getmembers()
    after_first = members[3].offset  # three members in each sample
    at_member = members[4].offset
    inside = members[3].offset_data + 100
    cuts = {"sample": after_first, "member": at_member, "inside": inside, "header": at_member + 100, "empty": 0}
    for cut in cuts.values():
        tar.write_bytes(whole[tar.name][:cut])
        with pytest.raises(ShardError, match=r"shard-000001\.tar"):
            list(open_shards(box.out).samples())
        with pytest.raises(ShardError, match=r"shard-000001\.tar"):
            list(iterate_samples(tar))
        is_damaged(box, "shard-000001", f"expected {len(whole[tar.name])} bytes, found {cut}")
        assert tree(box.out) == whole
    flipped = bytearray(whole[tar.name])
    flipped[inside] ^= 1
    tar.write_bytes(flipped)
    is_damaged(box, "shard-000001", "its bytes have changed")
    flipped = bytearray(whole[tar.name])
    flipped[after_first] ^= 1  # in a header, where tarfile stops in silence
    tar.write_bytes(flipped)
    with pytest.raises(ShardError, match="cut or damaged"):
        list(open_shards(box.out).samples())
    is_damaged(box, "shard-000001", "its bytes have changed")
    tar.unlink()
    with pytest.raises(ShardError, match="is missing"):
        list(open_shards(box.out).samples())
    is_damaged(box, "shard-000001", "the tar is missing")
    assert tree(box.out) == whole


@row(29)
def damaged_shards_as_sources(box: Box) -> None:
    faces = {f"{number}.png": encode_png(box.face(number)) for number in range(4)}
    tars = box.folder / "tars"
    tars.mkdir()
    data = with_tar(tars / "cut.tar", faces).read_bytes()
    with tarfile.open(tars / "cut.tar") as file:
        member = file.getmembers()[2]
    (tars / "cut.tar").write_bytes(data[: member.offset])
    flipped = bytearray(data)
    flipped[member.offset_data + 2000] ^= 1
    (tars / "flip.tar").write_bytes(flipped)
    run = box.run(*box.arguments(hq=tars), code=3)
    run.says("1 truncated", "1 unreadable")
    lines = [json.loads(line) for line in (box.out / ".degrade_kit/failures.jsonl").read_text().splitlines()]
    assert {line["source"]: line["reason"] for line in lines} == {
        "cut.tar": "truncated",
        "flip.tar/2.png": "unreadable",
    }
    sources = {sample.info["source"] for sample in open_shards(box.out).samples()}
    assert sources == {"cut.tar/0.png", "cut.tar/1.png", "flip.tar/0.png", "flip.tar/1.png", "flip.tar/3.png"}
    box.run("verify", box.out, "--workers", "0", code=0)


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.mark), "w")


def evil_members(box: Box) -> dict[str, bytes]:
    """Members that do harm to who reads them without care, and proof that they do."""
    mark = box.folder / "evil happened"
    payload = pickle.dumps(Evil(mark))
    pickle.loads(payload).close()
    assert mark.exists()
    mark.unlink()
    return {
        "000000000.pyd": payload,
        "000000000.pkl": payload,
        "000000000.pth": payload,
        "../outside.png": encode_png(box.face()),
        f"{box.folder}/absolute.png": encode_png(box.face()),
        "sub/../../x.png": encode_png(box.face()),
    }


@row(30)
def evil_shards(box: Box) -> None:
    box.synth()
    shard = box.out / "shard-000000.tar"
    with tarfile.open(shard) as file:
        good = {member.name: file.extractfile(member).read() for member in file}  # pyright: ignore[reportOptionalMemberAccess]
    evil = evil_members(box)
    names = list(good)
    mixed = {names[0]: good[names[0]], **evil, **{name: good[name] for name in names[1:]}}
    with_tar(shard, mixed)
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("000000009.hq.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = tree(box.folder)
    samples = list(iterate_samples(shard))
    assert [name for sample in samples for name in sample.ignored] == [*evil, "000000009.hq.png"]
    assert {f"{sample.key}.{name}": data for sample in samples for name, data in sample.members.items()} == good
    for sample in samples:
        assert sample.pair(0)[1].shape == (SIDE, SIDE, 3)
    run = box.run("verify", box.out, "--workers", "0", "--replay", "1", code=1)
    run.says("bytes, found", "'000000000.pyd' (not read)", "'../outside.png' (not read)")
    assert tree(box.folder) == before, "something was written"
    assert not (box.folder / "evil happened").exists()


@row(30)
def compressed_shards(box: Box) -> None:
    box.synth()
    shard = box.out / "shard-000000.tar"
    shard.write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(ShardError, match="not a whole tar"):
        list(iterate_samples(shard))
    box.run("verify", box.out, "--workers", "0", code=1).says("shard-000000", "not a whole tar")
    with_tar(box.folder / "faces.tar", {"a.png": encode_png(box.face())})
    packed = box.folder / "packed.tar"
    packed.write_bytes(gzip.compress((box.folder / "faces.tar").read_bytes()))
    box.out = box.folder / "other"
    box.run(*box.arguments(hq=packed), code=2).says("a .tar that is not compressed is expected")


@row(30)
def evil_sources(box: Box) -> None:
    tar = with_tar(box.folder / "evil.tar", {"good.png": encode_png(box.face()), **evil_members(box)})
    before = tree(box.folder)
    box.run(*box.arguments(hq=tar), code=3).says("3 unsafe name")
    after = {name: data for name, data in tree(box.folder).items() if not name.startswith("out/")}
    assert after == before
    assert [sample.info["source"] for sample in open_shards(box.out).samples()] == ["evil.tar/good.png"]
    box.run("verify", box.out, "--workers", "0", code=0)


@row(30)
def urls(box: Box) -> None:
    mark = box.folder / "ran"
    for url, said in {
        f"pipe:touch {mark}": "no URL that is read",
        f"pipe://touch {mark}": "Protocol not known",
        "file:///etc/hosts": "expected a folder of images",
        "http://127.0.0.1:9/": "a folder of the web cannot be listed",
        "memory://nowhere/at/all": "nothing is there",
    }.items():
        box.run(*box.arguments(hq=url), code=2).says(said)
    for url in (
        f"pipe:touch {mark}",
        f"pipe://touch {mark}",
        "HTTP://127.0.0.1:9/a",
        "simplecache::http://127.0.0.1:9/",
    ):
        box.run("synth", "--hq", box.hq, "--shards", url, "--workers", "0", code=2).says("cannot use", "s3://")
        for command in ("verify", "inspect"):
            box.run(command, url, code=2).says("cannot use")
        with pytest.raises(ConfigError):
            open_store(url)
    config = box.folder / "run.yaml"
    config.write_text(f"hq: 'pipe:touch {mark}'\nshards: {box.out}\n")
    box.run("synth", "--config", config, code=2).says("no URL that is read")
    assert not mark.exists()
    assert not box.out.exists()


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD_CONFIGS = {
    "tag": ("hq: !!python/object/apply:os.system ['touch {mark}']", ["not plain YAML", "python/object/apply"]),
    "billion laughs": (LAUGHS, ["aliases"]),
    "typo": ("variant: 3", ["unknown option `variant`", "did you mean `variants`?"]),
    "unknown": ("zzz: 3", ["unknown option `zzz`", "known are"]),
    "itself": ("config: other.yaml", ["unknown option `config`"]),
    "not a mapping": ("- variants", ["expected `option: value` pairs"]),
    "empty": ("", ["expected `option: value` pairs"]),
    "nothing": ("include:", ["include: expected a value"]),
    "list": ("seed: [1, 2]", ["seed: expected one value"]),
    "mapping": ("seed: {name: gfpgan}", ["seed: expected one value"]),
    "recipe": ("preset: {name: gfpgan}", ["preset: recipe: `steps` is missing"]),
    "too small": ("variants: 0", ["bad.yaml: variants:", "1<=x<=1000"]),
    "truth": ("variants: true", ["bad.yaml: variants:", "not a valid integer"]),
    "text": ("seed: many", ["bad.yaml: seed:", "not a valid integer"]),
    "size": ("size: 5000", ["size", "[16, 4096]", "5000"]),
    "choice": ("square: centre", ["bad.yaml: square:", "'center', 'error'"]),
    "share": ("max-failures: 1.5", ["bad.yaml: max-failures:", "0<=x<=1"]),
    "not UTF-8": ("hq: caf\udce9", ["bad.yaml: not plain YAML", "can't decode byte"]),
    "preset": ("preset: gfpgam", ["unknown preset `gfpgam`", "did you mean `gfpgan`?"]),
}

BAD_RECIPES = {
    "tag": ("name: x\nsteps: !!python/object/apply:os.system ['touch {mark}']", ["not plain YAML"]),
    "billion laughs": (LAUGHS, ["aliases"]),
    "unknown key": ("name: x\nstep: []", ["unknown key `step`", "did you mean `steps`?"]),
    "missing": ("name: x", ["`steps` is missing"]),
    "no steps": ("name: x\nsteps: []", ["at least one step"]),
    "unknown step": (
        "name: x\nsteps: [{blurr: {sigma: 1}}]",
        ["steps[0]: unknown step `blurr`", "did you mean `blur`?"],
    ),
    "unknown field": ("name: x\nsteps: [{blur: {sigmas: 1}}]", ["steps[0].blur: unknown key `sigmas`", "`sigma`?"]),
    "sigma": ("name: x\nsteps: [{blur: {sigma: -1}}]", ["steps[0].blur.sigma", "within [0, 200]", "-1"]),
    "quality": ("name: x\nsteps: [gray, {jpeg: {quality: 0}}]", ["steps[1].jpeg.quality", "within [1, 100]", "0"]),
    "scale": ("name: x\nsteps: [{resize: {scale: 0}}]", ["steps[0].resize.scale", "within [0.1, 512]"]),
    "order": ("name: x\nsteps: [{jpeg: {quality: [90, 30]}}]", ["steps[0].jpeg.quality", "min <= max", "[90, 30]"]),
    "NaN": ("name: x\nsteps: [{blur: {sigma: .nan}}]", ["bad.yaml", "line 2", "expected a finite number"]),
    "infinite": (
        "name: x\nsteps: [{gaussian_noise: {level: .inf}}]",
        ["bad.yaml", "line 2", "expected a finite number"],
    ),
    "text": ("name: x\nsteps: [{blur: {sigma: strong}}]", ["steps[0].blur.sigma", "'strong'"]),
    "nested": (
        "name: x\nsteps: [{shuffle: {steps: [{jpeg: {quality: 101}}]}}]",
        ["steps[0].shuffle.steps[0].jpeg.quality", "within [1, 100]"],
    ),
    "size": ("name: x\nsteps: [{resize: {scale: 4}}]", ["go back to the full size", "scale: 1"]),
    "not UTF-8": ("name: caf\udce9", ["bad.yaml: not plain YAML", "can't decode byte"]),
}


@row(31)
def bad_configurations(box: Box) -> None:
    file, mark = box.folder / "bad.yaml", box.folder / "ran"
    for text, words in BAD_CONFIGS.values():
        file.write_bytes(os.fsencode(text.replace("{mark}", str(mark))))
        fixed = ["--hq", box.hq, "--shards", box.out]
        box.run("synth", *fixed, "--config", file, code=2).says(*words)
    for text, words in BAD_RECIPES.values():
        file.write_bytes(os.fsencode(text.replace("{mark}", str(mark))))
        run = box.run(*box.arguments("--preset", file), code=2)
        run.says(*words)
        assert "bad.yaml" in run.output or "recipe x: " in run.output
        box.run("preview", "--hq", box.hq, "--preset", file, code=2).says(*words)
    box.run(*box.arguments("--preset", box.folder / "none.yaml"), code=2).says("cannot read recipe", "none.yaml")
    assert not mark.exists()
    assert not box.out.exists()


def started(box: Box, *options: str) -> subprocess.Popen[str]:
    """Start the command and wait for its first shard."""
    process = subprocess.Popen(
        [sys.executable, "-m", "degrade_kit.pipelines.cli", *box.arguments(*options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(box.out.glob(".degrade_kit/shard-*.json")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


@row(32)
def ctrl_c(box: Box) -> None:
    for number in range(12):
        box.put(f"more{number}.png", encode_png(box.face(number)))
    options = ("--variants", "25")
    box.synth(*options)
    whole = tree(box.out)
    for presses in (1, 2):
        shutil.rmtree(box.out)
        process = started(box, *options)
        begun = len(list(box.out.glob(".degrade_kit/shard-*.json")))
        process.send_signal(signal.SIGINT)
        output = ""
        if presses == 2:
            assert process.stdout is not None
            output = process.stdout.readline()
            assert "press Ctrl-C again" in output
            process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=60)[0]
        checked(Run(process.returncode, output), 130).says("run the same command again")
        done = sorted(path.stem for path in box.out.glob(".degrade_kit/shard-*.json"))
        assert begun <= len(done) <= begun + 2 < 8, "it went on"
        for path in box.out.glob("*.tar"):
            assert path.read_bytes() == whole[path.name]
        assert not list(box.out.rglob("tmp/*"))
        assert not (box.out / "manifest.json").exists()
        box.run(*box.arguments(*options), code=0).says(f"{8 - len(done)} made, {len(done)} kept from before")
        assert tree(box.out) == whole


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.fixture
def box(tmp_path: Path, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.chdir(tmp_path)
    return Box(tmp_path, astronaut, monkeypatch)


LONG = {images_smaller_than_the_kernels, images_that_kill_the_worker, killed_driver, ctrl_c}


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{number:02}-{check.__name__}", marks=[pytest.mark.long] if check in LONG else [])
        for number, check in ROWS
    ],
)
def test_row(check: Check, box: Box) -> None:
    check(box)


@pytest.mark.parametrize("number", range(1, 33))
def test_no_row_is_dropped(number: int) -> None:
    if number not in ELSEWHERE:
        assert any(number == known for known, _ in ROWS)
        return
    reason, options = ELSEWHERE[number]
    assert reason
    names = {parameter.name for parameter in main.commands["synth"].params}
    assert names.isdisjoint(options), f"row {number} was left out since {reason}; now it belongs here"
