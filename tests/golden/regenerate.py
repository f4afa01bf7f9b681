"""Make the files in this folder again: `python -m tests.golden.regenerate records pixels` from the repository's root.

    records.json    digest and first record of every preset: what a seed draws
    pixels.npz      native LQ image of an early record of every recipe without video, from a small photograph
    basicsr.npz     what basicsr 1.4.2 and gfpgan 1.3.8 themselves compute from fixed numbers
    metrics.json    what basicsr 1.4.2, gfpgan 1.3.8 and lpips 0.1.4 say of fixed pairs of images

A change in the first two is a change in everybody's data, hence a breaking one. The last two need an environment of
their own, since these packages do not import on today's torchvision without help (see `import_basicsr`):

    python3.11 -m venv ../basicsr-env && cd ../basicsr-env
    bin/pip install torch torchvision setuptools wheel cython 'numpy<3' opencv-python scipy scikit-image
    bin/pip install addict filterpy future lmdb numba pyyaml requests tb-nightly tqdm yapf
    bin/pip install --no-build-isolation --no-deps basicsr==1.4.2 gfpgan==1.3.8 facexlib==0.3.0 lpips==0.1.4
    cd REPOSITORY && ../basicsr-env/bin/python -m tests.golden.regenerate basicsr metrics
"""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
import types
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt

import degrade_kit as dk
from degrade_kit.noise import bit_stream, normals
from tests.distinct import PLAIN_PRESETS

FOLDER = Path(__file__).parent

KERNELS: dict[str, tuple[str, float, float, float, float]] = {
    # name: kind, sigma_x, sigma_y, rotation, beta; each at the sizes below
    "iso": ("iso", 3.0, 3.0, 0.0, 1.0),
    "iso_wide": ("iso", 15.0, 15.0, 0.0, 1.0),
    "iso_narrow": ("iso", 0.1, 0.1, 0.0, 1.0),
    "aniso": ("aniso", 6.0, 1.5, 0.7, 1.0),
    "aniso_steep": ("aniso", 0.4, 9.0, -2.9, 1.0),
    "generalized_iso": ("generalized_iso", 2.0, 2.0, 0.0, 0.6),
    "generalized_aniso": ("generalized_aniso", 2.5, 0.9, 2.2, 3.3),
    "plateau_iso": ("plateau_iso", 1.2, 1.2, 0.0, 1.0),
    "plateau_aniso": ("plateau_aniso", 3.0, 1.0, -0.4, 1.9),
}
KERNEL_SIZES = (7, 21, 41)
SINCS = ((7, math.pi / 3), (11, 2.7), (21, math.pi / 5), (21, math.pi))
JPEG_QUALITIES = (30, 60, 95)

CHAINS: dict[str, dict[str, Any]] = {
    # What GFPGAN's data set draws for one image; `shift` and `jitter` stand for the colour steps at its end.
    "iso": {"kind": "iso", "sigma": (2.5, 2.5), "rotation": 0.0, "scale": 3.7, "noise": 0.0, "quality": 75},
    "aniso": {"kind": "aniso", "sigma": (6.0, 1.2), "rotation": 2.1, "scale": 2.2, "noise": 7.5, "quality": 60},
    "enlarged": {"kind": "iso", "sigma": (0.3, 0.3), "rotation": 0.0, "scale": 0.8, "noise": 3.0, "quality": 98},
    "tiny": {"kind": "aniso", "sigma": (9.0, 4.0), "rotation": -1.0, "scale": 8.0, "noise": 20.0, "quality": 88},
    "shifted": {
        **{"kind": "iso", "sigma": (1.0, 1.0), "rotation": 0.0, "scale": 1.6, "noise": 10.0, "quality": 90},
        "shift": (12.5, -18.0, 3.25),
    },
    "gray": {
        **{"kind": "iso", "sigma": (1.5, 1.5), "rotation": 0.0, "scale": 2.0, "noise": 5.0, "quality": 80},
        "gray": True,
    },
    "jittered": {
        **{"kind": "iso", "sigma": (0.8, 0.8), "rotation": 0.0, "scale": 2.5, "noise": 4.0, "quality": 85},
        "jitter": {"order": (2, 0, 3, 1), "brightness": 1.3, "contrast": 0.7, "saturation": 1.4, "hue": -0.07},
    },
}
"""The last: order of brightness (0), contrast (1), saturation (2), hue (3)."""

NOISE_SEED = 5
"""Chains take the noise that a record with this seed takes at its third step."""


