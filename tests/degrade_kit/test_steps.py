from __future__ import annotations

import collections
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit import ops
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.folder import PHOTOS, folder_digest
from degrade_kit.kernels import full_size
from degrade_kit.steps import (
    KERNEL_KINDS,
    STEPS,
    Drawn,
    OneOf,
    Option,
    RandomBlur,
    RandomColorJitter,
    RandomColorShift,
    RandomCovarianceNoise,
    RandomDecimate,
    RandomGaussianNoise,
    RandomGray,
    RandomHaze,
    RandomJpeg,
    RandomMotionBlur,
    RandomPoissonNoise,
    RandomResize,
    RandomShift,
    RandomSincBlur,
    RandomWebP,
    Shuffle,
    Step,
    Uneven,
)

EXAMPLES: dict[str, dict[str, Any]] = {
    "blur": {"sigma": (1, 2)},
    "sinc_blur": {"support": 7},
    "motion_blur": {"length": (0, 9)},
    "resize": {"scale": (1, 4)},
    "decimate": {"factor": 2, "sigma": (0.1, 1)},
    "gaussian_noise": {"level": (0, 9)},
    "covariance_noise": {},
    "poisson_noise": {"scale": (0, 1)},
    "impulse_noise": {"share": (0.01, 0.1)},
    "uniform_noise": {"level": (0, 9)},
    "speckle_noise": {"level": (0, 0.1)},
    "box_blur": {"side": (1, 9)},
    "jpeg": {"quality": (30, 90)},
    "webp": {"quality": (30, 90)},
    "avif": {"quality": (30, 90)},
    "heic": {"quality": (30, 90)},
    "video": {"crf": (18, 40)},
    "repost": {},
    "enlarge": {"factor": (1, 2)},
    "ai_upscale": {},
    "tone": {},
    "defocus": {"radius": (0, 4)},
    "camera_shake": {"length": (0, 9)},
    "isp": {},
    "denoise": {},
    "sharpen": {},
    **{
        name: {}
        for name in (
            *("low_light", "rain", "snow", "depth_haze", "glare"),
            *("scratches", "creases", "dust", "fade", "sepia", "film_grain", "halftone"),
            *("aberration", "pixelate", "interference"),
            *("perlin_noise", "correlated_noise", "halo", "outline", "levels", "channel_shift", "chroma_subsampling"),
            *("dither", "uneven_light", "vignette", "reflection", "lens_distortion", "occlusion"),
            *("screen_capture", "banding", "palette", "interlace", "watermark"),
        )
    },
    "photo_frame": {"side": (64, 224)},
    "bank": {"file": "press-photo"},
    "flipnet": {"digest": folder_digest(PHOTOS)},
    "color_shift": {},
    "color_jitter": {},
    "gray": {},
    "haze": {"alpha": (0.5, 1)},
    "shift": {},
    "shuffle": {"steps": (RandomGray(), RandomJpeg(quality=(50, 50)))},
    "one_of": {"options": (Option(weight=1, steps=(RandomGray(),)),)},
    "uneven": {"steps": (RandomGray(),), "square_prob": 0.5},
}
"""The least that each step needs."""


def example(name: str, **changes: Any) -> Step:  # noqa: ANN401 (whatever a step takes)
    return STEPS[name](**{**EXAMPLES[name], **changes})


def draws(step: Step, count: int = 1000, seed: int = 0) -> list[tuple[ops.Op, ...]]:
    rng = np.random.default_rng(seed)
    drawn: list[tuple[ops.Op, ...]] = []
    for _ in range(count):
        into = Drawn()
        step.draw(rng, into)
        drawn.append(tuple(into.steps))
    return drawn


def only(step: Step, count: int = 1000) -> list[Any]:
    """The one operation of each of `count` draws."""
    drawn = draws(step, count)
    assert all(len(found) == 1 for found in drawn)
    return [found[0] for found in drawn]


