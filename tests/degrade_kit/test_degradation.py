from __future__ import annotations

import collections
import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit import ops
from degrade_kit.canvas import Canvas
from degrade_kit.degradation import apply, degrade, finish, make_target
from degrade_kit.image import to_float
from degrade_kit.linear import FILTERS, Filter
from degrade_kit.noise import normals
from degrade_kit.ops import (
    Blur,
    ColorJitter,
    ColorShift,
    GaussianNoise,
    Gray,
    Haze,
    Jpeg,
    Op,
    Resize,
    Shift,
    Uneven,
    WebP,
)
from degrade_kit.presets import PRESETS
from degrade_kit.record import LIMITS, Record, ops_from_json, ops_to_json
from degrade_kit.seeding import generator
from tests import naive
from tests.distinct import PLAIN_PRESETS
from tests.golden.regenerate import CHAINS, JPEG_QUALITIES, NOISE_SEED
from tests.strategies import images

Pixels = npt.NDArray[np.uint8]
Image = npt.NDArray[np.float32]

BASICSR = Path(__file__).parents[1] / "golden" / "basicsr.npz"
FULL = Resize(scale=1.0)
SHRINK = Resize(scale=4.0)
SHIFTED = ColorShift(red=10.0, green=0.0, blue=-10.0)
JITTER = ColorJitter(
    order=("contrast", "hue", "saturation", "brightness"), brightness=1.1, contrast=1.4, saturation=0.7, hue=0.05
)


def draw(name: str, variant: int = 0) -> Record:
    return PRESETS[name].draw(generator(4, "a.png", variant))


def lq(record: Record, hq: Pixels) -> Pixels:
    native = degrade(record, hq)
    return finish(native.pixels, native.tail, (hq.shape[0], hq.shape[1]))


# ------------------------------------------------------------------------------------------ against the naive chains


def steady_poisson_noise(planes: Image, bits: np.random.SFC64) -> Image:
    """Shot noise without counts.

    A counted photon more, at one pixel that rounding moved, moves all that follow it in the stream of random numbers:
    two computations of one chain that differ in the last bit then have different noise.
    """
    levels = np.clip(np.rint(planes), 0, 255)
    return normals(planes.shape, bits) * np.sqrt(levels * np.float32(255 / 256))


@pytest.fixture
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "poisson_noise", steady_poisson_noise)
    monkeypatch.setattr(naive, "poisson_noise", steady_poisson_noise)


def lossless(steps: tuple[Op, ...]) -> tuple[Op, ...]:
    """The steps without the codecs."""
    return tuple(
        dataclasses.replace(op, inside=lossless(op.inside), outside=lossless(op.outside))
        if isinstance(op, Uneven)
        else op
        for op in steps
        if not isinstance(op, (Jpeg, WebP))
    )


def differences(records: list[Record], hq: Pixels) -> list[npt.NDArray[np.int_]]:
    return [np.abs(lq(record, hq).astype(int) - naive.lq(record, hq)) for record in records]


@pytest.mark.slow
@pytest.mark.usefixtures("_steady")
@pytest.mark.parametrize("name", PLAIN_PRESETS)
def test_chains_without_codecs_are_within_one_level_of_the_naive_ones(name: str, astronaut: Pixels) -> None:
    records = [draw(name, variant) for variant in range(8)]
    found = differences([Record(record.seed, lossless(record.steps)) for record in records], astronaut)
    # In front of the last upsampling pixels are rounded, and again behind it: one in 100 000 falls apart twice.
    assert max(difference.max() for difference in found) <= 2
    assert max((difference > 1).mean() for difference in found) < 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("_steady")
@pytest.mark.parametrize("name", PLAIN_PRESETS)
@pytest.mark.long
def test_whole_chains_are_the_naive_ones_but_for_roundings_that_a_codec_enlarges(name: str, astronaut: Pixels) -> None:
    """Of 40 images on the 512-pixel photograph, 38 have one pixel in a hundred, or fewer, off by more than a level."""
    records = [
        draw(name, variant) for variant in range(40 if name in ("flipnet-paper", "real-esrgan", "bsrgan") else 20)
    ]
    found = differences(records, astronaut)
    distribution = sorted(collections.Counter(int(difference.max()) for difference in found).items())
    shares = np.array([(difference > 1).mean() for difference in found])
    text = f"{name}: (largest difference, images) {distribution}; shares beyond a level {np.sort(shares)[-4:]}"
    assert (shares <= 0.01).mean() >= 0.95, text
    assert np.mean([difference.max() <= 1 for difference in found]) >= 0.55, text
    assert max(difference.mean() for difference in found) < 0.5, text


