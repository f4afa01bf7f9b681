"""The same degradations as others make them: plain OpenCV, basicsr's functions, GFPGAN's data set, Real-ESRGAN's chain.

Except for GFPGAN's data set, which draws for itself, every chain here runs a *record* of degrade-kit, so that both
sides do the same work with the same numbers: uint8 BGR image in, uint8 BGR image of the same size out, nothing drawn
but noise. None of it was copied; the calls and their order were read in the projects named beside them.

Plain OpenCV needs nothing but the base. The others need packages that do not import on today's torchvision and do not
run on today's OpenCV without help, which `basicsr` gives:

    pip install torch torchvision setuptools wheel cython scipy scikit-image
    pip install addict filterpy future lmdb numba requests tb-nightly tqdm yapf
    pip install --no-build-isolation --no-deps basicsr==1.4.2 gfpgan==1.3.8 facexlib==0.3.0 realesrgan==0.3.0
"""

# ruff: noqa: ANN401 (torch, basicsr and gfpgan are untyped, and absent from the environment that checks types)

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit import kernels, ops
from degrade_kit.image import Pixels
from degrade_kit.record import Record

Floats = npt.NDArray[np.float32]
BlurCall = Literal["filter2D", "GaussianBlur"]

INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
LUMA_BGR = np.array([0.114, 0.587, 0.299], np.float32)

# --------------------------------------------------------------------------------------------------------- plain OpenCV


def naive(record: Record, hq: Pixels, blur: BlurCall = "filter2D") -> Pixels:
    """One OpenCV or NumPy call after the other, on a float image of 0..255, as one writes it down first.

    Args:
        record: What to do.
        hq: BGR.
        blur: Call for isotropic blurs. Published face recipes all take `filter2D`, whose time does not depend on the
            kernel; `GaussianBlur` with the same number of taps is the better choice.
    """
    image = hq.astype(np.float32)
    for op in record.steps:
        image = _naive_step(op, image, hq.shape, blur)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _naive_step(op: ops.Op, image: Floats, full: tuple[int, ...], blur: BlurCall) -> Any:
    match op:
        case ops.Blur(kernel="iso", size=size, sigma_x=sigma):
            if blur == "GaussianBlur":
                return cv2.GaussianBlur(image, (size, size), sigma)
            taps = cv2.getGaussianKernel(size, sigma)
            return cv2.filter2D(image, -1, taps @ taps.T)
        case ops.Blur():
            return cv2.filter2D(image, -1, op.array())
        case ops.SincBlur():
            return cv2.filter2D(image, -1, kernels.sinc(op.size, op.cutoff))
        case ops.Resize():
            height, width = _resized(op, full)
            return cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[op.filter])
        case ops.GaussianNoise():
            noise = _standard_normal(image.shape[:2] if op.gray else image.shape) * op.level
            return np.clip(image + (noise[..., None] if op.gray else noise), 0, 255).astype(np.float32)
        case ops.PoissonNoise():
            image = np.clip(image, 0, 255)
            noise = _poisson_noise((image @ LUMA_BGR)[..., None] if op.gray else image) * op.scale
            return np.clip(image + noise, 0, 255).astype(np.float32)
        case ops.Jpeg():
            encoded = cv2.imencode(".jpg", np.clip(np.rint(image), 0, 255), [cv2.IMWRITE_JPEG_QUALITY, op.quality])[1]
            return _imdecode(encoded).astype(np.float32)
        case ops.Gray():
            return np.repeat((image @ LUMA_BGR)[..., None], 3, axis=2)
        case _:
            raise NotImplementedError(f"no plain counterpart of `{op.name}` here")


