"""The presets against the published numbers, written out here once more, and against themselves of yesterday."""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit import ops
from degrade_kit.degradation import degrade
from degrade_kit.errors import ConfigError
from degrade_kit.ops import (
    Blur,
    Clip,
    ColorJitter,
    ColorShift,
    CovarianceNoise,
    Decimate,
    Denoise,
    GaussianNoise,
    Gray,
    Haze,
    Jpeg,
    Op,
    PoissonNoise,
    Rescale,
    Resize,
    ResizeSide,
    Shift,
    SincBlur,
    Uneven,
    Video,
)
from degrade_kit.presets import COMMITS, PRESETS, preset
from degrade_kit.record import Record
from degrade_kit.seeding import generator
from degrade_kit.steps import KERNEL_KINDS
from tests.distinct import DISTINCT_PRESETS, PLAIN_PRESETS
from tests.golden.regenerate import first_record, native_pixels

GOLDEN = Path(__file__).parents[1] / "golden"
COUNT = 2000
NAMES = list(PRESETS)

Range = tuple[float, float]
_O = TypeVar("_O", bound=Op)


@functools.cache
def records(name: str) -> tuple[Record, ...]:
    """Many draws; names of equal recipes share them."""
    return _records(PRESETS[name].digest(), name)


@functools.cache
def _records(digest: str, name: str) -> tuple[Record, ...]:
    del digest
    return tuple(PRESETS[name].draw(generator(17, f"{index:05}.png", 0)) for index in range(COUNT))


def one(record: Record, cls: type[_O]) -> _O:
    """The only operation of a class in a record."""
    found = [op for op in record.steps if isinstance(op, cls)]
    assert len(found) == 1, record
    return found[0]


def check_uniform(values: Sequence[float], low: float, high: float) -> None:
    """Within the published range, at both ends of it, mean and spread of a uniform draw to four standard deviations."""
    count, width = len(values), high - low
    assert low <= min(values) <= low + 12 / count * width
    assert high - 12 / count * width <= max(values) <= high
    assert abs(np.mean(values) - (low + high) / 2) < 4 * width / math.sqrt(12 * count)
    assert abs(np.std(values) - width / math.sqrt(12)) < 4 * width / math.sqrt(100 * count)


def check_whole(values: Sequence[float], low: int, high: int) -> None:
    """Whole numbers, both ends included, evenly."""
    assert {int(value) for value in values} == set(values)
    assert (min(values), max(values)) == (low, high)
    spread = math.sqrt(((high - low + 1) ** 2 - 1) / 12)
    assert abs(np.mean(values) - (low + high) / 2) < 4 * spread / math.sqrt(len(values))


def check_share(hits: int, count: int, prob: float) -> None:
    assert abs(hits - prob * count) <= 4 * math.sqrt(prob * (1 - prob) * count) + 1e-9, f"{hits} of {count}, not {prob}"


def check_counts(found: Counter[Any], weights: dict[str, float]) -> None:
    """Each kind as often as its weight says, no other kind."""
    total, count = sum(weights.values()), sum(found.values())
    assert set(found) == set(weights)
    for kind, weight in weights.items():
        check_share(found[kind], count, weight / total)


def check_gaussian_family(blurs: list[Blur], sigma: Range, weights: dict[str, float]) -> None:
    """As basicsr's `random_mixed_kernels` draws."""
    check_counts(Counter(blur.kernel for blur in blurs), weights)
    check_uniform([blur.sigma_x for blur in blurs], *sigma)
    round_ones, others = (
        [blur for blur in blurs if blur.kernel.endswith("aniso") == turned] for turned in (False, True)
    )
    assert all(blur.sigma_x == blur.sigma_y and blur.rotation == 0 for blur in round_ones)
    if others:
        check_uniform([blur.sigma_y for blur in others], *sigma)
        check_uniform([blur.rotation for blur in others], -math.pi, math.pi)


# ------------------------------------------------------------------------------------------------------ the face family


@dataclass(frozen=True)
class Face:
    """One entry of the published options: blur_sigma, downsample_range, noise_range, jpeg_range and so on."""

    sigma: Range
    scale: Range
    noise: Range
    jpeg: tuple[int, int]
    sizes: tuple[int, ...] = (41,)
    gray_prob: float = 0.0
    gt_gray: bool = False
    jitter_prob: float = 0.0
    gray_first: bool = False
    """Gray in front of the chain, not behind it."""


