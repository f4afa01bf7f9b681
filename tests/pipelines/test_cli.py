"""Every command from end to end on tiny faces."""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import degrade_kit as dk
import degrade_kit.pipelines.demo
import degrade_kit.pipelines.doctor
from degrade_kit.errors import ConfigError
from degrade_kit.image import decode_image, read_image
from degrade_kit.pipelines.cli import main
from degrade_kit.presets import PRESETS
from degrade_kit.recipe import load_recipe
from degrade_kit.shards import Sample, open_shards

SQUARES = ["astronaut.png", "astronaut_small.jpg", "nested/hopper.png", "nested/hopper_tiny.png"]
WIDE = ["astronaut_left.png", "nested/hopper_wide.jpg"]


def run(*arguments: object, code: int = 0) -> str:
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def synth(hq: Path, out: Path, *options: object, code: int = 0) -> str:
    """Run `synth` with the paper's recipe and two samples to a shard unless the options say otherwise."""
    fixed: list[object] = ["--size", 64, "--workers", 0, "--samples-per-shard", 2]
    if not {"--preset", "--config"} & set(options):
        fixed += ["--preset", "flipnet-paper"]
    return run("synth", "--hq", hq, "--shards", out, *fixed, *options, code=code)


def samples_of(out: Path) -> dict[str, Sample]:
    return {sample.info["source"]: sample for sample in open_shards(out).samples()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sigterm_ends_any_command_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def unheard(number: int, frame: object) -> None:
        raise AssertionError("the command does not handle SIGTERM")

    monkeypatch.setattr("degrade_kit.presets.preset_names", lambda: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, unheard)
    try:
        assert "stopped; run the same command again to go on" in run("presets", code=130)
        assert signal.getsignal(signal.SIGTERM) is unheard
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (MemoryError(), "-v"),
        (ImportError("libx.so: failed to map segment from shared object"), "-v"),
        (cv2.error("OpenCV: (-4:Insufficient memory) Failed to allocate 9 bytes"), "-v"),
        (OSError(errno.EMFILE, "Too many open files", "x.png"), "-n"),
        (RuntimeError("can't start new thread"), "-u"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_process_has_too_little_of_is_one_message(
    error: Exception, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> None:
        raise ConfigError("no presets could be found") from error

    for fails in (names, Mock(side_effect=error)):
        monkeypatch.setattr("degrade_kit.presets.preset_names", fails)
        said = run("presets", code=1)
        assert re.fullmatch(
            rf"error: .+; this process (may have [\d,]+|gets no more) .+ \(`ulimit {limit}`\): .+\n", said
        )


@pytest.fixture(scope="module")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six faces, two variants each; tests that change it copy it."""
    out = tmp_path_factory.mktemp("made") / "out"
    synth(faces_dir, out, "--variants", 2)
    return out


# --------------------------------------------------------------------------------------------------------------- synth


@pytest.mark.slow
@pytest.mark.slow
def test_synth_makes_what_its_summary_says(faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    output = synth(faces_dir, out, "--variants", 2)
    assert "6 samples, 12 pairs, 3 shards (all made now)" in output
    assert "2 enlarged" not in output
    assert "1 enlarged" in output
    assert f"next: degrade-kit verify {out}" in output
    names = ["shard-000000", "shard-000001", "shard-000002"]
    assert sorted(tree(out)) == sorted(
        [
            *(f"{name}.tar" for name in names),
            *(f".degrade_kit/{name}.json" for name in names),
            ".degrade_kit/config.yaml",
            ".degrade_kit/failures.jsonl",
            "README.md",
            "manifest.json",
            "preview.png",
        ]
    )
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["digest"] in output
    assert (manifest["num_samples"], manifest["variants"], manifest["num_sources"]) == (6, 2, 6)
    assert run("verify", out, "--workers", 0, "--replay", 1).startswith(
        "6 samples in 3 shards; 12 LQ images made again"
    )
    for sample in samples_of(out).values():
        for variant in range(2):
            target, lq = sample.pair(variant)
            assert target.shape == lq.shape == (64, 64, 3)
            assert not np.array_equal(target, lq)
    card = (out / "README.md").read_text("utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["configs"] == [{"config_name": f"set-{manifest['digest'][:12]}", "data_files": "*.tar"}]
    assert manifest["digest"] in card
    assert "6 of 6 inputs (0 not usable)" in card
    assert read_image(out / "preview.png").shape[1] > 3 * 208


@pytest.mark.slow
def test_synth_gives_the_same_bytes_again_in_other_shards_too(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "again", "--variants", 2)
    assert tree(tmp_path / "again") == tree(made)
    synth(faces_dir, tmp_path / "one", "--variants", 2, "--samples-per-shard", 6)
    one = {name: sample.members for name, sample in samples_of(tmp_path / "one").items()}
    assert one == {name: sample.members for name, sample in samples_of(made).items()}


@pytest.mark.slow
def test_the_seed_and_the_preset_change_the_lq_images_alone(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "seed", "--variants", 2, "--seed", 1)
    synth(faces_dir, tmp_path / "preset", "--variants", 2, "--preset", "gfpgan")
    for name, sample in samples_of(made).items():
        for other in (samples_of(tmp_path / "seed")[name], samples_of(tmp_path / "preset")[name]):
            assert other.members["hq.png"] == sample.members["hq.png"]
            assert other.image("lq0") != sample.image("lq0")
        assert sample.image("lq0") != sample.image("lq1")
    assert "lq0.jpg" in samples_of(tmp_path / "preset")["astronaut.png"].members


@pytest.mark.slow
def test_a_recipe_file_works_as_the_preset_that_it_came_from(faces_dir: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "name", "--preset", "real-esrgan")
    card = (tmp_path / "name/README.md").read_text("utf-8")
    recipes = {"printed": run("presets", "real-esrgan"), "card": card.split("```yaml")[1].split("```")[0]}
    for kind, text in recipes.items():
        (tmp_path / f"{kind}.yaml").write_text(text, "utf-8")
        synth(faces_dir, tmp_path / kind, "--preset", tmp_path / f"{kind}.yaml")
        assert tree(tmp_path / kind) == tree(tmp_path / "name")


@pytest.mark.slow
def test_config_gives_all_options_and_the_command_line_wins(faces_dir: Path, tmp_path: Path) -> None:
    config = {
        "hq": str(faces_dir),
        "shards": str(tmp_path / "out"),
        "size": 64,
        "workers": 0,
        "samples_per_shard": 3,
        "variants": 4,
        "seed": 7,
        "square": "error",
        "alpha": "white",
        "include": "*.png",
        "max-failures": 0.5,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    run("synth", "--config", tmp_path / "run.yaml", "--variants", 1)
    saved = yaml.safe_load((tmp_path / "out/.degrade_kit/config.yaml").read_text("utf-8"))
    assert (saved["variants"], saved["seed"], saved["samples_per_shard"], saved["include"]) == (1, 7, 3, "*.png")
    assert saved["image"] == {
        "size": 64,
        "filter": "lanczos",
        "crop": "error",
        "format": "png",
        "min_side": 32,
        "alpha": "white",
    }
    assert set(samples_of(tmp_path / "out")) == {"astronaut.png", "nested/hopper.png", "nested/hopper_tiny.png"}
    (tmp_path / "flags.yaml").write_text("dry-run: true\noverwrite: false\n")
    assert "dry run" in run(
        "synth",
        "--config",
        tmp_path / "run.yaml",
        "--config",
        tmp_path / "flags.yaml",
        "--hq",
        faces_dir,
        "--shards",
        tmp_path / "x",
    )


def test_dry_run_tells_the_plan_and_writes_nothing(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    output = synth(faces_dir, tmp_path / "out", "--variants", 2, "--dry-run")
    assert "6 images in" in output
    assert "3 shards of 2 samples" in output
    assert "HQ as .png at 64 pixels, LQ as .png" in output
    assert "dry run: nothing was written" in output
    assert not any(tmp_path.iterdir())
    found = re.search(r"about ([0-9.]+) kB; about", output)
    assert found is not None
    real = json.loads((made / "manifest.json").read_bytes())["bytes"] / 1000
    assert 0.5 * real < float(found[1]) < 1.5 * real
    before = tree(made)
    synth(faces_dir, made, "--seed", 9, "--overwrite", "--dry-run")
    assert tree(made) == before


@pytest.mark.slow
def test_full_size_lq_images_are_the_finished_native_ones(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "full", "--variants", 2, "--lq-size", "full")
    native = samples_of(made)
    for name, sample in samples_of(tmp_path / "full").items():
        assert sample.info["lq1_tail"] == "[]"
        assert np.array_equal(sample.native_lq(1), native[name].pair(1)[1])
        assert sample.native_lq(1).shape == (64, 64, 3)
    run("verify", tmp_path / "full", "--workers", 0, "--replay", 1)
    smaller = sum(sample.native_lq(0).shape[0] < 64 for sample in native.values())
    assert smaller >= 3


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_all_hq_images_have_the_format_asked_for(faces_dir: Path, tmp_path: Path, format: str) -> None:
    synth(faces_dir, tmp_path / "out", "--hq-format", format)
    for name, sample in samples_of(tmp_path / "out").items():
        assert next(iter(sample.members)) == f"hq.{format}"
        decoded = decode_image(sample.image("hq"))
        assert (decoded.format, decoded.pixels.shape) == (format, (64, 64, 3))
        changes = json.loads(sample.info["hq_changes"])
        kept = format == "jpg" and name == "astronaut_small.jpg"
        assert (changes == []) == kept
        if kept:
            assert sample.image("hq") == (faces_dir / name).read_bytes()
    run("verify", tmp_path / "out", "--workers", 0, "--replay", 1)


def test_small_sources_that_are_allowed_can_decide_on_the_format(faces_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with Image.open(faces_dir / "astronaut_small.jpg") as image:
        image.resize((24, 24)).save(tmp_path / "small/a.jpg", quality=95)
    synth(tmp_path / "small", tmp_path / "out", "--size", 0, "--min-side", 16)
    assert samples_of(tmp_path / "out")["a.jpg"].members["hq.jpg"] == (tmp_path / "small/a.jpg").read_bytes()


@pytest.mark.slow
def test_the_size_0_keeps_every_image_whole(faces_dir: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "out", "--size", 0)
    samples = samples_of(tmp_path / "out")
    for name, sample in samples.items():
        with Image.open(faces_dir / name) as image:
            assert sample.hq().shape == (image.height, image.width, 3)
            assert sample.pair(0)[1].shape == sample.hq().shape
    assert samples["astronaut_left.png"].image("hq") == (faces_dir / "astronaut_left.png").read_bytes()
    run("verify", tmp_path / "out", "--workers", 0, "--replay", 1)


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "area"])
def test_the_filter_is_in_force_and_on_record(faces_dir: Path, tmp_path: Path, filter: str) -> None:
    synth(faces_dir, tmp_path / "out", "--hq-filter", filter, "--include", "astronaut.png")
    (sample,) = samples_of(tmp_path / "out").values()
    (change,) = [change for change in json.loads(sample.info["hq_changes"]) if change["op"] == "resize"]
    assert (change["from"], change["to"], change["filter"]) == (256, 64, filter)
    with Image.open(faces_dir / "astronaut.png") as image:
        reduced = image.reduce(4)  # the same as area
        exact = image.resize((64, 64), {"bicubic": Image.Resampling.BICUBIC}.get(filter, Image.Resampling.LANCZOS))
    expected = np.asarray(reduced if filter == "area" else exact).astype(int)
    assert np.abs(sample.hq() - expected).max() <= (filter == "area")


def test_images_that_are_not_square_can_be_refused(faces_dir: Path, tmp_path: Path) -> None:
    output = synth(faces_dir, tmp_path / "out", "--square", "error", code=3)
    assert "not usable: 2 not square" in output
    assert set(samples_of(tmp_path / "out")) == set(SQUARES)
    lines = [json.loads(line) for line in (tmp_path / "out/.degrade_kit/failures.jsonl").read_text().splitlines()]
    assert {line["source"]: line["reason"] for line in lines} == dict.fromkeys(WIDE, "not square")


def test_the_central_square_is_cut_out(faces_dir: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "out", "--include", "astronaut_left.png")
    (sample,) = samples_of(tmp_path / "out").values()
    changes = json.loads(sample.info["hq_changes"])
    assert changes[0] == {"op": "crop", "left": 0, "top": 16, "side": 96}


@pytest.mark.parametrize(("share", "code"), [(0, 3), (0.3, 3), (0.34, 0), (1, 0)])
def test_max_failures_decides_between_status_0_and_3(faces_dir: Path, tmp_path: Path, share: float, code: int) -> None:
    synth(faces_dir, tmp_path / "out", "--square", "error", "--max-failures", share, code=code)  # 2 of 6
    assert (tmp_path / "out/manifest.json").exists()


@pytest.mark.slow
def test_include_and_min_side_choose_the_sources(faces_dir: Path, tmp_path: Path) -> None:
    synth(faces_dir, tmp_path / "out", "--include", "nested/*.png")
    assert set(samples_of(tmp_path / "out")) == {"nested/hopper.png", "nested/hopper_tiny.png"}
    assert "1 too small" in synth(faces_dir, tmp_path / "large", "--min-side", 64, code=3)
    assert "nested/hopper_tiny.png" not in samples_of(tmp_path / "large")


@pytest.mark.slow
def test_ranges_of_shards_add_up_to_the_whole(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = synth(faces_dir, out, "--variants", 2, "--shard-range", "2:3")
    assert "the data set is not whole yet" in first
    assert "2 samples, 4 pairs, 1 of 3 shards (1 made, 0 kept from before)" in first
    assert "2/2 images" in first
    assert [path.name for path in out.glob("*.tar")] == ["shard-000002.tar"]
    assert not (out / "manifest.json").exists()
    assert "no manifest.json" in run("verify", out, code=1)
    last = synth(faces_dir, out, "--variants", 2, "--shard-range", "0:2")
    assert "not whole" not in last
    assert tree(out) == tree(made)
    assert "(0 made, 3 kept from before)" in synth(faces_dir, out, "--variants", 2)


@pytest.mark.parametrize("text", ["2:2", "3:1", "x:2", "2", "-1:2", "0:4"])
def test_a_wrong_shard_range_is_refused_before_anything_is_written(faces_dir: Path, tmp_path: Path, text: str) -> None:
    output = synth(faces_dir, tmp_path / "out", f"--shard-range={text}", code=2)
    assert "START:STOP" in output
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_what_nothing_else_is_asked_for_is_like_photographs_in_the_wild(faces_dir: Path, tmp_path: Path) -> None:
    run("synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--size", 64, "--workers", 0, "--variants", 4)
    shown = run("inspect", tmp_path / "out", "--json")
    resolved = yaml.safe_load((tmp_path / "out/.degrade_kit/config.yaml").read_text("utf-8"))["recipe"]
    assert resolved["name"] == "real-world"
    banks = [option["steps"][0]["bank"]["file"] for option in resolved["steps"][0]["one_of"]["options"]]
    assert banks == ["press-photo", "web-photo", "crowd", "video-frame"]
    assert json.loads(shown)["statistics"]["records"] == 24
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "mixture of banks" in card
    assert card.count("The photographs") + card.count("the photographs") >= 4, "the card states whose photographs"
    run("verify", tmp_path / "out", "--workers", 0, "--replay", 1)
    assert dk.synthesize(faces_dir, tmp_path / "same", size=64, workers=0, variants=4).num_samples == 6
    assert (
        samples_of(tmp_path / "same")["astronaut.png"].members == samples_of(tmp_path / "out")["astronaut.png"].members
    )


def test_another_configuration_is_refused_and_the_difference_shown(faces_dir: Path, made: Path) -> None:
    before = tree(made)
    output = synth(faces_dir, made, "--variants", 3, "--seed", 4, "--preset", "gfpgan", code=1)
    for words in (
        "variants: there 2, now 3",
        "seed: there 0, now 4",
        "recipe.name: there 'flipnet-paper', now 'gfpgan'",
    ):
        assert words in output
    assert tree(made) == before


@pytest.mark.slow
def test_overwrite_replaces_the_data_set_and_leaves_other_files(faces_dir: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "notes.txt").write_text("mine")
    synth(faces_dir, out, "--variants", 1, "--samples-per-shard", 6, "--overwrite")
    synth(faces_dir, tmp_path / "fresh", "--variants", 1, "--samples-per-shard", 6)
    assert tree(out) == {**tree(tmp_path / "fresh"), "notes.txt": b"mine"}


# --------------------------------------------------------------------------------------------------- the other commands


@pytest.mark.slow
def test_presets_are_listed_and_printed_as_recipes_that_load(tmp_path: Path) -> None:
    listed = run("presets")
    for name, recipe in PRESETS.items():
        assert re.search(rf"^{re.escape(name)} +{recipe.digest()} ", listed, re.MULTILINE)
        (tmp_path / "one.yaml").write_text(run("presets", name), "utf-8")
        assert load_recipe(tmp_path / "one.yaml").digest() == recipe.digest()
    assert "did you mean `codeformer`?" in run("presets", "codefromer", code=2)


@pytest.mark.slow
def test_preview_shows_what_synth_will_write(faces_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "sheet.png"
    output = run(
        *("preview", "--hq", faces_dir, "--preset", "gfpgan", "--preset", "flipnet-paper", "--size", 208),
        *("--num-faces", 2, "--variants", 3, "--seed", 3, "--out", picture),
    )
    assert "2 images, 2 recipes, 3 variants" in output
    sheet = decode_image(picture.read_bytes()).pixels
    assert sheet.shape[1] == 6 + 4 * (208 + 6)
    synth(faces_dir, tmp_path / "out", "--preset", "gfpgan", "--size", 208, "--variants", 3, "--seed", 3)
    sample = samples_of(tmp_path / "out")["astronaut.png"]
    for number, pixels in enumerate([sample.hq(), *(sample.pair(variant)[1] for variant in range(3))]):
        strip = sheet[:, 6 + number * (208 + 6) :][:, :208]
        assert any(np.array_equal(strip[top : top + 208], pixels) for top in range(len(strip) - 207)), number


@pytest.mark.slow
def test_counts_of_one_are_not_said_in_the_plural(faces_dir: Path, tmp_path: Path) -> None:
    one = ["--include", "astronaut.png"]
    plan = run("synth", "--hq", faces_dir, "--shards", tmp_path / "x", *one, "--size", 64, "--workers", 0, "--dry-run")
    assert "; 1 variant, seed 0" in plan
    assert "1 shard of 1 sample in" in plan
    assert "1 sample, 1 pair, 1 shard (all made now)" in synth(faces_dir, tmp_path / "out", *one)
    shown = run("preview", "--hq", faces_dir, "--out", tmp_path / "p.png", "--num-faces", 1, "--variants", 1)
    assert "1 image, 1 recipe, 1 variant\n" in shown


def test_the_last_range_of_shards_counts_the_images_that_it_has(faces_dir: Path, tmp_path: Path) -> None:
    output = synth(faces_dir, tmp_path / "out", "--samples-per-shard", 4, "--shard-range", "1:2")
    assert "2/2 images" in output


def test_a_plan_says_why_no_image_can_be_used(faces_dir: Path, tmp_path: Path) -> None:
    output = synth(faces_dir, tmp_path / "out", "--min-side", 5000, "--dry-run", code=3)
    assert "none of the images tried can be used: 6 too small" in output


def test_an_empty_data_set_shows_no_picture_that_is_not_there(faces_dir: Path, tmp_path: Path) -> None:
    output = synth(faces_dir, tmp_path / "out", "--min-side", 5000, code=3)
    assert "no image could be used, so the data set is empty" in output
    assert "preview.png" not in output
    assert not (tmp_path / "out/preview.png").exists()


def test_verify_names_the_data_set_that_lies_below(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "d1/shards")
    output = run("verify", tmp_path / "d1", "--workers", 0, code=1)
    assert f"{tmp_path}/d1: no manifest.json; there is a data set in {tmp_path}/d1/shards" in output


def test_preview_tells_that_nothing_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "hq").mkdir()
    (tmp_path / "hq/bad.png").write_bytes(b"")
    assert "none of the images tried" in run("preview", "--hq", tmp_path / "hq", "--out", tmp_path / "x.png", code=1)
    assert not (tmp_path / "x.png").exists()


def test_inspect_counts_what_is_there(made: Path) -> None:
    output = run("inspect", made)
    assert "6 samples x 2 variants in 3 shards" in output
    assert "not usable: none" in output
    assert re.search(r"hq\.png +6 files", output)
    assert re.search(r"jpeg\.quality +24 ", output)  # two passes for each of twelve LQ images
    key = re.search(r"replay \S+ (\d{9}) --out", output)
    assert key is not None
    assert key[1] == "000000000"


def test_inspect_prints_one_json_object(made: Path) -> None:
    found: dict[str, Any] = json.loads(run("inspect", made, "--json"))
    assert found["manifest"]["num_samples"] == 6
    assert found["sizes"]["hq.png"]["files"] == 6
    sizes = sum(len(sample.members["hq.png"]) for sample in samples_of(made).values())
    assert found["sizes"]["hq.png"]["bytes"] == sizes
    assert found["statistics"]["records"] == 12
    assert sum(found["statistics"]["parameters"]["resize.scale"]["bins"]) == 24
    assert found["failures"] == {}
    assert found["hq_images"]["resized"] == 5


def test_verify_tells_what_it_did(made: Path, tmp_path: Path) -> None:
    assert "6 samples in 3 shards; 0 LQ images made again" in run("verify", made, "--workers", 0, "--replay", 0)
    assert "2 LQ images made again, 2 accepted; 0 problems" in run("verify", made, "--workers", 0)
    assert "no manifest.json" in run("verify", tmp_path, "--workers", 0, code=1)


def test_replay_makes_the_stored_image_again_bit_by_bit(made: Path, tmp_path: Path) -> None:
    samples = {sample.key: sample for sample in samples_of(made).values()}
    for key, sample in samples.items():
        output = run("replay", made, key, "--variant", 1, "--out", tmp_path / key)
        assert "the stored LQ image is the same, bit by bit" in output
        assert sample.info["source"] in output
        target, lq = sample.pair(1)
        expected = {"hq.png": target, "lq.png": lq, "lq_native.png": sample.native_lq(1)}
        assert {path.name for path in (tmp_path / key).iterdir()} == {*expected, "record.json", ".degrade_kit"}
        for name, pixels in expected.items():
            assert np.array_equal(decode_image((tmp_path / key / name).read_bytes(), min_side=1).pixels, pixels)
        assert (tmp_path / key / "record.json").read_text() == sample.info["lq1_record"] + "\n"


def test_replay_refuses_what_is_not_there(made: Path, tmp_path: Path) -> None:
    assert "no sample '7'" in run("replay", made, "7", "--out", tmp_path / "x", code=1)
    assert "variants 0 to 1, not 2" in run("replay", made, "000000001", "--variant", 2, "--out", tmp_path / "x", code=1)
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").touch()
    assert "error:" in run("replay", made, "000000001", "--out", tmp_path / "file" / "x", code=1)


def test_a_flipnet_is_refused_for_a_data_set_without_one(made: Path, tmp_path: Path) -> None:
    assert "was made without a FlipNet" in run("verify", made, "--workers", 0, "--flipnet", "small", code=2)
    words = ("replay", made, "000000001", "--flipnet", "small", "--out", tmp_path / "x")
    assert "--flipnet has no effect on an LQ image that a recipe made" in run(*words, code=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_doctor_names_versions_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = run("doctor", "--folder", tmp_path)
    assert f"numpy {np.__version__}" in output
    for extension in ("png", "jpg", "webp"):
        assert re.search(rf"^ok +codec {extension} +works$", output, re.MULTILINE)
    assert re.search(r"^(ok +step avif +libavif \d|-- +step avif +this Pillow cannot write AVIF)", output, re.MULTILINE)
    assert re.search(r"^(ok +step video av1 +av \d|-- +step video av1 +the step `video` needs)", output, re.MULTILINE)
    declared = ["numpy>=1", 'no-such-package[x]>=2 ; extra == "analysis"', "degrade-kit[analysis]; extra == 'restore'"]
    monkeypatch.setattr(degrade_kit.pipelines.doctor, "requires", lambda name: declared)
    output = run("doctor")
    assert "missing no-such-package: pip install 'degrade-kit[analysis]'" in output
    assert "missing no-such-package: pip install 'degrade-kit[restore]'" in output
    declared.append("another-package")
    assert "missing another-package: pip install 'degrade-kit'" in run("doctor", code=1)


def test_doctor_says_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.doctor.importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert re.search(r"^-- +torch +cannot be loaded: ModuleNotFoundError.*torch", run("doctor"), re.MULTILINE)


def test_doctor_tells_of_two_opencvs(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"opencv-python": "5.0", "opencv-python-headless": "5.0"}
    monkeypatch.setattr(degrade_kit.pipelines.doctor, "_installed", versions.get)
    monkeypatch.setattr(degrade_kit.pipelines.doctor, "requires", lambda name: ["opencv-python-headless>=4"])
    assert "opencv-python-headless and opencv-python write the same files: pip uninstall" in run("doctor")
    del versions["opencv-python-headless"]
    output = run("doctor")
    assert "write the same files" not in output
    assert "opencv-python-headless 5.0" in output


@pytest.mark.slow
@pytest.mark.long
def test_the_demo_makes_a_verified_data_set(tmp_path: Path) -> None:
    output = run("demo", "--out", tmp_path / "demo", "--workers", 0)
    assert "10 pairs" in output
    for line in takewhile(lambda line: line.startswith("  "), output.splitlines()[1:]):
        assert Path(line.split("  ")[1]).exists(), line
    run("verify", tmp_path / "demo/shards", "--workers", 0, "--replay", 1)


@pytest.mark.parametrize("installed", [False, True])
def test_the_demo_says_how_to_add_flipnets_part_where_it_left_that_out(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(degrade_kit.pipelines.demo, "run_demo", lambda *arguments: [])
    monkeypatch.setattr(degrade_kit.pipelines.demo, "flipnet_installed", lambda: installed)

    assert ("make demo-flipnet, or pip install 'degrade-kit[flipnet]'" in run("demo")) is not installed


# ------------------------------------------------------------------------------------------- what all commands share


def commands() -> Iterator[tuple[str, click.Command]]:
    yield "degrade-kit", main
    for name, command in main.commands.items():
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {child}", grandchild) for child, grandchild in command.commands.items())


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_option_tells_what_it_does_and_its_default(name: str) -> None:
    command = dict(commands())[name]
    context = click.Context(command, info_name=name, terminal_width=200)
    text = re.sub(r"\s+", " ", command.get_help(context))
    assert "\\b" not in text
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.name in ("help", "version"):
            continue
        record = parameter.get_help_record(context)
        assert record is not None, f"{parameter.name} is hidden"
        assert len(record[1]) > 10, f"{parameter.opts}: no help"
        shown = parameter.required or "[default:" in record[1]
        assert shown, f"{parameter.opts}: help does not tell the default: {record[1]}"
        assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", parameter.opts[0])


@pytest.mark.parametrize("name", [name for name, command in commands() if command is not main])
def test_every_command_shows_an_example_unless_it_needs_none(name: str) -> None:
    text = run(*name.split(), "--help")
    if name != "doctor":
        assert re.search(rf"^  Examples?:\n    degrade-kit {name}", text, re.MULTILINE), text


def test_a_slip_in_a_name_is_met_with_the_right_one(faces_dir: Path) -> None:
    assert "Did you mean 'synth'?" in run("sinth", code=2)
    assert "Did you mean" not in run("zzzzzz", code=2)
    assert "--variants" in run("synth", "--varients", "3", code=2)
    assert "did you mean `gfpgan`?" in run("synth", "--hq", faces_dir, "--shards", "x", "--preset", "gfpgn", code=2)


def test_usage_errors_have_status_2(faces_dir: Path, tmp_path: Path) -> None:
    assert "Missing option '--shards'" in run("synth", "--hq", faces_dir, code=2)
    assert "--variants" in synth(faces_dir, tmp_path / "out", "--variants", 0, code=2)
    assert "[16, 4096]" in synth(faces_dir, tmp_path / "out", "--size", 8, code=2)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_workers_without_ray_are_refused_with_advice(
    faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("degrade_kit.pipelines.executor.ray_version", lambda: None)
    assert "give --workers 0" in synth(faces_dir, tmp_path / "out", "--workers", 2, code=2)
    assert "all made now" in run("synth", "--hq", faces_dir, "--shards", tmp_path / "in process", "--size", 64)


@pytest.mark.slow
def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    arguments = ["synth", "--hq", tmp_path, "--shards", tmp_path / "out"]
    plain, debug = run(*arguments, code=2), run("--debug", *arguments, code=2)
    assert "Traceback" not in plain
    assert "Traceback" in debug
    assert "ConfigError" in debug
    assert plain.count("error: ") == 1
    assert plain.splitlines()[-1] == debug.splitlines()[-1]


@pytest.mark.slow
def test_the_command_is_installed_and_starts_without_the_heavy_packages() -> None:
    code = (
        "import degrade_kit.pipelines.cli, sys; "
        "print(sorted({'numpy', 'cv2', 'ray', 'torch', 'yaml', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    script = Path(sys.executable).with_name("degrade-kit")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert "degrade-kit" in done.stdout
