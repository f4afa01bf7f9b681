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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from degrade_kit.adapters.base import open_pairs
from degrade_kit.degradation import apply
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.checkpoint import BaseReference, folder_digest, save
from degrade_kit.flipnet.config import Mode as NetMode
from degrade_kit.flipnet.degrader import Networks
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.hq import HqConfig
from degrade_kit.image import Pixels, decode_image, to_float
from degrade_kit.network_ops import FlipNetImage, NetworkCall
from degrade_kit.ops import Frame, Jpeg
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.dataset.verify import verify
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.network_maker import NetworkMaker
from degrade_kit.pipelines.makers.networks import NetworkSettings, flipnet_recipe, flipnet_step, mixed_recipe
from degrade_kit.pipelines.makers.recipe_maker import Prepared, draw_record
from degrade_kit.pipelines.synth.estimate import synth_effort
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import SynthReport, run_plan
from degrade_kit.presets import preset
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.seeding import generator
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
        recipe=mixed(model),
        variants=3,
        seed=3,
        samples_per_shard=2,
        image=HqConfig(size=64),
        network=NetworkSettings(device="cpu"),
    )


def mixed(model: Path, share: float = 0.5) -> Recipe:
    return mixed_recipe(flipnet_step(str(model)), share, preset("flipnet-paper"))


def alone(model: Path) -> Recipe:
    return flipnet_recipe(flipnet_step(str(model)))


def synth(config: SynthConfig, out: Path, executor: ExecutorConfig = HERE) -> SynthReport:
    return run_plan(make_plan(config), str(out), executor)


