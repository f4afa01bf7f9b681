"""No small file takes much memory or time: what would is refused by its header, and what is accepted keeps to it."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from degrade_kit import image, image_files, sources
from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.image import MAX_PIXELS, MAX_SCANNED_PIXELS, MAX_WORKING_BYTES, WORKING_BYTES, decode_image
from degrade_kit.image_bounds import HINT, VARIABLE, image_bounds, image_bounds_raised
from degrade_kit.image_files import MAX_PARTS, jpeg_segments, survey
from degrade_kit.pipelines.cli import main
from degrade_kit.sources import MAX_BYTES, open_sources

SOS = 0xDA


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(side: int, depth: int, colour: int, row_bytes: int) -> bytes:
    """A PNG file of zeros, a thousandth of its pixels' size."""
    packer, row = zlib.compressobj(1), bytes(1 + row_bytes)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def progressive_jpeg(side: int) -> bytes:
    with io.BytesIO() as file:
        grey = Image.new("RGB", (side, side), (128, 128, 128))
        grey.save(file, "JPEG", quality=30, progressive=True, subsampling=0)
        return file.getvalue()


def with_scans(data: bytes, count: int) -> bytes:
    """The same file with its last scan again and again."""
    segments = list(jpeg_segments(data))
    _, start, end = next(segment for segment in reversed(segments) if segment[0] == SOS)
    return data[: segments[-1][1]] + data[start:end] * count + data[segments[-1][1] :]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG file whose header tells of another size."""
    changed = bytearray(data)
    start = next(start for marker, start, _ in jpeg_segments(data) if marker in (0xC0, 0xC2))
    struct.pack_into(">HH", changed, start + 5, height, width)
    return bytes(changed)


def refusal(data: bytes, max_bytes: int = MAX_WORKING_BYTES) -> str:
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode_image(data, max_bytes=max_bytes)
    assert time.process_time() - start < 1, "nothing is decoded"
    assert caught.value.reason == "too large"
    return caught.value.detail


def test_what_takes_more_bytes_for_each_pixel_may_have_fewer_pixels() -> None:
    side = 7000
    assert side * side < MAX_PIXELS
    deep = flat_png(100, 16, 6, 800)
    large = bytearray(deep)
    struct.pack_into(">II", large, 16, side, side)
    struct.pack_into(">I", large, 29, zlib.crc32(large[12:29]))
    assert "7000 x 7000; to decode it takes about 1078 MB, more than 900" in refusal(bytes(large))
    with pytest.raises(ImageError, match=r"truncated|unreadable"):  # by who raises the bound, it is decoded
        decode_image(bytes(large), max_bytes=2 * 10**9)
    assert decode_image(deep).pixels.shape == (100, 100, 3)


def test_scans_of_a_jpeg_are_bounded_by_its_size() -> None:
    small = progressive_jpeg(64)
    assert decode_image(with_scans(small, 300)).pixels.shape == (64, 64, 3)
    scans = survey(small, "jpg").scans
    assert scans >= 3
    most = MAX_SCANNED_PIXELS // (8000 * 8000)
    many = with_size(with_scans(small, most), 8000, 8000)
    assert refusal(many) == f"{most + scans} scans of 64000000 pixels; at most 1000000000 are scanned{HINT}"
    assert "to decode it takes about 832 MB, more than 500" in refusal(many, max_bytes=500_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "jpg"])
def test_parts_of_a_file_are_bounded(format: str) -> None:
    if format == "png":
        whole, part = flat_png(64, 8, 2, 192), chunk(b"tEXt", b"")
        data = whole[:33] + part * (MAX_PARTS + 1) + whole[33:]
    else:
        whole, part = progressive_jpeg(64), b"\xff\xfe\0\2"
        data = whole[:2] + part * (MAX_PARTS + 1) + whole[2:]
    assert refusal(data) == f"{format}: more than {MAX_PARTS} parts{HINT}"
    with image_bounds_raised(2):
        assert decode_image(data).pixels.shape == (64, 64, 3)


def test_strips_of_a_tiff_are_bounded() -> None:
    tags = [(256, 64), (257, 10**7), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 10**6 if tag in (273, 279) else 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", 8 + 4 * 10**6) + bytes(4 * 10**6) + struct.pack("<H", len(tags)) + entries
    assert "more than 131072 strips or tiles" in refusal(data + bytes(4 + 4 * 10**6))


def test_the_user_raises_all_bounds_on_images_by_a_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pixels", "bytes", "scans"):
        (tmp_path / f"{name}.jpg").write_bytes(progressive_jpeg(64))
    monkeypatch.setattr(image, "MAX_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(image, "MAX_WORKING_BYTES", 64 * 64 * WORKING_BYTES["progressive"] - 1)
    monkeypatch.setattr(sources, "MAX_BYTES", len(progressive_jpeg(64)) - 1)
    monkeypatch.setattr(image_files, "MAX_PARTS", 12)
    data = progressive_jpeg(64)
    assert 12 < sum(survey(data, "jpg").parts.values()) <= 40
    for name, bound in (("MAX_PARTS", 40), ("MAX_PIXELS", MAX_PIXELS), ("MAX_WORKING_BYTES", MAX_WORKING_BYTES)):
        with pytest.raises(ImageError, match=f"{HINT}$"):
            decode_image(data)
        monkeypatch.setattr(image_files if name == "MAX_PARTS" else image, name, bound)
    assert decode_image(data).pixels.shape == (64, 64, 3)
    monkeypatch.undo()

    monkeypatch.setattr(image, "MAX_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(sources, "MAX_BYTES", len(data) - 1)
    listed = open_sources(tmp_path)
    with pytest.raises(ImageError, match=f"{HINT}$"):
        listed.read(0)
    with image_bounds_raised(1.5):
        assert decode_image(listed.read(0)).pixels.shape == (64, 64, 3)
    with pytest.raises(ImageError, match=r"at most 4095 pixels are decoded; `degrade-kit --image-bounds` raises it"):
        decode_image(data)


def test_pillow_opens_what_the_user_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(image, "MAX_PIXELS", 2000)
    with image_bounds_raised(4):
        assert decode_image(flat_png(64, 8, 2, 192)).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("text", ["0.5", "11", "nan", "many"])
def test_a_factor_is_a_number_from_1_to_10(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=f"{VARIABLE}={text}: expected a number from 1 to 10"):
        image_bounds()
    told = CliRunner().invoke(main, ["presets"])
    assert (told.exit_code, f"{VARIABLE}={text}: expected" in told.output) == (2, True)
    monkeypatch.delenv(VARIABLE)
    assert CliRunner().invoke(main, ["--image-bounds", text, "presets"]).exit_code == 2
    assert image_bounds() == 1


def test_a_command_takes_the_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MAX_PIXELS", 64 * 64 - 1)
    (tmp_path / "hq").mkdir()
    (tmp_path / "hq/a.png").write_bytes(flat_png(64, 8, 2, 192))
    words = ["synth", "--hq", str(tmp_path / "hq"), "--size", "32", "--preset", "gfpgan", "--workers", "0", "--shards"]
    refused = CliRunner().invoke(main, [*words, str(tmp_path / "refused")])
    assert refused.exit_code != 0
    assert "too large" in refused.output
    raised = CliRunner().invoke(main, ["--image-bounds", "1.5", *words, str(tmp_path / "made")])
    assert raised.exit_code == 0, raised.output
    assert "next: degrade-kit verify" in raised.output
    assert VARIABLE not in os.environ


BOUNDED = f"""
import resource, sys
from pathlib import Path
from PIL import Image
from degrade_kit.errors import ImageError
from degrade_kit.image import decode_image
Image.init()
data = Path(sys.argv[1]).read_bytes()
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 10**9,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (10 + int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])),) * 2)
print(decode_image(data).pixels.shape[0])
assert {MAX_WORKING_BYTES} < 10**9
"""


def test_the_page_states_the_bounds() -> None:
    page = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text("utf-8")
    most = {way: min(MAX_PIXELS, MAX_WORKING_BYTES // each) // 10**6 for way, each in WORKING_BYTES.items()}
    assert f"8-bit RGB PNG and JPEG {most['plain']}, WebP {most['plain webp']}, turned," in page
    assert f"GIF and TIFF {most['unusual']}, progressive JPEG {most['progressive']}," in page
    assert f"transparent WebP {most['animated webp']}, 16 bits {most['deep']} |" in page
    for value in (f"{MAX_SCANNED_PIXELS // 10**6:,} million", f"{MAX_PARTS:,}", f"{MAX_BYTES >> 20} MiB"):
        assert f"| {value} |" in page


@pytest.mark.long
@pytest.mark.parametrize("kind", ["png", "png with alpha", "png of 16 bits", "progressive"])
def test_what_is_accepted_takes_less_than_a_gigabyte_and_ten_seconds(kind: str, tmp_path: Path) -> None:
    if kind == "png":
        side, data = 9990, flat_png(9990, 8, 2, 3 * 9990)
    elif kind == "png with alpha":
        side, data = 9000, flat_png(9000, 8, 6, 4 * 9000)
    elif kind == "png of 16 bits":
        side, data = 6300, flat_png(6300, 16, 6, 8 * 6300)
    else:
        side = 8200
        data = progressive_jpeg(side)
        data = with_scans(data, MAX_SCANNED_PIXELS // side**2 - survey(data, "jpg").scans)
    assert len(data) < 10_000_000
    path = tmp_path / "image"
    path.write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{side}\n"