def check_uniform(values: Sequence[float], low: float, high: float) -> None:
    """Within the range, at both of its ends, with the mean and spread of a uniform draw, each to four deviations."""
    count, width = len(values), high - low
    assert low <= min(values) <= low + 10 / count * width
    assert high - 10 / count * width <= max(values) <= high
    assert abs(np.mean(values) - (low + high) / 2) < 4 * width / math.sqrt(12 * count)
    assert abs(np.std(values) - width / math.sqrt(12)) < 4 * width / math.sqrt(100 * count)


def check_share(hits: int, count: int, prob: float) -> None:
    assert abs(hits / count - prob) <= 4 * math.sqrt(prob * (1 - prob) / count) + 1e-12, f"{hits} of {count}"


def test_every_step_has_an_example() -> None:
    assert set(EXAMPLES) == set(STEPS)
    assert all(STEPS[name].name == name for name in STEPS)


# -------------------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_the_same_generator_draws_the_same(name: str) -> None:
    assert draws(example(name), 50, seed=3) == draws(example(name), 50, seed=3)
    if name not in ("gray", "one_of"):
        assert draws(example(name), 50, seed=3) != draws(example(name), 50, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_a_step_happens_with_its_probability(name: str) -> None:
    count = 2000
    for prob in (0.0, 0.3, 1.0):
        happened = sum(len(found) > 0 for found in draws(example(name, prob=prob), count))
        check_share(happened, count, prob)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_what_is_certain_costs_no_number(name: str) -> None:
    """A recipe that gains `prob: 1` draws as before."""
    assert draws(example(name, prob=1.0), 20) == draws(example(name), 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_only_uniform_numbers_are_taken_from_the_generator(name: str) -> None:
    """NumPy promises the stream of `random` alone."""

    class Uniform:
        def __init__(self) -> None:
            self.inner = np.random.default_rng(0)

        def random(self, size: int | None = None) -> Any:  # noqa: ANN401 (as NumPy's)
            return self.inner.random(size)

    rng: Any = Uniform()
    for _ in range(50):
        example(name).draw(rng, Drawn())


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_drawn_numbers_are_plain(name: str) -> None:
    """No NumPy scalars: they would print otherwise in a record."""

    def check(value: object) -> None:
        if isinstance(value, tuple):
            for inner in value:
                check(inner)
        elif type(value) in ops.OPS.values():
            for key in value.__dataclass_fields__:  # pyright: ignore[reportAttributeAccessIssue]
                check(getattr(value, key))
        else:
            assert type(value) in (int, float, bool, str), repr(value)

    for found in draws(example(name), 50):
        check(found)


@pytest.mark.parametrize(
    ("step", "value", "low", "high"),
    [
        (RandomBlur(sigma=(0.5, 7)), "sigma_x", 0.5, 7),
        (RandomBlur(sigma=(0.5, 7), kernels={"aniso": 1}), "sigma_y", 0.5, 7),
        (RandomBlur(sigma=(1, 1), kernels={"aniso": 1}), "rotation", -math.pi, math.pi),
        (RandomBlur(sigma=(1, 1), kernels={"plateau_aniso": 1}, rotation=(0, 1)), "rotation", 0, 1),
        (RandomBlur(variance=(1, 9), kernels={"aniso": 1}), lambda op: op.sigma_x**2, 1, 9),
        (RandomBlur(variance=(1, 9), kernels={"aniso": 1}), lambda op: op.sigma_y**2, 1, 9),
        (RandomSincBlur(support=7), "cutoff", math.pi / 3, math.pi),
        (RandomMotionBlur(length=(2, 30)), "length", 2, 30),
        (RandomMotionBlur(length=(5, 5)), "angle", 0, math.pi),
        (RandomResize(scale=(0.8, 32)), "scale", 0.8, 32),
        (RandomResize(factor=(0.15, 1.5)), lambda op: 1 / op.scale, 0.15, 1.5),
        (RandomDecimate(factor=4, sigma=(0.1, 2.4)), "sigma", 0.1, 2.4),
        (RandomGaussianNoise(level=(1, 20)), "level", 1, 20),
        (RandomPoissonNoise(scale=(0.05, 3)), "scale", 0.05, 3),
        (RandomColorShift(limit=20), "red", -20, 20),
        (RandomColorShift(limit=20), "green", -20, 20),
        (RandomColorShift(limit=20), "blue", -20, 20),
        (RandomColorJitter(), "brightness", 0.5, 1.5),
        (RandomColorJitter(), "contrast", 0.5, 1.5),
        (RandomColorJitter(), "saturation", 0, 1.5),
        (RandomColorJitter(), "hue", -0.1, 0.1),
        (RandomHaze(alpha=(0.75, 0.95)), "alpha", 0.75, 0.95),
        (Uneven(steps=(RandomGray(),), square_prob=1, side=(0.25, 0.5)), "side", 0.25, 0.5),
        (Uneven(steps=(RandomGray(),), square_prob=1), "left", 0, 1),
        (Uneven(steps=(RandomGray(),), square_prob=1), "top", 0, 1),
    ],
)
def test_ranges_are_drawn_evenly(step: Step, value: str | Callable[[Any], float], low: float, high: float) -> None:
    found = only(step, 2000)
    check_uniform([getattr(op, value) if isinstance(value, str) else value(op) for op in found], low, high)


@pytest.mark.parametrize(
    ("step", "value", "expected"),
    [
        (RandomJpeg(quality=(93, 95)), "quality", (93, 94, 95)),
        (RandomJpeg(quality=(30.5, 33.2)), "quality", (31, 32, 33)),
        (RandomWebP(quality=(1, 2)), "quality", (1, 2)),
        (RandomGaussianNoise(level=(2, 4), whole=True), "level", (2.0, 3.0, 4.0)),
        (RandomBlur(sigma=(1, 1), support=(7, 9, 11)), "size", (7, 9, 11)),
        (RandomSincBlur(support=(7, 9)), "size", (7, 9)),
        (RandomResize(scale=(2, 2), filter=("area", "cubic")), "filter", ("area", "cubic")),
        (RandomBlur(sigma=(1, 1), kernels=dict.fromkeys(KERNEL_KINDS, 1)), "kernel", KERNEL_KINDS),
        (RandomGaussianNoise(level=(1, 1), gray_prob=0.5), "gray", (True, False)),
        (RandomShift(limit=1), "right", (-1, 0, 1)),
        (RandomShift(limit=1), "down", (-1, 0, 1)),
    ],
)
def test_choices_are_equally_likely_ends_included(step: Step, value: str, expected: tuple[object, ...]) -> None:
    counts = collections.Counter(getattr(op, value) for op in only(step, 2000))
    assert set(counts) == set(expected)
    for count in counts.values():
        check_share(count, 2000, 1 / len(expected))


def test_choices_of_one_draw_are_independent() -> None:
    found = only(RandomShift(limit=8), 3000)
    assert abs(np.corrcoef([op.right for op in found], [op.down for op in found])[0, 1]) < 4 / math.sqrt(3000)
    found = only(RandomBlur(sigma=(0, 9), kernels={"aniso": 1}), 3000)
    assert abs(np.corrcoef([op.sigma_x for op in found], [op.sigma_y for op in found])[0, 1]) < 4 / math.sqrt(3000)


@pytest.mark.parametrize(
    "step",
    [
        example("blur", sigma=3),
        example("resize", scale=4),
        example("gaussian_noise", level=7),
        example("jpeg", quality=40),
        example("haze", alpha=0.5),
        example("sinc_blur", cutoff=1.25),
    ],
)
def test_one_number_stands_for_both_ends(step: Step) -> None:
    assert len(set(only(step, 20))) == 1


def test_weights_need_not_sum_to_one() -> None:
    found = only(RandomBlur(sigma=(1, 1), kernels={"iso": 6, "aniso": 3, "plateau_iso": 0, "plateau_aniso": 1}), 3000)
    counts = collections.Counter(op.kernel for op in found)
    assert set(counts) == {"iso", "aniso", "plateau_aniso"}
    for kind, share in (("iso", 0.6), ("aniso", 0.3), ("plateau_aniso", 0.1)):
        check_share(counts[kind], 3000, share)


@pytest.mark.parametrize("kind", KERNEL_KINDS)
def test_only_numbers_that_a_kernel_kind_uses_are_drawn(kind: ops.KernelKind) -> None:
    for op in only(RandomBlur(sigma=(1, 9), kernels={kind: 1}), 100):
        assert (op.sigma_x == op.sigma_y) == (not kind.endswith("aniso"))
        assert (op.rotation == 0) == (not kind.endswith("aniso"))
        if kind in ("iso", "aniso"):
            assert op.beta == 1


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("generalized_iso", 0.5, 4.0), ("generalized_aniso", 0.5, 4.0), ("plateau_iso", 1.0, 2.0)]
)
def test_half_of_the_betas_lie_below_one_half_above(kind: ops.KernelKind, low: float, high: float) -> None:
    betas = [op.beta for op in only(RandomBlur(sigma=(1, 1), kernels={kind: 1}), 2000)]
    above = [beta for beta in betas if beta > 1]
    check_share(len(above), 2000, 0.5)
    check_uniform(above, 1, high)
    rest = [beta for beta in betas if beta <= 1]
    if low < 1:
        check_uniform(rest, low, 1)
    else:
        assert set(rest) == {1.0}


