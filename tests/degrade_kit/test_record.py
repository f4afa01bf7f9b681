"""A record may be somebody else's: it holds nothing that costs memory or time beyond what recipes draw."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.record import Record, ops_from_json
from tests.distinct import DISTINCT_PRESETS

BLUR = {"op": "blur", "sigma_x": 1.0, "sigma_y": 1.0}
JITTER = {"op": "color_jitter", "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
UNEVEN = {"op": "uneven", "left": 0.5, "top": 0.5, "side": 0.5, "inside": [], "outside": []}


def record_of(*ops: dict[str, Any]) -> str:
    return json.dumps({"seed": 1, "steps": ops, "target": []})


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (BLUR | {"size": 100_001}, r"blur.size: expected a number within \[1, 1601\] in a record, got 100001"),
        (BLUR | {"size": -1}, "blur.size: expected a number within"),
        (BLUR | {"sigma_x": 1e300}, "blur.sigma_x: expected float in a record, got 1e.300"),
        ({"op": "sinc_blur", "size": 9999, "cutoff": 1.0}, "sinc_blur.size"),
        ({"op": "motion_blur", "size": 9999, "length": 1.0, "angle": 0.0}, "motion_blur.size"),
        ({"op": "motion_blur", "size": 9, "length": 1e8, "angle": 0.0}, "motion_blur.length"),
        ({"op": "resize", "scale": 1e-6}, "resize.scale"),
        ({"op": "decimate", "factor": 0, "sigma": 1.0}, "decimate.factor"),
        ({"op": "decimate", "factor": 2, "sigma": 1.0, "size": 99_999}, "decimate.size"),
        ({"op": "shift", "right": 10**9, "down": 0}, "shift.right"),
        ({"op": "jpeg", "quality": 10**10}, "jpeg.quality"),
        ({"op": "webp", "quality": -1}, "webp.quality"),
        (
            {"op": "covariance_noise", "covariance": [1.0]},
            r"covariance_noise.covariance: expected a number within \[9, 9\]",
        ),
        (JITTER | {"order": ["hue"] * 5}, "color_jitter.order"),
        (UNEVEN | {"side": 7.0}, "uneven.side"),
        ({"op": "flipnet", "model": "x", "prompt": "", "num_steps": 10**9}, "flipnet.num_steps"),
    ],
)
def test_a_number_that_no_recipe_draws_is_refused(op: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Record.from_json(record_of(op))
    with pytest.raises(ValueError, match=message):
        ops_from_json(json.dumps([UNEVEN | {"inside": [op]}]))


def test_many_operations_and_long_or_deep_texts_are_refused() -> None:
    gray = {"op": "gray"}
    assert len(Record.from_json(record_of(*[gray] * 1000)).steps) == 1000
    with pytest.raises(ValueError, match="1001 operations in a record"):
        Record.from_json(record_of(*[gray] * 1001))
    with pytest.raises(ValueError, match="1201 operations in a record"):
        Record.from_json(record_of(UNEVEN | {"inside": [gray] * 600, "outside": [gray] * 600}))
    with pytest.raises(ValueError, match="the most is 1,048,576"):
        Record.from_json(record_of(gray) + " " * (1 << 20))
    deep: dict[str, Any] = gray
    for _ in range(40):
        deep = UNEVEN | {"inside": [deep]}
    for text in (record_of(deep), "[" * 100_000):
        with pytest.raises(ValueError, match=r"deeper than 64 levels|maximum recursion|more values"):
            Record.from_json(text)


@pytest.mark.parametrize("name", DISTINCT_PRESETS)
def test_what_presets_draw_is_read_again(name: str) -> None:
    for seed in range(20):
        record = preset(name).draw(np.random.default_rng(seed))
        assert Record.from_json(record.to_json()) == record


def test_what_recipes_draw_at_their_limits_is_read_again() -> None:
    steps = [
        {"blur": {"sigma": 200, "support": "full"}},
        {"blur": {"variance": 40_000, "support": "full", "kernels": "aniso"}},
        {"sinc_blur": {"support": 255}},
        {"motion_blur": {"length": 200}},
        {"resize": {"scale": 0.1}},
        {"resize": {"scale": 512}},
        {"resize": {"factor": 1 / 512}},
        {"resize": {"factor": 10}},
        {"decimate": {"factor": 16, "sigma": 100}},
        {"shift": {"limit": 256}},
        {"jpeg": {"quality": [1, 100]}},
        {"webp": {"quality": [1, 100]}},
        {"video": {"crf": [0, 51], "before": 30, "motion": 32, "zoom": 0.1}},
        {"video": {"bitrate": [0.001, 24]}},
        {"ai_upscale": {"factor": [0.5, 8], "strength": [0, 1]}},
        {"resize": {"scale": 1}},
    ]
    recipe = recipe_from_mapping({"name": "limits", "steps": steps}, "limits")
    for seed in range(20):
        record = recipe.draw(np.random.default_rng(seed))
        assert Record.from_json(record.to_json()) == record
