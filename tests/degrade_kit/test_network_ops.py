"""Records with a network in them, run by a stand-in: where they stop, what they are given, and what goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from degrade_kit.degradation import apply, degrade, degrade_segments, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.image import Pixels, to_float
from degrade_kit.network_ops import FlipNetImage, NetworkCall, run_together
from degrade_kit.op_tools import Seat
from degrade_kit.ops import Blur, GaussianNoise, Jpeg, Op, Resize, ResizeSide, Uneven, network_calls
from degrade_kit.record import Record

FLIPNET = FlipNetImage(model="0123456789ab", prompt="haze", num_steps=4)


class Inverter:
    """Inverts images; keeps the calls of each time that it is called."""

    def __init__(self) -> None:
        self.calls: list[list[NetworkCall]] = []

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        self.calls.append(list(calls))
        return [255 - call.pixels for call in calls]


def face(seed: int = 0, side: int = 48) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_a_network_gets_the_image_of_its_place_and_the_rest_goes_on_from_its_answer() -> None:
    before, behind = (ResizeSide(side=24), Blur(sigma_x=1.0, sigma_y=1.0)), (Jpeg(quality=60), Resize(scale=1.0))
    network, hq = Inverter(), face()
    native = degrade(Record(7, (*before, FLIPNET, *behind)), hq, network)
    [[call]] = network.calls
    np.testing.assert_array_equal(call.pixels, degrade(Record(7, before), hq).pixels)
    assert call.seat == Seat(7, (2,)), "its noise follows from the seed and its place"
    assert native.encoded is not None
    expected = degrade(Record(7, (Jpeg(quality=60),)), 255 - call.pixels).encoded
    assert expected is not None
    assert native.encoded.data == expected.data
    assert native.tail == (Resize(scale=1.0),)


def test_noise_behind_a_network_is_that_of_its_own_place() -> None:
    noise = GaussianNoise(level=9.0)
    hq = face()
    made = make_lq(Record(3, (FLIPNET, noise)), hq, Inverter())
    np.testing.assert_array_equal(make_lq(Record(3, (GaussianNoise(level=0.0), noise)), 255 - hq), made)


def test_records_meet_a_network_together() -> None:
    network = Inverter()
    once, twice, never = (FLIPNET,), (FLIPNET, Blur(sigma_x=1.0, sigma_y=1.0), FLIPNET), (Jpeg(quality=50),)
    records = [Record(seed, ops) for seed, ops in enumerate((once, twice, never, twice))]
    made = run_together([degrade_segments(record, face(seed)) for seed, record in enumerate(records)], network)
    assert [len(calls) for calls in network.calls] == [3, 2]
    for seed, (record, native) in enumerate(zip(records, made, strict=True)):
        np.testing.assert_array_equal(degrade(record, face(seed), Inverter()).pixels, native.pixels)


def test_a_network_works_inside_the_parts_of_an_uneven_image() -> None:
    uneven = Uneven(side=0.5, left=0.0, top=0.0, inside=(FLIPNET,), outside=(FLIPNET, FLIPNET))
    record = Record(5, (uneven,))
    assert Record.from_json(record.to_json()) == record
    assert (network_calls(record.steps), record.by_model) == (3, True)
    network, hq = Inverter(), face()
    lq = make_lq(record, hq, network)
    np.testing.assert_array_equal(lq[:24, :24], 255 - hq[:24, :24])
    np.testing.assert_array_equal(lq[24:], hq[24:])
    seats = [call.seat.position for calls in network.calls for call in calls]
    assert seats == [(0, 0, 0), (0, 1, 0), (0, 1, 1)]


@pytest.mark.parametrize("ops", [(FLIPNET,), (Uneven(side=0.5, left=0, top=0, inside=(FLIPNET,), outside=()),)])
def test_without_a_network_the_message_says_what_to_give(ops: tuple[Op, ...]) -> None:
    with pytest.raises(ConfigError, match=r"the FlipNet 0123456789ab degrades .*`network=Networks\(recipe\)`"):
        apply(Record(1, ops), to_float(face()))


def test_a_record_without_a_network_has_no_use_for_one() -> None:
    record, hq = Record(1, (Blur(sigma_x=2.0, sigma_y=2.0), Jpeg(quality=40))), face()
    network = Inverter()
    np.testing.assert_array_equal(make_lq(record, hq, network), make_lq(record, hq))
    assert network.calls == []
    assert not record.by_model


def test_numbers_that_no_solver_takes_are_refused_in_a_record() -> None:
    text = Record(1, (FLIPNET,)).to_json()
    for wrong in ('"num_steps":1001', '"guidance":-1', '"phi":1e9'):
        name = wrong.split(":")[0]
        start = text.index(name)
        changed = text[:start] + wrong + text[min(text.index(end, start) for end in ",}" if end in text[start:]) :]
        with pytest.raises(ValueError, match=f"flipnet.{name[1:-1]}: expected a number within"):
            Record.from_json(changed)
