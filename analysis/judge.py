"""What is measured of restored faces, with a reference or alone: each metric is one entry of `METRICS`.

An entry says all that is to be known of a metric: what it needs, how it is loaded, measured and summarised, and how its
number is shown. `settle` finds out what can be measured here and says of the rest what is missing; a `Judge` measures
one image.
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

from degrade_kit.analysis.distances import Features, moments
from degrade_kit.analysis.metrics import load_niqe, niqe, psnr, ssim
from degrade_kit.analysis.protocols import Protocol
from degrade_kit.analysis.summary import (
    MetricSummary,
    frechet_between,
    frechet_to_moments,
    kid_between,
    summarise,
)
from degrade_kit.analysis.weights import locate
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256
from degrade_kit.image import Pixels

# --------------------------------------------------------------------------------------------------- what a metric says


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What there is to measure with, before anything is looked for."""

    protocol: Protocol
    given: Mapping[str, Path]
    """What `--weights` says, by name."""
    reference: bool
    """Whether restored images have references."""
    faces: bool
    """Whether there is another set of faces to compare with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSetup:
    """What a metric is loaded from."""

    protocol: Protocol
    paths: tuple[Path, ...]
    """Its files, in the order in which it asked for them."""
    device: str | None = None
    """Where its network runs; the first GPU, or else the CPU, where None."""

    @property
    def torch_device(self) -> str:
        """The device by its name."""
        from degrade_kit.flipnet.sampling import choose_device

        return str(choose_device(self.device))


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedSets:
    """What a metric of sets compares."""

    setup: MetricSetup
    restored: Features
    """(N, D), in the order of the images' names."""
    other: Features | None
    """The same of the other faces, or of the references for a metric that takes them; else None."""
    against: str
    """What `other` is, for people."""
    against_sha256: str
    sizes: frozenset[tuple[int, int]]
    """Width and height of all images on both sides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What all kinds of metric say of themselves."""

    name: str
    title: str
    better: Literal["higher", "lower"]
    decimals: int
    unit: Callable[[Protocol], str] = lambda protocol: ""
    """Of its numbers, for people."""
    packages: tuple[str, ...] = ()
    """That it needs, as they are imported."""
    extra: str = "metrics"
    """Extra of this toolkit that brings them."""
    weights: Callable[[Situation], Mapping[str, str]] = lambda situation: {}
    """Files that it reads, by their names in `degrade_kit.analysis.weights`; with each, what would do in its place, for
    people."""
    hindrance: Callable[[Situation], str] = lambda situation: ""
    """Why it cannot be measured even with all files; empty where it can."""
    note: Callable[[MetricSummary], str] = lambda summary: ""
    """What has to be said below the table when it was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageMetric(Metric):
    """A number of each restored image alone."""

    load: Callable[[MetricSetup], Callable[[Pixels], float]]
    summarise: Callable[[Sequence[float], Protocol], MetricSummary] = lambda values, protocol: summarise(values)
    sheet_rank: int | None = None
    """Where it stands among the metrics by which worst and best images are chosen, the lowest first; None: nowhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairMetric(Metric):
    """A number of each restored image beside its reference, without which it is left out."""

    load: Callable[[MetricSetup], Callable[[Pixels, Pixels], float]]
    summarise: Callable[[Sequence[float], Protocol], MetricSummary] = lambda values, protocol: summarise(values)
    sheet_rank: int | None = None
    """As of an `ImageMetric`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetMetric(Metric):
    """A number of all restored images beside other ones, by features of each image."""

    load: Callable[[MetricSetup], Callable[[Pixels], Features]]
    key: Callable[[MetricSetup], str]
    """Equal keys give equal features: they are taken once for all metrics of one key, and kept."""
    compare: Callable[[ComparedSets], MetricSummary]
    takes_references: bool
    """Whether references take the place of other faces where none are given."""


# ----------------------------------------------------------------------------------------------------- LPIPS, Deg., LMD

NEAR_IDENTICAL: Final = 1.0
"""Degrees below which two faces count as one image."""


def _load_lpips(setup: MetricSetup) -> Callable[[Pixels, Pixels], float]:
    from degrade_kit.analysis.perceptual import load_lpips

    trunk, heads = setup.paths
    return load_lpips(trunk, heads, setup.protocol, setup.torch_device)


def _load_angle(setup: MetricSetup) -> Callable[[Pixels, Pixels], float]:
    from degrade_kit.analysis.perceptual import load_identity_angle

    degrees = load_identity_angle(setup.paths[0], setup.protocol, setup.torch_device)
    if setup.protocol.identity_unit == "degrees":
        return degrees
    return lambda restored, reference: math.radians(degrees(restored, reference))


def _summarise_angles(values: Sequence[float], protocol: Protocol) -> MetricSummary:
    degrees = np.array(values) if protocol.identity_unit == "degrees" else np.degrees(values)
    found = summarise(values, degrees < protocol.identity_least)
    return replace(found, near_identical=int((degrees < NEAR_IDENTICAL).sum()))


def _load_landmarks(setup: MetricSetup) -> Callable[[Pixels, Pixels], float]:
    from degrade_kit.analysis.perceptual import load_landmarks

    return load_landmarks(setup.paths[0], setup.torch_device)


def _load_niqe(setup: MetricSetup) -> Callable[[Pixels], float]:
    return functools.partial(niqe, model=load_niqe(setup.paths[0]))


# ------------------------------------------------------------------------------------------------------------------ FID


def _fid_weights(situation: Situation) -> Mapping[str, str]:
    statistics = situation.protocol.fid_weights
    return {"inception": ""} | ({} if situation.faces or not statistics else {statistics: "sharp faces as --hq"})


def _fid_hindrance(situation: Situation) -> str:
    protocol, name = situation.protocol, situation.protocol.fid_weights
    if situation.faces and name in situation.given:
        raise ConfigError(f"FID compares with one set: give --weights {name}=PATH or --hq, not both")
    if situation.faces or name:
        return ""
    return (
        f"{protocol.name} compares with {protocol.fid_reference}, resized as TensorFlow 1 does: give these images as "
        "--hq. Statistics such as inception_FFHQ_512.pth are of another resizing"
    )


def _load_fid(setup: MetricSetup) -> Callable[[Pixels], Features]:
    from degrade_kit.analysis.perceptual import load_inception

    for statistics in setup.paths[1:]:
        read_fid_statistics(statistics)  # now, since a wrong file would be found out after all images are measured
    return load_inception(setup.paths[0], setup.protocol.fid_resize, setup.torch_device)


def _compare_fid(sets: ComparedSets) -> MetricSummary:
    chosen = sets.restored[: sets.setup.protocol.fid_first or None]
    if sets.other is None:
        (path,) = sets.setup.paths[1:]
        found = frechet_to_moments(chosen, read_fid_statistics(path))
        return replace(found, against=path.name, against_sha256=file_sha256(path))
    if len(sets.other) < 2:
        return MetricSummary(value=None, images=len(chosen), status="needs at least 2 images in each set")
    found = frechet_to_moments(chosen, moments(sets.other))
    return replace(found, against=sets.against, against_sha256=sets.against_sha256)


def _fid_note(summary: MetricSummary) -> str:
    if summary.images >= 10_000:
        return ""
    return (
        f"FID is biased upward by about the number of features over the number of images: of {summary.images:,} images "
        "it can be compared with FID of as many images only."
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


# ------------------------------------------------------------------------------------------------- degradation features


def _degradation_hindrance(situation: Situation) -> str:
    return "" if situation.reference or situation.faces else "needs sharp faces to compare with: give --hq"


def _load_degradation(setup: MetricSetup) -> Callable[[Pixels], Features]:
    del setup
    from degrade_kit.analysis.features import degradation_features

    return degradation_features


def _degradation_key(setup: MetricSetup) -> str:
    del setup
    from degrade_kit.analysis.features import VERSION

    return f"degradation-{VERSION}"


def _compare_degradation(distance: Callable[[Features, Features], MetricSummary], sets: ComparedSets) -> MetricSummary:
    assert sets.other is not None
    if len(sets.sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sets.sizes)[:5])
        return MetricSummary(
            value=None,
            status=f"skipped: needs images of one size, found {shown}: resizing would change what is measured",
        )
    found = distance(sets.restored, sets.other)
    return replace(found, against=sets.against, against_sha256=sets.against_sha256)


# ---------------------------------------------------------------------------------------------------------------- table

_TABLE: Final[tuple[ImageMetric | PairMetric | SetMetric, ...]] = (
    PairMetric(
        name="psnr",
        title="PSNR",
        better="higher",
        unit=lambda protocol: "dB",
        decimals=2,
        load=lambda setup: functools.partial(psnr, protocol=setup.protocol),
        sheet_rank=1,
    ),
    PairMetric(
        name="ssim",
        title="SSIM",
        better="higher",
        decimals=4,
        load=lambda setup: functools.partial(ssim, protocol=setup.protocol),
    ),
    PairMetric(
        name="lpips",
        title="LPIPS",
        better="lower",
        decimals=4,
        weights=lambda situation: {"lpips-vgg": "", "lpips-vgg-heads": ""},
        packages=("torch",),
        load=_load_lpips,
        sheet_rank=0,
    ),
    PairMetric(
        name="deg",
        title="Deg.",
        better="lower",
        unit=lambda protocol: {"degrees": "degrees", "radians": "rad"}[protocol.identity_unit],
        decimals=2,
        weights=lambda situation: {situation.protocol.identity_weights: ""},
        packages=("torch",),
        load=_load_angle,
        summarise=_summarise_angles,
        sheet_rank=3,
    ),
    PairMetric(
        name="lmd",
        title="LMD",
        better="lower",
        unit=lambda protocol: "px",
        decimals=3,
        weights=lambda situation: {"landmarks": ""},
        packages=("torch", "facexlib"),
        extra="landmarks",
        load=_load_landmarks,
    ),
    SetMetric(
        name="fid",
        title="FID",
        better="lower",
        decimals=2,
        weights=_fid_weights,
        packages=("torch", "torch_fidelity"),
        hindrance=_fid_hindrance,
        load=_load_fid,
        key=lambda setup: f"fid-{setup.protocol.fid_resize}-{file_sha256(setup.paths[0])[:16]}",
        compare=_compare_fid,
        takes_references=False,  # published numbers compare with statistics, or with other faces
        note=_fid_note,
    ),
    ImageMetric(
        name="niqe",
        title="NIQE",
        better="lower",
        decimals=3,
        weights=lambda situation: {"niqe": ""},
        load=_load_niqe,
        sheet_rank=2,
    ),
    SetMetric(
        name="kid-degradation",
        title="KID (degradation)",
        better="lower",
        decimals=3,
        packages=("scipy",),
        hindrance=_degradation_hindrance,
        load=_load_degradation,
        key=_degradation_key,
        compare=functools.partial(_compare_degradation, kid_between),
        takes_references=True,
    ),
    SetMetric(
        name="frechet-degradation",
        title="Frechet (degradation)",
        better="lower",
        decimals=2,
        packages=("scipy",),
        hindrance=_degradation_hindrance,
        load=_load_degradation,
        key=_degradation_key,
        compare=functools.partial(_compare_degradation, frechet_between),
        takes_references=True,
    ),
)
METRICS: Final = {metric.name: metric for metric in _TABLE}
"""All metrics, in the order of tables. To add one is to add an entry here."""


# -------------------------------------------------------------------------------------------- what is measured of a set


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """What a judge measures; small to pickle."""

    protocol: Protocol
    paths: Mapping[str, tuple[Path, ...]]
    """Files of each metric that is measured."""
    device: str | None = None
    """Where networks run; the first GPU, or else the CPU, where None."""

    def setup(self, name: str) -> MetricSetup:
        """What a metric is loaded from."""
        return MetricSetup(protocol=self.protocol, paths=self.paths[name], device=self.device)


@dataclass(frozen=True, slots=True)
class Settled:
    """What can be measured here."""

    config: JudgeConfig
    skipped: dict[str, str]
    """Metrics that cannot be, and why."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Metrics among them that a network measures."""
        return tuple(name for name in self.config.paths if "torch" in METRICS[name].packages)