FACES = {
    "gfpgan": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100), gray_prob=0.01, jitter_prob=0.3),
    "gfpgan-no-colorization": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100), gray_prob=0.01, gt_gray=True),
    "codeformer": Face((1, 15), (4, 30), (0, 20), (30, 80)),
    "codeformer-stage3-small": Face((0.1, 10), (1, 12), (0, 15), (60, 100)),
    "codeformer-stage3-large": Face((1, 15), (4, 30), (0, 20), (30, 80)),
    "diffbir-v1-face": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100)),
    "diffbir-v2": Face((0.1, 12), (1, 12), (0, 15), (30, 100)),
    "restoreformer": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100), sizes=(39, 41)),
    "daefr": Face((0.1, 15), (0.8, 30), (0, 20), (30, 100), sizes=(39, 41)),
    "daefr-association": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100), sizes=(39, 41)),
    "difface": Face((0.1, 15), (0.8, 32), (0, 20), (30, 100), gray_prob=0.01, gt_gray=True),
    "pmrf": Face((0.1, 15), (0.8, 32), (0, 20), (30, 100), gray_prob=0.01, gt_gray=True),
    "vqfr-v1": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100)),
    "vqfr-v2": Face((1, 15), (1, 30), (0, 20), (30, 90)),
    "gpen": Face((0.1, 10), (0.8, 8), (0, 20), (60, 100), gray_prob=0.2, gt_gray=True, gray_first=True),
    "codeformer-colorization": Face((1, 15), (4, 30), (0, 20), (30, 80), gray_prob=0.01, jitter_prob=0.3),
    "osediff-face": Face((1, 15), (1, 30), (0, 20), (30, 100)),
    "resshift-face": Face((0.1, 15), (0.8, 32), (0, 20), (30, 100), gray_prob=0.01, gt_gray=True),
    "stablesr-face": Face((0.1, 15), (0.8, 32), (0, 20), (30, 100), gray_prob=0.01, gt_gray=True),
}
OTHERS = (
    *("flipnet-paper", "restoreformer++", "bsrgan", "swinir-real", "femasr"),
    *("gcfsr", "dasr", "realbasicvsr", "vcisr", "trainner-redux"),
    *("psfrgan", "hifacegan", "bsrgan-plus"),
)


def test_every_preset_is_checked() -> None:
    assert set(NAMES) == {*FACES, *SECONDS, *OTHERS}


def test_presets_of_equal_numbers_say_so() -> None:
    """Of several names for one recipe all but the first name another in their notes, or are older than the notes."""
    older = {"codeformer-stage3-large", "daefr-association", "pmrf"}
    first: dict[str, str] = {}
    for name, recipe in PRESETS.items():
        known = first.setdefault(recipe.digest(), name)
        assert known == name or name in older | {*FACES} or "The numbers of `" in recipe.notes, name
        for told in re.findall(r"The numbers of `([^`]+)`", recipe.notes):
            assert "but" in recipe.notes or PRESETS[told].digest() == recipe.digest(), name


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_tells_file_and_commit(name: str) -> None:
    told = f"{PRESETS[name].source} {COMMITS.get(name)}"
    if name != "flipnet-paper":
        assert re.search(r"[0-9a-f]{7}", told), "no commit"
        assert re.search(r"\.(ya?ml|py|json|toml|md)\b", told), "no file"


def check_face_chain(chains: list[tuple[Op, ...]], face: Face) -> None:
    """Blur, shrink, noise, JPEG, back to full size."""
    blurs: list[Blur] = []
    scales: list[float] = []
    levels: list[float] = []
    qualities: list[int] = []
    for blur, resize, noise, jpeg, full in chains:
        assert isinstance(blur, Blur)
        assert isinstance(resize, Resize)
        assert resize.filter == "linear"
        assert isinstance(noise, GaussianNoise)
        assert not noise.gray
        assert isinstance(jpeg, Jpeg)
        assert full == Resize(scale=1.0, filter="linear")
        blurs.append(blur)
        scales.append(resize.scale)
        levels.append(noise.level)
        qualities.append(jpeg.quality)
    check_gaussian_family(blurs, face.sigma, {"iso": 0.5, "aniso": 0.5})
    check_counts(Counter(str(blur.size) for blur in blurs), {str(size): 1 for size in face.sizes})
    check_uniform(scales, *face.scale)
    check_uniform(levels, *face.noise)
    check_whole(qualities, *face.jpeg)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FACES))
def test_face_presets_draw_the_published_ranges(name: str) -> None:
    face = FACES[name]
    at = [int(isinstance(record.steps[0], Gray)) for record in records(name)]
    assert face.gray_first == any(at)
    check_face_chain([record.steps[start : start + 5] for start, record in zip(at, records(name), strict=True)], face)

    colours = [
        record.steps[:start] + record.steps[start + 5 :] for start, record in zip(at, records(name), strict=True)
    ]
    kinds = (ColorShift, Gray, ColorJitter)
    assert all(
        list(map(type, steps)) == [kind for kind in kinds if kind in set(map(type, steps))] for steps in colours
    ), "in this order, each at most once"
    for kind, prob in zip(kinds, (face.jitter_prob, face.gray_prob, face.jitter_prob), strict=True):
        check_share(sum(isinstance(op, kind) for steps in colours for op in steps), COUNT, prob)
    for record in records(name):
        grays = tuple(op for op in record.steps if isinstance(op, Gray))
        assert record.target == (grays if face.gt_gray else ())


