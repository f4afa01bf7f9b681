"""What is measured of restored faces, with a reference or alone, and what can be said of many numbers.

`settle` finds out what can be measured here and says of the rest what is missing; a `Judge` measures one image;
`summarise` makes a mean with its interval.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import Features, frechet_of_moments, halves, kid, moments
from degrade_kit.analysis.metrics import fidelity, load_niqe, niqe
from degrade_kit.analysis.protocols import Protocol
from degrade_kit.analysis.weights import find
from degrade_kit.analysis.whitening import Scaler
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256
from degrade_kit.image import Pixels

Kind = Literal["pair", "image", "set"]
"""What a metric takes: an image and its reference, an image alone, or all images and those of another set."""

DRAWS: Final = 2000
"""Of the bootstrap."""
NEAR_IDENTICAL: Final = 1.0
"""Degrees below which two faces count as one image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One kind of number."""

    name: str
    title: str
    kind: Kind
    better: Literal["higher", "lower"]
    unit: str = ""
    decimals: int
    weights: tuple[str, ...] = ()
    """Names in `degrade_kit.analysis.weights`."""
    packages: tuple[str, ...] = ()
    """That it needs, as they are imported."""


_TABLE: Final = (
    Metric(name="psnr", title="PSNR", kind="pair", better="higher", unit="dB", decimals=2),
    Metric(name="ssim", title="SSIM", kind="pair", better="higher", decimals=4),
    Metric(
        name="lpips",
        title="LPIPS",
        kind="pair",
        better="lower",
        decimals=4,
        weights=("lpips-vgg", "lpips-vgg-heads"),
        packages=("torch",),
    ),
    Metric(name="deg", title="Deg.", kind="pair", better="lower", decimals=2, packages=("torch",)),
    Metric(
        name="lmd",
        title="LMD",
        kind="pair",
        better="lower",
        unit="px",
        decimals=3,
        weights=("landmarks",),
        packages=("torch", "facexlib"),
    ),
    Metric(
        name="fid",
        title="FID",
        kind="set",
        better="lower",
        decimals=2,
        weights=("inception",),
        packages=("torch", "torch_fidelity"),
    ),
    Metric(name="niqe", title="NIQE", kind="image", better="lower", decimals=3, weights=("niqe",)),
    Metric(
        name="kid-degradation", title="KID (degradation)", kind="set", better="lower", decimals=3, packages=("scipy",)
    ),
    Metric(
        name="frechet-degradation",
        title="Frechet (degradation)",
        kind="set",
        better="lower",
        decimals=2,
        packages=("scipy",),
    ),
)
METRICS: Final = {metric.name: metric for metric in _TABLE}


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """What a judge measures; small to pickle."""

    protocol: Protocol
    paths: Mapping[str, tuple[Path, ...]]
    """Files of each metric that is measured."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Settled:
    """What can be measured here."""

    config: JudgeConfig
    skipped: dict[str, str]
    """Metrics that cannot be, and why."""
    fid_statistics: Path | None
    """A file of means and covariances to compare with."""


def settle(
    protocol: Protocol, given: Mapping[str, Path], *, reference: bool, faces: bool, device: str = "cpu"
) -> Settled:
    """Look for what each metric needs.

    Args:
        protocol: How it is measured.
        given: What `--weights` says, by name.
        reference: Whether restored images have references.
        faces: Whether there is another set of faces to compare with.
        device: Where networks run.

    Raises:
        ConfigError: If a file that is given is not there, or is none for this protocol.
    """
    paths: dict[str, tuple[Path, ...]] = {}
    skipped: dict[str, str] = {}
    statistics, no_statistics = _fid_statistics(protocol, given, faces=faces)
    for metric in _TABLE:
        reason = _hindrance(metric, reference=reference, faces=faces)
        names = (protocol.identity_weights,) if metric.name == "deg" else metric.weights
        found = [find(name, given) for name in names] if not reason else []
        absent = [entry.missing() for entry in found if entry.path is None]
        absent += [no_statistics] if metric.name == "fid" and no_statistics else []
        packages = [name for name in metric.packages if importlib.util.find_spec(name) is None]
        if reason or absent or packages:
            needs = [f"needs the package {name.replace('_', '-')}: pip install it" for name in packages]
            skipped[metric.name] = "; ".join([reason] if reason else [*absent, *needs])
        else:
            paths[metric.name] = tuple(entry.path for entry in found if entry.path is not None)
    return Settled(JudgeConfig(protocol=protocol, paths=paths, device=device), skipped, statistics)