# ------------------------------------------------------------------------------------------------- against the peers


def chain_record(chain: dict[str, Any]) -> Record:
    """The record that says what `golden/regenerate.py` had GFPGAN's own code do."""
    (sigma_x, sigma_y), kind = chain["sigma"], chain["kind"]
    steps: list[Op] = [
        Blur(kernel=kind, sigma_x=sigma_x, sigma_y=sigma_y, rotation=chain["rotation"]),
        Resize(scale=chain["scale"]),
        GaussianNoise(level=chain["noise"]),
        Jpeg(quality=chain["quality"]),
        FULL,
    ]
    if "shift" in chain:
        red, green, blue = chain["shift"]
        steps.append(ColorShift(red=red, green=green, blue=blue))
    if "gray" in chain:
        steps.append(Gray())
    if "jitter" in chain:
        factors = dict(chain["jitter"])
        order = tuple(tuple(ops.JITTERS)[index] for index in factors.pop("order"))
        steps.append(ColorJitter(order=order, **factors))
    return Record(NOISE_SEED, tuple(steps))


@pytest.mark.parametrize("name", list(CHAINS))
def test_chains_equal_gfpgans_own(name: str) -> None:
    with np.load(BASICSR) as golden:
        hq, expected = golden["hq"], golden[f"chain_{name}"]
    difference = np.abs(lq(chain_record(CHAINS[name]), hq).astype(int) - expected)
    assert (difference <= 1).mean() > 0.995
    assert difference.mean() < 0.25
    assert np.abs(naive.lq(chain_record(CHAINS[name]), hq).astype(int) - expected).mean() < 0.05


@pytest.mark.parametrize("quality", JPEG_QUALITIES)
def test_jpeg_equals_basicsrs(quality: int) -> None:
    with np.load(BASICSR) as golden:
        hq, expected = golden["hq"], golden[f"jpeg_{quality}"]
    # JPEG builds differ from one OpenCV to the next.
    assert np.abs(lq(Record(0, (Jpeg(quality=quality),)), hq).astype(int) - expected).mean() < 0.5


# ------------------------------------------------------------------------------------------------ apply, parts, sizes


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN_PRESETS)
@given(image=images(), variant=st.integers(0, 10**6))
def test_lq_keeps_the_contract_and_its_parts_make_the_whole(name: str, image: Image, variant: int) -> None:
    hq = to_float(np.rint(image * 255).astype(np.uint8))
    before = hq.copy()
    record = draw(name, variant)
    whole = apply(record, hq)
    assert whole.dtype == np.float32
    assert whole.shape == hq.shape
    assert whole.flags.c_contiguous
    assert 0 <= whole.min() <= whole.max() <= 1
    levels = whole * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert np.array_equal(hq, before)
    assert np.array_equal(apply(record, hq), whole)

    pixels = np.rint(hq * 255).astype(np.uint8)
    native = degrade(record, pixels)
    assert np.array_equal(to_float(finish(native.pixels, native.tail, (hq.shape[0], hq.shape[1]))), whole), (
        "float and 8-bit input, a writer and a reader of shards: all the same"
    )
    assert np.array_equal(degrade(record, Canvas(pixels=pixels)).pixels, native.pixels), "and a shared canvas"


def test_a_record_that_ends_at_another_size_is_refused(astronaut: Pixels) -> None:
    hq = to_float(np.ascontiguousarray(astronaut[:64, :64]))
    record = Record(seed=1, steps=(ops.Resize(scale=2, filter="area"),))
    with pytest.raises(ValueError, match="the record ends at 32 x 32 pixels, not at the HQ image's size"):
        apply(record, hq)


@pytest.mark.slow
def test_a_shared_canvas_is_not_used_up(astronaut: Pixels) -> None:
    canvas = Canvas(pixels=astronaut[:160, :128])
    for name in PLAIN_PRESETS:
        for _ in range(2):
            record = draw(name)
            assert np.array_equal(degrade(record, canvas).pixels, degrade(record, astronaut[:160, :128]).pixels), name
    assert np.array_equal(canvas.pixels(), astronaut[:160, :128])


def test_8_bit_levels_survive_the_way_through_floats() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(degrade(Record(0, ()), to_float(pixels)).canvas.planes(), pixels.transpose(2, 0, 1))


