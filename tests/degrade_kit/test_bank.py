"""Record banks: read back as written, drawn from evenly, varied within bounds, and refused where they are damaged."""

from __future__ import annotations

import collections
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import degrade_kit as dk
from degrade_kit.bank import Bank, load_bank, rounded, shipped_banks, varied
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.folder import degrading_model
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Blur, Denoise, Frame, GaussianNoise, Jpeg, Op, Rescale, Resize, ResizeSide, Tone, Unframe
from degrade_kit.presets import MIXTURES, preset, preset_names
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.steps import FromBank, OneOf

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


def test_four_digits_of_a_number_are_kept() -> None:
    ops = rounded(
        (Frame(side=174, angle=-0.016572114551, right=0.82712483, down=6.875557), GaussianNoise(level=12.34567))
    )
    assert ops == (Frame(side=174, angle=-0.01657, right=0.8271, down=6.876), GaussianNoise(level=12.35))
    assert rounded(ops) == ops


def test_a_number_at_its_limit_is_read_back_as_it_was_written() -> None:
    rng = np.random.default_rng(0)
    near: tuple[Op, ...] = (Denoise(method="bilateral", strength=30.0, radius=9.9),)
    drawn = [Record(0, varied(near, 0.5, rng)) for _ in range(40)]
    assert any(isinstance(op, Denoise) and op.radius == 10 for record in drawn for op in record.steps)
    for record in drawn:
        assert Record.from_json(record.to_json()).to_json() == record.to_json()


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


def test_what_the_photographs_told_is_not_varied(tmp_path: Path) -> None:
    told: tuple[Op, ...] = (*FRAMED[:3], Rescale(factor=0.7), Jpeg(quality=50), Jpeg(quality=90), FRAMED[-1])
    rng = np.random.default_rng(8)
    qualities: set[int] = set()
    for _ in range(20):
        frame, tone, blur, resize, first, last, _ = varied(told, 0.3, rng, ("side", "file", "tone"))
        assert isinstance(frame, Frame)
        assert tone == told[1], "light on light would add up"
        assert (frame.side, resize, last) == (100, told[3], Jpeg(quality=90)), "size and file are as they were"
        assert blur != told[2]
        assert isinstance(first, Jpeg)
        qualities.add(first.quality)
    assert len(qualities) > 5, "the file before it was told by nobody"
    bank = Bank("told", "by a test", (told,), ("side", "file", "tone"), "any terms")
    (tmp_path / "told.json").write_text(bank.to_json(), "utf-8")
    assert load_bank(tmp_path / "told.json") == bank
    assert bank.digest != Bank("told", "by a test", (told,)).digest, "other draws, another bank"
    made = recipe(tmp_path / "told.json")
    assert all(made.draw(rng).steps[-2] == Jpeg(quality=90) for _ in range(20))


def test_a_photograph_that_is_resized_and_brought_back_has_its_size_again() -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        ops = varied((Rescale(factor=0.5), Rescale(factor=2.0)), 0.3, rng)
        assert np.prod([op.factor for op in ops if isinstance(op, Rescale)]) == pytest.approx(1)
        assert ops[0] != Rescale(factor=0.5)