def samples_in(out: Path) -> dict[str, Sample]:
    return {sample.info["source"]: sample for sample in open_shards(out).samples()}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def test_a_model_of_photographs_acts_at_the_size_of_faces_in_them_with_a_file_behind_it(
    model: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    settings = json.loads((other / "flipnet.json").read_text("utf-8"))
    (other / "flipnet.json").write_text(json.dumps({**settings, "face_sides": [40, 48]}), "utf-8")
    rng = np.random.default_rng(0)
    for recipe in (alone(other), mixed(other, 1.0)):
        for _ in range(20):
            frame, step, file, _ = recipe.draw(rng).steps
            assert isinstance(frame, Frame)
            assert 40 <= frame.side <= 48
            assert isinstance(step, FlipNetImage)
            assert isinstance(file, Jpeg)
            assert 60 <= file.quality <= 95
    assert [op.name for op in alone(model).draw(rng).steps] == ["flipnet"], "one that knows whole faces"
    assert {op.name for _ in range(20) for op in mixed(other, 0.0).draw(rng).steps}.isdisjoint({"flipnet", "frame"})


class StubNetwork:
    """Makes flat images; knows when it was called."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.calling = threading.Event()
        self.proceed = threading.Event()
        self.proceed.set()

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        self.calling.set()
        assert self.proceed.wait(60)
        self.calls.append(len(calls))
        return [np.full_like(call.pixels, call.seat.seed % 256) for call in calls]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [alone, mixed])
def test_same_bytes_in_this_process_and_again(
    recipe: Callable[[Path], Recipe], model: Path, config: SynthConfig, tmp_path: Path
) -> None:
    config = replace(config, recipe=recipe(model))
    report = synth(config, tmp_path / "one")
    assert report.complete
    assert report.num_samples == 6
    synth(config, tmp_path / "two")
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.long
def test_a_flipnet_in_a_photo_frame_gives_the_same_bytes_for_any_workers_and_batch(
    config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    inside = [{"blur": {"sigma": [0.3, 1.2]}}, {"flipnet": {"model": str(model)}}, {"jpeg": {"quality": [60, 95]}}]
    framed = [{"photo_frame": {"side": [20, 60], "steps": inside}}]
    plain = [{"blur": {"sigma": 2}}, {"resize": {"scale": 2}}, {"resize": {"scale": 1}}]
    steps = [{"one_of": {"options": [{"weight": 0.7, "steps": framed}, {"weight": 0.3, "steps": plain}]}}]
    recipe = recipe_from_mapping({"name": "framed", "steps": steps}, "framed")
    config = replace(config, recipe=recipe, variants=2, network=NetworkSettings(device="cpu", batch_size=8))
    synth(config, tmp_path / "here")
    expected = files_in(tmp_path / "here")
    for workers, batch in ((0, 1), (1, 8), (2, 1)):
        out = tmp_path / f"{workers}-{batch}"
        given = replace(config, network=replace(config.network, batch_size=batch))
        synth(given, out, ExecutorConfig(workers=workers))
        assert files_in(out) == expected, (workers, batch)
    report = verify(tmp_path / "here", workers=0, replay=1.0)
    assert (report.problems, report.replayed, report.identical) == ([], 12, 12)
    network = Networks(recipe, device="cpu")
    kinds = Counter[bool]()
    for sample in samples_in(tmp_path / "here").values():
        for number in range(2):
            record = sample.record(number)
            kinds[record.by_model] += 1
            again = apply(record, to_float(sample.hq()), network)
            np.testing.assert_array_equal(again, to_float(sample.pair(number)[1]))
    assert min(kinds[False], kinds[True]) > 0


@pytest.mark.slow
@pytest.mark.long
def test_a_recipe_with_a_flipnet_goes_everywhere(
    faces_dir: Path, config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nsteps:\n- photo_frame:\n    side: [20, 60]\n    steps:\n"
        f"    - flipnet: {{model: {model}, prompt: haze}}\n    - jpeg: {{quality: 80}}\n"
    )
    out = tmp_path / "out"
    given = ["--preset", file, "--size", "64", "--device", "cpu"]
    made = run("synth", "--hq", faces_dir, "--shards", out, *given, "--workers", "0")
    assert made.exit_code == 0, made.output
    for words in (
        ["export", out, "--to", "lq-only", "--out", tmp_path / "bare"],
        ["join", tmp_path / "bare", "--hq", faces_dir, "--out", tmp_path / "joined"],
        ["verify", tmp_path / "joined", "--replay", "1", "--workers", "0"],
        ["replay", tmp_path / "joined", "000000001", "--out", tmp_path / "again"],
        ["preview", "--hq", faces_dir, *given, "--variants", "2", "--out", tmp_path / "look.png"],
        ["degrade", faces_dir / "astronaut.png", *given, "--variants", "2", "--out", tmp_path / "look"],
        ["make-testset", "--hq", faces_dir, *given, "--count", "3", "--workers", "0", "--out", tmp_path / "set"],
    ):
        result = run(*words)
        assert result.exit_code == 0, (words, result.output)
    assert shard_bytes(tmp_path / "joined") == shard_bytes(out)
    sample = samples_in(out)["astronaut.png"]
    shown = decode_image((tmp_path / "look" / "lq0.png").read_bytes()).pixels
    assert np.abs(shown.astype(int) - sample.pair(0)[1]).max() <= 2  # a pixel of the network's may round another way
    pairs = open_pairs("mine", {"dataroot": str(out), "onthefly": str(file), "onthefly_prob": 1})
    records = [Record.from_json(pairs[number]["record"]) for number in range(3)]
    assert [op.name for record in records for op in record.steps] == ["frame", "flipnet", "jpeg", "unframe"] * 3
    assert all(pairs[number]["lq"].shape == (3, 64, 64) for number in range(2))


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


@pytest.mark.slow
def test_pixels_of_a_sample_are_its_own_whatever_shares_its_shard(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "two")
    synth(replace(config, samples_per_shard=5), tmp_path / "five")
    one, other = samples_in(tmp_path / "two"), samples_in(tmp_path / "five")
    assert one.keys() == other.keys()
    for source, sample in one.items():
        assert sample.members == other[source].members


def test_a_variant_is_chosen_by_seed_source_and_number_alone(config: SynthConfig) -> None:
    face, other = (Prepared(name, np.zeros((8, 8, 3), np.uint8)) for name in ("a.png", "b.png"))
    many = replace(config, variants=9, hq="elsewhere", samples_per_shard=1)
    assert [draw_record(config, face, n) for n in range(3)] == [draw_record(many, face, n) for n in range(3)]
    assert draw_record(config, face, 0) != draw_record(config, other, 0)
    assert draw_record(replace(config, seed=4), face, 0) != draw_record(config, face, 0)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mix_has_the_share_asked_for(share: float, model: Path) -> None:
    recipe = mixed(model, share)
    made = sum(recipe.draw(generator(3, "a.png", number)).by_model for number in range(2000))
    assert abs(made / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5 + 1e-9


def test_prompts_are_drawn_by_weight(model: Path) -> None:
    recipe = alone(model)
    drawn = [prompt_of(recipe.draw(generator(3, "a.png", number))) for number in range(2000)]
    assert set(drawn) == {"low light", "haze"}
    assert abs(drawn.count("low light") / 2000 - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5


def prompt_of(record: Record) -> str:
    (step,) = record.steps
    assert isinstance(step, FlipNetImage)
    return step.prompt


@pytest.mark.slow
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
        assert origin.startswith(f"flipnet:{digest}" if record.by_model else "recipe:flipnet+flipnet-paper@")
    prompts = [prompt_of(record) for record in made]
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert f"| FlipNet | digest {digest}, seed 3; {len(made)} of 18 LQ images |" in card
    told = run("inspect", tmp_path / "out").output
    for prompt in set(prompts):
        assert f"{prompts.count(prompt)} {prompt}" in card
        assert f"{prompts.count(prompt)} {prompt}" in told
    resolved = yaml.safe_load((tmp_path / "out" / ".degrade_kit" / "config.yaml").read_text("utf-8"))
    assert resolved["flipnet"]["models"] == {digest: str(model)}
    [step] = resolved["recipe"]["steps"][0]["one_of"]["options"][0]["steps"]
    assert step["flipnet"]["prompt"] == dict(PROMPTS)
    assert step["flipnet"]["digest"] == digest
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert (manifest["recipe"], manifest["flipnet"]) == ("flipnet+flipnet-paper", digest)


@pytest.mark.slow
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
    other = make_plan(replace(config, recipe=mixed(licensed)))
    assert other.resolved["flipnet"]["licence"] == "For research only."
    assert other.fingerprint == bare.fingerprint


@pytest.mark.slow
def test_a_card_of_flipnet_alone_shows_its_step_and_not_where_the_model_is(
    config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    synth(replace(config, recipe=alone(model), variants=1), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "# LQ/HQ face pairs: flipnet\n" in card
    assert "- flipnet:\n    digest: " in card
    assert str(model) not in card


@pytest.mark.slow
def test_verify_makes_images_of_both_kinds_again(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "out")
    report = verify(tmp_path / "out", workers=0, replay=1.0)
    assert (report.problems, report.replayed, report.identical) == ([], 18, 18)


@pytest.mark.slow
def test_verify_finds_a_changed_image_of_the_model(
    config: SynthConfig, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from degrade_kit.flipnet import degrader

    real = degrader.to_images
    with monkeypatch.context() as patch:  # a data set whose pixels are not what its records make, with hashes that fit
        patch.setattr(degrader, "to_images", lambda images: [255 - image for image in real(images)])
        synth(replace(config, recipe=alone(model), variants=1), tmp_path / "out")
    report = verify(tmp_path / "out", workers=0, replay=1.0)
    wrong = [problem for problem in report.problems if "lq0 is not what its record makes" in problem]
    assert len(wrong) == 6


@pytest.mark.slow
def test_verify_says_that_the_model_is_gone_and_checks_the_rest(
    config: SynthConfig, model: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "model"
    shutil.copytree(model, moved)
    synth(replace(config, recipe=mixed(moved)), tmp_path / "out")
    shutil.rmtree(moved)
    result = run("verify", tmp_path / "out", "--replay", "1", "--workers", "0")
    assert result.exit_code == 1
    assert "were not made again" in result.output
    assert folder_digest(model) in result.output
    assert "1 problem" in result.output
    assert run("verify", tmp_path / "out", "--replay", "0", "--workers", "0").exit_code == 0
    found = run("verify", tmp_path / "out", "--replay", "1", "--workers", "0", "--flipnet", model)
    assert (found.exit_code, "18 LQ images made again" in found.output) == (0, True)


@pytest.mark.slow
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


@pytest.mark.slow
def test_replay_refuses_another_model(config: SynthConfig, model: Path, tmp_path: Path) -> None:
    synth(replace(config, recipe=alone(model), variants=1), tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(model, other)
    text = (other / "flipnet.json").read_text("utf-8")
    (other / "flipnet.json").write_text(text.replace('"phi": 1.0', '"phi": 0.5'), "utf-8")
    result = run("replay", tmp_path / "out", "000000000", "--out", tmp_path / "look", "--flipnet", other)
    assert result.exit_code == 2
    assert f"this is the FlipNet {folder_digest(other)}" in result.output


@pytest.mark.slow
def test_other_prompts_are_another_data_set(config: SynthConfig, model: Path, tmp_path: Path) -> None:
    synth(config, tmp_path / "out")
    changed = mixed_recipe(flipnet_step(str(model), ["haze"]), 0.5, preset("flipnet-paper"))
    with pytest.raises(RunError, match=r"recipe\.steps"):
        synth(replace(config, recipe=changed), tmp_path / "out")


@pytest.mark.slow
def test_the_same_model_in_another_folder_goes_on(config: SynthConfig, model: Path, tmp_path: Path) -> None:
    first = synth(config, tmp_path / "out")
    moved = shutil.copytree(model, tmp_path / "moved")
    again = synth(replace(config, recipe=mixed(moved)), tmp_path / "out")
    assert first.complete
    assert again.complete


@pytest.mark.slow
def test_an_unknown_or_restoring_model_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^flipnet\.model: .*no flipnet\.json"):
        alone(tmp_path)
    net = gated_flipnet()
    net.config = replace(net.config, mode=NetMode.RESTORE)
    save(net, tmp_path / "restores", BaseReference(location="base"), half=True)
    with pytest.raises(ConfigError, match=r"^flipnet\.model: .*restores"):
        alone(tmp_path / "restores")


@pytest.mark.slow
def test_degrade_shows_what_synth_makes(faces_dir: Path, model: Path, config: SynthConfig, tmp_path: Path) -> None:
    config = replace(config, recipe=alone(model))
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


def test_faces_are_read_and_images_encoded_beside_the_network(config: SynthConfig, model: Path) -> None:
    """The network waits for neither."""
    stub = StubNetwork()
    config = replace(config, recipe=alone(model), variants=1, network=NetworkSettings(batch_size=2))
    maker = NetworkMaker(config, "png", stub)
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
    # The network is at its first two faces and does not go on; four more are read meanwhile.
    assert enough.wait(60)
    assert made == []
    stub.proceed.set()
    consumer.join(60)
    assert not consumer.is_alive()
    assert stub.calls == [2] * 4
    expected = [draw_record(config, Prepared(f"{number}.png", np.zeros((8, 8, 3), np.uint8)), 0) for number in range(8)]
    assert [row[0].record for row in made] == expected  # in the order of the faces


def test_an_error_of_a_source_ends_the_work_at_its_place(config: SynthConfig, model: Path) -> None:
    maker = NetworkMaker(replace(config, recipe=alone(model), variants=1), "png", StubNetwork())

    def faces() -> Iterator[Prepared]:
        yield Prepared("a.png", np.zeros((32, 32, 3), np.uint8))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(maker.variants(faces()))
    assert [thread for thread in threading.enumerate() if thread.name == "prefetch"] == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("victim", ["worker", "driver"])
@pytest.mark.long
def test_a_killed_run_ends_in_the_same_bytes(victim: str, config: SynthConfig, model: Path, tmp_path: Path) -> None:
    # Enough work in a shard that the kill hits one in the midst of it.
    config = replace(config, variants=24, samples_per_shard=2)
    synth(config, tmp_path / "expected")
    out = tmp_path / "out"
    with tempfile.TemporaryDirectory(prefix="dk-", dir="/tmp") as short:
        words = [
            *[sys.executable, "-m", "degrade_kit.pipelines.cli", "synth", "--hq", config.hq, "--shards", str(out)],
            *[
                "--mode",
                "mix",
                "--preset",
                "flipnet-paper",
                "--flipnet",
                str(model),
                "--variants",
                "24",
                "--seed",
                "3",
                "--size",
                "64",
            ],
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


@pytest.mark.slow
def test_a_dry_run_measures_a_flipnet_by_three_steps_of_one_batch(
    faces_dir: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps: list[int] = []

    def answer(self: Networks, calls: Sequence[NetworkCall]) -> list[Pixels]:
        del self
        run_steps.append(calls[0].op.num_steps)
        return [call.pixels for call in calls]

    monkeypatch.setattr(Networks, "__call__", answer)
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

    monkeypatch.setattr("degrade_kit.pipelines.synth.estimate.load_networks", refuse)
    plan = make_plan(config)
    few, many = synth_effort(plan, 1, 1), synth_effort(plan, 10**6, 1000)
    assert many.seconds > 10**5 * few.seconds
    assert many.setup == few.setup > 0


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FlipNet with random weights that knows exemplars."""
    folder = tmp_path_factory.mktemp("shown") / "model"
    settings = SamplingConfig(num_steps=2, guidance=1.0)
    save(gated_flipnet(exemplars=True), folder, BaseReference(location="base"), sampling=settings, half=True)
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_exemplars_give_the_same_bytes_for_any_workers_and_batch_and_need_no_photograph_again(
    shown: Path, faces_dir: Path, config: SynthConfig, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name in ("astronaut.png", "nested/hopper.png"):
        shutil.copy(faces_dir / name, photographs)
    inside = [{"flipnet": {"model": str(shown), "like": str(photographs)}}, {"jpeg": {"quality": [60, 95]}}]
    framed = {"name": "alike", "steps": [{"photo_frame": {"side": [20, 60], "steps": inside}}]}
    recipe = recipe_from_mapping(framed, "alike")
    shutil.rmtree(photographs)
    config = replace(config, recipe=recipe, network=NetworkSettings(device="cpu", batch_size=8))
    synth(config, tmp_path / "here")
    expected = files_in(tmp_path / "here")
    for workers, batch in ((0, 1), (1, 8), (2, 1)):
        out = tmp_path / f"{workers}-{batch}"
        synth(replace(config, network=replace(config.network, batch_size=batch)), out, ExecutorConfig(workers=workers))
        assert files_in(out) == expected, (workers, batch)
    report = verify(tmp_path / "here", workers=0, replay=1.0)
    assert (report.problems, report.replayed, report.identical) == ([], 18, 18)
    records = [sample.record(number) for sample in samples_in(tmp_path / "here").values() for number in range(3)]
    taken = {op.description for record in records for op in record.steps if isinstance(op, FlipNetImage)}
    assert len(taken) == 2
    assert not any(b"photographs" in data for name, data in expected.items() if name.endswith((".yaml", ".json")))


@pytest.mark.slow
@pytest.mark.long
def test_like_goes_everywhere(shown: Path, faces_dir: Path, tmp_path: Path) -> None:
    photo, face = faces_dir / "nested" / "hopper.png", faces_dir / "astronaut.png"
    given = ["--flipnet", shown, "--size", "64", "--device", "cpu"]
    made = run("synth", "--hq", faces_dir, "--shards", tmp_path / "out", "--mode", "flipnet", "--like", photo, *given)
    assert made.exit_code == 0, made.output
    again = run("replay", tmp_path / "out", "000000001", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    alike = run("degrade", face, "--like", photo, *given, "--variants", "1", "--out", tmp_path / "alike")
    plain = run("degrade", face, *given, "--variants", "1", "--out", tmp_path / "plain")
    assert alike.exit_code == plain.exit_code == 0, alike.output
    assert "like a photograph" in alike.output
    assert "null prompt" in plain.output
    images = [decode_image((tmp_path / name / "lq0.png").read_bytes()).pixels for name in ("alike", "plain")]
    assert np.abs(images[0].astype(int) - images[1]).max() > 3
    (tmp_path / "mine.yaml").write_text(f"name: mine\nsteps:\n- flipnet: {{model: {shown}, like: {photo}}}\n")
    words = ["--preset", tmp_path / "mine.yaml", "--size", "64", "--device", "cpu", "--out", tmp_path / "look.png"]
    assert run("preview", "--hq", faces_dir, *words).exit_code == 0


def test_what_cannot_be_like_is_one_message(shown: Path, model: Path, faces_dir: Path, tmp_path: Path) -> None:
    face = faces_dir / "astronaut.png"
    for flipnet, like, expected in (
        (model, face, "flipnet.like"),
        (model, face, "cannot degrade like a photograph"),
        (shown, tmp_path, "no image found"),
    ):
        result = run("degrade", face, "--flipnet", flipnet, "--like", like, "--out", tmp_path / "look")
        assert result.exit_code == 2
        assert expected in result.output
        assert "Traceback" not in result.output
