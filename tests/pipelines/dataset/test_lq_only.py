"""Data sets without their faces, and the faces put back."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import degrade_kit as dk
from degrade_kit.errors import ConfigError, RunError, ShardError
from degrade_kit.files import parse_yaml, plain_yaml
from degrade_kit.hq import HqConfig
from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.join import JoinJob, join
from degrade_kit.pipelines.dataset.lq_only import export_lq_only
from degrade_kit.pipelines.dataset.verify import verify
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.progress import Progress
from degrade_kit.reader import PairReader
from degrade_kit.shards import open_shards
from tests.pipelines.models.runs import needs_ray

HERE = ExecutorConfig(workers=0)


@pytest.fixture(scope="module")
def faces(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six usable faces, and a file that is none."""
    folder = shutil.copytree(faces_dir, tmp_path_factory.mktemp("hq") / "faces")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    config = SynthConfig(
        hq=str(faces), recipe=dk.preset("gfpgan"), variants=2, samples_per_shard=3, image=HqConfig(size=64)
    )
    assert run_plan(make_plan(config), str(out), HERE).complete
    return out


@pytest.fixture(scope="module")
def bare(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare") / "out"
    assert export_lq_only(str(whole), str(out)) == 6
    return out


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def contents(folder: Path) -> dict[str, str]:
    """Hashes of all files but the one that says what an output was begun from."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "origin.yaml"
    }


def failures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ".degrade_kit/failures.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_no_face_is_left(bare: Path, whole: Path) -> None:
    for path in bare.glob("*.tar"):
        with tarfile.open(path) as tar:
            assert not [name for name in tar.getnames() if ".hq." in name]
    assert not (bare / "preview.png").exists()
    assert "degrade-kit join" in (bare / "README.md").read_text("utf-8")
    kept = [sample.members["lq1.jpg"] for sample in open_shards(bare).samples()]
    assert kept == [sample.members["lq1.jpg"] for sample in open_shards(whole).samples()]


def test_a_configuration_whose_recipe_has_no_steps_is_damaged(whole: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(whole, tmp_path / "theirs")
    config = theirs / ".degrade_kit/config.yaml"
    config.write_text(plain_yaml({**parse_yaml(config.read_bytes(), "config"), "recipe": {}}))
    result = run("export", theirs, "--out", tmp_path / "out", "--to", "lq-only")
    assert result.exit_code == 1
    assert f"damaged: {theirs}/.degrade_kit/config.yaml: field recipe.steps: expected a list of steps" in result.output


def test_it_is_verified_as_what_it_is(bare: Path, tmp_path: Path) -> None:
    result = run("verify", bare, "--workers", "0", "--replay", "1")
    assert result.exit_code == 0, result.output
    assert "6 samples" in result.output
    assert "of LQ images alone" in result.output
    altered = shutil.copytree(bare, tmp_path / "altered")
    path = altered / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    assert any("its bytes have changed" in problem for problem in verify(altered, workers=0).problems)


def test_readers_of_pairs_say_what_is_missing(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="has LQ images alone; `degrade-kit join`"):
        PairReader(bare)
    key = next(open_shards(bare).samples()).key
    result = run("replay", bare, key, "--out", tmp_path / "look")
    assert result.exit_code != 0
    assert "degrade-kit join" in result.output
    assert run("inspect", bare).exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_the_faces_make_it_the_old_one_byte_by_byte(
    bare: Path, whole: Path, faces: Path, tmp_path: Path, workers: int
) -> None:
    if workers:
        needs_ray()
    job = JoinJob(shards=str(bare), hq=str(faces), out=str(tmp_path / "out"))
    report = join(job, ExecutorConfig(workers=workers))
    assert contents(tmp_path / "out") == contents(whole)
    assert (report.samples, report.shards, report.identical, report.other_files) == (6, 3, 3, 0)
    assert report.digest == report.original_digest
    assert not report.left_out
    verified = verify(tmp_path / "out", workers=0, replay=1)
    assert (verified.problems, verified.identical) == ([], 12)


@pytest.mark.slow
def test_the_command_says_so(bare: Path, faces: Path, tmp_path: Path) -> None:
    result = run("join", bare, "--hq", faces, "--out", tmp_path / "out", "--workers", "0")
    assert result.exit_code == 0, result.output
    assert "byte by byte the data set" in result.output
    again = run("join", bare, "--hq", faces, "--out", tmp_path / "out", "--workers", "0")
    assert "3 shards kept from before" in again.output


@pytest.mark.slow
def test_files_may_lie_elsewhere(bare: Path, whole: Path, faces: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in faces.rglob("*.*"):
        shutil.copy(path, flat / path.name)
    join(JoinJob(shards=str(bare), hq=str(flat), out=str(tmp_path / "out")), HERE)
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_another_encoder_gives_the_same_pixels_in_other_files(faces_dir: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    pixels = decode_image((faces_dir / "astronaut.png").read_bytes()).pixels[:64, :64].copy()
    (ours / "a.png").write_bytes(encode_png(pixels))
    from PIL import Image

    Image.fromarray(pixels).save(theirs / "a.png", compress_level=9)
    assert (ours / "a.png").read_bytes() != (theirs / "a.png").read_bytes()
    config = SynthConfig(hq=str(ours), recipe=dk.preset("gfpgan"), image=HqConfig(size=64))
    run_plan(make_plan(config), str(tmp_path / "whole"), HERE)
    export_lq_only(str(tmp_path / "whole"), str(tmp_path / "bare"))
    report = join(JoinJob(shards=str(tmp_path / "bare"), hq=str(theirs), out=str(tmp_path / "out")), HERE)
    assert (report.other_files, report.identical, report.left_out) == (1, 0, ())
    verified = verify(tmp_path / "out", workers=0, replay=1)
    assert (verified.problems, verified.identical) == ([], 1)
    sample = next(open_shards(tmp_path / "out").samples())
    assert sample.image("hq") == (theirs / "a.png").read_bytes()


@pytest.mark.slow
def test_missing_and_other_faces_are_left_out_and_told_and_may_come_later(
    bare: Path, whole: Path, faces: Path, tmp_path: Path
) -> None:
    some = shutil.copytree(faces, tmp_path / "some")
    (some / "astronaut.png").unlink()
    shutil.copy(some / "astronaut_left.png", some / "nested/hopper.png")
    words = ("join", bare, "--hq", some, "--out", tmp_path / "out", "--workers", "0")
    result = run(*words)
    assert result.exit_code == 3, result.output
    assert "left out: astronaut.png: face is missing" in result.output
    assert "left out: nested/hopper.png: face is another one" in result.output
    assert {line["source"] for line in failures(tmp_path / "out")} == {
        "astronaut.png",
        "broken.png",
        "nested/hopper.png",
    }
    assert verify(tmp_path / "out", workers=0, replay=1).problems == []
    for name in ("astronaut.png", "nested/hopper.png"):
        shutil.copy(faces / name, some / name)
    assert run(*words).exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_faces_may_come_from_several_places_one_after_the_other(
    bare: Path, whole: Path, faces: Path, tmp_path: Path
) -> None:
    some, others = tmp_path / "some", tmp_path / "others"
    for number, path in enumerate(sorted(path for path in faces.rglob("*.*"))):
        place = (some if number % 2 else others) / path.relative_to(faces)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    out = tmp_path / "out"
    for number, place in enumerate((some, others)):
        report = join(JoinJob(shards=str(bare), hq=str(place), out=str(out)), HERE)
        assert bool(report.left_out) == (number == 0)
        assert verify(out, workers=0, replay=1).problems == []
    assert contents(out) == contents(whole)


def test_a_shard_that_lost_all_faces_has_no_tar(bare: Path, faces: Path, tmp_path: Path) -> None:
    none = tmp_path / "none"
    none.mkdir()
    shutil.copy(faces / "astronaut.png", none / "somebody.png")
    out = tmp_path / "out"
    report = join(JoinJob(shards=str(bare), hq=str(none), out=str(out)), HERE)
    assert (report.samples, len(report.left_out)) == (0, 6)
    assert not list(out.glob("*.tar"))
    assert verify(out, workers=0).problems == []


def test_synth_does_not_add_faces_to_what_it_did_not_write(whole: Path, faces: Path, tmp_path: Path) -> None:
    export_lq_only(str(whole), str(tmp_path / "bare"))
    config = SynthConfig(
        hq=str(faces), recipe=dk.preset("gfpgan"), variants=2, samples_per_shard=3, image=HqConfig(size=64)
    )
    with pytest.raises(RunError, match="written by `export` or `join`, not by `synth`"):
        run_plan(make_plan(config), str(tmp_path / "bare"), HERE)


@pytest.mark.slow
def test_a_stopped_run_goes_on(bare: Path, whole: Path, faces: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.done == 1:
            raise Stop

    job = JoinJob(shards=str(bare), hq=str(faces), out=str(tmp_path / "out"))
    with pytest.raises(Stop):
        join(job, HERE, stop)
    assert not (tmp_path / "out/manifest.json").exists()
    assert join(job, HERE).kept == 1
    assert contents(tmp_path / "out") == contents(whole)
    with pytest.raises(Stop):
        export_lq_only(str(whole), str(tmp_path / "bare"), lambda progress: stop(replace(progress, done=1)))
    export_lq_only(str(whole), str(tmp_path / "bare"))
    assert contents(tmp_path / "bare") == contents(bare)


@pytest.mark.slow
def test_a_run_that_adds_faces_and_is_stopped_leaves_no_manifest(
    bare: Path, whole: Path, faces: Path, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    some = shutil.copytree(faces, tmp_path / "some")
    (some / "astronaut.png").unlink()
    join(JoinJob(shards=str(bare), hq=str(some), out=str(tmp_path / "out")), HERE)
    job = JoinJob(shards=str(bare), hq=str(faces), out=str(tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        join(job, HERE, stop)
    assert not (tmp_path / "out/manifest.json").exists()
    join(job, HERE)
    assert contents(tmp_path / "out") == contents(whole)


def test_what_does_not_fit_is_refused(bare: Path, whole: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has its HQ images; nothing is to be joined"):
        join(JoinJob(shards=str(whole), hq=str(faces), out=str(tmp_path / "a")), HERE)
    with pytest.raises(ConfigError, match="LQ images alone already"):
        export_lq_only(str(bare), str(tmp_path / "a"))
    with pytest.raises(ConfigError, match="is the input --hq"):
        join(JoinJob(shards=str(bare), hq=str(faces), out=str(faces)), HERE)
    result = run("export", whole, "--out", tmp_path / "a", "--to", "lq-only", "--variant", "0")
    assert result.exit_code == 2
    assert "--variant has no effect with --to lq-only" in result.output
    cut = shutil.copytree(bare, tmp_path / "cut")
    (cut / "shard-000000.tar").write_bytes((cut / "shard-000000.tar").read_bytes()[:-512])
    with pytest.raises((RunError, ShardError), match=r"shard-000000"):
        join(JoinJob(shards=str(cut), hq=str(faces), out=str(tmp_path / "b")), HERE)
    assert not (tmp_path / "b/manifest.json").exists()
