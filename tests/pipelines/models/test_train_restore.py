"""`degrade-kit train-restore`, from shards to a restorer, and what a run survives."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from degrade_kit.analysis.networks import ArcFace, Vgg
from degrade_kit.analysis.weights import WEIGHTS
from degrade_kit.files import file_sha256
from degrade_kit.flipnet.loop import LoopConfig
from degrade_kit.flipnet.weights import read_weights
from degrade_kit.image import read_image
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.models.restore_data import ShardPairs
from degrade_kit.pipelines.models.train_restore import load_restore_config
from degrade_kit.restore.infer import Restorer
from degrade_kit.streaming import PairMapDataset, PairOptions
from tests.degrade_kit.flipnet.models import save_base, tiny_base
from tests.pipelines.models.runs import PATIENCE, SIZE, make_shards, metrics, needs_ray, run, weights_of, write_config
from tests.processes import CommandProcess

STAGES = ("reconstruction", "association", "restoration")


@pytest.fixture(scope="module")
def shards(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(faces_dir, tmp_path_factory.mktemp("restore") / "shards")


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "config.yaml")


def words(shards: Path, config: Path, out: Path, *more: str) -> list[str]:
    return [
        *["train-restore", "--shards", str(shards), "--config", str(config), "--out", str(out)],
        *["--device", "cpu", "--threads", "1", *more],
    ]


def both(arguments: list[str]) -> str:
    """What the run and its dry run say alike before they stop."""
    dry, real = run([*arguments, "--dry-run"]), run(arguments)
    assert dry.exit_code == real.exit_code == 2, dry.output
    assert dry.output == real.output
    return dry.output


def assert_equal_weights(one: Path, other: Path, stage: str, tolerance: float = 0.0) -> None:
    mine, theirs = weights_of(one / stage), weights_of(other / stage)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert (tensor.float() - theirs[name].float()).abs().max() <= tolerance, name


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    process = CommandProcess(words(shards, write_config(folder / "config.yaml"), folder / "run"), folder / "log")
    assert process.wait(PATIENCE) == 0, (folder / "log").read_text("utf-8")
    return folder / "run"


def test_shards_become_a_restorer(finished: Path) -> None:
    for stage in STAGES:
        told = metrics(finished / stage)
        assert [line["step"] for line in told] == [1, 2, 3, 4]
        assert "val_loss" in told[-1]
        assert [path.name for path in (finished / stage / "samples").iterdir()] == ["step-00000004.png"]
        assert "perceptual: gradient-pyramid" in (finished / stage / "config.yaml").read_text("utf-8")
    assert {"diffusion", "image_mse", "image_perceptual", "val_psnr", "val_psnr_lq"} <= metrics(
        finished / "restoration"
    )[-1].keys()
    assert {"association", "val_diagonal", "hq_critic"} <= metrics(finished / "association")[-1].keys()
    restorer = Restorer.load(finished, device="cpu")
    assert restorer.embedding is not None
    assert restorer.size == SIZE
    # The encoder is the one that the association left.
    encoder = read_weights(finished / "association" / "model" / "lq" / "diffusion_pytorch_model.safetensors")
    found = restorer.embedding.source.state_dict()
    assert all(torch.equal(found[name], encoder[name]) for name in found)


@pytest.mark.long
def test_the_face_embedding_is_shown_where_it_is_read(finished: Path, faces_dir: Path, tmp_path: Path) -> None:
    result = run(
        [
            *["restore", "--model", str(finished), "--input", str(faces_dir), "--out", str(tmp_path)],
            *["--attention", "--device", "cpu", "--workers", "0"],
        ]
    )
    assert result.exit_code == 0, result.output
    assert "of cross-attention" in result.output
    assert read_image(tmp_path / ".degrade_kit" / "attention.png").std() > 0


def test_a_finished_run_trains_no_more(finished: Path, shards: Path) -> None:
    before = {stage: weights_of(finished / stage) for stage in STAGES}
    result = run(words(shards, finished.parent / "config.yaml", finished))
    assert result.exit_code == 0, result.output
    for stage in STAGES:
        assert all(torch.equal(tensor, before[stage][name]) for name, tensor in weights_of(finished / stage).items())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["association", "restoration"])
@pytest.mark.long
def test_a_killed_run_ends_in_the_same_weights(
    stage: str, finished: Path, shards: Path, config: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    process = CommandProcess(words(shards, config, out), log)
    deadline = time.monotonic() + PATIENCE
    while not any(line["step"] >= 3 for line in metrics(out / stage)):  # one step past a checkpoint
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait(PATIENCE)
    again = CommandProcess(words(shards, config, out), log)
    assert again.wait(PATIENCE) == 0, log.read_text("utf-8")
    for name in STAGES:
        assert_equal_weights(out, finished, name)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_train_as_one_does(finished: Path, shards: Path, config: Path, tmp_path: Path) -> None:
    needs_ray()
    out, log = tmp_path / "run", tmp_path / "log"
    process = CommandProcess(words(shards, config, out, "--workers", "2"), log)
    assert process.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert Restorer.load(out, device="cpu").embedding is not None
    for stage in STAGES:
        assert [line["step"] for line in metrics(out / stage)] == [1, 2, 3, 4]
    # The mean of two gradients is rounded another way than the gradient of the whole batch, and Adam makes much of it
    # where gradients are small: so gradients are compared, and what weighs the critics' part of them. The association
    # begins with what such rounding has led to.
    for ours, alone in zip(metrics(out / "reconstruction"), metrics(finished / "reconstruction"), strict=True):
        for name in ("grad_norm", "hq_adversarial_weight", "lq_adversarial_weight"):
            assert ours[name] == pytest.approx(alone[name], rel=0.02), (ours["step"], name)
    assert metrics(out / "reconstruction")[-1]["hq_adversarial_weight"] > 0


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_restore_as_one_does(shards: Path, config: Path, tmp_path: Path) -> None:
    needs_ray()
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        process = CommandProcess(
            words(shards, config, tmp_path / name, "--stage", "restoration", "--embedding", "none", *more),
            tmp_path / "log",
        )
        assert process.wait(PATIENCE) == 0, (tmp_path / "log").read_text("utf-8")
    assert_equal_weights(tmp_path / "one", tmp_path / "two", "restoration", tolerance=1e-3)


@pytest.mark.slow
def test_a_restorer_without_embedding_needs_no_autoencoders(shards: Path, config: Path, tmp_path: Path) -> None:
    result = run(words(shards, config, tmp_path / "run", "--embedding", "none", "--steps", "1"))
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["restoration"]
    assert Restorer.load(tmp_path / "run", device="cpu").embedding is None


@pytest.mark.slow
@pytest.mark.long
def test_a_stable_diffusion_gets_lora_and_autoencoders_of_its_own(shards: Path, tmp_path: Path) -> None:
    """As at the paper's scale, in miniature: a frozen base, its autoencoder, checkpointed gradients, accumulation."""
    base = save_base(tiny_base(), tmp_path / "base")
    loop = {"gradient_checkpointing": True, "gradient_accumulation": 2}
    config = write_config(
        tmp_path / "config.yaml",
        network={"lora_rank": 4, "boost_window": 0, "head": "plain", "head_blurs": [], "condition_text": "same"},
        autoencoder={"base": str(base)},
        reconstruction=loop,
        association=loop,
        restoration={**loop, "loss_weighting": "uniform", "train_base": False},
        losses={"image_loss_crop": 8},
        sampling={"guidance": 1.5, "negative_prompt": "haze"},
    )
    result = run(words(shards, config, tmp_path / "run", "--base-model", str(base)))
    assert result.exit_code == 0, result.output
    model = tmp_path / "run" / "restoration" / "model"
    assert not (model / "base").exists()
    assert (model / "lora" / "adapter_model.safetensors").exists()
    restorer = Restorer.load(tmp_path / "run", device="cpu")
    assert restorer.embedding is not None
    assert restorer.sampling.negative_prompt == "haze"