def test_gfpgan_jitters_colours_as_published() -> None:
    steps = [op for record in records("gfpgan") for op in record.steps]
    shifts = [op for op in steps if isinstance(op, ColorShift)]
    for channel in ("red", "green", "blue"):
        check_uniform([getattr(shift, channel) for shift in shifts], -20, 20)
    jitters = [op for op in steps if isinstance(op, ColorJitter)]
    for part, low, high in (
        ("brightness", 0.5, 1.5),
        ("contrast", 0.5, 1.5),
        ("saturation", 0, 1.5),
        ("hue", -0.1, 0.1),
    ):
        check_uniform([getattr(jitter, part) for jitter in jitters], low, high)
    firsts = Counter(jitter.order[0] for jitter in jitters)
    check_counts(firsts, dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 1))


def test_restoreformer_pp_shifts_hazes_and_splits_as_published() -> None:
    all_records = records("restoreformer++")
    shifts = [record.steps[0] for record in all_records if isinstance(record.steps[0], Shift)]
    check_share(len(shifts), COUNT, 0.2)
    check_whole([shift.right for shift in shifts], -32, 32)
    check_whole([shift.down for shift in shifts], -32, 32)
    check_share(sum(isinstance(record.steps[-1], Gray) for record in all_records), COUNT, 0.008)

    squares: list[Uneven] = []
    chains: list[tuple[Op, ...]] = []
    for record in all_records:
        shift = tuple(op for op in record.steps[:1] if isinstance(op, Shift))
        gray = tuple(op for op in record.steps[-1:] if isinstance(op, Gray))
        assert record.target == shift + gray, "the target moves and turns gray with its LQ image"
        rest = record.steps[len(shift) : len(record.steps) - len(gray)]
        if isinstance(rest[0], Uneven):
            assert len(rest) == 1
            squares.append(rest[0])
            chains += [rest[0].inside, rest[0].outside]
        else:
            chains.append(rest)
    check_share(len(squares), COUNT, 0.1)
    check_uniform([square.side for square in squares], 128 / 512, 256 / 512)
    check_uniform([square.left for square in squares], 0, 1)
    check_uniform([square.top for square in squares], 0, 1)

    hazes = [op for chain in chains for op in chain if isinstance(op, Haze)]
    check_share(len(hazes), len(chains), 0.008)
    assert all(0.75 <= haze.alpha <= 0.95 for haze in hazes)
    assert all(not isinstance(op, Haze) or at == 1 for chain in chains for at, op in enumerate(chain)), "after the blur"
    check_face_chain(
        [tuple(op for op in chain if not isinstance(op, Haze)) for chain in chains], FACES["restoreformer"]
    )


@pytest.mark.slow
def test_flipnet_draws_equation_9_twice() -> None:
    first = [record.steps[:5] for record in records("flipnet-paper")]
    again = [record.steps[5:] for record in records("flipnet-paper")]
    orders: Counter[str] = Counter()
    sigmas: list[float] = []
    for steps in (*first, *again):
        assert steps[-1] == Resize(scale=1.0, filter="linear")
        # In the second pass sigma counts pixels of the full size, and the image may be shrunk already.
        resize = next(op for op in steps if isinstance(op, Resize))
        shrunk = steps.index(resize) < next(at for at, op in enumerate(steps) if isinstance(op, Blur))
        blur = next(op for op in steps if isinstance(op, Blur))
        assert (blur.kernel, blur.size) == ("iso", 41)
        sigmas.append(blur.sigma_x * (max(resize.scale, 1) if shrunk else 1))
    for steps in first:
        assert [op.name for op in steps] == ["blur", "resize", "gaussian_noise", "jpeg", "resize"]
    for steps in again:
        orders[" ".join(op.name for op in steps[:4])] += 1
    check_uniform(sigmas, 0.1, 15)
    both = [*first, *again]
    check_uniform([next(op.scale for op in steps if isinstance(op, Resize)) for steps in both], 0.8, 32)
    check_uniform([op.level for steps in both for op in steps if isinstance(op, GaussianNoise)], 0, 20)
    check_whole([op.quality for steps in both for op in steps if isinstance(op, Jpeg)], 30, 95)
    assert len(orders) == 24
    assert set(orders.values()) != {COUNT}
    for count in orders.values():
        check_share(count, COUNT, 1 / 24)


# ---------------------------------------------------------------------------------------------------------- Real-ESRGAN

SIZES = (7, 9, 11, 13, 15, 17, 19, 21)


@dataclass(frozen=True)
class Half:
    """One pass of the published options, under their names."""

    blur_sigma: Range
    resize_prob: tuple[float, float, float]
    resize_range: Range
    noise_range: Range
    poisson_scale_range: Range
    jpeg_range: tuple[int, int]
    kernel_prob: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    sizes: tuple[int, ...] = SIZES
    sinc_prob: float = 0.1
    betag_range: Range = (0.5, 4)
    betap_range: Range = (1, 2)
    blur_prob: float = 1.0
    gaussian_noise_prob: float = 0.5
    gray_noise_prob: float = 0.4


@dataclass(frozen=True)
class Published:
    """Published options of a chain of two passes."""

    halves: tuple[Half, Half]
    scale: int = 4
    second_order_prob: float = 1.0
    no_degradation_prob: float = 0.0
    final_sinc_prob: float = 0.8


