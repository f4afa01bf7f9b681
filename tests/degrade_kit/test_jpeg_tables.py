"""Tables of JPEG files: read from photographs, counted by align, drawn by recipes, and in the files that are made."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import degrade_kit as dk
from degrade_kit.degradation import degrade, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.jpeg_tables import PHOTOSHOP, jpeg_tables, load_tables, scaled_tables, tables_of, tables_to_json
from degrade_kit.ops import Jpeg
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record

Pixels = npt.NDArray[np.uint8]

CAMERA = "4:2:2 " + " ".join(str(2 + place % 8 + place // 8) for place in range(64)) + " " + " ".join(["9"] * 64)
"""Tables as no program of ours has them."""


def file_of(image: Pixels, **options: Any) -> bytes:  # noqa: ANN401 (of Pillow)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def recipe(**keys: Any) -> Recipe:  # noqa: ANN401 (as YAML has it)
    return recipe_from_mapping({"name": "tried", "steps": [{"jpeg": keys}]}, "tried")


@pytest.fixture
def face(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[40:168, 150:278])


def test_a_file_has_the_tables_and_the_subsampling_that_the_recipe_draws(face: Pixels) -> None:
    tried = recipe(quality=50, tables=CAMERA)
    assert tried.native_format() == "jpg"
    record = tried.draw(np.random.default_rng(0))
    assert Record.from_json(record.to_json()) == record
    encoded = degrade(record, face).encoded
    assert encoded is not None
    assert tables_of(encoded.data) == CAMERA
    assert np.array_equal(make_lq(record, face), encoded.decode())


@pytest.mark.parametrize("name", PHOTOSHOP)
def test_photoshops_settings_give_pillows_files(name: str, face: Pixels) -> None:
    encoded = degrade(recipe(quality=50, tables=name).draw(np.random.default_rng(0)), face).encoded
    assert encoded is not None
    assert encoded.data == file_of(face, quality=name.removeprefix("photoshop-").replace("-", "_"))


def test_quality_scales_tables_as_it_does_the_standards(face: Pixels) -> None:
    standard = tables_of(file_of(face, quality=50))
    for quality in (10, 49, 50, 51, 75, 95, 100):
        luma, chroma = scaled_tables(standard[6:], quality)
        assert " ".join(map(str, luma + chroma)) == tables_of(file_of(face, quality=quality))[6:]
    losses = [
        np.abs(make_lq(recipe(quality=quality, tables=CAMERA).draw(np.random.default_rng(0)), face).astype(int) - face)
        for quality in (95, 50, 20, 5)
    ]
    assert [loss.mean() for loss in losses] == sorted(loss.mean() for loss in losses)


def test_blocks_lie_anywhere_with_other_tables_too(face: Pixels) -> None:
    plain = make_lq(Record(1, (Jpeg(quality=10, tables=CAMERA[6:]),)), face)
    moved = make_lq(Record(1, (Jpeg(quality=10, tables=CAMERA[6:], right=3, down=5),)), face)
    assert moved.shape == plain.shape
    assert not np.array_equal(moved, plain)


def test_tables_of_other_files_are_none(face: Pixels) -> None:
    assert tables_of(file_of(np.ascontiguousarray(face[..., 0]), quality=80)).startswith("4:2:0 ")
    assert tables_of(b"") == tables_of(b"\xff\xd8\xff") == tables_of(b"\xff\xd8" + bytes(100)) == ""
    assert tables_of(cv2.imencode(".png", face)[1].tobytes()) == ""


def test_a_recipe_draws_tables_as_often_as_they_were_found_and_needs_the_file_no_more(tmp_path: Path) -> None:
    other = CAMERA.replace("4:2:2", "4:4:4")
    file = tmp_path / "jpeg_tables.json"
    file.write_text(tables_to_json([CAMERA] * 3 + [other]))
    assert load_tables(file) == {CAMERA: 3, other: 1}
    tried = recipe(quality=50, tables={"from": str(file)})
    file.unlink()
    rng = np.random.default_rng(0)
    drawn = [op for _ in range(2000) for op in tried.draw(rng).steps if isinstance(op, Jpeg)]
    assert np.mean([op.subsampling == "4:2:2" for op in drawn]) == pytest.approx(0.75, abs=0.04)
    assert {op.tables for op in drawn} == {CAMERA[6:]}
    again = recipe_from_mapping(tried.to_mapping(), "again")
    assert again.digest() == tried.digest() != recipe(quality=50).digest()


def test_a_recipe_without_tables_draws_as_before() -> None:
    assert recipe(quality=[30, 90]).to_mapping()["steps"] == [{"jpeg": {"quality": [30, 90]}}]
    mixed = recipe(quality=50, tables={"standard": 1, "photoshop-low": 1})
    rng = np.random.default_rng(0)
    drawn = {op.tables != "" for _ in range(40) for op in mixed.draw(rng).steps if isinstance(op, Jpeg)}
    assert drawn == {True, False}


@pytest.mark.slow
def test_photographs_tables_go_from_align_to_a_data_set_that_is_made_again(faces_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "jpeg_tables.json"
    file.write_text(tables_to_json([CAMERA, CAMERA.replace("4:2:2", "4:4:4")]))
    frame = {"photo_frame": {"side": 64, "steps": [{"jpeg": {"quality": 50, "tables": {"from": str(file)}}}]}}
    tried = recipe_from_mapping({"name": "camera", "steps": [frame]}, "")
    dk.synthesize(faces_dir, tmp_path / "out", preset=tried, size=96, workers=0)
    file.unlink()
    checked = dk.verify(tmp_path / "out", replay=1.0, workers=0)
    assert checked.problems == []
    assert checked.identical == checked.replayed == 6
    for sample in dk.open_shards(tmp_path / "out").samples():
        assert tables_of(sample.image("lq0"))[6:] == CAMERA[6:]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("photoshop-lo", r"unknown tables 'photoshop-lo'; did you mean `photoshop-low`"),
        ("4:2:0 1 2 3", "expected 128 numbers from 1 to 255"),
        (CAMERA.replace(" 9", " 0"), "expected 128 numbers from 1 to 255"),
        ({}, "expected names of tables with weights"),
        (3, "expected names of tables with weights"),
        ({"standard": 0}, "a positive weight for at least one"),
        ({"from": "none.json"}, r"no file of tables at none\.json; `degrade-kit align"),
    ],
)
def test_what_are_no_tables_is_refused(value: Any, message: str) -> None:  # noqa: ANN401 (as YAML has it)
    with pytest.raises(ConfigError, match=message):
        jpeg_tables(value, "jpeg.tables")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2, "photos": 1, "tables": {CAMERA: 1}}, "expected tables of format 1"),
        ({"format": 1, "photos": 1, "tables": {}}, "at least one"),
        ({"format": 1, "photos": 1, "tables": {CAMERA: -1}}, "expected a whole number"),
        ({"format": 1, "photos": 1, "tables": {"4:2:0 5": 1}}, "expected 128 numbers"),
    ],
)
def test_a_file_that_is_none_of_tables_is_named(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "jpeg_tables.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        load_tables(file)


def test_a_record_with_damaged_tables_is_refused() -> None:
    text = Record(1, (Jpeg(quality=50, tables=CAMERA[6:]),)).to_json()
    with pytest.raises(ValueError, match="expected 128 numbers from 1 to 255 in JPEG tables"):
        Record.from_json(text.replace(" 9 9 9", " 9 900 9"))
