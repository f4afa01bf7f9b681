"""Every preset stands in docs/presets.md, as the code makes it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.image import decode_image
from degrade_kit.presets import COMMITS, NO_NUMBERS, PRESETS, equal_presets, preset, preset_names
from tests.by_path import load_module
from tests.test_layers import ROOT

generator = load_module(ROOT / "docs" / "generate_presets.py")
FIRSTS = [names[0] for names in equal_presets()]


def test_there_are_at_least_35_names_and_all_are_on_the_page() -> None:
    assert len(preset_names()) == len(set(preset_names())) >= 35
    headings = re.findall(r"^### (.+)$", generator.PAGE.read_text("utf-8"), re.MULTILINE)
    assert [name for heading in headings for name in heading.split(", ")] == [
        name for names in equal_presets() for name in names
    ]
    assert set(COMMITS) <= set(PRESETS)
    assert len(NO_NUMBERS) > 5


def test_the_page_is_up_to_date() -> None:
    assert generator.PAGE.read_text("utf-8") == generator.page(), "stale: run python docs/generate_presets.py NAME"


def test_every_recipe_has_its_picture_and_its_time() -> None:
    kept = {path.name for path in generator.IMAGES.iterdir()}
    assert kept == {f"{name}.webp" for name in FIRSTS}, "run python docs/generate_presets.py NAME"
    assert sum(path.stat().st_size for path in generator.IMAGES.iterdir()) < 1_500_000
    times = json.loads(generator.TIMES.read_text("utf-8"))
    assert list(times) == FIRSTS
    assert all(0.1 < time < 60_000 for time in times.values())


def test_the_table_of_distances_has_every_preset() -> None:
    told = generator.measured()
    assert set(told) == set(preset_names()), "run python -m benchmarks.table for what is missing"
    assert all(len(row.cells) == len(row.sets) == 3 for row in told.values())


def test_numbers_of_two_passes_are_told_in_their_order() -> None:
    assert generator.numbers(preset("seesr")) == (
        "0.2-3, 0.2-1.5",
        "x 1-1.5, x 0.3-1, x 1, x 0.25-0.3, x 0.15-0.25, x 0.25, 4",
        "1-15, Poisson 0.05-2, 1-12, Poisson 0.05-1",
        "60-95, 60-100",
        "`sinc_blur`",
    )
    assert generator.numbers(preset("gfpgan-no-colorization"))[-1] == "`gray`"


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRSTS[::6])
def test_the_picture_shows_what_the_preset_does_today(name: str) -> None:
    try:
        drawn = generator.draw_sheet(name, generator.portrait())
    except ConfigError as error:
        pytest.skip(str(error))
    kept = decode_image(generator.image_path(name).read_bytes()).pixels
    assert kept.shape == drawn.shape
    assert np.abs(kept.astype(int) - drawn).mean() < 4, "stale: run python docs/generate_presets.py NAME"