UP, UP2 = (0.2, 0.7, 0.1), (0.3, 0.4, 0.3)
REAL_ESRGAN = (
    Half((0.2, 3), UP, (0.15, 1.5), (1, 30), (0.05, 3), (30, 95)),
    Half((0.2, 1.5), UP2, (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95), blur_prob=0.8),
)
SEESR = (
    Half((0.2, 3), UP, (0.3, 1.5), (1, 15), (0.05, 2), (60, 95)),
    Half((0.2, 1.5), UP2, (0.6, 1.2), (1, 12), (0.05, 1), (60, 100), blur_prob=0.5),
)
STABLESR = (
    replace(SEESR[0], blur_sigma=(0.2, 1.5), betag_range=(0.5, 2), betap_range=(1, 1.5)),
    replace(SEESR[1], blur_sigma=(0.2, 1.0), betag_range=(0.5, 2), betap_range=(1, 1.5)),
)
RESSHIFT = (
    replace(REAL_ESRGAN[0], sizes=(3, 5, 7, 9, 11, 13, 15, 17, 19)),
    replace(REAL_ESRGAN[1], sizes=(3, 5, 7, 9, 11, 13)),
)
RESSHIFT_TEST = (
    replace(
        Half((0.2, 0.8), UP, (0.5, 1.5), (1, 15), (0.05, 0.3), (70, 95)),
        kernel_prob=(0.6, 0.4, 0, 0, 0, 0),
        sizes=(3, 5, 7, 9, 11),
    ),
    replace(REAL_ESRGAN[1], jpeg_range=(80, 100), sizes=(3, 5)),
)
NEOSR = (
    replace(
        Half((0.2, 3), UP2, (0.5, 1.5), (0, 2), (0.05, 0.25), (40, 95)), gaussian_noise_prob=0.2, gray_noise_prob=0.1
    ),
    replace(
        Half((0.2, 1.5), UP2, (0.3, 1.5), (0, 2), (0.05, 0.1), (35, 95)),
        gaussian_noise_prob=0.2,
        gray_noise_prob=0.1,
        blur_prob=0.4,
    ),
)
SECONDS = {
    **dict.fromkeys(
        (
            *("real-esrgan", "osediff", "diffbir-v2.1", "diffbir-v1-realesrgan"),
            *("hypir", "real-hat", "ldl", "a-esrgan"),
        ),
        Published(REAL_ESRGAN),
    ),
    "real-esrgan-x2": Published(REAL_ESRGAN, scale=2),
    "dreamclear": Published(REAL_ESRGAN, no_degradation_prob=0.01),
    **dict.fromkeys(("stablesr", "s3diff"), Published(STABLESR, no_degradation_prob=0.01)),
    **dict.fromkeys(("ccsr", "adcsr"), Published(STABLESR)),
    **dict.fromkeys(("seesr", "pasd", "pisa-sr", "faithdiff", "dloral", "tsd-sr"), Published(SEESR)),
    **dict.fromkeys(("resshift", "invsr", "sinsr"), Published(RESSHIFT, second_order_prob=0.5)),
    "resshift-x2": Published(RESSHIFT, second_order_prob=0.5, scale=2),
    "resshift-test": Published(RESSHIFT_TEST, second_order_prob=0.0, final_sinc_prob=0.2),
    "neosr": Published(NEOSR),
}


@dataclass
class Second:
    """A record of two passes, taken apart."""

    blurs: list[Op]
    resizes: list[Resize]
    noises: list[Op]
    jpegs: list[Jpeg]
    second_blur: bool
    final_sinc: SincBlur | None
    jpeg_last: bool

    @property
    def twice(self) -> bool:
        return len(self.noises) == 2


def taken_apart(record: Record) -> Second:
    rest = list(record.steps)
    blurs, resizes, noises, jpegs = [rest.pop(0)], [], [], []

    def resize() -> None:
        op = rest.pop(0)
        assert isinstance(op, Resize)
        resizes.append(op)

    def jpeg() -> None:
        op = rest.pop(0)
        assert isinstance(op, Jpeg)
        jpegs.append(op)

    resize()
    noises.append(rest.pop(0))
    jpeg()
    second_blur = isinstance(rest[0], (Blur, SincBlur))
    if second_blur:
        blurs.append(rest.pop(0))
    if any(isinstance(op, (GaussianNoise, PoissonNoise)) for op in rest):
        resize()
        noises.append(rest.pop(0))
    jpeg_last = isinstance(rest[0], Resize)
    if not jpeg_last:
        jpeg()
    resize()
    sinc = rest.pop(0) if isinstance(rest[0], SincBlur) else None
    if jpeg_last:
        jpeg()
    assert rest == [Resize(scale=1.0, filter="cubic")]
    assert sinc is None or isinstance(sinc, SincBlur)
    return Second(blurs, resizes, noises, jpegs, second_blur, sinc, jpeg_last)


def check_sinc(sincs: list[SincBlur], sizes: tuple[int, ...]) -> None:
    small, large = ([op.cutoff for op in sincs if (op.size < 13) == less] for less in (True, False))
    check_counts(Counter(str(op.size) for op in sincs), {str(size): 1 for size in sizes})
    check_uniform(small, math.pi / 3, math.pi)
    if large:
        check_uniform(large, math.pi / 5, math.pi)


