"""The JSON Schema of recipes: it takes every recipe that ships, and refuses what the reader of recipes refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from degrade_kit.errors import ConfigError
from degrade_kit.presets import preset, preset_names
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.recipe_schema import recipe_schema
from degrade_kit.steps import STEPS, RandomResize
from tests.degrade_kit.test_recipe import MINE, WRONG_RECIPES, WRONG_STEPS, WRONG_TOGETHER
from tests.degrade_kit.test_steps import example

SCHEMA: Any = recipe_schema()
VALIDATOR: Any = jsonschema.Draft202012Validator(SCHEMA)
BEYOND = (
    "min <= max",  # no schema compares two entries of a list
    "a whole number",  # nor knows what lies between them
    "in_order",  # nor compares a number with the length of another list
    "levels.low",  # nor with one under another key
    *("no flipnet.json", "no description.json", "No such file", "descriptions of 11"),  # nor looks at files
)
"""What only the reader of recipes can tell, by its messages."""
ROOT = Path(__file__).resolve().parents[2]


def as_json(data: object) -> Any:  # noqa: ANN401 (parsed JSON)
    return json.loads(json.dumps(data))


@pytest.mark.slow
def test_it_is_a_schema_itself_and_describes_every_step() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]) == {*STEPS, "step", "option"}
    jpeg = SCHEMA["$defs"]["jpeg"]
    assert jpeg["required"] == ["quality"]
    assert jpeg["description"] == "JPEG compression of a drawn quality."
    assert jpeg["properties"]["quality"]["description"].startswith("Range of the quality")
    assert jpeg["properties"]["any_grid"]["default"] is False
    assert jpeg["properties"]["prob"] == {"type": "number", "minimum": 0, "maximum": 1, "default": 1.0}


@pytest.mark.parametrize("name", preset_names())
def test_every_recipe_that_ships_is_taken(name: str) -> None:
    VALIDATOR.validate(as_json(preset(name).to_mapping()))


def test_recipes_of_documents_and_files_are_taken() -> None:
    found = [yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "pipelines" / "configs").glob("*.yaml")]
    found = [data for data in found if "steps" in data]
    for page in ("recipes.md", "gallery.md"):
        blocks = (ROOT / "docs" / page).read_text("utf-8").split("```yaml\n")[1:]
        parsed = [yaml.safe_load(block.split("```")[0]) for block in blocks]
        found += [data if isinstance(data, dict) else {"name": "strip", "steps": data} for data in parsed]
    assert len(found) > 30
    for data in (yaml.safe_load(MINE), *found):
        VALIDATOR.validate(as_json(data))


@pytest.mark.parametrize(("data", "message"), WRONG_RECIPES)
def test_what_is_no_recipe_is_refused(data: object, message: str) -> None:
    del message
    assert not VALIDATOR.is_valid(as_json(data))


@pytest.mark.parametrize(("steps", "message"), [*WRONG_STEPS, *WRONG_TOGETHER])
def test_wrong_steps_are_refused_but_for_what_no_schema_can_tell(steps: object, message: str) -> None:
    valid = VALIDATOR.is_valid(as_json({"name": "mine", "steps": steps}))
    assert valid == any(words in message for words in BEYOND), message


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("flipnet", "bank") else name for name in STEPS]
)
def test_schema_and_reader_agree_on_wrong_values_of_every_field(name: str) -> None:
    full = RandomResize(scale=(1, 1))
    least = as_json(Recipe(name="mine", steps=(example(name), full)).to_mapping()["steps"][0][name])
    for field in dataclasses.fields(STEPS[name]):  # pyright: ignore[reportArgumentType]
        for value in ("x", [2, 1], [[1]], {"x": 1}, None, -1e9, 0.5, True):
            step = {name: {**least, field.name: value}}
            try:
                recipe_from_mapping({"name": "mine", "steps": [step, {"resize": {"scale": 1}}]}, "mine.yaml")
                taken, beyond = True, False
            except ConfigError as error:
                taken, beyond = False, any(words in str(error) for words in BEYOND)
            assert beyond or taken == VALIDATOR.is_valid({"name": "mine", "steps": [step]}), step


@pytest.mark.parametrize("name", [None, "", [1], {"a": 1}])
def test_a_name_is_text(name: object) -> None:
    assert not VALIDATOR.is_valid({"name": name, "steps": ["gray"]})


@pytest.mark.parametrize(
    "step",
    [
        {"blur": {"sigma": 1, "support": 8}},
        {"blur": {"sigma": 1, "variance": 1}},
        {"blur": {"sigma": 1, "kernels": {"iso": 0}}},
        {"blur": {"sigma": 1, "kernels": {"round": 1}}},
        {"video": {"codec": "h264"}},
        {"one_of": {"options": [{"weight": 0, "steps": []}]}},
        {"jpeg": {"quality": 50.5}},
        {"watermark": {"text": "\u00fc"}},
        {"photo_frame": {"side": {"from": 3}}},
    ],
)
def test_what_fields_do_not_take_is_refused(step: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"name": "mine", "steps": [step]})
