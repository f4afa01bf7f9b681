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
from degrade_kit.files import parse_yaml, plain_yaml
from degrade_kit.flipnet.description import SHIPPED_SPACE, describe_place, read_space
from degrade_kit.flipnet.folder import SHIPPED, folder_digest
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.network_steps import RandomFlipNet
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping


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


def test_photos_is_the_one_that_is_meant_where_none_is_named() -> None:
    assert recipe({}).models == {folder_digest(SHIPPED["photos"]): "photos"}


@pytest.fixture
def shown(model: Path, tmp_path: Path) -> Path:
    """A folder of a model that knows exemplars."""
    folder = shutil.copytree(model, tmp_path / "shown")
    shutil.copy(SHIPPED_SPACE, folder)
    return folder


@pytest.fixture
def photographs(tmp_path: Path, faces_dir: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("astronaut.png", "nested/hopper.png"):
        shutil.copy(faces_dir / name, folder)
    return folder


def test_photographs_become_descriptions_of_which_each_image_takes_one(shown: Path, photographs: Path) -> None:
    made = recipe({"model": str(shown), "like": str(photographs)})
    expected = describe_place(read_space(shown), photographs)
    assert len(set(expected)) == 2
    ops = [drawn(made, seed) for seed in range(40)]
    assert {op.description for op in ops} == set(expected)
    assert 10 < [op.description for op in ops].count(expected[0]) < 30
    assert {op.prompt for op in ops} == {""}, "in place of words"
    assert drawn(recipe({"model": str(shown), "like": str(photographs), "prompt": "dark"})).prompt == "dark"
    one = recipe({"model": str(shown), "like": str(photographs / "hopper.png")})
    assert drawn(one).description == expected[1]
    assert not drawn(recipe({"model": str(shown), "like": None})).description


def test_a_saved_recipe_needs_no_photograph(shown: Path, photographs: Path, tmp_path: Path) -> None:
    made = recipe({"model": str(shown), "like": str(photographs)})
    moved = Path(shutil.move(photographs, tmp_path / "elsewhere"))
    assert recipe({"model": str(shown), "like": str(moved)}).digest() == made.digest()
    assert recipe({"model": str(shown), "like": str(moved / "astronaut.png")}).digest() != made.digest()
    shutil.rmtree(moved)
    text = plain_yaml(made.to_mapping())
    assert "astronaut" not in text
    again = recipe_from_mapping(parse_yaml(text, "saved"), "saved")
    assert again == made
    assert [drawn(again, seed) for seed in range(9)] == [drawn(made, seed) for seed in range(9)]
    assert "like" not in recipe({"model": str(shown)}).to_mapping()["steps"][0]["flipnet"]


def test_photographs_beside_a_recipe_are_found(shown: Path, photographs: Path, tmp_path: Path) -> None:
    inside = f"name: beside\nsteps:\n- photo_frame:\n    side: 64\n    steps:\n    - flipnet: {{model: {shown}, like: "
    (tmp_path / "mine.yaml").write_text(f"{inside}{photographs.name}}}\n")
    [_, op, *_] = load_recipe(tmp_path / "mine.yaml").draw(np.random.default_rng(0)).steps
    assert isinstance(op, FlipNetImage)
    assert op.description in describe_place(read_space(shown), photographs)
    (tmp_path / "wrong.yaml").write_text(f"{inside}nowhere}}\n")
    with pytest.raises(
        ConfigError, match=r"wrong\.yaml: steps\[0\]\.photo_frame\.steps\[0\]\.flipnet\.like: nowhere: "
    ):
        load_recipe(tmp_path / "wrong.yaml")


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (3, "expected a photograph, a folder of them, or their descriptions, got 3"),
        ([1.0, 2.0], "expected a photograph, a folder of them, or their descriptions, got"),
        ([[1.0, 2.0]], "expected descriptions of 11 numbers"),
        ([["x"] * 11], "expected a number within"),
        ([[1e9] * 11], "expected a number within"),
    ],
)
def test_a_slip_in_the_exemplars_is_one_message(like: Any, message: str, shown: Path) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=rf"flipnet\.like: {message}"):
        recipe({"model": str(shown), "like": like})


def test_a_model_that_knows_no_exemplars_says_so(model: Path, photographs: Path) -> None:
    with pytest.raises(ConfigError, match=r"flipnet\.like: .*cannot degrade like a photograph"):
        recipe({"model": str(model), "like": str(photographs)})