def settle(situation: Situation, device: str | None = None) -> Settled:
    """Look for what each metric needs.

    Args:
        situation: What there is.
        device: Where networks run; the first GPU, or else the CPU, where None.

    Raises:
        ConfigError: If a file that is given is not there, or is none for this protocol.
    """
    paths: dict[str, tuple[Path, ...]] = {}
    skipped: dict[str, str] = {}
    for metric in METRICS.values():
        if isinstance(metric, PairMetric) and not situation.reference:
            skipped[metric.name] = "needs references: give --reference"
            continue
        needs = list(filter(None, [metric.hindrance(situation)]))
        found: list[Path] = []
        for name, instead in metric.weights(situation).items():
            place = locate(name, situation.given)
            if place.path is None:
                needs.append(place.missing() + (f", or {instead}" if instead else ""))
            else:
                found.append(place.path)
        needs += [
            f"needs {name.replace('_', '-')}: pip install 'degrade-kit[{metric.extra}]'"
            for name in metric.packages
            if importlib.util.find_spec(name) is None
        ]
        if needs:
            skipped[metric.name] = "; ".join(needs)
        else:
            paths[metric.name] = tuple(found)
    return Settled(JudgeConfig(protocol=situation.protocol, paths=paths, device=device), skipped)


class Judge:
    """Measures images one by one; networks are loaded when it is made.

    Args:
        config: What to measure.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self._pairs: dict[str, Callable[[Pixels, Pixels], float]] = {}
        self._images: dict[str, Callable[[Pixels], float]] = {}
        self.extractors: dict[str, Callable[[Pixels], Features]] = {}
        """What sets are compared by, by the metrics' keys."""
        self.of_references: set[str] = set()
        """Keys of those that references are measured by too."""
        for name in config.paths:
            metric, setup = METRICS[name], config.setup(name)
            if isinstance(metric, PairMetric):
                self._pairs[name] = metric.load(setup)
            elif isinstance(metric, ImageMetric):
                self._images[name] = metric.load(setup)
            else:
                key = metric.key(setup)
                if key not in self.extractors:
                    self.extractors[key] = metric.load(setup)
                if metric.takes_references:
                    self.of_references.add(key)

    def measure(self, restored: Pixels, reference: Pixels | None) -> dict[str, float]:
        """Measure one image: its numbers by metric, in the protocol's units."""
        found = {name: measure(restored) for name, measure in self._images.items()}
        if reference is not None:
            found |= {name: measure(restored, reference) for name, measure in self._pairs.items()}
        return found