def _resized(op: ops.Resize, full: tuple[int, ...]) -> tuple[int, int]:
    return max(1, int(full[0] // op.scale)), max(1, int(full[1] // op.scale))


def _standard_normal(shape: tuple[int, ...]) -> Floats:
    """As every peer draws it."""
    return np.random.randn(*shape).astype(np.float32)  # noqa: NPY002 (what is measured)


def _poisson_noise(image: Floats) -> Floats:
    """Counts as of a sensor that sees as many photons at white as the image has levels, less the image itself."""
    levels = np.rint(image)
    photons = 2 ** np.ceil(np.log2(len(np.unique(levels))))
    counts = np.random.poisson(levels / 255 * photons)  # noqa: NPY002 (what is measured)
    return (counts / photons * 255 - levels).astype(np.float32)


def _imdecode(encoded: Any) -> Pixels:
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


# -------------------------------------------------------------------------------------------------------------- basicsr

_INSTALL = "pip install as told at the top of benchmarks/peers.py"


def missing(*packages: str) -> str | None:
    """What to tell where one of `packages` is not installed; None if all are."""
    absent = [package for package in packages if importlib.util.find_spec(package) is None]
    return f"not installed: {', '.join(absent)} ({_INSTALL})" if absent else None


@functools.cache
def basicsr(module: str) -> Any:
    """A module of basicsr 1.4.2, or of a package built on it, made to work with what is installed today.

    Two repairs: torchvision 0.17 dropped the module that `basicsr.data.degradations` imports one function from, and no
    OpenCV takes the float JPEG quality that `random_add_jpg_compression` draws.
    """
    logging.disable(logging.INFO)  # its data sets print their options
    name = "torchvision.transforms.functional_tensor"
    if name not in sys.modules:
        shim: Any = types.ModuleType(name)
        shim.rgb_to_grayscale = importlib.import_module("torchvision.transforms.functional").rgb_to_grayscale
        sys.modules[name] = shim
        importlib.import_module("torch").set_num_threads(1)
        degradations: Any = importlib.import_module("basicsr.data.degradations")
        original = degradations.add_jpg_compression
        degradations.add_jpg_compression = lambda img, quality=90: original(img, int(quality))
    return importlib.import_module(module)


def basicsr_kernel(op: ops.Blur | ops.SincBlur) -> npt.NDArray[np.float64]:
    """A kernel by basicsr's function for it."""
    functions = basicsr("basicsr.data.degradations")
    if isinstance(op, ops.SincBlur):
        return functions.circular_lowpass_kernel(op.cutoff, op.size)
    isotropic = op.kernel.endswith("iso") and not op.kernel.endswith("aniso")
    shape = (op.size, op.sigma_x, op.sigma_y, op.rotation)
    if op.kernel.startswith("generalized"):
        return functions.bivariate_generalized_Gaussian(*shape, op.beta, isotropic=isotropic)
    if op.kernel.startswith("plateau"):
        return functions.bivariate_plateau(*shape, op.beta, isotropic=isotropic)
    return functions.bivariate_Gaussian(*shape, isotropic=isotropic)


def basicsr_face(record: Record, hq: Pixels) -> Pixels:
    """First-order chain of GFPGAN, CodeFormer, DiffBIR, DifFace and PMRF out of basicsr's functions.

    Their data sets also flip the image and turn both images into normalised tensors; that is left out.
    """
    functions = basicsr("basicsr.data.degradations")
    image: Any = hq.astype(np.float32) / 255.0
    for op in record.steps:
        match op:
            case ops.Blur():
                image = cv2.filter2D(image, -1, basicsr_kernel(op))
            case ops.Resize():
                height, width = _resized(op, hq.shape)
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            case ops.GaussianNoise():
                image = functions.add_gaussian_noise(image, op.level)
            case ops.Jpeg():
                image = functions.add_jpg_compression(image, op.quality)
            case ops.Gray():
                image = np.tile(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None], [1, 1, 3])
            case _:
                raise NotImplementedError(f"no step `{op.name}` in a first-order face recipe")
    return np.clip((image * 255.0).round(), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------- Real-ESRGAN

_TORCH_MODES = {"linear": "bilinear", "cubic": "bicubic", "area": "area"}
_PADDED = 21
"""Real-ESRGAN pads every kernel to this side, for its batches."""


def real_esrgan(record: Record, hq: Pixels) -> Pixels:
    """`feed_data` of Real-ESRGAN's model on the CPU, batch of one, without sharpening, crop and pool.

    At its end the LQ image of a quarter of the size is enlarged bicubically, as DiffBIR v2.1 does.
    """
    torch: Any = importlib.import_module("torch")
    with torch.no_grad():
        image = torch.from_numpy(np.ascontiguousarray(hq[..., ::-1].transpose(2, 0, 1), np.float32) / np.float32(255))[
            None
        ]
        for op in record.steps:
            image = _real_esrgan_step(op, image, hq.shape, torch)
        image = torch.clamp((image * 255.0).round(), 0, 255).to(torch.uint8)
        return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()[..., ::-1])


def _real_esrgan_step(op: ops.Op, image: Any, full: tuple[int, ...], torch: Any) -> Any:
    functions = basicsr("basicsr.data.degradations")
    match op:
        case ops.Blur() | ops.SincBlur():
            pad = (_PADDED - op.size) // 2
            kernel = torch.FloatTensor(np.pad(basicsr_kernel(op), ((pad, pad), (pad, pad))))
            return basicsr("basicsr.utils.img_process_util").filter2D(image, kernel[None])
        case ops.Resize():
            size, mode = _resized(op, full), _TORCH_MODES[op.filter]
            return torch.nn.functional.interpolate(image, size=size, mode=mode)
        case ops.GaussianNoise():
            return functions.add_gaussian_noise_pt(image, op.level, float(op.gray), clip=True)
        case ops.PoissonNoise():
            return functions.add_poisson_noise_pt(image, clip=True, scale=op.scale, gray_noise=float(op.gray))
        case ops.Jpeg():
            quality = image.new_tensor([float(op.quality)])
            return _diff_jpeg()(torch.clamp(image, 0, 1), quality=quality)
        case _:
            raise NotImplementedError(f"no step `{op.name}` in Real-ESRGAN's chain")


@functools.cache
def _diff_jpeg() -> Any:
    return basicsr("basicsr.utils.diffjpeg").DiffJPEG(differentiable=False)


# ------------------------------------------------------------------------------------------------ GFPGAN's own data set

GFPGAN_OPTIONS: dict[str, Any] = {
    # options/train_gfpgan_v1.yml, but no component boxes: their file is not in the repository
    "use_hflip": True,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "out_size": 512,
    "blur_kernel_size": 41,
    "kernel_list": ["iso", "aniso"],
    "kernel_prob": [0.5, 0.5],
    "blur_sigma": [0.1, 10],
    "downsample_range": [0.8, 8],
    "noise_range": [0, 20],
    "jpeg_range": [60, 100],
    "color_jitter_prob": 0.3,
    "color_jitter_shift": 20,
    "color_jitter_pt_prob": 0.3,
    "gray_prob": 0.01,
    "crop_components": False,
}
NO_JITTER = {"color_jitter_prob": None, "color_jitter_pt_prob": None, "gray_prob": None}


def gfpgan_dataset(folder: Path, *, jitter: bool) -> Any:
    """GFPGAN's `FFHQDegradationDataset` on the images of a folder, with the options that it ships."""
    module = basicsr("gfpgan.data.ffhq_degradation_dataset")
    options = GFPGAN_OPTIONS | ({} if jitter else NO_JITTER)
    return module.FFHQDegradationDataset({**options, "dataroot_gt": str(folder), "io_backend": {"type": "disk"}})


class _Decoded:
    """In place of basicsr's `FileClient`: what it hands out are decoded images, BGR."""

    def __init__(self, images: Sequence[Pixels]) -> None:
        self._images = images

    def get(self, path: int) -> Pixels:
        return self._images[path]


def gfpgan_dataset_in_memory(images: Sequence[Pixels], folder: Path, *, jitter: bool) -> Any:
    """The same on decoded images: neither reading nor decoding a file is part of its time.

    Args:
        images: BGR.
        folder: An empty one, for the data set to list.
        jitter: Whether the colour steps run.
    """
    dataset = gfpgan_dataset(folder, jitter=jitter)
    dataset.file_client, dataset.paths = _Decoded(images), range(len(images))
    module = basicsr("gfpgan.data.ffhq_degradation_dataset")
    module.imfrombytes = lambda image, float32: image.astype(np.float32) / 255.0  # as the original, after decoding
    return dataset
