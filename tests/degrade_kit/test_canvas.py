from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit import canvas as canvas_module
from degrade_kit import kernels, ops
from degrade_kit.canvas import Canvas, Convolution, Encoded, Separable
from degrade_kit.linear import FILTERS, AxisBlur, AxisResize, Filter, Planes
from degrade_kit.presets import PRESETS
from degrade_kit.seeding import generator
from tests import naive
from tests.distinct import DISTINCT_PRESETS
from tests.strategies import images

Pixels = npt.NDArray[np.uint8]

WITHIN = 0.01
"""Levels of 255 that a linear chain may differ from the naive one."""

SEAT = ops.Seat(0, ())
LINEAR = (ops.Blur, ops.SincBlur, ops.MotionBlur, ops.Resize, ops.Decimate)
KINDS: tuple[ops.KernelKind, ...] = (
    *("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"),
)


def random_pixels(height: int, width: int) -> Pixels:
    """Noise: the hardest image for a filter to get right."""
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def difference(steps: tuple[ops.Op, ...], pixels: Pixels) -> float:
    """Largest difference of a chain from the naive one, levels."""
    canvas = Canvas(pixels=pixels)
    ops.run_all(steps, canvas, SEAT)
    found = canvas.planes().transpose(1, 2, 0)
    expected = naive.run(steps, pixels.astype(np.float32), 0)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert (canvas.height, canvas.width) == found.shape[:2]
    return float(np.abs(found - expected).max())


@st.composite
def linear_ops(draw: st.DrawFn) -> ops.Op:
    kind = draw(st.sampled_from(["blur", "sinc", "motion", "resize", "decimate"]))
    if kind == "blur":
        kernel = draw(st.sampled_from(KINDS))
        sigma = st.floats(0, 8)
        sigma_x = draw(sigma)
        return ops.Blur(
            kernel=kernel,
            size=2 * draw(st.integers(0, 20)) + 1,
            sigma_x=sigma_x,
            sigma_y=draw(sigma) if kernel.endswith("aniso") else sigma_x,
            rotation=draw(st.floats(-3.2, 3.2)) if kernel.endswith("aniso") else 0.0,
            beta=1.0 if kernel in ("iso", "aniso") else draw(st.floats(0.5, 4)),
        )
    if kind == "sinc":
        return ops.SincBlur(size=2 * draw(st.integers(0, 12)) + 1, cutoff=draw(st.floats(0.5, 3.1)))
    if kind == "motion":
        return ops.MotionBlur(size=15, length=draw(st.floats(0, 15)), angle=draw(st.floats(0, 3.2)))
    if kind == "resize":
        scale = draw(st.sampled_from([1.0, 2.0, 4.0]) | st.floats(0.7, 20))
        return ops.Resize(scale=scale, filter=draw(st.sampled_from(FILTERS)))
    return ops.Decimate(factor=draw(st.integers(1, 4)), sigma=draw(st.floats(0.1, 2)))


@pytest.mark.slow
@given(steps=st.lists(linear_ops(), min_size=1, max_size=4), image=images(min_side=1, max_side=48))
def test_any_linear_chain_is_the_naive_one(steps: list[ops.Op], image: npt.NDArray[np.float32]) -> None:
    assert difference(tuple(steps), np.rint(image * 255).astype(np.uint8)) < WITHIN


@pytest.mark.slow
@given(steps=st.lists(linear_ops(), min_size=1, max_size=4), level=st.integers(0, 255))
def test_linear_chains_leave_a_flat_colour_alone(steps: list[ops.Op], level: int) -> None:
    canvas = Canvas(pixels=np.full((37, 41, 3), level, np.uint8))
    ops.run_all(tuple(steps), canvas, SEAT)
    np.testing.assert_allclose(canvas.planes(), level, atol=2e-3)