def test_full_support_fits_the_wider_sigma() -> None:
    for op in only(RandomBlur(sigma=(0.1, 15), kernels={"iso": 1, "aniso": 1}, support="full"), 200):
        assert op.size == full_size(max(op.sigma_x, op.sigma_y))


def test_motion_kernels_hold_their_path() -> None:
    for op in only(RandomMotionBlur(length=(0, 200)), 300):
        assert op.size % 2 == 1
        assert op.length <= op.size <= op.length + 3


@pytest.mark.parametrize(("before", "unit"), [(4.0, 4.0), (0.8, 1.0), (1.0, 1.0)])
def test_sigma_may_count_pixels_of_the_full_size(before: float, unit: float) -> None:
    chain = Shuffle(
        steps=(RandomResize(scale=(before, before)), RandomBlur(sigma=(6, 6), full_size_pixels=True, support="full")),
        in_order=(0, 1),
    )
    for resize, blur in draws(chain, 5):
        assert isinstance(resize, ops.Resize)
        assert isinstance(blur, ops.Blur)
        assert blur.sigma_x == 6 / unit
        assert blur.size == full_size(6 / unit)
    decimated = Shuffle(
        steps=(RandomDecimate(factor=3, sigma=(1, 1)), RandomBlur(sigma=(6, 6), full_size_pixels=True)), in_order=(0, 1)
    )
    assert {found[1].sigma_x for found in draws(decimated, 5) if isinstance(found[1], ops.Blur)} == {2.0}