def check_half(parts: list[Second], which: int, half: Half, base: float) -> None:
    """Check the blur, resize and noise of one pass."""
    blurs = [each.blurs[which] for each in parts if len(each.blurs) > which]
    sincs = [op for op in blurs if isinstance(op, SincBlur)]
    check_share(len(sincs), len(blurs), half.sinc_prob)
    gaussians = [op for op in blurs if isinstance(op, Blur)]
    weights = {str(kind): prob for kind, prob in zip(KERNEL_KINDS, half.kernel_prob, strict=True) if prob}
    check_gaussian_family(gaussians, half.blur_sigma, weights)
    check_counts(Counter(str(op.size) for op in gaussians), {str(size): 1 for size in half.sizes})
    for family, (low, high) in (("generalized", half.betag_range), ("plateau", half.betap_range)):
        betas = [op.beta for op in gaussians if op.kernel.startswith(family)]
        if betas:
            check_share(sum(beta > 1 for beta in betas), len(betas), 0.5)
            assert low <= min(betas) <= max(betas) <= high
            check_uniform([beta for beta in betas if beta > 1], 1, high)
    check_sinc(sincs, half.sizes)

    count, (up, down, keep), (low, high) = len(parts), half.resize_prob, half.resize_range
    factors = [1 / each.resizes[which].scale / base for each in parts]
    check_share(sum(factor == 1 for factor in factors), count, keep)
    check_share(sum(factor > 1 for factor in factors), count, up)
    check_share(sum(factor < 1 for factor in factors), count, down)
    check_uniform([factor for factor in factors if factor > 1], 1, high)
    check_uniform([factor for factor in factors if factor < 1], low, 1)

    noises = [each.noises[which] for each in parts]
    gaussian = [op for op in noises if isinstance(op, GaussianNoise)]
    poisson = [op for op in noises if isinstance(op, PoissonNoise)]
    assert len(gaussian) + len(poisson) == count
    check_share(len(gaussian), count, half.gaussian_noise_prob)
    check_share(sum(op.gray for op in (*gaussian, *poisson)), count, half.gray_noise_prob)
    check_uniform([op.level for op in gaussian], *half.noise_range)
    check_uniform([op.scale for op in poisson], *half.poisson_scale_range)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DISTINCT_PRESETS if name in SECONDS])
def test_chains_of_two_passes_draw_the_published_ranges(name: str) -> None:
    published = SECONDS[name]
    degraded = [record for record in records(name) if len(record.steps) > 1]
    check_share(COUNT - len(degraded), COUNT, published.no_degradation_prob)
    apart = list(map(taken_apart, degraded))
    count = len(apart)
    twice = [parts for parts in apart if parts.twice]
    check_share(len(twice), count, published.second_order_prob)
    first, second = published.halves
    check_half(apart, 0, first, 1.0)
    if twice:
        check_half(twice, 1, second, 1 / published.scale)
        check_share(sum(parts.second_blur for parts in twice), len(twice), second.blur_prob)
    assert {parts.resizes[-1].scale for parts in apart} == {published.scale}
    for which in (0, -1):
        filters = Counter(str(parts.resizes[which].filter) for parts in apart)
        check_counts(filters, {"area": 1, "linear": 1, "cubic": 1})
    check_share(sum(parts.jpeg_last for parts in apart), count, 0.5)
    for which, half in enumerate(published.halves):
        check_whole([parts.jpegs[which].quality for parts in apart], *half.jpeg_range)
    finals = [parts.final_sinc for parts in apart if parts.final_sinc is not None]
    check_share(len(finals), count, published.final_sinc_prob)
    check_uniform([op.cutoff for op in finals], math.pi / 3, math.pi)
    check_counts(Counter(str(op.size) for op in finals), {str(size): 1 for size in second.sizes})


@pytest.mark.parametrize("name", [name for name in SECONDS if name not in DISTINCT_PRESETS])
def test_chains_of_equal_numbers_are_one_recipe(name: str) -> None:
    assert any(
        PRESETS[other].digest() == PRESETS[name].digest() and SECONDS[other] == SECONDS[name]
        for other in SECONDS
        if other in DISTINCT_PRESETS
    )


# ----------------------------------------------------------------------------------------------- of their own kind


def test_gcfsr_shrinks_by_powers_of_two() -> None:
    scales: Counter[str] = Counter()
    for record in records("gcfsr"):
        shrink, clip, full = record.steps
        assert isinstance(shrink, Resize)
        assert (shrink.filter, clip, full) == ("cubic_aa", Clip(), Resize(scale=1.0, filter="cubic"))
        scales[f"{shrink.scale:g}"] += 1
    check_counts(scales, {"64": 4, "32": 2, "16": 2, "8": 1, "4": 1})