def _hindrance(metric: Metric, *, reference: bool, faces: bool) -> str:
    if metric.kind == "pair" and not reference:
        return "needs references: give --reference"
    if metric.name.endswith("-degradation") and not (reference or faces):
        return "needs sharp faces to compare with: give --faces"
    return ""


def _fid_statistics(protocol: Protocol, given: Mapping[str, Path], *, faces: bool) -> tuple[Path | None, str]:
    """The file to compare with, or why there is none; neither where faces are given, which go first."""
    name = protocol.fid_weights
    if faces:
        if name in given:
            raise ConfigError(f"FID compares with one set: give --weights {name}=PATH or --faces, not both")
        return None, ""
    if not name:
        return None, (
            f"{protocol.name} compares with {protocol.fid_reference}, resized as TensorFlow 1 does: give these images "
            "as --faces. Statistics such as inception_FFHQ_512.pth are of another resizing"
        )
    found = find(name, given)
    return found.path, "" if found.path is not None else f"{found.missing()}, or sharp faces as --faces"


class Judge:
    """Measures images one by one; networks are loaded when it is made.

    Args:
        config: What to measure.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self._pairs: dict[str, Callable[[Pixels, Pixels], float]] = {}
        self._images: dict[str, Callable[[Pixels], float]] = {}
        self.extractors: dict[str, Callable[[Pixels], Features]] = {}
        """What sets are compared by."""
        protocol, paths, device = config.protocol, config.paths, config.device
        if {"lpips", "deg", "lmd", "fid"} & set(paths):
            from degrade_kit.analysis import perceptual

            if "lpips" in paths:
                self._pairs["lpips"] = perceptual.load_lpips(paths["lpips"][0], paths["lpips"][1], protocol, device)
            if "deg" in paths:
                self._pairs["deg"] = perceptual.load_identity_angle(paths["deg"][0], protocol, device)
            if "lmd" in paths:
                self._pairs["lmd"] = perceptual.load_landmarks(paths["lmd"][0], device)
            if "fid" in paths:
                self.extractors["fid"] = perceptual.load_inception(paths["fid"][0], protocol.fid_resize, device)
        if "niqe" in paths:
            self._images["niqe"] = functools.partial(niqe, model=load_niqe(paths["niqe"][0]))
        if "kid-degradation" in paths:
            from degrade_kit.analysis.features import degradation_features

            self.extractors["degradation"] = degradation_features

    def measure(self, restored: Pixels, reference: Pixels | None) -> dict[str, float]:
        """All numbers of one image, by metric; angles in degrees."""
        found = {name: metric(restored) for name, metric in self._images.items()}
        if reference is not None:
            found["psnr"], found["ssim"] = fidelity(restored, reference, self.config.protocol)
            found |= {name: metric(restored, reference) for name, metric in self._pairs.items()}
        return found

    def extractor_key(self, name: str) -> str:
        """Equal keys give equal features: for a cache."""
        if name == "degradation":
            from degrade_kit.analysis.features import VERSION

            return f"degradation-{VERSION}"
        (path,) = self.config.paths[name]
        return f"{name}-{self.config.protocol.fid_resize}-{file_sha256(path)[:16]}"


# ------------------------------------------------------------------------------------------------------------ summaries


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What is said of a metric."""

    value: float | None
    """Mean over images, or the number of the set; None where it was not measured."""
    low: float | None = None
    """95 % interval: bootstrap over images; of KID, jackknife."""
    high: float | None = None
    images: int = 0
    """That are in it."""
    infinite: int = 0
    """Images equal to their references, which have no finite PSNR and are not in the mean."""
    undefined: int = 0
    """Images of which the metric says nothing, such as NIQE of a flat one; not in the mean."""
    left_out: int = 0
    """Images that the protocol leaves out."""
    near_identical: int = 0
    """Pairs of faces with less than one degree between them."""
    against: str = ""
    """Of a set's number: what it compares with."""
    against_sha256: str = ""
    null: float | None = None
    """What random halves of the other set give, each beside the other."""
    status: str = "ok"
    """Or why there is no number."""


