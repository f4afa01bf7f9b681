"""A face in a photograph: it stays registered, its file is kept, and nothing that is drawn leaves the record."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import degrade_kit as dk
from degrade_kit.degradation import degrade, finish, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.frame_ops import frame_size
from degrade_kit.ops import Frame, Heic, Jpeg, Resize, ResizeSide, Unframe
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record

Pixels = npt.NDArray[np.uint8]


def recipe(*steps: Any) -> Recipe:  # noqa: ANN401 (steps as YAML has them)
    return recipe_from_mapping({"name": "tried", "steps": list(steps)}, "tried")


def framed(*steps: Any, **keys: Any) -> Recipe:  # noqa: ANN401 (likewise)
    return recipe({"photo_frame": {"side": [64, 224], "steps": list(steps), **keys}})


def moved(image: Pixels, against: Pixels) -> float:
    """Pixels by which an image is moved against another, by least squares on the gradients, away from the edges."""
    one, two = (np.asarray(cv2.GaussianBlur(each, (0, 0), 3), np.float64)[48:-48, 48:-48] for each in (image, against))
    down, right = np.gradient(two, axis=(0, 1))
    slopes = np.stack([down.ravel(), right.ravel()], axis=1)
    return float(np.hypot(*np.linalg.lstsq(slopes, (one - two).ravel(), rcond=None)[0]))


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2])
@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (5.3, -2.6)])
def test_hq_and_lq_stay_registered(angle: float, right: float, down: float, astronaut: Pixels) -> None:
    place: dict[str, Any] = {"side": 160, "angle": angle, "right": right, "down": down}
    lq = make_lq(Record(1, (Frame(**place), Unframe(**place))), astronaut)
    plain = make_lq(Record(1, (Resize(scale=3.2, filter="area"), Resize(scale=1.0, filter="cubic"))), astronaut)
    assert moved(lq, plain) < 0.1  # OpenCV warps in 32nds of a pixel, of the photograph
    assert moved(np.roll(lq, 1, axis=1), plain) == pytest.approx(1, abs=0.1)
    assert np.abs(lq.astype(int) - plain)[48:-48, 48:-48].mean() < 3


def test_a_photograph_that_was_resized_is_cut_out_in_the_same_place(astronaut: Pixels) -> None:
    place: dict[str, Any] = {"side": 160, "angle": 0.2, "right": 3.0, "down": 1.0}
    whole = make_lq(Record(1, (Frame(**place), Unframe(**place))), astronaut)
    resized = make_lq(Record(1, (Frame(**place), ResizeSide(side=200, filter="cubic"), Unframe(**place))), astronaut)
    assert moved(resized, whole) < 0.03


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (64, 97)])
@pytest.mark.parametrize("angle", [0.0, 0.7, 3.0])
def test_the_photograph_holds_the_whole_face_in_whole_blocks(size: tuple[int, int], angle: float) -> None:
    height, width = frame_size(size, 80, angle, 7.0, -3.0)
    assert height % 8 == width % 8 == 0
    corners = np.array([[x, y] for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * size[::-1] * 80 / min(size)
    turned = corners @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) + [7, -3]
    assert (np.abs(turned) <= np.array([width, height]) / 2 + 1e-6).all()


@pytest.mark.slow
def test_a_data_set_keeps_the_file_of_the_photograph(faces_dir: Path, tmp_path: Path) -> None:
    tried = framed({"blur": {"sigma": [0.3, 1.2]}}, {"jpeg": {"quality": [60, 95]}})
    assert tried.native_format() == "jpg"
    made = dk.synthesize(faces_dir, tmp_path / "out", preset=tried, variants=2, size=256, workers=0)
    assert made.num_samples == 6
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 12
    for sample in dk.open_shards(tmp_path / "out").samples():
        stored = Image.open(io.BytesIO(sample.image("lq1")))
        assert stored.format == "JPEG"
        assert stored.width % 8 == stored.height % 8 == 0
        hq, lq = sample.pair(1)
        assert np.array_equal(lq, make_lq(sample.record(1), hq))


def test_what_stands_in_the_frame_is_degraded_in_the_pixels_of_the_photograph(astronaut: Pixels) -> None:
    record = framed({"jpeg": {"quality": 20}}, side=96, turn=0).draw(np.random.default_rng(3))
    native = degrade(record, astronaut)
    assert native.canvas.height in (104, 112)
    lq = finish(native.pixels, native.tail, (512, 512))
    assert lq.shape == astronaut.shape


@pytest.mark.parametrize(
    "inner", [{"shift": {}}, {"photo_frame": {"side": 64}}, {"uneven": {"steps": ["gray"], "square_prob": 1}}]
)
def test_steps_of_the_whole_image_do_not_stand_in_a_photograph(inner: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="put it before or behind `photo_frame`"):
        framed(inner)


@pytest.mark.slow
def test_sides_are_drawn_log_uniformly_or_as_they_were_measured() -> None:
    def drawn(side: Any) -> list[int]:  # noqa: ANN401 (as YAML has it)
        made = recipe({"resize": {"side": side}}, {"resize": {"scale": 1}})
        rng = np.random.default_rng(0)
        found = [made.draw(rng).steps[0] for _ in range(4000)]
        assert all(isinstance(op, ResizeSide) for op in found)
        return [op.side for op in found if isinstance(op, ResizeSide)]

    wide = drawn([64, 256])
    assert min(wide) >= 64
    assert max(wide) <= 256
    assert np.median(wide) == pytest.approx(128, rel=0.03)
    measured = drawn([60, 70, 80, 200])
    assert np.mean(np.array(measured) < 80) == pytest.approx(2 / 3, abs=0.03)
    assert set(drawn(100)) == {100}
    with pytest.raises(ConfigError, match="in order"):
        drawn([90, 80, 100])


def test_a_jpeg_without_new_keys_is_written_as_before() -> None:
    """A record of before them stays as it was, to the byte."""
    assert Record(3, (Jpeg(quality=50),)).to_json() == '{"seed":3,"steps":[{"op":"jpeg","quality":50}],"target":[]}'
    moved = Record(3, (Jpeg(quality=50, subsampling="4:4:4", down=2),))
    assert Record.from_json(moved.to_json()) == moved


def test_blocks_lie_where_they_are_drawn(astronaut: Pixels) -> None:
    """The steps between neighbours are largest where two blocks meet."""
    image = np.ascontiguousarray(astronaut[:256, :256])
    for right in (0, 3):
        lq = make_lq(Record(1, (Jpeg(quality=8, subsampling="4:4:4", right=right),)), image).astype(int)
        steps = np.abs(np.diff(lq, axis=1)).mean(axis=(0, 2))
        by_place = [steps[place::8].mean() for place in range(8)]
        assert int(np.argmax(by_place)) == (7 - right) % 8


def test_heic_keeps_less_at_a_lower_quality(astronaut: Pixels) -> None:
    pytest.importorskip("pillow_heif")
    image = np.ascontiguousarray(astronaut[:128, 150:278])
    qualities = (90, 40, 5)
    losses = [
        np.abs(make_lq(Record(1, (Heic(quality=quality),)), image).astype(int) - image).mean() for quality in qualities
    ]
    assert losses == sorted(losses)
    assert losses[0] < 2 < losses[-1]
