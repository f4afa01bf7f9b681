"""Any bytes in place of an image, archive or list give images, or one of this project's errors, in little time."""

from __future__ import annotations

import io
import signal
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from degrade_kit.errors import ConfigError, ImageError, ShardError
from degrade_kit.hq import HqConfig, prepare
from degrade_kit.image import decode_image
from degrade_kit.image_files import profile_fault, strip_metadata
from degrade_kit.plain_shards import find_tars
from degrade_kit.reader import PairReader
from degrade_kit.sources import open_sources
from tests.fuzz.budget import fuzz

EXAMPLES = 150
SECONDS = 180
"""Patience with one test, which takes about one on a machine that does nothing else."""
SIDE = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Let bytes that keep a reader busy for ever fail their test, and not stop the run."""

    def give_up(number: int, frame: object) -> None:
        del frame
        raise TimeoutError(f"more than {SECONDS} s (signal {number})")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def saved(mode: str, format: str, **options: object) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(PIXELS).convert("RGB").convert(mode).save(file, format, **options)
        return file.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6
    found[0x010E] = "a description that does not fit into four bytes"
    return found


def deep_png() -> bytes:
    rows = b"".join(b"\0" + line.astype(">u2").tobytes() for line in PIXELS)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


IMAGES = {
    "png": saved("RGB", "PNG", exif=exif(), icc_profile=bytes(200)),
    "png of 16 bits": deep_png(),
    "png palette": saved("P", "PNG", transparency=3),
    "apng": saved("RGB", "PNG", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
    "jpg": saved("RGB", "JPEG", exif=exif(), icc_profile=bytes(200), comment=b"x"),
    "jpg progressive": saved("RGB", "JPEG", progressive=True),
    "jpg cmyk": saved("CMYK", "JPEG", icc_profile=bytes(200)),
    "webp": saved("RGB", "WEBP", exif=exif(), icc_profile=bytes(200)),
    "webp lossless": saved("RGBA", "WEBP", lossless=True),
    "webp animated": saved("RGB", "WEBP", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
    "bmp": saved("RGB", "BMP"),
    "tiff": saved("RGB", "TIFF", exif=exif()),
    "tiff deflate": saved("RGB", "TIFF", compression="tiff_adobe_deflate"),
    "tiff lzw": saved("L", "TIFF", compression="tiff_lzw"),
    "gif": saved("P", "GIF", save_all=True, append_images=[Image.new("P", (SIDE, SIDE))], comment=b"x"),
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw what becomes of a file: bytes and numbers changed, parts moved, left out or doubled, an end cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        place, how = draw(st.integers(0, max(len(data) - 1, 0))), draw(st.integers(0, 5))
        if how == 0:
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 1:
            data[place : place + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\1\0"]))
        elif how == 2:
            del data[place : place + draw(st.integers(1, 40))]
        elif how == 3:
            data[place:place] = draw(st.binary(max_size=8))
        elif how == 4:
            length = draw(st.integers(1, 60))
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)


@pytest.mark.parametrize("kind", IMAGES)
def test_any_image_file_is_decoded_or_refused(kind: str) -> None:
    def check(raw: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what it passes over
            try:
                decoded = decode_image(raw, min_side=1, max_pixels=1_000_000)
            except ImageError:
                return
            assert decoded.pixels.dtype == np.uint8
            assert decoded.pixels.ndim == 3
            if decoded.plain:
                profile_fault(raw, decoded.format)
                stripped = strip_metadata(raw, decoded.format)
                assert np.array_equal(decode_image(stripped, min_side=1, max_pixels=1_000_000).pixels, decoded.pixels)
            with suppress(ImageError):
                prepare(raw, HqConfig(size=16, min_side=1))

    fuzz(f"image: {kind}", damaged(IMAGES[kind]), check, EXAMPLES // 3)


def test_any_bytes_behind_a_signature_are_decoded_or_refused() -> None:
    starts = st.sampled_from([whole[:size] for whole in IMAGES.values() for size in (4, 12, 26, 60)])

    def check(parts: tuple[bytes, bytes]) -> None:
        with warnings.catch_warnings(), suppress(ImageError):
            warnings.simplefilter("ignore")
            decode_image(b"".join(parts), min_side=1, max_pixels=1_000_000)

    fuzz("image: any bytes", st.tuples(starts, st.binary(max_size=300)), check, EXAMPLES)


# ---------------------------------------- archives, databases and lists

MEMBERS = {"a.png": IMAGES["png"], "sub/b.jpg": IMAGES["jpg"], "0001.hq.png": IMAGES["png"], "0001.lq.png": b"x"}


def zipped(compression: int) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in MEMBERS.items():
                archive.writestr(name, content)
        return file.getvalue()


def tarred(members: Mapping[str, bytes], format: int) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=format) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return file.getvalue()


def database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        environment = lmdb.open(folder, map_size=2**22)
        with environment.begin(write=True) as transaction:
            for number in range(150):
                transaction.put(f"{number:03}".encode(), bytes(number * 40))
        environment.close()
        return (Path(folder) / "data.mdb").read_bytes()


PLACES = {
    "f.zip": zipped(zipfile.ZIP_STORED),
    "g.zip": zipped(zipfile.ZIP_DEFLATED),
    "f.tar": tarred(MEMBERS, tarfile.USTAR_FORMAT),
    "g.tar": tarred({**MEMBERS, f"{'long' * 60}.png": b"x"}, tarfile.GNU_FORMAT),
    "h.tar": tarred({**MEMBERS, "Zoë.png": b"x"}, tarfile.PAX_FORMAT),
    "list.txt": b"a.png\n./sub/b.jpg\r\n\n/etc/hostname\n../x.png\n",
    "data.mdb": database(),
    "meta_info.txt": b"000.png (512,512,3) 1\n149.png (512,512,3) 1\nsub/x.png\n../y.png (1,1,1) 1\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_any_archive_or_list_is_read_or_refused(name: str) -> None:
    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as text:
            place = folder = Path(text)
            if name in ("data.mdb", "meta_info.txt"):
                place = folder = folder / "f.lmdb"
                folder.mkdir()
                for file in ("data.mdb", "meta_info.txt"):
                    (folder / file).write_bytes(PLACES[file])
            else:
                place = folder / name
            (folder / name).write_bytes(content)
            try:
                sources = open_sources(place)
            except ConfigError:
                return
            for index in range(len(sources)):
                with suppress(ImageError):
                    assert isinstance(sources.read(index), bytes)

    fuzz(f"images in {name}", damaged(PLACES[name]), check, EXAMPLES // 3)


@pytest.mark.slow
def test_any_tar_of_pairs_is_read_or_refused() -> None:
    pairs = {f"{number}.{part}.png": IMAGES["png"] for number in range(2) for part in ("hq", "lq")}

    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "s.tar").write_bytes(content)
            with suppress(ShardError):
                assert find_tars(folder) is not None
                reader = PairReader(folder)
                for index in range(len(reader)):
                    with suppress(ShardError):
                        reader.stored_pair(reader.read(index, 0), 0)

    fuzz("tar of pairs", damaged(tarred(pairs, tarfile.USTAR_FORMAT)), check, EXAMPLES)