@pytest.mark.slow
def test_dasr_draws_three_levels() -> None:
    levels: dict[str, list[Record]] = {"weak": [], "standard": [], "severe": []}
    for record in records("dasr"):
        noises = sum(isinstance(op, (GaussianNoise, PoissonNoise)) for op in record.steps)
        quality = next(op.quality for op in record.steps if isinstance(op, Jpeg))
        blur = record.steps[0]
        assert isinstance(blur, Blur)
        assert blur.kernel in ("iso", "aniso")
        weak = noises == 1 and quality >= 90 and blur.sigma_x <= 0.8
        levels["severe" if noises == 2 else "weak" if weak else "standard"].append(record)
        assert any(op.scale == 4 for op in record.steps if isinstance(op, Resize))
    check_share(len(levels["severe"]), COUNT, 0.4)
    # Some standard records look weak: quality 90 to 95 and sigma up to 0.8, 6 / 46 of 0.6 / 1.3.
    check_share(len(levels["weak"]), COUNT, 0.3 + 0.3 * 6 / 46 * 0.6 / 1.3)
    for part, sigma, jpeg in (("standard", 1.5, (50, 95)), ("severe", 3, (30, 95))):
        firsts = [record.steps[0] for record in levels[part]]
        assert sigma - 0.1 < max(op.sigma_x for op in firsts if isinstance(op, Blur)) <= sigma
        qualities = [next(op.quality for op in record.steps if isinstance(op, Jpeg)) for record in levels[part]]
        assert (min(qualities), max(qualities)) == jpeg


@pytest.mark.slow
def test_realbasicvsr_compresses_by_video_twice() -> None:
    codecs: Counter[str] = Counter()
    for record in records("realbasicvsr"):
        first, last = (op for op in record.steps if isinstance(op, Video))
        codecs += Counter((first.codec, last.codec))
        assert 1e4 / 256**2 - 0.001 <= first.bitrate <= 1e5 / 256**2 + 0.01
        behind = isinstance(record.steps[-2], Video)
        low, high = (1e4 / 64**2, 24) if behind else (1e4 / 256**2, 1e5 / 256**2)
        assert low - 0.01 <= last.bitrate <= high + 0.01
        assert sum(isinstance(op, Jpeg) for op in record.steps) == 2
    check_counts(codecs, {"h264": 2, "mpeg4": 1})


@pytest.mark.slow
def test_vcisr_ends_with_a_video_in_19_of_20() -> None:
    videos = [op for record in records("vcisr") for op in record.steps if isinstance(op, Video)]
    check_share(len(videos), COUNT, 0.95)
    check_counts(Counter(op.codec for op in videos), {"h264": 4, "h265": 2, "mpeg2": 2, "mpeg4": 2})
    check_whole([op.crf for op in videos if op.codec == "h264"], 20, 32)
    check_whole([op.crf for op in videos if op.codec == "h265"], 25, 37)
    assert all(18.7 < op.bitrate <= 24 for op in videos if op.codec.startswith("mpeg"))
    factors = [op.factor for record in records("vcisr") for op in record.steps if isinstance(op, Rescale)]
    check_share(len(factors), COUNT, 0.7)
    assert 0.3 <= min(factors) < max(factors) <= 1.2


def test_trainner_redux_neither_blurs_nor_adds_noise() -> None:
    for record in records("trainner-redux"):
        assert {op.name for op in record.steps} == {"resize", "jpeg"}
        assert sum(isinstance(op, Jpeg) for op in record.steps) == 2
    jpegs = [op for record in records("trainner-redux") for op in record.steps if isinstance(op, Jpeg)]
    check_whole([op.quality for op in jpegs], 75, 95)
    firsts = [record.steps[0] for record in records("trainner-redux")]
    check_share(sum(isinstance(op, Jpeg) for op in firsts), COUNT, 0.1)
    factors = [1 / op.scale for op in firsts if isinstance(op, Resize)]
    assert 0.4 <= min(factors) < max(factors) <= 1.5


# --------------------------------------------------------------------------------------------------------------- BSRGAN


def bsrgan_halves() -> tuple[list[tuple[Op, ...]], list[tuple[Op, ...]]]:
    """The shuffled parts of records at sf 4, and of those that were halved first, without the halving."""
    whole: list[tuple[Op, ...]] = []
    halved: list[tuple[Op, ...]] = []
    for record in records("bsrgan"):
        *steps, jpeg, full = (op for op in record.steps if not isinstance(op, Clip))
        assert isinstance(jpeg, Jpeg)
        assert full == Resize(scale=1.0, filter="cubic")
        # Two of the steps in a shuffle blur; a halved record has one resize more.
        shrinks = sum(isinstance(op, (Resize, Decimate)) for op in steps)
        assert shrinks in (2, 3)
        (whole if shrinks == 2 else halved).append(tuple(steps if shrinks == 2 else steps[1:]))
        if shrinks == 3:
            assert isinstance(steps[0], Resize)
            assert steps[0].scale == 2
    return whole, halved


@pytest.mark.slow
def test_bsrgan_halves_first_in_one_of_four() -> None:
    whole, halved = bsrgan_halves()
    check_share(len(halved), COUNT, 0.25)
    assert len(whole) + len(halved) == COUNT
    firsts = [record.steps[0] for record in records("bsrgan")]
    halving = [
        op.filter
        for op, steps in zip(firsts, records("bsrgan"), strict=True)
        if isinstance(op, Resize) and _halved(steps)
    ]
    check_counts(Counter(map(str, halving)), {"linear": 1, "cubic": 1, "area": 1, "cubic_aa": 3})