def first_record(name: str) -> dk.Record:
    """Draw what the first image of a run with seed 0 gets."""
    return dk.preset(name).draw(dk.generator(0, "00000.png", 0))


def astronaut() -> npt.NDArray[np.uint8]:
    """Read scikit-image's photograph of 512 x 512 pixels, RGB."""
    import skimage

    bgr = cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    assert bgr is not None
    return np.ascontiguousarray(bgr[..., ::-1], np.uint8)


def photograph(side: int = 128) -> npt.NDArray[np.uint8]:
    """Cut the face out of scikit-image's astronaut, in the public domain."""
    face = astronaut()[40:216, 140:316]
    return np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def native_pixels(name: str) -> npt.NDArray[np.uint8]:
    """Degrade the photograph by the first record of a preset that leaves more than a dozen pixels a side."""
    for variant in itertools.count():
        record = dk.preset(name).draw(dk.generator(0, "00000.png", variant))
        pixels = dk.degrade(record, photograph()).pixels
        if pixels.shape[0] > 12:
            return pixels
    raise AssertionError("the loop ends by itself")


def write_records() -> None:
    """Write records.json."""
    table = {
        name: {"digest": recipe.digest(), "record": json.loads(first_record(name).to_json())}
        for name, recipe in dk.PRESETS.items()
    }
    (FOLDER / "records.json").write_text(json.dumps(table, indent=1) + "\n")


def write_pixels() -> None:
    """Write pixels.npz."""
    _save("pixels.npz", {name: native_pixels(name) for name in PLAIN_PRESETS})


def write_basicsr() -> None:
    """Write basicsr.npz, with basicsr's own functions."""
    basicsr = import_basicsr()
    hq = photograph(80)
    arrays: dict[str, npt.NDArray[Any]] = {"hq": hq}
    for size in KERNEL_SIZES:
        for name, (kind, sigma_x, sigma_y, rotation, beta) in KERNELS.items():
            kernel = _basicsr_kernel(basicsr, kind, size, sigma_x, sigma_y, rotation, beta)
            arrays[f"kernel_{name}_{size}"] = kernel.astype(np.float32)
    for index, (size, cutoff) in enumerate(SINCS):
        arrays[f"sinc_{index}"] = basicsr.circular_lowpass_kernel(cutoff, size).astype(np.float32)
    bgr = np.ascontiguousarray(hq[..., ::-1], np.float32) / 255
    for quality in JPEG_QUALITIES:
        arrays[f"jpeg_{quality}"] = _to_pixels(basicsr.add_jpg_compression(bgr, quality))
    # Counts at their expectation, rounded: what is left is how many photons there are to a level.
    with mock.patch("numpy.random.poisson", lambda expected: np.floor(expected + 0.5)):
        for levels in POISSON_LEVELS:
            for gray in (False, True):
                noise = basicsr.generate_poisson_noise(poisson_image(hq, levels)[..., ::-1].copy(), 1.0, gray)
                arrays[f"poisson_{levels}_{'gray' if gray else 'colour'}"] = (noise[..., ::-1] * 255).astype(np.float32)
    for name, chain in CHAINS.items():
        arrays[f"chain_{name}"] = _gfpgan_chain(hq, chain)
    _save("basicsr.npz", arrays)