def summarise(metric: Metric, values: Sequence[float], protocol: Protocol, seed: int = 0) -> Summary:
    """Mean of the numbers of images, with its interval.

    Args:
        metric: Which.
        values: Of each image; angles in degrees.
        protocol: Says what is left out, and the unit of angles.
        seed: Of the bootstrap.
    """
    array = np.array(values, np.float64)
    infinite, undefined = np.isinf(array), np.isnan(array)
    near = left_out = np.zeros(len(array), bool)
    if metric.name == "deg":
        near, left_out = array < NEAR_IDENTICAL, array < protocol.identity_least
        if protocol.identity_unit == "radians":
            array = np.radians(array)
    kept = array[~infinite & ~undefined & ~left_out]
    counted = Summary(
        value=None,
        images=len(kept),
        infinite=int(infinite.sum()),
        undefined=int(undefined.sum()),
        left_out=int(left_out.sum()),
        near_identical=int(near.sum()),
        status="no image has a finite number",
    )
    if not len(kept):
        return counted
    low, high = bootstrap(kept, seed)
    return replace(counted, value=float(kept.mean()), low=low, high=high, status="ok")


def bootstrap(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean: quantiles of the means of `DRAWS` resamples."""
    rng = np.random.default_rng(seed)
    means = [float(values[rng.integers(0, len(values), len(values))].mean()) for _ in range(DRAWS)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def unit_of(metric: Metric, protocol: Protocol) -> str:
    """Of its numbers, for people."""
    if metric.name == "deg":
        return {"degrees": "degrees", "radians": "rad"}[protocol.identity_unit]
    return metric.unit


def compare_degradation(restored: Features, other: Features) -> tuple[Summary, Summary]:
    """KID and Frechet distance in the handcrafted degradation space, scaled by the other set; both need no file."""
    least = min(len(restored), len(other))
    if least < 3:
        few = Summary(value=None, images=len(restored), status="needs at least 3 images in each set")
        return few, few
    space = Scaler.fit(other)
    one, two = space(restored), space(other)
    found = kid(one, two)
    apart = (
        [kid(two[first], two[second]).value for first, second in halves(len(two), np.random.default_rng(0), 10)]
        if len(two) >= 6
        else []
    )
    null = float(np.mean(apart)) if apart else None
    return (
        Summary(value=found.value, low=found.low, high=found.high, images=len(restored), null=null),
        Summary(value=frechet_of_moments(*moments(one), *moments(two)), images=len(restored)),
    )


def compare_inception(restored: Features, other: Features | tuple[Features, Features]) -> Summary:
    """FID, with the features of another set or their mean and covariance."""
    if len(restored) < 2 or (not isinstance(other, tuple) and len(other) < 2):
        return Summary(value=None, images=len(restored), status="needs at least 2 images in each set")
    mean, covariance = other if isinstance(other, tuple) else moments(other)
    return Summary(
        value=frechet_of_moments(*moments(restored), mean, covariance),
        images=len(restored),
    )


def read_fid_statistics(path: Path) -> tuple[Features, Features]:
    """Mean and covariance, from a .pth with `mean` and `cov` or an .npz with `mu` and `sigma`.

    Raises:
        ConfigError: If it is neither, or was made with another resizing than this toolkit's bilinear one.
    """
    if path.suffix == ".npz":
        if "clean" in path.name:
            raise ConfigError(
                f"{path}: statistics of clean-fid, whose resizing is another: the number would mean nothing"
            )
        try:
            with np.load(path, allow_pickle=False) as file:
                mean, covariance = np.asarray(file["mu"]), np.asarray(file["sigma"])
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{path}: expected `mu` and `sigma`: {error}") from error
    else:
        from degrade_kit.analysis.tensors import read_plain

        found = read_plain(path, "FID statistics, `mean` and `cov`")
        if not {"mean", "cov"} <= set(found):
            raise ConfigError(f"{path}: expected `mean` and `cov`, found {', '.join(map(str, found))}")
        mean, covariance = np.asarray(found["mean"]), np.asarray(found["cov"])
    mean, covariance = mean.astype(np.float64).reshape(-1), covariance.astype(np.float64)
    if covariance.shape != (len(mean), len(mean)) or len(mean) != 2048:
        raise ConfigError(f"{path}: expected 2048 features, found {mean.shape} and {covariance.shape}")
    return mean, covariance


def finite(value: float) -> float | None:
    """For JSON, which has neither NaN nor infinity."""
    return value if math.isfinite(value) else None
