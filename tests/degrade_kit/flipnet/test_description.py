"""Descriptions of photographs: what they tell, what they do not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet import description
from degrade_kit.flipnet.description import (
    SHIPPED_SPACE,
    SPACE_FILE,
    STATISTICS,
    DescriptionSpace,
    describe_place,
    read_space,
    statistics,
)
from degrade_kit.image import Pixels, encode_jpeg, encode_png
from degrade_kit.network_ops import DESCRIPTION_LIMIT
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.seeding import generator


@pytest.fixture(scope="module")
def space() -> DescriptionSpace:
    return read_space(SHIPPED_SPACE.parent)


@pytest.fixture(scope="module")
def faces(astronaut: Pixels) -> list[Pixels]:
    """Two parts of a photograph that show other things, shrunk, so that they are sharp."""
    parts = (astronaut[:320, 60:380], astronaut[160:480, 160:480])
    return [np.asarray(cv2.resize(part, (112, 112), interpolation=cv2.INTER_AREA), np.uint8) for part in parts]


def far(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


STEPS: dict[str, list[dict[str, Any]]] = {
    "sharp": [{"blur": {"sigma": 0.2}}],
    "blur": [{"blur": {"sigma": 1.8}}],
    "noise": [{"gaussian_noise": {"level": 12}}],
    "jpeg": [{"jpeg": {"quality": 30}}],
    "dark": [{"tone": {"exposure": 0}}, {"low_light": {"gamma": 3}}],
}


def test_a_degradation_is_nearest_to_itself_on_another_image(space: DescriptionSpace, faces: list[Pixels]) -> None:
    recipes = {name: recipe_from_mapping({"name": name, "steps": steps}, name) for name, steps in STEPS.items()}
    made = {
        name: [space.describe(make_lq(recipe.draw(generator(0, "x", 0)), face)) for face in faces]
        for name, recipe in recipes.items()
    }
    for name, (first, _) in made.items():
        assert min(made, key=lambda other: far(first, made[other][1])) == name


def test_the_parts_of_a_photograph_agree(space: DescriptionSpace, faces: list[Pixels]) -> None:
    noisy, blurred = (
        make_lq(recipe_from_mapping({"name": name, "steps": STEPS[name]}, name).draw(generator(0, "x", 0)), faces[0])
        for name in ("noise", "blur")
    )
    above, below = space.describe(noisy[:56]), space.describe(noisy[56:])
    assert far(above, below) < far(above, space.describe(blurred[:56]))


@pytest.mark.slow
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    low=st.integers(0, 255),
    high=st.integers(0, 255),
    seed=st.integers(0, 9),
)
def test_any_image_has_finite_numbers(height: int, width: int, low: int, high: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(min(low, high), max(low, high) + 1, (height, width, 3)).astype(np.uint8)
    before = image.copy()
    found = statistics(image)
    assert found.shape == (len(STATISTICS),)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(image, before)
    described = read_space(SHIPPED_SPACE.parent).describe(image)
    assert all(abs(value) <= DESCRIPTION_LIMIT for value in described)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 RGB, height x width x 3; got float32"):
        statistics(np.zeros((64, 64, 3), np.float32))  # pyright: ignore[reportArgumentType]


def test_the_middle_of_a_large_image_counts(space: DescriptionSpace, astronaut: Pixels) -> None:
    large = np.zeros((1024, 1024, 3), np.uint8)
    large[256:768, 256:768] = astronaut[:512, :512]
    assert space.describe(large) == space.describe(astronaut[:512, :512])


def test_a_space_comes_back(space: DescriptionSpace, tmp_path: Path, faces: list[Pixels]) -> None:
    (tmp_path / SPACE_FILE).write_text(space.to_json())
    again = read_space(tmp_path)
    assert again.describe(faces[0]) == space.describe(faces[0])
    assert again.to_json() == space.to_json()
    assert len(space.describe(faces[0])) == space.size <= 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "expected descriptions of format 1"),
        ({"statistics": ["size"]}, "and of the statistics measured here"),
        ({"mean": [1.0]}, "means, scales and rows of 1 to 24 numbers"),
        ({"scale": [0.0] * len(STATISTICS)}, r"scale\[0\]: expected a number within"),
        ({"matrix": []}, "rows of 1 to 24 numbers"),
        ({"matrix": [[0.0] * 25] * len(STATISTICS)}, "rows of 1 to 24 numbers"),
    ],
)
def test_a_damaged_space_is_one_message(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / SPACE_FILE).write_text(json.dumps({**json.loads(SHIPPED_SPACE.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        read_space(tmp_path)


def test_a_model_without_exemplars_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot degrade like a photograph: it has no description\.json"):
        read_space(tmp_path)


@pytest.fixture
def photographs(tmp_path: Path, faces: list[Pixels]) -> Path:
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    (folder / "b.png").write_bytes(encode_png(faces[0]))
    (folder / "more" / "c.jpg").write_bytes(encode_jpeg(faces[0], 30))
    (folder / "a.jpg").write_bytes(encode_jpeg(faces[1], 80))
    return folder


def test_a_folder_is_described_in_the_order_of_its_names(space: DescriptionSpace, photographs: Path) -> None:
    found = describe_place(space, photographs)
    each = [describe_place(space, str(photographs / name)) for name in ("a.jpg", "b.png", "more/c.jpg")]
    assert found == tuple(one for [one] in each)
    assert len(set(found)) == 3


def test_what_is_no_photograph_is_refused(
    space: DescriptionSpace, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        describe_place(space, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no image found"):
        describe_place(space, tmp_path / "empty")
    (photographs / "d.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"d\.png: cannot be used as an exemplar: "):
        describe_place(space, photographs)
    monkeypatch.setattr(description, "MOST_PHOTOGRAPHS", 3)
    with pytest.raises(ConfigError, match="expected at most 3 photographs, found 4; give a folder of some"):
        describe_place(space, photographs)