def test_float_input_that_is_not_in_steps_is_taken_as_it_is() -> None:
    image = np.full((8, 8, 3), 100.4 / 255, np.float32)
    assert apply(
        Record(0, (Haze(alpha=0.5), ColorShift(red=-127.5, green=-127.5, blue=-127.5), Haze(alpha=1.0))), image
    )[0, 0, 0] == pytest.approx(50 / 255)
    assert (apply(Record(0, (Resize(scale=2.0), FULL)), image) == np.float32(100 / 255)).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.float32),
        np.zeros((8, 8, 3), np.float64),
        np.zeros((8, 8, 3), np.uint8),
        np.full((8, 8, 3), 1.01, np.float32),
        np.full((8, 8, 3), -0.01, np.float32),
        np.full((8, 8, 3), math.nan, np.float32),
        np.zeros((8, 16, 3), np.float32)[:, ::2],
    ],
)
def test_apply_refuses_what_breaks_the_image_contract(image: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="hq: expected an RGB image"):
        apply(Record(0, (Gray(),)), image)


def test_another_seed_changes_the_noise_alone() -> None:
    hq = np.full((64, 64, 3), 100, np.uint8)
    noisy, clean = (GaussianNoise(level=9.0),), (Blur(sigma_x=2.0, sigma_y=2.0), Jpeg(quality=50))
    assert not np.array_equal(lq(Record(1, noisy), hq), lq(Record(2, noisy), hq))
    assert np.array_equal(lq(Record(1, clean), hq), lq(Record(2, clean), hq))


def test_no_steps_are_identity(astronaut: Pixels) -> None:
    record = Record(0, ())
    assert np.array_equal(lq(record, astronaut), astronaut)
    assert degrade(record, astronaut).encoded is None


# --------------------------------------------------------------------------------------------------------- the tail


@pytest.mark.parametrize(
    ("steps", "tail"),
    [
        ((SHRINK, Jpeg(quality=50), FULL), 1),  # most recipes
        ((SHRINK, FULL, SHIFTED, Gray(), JITTER), 4),  # GFPGAN
        ((SHRINK, FULL, Gray()), 2),
        ((SHRINK, Resize(scale=1.0, filter="cubic")), 1),  # Real-ESRGAN
        ((SHRINK, Resize(scale=1.0, filter="area")), 1),
        ((SHRINK, Resize(scale=1.0, filter="cubic_aa")), 0),  # readers have OpenCV alone
        ((FULL, SHRINK, FULL), 1),
        ((Blur(sigma_x=1.0, sigma_y=1.0), FULL), 1),
        ((FULL, Jpeg(quality=50)), 0),
        ((FULL, Haze(alpha=0.5)), 0),
        ((FULL, Gray(), Jpeg(quality=50), Gray()), 0),
        ((Uneven(side=0.5, left=0, top=0, inside=(SHRINK, FULL), outside=(SHRINK, FULL)),), 0),
        ((Uneven(side=0.5, left=0, top=0, inside=(SHRINK, FULL), outside=()), Gray()), 0),
        ((Jpeg(quality=50),), 0),
        ((Gray(),), 0),
        ((), 0),
    ],
)
def test_the_tail_is_the_last_upsampling_and_the_colours_behind_it(steps: tuple[Op, ...], tail: int) -> None:
    record = Record(3, steps)
    native, rest = record.split()
    assert native + rest == steps
    assert len(rest) == tail
    hq = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    made = degrade(record, hq)
    assert made.tail == rest
    assert lq(record, hq).shape == hq.shape


def test_native_images_are_small_and_hold_the_files_own_bytes(astronaut: Pixels) -> None:
    native = degrade(Record(3, (SHRINK, Jpeg(quality=50), FULL, SHIFTED)), astronaut)
    assert native.encoded is not None
    assert native.encoded.extension == "jpg"
    assert native.pixels.shape == (128, 128, 3)
    assert len(native.encoded.data) < 6000
    noisy = degrade(Record(3, (SHRINK, Jpeg(quality=50), GaussianNoise(level=1.0), FULL)), astronaut)
    assert noisy.encoded is None


@given(image=images(min_side=4, max_side=40), filter=st.sampled_from(FILTERS), scale=st.floats(0.6, 8))
def test_colour_steps_of_a_tail_see_the_full_size_before_it_is_rounded(
    image: Image, filter: Filter, scale: float
) -> None:
    """Contrast takes the mean of the upsampled image; rounding comes once, at the end."""
    pixels = np.rint(image * 255).astype(np.uint8)
    last = Resize(scale=1.0, filter="linear" if filter == "cubic_aa" else filter)
    record = Record(3, (Resize(scale=scale, filter=filter), last, SHIFTED, JITTER))
    native = degrade(record, pixels)
    expected = naive.run([last, SHIFTED, JITTER], native.pixels.astype(np.float32), 3, size=pixels.shape[:2])
    # Torchvision's luma is off by 0.03 of a level.
    assert np.abs(finish(native.pixels, native.tail, (image.shape[0], image.shape[1])) - expected).max() <= 0.56


