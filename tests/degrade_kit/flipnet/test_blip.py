"""Captions by a tiny BLIP that the tests make: kept by content, resumed, never fetched unasked."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.flipnet import blip
from degrade_kit.flipnet.blip import CaptionFile, blip_captions
from degrade_kit.image import encode_png
from tests.degrade_kit.flipnet.models import BLIP_WORDS, save_blip


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random BLIP of about 10,000 parameters in the layout of the real one."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encode_png(rng.integers(0, 256, (40, 48, 3), np.uint8) // (1 + 3 * (i % 2))) for i in range(5)]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded."""
    found: list[str] = []
    real = blip._load

    def load(model: str, device: str, *, download: bool) -> Callable:
        found.append(model)
        return real(model, device, download=download)

    monkeypatch.setattr(blip, "_load", load)
    return found


@pytest.mark.slow
def test_images_are_captioned_once_and_kept(
    tiny_blip: str, images: list[bytes], loads: list[str], tmp_path: Path
) -> None:
    cache, seen = tmp_path / "deep/captions.jsonl", list[tuple[int, int | None]]()
    twice = [*images, images[0]]
    captions = blip_captions(
        twice.__getitem__,
        6,
        model=tiny_blip,
        cache=cache,
        batch_size=2,
        progress=lambda step: seen.append((step.done, step.total)),
    )
    assert len(captions) == 6
    assert captions[5] == captions[0]
    assert all(set(caption.split()) <= set(BLIP_WORDS) - {"[DEC]", "[SEP]", "[PAD]"} for caption in captions)
    assert seen[-1] == (6, 6)
    assert len(cache.read_text().splitlines()) == 5
    before = cache.read_bytes()
    assert blip_captions(images[::-1].__getitem__, 5, model=tiny_blip, cache=cache) == captions[4::-1]
    assert (cache.read_bytes(), loads) == (before, [tiny_blip])


@pytest.mark.parametrize("download", [False, True])
def test_a_model_is_fetched_where_that_is_allowed_alone(
    download: bool, images: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def refuse(model: str, *, local_files_only: bool) -> None:
        asked.append(not local_files_only)
        raise OSError("not here")

    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(transformers.BlipProcessor, "from_pretrained", refuse)
    with pytest.raises(ConfigError, match=r"or that --download may fetch; not here"):
        blip_captions(images.__getitem__, 1, model="some/blip", cache=tmp_path / "c.jsonl", download=download)
    assert asked == [download]


def test_each_image_gets_its_own_caption(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(model: str, device: str, *, download: bool) -> Callable:
        return lambda images: [f"level {image[0, 0, 0]}" for image in images]

    monkeypatch.setattr(blip, "_load", load)
    levels = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    files = [encode_png(np.full((8, 8, 3), level, np.uint8)) for level in levels]
    for _ in range(2):
        found = blip_captions(files.__getitem__, 11, model="fake", cache=tmp_path / "c.jsonl", batch_size=3)
        assert found == [f"level {level}" for level in levels]


@pytest.mark.slow
def test_the_batch_size_does_not_change_the_captions(tiny_blip: str, images: list[bytes], tmp_path: Path) -> None:
    found = [
        blip_captions(images.__getitem__, 5, model=tiny_blip, cache=tmp_path / f"{size}.jsonl", batch_size=size)
        for size in (1, 4)
    ]
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(tiny_blip: str, images: list[bytes], tmp_path: Path) -> None:
    cache = tmp_path / "captions.jsonl"
    whole = blip_captions(images.__getitem__, 5, model=tiny_blip, cache=tmp_path / "whole.jsonl", batch_size=1)

    def read(index: int) -> bytes:
        if index == 3:
            raise KeyboardInterrupt
        return images[index]

    with pytest.raises(KeyboardInterrupt):
        blip_captions(read, 5, model=tiny_blip, cache=cache, batch_size=1)
    lines = cache.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    cache.write_bytes(b"".join(lines)[:-9])  # and its last line was cut
    assert len(CaptionFile(cache, tiny_blip)) == 2
    assert cache.read_bytes() == b"".join(lines[:2])
    assert blip_captions(images.__getitem__, 5, model=tiny_blip, cache=cache) == whole
    assert sorted(tmp_path.iterdir()) == [cache, tmp_path / "whole.jsonl"]


def test_captions_of_another_model_are_kept_and_not_used(tmp_path: Path) -> None:
    cache = tmp_path / "captions.jsonl"
    CaptionFile(cache, "one").add({"aa": "früh"})
    other = CaptionFile(cache, "two")
    assert other.get("aa") is None
    other.add({"aa": "late"})
    assert CaptionFile(cache, "one").get("aa") == "früh"
    assert json.loads(cache.read_text("utf-8").splitlines()[1]) == {"sha256": "aa", "model": "two", "caption": "late"}


@pytest.mark.parametrize("line", ["[]", "text", '{"sha256": "a", "caption": "b"}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    cache = tmp_path / "captions.jsonl"
    cache.write_text(line + "\n")
    with pytest.raises(RunError, match=r"captions\.jsonl, line 1: expected"):
        CaptionFile(cache, "one")


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot use"):
        CaptionFile(tmp_path / "file/captions.jsonl", "one")


def test_a_damaged_image_is_an_error_that_says_which(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not an image: image 1 of 2 to caption"):
        blip_captions(lambda _: b"text", 2, model="none", cache=tmp_path / "c.jsonl")


def test_a_folder_without_a_model_is_an_error_that_says_what_is_missing(images: list[bytes], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with pytest.raises(
        ConfigError, match=r"cannot load BLIP from .*empty.*: expected a folder that holds the files of"
    ):
        blip_captions(images.__getitem__, 1, model=str(tmp_path / "empty"), cache=tmp_path / "c.jsonl")
    with pytest.raises(ValueError, match="batch_size"):
        blip_captions(images.__getitem__, 1, model="none", cache=tmp_path / "c.jsonl", batch_size=0)


def test_no_images_need_no_model(tmp_path: Path) -> None:
    assert blip_captions(lambda _: b"", 0, model="none", cache=tmp_path / "c.jsonl") == []


@pytest.mark.parametrize("text", ["my notes", "my notes\nof two lines", '["a list"]\n'])
def test_a_file_of_somebody_else_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(RunError, match=r"notes\.txt, line 1: expected .*; remove the line or name another file"):
        CaptionFile(tmp_path / "notes.txt", "a model")
    assert (tmp_path / "notes.txt").read_text() == text
