"""Data sets whose LQ images a FlipNet makes, alone or mixed with a recipe: what decides their bytes, and checks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.checkpoint import BaseReference, folder_digest, save
from degrade_kit.flipnet.config import Mode as NetMode
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.hq import HqConfig
from degrade_kit.image import Pixels, decode_image
from degrade_kit.ops import FlipNetImage
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.verify import verify
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import Mode, SynthConfig
from degrade_kit.pipelines.makers.flipnet_maker import FlipNetMaker
from degrade_kit.pipelines.makers.flipnet_settings import FlipNetSettings, resolve_flipnet
from degrade_kit.pipelines.makers.recipe_maker import Prepared
from degrade_kit.pipelines.synth.estimate import synth_effort
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import SynthReport, run_plan
from degrade_kit.presets import preset
from degrade_kit.record import Record
from degrade_kit.shards import Sample, open_shards
from tests.degrade_kit.flipnet.models import gated_flipnet

HERE = ExecutorConfig(workers=0)
PROMPTS = (("low light", 3.0), ("haze", 1.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FlipNet with random weights."""
    folder = tmp_path_factory.mktemp("flipnet") / "model"
    save(
        gated_flipnet(),
        folder,
        BaseReference(location="base"),
        prompts=PROMPTS,
        sampling=SamplingConfig(num_steps=2, guidance=1.0),
        half=True,
    )
    return folder


@pytest.fixture
def config(faces_dir: Path, model: Path) -> SynthConfig:
    return SynthConfig(
        hq=str(faces_dir),
        recipe=preset("flipnet-paper"),
        variants=3,
        seed=3,
        samples_per_shard=2,
        image=HqConfig(size=64),
        mode="mix",
        flipnet=FlipNetSettings(model=str(model), device="cpu"),
    )


def synth(config: SynthConfig, out: Path, executor: ExecutorConfig = HERE) -> SynthReport:
    return run_plan(make_plan(config), str(out), executor)


def samples_in(out: Path) -> dict[str, Sample]:
    return {sample.info["source"]: sample for sample in open_shards(out).samples()}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


