"""Recipes for kinds of photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.degradation import make_lq, make_target
from degrade_kit.ops import Frame, Gray, Jpeg, Palette, Unframe, WebP
from degrade_kit.presets import preset, preset_names
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.scene_presets import SCENES
from degrade_kit.seeding import generator


def test_scenes_are_presets() -> None:
    assert set(SCENES) <= set(preset_names())
    assert all(preset(name) is SCENES[name] for name in SCENES)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_is_a_small_face_in_a_photograph_and_can_be_replayed(
    name: str, astronaut: npt.NDArray[np.uint8]
) -> None:
    recipe = SCENES[name]
    assert recipe_from_mapping(recipe.to_mapping(), name).digest() == recipe.digest()
    assert recipe.libraries() == {}
    image = np.ascontiguousarray(astronaut[20:148, 160:288])
    for variant in range(4):
        record = recipe.draw(generator(2, "a.png", variant))
        assert isinstance(record.steps[0], Frame)
        assert isinstance(record.steps[-1], Unframe)
        assert isinstance(record.steps[-2], (Jpeg, WebP, Palette)), "a photograph's file"
        lq = make_lq(Record.from_json(record.to_json()), image)
        assert np.array_equal(lq, make_lq(record, image))
        assert np.abs(lq.astype(int) - image).mean() > 2


@pytest.mark.parametrize("name", ["old-print", "film"])
def test_gray_prints_have_gray_targets(name: str, astronaut: npt.NDArray[np.uint8]) -> None:
    records = [SCENES[name].draw(generator(2, "a.png", variant)) for variant in range(40)]
    gray = [record for record in records if any(isinstance(op, Gray) for op in record.steps)]
    assert 0 < len(gray) < 40
    for record in gray[:2]:
        target = make_target(record, astronaut)
        assert np.array_equal(target[..., 0], target[..., 2])
    assert all(not record.target for record in records if record not in gray)