@pytest.mark.parametrize("scale", [1.5, 4.0, 8.0])
def test_upsampling_a_native_image_rounds_to_the_nearest_level(scale: float, astronaut: Pixels) -> None:
    native = degrade(Record(3, (Resize(scale=scale, filter="area"), FULL)), astronaut)
    exact = naive.run(native.tail, native.pixels.astype(np.float32), 0, size=(512, 512))
    finished = finish(native.pixels, native.tail, (512, 512))
    assert abs((finished - exact).mean()) < 0.02
    assert np.abs(finished - exact).max() < 0.6


def test_an_image_that_already_has_the_full_size_is_returned_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    assert finish(pixels, (FULL,), (24, 40)) is pixels
    assert finish(pixels, (), (24, 40)) is pixels


# ------------------------------------------------------------------------------------------------------- the target


def test_the_target_is_the_hq_image_itself_unless_the_recipe_says_otherwise(astronaut: Pixels) -> None:
    assert make_target(Record(1, (Gray(),)), astronaut) is astronaut


def test_a_gray_target_is_gray(astronaut: Pixels) -> None:
    target = make_target(Record(1, (Gray(),), (Gray(),)), astronaut)
    assert target.dtype == np.uint8
    expected = np.rint(astronaut @ np.array([0.299, 0.587, 0.114]))
    for channel in range(3):
        np.testing.assert_allclose(target[..., channel], expected, atol=1)
    assert (target[..., 0] == target[..., 1]).all()


def test_a_shifted_target_moves_with_its_lq_image(astronaut: Pixels) -> None:
    shift = Shift(right=17, down=-9)
    record = Record(1, (shift, SHRINK, FULL), (shift,))
    target = make_target(record, astronaut)
    assert np.array_equal(target[:-9, 17:], astronaut[9:, :-17])
    moved = lq(record, astronaut)
    unmoved = lq(Record(1, (SHRINK, FULL)), target)
    assert np.array_equal(moved, unmoved)


def test_a_target_leaves_its_source_alone() -> None:
    hq = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    before = hq.copy()
    make_target(Record(1, (), (Shift(right=3, down=3), Gray(), SHIFTED, Haze(alpha=0.4))), hq)
    assert np.array_equal(hq, before)


# --------------------------------------------------------------------------------------------------------- as JSON

numbers = st.floats(-1e9, 1e9)
TABLES = " ".join(str(number) for number in range(1, 129))
whole_numbers = st.integers(-(10**6), 10**6)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "int": whole_numbers,
    "float": numbers,
    "bool": st.booleans(),
    "str": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
    "tuple[float, ...]": st.lists(numbers, max_size=9).map(tuple),
    "tuple[Jitter, ...]": st.permutations(list(ops.JITTERS)).map(tuple),
}


