"""Test sets by name and version: the published draws from any layout of the faces, or an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.evaluation import named_sets
from degrade_kit.pipelines.evaluation.named_sets import FaceList, build_words, named_set, pixels_digest, set_names
from degrade_kit.presets import preset
from degrade_kit.recipe import Recipe
from tests.by_path import load_module
from tests.test_layers import ROOT

SMALL = "ffhq-gfpgan@1"
SLOW = [pytest.mark.slow, pytest.mark.long]
published = load_module(ROOT / "docs" / "generate_testsets.py")


@pytest.mark.parametrize("name", published.RECIPES)
def test_a_recipe_that_draws_something_else_has_another_version(name: str) -> None:
    entries = published.read()
    newest = published.newest(entries, name)
    assert newest, f"{name}: run python docs/generate_testsets.py --new"
    frozen = named_set(f"ffhq-{name}@{newest}").recipe
    assert frozen.digest() == preset(name).digest(), f"{name} changed: run python docs/generate_testsets.py --new"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "celebahq-codeformer@1" else SLOW) for name in set_names()],
)
def test_what_is_drawn_is_what_was_published(name: str) -> None:
    named_set(name).check_records()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "codeformer" in name else SLOW)
             for name in set_names() if name.startswith("ffhq")]
)  # fmt: skip
def test_what_a_published_build_makes_is_what_was_published(name: str) -> None:
    named = named_set(name)
    if not any(build_words() in builds for builds in named.pixels.values()):
        pytest.skip(f"nothing is published for {build_words()}")
    assert build_words() in named.builds(pixels_digest(named.recipe))


def test_the_page_has_the_digests_that_the_package_has() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
    entries = published.read()
    assert published.written(text, entries) == text
    assert text.count(entries["gfpgan@1"]["records"]["ffhq"][:12]) == 1


def test_an_unknown_name_or_version_is_refused_with_those_that_are_known() -> None:
    for name, said in (
        ("ffhq-press-photo", "expected NAME@VERSION, such as ffhq-press-photo@1"),
        ("ffhq-press-photo@9", "known versions of it are ffhq-press-photo@1"),
        ("lfw-press-photo@1", f"known are {', '.join(set_names())}"),
    ):
        found = CliRunner().invoke(main, ["make-testset", name])
        assert found.exit_code == 2
        assert said in found.output


def test_faces_are_found_by_their_numbers_in_any_layout() -> None:
    faces = FaceList("ffhq", "FFHQ", range(10, 40, 10))
    flat, nested = ["00010.png", "00020.png", "00030.png"], ["0/img00010.jpg", "10.png", "x/20.png", "x/30.webp"]
    assert faces.find([*flat, "00031.png", "notes.png"], "hq") == {
        name: n for n, name in zip((10, 20, 30), flat, strict=True)
    }
    assert list(faces.find(nested[1:], "hq").values()) == [10, 20, 30]
    with pytest.raises(ConfigError, match=r"hq: face 00010 is there 2 times, as 0/img00010.jpg, 10.png"):
        faces.find(nested, "hq")
    with pytest.raises(
        ConfigError, match=r"hq: expected 3 faces of FFHQ: 00010, 00020 to 00030.*2 are missing: 00020, 00030"
    ):
        faces.find(["10.png", "30_1.png"], "hq")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Publish a set of three faces in place of a thousand, and return the file that says so."""
    faces = FaceList("ffhq", "FFHQ", range(60_000, 60_030, 10))
    monkeypatch.setattr(named_sets, "FACES", {"ffhq": faces})
    monkeypatch.setattr(named_sets, "_PROBED", 2)
    monkeypatch.setattr("degrade_kit.pipelines.evaluation.testset.SIZE", 64)
    monkeypatch.setattr(named_sets, "SIZE", 64)
    recipe = preset("gfpgan")
    table = tmp_path / "named_sets.json"
    digests = {pixels_digest(recipe): [build_words()]}
    entry = {
        "recipe": recipe.to_mapping(),
        "records": {"ffhq": named_sets.records_digest(recipe, faces)},
        "pixels": digests,
    }
    table.write_text(json.dumps({"gfpgan@1": entry}))
    publish(monkeypatch, table)
    return table


