"""A frame of a video: registered, the same every time, worse at a lower rate, and told when a codec is missing."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import degrade_kit as dk
from degrade_kit import video_ops
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.ops import Video
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.video_ops import GOP, VIDEO_CODECS, VideoCodec, quantiser

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def ask_anew() -> Iterator[None]:
    """What is installed is asked for once in a process; here it changes."""
    caches = (video_ops._pyav, video_ops.video_libraries)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def recipe(**keys: Any) -> Recipe:  # noqa: ANN401 (as YAML has it)
    return recipe_from_mapping({"name": "tried", "steps": [{"video": keys}]}, "tried")


@pytest.fixture
def face(astronaut: Pixels) -> Pixels:
    pytest.importorskip("av")
    return np.asarray(cv2.resize(astronaut[:288, 80:368], (128, 128), interpolation=cv2.INTER_AREA), np.uint8)


def shown(image: Pixels, **fields: Any) -> Pixels:  # noqa: ANN401 (of `Video`)
    return make_lq(Record(1, (Video(**fields),)), image)


def loss(image: Pixels, **fields: Any) -> float:  # noqa: ANN401 (of `Video`)
    return float(np.abs(shown(image, **fields).astype(int) - image).mean())


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_frame_stays_where_the_image_is_whatever_moved_before(codec: VideoCodec, face: Pixels) -> None:
    fine: dict[str, Any] = {"codec": codec, "crf": 8, "before": 3}
    frame = shown(face, **fine, right=3.0, down=-2.0, zoom=1.02)
    assert np.abs(frame.astype(int) - face).mean() < 4
    elsewhere = [float(np.abs(np.roll(frame, by, axis=1).astype(int) - face).mean()) for by in (-1, 0, 1)]
    assert min(elsewhere) == elsewhere[1]
    assert np.array_equal(frame, shown(face, **fine, right=3.0, down=-2.0, zoom=1.02)), "not the same twice"
    assert not np.array_equal(frame, shown(face, **fine)), "movement changes nothing"


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_coarser_quality_and_a_lower_rate_keep_less(codec: VideoCodec, face: Pixels) -> None:
    by_quality = [loss(face, codec=codec, crf=crf, before=1, right=1.0) for crf in (10, 24, 34, 44)]
    assert by_quality == sorted(by_quality)
    assert by_quality[0] < 3 < by_quality[-1]
    by_rate = [loss(face, codec=codec, bitrate=rate, before=1, right=1.0) for rate in (0.5, 0.08, 0.02)]
    assert by_rate == sorted(by_rate)


@pytest.mark.parametrize("before", [0, 2])
def test_a_bit_rate_is_kept_by_the_finest_quality_that_keeps_it(before: int, face: Pixels) -> None:
    rate = 0.1
    wanted = Video(codec="h264", bitrate=rate, before=before, right=0.7)
    clip = [video_ops._to_yuv(wanted._moved(face, at - before)) for at in range(max(before, 1) + 1)]
    bits = {crf: video_ops._bits(video_ops._encode("h264", clip, crf)) / face[..., 0].size for crf in range(52)}
    finest = min(crf for crf, found in bits.items() if found <= rate)
    assert 5 < finest < 45
    assert np.array_equal(
        shown(face, codec="h264", crf=finest, before=before, right=0.7), make_lq(Record(1, (wanted,)), face)
    )
    key, *others = (8 * packet.size for packet in video_ops._encode("h264", clip, finest)[0])
    assert bits[finest] * face[..., 0].size == pytest.approx((key + (GOP - 1) * np.mean(others)) / GOP)


def test_the_key_frame_differs_from_those_predicted_from_it(face: Pixels) -> None:
    frames = [shown(face, codec="h264", crf=32, before=before, right=0.5, down=0.3) for before in range(4)]
    for one, two in itertools.pairwise(frames):
        assert not np.array_equal(one, two)
    context, _ = video_ops._encode("h264", [video_ops._to_yuv(face)] * 4, 32)
    assert [packet.is_keyframe for packet in context] == [True, False, False, False]


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 130)])
def test_every_codec_takes_images_of_any_size(codec: VideoCodec, size: tuple[int, int]) -> None:
    pytest.importorskip("av")
    image = np.full((*size, 3), (200, 120, 60), np.uint8)
    frame = shown(image, codec=codec, crf=20, before=1, right=2.0)
    assert frame.shape == image.shape
    assert np.abs(frame.astype(int) - image).max() <= 12


def test_colours_survive_the_way_to_video_and_back(face: Pixels) -> None:
    smooth = np.asarray(cv2.GaussianBlur(face, (0, 0), 6), np.uint8)
    back = video_ops._to_rgb(video_ops._to_yuv(smooth))
    assert np.abs(back.astype(int) - smooth).mean() < 1
    white_to_black = np.linspace(255, 0, 64, dtype=np.uint8)
    gray = np.repeat(np.repeat(white_to_black[None, :, None], 64, axis=0), 3, axis=2)
    y, cb, cr = video_ops._to_yuv(np.ascontiguousarray(gray))
    assert (y.max(), y.min()) == (235, 16)
    assert set(np.unique(cb)) == set(np.unique(cr)) == {128}


def test_other_codecs_get_the_number_that_quantises_alike() -> None:
    assert [quantiser("h265", crf) for crf in (0, 23, 51)] == [0, 23, 51]
    # H.264's step at 24 is 10, twice the number of MPEG-2; six more double it.
    assert [quantiser("mpeg2", crf) for crf in (0, 24, 30, 51)] == [1, 5, 10, 31]
    assert [quantiser("vp9", crf) for crf in (0, 17, 51)] == [1, 21, 63]
    for codec in VIDEO_CODECS:
        numbers = [quantiser(codec, crf) for crf in range(52)]
        assert numbers == sorted(numbers)


@pytest.mark.slow
def test_a_data_set_of_video_frames_is_made_again_exactly_and_names_its_codecs(faces_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    step = {"video": {"codec": list(VIDEO_CODECS), "crf": [20, 40], "motion": [0, 3]}}
    tried = recipe_from_mapping({"name": "film", "steps": [{"photo_frame": {"side": [64, 128], "steps": [step]}}]}, "")
    made = dk.synthesize(faces_dir, tmp_path / "out", preset=tried, variants=3, size=128, workers=0)
    assert made.num_samples == 6
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 18
    shards = dk.open_shards(tmp_path / "out")
    records = [sample.record(variant) for sample in shards.samples() for variant in range(3)]
    assert len({op.codec for record in records for op in record.steps if isinstance(op, Video)}) >= 4
    assert all(Record.from_json(record.to_json()) == record for record in records)
    for file in ("manifest.json", ".degrade_kit/shard-000000.json"):
        said = (tmp_path / "out" / file).read_text()
        assert '"av":' in said.replace(" ", "")
        assert '"libavcodec":' in said.replace(" ", "")


def test_a_recipe_lists_the_libraries_of_what_it_draws_alone() -> None:
    pytest.importorskip("av")
    assert recipe(crf=23).libraries().keys() == {"av", "libavcodec"}
    assert dk.preset("gfpgan").libraries() == {}


def test_without_pyav_the_extra_is_named_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, faces_dir: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"`video` needs PyAV: pip install 'degrade-kit\[video\]'"):
        dk.synthesize(faces_dir, tmp_path / "out", preset=recipe(crf=23), workers=0)
    assert not (tmp_path / "out").exists()


def test_a_codec_that_a_build_lacks_is_named_with_the_package_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setitem(video_ops._ENCODERS, "h265", ("libx999", "hevc", {}))  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"h265 needs the encoder libx999, .* lacks; wheels of the package `av` have it"
    ):
        recipe(crf=23, codec={"h264": 1, "h265": 1}).libraries()
    assert recipe(crf=23, codec={"h264": 1, "h265": 0}).libraries()


@pytest.mark.parametrize("keys", [{}, {"crf": 20, "bitrate": 0.1}])
def test_quality_is_told_in_one_way(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="video: expected exactly one of `crf` and `bitrate`"):
        recipe(**keys)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux")
def test_no_codec_changes_how_a_process_is_scheduled(face: Pixels, tmp_path: Path) -> None:
    # In a new process: SVT-AV1 asks for real-time scheduling once in each, and gets it where root asks.
    np.save(tmp_path / "face.npy", face)
    code = f"""
import os
import numpy as np
from degrade_kit.degradation import make_lq
from degrade_kit.ops import Video
from degrade_kit.record import Record
from degrade_kit.video_ops import VIDEO_CODECS
for codec in VIDEO_CODECS:
    make_lq(Record(1, (Video(codec=codec, crf=30, before=1),)), np.load({str(tmp_path / "face.npy")!r}))
    print(codec, os.sched_getscheduler(0) == {os.sched_getscheduler(0)})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for codec in VIDEO_CODECS for word in (codec, "True")]
