"""`flipnet:` in a recipe: what its folder fills in, what it draws, and what its digest does not depend on."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.folder import SHIPPED, folder_digest
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.network_steps import RandomFlipNet
from degrade_kit.recipe import Recipe, recipe_from_mapping


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that says what it is, without weights: a recipe asks for no more."""
    folder = tmp_path_factory.mktemp("flipnet") / "model"
    folder.mkdir()
    said = {
        "format": 1,
        "mode": "degrade",
        "prompts": [["dark", 3], ["haze", 1]],
        "sampling": {"num_steps": 7, "guidance": 2.0, "negative_prompt": "clean"},
        "base": {"location": "base"},
    }
    (folder / "flipnet.json").write_text(json.dumps(said))
    return folder


def recipe(step: dict[str, Any], **around: Any) -> Recipe:  # noqa: ANN401 (parts of a recipe file)
    return recipe_from_mapping({"name": "learned", "steps": [{"flipnet": step}], **around}, "learned")


def drawn(made: Recipe, seed: int = 0, caption: str | None = None) -> FlipNetImage:
    [op] = made.draw(np.random.default_rng(seed), caption).steps
    assert isinstance(op, FlipNetImage)
    return op


def test_what_is_left_open_is_what_the_folder_says(model: Path) -> None:
    op = drawn(recipe({"model": str(model), "steps": 3, "phi": 0.5}))
    assert op == FlipNetImage(
        model=folder_digest(model),
        prompt=op.prompt,
        negative_prompt="clean",
        num_steps=3,
        solver="ddim",
        guidance=2.0,
        phi=0.5,
    )
    assert op.prompt in ("dark", "haze")


def test_a_saved_recipe_says_all_and_draws_the_same(model: Path) -> None:
    made = recipe({"model": str(model)})
    [saved] = made.to_mapping()["steps"]
    assert saved["flipnet"] == {
        "model": str(model),
        "digest": folder_digest(model),
        "prompt": {"dark": 3.0, "haze": 1.0},
        "negative": "clean",
        "guidance": 2.0,
        "steps": 7,
        "solver": "ddim",
        "phi": 1.0,
    }
    again = recipe_from_mapping(made.to_mapping(), "again")
    assert again.digest() == made.digest()
    assert [drawn(again, seed) for seed in range(9)] == [drawn(made, seed) for seed in range(9)]
    assert made.models == {folder_digest(model): str(model)}


def test_where_the_folder_lies_changes_no_digest_and_what_is_in_it_does(model: Path, tmp_path: Path) -> None:
    inside = [{"photo_frame": {"side": 64, "steps": [{"flipnet": {"model": str(model)}}]}}]
    first = recipe_from_mapping({"name": "framed", "steps": inside}, "framed")
    moved = shutil.copytree(model, tmp_path / "moved")
    inside[0]["photo_frame"]["steps"] = [{"flipnet": {"model": str(moved)}}]
    assert recipe_from_mapping({"name": "framed", "steps": inside}, "framed").digest() == first.digest()
    (moved / "flipnet.json").write_text((model / "flipnet.json").read_text().replace("dark", "dim"))
    assert recipe_from_mapping({"name": "framed", "steps": inside}, "framed").digest() != first.digest()
    with pytest.raises(
        ConfigError, match=rf"expected the FlipNet {folder_digest(model)}, found {folder_digest(moved)}"
    ):
        RandomFlipNet(model=str(moved), digest=folder_digest(model))


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("haze", {"haze"}),
        ("", {""}),
        (None, {""}),
        (["a", "b"], {"a", "b"}),
        ({"a": 1, None: 1, "never": 0}, {"a", ""}),
    ],
)
def test_prompts_may_be_one_or_several_or_none(given: Any, prompts: set[str], model: Path) -> None:  # noqa: ANN401
    made = recipe({"model": str(model), "prompt": given})
    assert {drawn(made, seed).prompt for seed in range(60)} == prompts


def test_captions_are_the_image_s_own_and_must_be_given(model: Path) -> None:
    made = recipe({"model": str(model), "prompt": "captions"})
    assert made.captioned
    assert drawn(made, caption="a woman in the rain").prompt == "a woman in the rain"
    with pytest.raises(ConfigError, match=r"flipnet\.prompt: captions: this image has none; .*--captions names it"):
        made.draw(np.random.default_rng(0))
    assert not recipe({"model": str(model)}).captioned


def test_a_worker_elsewhere_needs_no_folder(model: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(model, tmp_path / "gone")
    sent = pickle.dumps(recipe({"model": str(gone)}))
    shutil.rmtree(gone)
    assert drawn(pickle.loads(sent)).model == folder_digest(model)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"model": "nowhere"}, r"learned: steps\[0\]\.flipnet\.model: nowhere: no flipnet\.json"),
        ({"step": 3}, r"unknown key `step`; did you mean `steps`"),
        ({"steps": 0}, r"flipnet\.steps: expected a whole number within \[1, 1000\]"),
        ({"prompt": {"a": 0}}, r"flipnet\.prompt: expected a positive weight"),
        ({"prompt": 3}, r"flipnet\.prompt: expected text, several texts with their weights, captions or own"),
        ({"solver": "euler"}, r"flipnet\.solver: expected one of ddim, dpm\+\+"),
    ],
)
def test_a_slip_in_the_step_is_one_message(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(step)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_flipnet_that_ships_is_called_by_its_name(name: str) -> None:
    assert recipe({"model": name}).models == {folder_digest(SHIPPED[name]): name}


def test_small_is_the_one_that_is_meant_where_none_is_named() -> None:
    assert recipe({}).models == {folder_digest(SHIPPED["small"]): "small"}