def test_cubic_resizes_clip_if_asked() -> None:
    step = RandomResize(scale=(2, 2), filter=("linear", "cubic", "area", "cubic_aa"), clip=True)
    for resize, *rest in draws(step, 100):
        assert isinstance(resize, ops.Resize)
        assert rest == ([ops.Clip()] if resize.filter.startswith("cubic") else [])


def test_covariances_are_symmetric_within_their_level_and_vary() -> None:
    found = [np.reshape(op.covariance, (3, 3)) for op in only(RandomCovarianceNoise(level=25), 500)]
    for covariance in found:
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
        assert covariance.min() >= 0
        assert np.diag(covariance).max() <= 25**2 * (1 + 1e-9)
    # The trace is that of the diagonal matrix of three uniform numbers.
    assert np.mean([np.trace(covariance) for covariance in found]) == pytest.approx(1.5 * 625, rel=0.08)


def test_shift_and_gray_reach_the_target_where_asked() -> None:
    for step, expected in ((RandomShift(limit=9), True), (RandomGray(target=True), True), (RandomGray(), False)):
        drawn = Drawn()
        step.draw(np.random.default_rng(0), drawn)
        assert drawn.target == (drawn.steps if expected else [])


def test_a_shift_of_colours_may_be_the_same_for_all() -> None:
    rng, drawn = np.random.default_rng(3), Drawn()
    for _ in range(200):
        RandomColorShift(limit=20, gray_prob=0.5).draw(rng, drawn)
    shifts = [(op.red, op.green, op.blue) for op in drawn.steps if isinstance(op, ops.ColorShift)]
    gray = [shift for shift in shifts if len(set(shift)) == 1]
    assert (len(shifts), 70 < len(gray) < 130) == (200, True)
    assert min(gray)[0] < -15 < 15 < max(gray)[0]


