"""Every step of a recipe is shown in docs/gallery.md, as the code draws it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.steps import milliseconds
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.image import decode_image
from degrade_kit.record import Record
from degrade_kit.steps import STEPS
from tests.by_path import load_module
from tests.test_layers import ROOT

gallery = load_module(ROOT / "docs" / "generate_gallery.py")


def test_every_step_has_a_strip_and_no_other_picture_is_kept() -> None:
    assert list(gallery.STRIPS) == list(STEPS), "docs/generate_gallery.py: STRIPS in the order of STEPS"
    kept = {path.name for path in gallery.IMAGES.iterdir()}
    assert kept == {gallery.image_path(name).name for name in STEPS}, "run python docs/generate_gallery.py"


def test_the_page_is_up_to_date() -> None:
    assert gallery.PAGE.read_text("utf-8") == gallery.page(), "stale: run python docs/generate_gallery.py"


@pytest.mark.parametrize("name", list(gallery.PEERS))
def test_every_step_that_stands_beside_a_kind_of_another_tool_is_there(name: str) -> None:
    named = {step for steps in gallery.PEERS[name].kinds.values() for step in steps.split(", ")}
    assert named <= set(STEPS)
    text = gallery.PAGE.read_text("utf-8")
    for kind, steps in gallery.PEERS[name].kinds.items():
        assert f"| {kind} | [`{steps.split(', ')[0]}`](#" in text


# A FlipNet's image made again takes seconds: tests/pipelines/synth/test_flipnet_synth.py.
@pytest.mark.parametrize("step", [step for step in STEPS if step != "flipnet"])
def test_a_record_of_every_step_makes_the_same_image_again(step: str, astronaut: npt.NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(astronaut[40:136, 180:276])
    recipe = gallery.recipe_of(step, list(gallery.STRIPS[step].panels.values())[-1])
    try:
        recipe.libraries()
    except ConfigError as error:
        pytest.skip(str(error))
    record = recipe.draw(np.random.default_rng(0))
    again = Record.from_json(record.to_json())
    assert again == record
    lq = make_lq(record, image)
    assert lq.shape == image.shape
    assert np.array_equal(lq, make_lq(again, image))
    assert not np.array_equal(lq, image)


def test_what_the_gallery_shows_can_be_timed() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    keys = list(gallery.STRIPS["jpeg"].panels.values())
    assert 0 < milliseconds("jpeg", keys[0], image, 3) < 1000


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in gallery.IMAGES.iterdir()) < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("flipnet", "ai_upscale")])  # half a minute
def test_the_strip_shows_what_the_step_does_today(step: str) -> None:
    try:
        drawn = gallery.draw_strip(step, gallery.portrait())
    except ConfigError as error:
        pytest.skip(str(error))
    kept = decode_image(gallery.image_path(step).read_bytes()).pixels
    assert kept.shape == drawn.shape
    # WebP blurs the colours of noise; another font or codec moves little.
    difference = np.abs(kept.astype(int) - drawn).mean()
    assert difference < 12, f"docs/images/steps/{step}.webp is stale: run python docs/generate_gallery.py {step}"


@pytest.mark.slow
@pytest.mark.parametrize("step", [step for step, strip in gallery.STRIPS.items() if strip.grows])
def test_no_two_pictures_of_a_strip_are_the_same(step: str) -> None:
    recipes = [gallery.recipe_of(step, keys) for keys in gallery.STRIPS[step].panels.values()]
    assert len({recipe.digest() for recipe in recipes}) == len(recipes) > 1
