"""A sample is a function of seed and number: not of order, workers, caches or what was sampled before."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.flipnet.crops import Crop, CropPolicy
from degrade_kit.flipnet.mixture import FacePairs, ImageCache, Mixture, PairSample, RealPairs, other_part
from degrade_kit.flipnet.pairs import Pair, read_pairs
from degrade_kit.image import encode_png
from degrade_kit.presets import preset
from degrade_kit.sources import open_sources

Pixels = npt.NDArray[np.uint8]
SIZE = 32


@pytest.fixture(scope="module")
def blurred(astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, ...]:
    """Six pairs, 96 x 80, of astronaut and blurred astronaut."""
    root = tmp_path_factory.mktemp("pairs")
    for number in range(6):
        hq = np.ascontiguousarray(astronaut[40 * number : 40 * number + 80, 100:196])
        for side, image in (("hq", hq), ("lq", np.asarray(cv2.GaussianBlur(hq, (0, 0), 2), np.uint8))):
            (root / side).mkdir(exist_ok=True)
            (root / side / f"{number}.png").write_bytes(encode_png(image))
    return read_pairs("blur", root).pairs


@pytest.fixture
def mixture(blurred: tuple[Pair, ...], faces_dir: Path) -> Mixture:
    return make(blurred, faces_dir)


def make(
    pairs: tuple[Pair, ...], faces_dir: Path, cache_bytes: int = 10**8, seed: int = 5, weights: dict | None = None
) -> Mixture:
    cache = ImageCache(cache_bytes)
    faces = FacePairs(open_sources(faces_dir), preset("gfpgan"), face_size=64, cache=cache)
    return Mixture([RealPairs(pairs, cache=cache), faces], seed=seed, weights=weights)


def equal(a: PairSample, b: PairSample) -> bool:
    return np.array_equal(a.hq, b.hq) and np.array_equal(a.lq, b.lq) and a[2:] == b[2:]


def test_a_sample_is_a_pair_of_crops_with_a_caption(mixture: Mixture) -> None:
    for number in range(30):
        hq, lq, caption, kind, fresh, description = mixture.sample(number, SIZE)
        assert hq.shape == lq.shape == (SIZE, SIZE, 3)
        assert hq.dtype == lq.dtype == np.uint8
        assert kind in ("blur", "face")
        assert description == (), "nobody asked for one"
        assert fresh == (kind == "face"), "a face is degraded anew each time"
        assert kind == "face" or "blur" in caption
        assert not np.array_equal(hq, lq)


@pytest.mark.slow
def test_samples_do_not_depend_on_order_cache_or_worker(
    mixture: Mixture, blurred: tuple[Pair, ...], faces_dir: Path
) -> None:
    numbers = range(24)
    expected = [mixture.sample(number, SIZE) for number in numbers]
    again = {number: mixture.sample(number, SIZE) for number in reversed(numbers)}
    assert all(equal(again[number], expected[number]) for number in numbers)
    uncached = make(blurred, faces_dir, cache_bytes=0)
    tight = make(blurred, faces_dir, cache_bytes=30_000)
    for other in (uncached, tight, pickle.loads(pickle.dumps(mixture))):
        assert all(equal(other.sample(number, SIZE), expected[number]) for number in numbers)
    with ThreadPoolExecutor(4) as pool:
        assert all(map(equal, pool.map(tight.sample, numbers, repeat(SIZE)), expected))


@pytest.mark.slow
def test_samples_are_equal_in_other_processes(mixture: Mixture) -> None:
    numbers = range(12)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(mixture.sample, numbers, repeat(SIZE)))
    assert all(map(equal, found, (mixture.sample(number, SIZE) for number in numbers)))


def test_seed_and_number_change_the_sample(mixture: Mixture, blurred: tuple[Pair, ...], faces_dir: Path) -> None:
    other = make(blurred, faces_dir, seed=6)
    assert sum(equal(mixture.sample(n, SIZE), other.sample(n, SIZE)) for n in range(10)) == 0
    samples = [mixture.sample(n, SIZE).hq.tobytes() for n in range(20)]
    assert len(set(samples)) == 20


def kinds_of(mixture: Mixture, count: int = 300) -> Counter[str]:
    return Counter(mixture.sample(number, SIZE).kind for number in range(count))


@pytest.mark.slow
def test_every_pair_is_as_likely_unless_weights_say_otherwise(blurred: tuple[Pair, ...], faces_dir: Path) -> None:
    assert make(blurred, faces_dir).shares == (0.5, 0.5)
    assert make(blurred[:2], faces_dir).shares == (0.25, 0.75)
    weighted = make(blurred, faces_dir, weights={"blur": 9, "face": 1})
    assert weighted.shares == pytest.approx((0.9, 0.1))
    assert kinds_of(weighted)["blur"] / 300 == pytest.approx(0.9, abs=0.06)
    assert kinds_of(make(blurred, faces_dir))["blur"] / 300 == pytest.approx(0.5, abs=0.1)


def test_a_kinds_weight_is_shared_by_its_sources(blurred: tuple[Pair, ...], faces_dir: Path) -> None:
    small, large = RealPairs(blurred[:2]), RealPairs(blurred[2:])
    faces = FacePairs(open_sources(faces_dir), preset("gfpgan"))
    mixture = Mixture([small, large, faces], seed=0, weights={"blur": 1, "face": 1})
    assert mixture.shares == pytest.approx((1 / 6, 1 / 3, 1 / 2))
    assert len(mixture) == 12


@pytest.mark.parametrize(
    "weights", [{"blur": 1.0}, {"blur": 1.0, "face": 1.0, "haze": 1.0}, {"blur": 0.0, "face": 1.0}]
)
def test_weights_name_every_kind_and_no_other(blurred: tuple[Pair, ...], faces_dir: Path, weights: dict) -> None:
    with pytest.raises(ConfigError, match="weights: expected a positive number for each of blur, face"):
        make(blurred, faces_dir, weights=weights)


def test_captions_that_were_given_are_used(blurred: tuple[Pair, ...], faces_dir: Path) -> None:
    rng = np.random.default_rng(0)
    captions = [f"caption {pair.name}" for pair in blurred]
    assert RealPairs(blurred, captions=captions).load(3, SIZE, rng, rng).caption == "caption 3"
    faces = FacePairs(open_sources(faces_dir), preset("gfpgan"), limit=2, captions=["one", "two"])
    assert [faces.load(i, SIZE, rng, rng).caption for i in range(2)] == ["one", "two"]
    with pytest.raises(ConfigError, match="expected one for each of 6 images, got 2"):
        RealPairs(blurred, captions=["one", "two"])


def test_faces_are_a_seeded_subset_that_does_not_depend_on_the_rest(faces_dir: Path) -> None:
    sources = open_sources(faces_dir)

    def names(limit: int, seed: int) -> tuple[str, ...]:
        return FacePairs(sources, preset("gfpgan"), limit=limit, seed=seed).names

    assert len(names(3, 0)) == 3
    assert names(3, 0) == names(3, 0)
    assert set(names(2, 0)) < set(names(3, 0))
    assert len({names(3, seed) for seed in range(5)}) > 1
    assert names(0, 0) == sources.names


def test_test_pairs_never_get_into_training(blurred: tuple[Pair, ...]) -> None:
    held_out = [*blurred, Pair("blur", "held out", Path("h"), Path("l"), "test")]
    with pytest.raises(ConfigError, match="1 of a test split, first held out"):
        RealPairs(held_out)
    with pytest.raises(ConfigError, match="expected some of one kind"):
        RealPairs([])
    with pytest.raises(ConfigError, match="got none"):
        Mixture([], seed=0)


def test_a_size_out_of_range_is_refused(mixture: Mixture, faces_dir: Path) -> None:
    with pytest.raises(ValueError, match="size: expected 16 to"):
        mixture.sample(0, 8)
    with pytest.raises(ValueError, match="size: expected 16 to 64 px, got 65"):
        mixture.sources[1].load(0, 65, np.random.default_rng(0), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"\[16, 4096\]"):
        FacePairs(open_sources(faces_dir), preset("gfpgan"), face_size=8)


def test_the_size_does_not_change_which_pair_it_is(mixture: Mixture) -> None:
    for number in range(8):
        assert mixture.sample(number, 32).kind == mixture.sample(number, 64).kind
        assert mixture.sample(number, 48).hq.shape == (48, 48, 3)


def test_a_whole_face_keeps_its_pixels(faces_dir: Path) -> None:
    policy = CropPolicy(native=1.0, flip=0.0)
    faces = FacePairs(open_sources(faces_dir), preset("gfpgan-no-colorization"), face_size=64, policy=policy)
    for index in range(len(faces)):
        assert np.array_equal(
            faces.load(index, 64, np.random.default_rng(0), np.random.default_rng(0)).hq, faces.face(index)
        )


def test_an_unusable_file_is_an_error_that_names_it(blurred: tuple[Pair, ...], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"text")
    pair = Pair("blur", "x", blurred[0].hq_path, tmp_path / "x.png", "train")
    mixture = Mixture([RealPairs([pair]), FacePairs(open_sources(tmp_path), preset("gfpgan"))], seed=0)
    for number in range(6):
        with pytest.raises(ImageError, match=r"not an image: .*x\.png"):
            mixture.sample(number, SIZE)
    with pytest.raises(ValueError, match="0 or more"):
        mixture.sample(-1, SIZE)


# ---------------------------------------------------------------------------------------------------------------- cache


def image(value: int) -> tuple[Pixels]:
    return (np.full((10, 10, 3), value, np.uint8),)


def test_the_cache_keeps_to_its_limit_and_drops_the_least_recently_used() -> None:
    cache, loads = ImageCache(600), Counter[int]()

    def get(key: int) -> int:
        def load() -> tuple[Pixels]:
            loads[key] += 1
            return image(key)

        return int(cache.get(key, load)[0][0, 0, 0])

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert loads == {1: 1, 2: 2, 3: 1}
    assert (cache.num_bytes, len(cache)) == (600, 2)


@pytest.mark.slow
def test_sources_keep_what_they_read_in_a_cache_that_is_empty_at_first(
    blurred: tuple[Pair, ...], faces_dir: Path
) -> None:
    cache = ImageCache(10**8)
    sources = [
        RealPairs(blurred, cache=cache),
        FacePairs(open_sources(faces_dir), preset("gfpgan"), face_size=64, cache=cache),
    ]
    mixture = Mixture(sources, seed=1)
    for number in range(60):
        mixture.sample(number, SIZE)
    assert len(cache) == len(mixture)


def test_the_cache_gives_read_only_images_and_keeps_none_beyond_its_limit() -> None:
    cache = ImageCache(100)
    (kept,) = cache.get("a", lambda: image(1))
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0
    assert (len(cache), cache.num_bytes) == (0, 0)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.max_bytes, len(copy)) == (100, 0)


def test_what_is_described_is_another_part(astronaut: Pixels) -> None:
    """Marks each pixel by its place, so that a part tells where it is from."""
    places = np.zeros((160, 96, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(160)[:, None], np.arange(96)[None]
    rng = np.random.default_rng(0)
    for top in (0, 40, 96):
        crop = Crop(top=top, left=0, side=64, size=64, flip=False)
        part = other_part(crop, places, rng)
        assert min(part.shape[:2]) >= 48
        assert tuple(part[0, 0, :2] % 8) == (0, 0), "on the grid of a JPEG file"
        rows = set(range(top, top + 64)) & set(part[:, 0, 0].tolist())
        columns = set(range(64)) & set(part[0, :, 1].tolist())
        assert len(rows) * len(columns) <= 0.5 * part.shape[0] * part.shape[1]
    small = Crop(top=0, left=0, side=32, size=32, flip=False)
    np.testing.assert_array_equal(other_part(small, places[:40, :30], rng), places[:40, :30])


def test_samples_are_described_by_other_images_and_stay_what_they_were(
    blurred: tuple[Pair, ...], faces_dir: Path
) -> None:
    seen: list[Pixels] = []

    def describe(pixels: Pixels) -> tuple[float, ...]:
        seen.append(pixels)
        return (float(pixels.mean()), float(len(seen)))

    def made(asked: bool) -> Mixture:
        given: dict[str, Any] = {"describe": describe if asked else None}
        faces = FacePairs(open_sources(faces_dir), preset("gfpgan"), face_size=64, **given)
        return Mixture([RealPairs(blurred, **given), faces], seed=5)

    kinds: set[str] = set()
    for number in range(12):
        seen.clear()
        plain, found = made(False).sample(number, SIZE), made(True).sample(number, SIZE)
        assert equal(plain, found._replace(description=()))
        assert plain.description == ()
        assert found.description == (float(seen[0].mean()), 1.0)
        assert seen[0].shape[0] >= 48
        kinds.add(found.kind)
    assert kinds == {"blur", "face"}