def judged_pair(name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A restored image and its reference, by whole numbers alone, so that they are the same everywhere."""
    hq = astronaut()[16:304, 64:352] if name != "small" else astronaut()[80:144, 190:262]
    side = {"blocks": 4, "noise": 1, "tinted": 2, "small": 2}[name]
    height, width = (length // side for length in hq.shape[:2])
    means = hq.reshape(height, side, width, side, 3).astype(np.int64).sum((1, 3)) // side**2
    lq = means.repeat(side, 0).repeat(side, 1)
    lq += np.random.default_rng(0).integers(-20, 21, lq.shape) if name == "noise" else 0
    lq = lq * 3 // 4 + np.array([30, 10, 0]) if name == "tinted" else lq
    return lq.clip(0, 255).astype(np.uint8), hq


def fill(state: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Put fixed numbers into a network's state, so that its output is one of a network of these weights."""
    import torch

    rng = np.random.default_rng(seed)
    filled: dict[str, Any] = {}
    for name in sorted(state):
        value = state[name]
        if not value.is_floating_point():
            filled[name] = torch.zeros_like(value)
            continue
        numbers = rng.standard_normal(tuple(value.shape), np.float32)
        if value.ndim > 1:
            numbers *= np.float32(math.sqrt(2 / (value[0].numel())))
        elif name.endswith(("running_var", "weight")):
            numbers = np.float32(1) + np.float32(0.1) * np.abs(numbers)
        else:
            numbers *= np.float32(0.1)
        filled[name] = torch.from_numpy(numbers)
    return filled


def write_metrics() -> None:
    """Write metrics.json, with the numbers of basicsr, gfpgan and lpips."""
    import_basicsr()
    import lpips  # pyright: ignore
    import torch
    from basicsr.metrics.niqe import calculate_niqe  # pyright: ignore
    from basicsr.metrics.psnr_ssim import (  # pyright: ignore
        calculate_psnr,
        calculate_psnr_pt,
        calculate_ssim,
    )
    from gfpgan.archs.arcface_arch import ResNetArcFace  # pyright: ignore

    arcface = ResNetArcFace("IRBlock", [2, 2, 2, 2], use_se=False).eval()
    arcface.load_state_dict(fill(arcface.state_dict()))
    perceptual = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).eval()
    vgg = {f"features.{name.partition('.')[2]}": value for name, value in perceptual.net.state_dict().items()}
    filled = fill(vgg)
    perceptual.net.load_state_dict(
        {name: filled[f"features.{name.partition('.')[2]}"] for name in perceptual.net.state_dict()}
    )
    for number, head in enumerate(perceptual.lins):
        head.model[1].weight.data.fill_(0.1 * (number + 1))
    found: dict[str, dict[str, float]] = {}
    for name in ("blocks", "noise", "tinted", "small"):
        lq, hq = judged_pair(name)
        one, two = (np.ascontiguousarray(image[..., ::-1]) for image in (lq, hq))
        matched = _vqfr_match(one, two)
        tensors = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 for image in (lq, hq)]
        found[name] = {
            "psnr": calculate_psnr(one, two, 0),
            "ssim": calculate_ssim(one, two, 0),
            "psnr_vqfr": calculate_psnr(matched, two.astype(np.float32), 0),
            "ssim_vqfr": calculate_ssim(matched, two.astype(np.float32), 0),
            "psnr_pmrf": float(calculate_psnr_pt(*tensors, 0)),
            "lpips": float(perceptual(*(tensor * 2 - 1 for tensor in tensors))),
        }
        if name != "small":
            found[name]["niqe"] = calculate_niqe(one, 0)
        gray = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (128, 128)) for image in (one, two)]
        with torch.no_grad():
            faces = torch.from_numpy(np.stack(gray)[:, None].astype(np.float32)) / 127.5 - 1
            first, second = arcface(faces).double().numpy()
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        found[name]["degrees"] = math.degrees(math.acos(cosine))
    (FOLDER / "metrics.json").write_text(json.dumps(found, indent=1) + "\n")