@pytest.mark.slow
def test_training_takes_the_listed_vgg19_without_a_path(
    shards: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in Vgg(19, "conv5_4").state_dict().items()}},
        tmp_path / "vgg19-dcbb9e9d.pth",
    )
    more = ["--perceptual", "vgg19", "--embedding", "none", "--steps", "1"]
    refused = run(words(shards, config, tmp_path / "run", *more))
    assert refused.exit_code == 2
    assert "is not the published vgg19-dcbb9e9d.pth" in refused.output
    digest = file_sha256(tmp_path / "vgg19-dcbb9e9d.pth")
    monkeypatch.setitem(WEIGHTS, "vgg19", dataclasses.replace(WEIGHTS["vgg19"], sha256=digest))
    result = run(words(shards, config, tmp_path / "run", *more))
    assert result.exit_code == 0, result.output
    written = (tmp_path / "run" / "restoration" / "config.yaml").read_text("utf-8")
    assert "perceptual: vgg19" in written
    assert f"vgg19: {file_sha256(tmp_path / 'vgg19-dcbb9e9d.pth')}" in written


@pytest.mark.slow
def test_an_identity_network_may_take_the_encoders_place(shards: Path, config: Path, tmp_path: Path) -> None:
    network = ArcFace((1, 1, 1, 1), (8, 8, 8, 16), 32)
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, tmp_path / "backbone.pth")
    more = ["--embedding", "arcface", "--weights", f"arcface-iresnet={tmp_path}/backbone.pth", "--steps", "1"]
    result = run(words(shards, config, tmp_path / "run", *more))
    assert result.exit_code == 0, result.output
    restorer = Restorer.load(tmp_path / "run", device="cpu")
    assert restorer.embedding is not None
    assert restorer.embedding(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 1, 32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.long
def test_data_workers_change_nothing(shards: Path, config: Path, tmp_path: Path) -> None:
    for name, count in (("one", "0"), ("two", "2")):
        result = run(words(shards, config, tmp_path / name, "--embedding", "none", "--data-workers", count))
        assert result.exit_code == 0, result.output
    assert_equal_weights(tmp_path / "one", tmp_path / "two", "restoration")


def test_a_stage_does_not_begin_on_one_that_did_not_reach_its_last_step(
    finished: Path, shards: Path, config: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "reconstruction", tmp_path / "run/reconstruction")
    (tmp_path / "run/reconstruction/model.json").write_text('{"step": 2, "finished": false}', "utf-8")
    output = both(words(shards, config, tmp_path / "run", "--stage", "association"))
    assert "the stage reconstruction did not reach its last step; run --stage reconstruction again" in output
    assert not (tmp_path / "run/association").exists()
    result = run(words(shards, config, tmp_path / "run", "--stage", "reconstruction"))
    assert result.exit_code == 0, result.output
    result = run(words(shards, config, tmp_path / "run", "--stage", "association", "--dry-run"))
    assert result.exit_code == 0, result.output


def test_autoencoders_of_another_run_may_serve(finished: Path, shards: Path, config: Path, tmp_path: Path) -> None:
    result = run(
        words(shards, config, tmp_path / "run", "--steps", "1", "--autoencoders", f"{finished}/reconstruction/model")
    )
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["restoration"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--stage", "association"], "no autoencoders there; run --stage reconstruction first"),
        (["--stage", "restoration"], "no autoencoders there; run --stage association first"),
        (["--embedding", "arcface"], "--embedding arcface needs backbone.pth"),
        (["--perceptual", "vgg19"], "the perceptual loss vgg19 needs vgg19-dcbb9e9d.pth (574.7 MB, torchvision)"),
        (["--perceptual", "vgg19"], "or --perceptual gradient-pyramid to train with a stand-in"),
        (["--perceptual", "vgg19", "--weights", "vgg19=none.pth"], "--weights vgg19=none.pth: nothing is there"),
        (["--weights", f"vgg19={__file__}"], "--weights vgg19: not used with --perceptual gradient-pyramid"),
    ],
)
def test_what_is_missing_is_said(more: list[str], told: str, shards: Path, config: Path, tmp_path: Path) -> None:
    assert told in both(words(shards, config, tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()


def test_another_configuration_in_the_same_folder_is_refused(finished: Path, shards: Path, tmp_path: Path) -> None:
    other = write_config(tmp_path / "other.yaml", association={"learning_rate": 0.002})
    result = run(words(shards, other, finished))
    assert result.exit_code == 1
    assert "association holds a run of another configuration" in result.output
    assert "loop.learning_rate" in result.output


def test_an_unknown_key_names_the_nearest(shards: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", losses={"image_wait": 1})
    result = run(words(shards, path, tmp_path / "run"))
    assert result.exit_code == 2
    assert "unknown key `image_wait`" in result.output
    assert "image_weight" in result.output


@pytest.mark.parametrize("stage", STAGES)
def test_the_configuration_of_a_stage_goes_on_with_it(finished: Path, tmp_path: Path, stage: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    saved = finished / stage / "config.yaml"
    result = run(
        ["train-restore", "--config", str(saved), "--out", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / stage / "config.yaml").read_bytes() == saved.read_bytes()


def test_images_of_another_side_than_the_models_are_refused(shards: Path, tmp_path: Path) -> None:
    larger = write_config(tmp_path / "larger.yaml", reconstruction={"crop_sizes": [64]})
    smaller = write_config(tmp_path / "smaller.yaml", association={"crop_sizes": [16]})
    told = both(words(shards, larger, tmp_path / "run"))
    assert "images of 32 pixels, and the configuration is for 64 pixels" in told
    assert "synth --size 64" in told
    assert "--crop" not in told
    assert "--crop" in both(words(shards, smaller, tmp_path / "run"))
    assert "for 64 pixels" in both(words(shards, larger, tmp_path / "run", "--crop"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_larger_images_are_cropped_where_that_is_asked_for(shards: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", restoration={"crop_sizes": [16], "num_steps": 1})
    result = run(words(shards, path, tmp_path / "run", "--embedding", "none", "--crop"))
    assert result.exit_code == 0, result.output
    assert Restorer.load(tmp_path / "run", device="cpu").size == 16


@pytest.mark.slow
def test_a_data_set_of_another_side_is_no_validation(
    shards: Path, config: Path, faces_dir: Path, tmp_path: Path
) -> None:
    other = make_shards(faces_dir, tmp_path / "other", 48)
    assert "other: images of 48 pixels" in both(words(shards, config, tmp_path / "run", "--validation", str(other)))


@pytest.mark.slow
def test_that_nothing_is_held_out_is_warned_of(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_config(tmp_path / "config.yaml", data={"held_out": 0.01}, restoration={"num_steps": 1})
    arguments = words(shards, path, tmp_path / "run", "--embedding", "none")
    assert "warning: nothing is held out" in run([*arguments, "--dry-run"]).output
    assert run(arguments).exit_code == 0
    assert "nothing is held out for validation: held_out 0.01 of 6 samples is less than one" in caplog.text


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a command line, as click reads them."""
    program, name, *rest = shlex.split(line)
    assert program == "degrade-kit"
    return name, main.commands[name].make_context(name, rest).params


def next_line(output: str) -> str:
    (line,) = [line.removeprefix("next: ") for line in output.splitlines() if line.startswith("next: ")]
    return line


@pytest.mark.slow
@pytest.mark.long
def test_the_next_lines_lead_through_all_stages_and_keep_what_was_given(
    shards: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    output = run(words(shards, config, out, "--stage", "reconstruction", "--steps", "1")).output
    for stage in ("association", "restoration"):
        name, arguments = parsed(next_line(output))
        assert name == "train-restore"
        assert arguments["stage"] == stage
        assert str(config) in shlex.split(next_line(output))
        assert arguments["out"] == out
        assert (arguments["shards"], arguments["num_steps"]) == (str(shards), 1)
        output = run(shlex.split(next_line(output))[1:]).output
    name, arguments = parsed(next_line(output))
    assert (name, arguments["model"]) == ("restore", str(out))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "loss"),
    [("small", 64, "gradient-pyramid, a stand-in without weights"), ("sd21", 512, "vgg19, {vgg}")],
)
def test_a_dry_run_tells_the_plan_and_writes_nothing(
    name: str, size: int, loss: str, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path))
    vgg = tmp_path / "vgg19-dcbb9e9d.pth"
    vgg.write_bytes(b"\x80")
    monkeypatch.setitem(WEIGHTS, "vgg19", dataclasses.replace(WEIGHTS["vgg19"], sha256=file_sha256(vgg)))
    shards = make_shards(faces_dir, tmp_path / "shards", size)
    arguments = ["train-restore", "--shards", str(shards), "--config", name, "--out", str(tmp_path / "run")]
    result = run([*arguments, "--download", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert f"perceptual loss: {loss.format(vgg=vgg)}" in result.output
    assert "restoration:" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_base_model_that_is_not_here_is_said_before_any_work(
    faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *words, **options: None)
    shards = make_shards(faces_dir, tmp_path / "shards", 512)
    assert "not in the local cache" in both(["train-restore", "--shards", str(shards), "--out", str(tmp_path / "run")])


def test_the_papers_numbers_are_in_its_configuration() -> None:
    config = load_restore_config("sd21", {})
    assert [(config.loop(stage).num_steps, config.loop(stage).batch_size) for stage in STAGES] == [
        (200_000, 32), (80_000, 32), (90_000, 16)
    ]  # fmt: skip
    assert (config.restoration.learning_rate, config.network.lora_rank) == (5e-5, 64)
    assert (config.restoration.caption_dropout, config.losses.embedding_dropout) == (0.5, 0.3)
    assert (config.losses.image_weight, config.losses.perceptual_weight) == (1.0, 0.01)
    assert (config.data.onthefly, config.data.onthefly_prob) == ("flipnet-paper", 0.5)
    changed = load_restore_config("sd21", {"onthefly_prob": 1.0, "embedding": "none", "num_steps": 7})
    assert (changed.data.onthefly_prob, changed.losses.embedding) == (1.0, "none")
    assert {changed.loop(stage).num_steps for stage in STAGES} == {7}
    assert (config.sampling.guidance, config.sampling.phi) == (1.5, 1.0)
    assert config.sampling.negative_prompt == "low quality, blurry, poorly rendered hands"


def test_an_epoch_takes_each_sample_once_whatever_is_asked_first(shards: Path) -> None:
    def stream() -> ShardPairs:
        return ShardPairs(PairMapDataset(shards, PairOptions(variant=0)), [0, 1, 3, 5], LoopConfig(batch_size=2))

    def first_pixels(found: ShardPairs, step: int, offset: int) -> bytes:
        return found.sample(step * 4096 + offset, SIZE).hq.tobytes()

    one = stream()
    epoch = [first_pixels(one, step, offset) for step in (0, 1) for offset in (0, 1)]
    assert len(set(epoch)) == 4
    other = stream()
    other.sample(7 * 4096, SIZE)  # another epoch, as another worker may be in
    assert first_pixels(other, 1, 1) == epoch[3]


def test_stored_and_fresh_lq_images_are_mixed(shards: Path) -> None:
    import degrade_kit as dk

    pairs = PairMapDataset(shards, PairOptions(onthefly=dk.preset("gfpgan"), onthefly_prob=0.5))
    stream = ShardPairs(pairs, list(range(6)), LoopConfig(batch_size=6))
    kinds = [stream.sample(step * 4096 + offset, SIZE).kind for step in range(8) for offset in range(6)]
    assert 0.3 < np.mean([kind == "stored" for kind in kinds]) < 0.7
