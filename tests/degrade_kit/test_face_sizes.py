"""Sizes of real faces: measured by align, told by quantiles, drawn by recipes that need the file no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.face_sizes import QUANTILES, load_sizes, quantiles_of, sizes_to_json
from degrade_kit.ops import Frame, ResizeSide
from degrade_kit.recipe import Recipe, recipe_from_mapping


def measured(folder: Path, sides: list[float]) -> Path:
    file = folder / "sizes.json"
    file.write_text(sizes_to_json(sides))
    return file


def recipe(step: str, **keys: Any) -> Recipe:  # noqa: ANN401 (as YAML has it)
    return recipe_from_mapping({"name": "tried", "steps": [{step: keys}, {"resize": {"scale": 1}}]}, "tried")


def test_many_sizes_are_told_by_their_quantiles_and_few_by_themselves() -> None:
    rng = np.random.default_rng(0)
    sides = list(rng.lognormal(4.8, 0.4, 5000))
    told = quantiles_of(sides)
    assert len(told) == QUANTILES
    assert told[QUANTILES // 2] == pytest.approx(float(np.median(sides)), abs=0.1)
    assert (told[0], told[-1]) == pytest.approx((min(sides), max(sides)), abs=0.1)
    assert quantiles_of([70, 50, 60, 90]) == (50, 60, 70, 90)
    assert quantiles_of([80]) == (80, 80, 80)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "op"), [("photo_frame", Frame), ("resize", ResizeSide)])
def test_a_recipe_draws_sizes_as_they_were_measured(step: str, op: type[Frame | ResizeSide], tmp_path: Path) -> None:
    sides = list(np.random.default_rng(0).lognormal(4.8, 0.4, 3000))
    tried = recipe(step, side={"from": str(measured(tmp_path, sides))})
    rng = np.random.default_rng(1)
    first = [tried.draw(rng).steps[0] for _ in range(3000)]
    drawn = [made.side for made in first if isinstance(made, op)]
    assert len(drawn) == 3000
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.quantile(drawn, share) == pytest.approx(np.quantile(sides, share), rel=0.05)


def test_a_recipe_holds_the_numbers_and_needs_the_file_no_more(tmp_path: Path) -> None:
    file = measured(tmp_path, [60, 80, 100, 150])
    tried = recipe("photo_frame", side={"from": str(file)})
    file.unlink()
    assert tried.to_mapping()["steps"][0]["photo_frame"]["side"] == [60, 80, 100, 150]
    again = recipe_from_mapping(tried.to_mapping(), "again")
    assert again.digest() == tried.digest() == recipe("photo_frame", side=[60, 80, 100, 150]).digest()
    assert again.digest() != recipe("photo_frame", side=[60, 80, 100, 151]).digest()


def test_sizes_beyond_what_a_step_takes_count_as_its_limits(tmp_path: Path) -> None:
    tried = recipe("photo_frame", side={"from": str(measured(tmp_path, [3, 100, 5000]))})
    assert tried.to_mapping()["steps"][0]["photo_frame"]["side"] == [8, 100, 2048]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no file of sizes at .*sizes\.json; `degrade-kit align .*writes OUT/sizes\.json"),
        ("[]", "expected an object with fields"),
        ({"format": 2, "faces": 1, "sides": [1, 2, 3]}, "expected sizes of format 1"),
        ({"format": 1, "faces": 0, "sides": [1, 2, 3]}, "of at least one face"),
        ({"format": 1, "faces": 3, "sides": [1, 3, 2]}, "expected 3 to 65 sizes in order"),
        ({"format": 1, "faces": 3, "sides": [1, 2]}, "expected 3 to 65 sizes in order"),
        ({"format": 1, "faces": 3, "sides": [1, "a", 2]}, r"sides\[1\]: expected a number"),
    ],
)
def test_a_file_that_is_none_of_sizes_is_named_with_what_is_wrong(
    content: Any,  # noqa: ANN401 (parsed JSON)
    message: str,
    tmp_path: Path,
) -> None:
    file = tmp_path / "sizes.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        load_sizes(file)
    with pytest.raises(ConfigError, match=r"tried: steps\[0\]\.photo_frame\.side: .*" + message):
        recipe("photo_frame", side={"from": str(file)})


@pytest.mark.parametrize("value", [{"form": "a.json"}, {"from": 3}, {"from": "a.json", "to": 3}, {}])
def test_a_mapping_names_a_file_and_nothing_else(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"side: expected `\{from: FILE\}` with a file of `degrade-kit align`"):
        recipe("resize", side=value)
