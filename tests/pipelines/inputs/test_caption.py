"""Captions made ahead by a tiny BLIP, and what becomes of them: prompts of a FlipNet in every command that runs one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from degrade_kit.errors import ConfigError, ImageError, ShardError
from degrade_kit.files import sha256
from degrade_kit.flipnet.blip import read_captions
from degrade_kit.flipnet.checkpoint import BaseReference, save
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.images import open_inputs
from degrade_kit.pipelines.models.restore import Prompts
from degrade_kit.pipelines.models.restore_data import RestoreDataConfig, read_restore_data
from degrade_kit.record import Record
from degrade_kit.shards import open_shards
from degrade_kit.streaming import PairMapDataset, PairOptions
from tests.degrade_kit.flipnet.models import gated_flipnet, save_blip


def run(*words: str | Path, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def prompt_of(record: Record) -> str:
    [op] = [op for op in record.steps if isinstance(op, FlipNetImage)]
    return op.prompt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flipnet") / "model"
    sampling = SamplingConfig(num_steps=1, guidance=1.0)
    save(gated_flipnet(), folder, BaseReference(location="base"), sampling=sampling, half=True)
    return folder


@pytest.fixture(scope="module")
def faces(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces, and a file that is none."""
    folder = tmp_path_factory.mktemp("captioned")
    for name in ("astronaut.png", "nested/hopper.png"):
        shutil.copy(faces_dir / name, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    return folder


@pytest.fixture(scope="module")
def captions(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    out = folder / "captions.jsonl"
    words = ["caption", "--hq", faces, "--caption-model", save_blip(folder / "blip"), "--device", "cpu", "--out", out]
    told = run(*words, code=3)
    assert f"2 images captioned in {out}" in told
    assert "not usable: broken.png" in told
    before = out.read_bytes()
    run(*words, code=3)
    assert out.read_bytes() == before, "made once"
    # Random weights say the same of all faces; a user may edit the file.
    lines = [json.loads(line) for line in before.splitlines()]
    edited = [{**line, "caption": f"{line['caption']} {place}".strip()} for place, line in enumerate(lines)]
    out.write_text("".join(json.dumps(line) + "\n" for line in edited))
    return out


@pytest.mark.slow
def test_synth_prompts_with_the_caption_of_each_face(faces: Path, captions: Path, model: Path, tmp_path: Path) -> None:
    known = read_captions(captions)
    assert sorted(known) == sorted(sha256((faces / name).read_bytes()) for name in ("astronaut.png", "hopper.png"))
    shutil.copytree(faces, tmp_path / "faces")
    (tmp_path / "faces" / "new.png").write_bytes((faces / "astronaut.png").read_bytes() + b"\0")
    options = ["--flipnet", model, "--prompt", "captions", "--captions", captions, "--size", "64", "--device", "cpu"]
    words = ["synth", "--hq", tmp_path / "faces", "--shards", tmp_path / "out", "--mode", "flipnet", *options]
    told = run(*words, "--workers", "0", code=3)
    assert "no caption" in told
    samples = open_shards(tmp_path / "out").samples()
    assert {sample.info["source_sha256"]: prompt_of(sample.record(0)) for sample in samples} == known
    assert "2 LQ images made again, 2 accepted" in run("verify", tmp_path / "out", "--replay", "1", "--workers", "0")
    run("degrade", faces / "astronaut.png", *options, "--variants", "1", "--out", tmp_path / "look")
    saved, again = tmp_path / "out/.degrade_kit/config.yaml", tmp_path / "again"
    run("synth", "--config", saved, "--hq", faces, "--shards", again, "--workers", "0", code=3)
    assert len(list(open_shards(again).samples())) == 2


@pytest.mark.slow
def test_captions_make_pairs_on_the_fly(faces: Path, captions: Path, model: Path, tmp_path: Path) -> None:
    from degrade_kit.flipnet.degrader import Networks
    from degrade_kit.recipe import recipe_from_mapping

    run("synth", "--hq", faces, "--shards", tmp_path / "out", "--size", "64", "--workers", "0", code=3)
    step = {"flipnet": {"model": str(model), "prompt": "captions"}}
    recipe = recipe_from_mapping({"name": "told", "steps": [step]}, "told")
    with pytest.raises(ConfigError, match=r"has the step `flipnet`; give network=Networks\(recipe\)"):
        PairOptions(onthefly=recipe)
    network = Networks(recipe, device="cpu")
    with pytest.raises(ConfigError, match="prompts its FlipNet with captions"):
        PairOptions(onthefly=recipe, network=network)
    known = read_captions(captions)
    options = PairOptions(onthefly=recipe, onthefly_prob=1, network=network, captions=known)
    pairs = PairMapDataset(tmp_path / "out", options)
    records = [Record.from_json(pairs[number]["record"]) for number in range(2)]
    assert {prompt_of(record) for record in records} == set(known.values())
    untold = PairMapDataset(tmp_path / "out", dataclasses.replace(options, captions={}))
    with pytest.raises(ShardError, match=r"no caption of its source .*; `degrade-kit caption` makes them"):
        _ = untold[0]


@pytest.mark.slow
def test_a_test_set_and_a_preview_take_captions(faces: Path, captions: Path, model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "told.yaml"
    recipe.write_text(f"name: told\nsteps:\n- flipnet: {{model: {model}, prompt: captions}}\n")
    given = ["--preset", recipe, "--size", "64", "--device", "cpu"]
    told = run("preview", "--hq", faces, *given, "--out", tmp_path / "a.png", code=2)
    assert "prompts its FlipNet with captions: make them with `degrade-kit caption`" in told
    run("preview", "--hq", faces, *given, "--captions", captions, "--variants", "1", "--out", tmp_path / "a.png")
    words = ["make-testset", "--hq", faces, *given, "--captions", captions, "--count", "2", "--workers", "0"]
    run(*words, "--out", tmp_path / "set")
    lines = [json.loads(line) for line in (tmp_path / "set/records.jsonl").read_text().splitlines()]
    known = read_captions(captions)
    assert {line["source_sha256"]: prompt_of(Record.from_json(line["record"])) for line in lines} == known


def test_captions_that_nothing_reads_are_refused(faces_dir: Path, tmp_path: Path) -> None:
    (captions := tmp_path / "captions.jsonl").touch()
    words = ["synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--mode", "flipnet", "--captions", captions]
    assert "--captions has no effect with a FlipNet whose prompt is not `captions`" in run(*words, code=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; `degrade-kit caption` writes it"),
        ('{"sha256": "a"}\n', 'line 1: expected {"sha256": ..., "model": ..., "caption": ...}'),
        (
            "".join(json.dumps({"sha256": name, "model": name, "caption": "c"}) + "\n" for name in "ab"),
            "holds those of 2 models, a, b; keep the lines of one",
        ),
    ],
)
def test_a_file_of_captions_says_what_is_wrong_with_it(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_captions(tmp_path / "c.jsonl")
    assert message in str(error.value)


@pytest.mark.slow
def test_a_restorer_and_its_validation_take_captions(faces: Path, captions: Path, tmp_path: Path) -> None:
    known = read_captions(captions)
    run("synth", "--hq", faces, "--shards", tmp_path / "out", "--size", "64", "--workers", "0", code=3)
    prompts = Prompts("unused", known)
    photographs = open_inputs(str(faces), variant=0, cache_dir=None, min_side=16)
    by_name = {name: place for place, name in enumerate(photographs.names)}
    pairs = open_inputs(str(tmp_path / "out"), variant=0, cache_dir=None, min_side=16)
    for place, sample in enumerate(open_shards(tmp_path / "out").samples()):
        name = sample.info["source"]
        told = known[sha256((faces / name).read_bytes())]
        assert prompts.of(photographs, by_name[name]) == told
        assert prompts.of(pairs, place) == told
    with pytest.raises(ImageError, match="no caption"):
        prompts.of(photographs, by_name["broken.png"])
    assert Prompts("a face").of(photographs, 0) == "a face"

    data = read_restore_data(str(tmp_path / "out"), RestoreDataConfig(held_out=0.5), seed=0)
    [sample] = data.validation(64, data.held_out, ["a woman"])
    assert sample.caption == "a woman"
    assert data.validation(64, data.held_out)[0].caption == ""