def test_jitter_orders_are_all_permutations_alike() -> None:
    counts = collections.Counter(op.order for op in only(RandomColorJitter(), 4800))
    assert len(counts) == 24
    assert all(sorted(order) == ["brightness", "contrast", "hue", "saturation"] for order in counts)
    for count in counts.values():
        check_share(count, 4800, 1 / 24)


# ------------------------------------------------------------------------------------------------------------ structure

LETTERS = (RandomGray(), RandomHaze(alpha=(1, 1)), RandomJpeg(quality=(1, 1)), RandomWebP(quality=(1, 1)))


def test_shuffles_are_all_permutations_alike() -> None:
    counts = collections.Counter(tuple(op.name for op in found) for found in draws(Shuffle(steps=LETTERS), 4800))
    assert len(counts) == 24
    for count in counts.values():
        check_share(count, 4800, 1 / 24)


@pytest.mark.parametrize("in_order", [(0, 1), (1, 3), (3, 1), (0, 1, 2), (0, 1, 2, 3), (2,), ()])
def test_positions_in_order_keep_it_and_the_rest_stays_even(in_order: tuple[int, ...]) -> None:
    counts = collections.Counter(
        tuple(op.name for op in found) for found in draws(Shuffle(steps=LETTERS, in_order=in_order), 2400)
    )
    kept = [LETTERS[position].name for position in sorted(in_order)]
    for order in counts:
        assert sorted(order) == sorted(step.name for step in LETTERS)
        assert [name for name in order if name in kept] == kept
    expected = 24 // math.factorial(len(in_order))
    assert len(counts) == expected
    for count in counts.values():
        check_share(count, 2400, 1 / expected)


def test_one_of_follows_its_weights_and_runs_all_steps_of_the_choice() -> None:
    step = OneOf(
        options=(
            Option(weight=3, steps=(RandomGray(), RandomHaze(alpha=(1, 1)))),
            Option(weight=0, steps=(RandomWebP(quality=(1, 1)),)),
            Option(weight=1, steps=()),
        )
    )
    counts = collections.Counter(tuple(op.name for op in found) for found in draws(step, 2000))
    assert set(counts) == {("gray", "haze"), ()}
    check_share(counts[()], 2000, 0.25)


def test_uneven_draws_each_half_anew() -> None:
    step = Uneven(steps=(RandomHaze(alpha=(0, 1)), RandomJpeg(quality=(1, 100))), square_prob=0.4)
    found = draws(step, 1000)
    squares = [drawn[0] for drawn in found if isinstance(drawn[0], ops.Uneven)]
    check_share(len(squares), 1000, 0.4)
    assert all(tuple(op.name for op in drawn) in (("uneven",), ("haze", "jpeg")) for drawn in found)
    for square in squares:
        assert tuple(op.name for op in square.inside) == tuple(op.name for op in square.outside) == ("haze", "jpeg")
        assert square.inside != square.outside