class StubDegrader:
    """Makes flat images; knows when it was called."""

    prompts: tuple[tuple[str, float], ...] = ()

    def __init__(self) -> None:
        self.faces: list[int] = []
        self.calling = threading.Event()
        self.proceed = threading.Event()
        self.proceed.set()

    def run(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> list[list[Pixels]]:
        self.calling.set()
        assert self.proceed.wait(60)
        self.faces.append(len(hq))
        return [
            [np.full_like(face, record.seed % 256) for record in wanted]
            for face, wanted in zip(hq, records, strict=True)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["flipnet", "mix"])
def test_same_bytes_in_this_process_and_again(mode: Mode, config: SynthConfig, tmp_path: Path) -> None:
    config = replace(config, mode=mode)
    report = synth(config, tmp_path / "one")
    assert report.complete
    assert report.num_samples == 6
    synth(config, tmp_path / "two")
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_same_bytes_with_workers(workers: int, config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "here")
    synth(config, tmp_path / "ray", ExecutorConfig(workers=workers))
    assert files_in(tmp_path / "here") == files_in(tmp_path / "ray")


def test_pixels_of_a_sample_are_its_own_whatever_shares_its_shard(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "two")
    synth(replace(config, samples_per_shard=5), tmp_path / "five")
    one, other = samples_in(tmp_path / "two"), samples_in(tmp_path / "five")
    assert one.keys() == other.keys()
    for source, sample in one.items():
        assert sample.members == other[source].members


def test_a_variant_is_chosen_by_seed_source_and_number_alone(config: SynthConfig) -> None:
    settings = resolve_flipnet(config.flipnet or FlipNetSettings())
    stub: Any = StubDegrader()
    few = FlipNetMaker(replace(config, flipnet=settings), stub)
    many = FlipNetMaker(replace(config, flipnet=settings, variants=9, hq="elsewhere", samples_per_shard=1), stub)
    assert [few.draw("a.png", n) for n in range(3)] == [many.draw("a.png", n) for n in range(3)]
    assert many.draw("a.png", 0) != many.draw("b.png", 0)
    other = FlipNetMaker(replace(config, flipnet=settings, seed=4), stub)
    assert other.draw("a.png", 0) != few.draw("a.png", 0)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mix_has_the_share_asked_for(share: float, config: SynthConfig) -> None:
    settings = resolve_flipnet(config.flipnet or FlipNetSettings())
    stub: Any = StubDegrader()
    maker = FlipNetMaker(replace(config, flipnet=settings, mix=share), stub)
    made = sum(maker.draw("a.png", number).by_model for number in range(2000))
    assert abs(made / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5 + 1e-9


def test_prompts_are_drawn_by_weight(config: SynthConfig) -> None:
    settings = resolve_flipnet(config.flipnet or FlipNetSettings())
    assert settings.prompts == PROMPTS
    stub: Any = StubDegrader()
    maker = FlipNetMaker(replace(config, flipnet=settings, mode="flipnet"), stub)
    drawn = [prompt_of(maker.draw("a.png", number)) for number in range(2000)]
    assert set(drawn) == {"low light", "haze"}
    assert abs(drawn.count("low light") / 2000 - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5


def prompt_of(record: Record) -> str:
    (step,) = record.steps
    assert isinstance(step, FlipNetImage)
    return step.prompt


def test_what_made_an_image_is_told_by_sample_card_and_inspect(
    config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    synth(config, tmp_path / "out")
    samples = samples_in(tmp_path / "out").values()
    records = [(sample.info[f"lq{n}_origin"], sample.record(n)) for sample in samples for n in range(3)]
    made = [record for _, record in records if record.by_model]
    assert 0 < len(made) < len(records)
    digest = folder_digest(model)
    for origin, record in records:
        assert origin.startswith(f"flipnet:{digest}" if record.by_model else "recipe:flipnet-paper@")
    prompts = [prompt_of(record) for record in made]
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert f"| FlipNet | digest {digest}, seed 3; {len(made)} of 18 LQ images |" in card
    assert f"{18 - len(made)} of 18 LQ images |" in card
    told = run("inspect", tmp_path / "out").output
    for prompt in set(prompts):
        assert f"{prompts.count(prompt)} {prompt}" in card
        assert f"{prompts.count(prompt)} {prompt}" in told
    resolved = yaml.safe_load((tmp_path / "out" / ".degrade_kit" / "config.yaml").read_text("utf-8"))
    assert resolved["flipnet"]["digest"] == digest
    assert resolved["flipnet"]["prompts"] == [list(entry) for entry in PROMPTS]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert (manifest["mode"], manifest["mix"], manifest["flipnet"]) == ("mix", 0.5, digest)


def test_the_licence_of_a_model_is_said_where_it_is_used_and_decides_no_bytes(
    config: SynthConfig, model: Path, faces_dir: Path, tmp_path: Path
) -> None:
    licensed = shutil.copytree(model, tmp_path / "licensed")
    (licensed / "LICENSE").write_text("For research\nonly.\n\n1. Details\n")
    options = ("--flipnet", licensed, "--device", "cpu", "--size", "64")

    synth = ("synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--mode", "flipnet", "--workers", "0")
    for result in (
        run(*synth, *options),
        run("degrade", faces_dir / "astronaut.png", *options, "--out", tmp_path / "look"),
        run("make-testset", "--hq", faces_dir, *options, "--count", "2", "--workers", "0", "--out", tmp_path / "set"),
    ):
        assert result.exit_code == 0, result.output
        assert "licence: For research only.\n" in result.output
    assert (tmp_path / "out/README.md").read_text("utf-8").endswith("have a licence of their own. For research only.\n")

    bare = make_plan(config)
    assert config.flipnet is not None
    other = make_plan(replace(config, flipnet=replace(config.flipnet, model=str(licensed))))
    assert other.resolved["flipnet"]["licence"] == "For research only."
    assert other.fingerprint == bare.fingerprint


def test_a_card_of_flipnet_alone_shows_no_recipe(config: SynthConfig, tmp_path: Path) -> None:
    synth(replace(config, mode="flipnet", variants=1), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "# LQ/HQ face pairs: FlipNet\n" in card
    assert "## Recipe" not in card


def test_verify_makes_images_of_both_kinds_again(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "out")
    report = verify(tmp_path / "out", workers=0, replay=1.0)
    assert (report.problems, report.replayed, report.identical) == ([], 18, 18)


def test_verify_finds_a_changed_image_of_the_model(
    config: SynthConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from degrade_kit.flipnet import degrader

    real = degrader.to_images
    with monkeypatch.context() as patch:  # a data set whose pixels are not what its records make, with hashes that fit
        patch.setattr(degrader, "to_images", lambda images: [255 - image for image in real(images)])
        synth(replace(config, mode="flipnet", variants=1), tmp_path / "out")
    report = verify(tmp_path / "out", workers=0, replay=1.0)
    wrong = [problem for problem in report.problems if "lq0 is not what its record makes" in problem]
    assert len(wrong) == 6


def test_verify_says_that_the_model_is_gone_and_checks_the_rest(
    config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "model"
    shutil.copytree(model, moved)
    settings = FlipNetSettings(model=str(moved), device="cpu")
    synth(replace(config, flipnet=settings), tmp_path / "out")
    shutil.rmtree(moved)
    result = run("verify", tmp_path / "out", "--replay", "1", "--workers", "0")
    assert result.exit_code == 1
    assert "were not made again" in result.output
    assert folder_digest(model) in result.output
    assert "1 problem" in result.output
    assert run("verify", tmp_path / "out", "--replay", "0", "--workers", "0").exit_code == 0
    found = run("verify", tmp_path / "out", "--replay", "1", "--workers", "0", "--flipnet", model)
    assert (found.exit_code, "18 LQ images made again" in found.output) == (0, True)


def test_replay_makes_either_kind_again(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "out")
    kinds: set[bool] = set()
    for sample in samples_in(tmp_path / "out").values():
        kind = sample.record(0).by_model
        if kind not in kinds:
            kinds.add(kind)
            result = run("replay", tmp_path / "out", sample.key, "--out", tmp_path / sample.key)
            assert result.exit_code == 0, result.output
            assert "the same, bit by bit" in result.output
    assert kinds == {False, True}


def test_replay_refuses_another_model(config: SynthConfig, model: Path, tmp_path: Path) -> None:
    synth(replace(config, mode="flipnet", variants=1), tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(model, other)
    text = (other / "flipnet.json").read_text("utf-8")
    (other / "flipnet.json").write_text(text.replace('"phi": 1.0', '"phi": 0.5'), "utf-8")
    result = run("replay", tmp_path / "out", "000000000", "--out", tmp_path / "look", "--flipnet", other)
    assert result.exit_code == 2
    assert f"this is the FlipNet {folder_digest(other)}" in result.output


def test_other_prompts_are_another_data_set(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "out")
    assert config.flipnet is not None
    changed = replace(config, flipnet=replace(config.flipnet, prompts=(("haze", 1.0),)))
    with pytest.raises(RunError, match=r"flipnet\.prompts"):
        synth(changed, tmp_path / "out")


def test_the_same_model_in_another_folder_goes_on(config: SynthConfig, model: Path, tmp_path: Path) -> None:
    first = synth(config, tmp_path / "out")
    moved = shutil.copytree(model, tmp_path / "moved")
    assert config.flipnet is not None
    again = synth(replace(config, flipnet=replace(config.flipnet, model=str(moved))), tmp_path / "out")
    assert first.complete
    assert again.complete


def test_an_unknown_or_restoring_model_is_one_message(config: SynthConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no flipnet\.json"):
        make_plan(replace(config, flipnet=FlipNetSettings(model=str(tmp_path))))
    net = gated_flipnet()
    net.config = replace(net.config, mode=NetMode.RESTORE)
    save(net, tmp_path / "restores", BaseReference(location="base"), half=True)
    with pytest.raises(ConfigError, match="restores"):
        make_plan(replace(config, flipnet=FlipNetSettings(model=str(tmp_path / "restores"))))


def test_degrade_shows_what_synth_makes(faces_dir: Path, model: Path, config: SynthConfig, tmp_path: Path) -> None:
    config = replace(config, mode="flipnet")
    synth(config, tmp_path / "out")
    result = run(
        *["degrade", faces_dir / "astronaut.png", "--flipnet", model, "--variants", "3", "--seed", "3"],
        *["--size", "64", "--device", "cpu", "--out", tmp_path / "look"],
    )
    assert result.exit_code == 0, result.output
    sample = samples_in(tmp_path / "out")["astronaut.png"]
    for number in range(3):
        shown = decode_image((tmp_path / "look" / f"lq{number}.png").read_bytes()).pixels
        # `degrade` has all threads and `synth` one, whose sums differ in the last bit.
        assert np.abs(shown.astype(int) - sample.native_lq(number)).max() <= 1


def test_faces_are_read_and_images_encoded_beside_the_model(config: SynthConfig) -> None:
    """The model waits for neither."""
    stub = StubDegrader()
    settings = resolve_flipnet(config.flipnet or FlipNetSettings())
    untyped: Any = stub
    maker = FlipNetMaker(replace(config, mode="flipnet", variants=1, flipnet=settings), untyped)
    read: list[int] = []
    enough = threading.Event()

    def faces() -> Iterator[Prepared]:
        for number in range(8):
            read.append(number)
            if number == 5:
                enough.set()
            yield Prepared(f"{number}.png", np.full((32, 32, 3), number, np.uint8))

    stub.proceed.clear()
    made: list[Any] = []
    consumer = threading.Thread(target=lambda: made.extend(maker.variants(faces())))
    consumer.start()
    assert stub.calling.wait(60)
    # The model is at its first face and does not go on; five more are read meanwhile.
    assert enough.wait(60)
    assert made == []
    stub.proceed.set()
    consumer.join(60)
    assert not consumer.is_alive()
    assert stub.faces == [1] * 8
    expected = [maker.draw(f"{number}.png", 0) for number in range(8)]
    assert [row[0].record for row in made] == expected  # in the order of the faces


def test_an_error_of_a_source_ends_the_work_at_its_place(config: SynthConfig) -> None:
    stub: Any = StubDegrader()
    settings = resolve_flipnet(config.flipnet or FlipNetSettings())
    maker = FlipNetMaker(replace(config, mode="flipnet", variants=1, flipnet=settings), stub)

    def faces() -> Iterator[Prepared]:
        yield Prepared("a.png", np.zeros((32, 32, 3), np.uint8))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(maker.variants(faces()))
    assert [thread for thread in threading.enumerate() if thread.name == "prefetch"] == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_a_killed_run_ends_in_the_same_bytes(victim: str, config: SynthConfig, model: Path, tmp_path: Path) -> None:
    # Enough work in a shard that the kill hits one in the midst of it.
    config = replace(config, variants=24, samples_per_shard=2)
    synth(config, tmp_path / "expected")
    out = tmp_path / "out"
    with tempfile.TemporaryDirectory(prefix="dk-", dir="/tmp") as short:
        words = [
            *[sys.executable, "-m", "degrade_kit.pipelines.cli", "synth", "--hq", config.hq, "--shards", str(out)],
            *["--mode", "mix", "--flipnet", str(model), "--variants", "24", "--seed", "3", "--size", "64"],
            *["--samples-per-shard", "2", "--device", "cpu", "--workers", "2"],
        ]
        environment = {**os.environ, "TMPDIR": short}
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 180
        while not (scratch := list((out / ".degrade_kit" / "tmp").glob(".shard-*.tar.*"))):
            assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if victim == "worker":
            os.kill(int(scratch[0].name.split(".")[3].split("-")[1]), signal.SIGKILL)
        else:
            process.kill()
        process.wait(180)
        if victim == "worker":
            assert process.returncode == 0, (tmp_path / "log").read_text("utf-8")
        else:
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=180)
            assert done.returncode == 0, done.stderr
    assert files_in(out) == files_in(tmp_path / "expected")


def test_a_dry_run_measures_a_flipnet_by_three_steps_on_one_image(
    faces_dir: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps: list[int] = []

    def make_images(degrader: object, hq: Pixels, records: Sequence[Record], batch_size: int) -> list[Pixels]:
        run_steps.extend(getattr(record.steps[0], "num_steps") for record in records)  # noqa: B009 (a step of many kinds)
        return [hq for _ in records]

    monkeypatch.setattr("degrade_kit.pipelines.makers.flipnet_maker.make_images", make_images)
    result = run(
        "synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--mode", "flipnet", "--flipnet", model,
        "--solver-steps", "50", "--variants", "5", "--size", "64", "--device", "cpu", "--workers", "0", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert run_steps == [1, 2]
    assert "in this process" in result.output
    assert not (tmp_path / "out").exists()


def test_where_a_flipnet_runs_is_decided_without_loading_it(
    config: SynthConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("degrade_kit.pipelines.makers.flipnet_maker.load_degrader", refuse)
    plan = make_plan(config)
    few, many = synth_effort(plan, 1, 1), synth_effort(plan, 10**6, 1000)
    assert many.seconds == pytest.approx(10**6 * few.seconds)
    assert many.setup == few.setup > 0
