"""Severity of records, its range, and masks of local steps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from degrade_kit.degradation import make_lq
from degrade_kit.op_tools import Seat
from degrade_kit.ops import (
    Blur,
    ChannelShift,
    Clip,
    Frame,
    GaussianNoise,
    Gray,
    Halftone,
    Jpeg,
    Op,
    Rescale,
    Resize,
    Scratches,
    Shift,
    Uneven,
    Unframe,
    Watermark,
)
from degrade_kit.presets import PRESETS, preset, preset_names
from degrade_kit.record import Record
from degrade_kit.record_severity import (
    TABLE,
    distance_of,
    kinds,
    masks,
    op_kind,
    severities,
    severity,
    table_key,
    terms_of,
)
from degrade_kit.seeding import generator
from degrade_kit.steps import STEPS
from tests.degrade_kit.test_steps import EXAMPLES, draws, example

FULL = Resize(scale=1.0)
ORDERED: dict[str, tuple[Op, ...]] = {
    "blur": tuple(Blur(sigma_x=sigma, sigma_y=sigma) for sigma in (0.5, 1.5, 4.0)),
    "resize": tuple(Resize(scale=scale) for scale in (1.5, 3.0, 8.0)),
    "gaussian_noise": tuple(GaussianNoise(level=level) for level in (2.0, 8.0, 25.0)),
    "jpeg": tuple(Jpeg(quality=quality) for quality in (95, 60, 20)),
    "scratches": tuple(Scratches(count=count, length=0.5, width=0.004, opacity=0.8) for count in (2, 10, 60)),
}
NOT_DEGRADING = {"clip", "shift", "unframe", "uneven"}


def record(*steps: Op, target: tuple[Op, ...] = ()) -> Record:
    return Record(3, (*steps, FULL), target)


def unframe(frame: Frame) -> Unframe:
    return Unframe(side=frame.side, angle=frame.angle, right=frame.right, down=frame.down)


@pytest.mark.parametrize("name", ORDERED)
def test_stronger_operations_are_more_severe(name: str) -> None:
    found = [severity(record(op)) for op in ORDERED[name]]
    assert 0 < found[0] < found[1] < found[2] <= 1
    assert all(set(severities(record(op))) <= {name} for op in ORDERED[name])
    assert kinds(record(ORDERED[name][2])) == (name,)


def test_what_changes_nothing_has_no_severity() -> None:
    shift = Shift(right=3, down=4)
    for one in (Record(0, ()), record(), record(Clip()), record(shift, target=(shift,))):
        assert severity(one) == 0
        assert kinds(one) == ()


def test_what_the_target_has_too_is_no_degradation() -> None:
    assert severity(record(Gray())) > 0
    assert severity(record(Gray(), target=(Gray(),))) == 0


def test_a_mixture_is_at_least_as_severe_as_its_worst_part() -> None:
    parts = [ORDERED[name][1] for name in ORDERED]
    alone = [severity(record(op)) for op in parts]
    assert max(alone) < severity(record(*parts)) <= 1


def test_the_smallest_size_counts_once() -> None:
    once = severity(record(Resize(scale=4.0)))
    assert severity(record(Resize(scale=2.0), Resize(scale=4.0), Resize(scale=2.0))) == once
    assert severity(record(Rescale(factor=0.25))) == once
    frame = Frame(side=128, angle=0.1, right=0.0, down=0.0)
    assert severity(Record(0, (frame, unframe(frame)))) == once


def test_a_blur_counts_pixels_of_the_full_size() -> None:
    small = severities(record(Resize(scale=4.0), Blur(sigma_x=1.0, sigma_y=1.0)))["blur"]
    assert small == pytest.approx(severities(record(Blur(sigma_x=4.0, sigma_y=4.0)))["blur"], rel=0.02)


def test_a_square_counts_by_its_area() -> None:
    noise = (GaussianNoise(level=20.0),)
    whole = severity(record(*noise))
    found = [severity(record(Uneven(side=side, left=0.1, top=0.1, inside=noise, outside=()))) for side in (0.2, 0.7)]
    assert 0 < found[0] < found[1] < whole


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "flipnet-real"])
def test_severities_of_presets_lie_between_0_and_1_and_differ(name: str) -> None:
    recipe = preset(name)
    found = [severity(recipe.draw(generator(1, name, number))) for number in range(20)]
    assert 0 <= min(found) < float(np.median(found)) <= max(found) < 1
    assert max(found) - min(found) > 0.02


def test_usual_draws_of_a_face_recipe_are_in_the_middle() -> None:
    recipe = PRESETS["gfpgan"]
    found = [severity(recipe.draw(generator(1, "a", number))) for number in range(100)]
    assert 0.35 < float(np.median(found)) < 0.75


@pytest.mark.slow
def test_every_operation_that_a_step_draws_has_a_row_in_the_table() -> None:
    rows = set(json.loads(TABLE.read_text())["kinds"])
    for name in STEPS:
        step = example(name)
        for drawn in draws(step, 30):
            for op in drawn:
                if op.name not in NOT_DEGRADING:
                    assert terms_of(op, 2.0, Seat(0, ())) is not None or op_kind(op) == "resize", op.name
                    assert table_key(op) in rows or op_kind(op) == "resize", table_key(op)
    assert set(EXAMPLES) == set(STEPS)


def test_the_table_rises_from_nothing() -> None:
    for kind, entry in json.loads(TABLE.read_text())["kinds"].items():
        assert entry["strengths"] == sorted(entry["strengths"]), kind
        assert entry["distances"] == sorted(entry["distances"]), kind
        assert len(entry["strengths"]) == len(entry["distances"]) > 1
    assert distance_of(GaussianNoise(level=0.0), 1.0, Seat(0, ())) == 0
    assert distance_of(Blur(sigma_x=0.0, sigma_y=0.0), 1.0, Seat(0, ())) == 0


# -------------------------------------------------------------------------------------------------------------- masks


def test_a_mask_covers_what_a_mark_changes() -> None:
    image = np.full((96, 128, 3), 120, np.uint8)
    mark = Watermark(text="MARK", opacity=0.8, size=0.2)
    lq = make_lq(Record(1, (mark,)), image)
    found = masks(Record(1, (mark,)), (96, 128))
    assert set(found) == {"watermark"}
    mask = found["watermark"]
    assert mask.shape == (96, 128)
    assert mask.dtype == np.float32
    changed = np.abs(lq[..., 0].astype(int) - 120) > 4
    assert 50 < changed.sum() < 5000
    assert np.array_equal(changed, mask > 4 / 135)


def test_masks_follow_the_seed_and_the_geometry() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    scratches = Scratches(count=12, length=0.7, width=0.02, opacity=1.0, dark=0.0)
    frame = Frame(side=40, angle=0.3, right=2.0, down=-1.0)
    framed = Record(5, (frame, scratches, unframe(frame)))
    mask = masks(framed, (64, 64))["scratches"]
    changed = make_lq(framed, image)[..., 0].astype(float) - 120
    assert np.corrcoef(mask.ravel(), changed.ravel())[0, 1] > 0.97
    other = masks(Record(6, framed.steps), (64, 64))["scratches"]
    assert not np.array_equal(mask, other)


def test_a_square_is_masked_and_what_changes_all_alike_is_not() -> None:
    uneven = Uneven(side=0.5, left=0.0, top=1.0, inside=(Gray(),), outside=())
    found = masks(Record(1, (Blur(sigma_x=2.0, sigma_y=2.0), uneven, Jpeg(quality=40))), (20, 20))
    expected = np.zeros((20, 20))
    expected[10:, :10] = 1
    assert set(found) == {"uneven"}
    assert np.array_equal(found["uneven"], expected)
    assert masks(record(GaussianNoise(level=9.0)), (20, 20)) == {}


def test_a_print_is_nearest_to_hq_where_its_dots_are_just_blurred_away() -> None:
    for inks in ("cmyk", "black"):
        dots, gone, soft = (
            severity(record(Halftone(period=3.0, blur=blur, inks=inks, angle=0.0, gain=0.1)))
            for blur in (0.3, 1.0, 2.5)
        )
        assert gone < dots
        assert gone < soft


def test_colours_beside_luma_count_by_how_far_and_by_what_parts_of_a_pixel_soften() -> None:
    none, part, whole, far = (
        severity(record(ChannelShift(space="ycc", right=(0.0, away, away), down=(0.0, 0.0, 0.0))))
        for away in (0.0, 0.5, 1.0, 4.0)
    )
    assert none == 0 < whole < part
    assert whole < far