# --------------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("name", "key", "value", "limits"),
    [
        ("blur", "sigma", (0, 200.1), "[0, 200]"),
        ("blur", "sigma", -0.1, "[0, 200]"),
        ("blur", "rotation", (-8, 0), "[-7, 7]"),
        ("blur", "beta_generalized", (0, 1), "[0.01, 20]"),
        ("blur", "beta_plateau", (1, 21), "[0.01, 20]"),
        ("blur", "prob", 1.5, "[0, 1]"),
        ("blur", "prob", -0.1, "[0, 1]"),
        ("sinc_blur", "cutoff", (1, 4), "[0.01, 3.1416]"),
        ("motion_blur", "length", (0, 201), "[0, 200]"),
        ("motion_blur", "angle", 9, "[-7, 7]"),
        ("resize", "scale", (0, 4), "[0.1, 512]"),
        ("resize", "scale", 513, "[0.1, 512]"),
        ("decimate", "factor", 0, "[1, "),
        ("decimate", "factor", 2.5, "[1, "),
        ("decimate", "sigma", -1, "[0, "),
        ("gaussian_noise", "level", 256, "[0, 255]"),
        ("gaussian_noise", "gray_prob", 2, "[0, 1]"),
        ("covariance_noise", "level", 256, "[0, 255]"),
        ("poisson_noise", "scale", 21, "[0, 20]"),
        ("jpeg", "quality", (0, 50), "[1, 100]"),
        ("jpeg", "quality", (50, 101), "[1, 100]"),
        ("webp", "quality", 101, "[1, 100]"),
        ("color_shift", "limit", -1, "[0, 255]"),
        ("color_jitter", "hue", (-0.6, 0), "[-0.5, 0.5]"),
        ("color_jitter", "contrast", 11, "[0, 10]"),
        ("haze", "alpha", 1.1, "[0, 1]"),
        ("shift", "limit", 257, "[0, 256]"),
        ("uneven", "square_prob", 7, "[0, 1]"),
        ("uneven", "side", (0, 0.5), "[0.01, 1]"),
    ],
)
def test_a_number_out_of_range_names_key_limits_and_value(name: str, key: str, value: object, limits: str) -> None:
    with pytest.raises(ConfigError) as caught:
        example(name, **{key: value})
    message = str(caught.value)
    assert message.startswith(f"{name}.{key}: expected ")
    assert limits in message
    assert message.endswith(f"got {value!r}")


RANGES = [("blur", "sigma"), ("jpeg", "quality"), ("haze", "alpha"), ("resize", "scale"), ("gaussian_noise", "level")]
NUMBERS = [("blur", "prob"), ("covariance_noise", "level"), ("color_shift", "limit"), ("uneven", "square_prob")]
WHOLES = [("decimate", "factor"), ("shift", "limit")]
NOT_NUMBERS = [True, False, "3", None, math.nan, math.inf, -math.inf, {}, [], 1j, b"1"]


