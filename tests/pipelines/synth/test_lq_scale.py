"""Recipes whose LQ images are smaller than HQ, from `synth` through readers, `verify`, `replay` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.degradation import make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.hq import HqConfig
from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.reader import PairReader
from degrade_kit.shards import open_shards
from degrade_kit.streaming import PairMapDataset, PairOptions

STEPS = [{"blur": {"sigma": [0.2, 3]}}, {"gaussian_noise": {"level": [1, 9]}}]


def small(scale: int = 4) -> dk.Recipe:
    steps = [*STEPS, {"resize": {"scale": scale, "filter": "cubic"}}, {"jpeg": {"quality": [40, 95]}}]
    return dk.recipe_from_mapping({"name": "small", "lq_scale": scale, "steps": steps}, "small.yaml")


@pytest.fixture(scope="module")
def made(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lq_scale") / "out"
    config = SynthConfig(hq=str(faces_dir), recipe=small(), variants=2, samples_per_shard=4, image=HqConfig(size=64))
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_lq_is_smaller_by_what_the_recipe_says(scale: int) -> None:
    recipe = small(scale)
    assert dk.recipe_from_mapping(recipe.to_mapping(), "again.yaml") == recipe
    assert recipe.native_format() == "jpg"
    record = recipe.draw(dk.generator(seed=0, path="a", variant=0))
    assert record.lq_scale == scale
    assert dk.Record.from_json(record.to_json()) == record
    hq = np.random.default_rng(0).random((64, 80, 3)).astype(np.float32)
    assert dk.apply(record, hq).shape == (64 // scale, 80 // scale, 3)
    assert make_lq(record, hq).shape == hq.shape, "enlarged for whoever wants the full size"
    with pytest.raises(ValueError, match="no multiple of"):
        dk.apply(record, hq[:63])


def test_the_number_is_part_of_what_the_recipe_is() -> None:
    plain = dk.recipe_from_mapping({"name": "plain", "steps": [*STEPS, {"resize": {"scale": 1}}]}, "plain.yaml")
    assert "lq_scale" not in plain.to_mapping()
    assert "lq_scale" not in plain.draw(np.random.default_rng(0)).to_json(), "older records stay as they are"
    assert len({plain.digest(), small(2).digest(), small(4).digest()}) == 3


@pytest.mark.parametrize(
    ("scale", "last", "said"),
    [
        (4, {"resize": {"scale": 2}}, "end it with `- resize: {scale: 4}`"),
        (4, {"resize": {"scale": 1}}, "end it with `- resize: {scale: 4}`"),
        (2, {"resize": {"scale": 2, "prob": 0.5}}, "end it with `- resize: {scale: 2}`"),
        (2, {"photo_frame": {"side": 64}}, "end it with `- resize: {scale: 2}`"),
        (0, {"resize": {"scale": 1}}, r"lq_scale: expected a whole number within \[1, 16\], got 0"),
        (32, {"resize": {"scale": 32}}, r"lq_scale: expected a whole number within \[1, 16\], got 32"),
        ("4", {"resize": {"scale": 4}}, "lq_scale: expected a whole number"),
    ],
)
def test_a_recipe_that_ends_elsewhere_is_an_error(scale: object, last: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dk.recipe_from_mapping({"name": "wrong", "lq_scale": scale, "steps": [*STEPS, last]}, "wrong.yaml")


def test_readers_give_what_the_recipe_says_or_what_is_asked_for(made: Path) -> None:
    reader = PairReader(str(made))
    for index, sample in enumerate(open_shards(made).samples()):
        hq, lq = sample.pair(1)
        assert (hq.shape, lq.shape) == ((64, 64, 3), (16, 16, 3))
        assert np.array_equal(lq, sample.native_lq(1)), "the stored file as it is"
        raw = reader.read(index, 1)
        assert np.array_equal(reader.stored_pair(raw, 1).lq, lq)
        assert reader.stored_pair(reader.read(index, 1), 1, 1).lq.shape == (64, 64, 3)
    for options, shape in ((PairOptions(crop=32), (3, 8, 8)), (PairOptions(lq_scale=2, crop=32), (3, 16, 16))):
        pair = PairMapDataset(made, options)[0]
        assert tuple(pair["lq"].shape) == shape
        assert tuple(pair["hq"].shape) == (3, 32, 32)
    assert tuple(next(iter(dk.webdataset(made)))["lq"].shape) == (3, 16, 16)
    fresh = PairMapDataset(made, PairOptions(onthefly=small(2), onthefly_prob=1))[0]
    assert tuple(fresh["lq"].shape) == (3, 32, 32)
    with pytest.raises(ConfigError, match="4 times smaller than HQ: expected a multiple of 4, got 30"):
        PairMapDataset(made, PairOptions(crop=30))[0]


def test_verify_replay_and_export_keep_the_size(made: Path, tmp_path: Path) -> None:
    run("verify", made, "--replay", "1")
    key = next(iter(open_shards(made).samples())).key
    assert "the same, bit by bit" in run("replay", made, key, "--variant", "1", "--out", tmp_path / "again")
    assert decode_image((tmp_path / "again" / "lq.png").read_bytes(), min_side=1).pixels.shape == (16, 16, 3)
    run("export", made, "--out", tmp_path / "pairs", "--variant", "0")
    lines = [json.loads(line) for line in (tmp_path / "pairs" / "records.jsonl").read_text("utf-8").splitlines()]
    files = sorted((tmp_path / "pairs" / "lq").iterdir())
    assert len(files) == len(lines) > 0
    assert {decode_image(file.read_bytes(), min_side=1).pixels.shape for file in files} == {(16, 16, 3)}
    run("export", made, "--out", tmp_path / "full", "--variant", "0", "--lq-scale", "1")
    file = next((tmp_path / "full" / "lq").iterdir())
    assert decode_image(file.read_bytes()).pixels.shape == (64, 64, 3)


def test_hq_images_of_other_sizes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for side in (64, 66):
        pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        (tmp_path / "faces" / f"{side}.png").write_bytes(encode_png(pixels))
    config = SynthConfig(hq=str(tmp_path / "faces"), recipe=small(), image=HqConfig(size=0))
    run_plan(make_plan(config), str(tmp_path / "out"), ExecutorConfig(workers=0))
    failures = (tmp_path / "out" / ".degrade_kit" / "failures.jsonl").read_text("utf-8")
    assert "66.png" in failures
    assert "size not a multiple of lq_scale" in failures
    with pytest.raises(ConfigError, match="size: expected a multiple of 4, which is the lq_scale of the recipe small"):
        SynthConfig(hq="faces", recipe=small(), image=HqConfig(size=66))