@pytest.mark.slow
@given(steps=st.lists(linear_ops(), min_size=1, max_size=3), gain=st.floats(-1, 1), offset=st.floats(0, 100))
def test_linear_chains_are_linear(steps: list[ops.Op], gain: float, offset: float) -> None:
    start = np.ascontiguousarray(random_pixels(29, 24).transpose(2, 0, 1), np.float32)
    results: list[Planes] = []
    for planes in (start, start * np.float32(gain) + np.float32(offset)):
        canvas = Canvas(planes=planes)
        ops.run_all(tuple(steps), canvas, SEAT)
        results.append(canvas.planes())
    np.testing.assert_allclose(results[1], results[0] * gain + offset, atol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTINCT_PRESETS)
def test_linear_parts_of_presets_are_the_naive_ones(name: str, astronaut: Pixels) -> None:
    """All blurs and resizes of a record, one after the other, on a photograph."""
    found: dict[str, float] = {}
    for variant in range(5):
        record = PRESETS[name].draw(generator(3, "linear", variant))
        steps = tuple(op for op in record.steps if isinstance(op, LINEAR))
        if steps:
            found[repr(steps)] = difference(steps, astronaut)
    assert found
    assert max(found.values()) < WITHIN, max(found, key=lambda steps: found[steps])


@pytest.mark.parametrize("kernel", KINDS)
@pytest.mark.parametrize("size", [1, 7, 21, 41])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 2), (16, 50), (300, 260)])
def test_blurs_equal_opencvs_filter2d_at_any_size(kernel: ops.KernelKind, size: int, height: int, width: int) -> None:
    sigma_y, rotation = (1.5, 0.6) if kernel.endswith("aniso") else (4.0, 0.0)
    blur = ops.Blur(kernel=kernel, size=size, sigma_x=4.0, sigma_y=sigma_y, rotation=rotation, beta=0.8)
    assert difference((blur,), random_pixels(height, width)) < WITHIN


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("scale", [1.0, 1.01, 2.0, 3.7, 64.0, 1000.0])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (64, 64), (16, 50), (300, 260)])
def test_resizes_equal_opencvs_at_any_size(filter: Filter, scale: float, height: int, width: int) -> None:
    assert difference((ops.Resize(scale=scale, filter=filter),), random_pixels(height, width)) < WITHIN


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("scale", [0.99, 0.8, 0.5, 0.31])
def test_enlarging_resizes_equal_opencvs(filter: Filter, scale: float) -> None:
    assert difference((ops.Resize(scale=scale, filter=filter),), random_pixels(40, 64)) < WITHIN


class NotThisWay(AssertionError):
    """The path that a test rules out was taken."""


def not_this_way(*_: object, **__: object) -> None:
    raise NotThisWay


