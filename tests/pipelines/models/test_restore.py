"""`degrade-kit restore` on a small restorer."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner, Result

from degrade_kit.image import read_image
from degrade_kit.pipelines.cli import main
from tests.pipelines.dataset.test_hostile_names import with_key
from tests.pipelines.models.runs import SIZE, make_shards, needs_ray, write_config


@pytest.fixture(scope="module")
def shards(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(faces_dir, tmp_path_factory.mktemp("restore") / "shards")


@pytest.fixture(scope="module")
def model(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, without embedding, of two steps."""
    folder = tmp_path_factory.mktemp("model")
    config = write_config(folder / "config.yaml")
    result = run(
        "train-restore", "--shards", shards, "--config", config, "--out", folder / "run", "--embedding", "none",
        "--steps", 2, "--device", "cpu", "--threads", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "run"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def restored(model: Path, source: Path | str, out: Path, *more: object) -> Result:
    return run("restore", "--model", model, "--input", source, "--out", out, "--device", "cpu", "--workers", 0, *more)


def made(out: Path) -> dict[str, str]:
    """Hashes of the results by name."""
    found = [path for path in out.rglob("*.png") if ".degrade_kit" not in path.parts]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def whole(model: Path, faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    result = restored(model, faces_dir, out)
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
def test_a_folder_is_restored_under_its_own_names(whole: Path) -> None:
    names = {"astronaut.png", "astronaut_left.png", "astronaut_small.png"}
    assert made(whole).keys() == names | {f"nested/hopper{kind}.png" for kind in ("", "_wide", "_tiny")}
    assert min(read_image(whole / "nested/hopper_wide.png").shape[:2]) == SIZE
    assert (whole / ".degrade_kit" / "sheet.png").exists()


@pytest.mark.slow
def test_images_at_a_url_are_restored_to_the_same_pixels(
    whole: Path, model: Path, faces_dir: Path, tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(faces_dir), "memory://restore/faces", recursive=True)
    result = restored(model, "memory://restore/faces", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert made(tmp_path / "out") == made(whole)


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_is_not_is_made_to_the_same_pixels(
    whole: Path, model: Path, faces_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "astronaut.png").unlink()
    kept = (out / "nested/hopper.png").stat().st_mtime_ns
    result = restored(model, faces_dir, out)
    assert result.exit_code == 0, result.output
    assert "1 image made, 5 kept from before" in result.output
    assert made(out) == made(whole)
    assert (out / "nested/hopper.png").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_several_phi_give_a_folder_each(whole: Path, model: Path, faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = restored(model, faces_dir / "astronaut.png", out, "--phi", 0, "--phi", 0.5, "--phi", 1)
    assert result.exit_code == 0, result.output
    found = made(out)
    assert found.keys() == {f"phi-{phi}/astronaut.png" for phi in ("0", "0.5", "1")}
    assert len(set(found.values())) == 3


@pytest.mark.slow
def test_the_lq_images_of_shards_are_restored_by_key(model: Path, shards: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for out, variant in ((first, 0), (second, 1)):
        result = restored(model, shards, out, "--variant", variant)
        assert result.exit_code == 0, result.output
    assert made(first).keys() == {f"{number:09}.png" for number in range(6)} == made(second).keys()
    assert made(first) != made(second)
    result = restored(model, shards, tmp_path / "third", "--variant", 2)
    assert result.exit_code == 2
    assert "--variant: expected 0 to 1" in result.output


@pytest.mark.slow
def test_a_seed_steps_and_colours_change_the_image(whole: Path, model: Path, faces_dir: Path, tmp_path: Path) -> None:
    source = faces_dir / "astronaut.png"
    hashes = {
        made(tmp_path / f"{number}")["astronaut.png"]
        for number, more in enumerate(
            ([], ["--seed", 1], ["--solver-steps", 3], ["--color-fix", "adain"], ["--size", 48])
        )
        if restored(model, source, tmp_path / f"{number}", *more).exit_code == 0
    }
    assert len(hashes) == 5


def test_other_settings_in_the_same_folder_are_refused(whole: Path, model: Path, faces_dir: Path) -> None:
    before = made(whole)
    result = restored(model, faces_dir, whole, "--seed", 5)
    assert result.exit_code == 1
    assert "another configuration" in result.output
    assert "seed: there 0, now 5" in result.output
    assert made(whole) == before


@pytest.mark.slow
@pytest.mark.parametrize("change", ["other", "gone", "added", "mended", "moved"])
def test_a_result_is_kept_where_its_input_is_the_same(
    change: str, model: Path, faces_dir: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(faces_dir / "astronaut.png", source / name)
    (source / "bad.png").write_bytes((source / "a.png").read_bytes()[:1000])
    assert restored(model, source, out).exit_code == 3
    before = made(out)
    if change == "other":
        shutil.copy(faces_dir / "nested/hopper.png", source / "b.png")
    elif change == "gone":
        (source / "b.png").unlink()
    elif change == "added":
        shutil.copy(faces_dir / "nested/hopper.png", source / "c.png")
    elif change == "mended":
        shutil.copy(faces_dir / "nested/hopper.png", source / "bad.png")
    else:
        source = source.rename(tmp_path / "elsewhere")
    result = restored(model, source, out)
    if change in ("other", "gone"):
        assert result.exit_code == 1
        assert f"{out}/b.png was not made of an image that is in {source} now" in result.output
        assert made(out) == before
        (out / "b.png").unlink()
        assert restored(model, source, out).exit_code == 3
        assert ("b.png" in made(out)) == (change == "other")
    else:
        assert result.exit_code == (0 if change == "mended" else 3), result.output
        assert {name: made(out)[name] for name in before} == before
        assert len(made(out)) == len(before) + (change != "moved")


@pytest.mark.parametrize("dangling", [False, True])
def test_no_folder_but_a_new_one_is_taken(dangling: bool, model: Path, faces_dir: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(faces_dir, tmp_path / "photos")
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "gone" if dangling else photos)
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    result = restored(model, faces_dir, out)
    assert result.exit_code == 1
    assert ("where nothing is" if dangling else "is not empty and was not made by this command") in result.output
    result = restored(model, photos, photos)
    assert result.exit_code == 2
    assert f"--out {photos} is the input --input {photos}" in result.output
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before


@pytest.mark.parametrize("key", ["../../victim/photo", "/victim/photo"])
def test_a_data_set_whose_keys_lead_out_is_refused(key: str, model: Path, shards: Path, tmp_path: Path) -> None:
    hostile = with_key(shards, tmp_path / "set", key)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/photo.png").write_bytes(b"mine")
    result = restored(model, hostile, tmp_path / "a/out")
    assert result.exit_code == 1
    assert "is not the key of a sample: expected nine digits" in result.output
    assert not (tmp_path / "a").exists()
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["photo.png"]
    assert (tmp_path / "victim/photo.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_an_input_that_cannot_be_used_is_told_and_the_others_are_made(
    model: Path, faces_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(faces_dir / "astronaut.png", source / "good.png")
    (source / "bad.png").write_bytes((source / "good.png").read_bytes()[:1000])
    result = restored(model, source, tmp_path / "out")
    assert result.exit_code == 3
    assert "not restored: bad: truncated" in result.output
    assert made(tmp_path / "out").keys() == {"good.png"}
    assert '"source": "bad"' in (tmp_path / "out/.degrade_kit/failures.jsonl").read_text("utf-8")


def test_two_inputs_with_one_result_are_refused(model: Path, faces_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(faces_dir / "astronaut.png", source / "a.png")
    shutil.copy(faces_dir / "astronaut_small.jpg", source / "a.jpg")
    result = restored(model, source, tmp_path / "out")
    assert result.exit_code == 2
    assert "a.jpg and a.png have one name but for their ending" in result.output


def test_there_is_no_attention_without_an_embedding(model: Path, faces_dir: Path, tmp_path: Path) -> None:
    result = restored(model, faces_dir, tmp_path / "out", "--attention")
    assert result.exit_code == 2
    assert "trained without a face embedding" in result.output
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(model: Path, faces_dir: Path, tmp_path: Path) -> None:
    result = restored(model, faces_dir, tmp_path / "out", "--phi", 0, "--phi", 1, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "6 images at 32 pixels" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.long
def test_actors_make_the_same_images(whole: Path, model: Path, faces_dir: Path, tmp_path: Path) -> None:
    needs_ray()
    result = run(
        "restore", "--model", model, "--input", faces_dir, "--out", tmp_path / "out", "--device", "cpu", "--workers", 2
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert made(tmp_path / "out") == made(whole)


@pytest.mark.slow
def test_inputs_that_cannot_be_listed_are_failures(model: Path, faces_dir: Path, tmp_path: Path) -> None:
    faces = shutil.copytree(faces_dir, tmp_path / "faces")
    (faces / "dangling.png").symlink_to("nowhere")
    (faces / "._0.png").write_bytes(b"a Mac's")
    for made in (6, 0):
        result = restored(model, faces, tmp_path / "out")
        assert result.exit_code == 3, result.output
        assert f"{made} images made, {6 - made} kept from before" in result.output
        assert "not restored: dangling.png: unreadable: No such file or directory" in result.output
        summary = json.loads((tmp_path / "out/.degrade_kit/summary.json").read_text())
        assert summary == {"images": 6, "folders": 1, "failures": 1, "left_out": {"unreadable": 1, "._ file": 1}}
    assert "dangling.png" in (tmp_path / "out/.degrade_kit/failures.jsonl").read_text()