def test_a_recipe_finds_the_bank_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tried.json").write_text(BANK.to_json(), "utf-8")
    (tmp_path / "mine.yaml").write_text("name: mine\nsteps:\n  - bank: {file: tried.json}\n", "utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(tmp_path / "mine.yaml").draw(np.random.default_rng(0)).steps


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


@pytest.mark.slow
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


def of_a_network() -> Bank:
    """A bank with a record of the FlipNet `photos`."""
    digest, _, _ = degrading_model("photos")
    step = FlipNetImage(model=digest, prompt="clean, press", num_steps=2)
    records = PLAIN, (ResizeSide(side=40), step, Resize(scale=1.0))
    return Bank("tried", "by a test", records, models={digest: "photos"})


def test_a_bank_says_where_the_flipnets_of_its_records_are(tmp_path: Path) -> None:
    bank, file = of_a_network(), tmp_path / "tried.json"
    file.write_text(bank.to_json(), "utf-8")
    assert load_bank(file) == bank
    made = recipe(file)
    assert made.models == dict(bank.models)
    assert pickle.loads(pickle.dumps(made)).models == made.models
    assert recipe_from_mapping(made.to_mapping(), "again").models == made.models
    assert "models" not in BANK.to_json(), "files of others are as before"


def test_a_bank_whose_flipnet_is_another_or_nowhere_is_refused(tmp_path: Path) -> None:
    bank, file = of_a_network(), tmp_path / "tried.json"
    [digest] = bank.models
    for models, message in (
        ({digest: "small"}, f"expected the FlipNet {digest}, found "),
        ({digest: str(tmp_path / "gone")}, f"it was the FlipNet {digest}"),
        ({}, f"it does not say where the FlipNet {digest} is"),
    ):
        file.write_text(dataclasses.replace(bank, models=models).to_json(), "utf-8")
        with pytest.raises(ConfigError, match=message):
            recipe(file)


@pytest.mark.slow
def test_a_data_set_of_a_bank_with_a_flipnet_is_made_again_from_its_records(faces_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "tried.json").write_text(of_a_network().to_json(), "utf-8")
    made = recipe(tmp_path / "tried.json")
    dk.synthesize(faces_dir, tmp_path / "out", preset=made, variants=2, size=128, workers=0)
    samples = dk.open_shards(tmp_path / "out").samples()
    records = [sample.info[f"lq{number}_record"] for sample in samples for number in range(2)]
    by_network = [text for text in records if "flipnet" in text]
    assert 0 < len(by_network) < len(records), "both records are drawn"
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 12


def test_a_bank_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="press-foto"):
        load_bank("press-foto")
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        load_bank("nowhere.json")


@pytest.mark.parametrize("name", shipped_banks())
def test_the_banks_that_ship_are_whole(name: str) -> None:
    bank = load_bank(name)
    assert bank.name == name
    assert len(bank.records) >= 60
    assert bank.source


def test_a_mixture_draws_from_banks_that_ship_and_states_their_terms() -> None:
    assert set(MIXTURES) <= set(preset_names())
    for name, shares in MIXTURES.items():
        made = preset(name)
        [step] = made.steps
        assert isinstance(step, OneOf)
        found = {
            option.steps[0].file: option.weight for option in step.options if isinstance(option.steps[0], FromBank)
        }
        assert found == shares
        assert all(load_bank(bank).licence in made.source for bank in shares)
        assert recipe_from_mapping(made.to_mapping(), name) == made
        rng = np.random.default_rng(6)
        assert all(made.draw(rng).steps for _ in range(20))


SKINS = {"dark": (96, 65, 52), "brown": (130, 92, 67), "sunburnt": (190, 110, 70), "tan": (160, 126, 86)}


@pytest.mark.parametrize("skin", SKINS)
def test_tones_of_the_banks_that_ship_leave_faces_their_colour(skin: str) -> None:
    """What darkens, warms and saturates adds up: twice as much colour makes a warm face orange."""
    face = np.full((1, 1, 3), SKINS[skin], np.uint8)
    for name in shipped_banks():
        bank = load_bank(name)
        assert "tone" in bank.told, "a tone is not varied"
        for tone in {op for ops in bank.records for op in ops if isinstance(op, Tone)}:
            made = make_lq(Record(0, (Resize(scale=1), tone, Resize(scale=1))), face)
            assert 0.65 < np.ptp(made) / np.ptp(face) < 1.5, tone


def test_each_bank_that_ships_states_whose_photographs_it_is_near() -> None:
    for name in shipped_banks():
        bank = load_bank(name)
        assert "photographs" in bank.licence
        assert preset(name).source.endswith(bank.licence)