def _vqfr_match(bgr: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What VQFR's metric_paper/calculate_psnr_ssim.py does before it measures, in its order and precision."""
    image, wanted = bgr.astype(np.float32) / 255, reference.astype(np.float32) / 255
    for channel in range(3):
        for _ in range(2):
            plane = image[..., channel]
            plane = plane - np.mean(plane) + np.mean(wanted[..., channel])
            image[..., channel] = plane / np.std(plane) * np.std(wanted[..., channel])
    return np.asarray(image * 255, np.float32)


POISSON_LEVELS = (2, 5, 33, 256)


def poisson_image(hq: npt.NDArray[np.uint8], levels: int) -> npt.NDArray[np.float32]:
    """Cut a corner out of a photograph and leave about `levels` distinct values, 0..1."""
    step = 255 / (levels - 1)
    return (np.rint(np.rint(hq[20:44, 20:44] / step) * step) / 255).astype(np.float32)


def import_basicsr() -> Any:  # noqa: ANN401 (a module without types)
    """Import basicsr 1.4.2's degradations; torchvision 0.17 took away a module of which it needs one function."""
    from torchvision.transforms import functional  # pyright: ignore

    shim = types.ModuleType("torchvision.transforms.functional_tensor")
    shim.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
    sys.modules[shim.__name__] = shim
    from basicsr.data import degradations  # pyright: ignore

    return degradations


def _basicsr_kernel(
    basicsr: Any,  # noqa: ANN401 (a module without types)
    kind: str,
    size: int,
    sigma_x: float,
    sigma_y: float,
    rotation: float,
    beta: float,
) -> npt.NDArray[np.float64]:
    isotropic = not kind.endswith("aniso")
    if kind.startswith("generalized"):
        return basicsr.bivariate_generalized_Gaussian(size, sigma_x, sigma_y, rotation, beta, isotropic=isotropic)
    if kind.startswith("plateau"):
        return basicsr.bivariate_plateau(size, sigma_x, sigma_y, rotation, beta, isotropic=isotropic)
    return basicsr.bivariate_Gaussian(size, sigma_x, sigma_y, rotation, isotropic=isotropic)


def _gfpgan_chain(hq: npt.NDArray[np.uint8], chain: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Run `FFHQDegradationDataset.__getitem__`, its random numbers replaced by those of `chain`."""
    import torch  # pyright: ignore
    from gfpgan.data.ffhq_degradation_dataset import FFHQDegradationDataset  # pyright: ignore

    done, png = cv2.imencode(".png", hq[..., ::-1])
    assert done
    options = {
        **{"io_backend": {"type": "disk"}, "dataroot_gt": "", "mean": [0.0] * 3, "std": [1.0] * 3, "out_size": 0},
        **{"blur_kernel_size": 41, "kernel_list": [chain["kind"]], "kernel_prob": [1.0], "use_hflip": False},
        # Only the numbers below are ever taken from these ranges.
        **{"blur_sigma": [0.1, 10], "downsample_range": [0.8, 8], "noise_range": [0, 20], "jpeg_range": [60, 100]},
        **{"color_jitter_prob": 0.3, "color_jitter_pt_prob": 0.3, "gray_prob": 0.01},
    }
    with mock.patch("gfpgan.data.ffhq_degradation_dataset.paths_from_folder", return_value=["a.png"]):
        dataset: Any = FFHQDegradationDataset(options)
    jitter: dict[str, Any] | None = chain.get("jitter")

    def uniforms() -> Iterator[Any]:
        yield chain["sigma"][0]
        if chain["kind"] == "aniso":
            yield from (chain["sigma"][1], chain["rotation"])
        yield from (chain["scale"], chain["noise"], 1.0, chain["quality"])  # 1.0: not gray noise
        yield 0.0 if "shift" in chain else 1.0
        if "shift" in chain:
            yield np.array(chain["shift"][::-1]) / 255
        yield 0.0 if "gray" in chain else 1.0
        yield 0.0 if jitter else 1.0

    def noise(*shape: int) -> npt.NDArray[np.float32]:
        return normals((shape[2], *shape[:2]), bit_stream(NOISE_SEED, (2,))).transpose(1, 2, 0)[..., ::-1]

    drawn = uniforms()
    factors = iter([jitter[part] for part in _parts(jitter["order"])] if jitter else [])
    with (
        _replaced(np.random, "uniform", lambda *_: next(drawn)),
        _replaced(np.random, "randn", noise),
        _replaced(random, "choices", lambda names, _: names),
        mock.patch("basicsr.utils.FileClient.get", return_value=png.tobytes()),
        _replaced(torch, "randperm", lambda _: torch.tensor(jitter["order"] if jitter else [])),
        _replaced(torch.Tensor, "uniform_", lambda *_: torch.tensor(next(factors), dtype=torch.float64)),
    ):
        lq = dataset[0]["lq"].numpy()
    assert next(drawn, None) is None, "all numbers were taken"
    assert next(factors, None) is None, "all factors were taken"
    return np.rint(lq * 255).astype(np.uint8).transpose(1, 2, 0)


def _parts(order: tuple[int, ...]) -> list[str]:
    return [("brightness", "contrast", "saturation", "hue")[index] for index in order]


@contextmanager
def _replaced(module: object, name: str, function: Callable[..., Any]) -> Generator[None, None, None]:
    with mock.patch.object(module, name, function):
        yield


def _to_pixels(bgr: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(bgr[..., ::-1] * 255).astype(np.uint8)


def _save(name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
    np.savez_compressed(FOLDER / name, **arrays)  # pyright: ignore


WRITERS = {"records": write_records, "pixels": write_pixels, "basicsr": write_basicsr, "metrics": write_metrics}

if __name__ == "__main__":
    wanted = sys.argv[1:]
    if not wanted or not set(wanted) <= set(WRITERS):
        sys.exit(f"usage: python -m tests.golden.regenerate {{{'|'.join(WRITERS)}}}...")
    for each in wanted:
        WRITERS[each]()
