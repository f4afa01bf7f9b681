"""Record banks: read back as written, drawn from evenly, varied within bounds, and refused where they are damaged."""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import degrade_kit as dk
from degrade_kit.bank import Bank, load_bank, shipped_banks, varied
from degrade_kit.errors import ConfigError
from degrade_kit.ops import Blur, Frame, GaussianNoise, Jpeg, Op, Resize, ResizeSide, Tone, Unframe
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping
from degrade_kit.record import Record

PLACE: dict[str, Any] = {"side": 100, "angle": 0.1, "right": 2.0, "down": -3.0}
FRAMED: tuple[Op, ...] = (
    Frame(**PLACE),
    Tone(exposure=0.2),
    Blur(sigma_x=0.8, sigma_y=0.8),
    GaussianNoise(level=4.0),
    Jpeg(quality=80),
    Unframe(**PLACE),
)
PLAIN: tuple[Op, ...] = (ResizeSide(side=90), Jpeg(quality=60), Resize(scale=1.0))
BANK = Bank("tried", "made by a test", (FRAMED, PLAIN))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tried.json"
    path.write_text(BANK.to_json(), "utf-8")
    return path


def recipe(file: Path, **keys: object) -> Recipe:
    return recipe_from_mapping({"name": "tried", "steps": [{"bank": {"file": str(file), **keys}}]}, "tried")


def test_a_bank_is_read_back_as_it_was_written(file: Path) -> None:
    assert load_bank(file) == BANK
    assert len(file.read_text("utf-8").splitlines()) == 4, "one record a line, so that a change can be read"


def test_every_record_is_drawn_as_often(file: Path) -> None:
    rng, made = np.random.default_rng(0), recipe(file)
    kinds = collections.Counter(type(made.draw(rng).steps[0]) for _ in range(1000))
    assert kinds.keys() == {Frame, ResizeSide}
    assert abs(kinds[Frame] - 500) < 80


def test_without_variation_only_the_places_of_blocks_change(file: Path) -> None:
    rng, made = np.random.default_rng(1), recipe(file, vary=0)
    for _ in range(20):
        steps = made.draw(rng).steps
        if isinstance(steps[0], Frame):
            assert steps[1:-1] == FRAMED[1:-1]
            assert (steps[0].side, steps[0].angle) == (100, 0.1)
            assert steps[0].right != 2.0
        else:
            assert steps == PLAIN


def test_what_is_varied_stays_a_record_and_one_photograph() -> None:
    rng = np.random.default_rng(2)
    for width in (0.05, 0.3, 1.0):
        for _ in range(100):
            record = Record(5, varied(FRAMED, width, rng))
            assert Record.from_json(record.to_json()) == record
            frame, tone, blur, noise, jpeg, last = record.steps
            assert isinstance(frame, Frame)
            assert isinstance(last, Unframe)
            assert all(getattr(frame, name) == getattr(last, name) for name in PLACE)
            assert isinstance(blur, Blur)
            assert blur.sigma_x == pytest.approx(blur.sigma_y)
            assert isinstance(jpeg, Jpeg)
            assert 1 <= jpeg.quality <= 100
            assert isinstance(noise, GaussianNoise)
            assert noise.level > 0
            assert isinstance(tone, Tone)


def test_the_spread_of_a_variation_is_its_width() -> None:
    rng = np.random.default_rng(3)
    levels = np.log([varied((GaussianNoise(level=4.0),), 0.2, rng)[0].level for _ in range(2000)])  # pyright: ignore[reportAttributeAccessIssue]
    assert levels.std() == pytest.approx(0.2, rel=0.1)
    assert levels.mean() == pytest.approx(np.log(4), abs=0.03)


def test_the_recipe_names_the_bank_by_its_digest(file: Path) -> None:
    made = recipe(file)
    assert made.to_mapping()["steps"] == [{"bank": {"file": str(file), "digest": BANK.digest}}]
    assert recipe(file, digest=BANK.digest) == made
    other = Bank(BANK.name, BANK.source, (FRAMED,))
    file.write_text(other.to_json(), "utf-8")
    with pytest.raises(ConfigError, match=f"expected the bank {BANK.digest}, found {other.digest}"):
        recipe(file, digest=BANK.digest)


def test_a_worker_draws_without_the_file(file: Path) -> None:
    made = recipe(file)
    expected = made.draw(np.random.default_rng(4))
    copied = pickle.dumps(made)
    file.unlink()
    assert pickle.loads(copied).draw(np.random.default_rng(4)) == expected


def test_a_data_set_of_a_bank_is_made_again_from_its_records(file: Path, faces_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nsteps:\n  - bank: {file: " + str(file) + "}\n", "utf-8")
    made = dk.synthesize(
        faces_dir, tmp_path / "out", preset=load_recipe(tmp_path / "mine.yaml"), variants=2, size=128, workers=0
    )
    assert made.num_samples == 6
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "expected a bank of format 1"),
        ({"records": []}, "at least one record"),
        ({"records": [[{"op": "jpeg", "quality": 50}]]}, "record 0 does not end at the full size"),
        (
            {"records": [[{"op": "jpeg", "quality": 500}, {"op": "resize", "scale": 1.0, "filter": "linear"}]]},
            "quality",
        ),
        ({"records": [[{"op": "nothing"}]]}, "unknown operation"),
        ({"records": 3}, "expected a list"),
    ],
)
def test_a_damaged_bank_is_refused(change: dict[str, object], message: str, file: Path) -> None:
    file.write_text(json.dumps({**json.loads(BANK.to_json()), **change}), "utf-8")
    with pytest.raises(ConfigError, match=message):
        load_bank(file)


def test_a_bank_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="press-foto"):
        load_bank("press-foto")
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        load_bank("nowhere.json")


@pytest.mark.parametrize("name", shipped_banks())
def test_the_banks_that_ship_are_whole(name: str) -> None:
    bank = load_bank(name)
    assert bank.name == name
    assert len(bank.records) >= 100
    assert bank.source