def _halved(record: Record) -> bool:
    return sum(isinstance(op, (Resize, Decimate)) for op in record.steps) == 4


@pytest.mark.parametrize("half", [0, 1])
def test_bsrgan_draws_the_published_ranges(half: int) -> None:
    chains, factor, base = bsrgan_halves()[half], (4, 2)[half], (1, 2)[half]
    count = len(chains)
    blurs = [op for steps in chains for op in steps if isinstance(op, Blur)]
    assert len(blurs) == 2 * count
    aniso, iso = ([op for op in blurs if op.kernel == kernel] for kernel in ("aniso", "iso"))
    check_share(len(aniso), 2 * count, 0.5)
    check_uniform([op.sigma_x**2 for op in aniso], 0, 4 + factor)
    check_uniform([op.sigma_y**2 for op in aniso], 0, 4 + factor)
    check_uniform([op.rotation for op in aniso], 0, math.pi)
    check_uniform([op.sigma_x for op in iso], 0, 2 + 0.2 * factor)
    check_counts(Counter(str(op.size) for op in blurs), {str(2 * size + 3): 1 for size in range(2, 12)})

    shrinks = [[op for op in steps if isinstance(op, (Resize, Decimate))] for steps in chains]
    decimates = [first for first, _ in shrinks if isinstance(first, Decimate)]
    resizes = [first for first, _ in shrinks if isinstance(first, Resize)]
    check_share(len(decimates), count, 0.25)
    assert {(op.factor, op.size) for op in decimates} == {(factor, 25)}
    check_uniform([op.sigma for op in decimates], 0.1, 0.6 * factor)
    check_uniform([op.scale for op in resizes], base, base * 2 * factor)
    check_counts(Counter(str(op.filter) for op in resizes), {"linear": 1, "cubic": 1, "area": 1})
    settles = [second for _, second in shrinks]
    assert all(isinstance(op, Resize) and op.scale == 4 for op in settles), "downsample3 comes after downsample2"
    check_counts(Counter(op.filter for op in settles if isinstance(op, Resize)), {"linear": 1, "cubic": 1, "area": 1})

    noises = [op for steps in chains for op in steps if isinstance(op, (GaussianNoise, CovarianceNoise))]
    assert len(noises) == count
    kinds = Counter(
        "covariance" if isinstance(op, CovarianceNoise) else "gray" if op.gray else "colour" for op in noises
    )
    check_counts(kinds, {"colour": 0.4, "gray": 0.4, "covariance": 0.2})
    check_whole([op.level for op in noises if isinstance(op, GaussianNoise)], 2, 25)
    covariances = np.array([op.covariance for op in noises if isinstance(op, CovarianceNoise)]).reshape(-1, 3, 3)
    assert covariances.min() >= 0
    assert covariances.max() <= 25**2 + 1e-9

    jpegs = [op for steps in chains for op in steps if isinstance(op, Jpeg)]
    check_share(len(jpegs), count, 0.9)
    check_whole([op.quality for op in jpegs], 30, 95)


def test_bsrgan_shuffles_all_but_its_two_shrinks() -> None:
    whole, _ = bsrgan_halves()
    places = Counter(
        steps.index(next(op for op in steps if isinstance(op, (Resize, Decimate))))
        for steps in whole
        if len(steps) == 6
    )
    # Of two places among six, the first is at p with a chance of (5 - p) / 15.
    check_counts(
        Counter({str(place): count for place, count in places.items()}), {str(place): 5 - place for place in range(5)}
    )
    blurs_first = sum(isinstance(steps[0], Blur) for steps in whole if len(steps) == 6)
    check_share(blurs_first, sum(len(steps) == 6 for steps in whole), 1 / 3)


def test_bsrgan_clips_after_every_cubic_resize() -> None:
    for record in records("bsrgan"):
        for op, after in zip(record.steps[:-1], record.steps[1:], strict=True):
            if isinstance(op, Resize):
                assert isinstance(after, Clip) == op.filter.startswith("cubic")


# ------------------------------------------------------------------------------------------------------ for all of them


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTINCT_PRESETS)
def test_the_promised_format_is_that_of_every_record(name: str) -> None:
    promised = PRESETS[name].native_format()
    hq = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    # A video costs as much as hundreds of other records, and ends with no file that is kept.
    few = 200 if name in PLAIN_PRESETS else 8
    ends = [degrade(record, hq).encoded for record in records(name)[:few]]
    found = {None if end is None else end.extension for end in ends}
    if promised is None:
        assert None in found, "a promise could be made"
    else:
        assert found == {promised}


def test_presets_that_end_in_jpeg_store_jpeg() -> None:
    unfixed = {name for name in NAMES if PRESETS[name].native_format() is None}
    several_ends = {*SECONDS, "dasr", "realbasicvsr", "vcisr", "trainner-redux"}
    random_order = {"hifacegan", "psfrgan"}
    assert unfixed == {"flipnet-paper", "restoreformer++", "gcfsr", *random_order, *several_ends}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_who_it_is_and_where_its_numbers_come_from(name: str) -> None:
    recipe = PRESETS[name]
    assert recipe.name == name
    assert len(recipe.source) > 20
    assert preset(name) is recipe


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown preset `gfpgann`; did you mean `gfpgan`"):
        preset("gfpgann")
    with pytest.raises(ConfigError, match="unknown preset `zzz`; known are flipnet-paper, gfpgan"):
        preset("zzz")