def publish(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    """Let a file say what is published."""
    monkeypatch.setattr(named_sets, "_entries", lambda: json.loads(table.read_text()))


def make(*words: object) -> Result:
    return CliRunner().invoke(main, ["make-testset", *map(str, words)])


def folder_of(faces_dir: Path, out: Path, pattern: str) -> Path:
    """Name three photographs by the numbers of the small set's faces."""
    for number, name in zip((60_000, 60_010, 60_020), ("astronaut", "astronaut_left", "nested/hopper"), strict=True):
        path = out / pattern.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(faces_dir / f"{name}.png", path)
    return out


@pytest.mark.slow
def test_any_layout_gives_the_published_records_and_the_same_images(
    small: Path, tmp_path: Path, faces_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del small
    sets: list[dict[str, Any]] = []
    for name, pattern in (("flat", "{:05}.png"), ("nested", "images/{0}/{0:05}.png")):
        hq = folder_of(faces_dir, tmp_path / name, pattern)
        shutil.copy(faces_dir / "nested" / "hopper.png", hq / "60005.png")  # another face, which is not in the set
        planned = make(SMALL, "--hq", hq, "--out", tmp_path / f"{name}_set", "--workers", 0, "--dry-run")
        assert planned.exit_code == 0, planned.output
        assert "3 pairs of 64 pixels" in planned.output
        found = make(SMALL, "--hq", hq, "--out", tmp_path / f"{name}_set", "--workers", 0)
        assert found.exit_code == 0, found.output
        assert f"as published for {build_words()}" in found.output
        sets.append(json.loads((tmp_path / f"{name}_set" / "testset.json").read_text()))
    one, other = sets
    assert one["testset"] == SMALL
    assert one["pixels_published_for"] == [build_words()]
    assert one["records"] in found.output
    assert (one["records"], one["faces"], one["pixels"]) == (other["records"], other["faces"], other["pixels"])
    for place in range(3):
        image = f"lq/{place:05}.png"
        assert (tmp_path / "flat_set" / image).read_bytes() == (tmp_path / "nested_set" / image).read_bytes()

    monkeypatch.setattr(named_sets, "build_words", lambda: "OpenCV 6")
    monkeypatch.setattr(named_sets.NamedSet, "builds", lambda *_: ())
    alone = make(SMALL)
    assert alone.exit_code == 0
    assert "not published; of the same records OpenCV 6 makes" in alone.output


def test_no_other_face_takes_the_place_of_one_that_cannot_be_used(small: Path, tmp_path: Path, faces_dir: Path) -> None:
    del small
    hq = folder_of(faces_dir, tmp_path / "hq", "{}.png")
    shutil.copy(hq / "60000.png", hq / "60001.png")
    (hq / "60010.png").write_bytes(b"no image")
    found = make(SMALL, "--hq", hq, "--out", tmp_path / "set", "--workers", 0)
    assert found.exit_code == 2
    assert "60010.png: not an image" in found.output
    (hq / "60010.png").unlink()
    found = make(SMALL, "--hq", hq, "--out", tmp_path / "set", "--workers", 0)
    assert found.exit_code == 2
    assert "1 are missing: 60010" in found.output
    assert not (tmp_path / "set" / "testset.json").exists()


def test_other_draws_than_the_published_ones_make_no_set(
    small: Path, tmp_path: Path, faces_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = json.loads(small.read_text())
    entries["gfpgan@1"]["records"]["ffhq"] = "0" * 64
    small.write_text(json.dumps(entries))
    hq = folder_of(faces_dir, tmp_path / "hq", "{}.png")
    for words in ((SMALL,), (SMALL, "--hq", hq, "--out", tmp_path / "set", "--workers", 0)):
        found = make(*words)
        assert found.exit_code == 1
        assert f"{SMALL}: expected records with the published digest 0000000000000000, got" in found.output
    assert not (tmp_path / "set").exists()
    # A preset that is changed later does not change a version that is there.
    monkeypatch.setattr("degrade_kit.presets.preset", lambda _: Recipe(name="other", steps=()))
    assert named_set(SMALL).recipe.digest() == preset("gfpgan").digest()
    with pytest.raises(RunError, match="published digest"):
        named_set(SMALL).check_records()


@pytest.mark.parametrize(
    "words", ["--size 64", "--real x", "--hq x --seed 1", "--hq x --count 4", "--hq x --preset gfpgan"]
)
def test_what_the_name_says_is_no_option(words: str) -> None:
    found = make(SMALL, *words.split(), "--out", "set")
    assert found.exit_code == 2
    assert "has no effect with NAME@VERSION, which says it" in found.output