PATHS = {
    # The cost that decides, how it is set, and the function that must not be called then.
    "direct": ("_matrix_cost", 1e99, "apply_matrices"),
    "matrix": ("_direct_cost", 1e99, "_apply_directly"),
}
SEPARABLE_CHAINS: dict[str, tuple[ops.Op, ...]] = {
    "blur": (ops.Blur(sigma_x=3.0, sigma_y=3.0),),
    "shrink": (ops.Resize(scale=3.3),),
    "enlarge": (ops.Resize(scale=0.7, filter="cubic"),),
    "blur and shrink": (ops.Blur(sigma_x=9.0, sigma_y=9.0), ops.Resize(scale=5.1)),
    "area": (ops.Blur(sigma_x=1.0, sigma_y=1.0), ops.Resize(scale=9.0, filter="area"), ops.Resize(scale=1.0)),
    "there and back": (
        ops.Blur(sigma_x=2.0, sigma_y=2.0),
        ops.Resize(scale=4.0, filter="cubic"),
        ops.Blur(sigma_x=5.0, sigma_y=5.0, size=21),
        ops.Resize(scale=1.0),
    ),
}


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("chain", list(SEPARABLE_CHAINS))
@pytest.mark.parametrize(("height", "width"), [(2, 3), (31, 17), (250, 320), (320, 320)])
def test_both_ways_of_separable_chains_are_the_naive_one(
    path: str, chain: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, value, other = PATHS[path]
    monkeypatch.setattr(canvas_module, cost, lambda *_, **__: value)
    monkeypatch.setattr(canvas_module, other, not_this_way)
    assert difference(SEPARABLE_CHAINS[chain], random_pixels(height, width)) < WITHIN


CONVOLUTION_CHAINS: dict[str, tuple[ops.Op, ...]] = {
    "aniso": (ops.Blur(kernel="aniso", sigma_x=8.0, sigma_y=2.0, rotation=0.7),),
    "aniso and shrink": (
        ops.Blur(kernel="aniso", sigma_x=5.0, sigma_y=1.0, rotation=-2.0),
        ops.Resize(scale=3.1, filter="area"),
    ),
    "iso, sinc and decimate": (
        ops.Blur(sigma_x=1.0, sigma_y=1.0),
        ops.SincBlur(size=21, cutoff=2.0),
        ops.Decimate(factor=2, sigma=0.8),
    ),
    "two in a row": (ops.SincBlur(size=9, cutoff=1.5), ops.MotionBlur(size=13, length=12.0, angle=0.5)),
    "steep": (ops.Blur(kernel="aniso", sigma_x=0.1, sigma_y=9.0, rotation=0.4),),
    "there and back": (ops.Resize(scale=2.0), ops.SincBlur(size=13, cutoff=1.1), ops.Resize(scale=1.0, filter="cubic")),
}


@pytest.mark.parametrize(
    ("path", "chain"),
    [
        *itertools.product(["low rank"], CONVOLUTION_CHAINS),
        # OpenCV decimates nothing, so a decimation is always multiplied, with what stands before it.
        *itertools.product(["fourier"], [chain for chain in CONVOLUTION_CHAINS if "decimate" not in chain]),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(2, 3), (31, 17), (250, 320)])
def test_both_ways_of_convolutions_are_the_naive_one(
    path: str, chain: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "low rank":
        monkeypatch.setattr(canvas_module, "_NS_PER_FOURIER", 1e99)
        monkeypatch.setattr(canvas_module, "convolve_fourier", not_this_way)
    else:
        monkeypatch.setattr(canvas_module, "_NS_PER_FOURIER", -1e99)
        monkeypatch.setattr(canvas_module, "separable_terms", not_this_way)
    assert difference(CONVOLUTION_CHAINS[chain], random_pixels(height, width)) < WITHIN


@pytest.mark.slow
def test_all_four_ways_are_in_use(astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs leave none of them aside; a way that is never taken would be dead weight."""
    taken: set[str] = set()
    for name in ("_apply_directly", "apply_matrices", "compose_terms", "convolve_fourier"):
        function = getattr(canvas_module, name)

        def noted(*args: Any, _name: str = name, _function: Any = function, **kwargs: Any) -> Any:  # noqa: ANN401
            taken.add(_name)
            return _function(*args, **kwargs)

        monkeypatch.setattr(canvas_module, name, noted)
    for variant in range(12):
        for preset in ("gfpgan", "real-esrgan"):
            canvas = Canvas(pixels=astronaut)
            record = PRESETS[preset].draw(generator(0, "a", variant))
            ops.run_all(tuple(op for op in record.steps if isinstance(op, LINEAR)), canvas, SEAT)
            canvas.planes()
    assert taken == {"_apply_directly", "apply_matrices", "compose_terms", "convolve_fourier"}


def blob(centre: tuple[float, float], side: int = 96) -> Planes:
    y, x = np.mgrid[:side, :side]
    spot = 200 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 72)
    return np.repeat(spot[None].astype(np.float32), 3, axis=0)


def centroid(planes: Planes) -> tuple[float, float]:
    """Centre of mass as shares of height and width, pixel centres at one half."""
    plane = planes[0].astype(np.float64)
    rows, columns = np.arange(plane.shape[0]) + 0.5, np.arange(plane.shape[1]) + 0.5
    y, x = plane.sum(axis=1) @ rows / plane.sum(), plane.sum(axis=0) @ columns / plane.sum()
    return float(y / plane.shape[0]), float(x / plane.shape[1])


@pytest.mark.parametrize(
    "steps",
    [
        (ops.Blur(sigma_x=3.0, sigma_y=3.0),),
        (ops.Blur(kernel="aniso", sigma_x=4.0, sigma_y=1.0, rotation=0.9),),
        (ops.Blur(kernel="plateau_aniso", sigma_x=2.0, sigma_y=1.0, rotation=0.9, beta=2.0, size=11),),
        (ops.SincBlur(size=13, cutoff=1.5),),
        (ops.MotionBlur(size=11, length=9.5, angle=0.4),),
        (ops.Decimate(factor=2, sigma=1.0),),
        (ops.Decimate(factor=4, sigma=1.5),),
        *((ops.Resize(scale=scale, filter=filter),) for scale in (3.0, 2.53, 0.8) for filter in FILTERS),
        (ops.Resize(scale=4.0, filter="area"), ops.Resize(scale=1.0)),
        (ops.Decimate(factor=4, sigma=1.5), ops.Resize(scale=1.0, filter="cubic")),
    ],
)
def test_nothing_moves_the_centroid(steps: tuple[ops.Op, ...]) -> None:
    start = blob((40.7, 53.2))
    canvas = Canvas(planes=start)
    ops.run_all(steps, canvas, SEAT)
    np.testing.assert_allclose(centroid(canvas.planes()), centroid(start), atol=0.05 / 96)


def test_pixels_are_clipped_and_rounded_halves_to_even() -> None:
    planes = np.array([-3.0, 0.5, 1.5, 2.4999, 254.5, 300.0], np.float32).reshape(1, 1, 6).repeat(3, axis=0)
    assert Canvas(planes=planes).pixels()[0, :, 0].tolist() == [0, 0, 2, 2, 254, 255]


@given(image=images())
def test_pixels_come_back_as_they_went_in(image: npt.NDArray[np.float32]) -> None:
    pixels = np.rint(image * 255).astype(np.uint8)
    canvas = Canvas(pixels=pixels)
    assert np.array_equal(canvas.planes(), pixels.transpose(2, 0, 1))
    assert np.array_equal(Canvas(planes=canvas.planes()).pixels(), pixels)


def test_a_canvas_needs_an_image() -> None:
    with pytest.raises(ValueError, match="starts from pixels or from planes"):
        Canvas()


def test_what_a_canvas_is_given_stays_as_it_was() -> None:
    pixels = random_pixels(40, 30)
    planes = pixels.transpose(2, 0, 1).astype(np.float32) * 1.2 - 20
    before = pixels.copy(), planes.copy()
    everything: tuple[ops.Op, ...] = (
        ops.Haze(alpha=0.7),
        ops.ColorShift(red=9.0, green=-9.0, blue=3.0),
        ops.GaussianNoise(level=9.0),
        ops.Clip(),
        ops.Jpeg(quality=50),
    )
    for first in range(len(everything)):
        for canvas in (Canvas(pixels=pixels), Canvas(planes=planes)):
            ops.run_all(everything[first:], canvas, SEAT)
            canvas.pixels()
    assert np.array_equal(pixels, before[0])
    assert np.array_equal(planes, before[1])


def test_forks_do_not_see_each_other() -> None:
    canvas = Canvas(pixels=random_pixels(40, 30))
    ops.run_all((ops.GaussianNoise(level=5.0),), canvas, SEAT)
    before = canvas.planes().copy()
    forks = [canvas.fork(), canvas.fork()]
    for fork, alpha in zip(forks, (0.2, 0.9), strict=True):
        ops.run_all((ops.Haze(alpha=alpha),), fork, SEAT)
    assert np.array_equal(canvas.planes(), before)
    for fork, alpha in zip(forks, (0.2, 0.9), strict=True):
        np.testing.assert_allclose(fork.planes(), before * alpha + 255 * (1 - alpha), atol=1e-3)
    ops.run_all((ops.Haze(alpha=0.5),), canvas, SEAT)
    np.testing.assert_allclose(forks[0].planes(), before * 0.2 + 204, atol=1e-3)


def test_a_fork_knows_the_full_size() -> None:
    canvas = Canvas(pixels=random_pixels(40, 30))
    ops.run_all((ops.Resize(scale=2.0),), canvas, SEAT)
    assert canvas.fork().full_size == (40, 30)


def test_sizes_are_known_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas_module, "_apply", not_this_way)
    canvas = Canvas(pixels=random_pixels(41, 30))
    ops.run_all((ops.Resize(scale=2.0), ops.Decimate(factor=3, sigma=1.0)), canvas, SEAT)
    assert (canvas.height, canvas.width) == (7, 5)
    assert canvas.full_size == (41, 30)
    with pytest.raises(NotThisWay):
        canvas.planes()


def test_a_lossy_file_is_decoded_only_if_anybody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = Canvas(pixels=random_pixels(16, 16))
    monkeypatch.setattr(cv2, "imdecode", not_this_way)
    ops.run_all((ops.Jpeg(quality=40),), canvas, SEAT)
    encoded = canvas.encoded()
    assert encoded is not None
    assert encoded.extension == "jpg"
    assert (canvas.height, canvas.width) == (16, 16)
    with pytest.raises(NotThisWay):
        canvas.pixels()


def test_pixels_of_an_encoded_canvas_are_those_of_its_file() -> None:
    canvas = Canvas(pixels=random_pixels(16, 24))
    ops.run_all((ops.Jpeg(quality=40),), canvas, SEAT)
    encoded = canvas.encoded()
    assert encoded is not None
    decoded = cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(canvas.pixels(), decoded[..., ::-1])
    assert np.array_equal(canvas.planes(), decoded[..., ::-1].transpose(2, 0, 1))
    assert canvas.encoded() == encoded, "looking changes nothing"


@pytest.mark.parametrize(
    "later",
    [
        ops.Blur(sigma_x=1.0, sigma_y=1.0),
        ops.Resize(scale=2.0),
        ops.Haze(alpha=0.9),
        ops.GaussianNoise(level=1.0),
        ops.Gray(),
    ],
)
def test_what_happens_after_a_file_makes_it_no_longer_the_image(later: ops.Op) -> None:
    canvas = Canvas(pixels=random_pixels(16, 24))
    ops.run_all((ops.Jpeg(quality=40), later), canvas, SEAT)
    assert canvas.encoded() is None
    canvas.pixels()
    assert canvas.encoded() is None


def test_a_file_replaces_what_was_there() -> None:
    canvas = Canvas(pixels=random_pixels(8, 8))
    done, data = cv2.imencode(".png", np.full((8, 8, 3), (1, 2, 3), np.uint8))
    assert done
    canvas.set_encoded(Encoded(data.tobytes(), "png"))
    assert canvas.pixels()[0, 0].tolist() == [3, 2, 1]
    assert canvas.planes()[:, 0, 0].tolist() == [3, 2, 1]


def test_pending_operations_are_applied_once() -> None:
    canvas = Canvas(pixels=random_pixels(30, 30))
    axis = AxisBlur(kernels.gaussian_taps(9, 2))
    canvas.linear(Separable(axis, axis))
    first = canvas.planes().copy()
    assert np.array_equal(canvas.planes(), first)
    canvas.linear(Convolution(kernels.gaussian(9, 2, 1, 0.5)))
    canvas.linear(Separable(AxisResize(30, "linear"), AxisResize(30, "linear")))
    second = canvas.planes().copy()
    assert not np.array_equal(second, first)
    assert np.array_equal(canvas.planes(), second)