@pytest.mark.parametrize("name", NAMES)
def test_first_records_and_digests_are_pinned(name: str) -> None:
    """A difference means other pixels for the same seed: a breaking change, or a fault."""
    pinned = json.loads((GOLDEN / "records.json").read_text("utf-8"))[name]
    assert first_record(name) == Record.from_json(json.dumps(pinned["record"]))
    assert json.loads(first_record(name).to_json()) == pinned["record"]
    assert PRESETS[name].digest() == pinned["digest"]


def test_all_presets_are_pinned_and_no_others() -> None:
    assert list(json.loads((GOLDEN / "records.json").read_text("utf-8"))) == NAMES
    with np.load(GOLDEN / "pixels.npz") as pinned:
        assert sorted(pinned) == sorted(PLAIN_PRESETS)


@pytest.mark.parametrize("name", PLAIN_PRESETS)
def test_pixels_are_pinned_within_a_level_on_average(name: str) -> None:
    """JPEG builds and float sums differ between machines."""
    with np.load(GOLDEN / "pixels.npz") as arrays:
        pinned: npt.NDArray[np.uint8] = arrays[name]
    found = native_pixels(name)
    assert found.shape == pinned.shape
    assert np.abs(found.astype(int) - pinned).mean() <= 1


def test_all_operations_of_presets_are_known() -> None:
    used = {op.name for name in DISTINCT_PRESETS for record in records(name)[:200] for op in record.steps}
    assert used <= set(ops.OPS)


def test_psfrgan_draws_the_published_ranges() -> None:
    found = records("psfrgan")
    count = len(found)
    check_share(sum(isinstance(record.steps[0], Gray) and record.target == (Gray(),) for record in found), count, 0.3)
    names = [[op.name for op in record.steps if op.name != "gray"] for record in found]
    blurs = Counter(chain[0] for chain in names if chain[0] != "resize_side")
    check_share(sum(blurs.values()), count, 0.5)
    assert set(blurs) == {"blur", "box_blur", "denoise", "motion_blur"}
    for kind in blurs.values():
        check_share(kind, count, 0.125)
    assert all(chain[-1] == "resize" for chain in names)
    sides = [op.side for record in found for op in record.steps if isinstance(op, ResizeSide)]
    assert len(sides) == count
    assert 32 <= min(sides) < 40 < 240 < max(sides) <= 255
    assert np.mean(sides) == pytest.approx(143.5, abs=8)
    medians = {op.strength for record in found for op in record.steps if isinstance(op, Denoise)}
    assert medians <= {3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0}
    assert len(medians) >= 5
    check_share(sum("gaussian_noise" in chain for chain in names), count, 0.2)
    qualities = [op.quality for record in found for op in record.steps if isinstance(op, Jpeg)]
    check_share(len(qualities), count, 0.7)
    assert 35 <= min(qualities) <= 37
    assert 88 <= max(qualities) <= 90


def test_hifacegan_does_all_four_in_any_order() -> None:
    found = records("hifacegan")
    back = Resize(scale=1.0, filter="cubic")
    kinds = {"blur": "blur", "motion_blur": "blur", "gaussian_noise": "noise", "jpeg": "jpeg", "resize": "resize"}
    orders = Counter(tuple(dict.fromkeys(kinds[op.name] for op in record.steps if op != back)) for record in found)
    assert len(orders) == 24
    for count in orders.values():
        check_share(count, len(found), 1 / 24)
    scales = [op.scale for record in found for op in record.steps if isinstance(op, Resize) and op.scale != 1]
    assert len(scales) == len(found)
    assert 4 <= min(scales) <= max(scales) <= 8
    assert all(15 <= op.quality <= 50 for record in found for op in record.steps if isinstance(op, Jpeg))


def test_bsrgan_plus_shuffles_all_in_one_of_two_and_ends_in_a_file_of_a_quarter() -> None:
    found = records("bsrgan-plus")
    for record in found:
        quarter, jpeg, full = record.steps[-3:]
        assert isinstance(quarter, Resize)
        assert quarter.scale == 4
        assert isinstance(jpeg, Jpeg)
        assert full == Resize(scale=1.0, filter="cubic")
        names = [op.name for op in record.steps[:-3]]
        assert names.count("blur") == 2
        assert names.count("jpeg") == 1
        assert names.count("rescale") <= 2
        assert names.count("gaussian_noise") + names.count("covariance_noise") == 2
    first = sum(record.steps[0].name == "blur" for record in found)
    check_share(first, len(found), 0.5 + 0.5 * 2 / 7.2)  # of 11 steps some are left out by chance
    speckled = sum(op.name == "speckle_noise" for record in found for op in record.steps)
    check_share(speckled, 2 * len(found), 0.1)