def any_op(cls: type[Op], inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    fields = {**FIELDS, "tuple[Op, ...]": st.lists(inner, max_size=3).map(tuple)}
    hints = get_type_hints(cls)
    values = {
        field.name: st.sampled_from(get_args(hints[field.name]))
        if get_origin(hints[field.name]) is Literal
        else fields[str(field.type)]
        for field in dataclasses.fields(cls)
    }
    for name in values:
        low, high = LIMITS.get(f"{cls.name}.{name}", (0, 0))
        if name == "tables":
            values[name] = st.sampled_from(["", TABLES])
        elif name == "description":
            values[name] = st.lists(numbers, max_size=int(high)).map(tuple)
        elif name == "covariance":
            values[name] = st.lists(numbers, min_size=9, max_size=9).map(tuple)
        elif low < high and name != "order":
            whole = str(next(field.type for field in dataclasses.fields(cls) if field.name == name)) == "int"
            values[name] = st.integers(int(low), int(high)) if whole else st.floats(low, high)
    return st.builds(cls, **values)


plain_ops = st.one_of(*(any_op(cls, st.nothing()) for cls in ops.OPS.values() if cls is not Uneven))
all_ops = st.recursive(plain_ops, lambda inner: any_op(Uneven, inner), max_leaves=6)
lists_of_ops = st.lists(all_ops, max_size=5).map(tuple)
records = st.builds(Record, seed=st.integers(0, 2**48 - 1), steps=lists_of_ops, target=lists_of_ops)


@pytest.mark.slow
@given(record=records)
def test_records_come_back_from_json_to_the_last_bit(record: Record) -> None:
    text = record.to_json()
    back = Record.from_json(text)
    assert back == record
    assert repr(back) == repr(record), "types too: 2.0 is not 2"
    assert back.to_json() == text
    assert ops_from_json(ops_to_json(record.steps)) == record.steps


@pytest.mark.slow
@given(record=records)
def test_json_of_a_record_is_plain_and_in_order(record: Record) -> None:
    data = json.loads(record.to_json(), parse_constant=pytest.fail)
    assert list(data) == ["seed", "steps", "target"]
    assert [entry["op"] for entry in data["steps"]] == [op.name for op in record.steps]


@pytest.mark.parametrize("name", PLAIN_PRESETS)
def test_drawn_records_come_back_from_json(name: str) -> None:
    for variant in range(30):
        record = draw(name, variant)
        back = Record.from_json(record.to_json())
        assert repr(back) == repr(record)


GOOD = '{"seed":7,"steps":[{"op":"jpeg","quality":60}],"target":[]}'


def test_a_good_record_is_read() -> None:
    assert Record.from_json(GOOD) == Record(7, (Jpeg(quality=60),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "7",
        "[]",
        '"x"',
        "{}",
        '{"seed":7,"steps":[]}',
        '{"steps":[],"target":[]}',
        GOOD.replace("7", "null", 1),
        GOOD.replace("7", '"seven"', 1),
        GOOD.replace("[]", "null"),
        GOOD.replace("[]", "5"),
        GOOD.replace("[]", '["gray"]'),
        GOOD.replace("[]", "[null]"),
        GOOD.replace("[]", "[[]]"),
        GOOD.replace("[]", '[{"quality":60}]'),
        GOOD.replace("[]", '[{"op":"jpg","quality":60}]'),
        GOOD.replace("[]", '[{"op":null}]'),
        GOOD.replace("[]", '[{"op":["jpeg"]}]'),
        GOOD.replace("[]", '[{"op":"jpeg"}]'),
        GOOD.replace("[]", '[{"op":"jpeg","quality":60,"prob":1}]'),
        GOOD.replace("[]", '[{"op":"uneven","side":1,"left":0,"top":0,"inside":[{"op":"x"}],"outside":[]}]'),
        GOOD.replace("[]", '[{"op":"uneven","side":1,"left":0,"top":0,"inside":3,"outside":[]}]'),
        GOOD.replace("[]", "[" * 100_000 + "]" * 100_000),
    ],
)
def test_what_is_no_record_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(text)


@pytest.mark.parametrize(
    "entry",
    [
        '{"op":"jpeg","quality":"high"}',
        '{"op":"jpeg","quality":null}',
        '{"op":"jpeg","quality":60.5}',
        '{"op":"haze","alpha":"0.5"}',
        '{"op":"haze","alpha":[0.5]}',
        '{"op":"haze","alpha":1e999}',
        '{"op":"haze","alpha":' + "9" * 400 + "}",
        '{"op":"color_jitter","order":["glow"],"brightness":1,"contrast":1,"saturation":1,"hue":0}',
        '{"op":"gaussian_noise","level":3.0,"gray":"no"}',
        '{"op":"blur","sigma_x":1.0,"sigma_y":1.0,"kernel":"skew"}',
        '{"op":"resize","scale":1.0,"filter":"nearest"}',
        '{"op":"resize","scale":0.0}',
        '{"op":"covariance_noise","covariance":"123456789"}',
    ],
)
def test_mistyped_fields_are_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(GOOD.replace("[]", f"[{entry}]"))


@pytest.mark.parametrize("seed", ["Infinity", "1.5", "true", "-1", str(2**48)])
def test_a_seed_that_is_no_whole_number_in_range_is_an_error(seed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(GOOD.replace("7", seed, 1))


def test_an_unknown_operation_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"unknown operation 'jpg' in a record; known are blur, .*jpeg, .*uneven"):
        Record.from_json(GOOD.replace('"jpeg"', '"jpg"'))


def test_a_smaller_lq_image_is_the_native_one_or_enlarged_or_averaged() -> None:
    full = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    quarter, tiny = full[:16, :24], full[:8, :12]
    assert finish(quarter, (FULL,), (64, 96), 4) is quarter
    assert np.array_equal(finish(tiny, (FULL,), (64, 96), 4), finish(tiny, (FULL,), (16, 24)))
    averaged = full.reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(finish(full, (), (64, 96), 4) - averaged).max() <= 0.5
    large = full[:32, :48]
    expected = finish(large, (FULL,), (64, 96)).reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(finish(large, (FULL,), (64, 96), 4) - expected).max() <= 0.5
    with pytest.raises(ValueError, match="66 x 64 pixels are no multiple of 4"):
        finish(full, (), (64, 66), 4)