@pytest.mark.parametrize(("name", "key"), RANGES + NUMBERS + WHOLES)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused(name: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        example(name, **{key: value})


@pytest.mark.parametrize(("name", "key"), RANGES)
@pytest.mark.parametrize(
    "value", [(1, 2, 3), (1,), [True, 2], ["1", 2], [None, 1], [1, math.nan], [-math.inf, 1]], ids=repr
)
def test_what_is_no_range_is_refused(name: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected a number or \\[min, max\\]"):
        example(name, **{key: value})


@pytest.mark.parametrize(("name", "key"), RANGES)
def test_a_range_upside_down_is_refused(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: .* with min <= max, got"):
        example(name, **{key: (0.9, 0.8)})


@pytest.mark.parametrize(("name", "key"), RANGES + NUMBERS + WHOLES)
def test_an_endless_whole_number_is_refused(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected"):
        example(name, **{key: 10**400})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("jpeg", {"quality": (30.2, 30.8)}),
        ("webp", {"quality": 1.5}),
        ("gaussian_noise", {"level": (0.2, 0.8), "whole": True}),
    ],
)
def test_a_range_without_a_whole_number_is_refused_where_one_is_drawn(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        example(name, **changes)


@pytest.mark.parametrize("name", ["blur", "sinc_blur"])
@pytest.mark.parametrize("value", [40, 0, -1, 257, 41.0, True, "all", None, (), [7, 8], [[7]], (7, "full")], ids=repr)
def test_a_kernel_size_is_odd(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"support: expected an odd number within \[1, 255\], several in a list"):
        example(name, support=value)


def test_sinc_has_no_full_size() -> None:
    with pytest.raises(ConfigError, match="support: expected an odd number"):
        example("sinc_blur", support="full")


@pytest.mark.parametrize(
    ("name", "key", "value", "known"),
    [
        ("blur", "kernels", "skew", "iso, aniso, generalized_iso"),
        ("blur", "kernels", {"skew": 1}, "iso, aniso, generalized_iso"),
        ("blur", "kernels", {}, "iso, aniso"),
        ("blur", "kernels", [], "iso, aniso"),
        ("blur", "kernels", 3, "iso, aniso"),
        ("blur", "kernels", [["iso"]], "iso, aniso"),
        ("resize", "filter", "nearest", "linear, cubic, area, cubic_aa"),
        ("resize", "filter", ["linear", "nearest"], "linear, cubic, area, cubic_aa"),
        ("resize", "filter", [], "linear, cubic, area, cubic_aa"),
        ("resize", "filter", None, "linear, cubic, area, cubic_aa"),
        ("resize", "filter", [{}], "linear, cubic, area, cubic_aa"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, key: str, value: object, known: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected one or more of {known}"):
        example(name, **{key: value})


@pytest.mark.parametrize("weights", [{"iso": -1}, {"iso": True}, {"iso": "1"}, {"iso": math.inf}, {"iso": None}])
def test_a_weight_is_a_positive_number(weights: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"kernels.iso: expected a number within \[0, 1e\+06\]"):
        example("blur", kernels=weights)


def test_some_weight_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="kernels: expected a positive weight"):
        example("blur", kernels={"iso": 0, "aniso": 0})
    with pytest.raises(ConfigError, match="options: expected a positive weight"):
        OneOf(options=(Option(weight=0, steps=(RandomGray(),)),))


@pytest.mark.parametrize(("name", "key"), [("resize", "clip"), ("gaussian_noise", "whole"), ("gray", "target")])
@pytest.mark.parametrize("value", [1, 0, "true", None, 0.5])
def test_a_flag_is_true_or_false(name: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected true or false, got"):
        example(name, **{key: value})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("blur", {"sigma": None}),
        ("blur", {"variance": (1, 2)}),
        ("resize", {"scale": None}),
        ("resize", {"factor": (0.5, 1)}),
    ],
)
def test_exactly_one_of_two_ways_to_say_it(name: str, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected exactly one of"):
        example(name, **changes)


@pytest.mark.parametrize("name", ["shuffle", "uneven"])
@pytest.mark.parametrize("value", [(), [], None, "gray", RandomGray(), ["gray"], [RandomGray(), 3], {}], ids=repr)
def test_inner_steps_are_steps(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"steps: expected (a list of steps|at least one step)"):
        example(name, steps=value)


@pytest.mark.parametrize("value", [(), None, 5, [RandomGray()], {}], ids=repr)
def test_options_are_options(value: object) -> None:
    with pytest.raises(ConfigError, match="options: expected a list of `weight` and `steps`"):
        example("one_of", options=value)


@pytest.mark.parametrize("value", [(2,), (0, 7)])
def test_positions_lie_among_the_steps(value: object) -> None:
    with pytest.raises(ConfigError, match="in_order: expected positions below 2"):
        example("shuffle", in_order=value)


@pytest.mark.parametrize("value", [(-1,), (0.5,), (True,), ("0",), 0, None])
def test_positions_are_whole_numbers_in_a_list(value: object) -> None:
    with pytest.raises(ConfigError, match="in_order: expected"):
        example("shuffle", in_order=value)


@pytest.mark.slow
@given(low=st.floats(0, 100), high=st.floats(0, 100))
def test_ranges_are_kept_as_two_floats(low: float, high: float) -> None:
    low, high = sorted((low, high))
    step = RandomBlur(sigma=[low, high])  # pyright: ignore[reportArgumentType] (as YAML gives it)
    assert step.sigma == (low, high)
    assert repr(step.sigma) == repr((float(low), float(high)))
