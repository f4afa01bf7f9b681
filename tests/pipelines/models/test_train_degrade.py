"""`degrade-kit train-degrade`, from folders as they are downloaded to a model, and what a run survives."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml

from degrade_kit.demo import DEMO_PHOTOS, read_demo_photo
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256
from degrade_kit.flipnet.batch import from_images
from degrade_kit.flipnet.checkpoint import load
from degrade_kit.flipnet.config import BASES, FlipNetConfig
from degrade_kit.flipnet.degrader import Degrader
from degrade_kit.flipnet.description import SHIPPED_SPACE, read_space
from degrade_kit.flipnet.folder import SMALL, read_config
from degrade_kit.flipnet.mixture import ImageCache
from degrade_kit.pipelines.commands.train_degrade import train_degrade_command
from degrade_kit.pipelines.models import paths, train_degrade
from degrade_kit.pipelines.models.train_degrade import (
    DataConfig,
    DegradeRun,
    RunConfig,
    degrade_run_config,
    keep_prompts,
    pair_sources,
    read_data,
)
from tests.degrade_kit.flipnet.models import PUBLISHED, save_blip, save_published
from tests.pipelines.models.runs import PATIENCE, metrics, run, weights_of
from tests.pipelines.ray_machines import ray_machines
from tests.processes import CommandProcess

CONFIG: dict[str, Any] = {
    "base": {"widths": [32, 32], "layers": 1, "text_width": 32, "text_layers": 1, "text_tokens": 16},
    "network": {"lora_rank": 0, "boost_window": 3, "head": "gated", "head_blurs": [1.5], "condition_text": "null"},
    "train": {
        "num_steps": 8,
        "crop_sizes": [32],
        "batch_size": 4,
        "noise_draws": 2,
        "learning_rate": 0.001,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "loss_weighting": "posterior",
        "train_base": True,
        "checkpoint_steps": 3,
        "validation_steps": 100,
    },
    "data": {
        "presets": ["gfpgan"],
        "face_sizes": [64],
        "held_out": 0.25,
        "survey": 40,
        "weights": {"face": 1, "haze": 1, "low-light": 1},
    },
    "sampling": {"num_steps": 2, "guidance": 1.0},
    "validation_images": 4,
    "validation_size": 32,
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """Dense-Haze and LOL as they are unpacked, four training pairs of each, and a folder of faces."""
    root = tmp_path_factory.mktemp("raw")
    bgr = np.ascontiguousarray(astronaut[:, :, ::-1])

    def write(name: str, pixels: npt.NDArray[Any]) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))

    for number in range(1, 5):
        crop = bgr[10 * number : 10 * number + 160, 60 : 60 + 160]
        write(f"Dense_Haze_NTIRE19/GT/{number:02}_GT.png", crop)
        write(f"Dense_Haze_NTIRE19/hazy/{number:02}_hazy.png", crop * 0.5 + 110)
        write(f"LOLdataset/our485/high/{number}.png", crop)
        write(f"LOLdataset/our485/low/{number}.png", crop * 0.25)
        write(f"noise/hq/{number}.png", crop)
        write(f"noise/lq/{number}.png", crop + np.random.default_rng(number).normal(0, 20, crop.shape))
        write(f"faces/{number}.png", crop)
    write("faces/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", bgr[:160, :160])
    return root


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "config.yaml", {})


def write_config(path: Path, train: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({**CONFIG, "train": {**CONFIG["train"], **train}}), "utf-8")
    return path


def words(raw: Path, config: Path, out: Path, *more: str) -> list[str]:
    return [
        *[
            "train-degrade",
            "--pairs",
            f"dense-haze={raw / 'Dense_Haze_NTIRE19'}",
            "--pairs",
            f"lol={raw / 'LOLdataset'}",
        ],
        *["--hq", str(raw / "faces"), "--config", str(config), "--out", str(out), "--device", "cpu", *more],
    ]


def wait_for_step(process: CommandProcess, out: Path, step: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(line["step"] >= step for line in metrics(out)):
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_equal_weights(one: Path, other: Path, tolerance: float = 0.0) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert (tensor.float() - theirs[name].float()).abs().max() <= tolerance, name


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    process = CommandProcess(
        words(raw, write_config(folder / "config.yaml", {}), folder / "run", "--threads", "1"), folder / "log"
    )
    assert process.wait(PATIENCE) == 0, (folder / "log").read_text("utf-8")
    return folder / "run"


def test_raw_folders_become_a_model_that_degrades(finished: Path, raw: Path, tmp_path: Path) -> None:
    loaded = load(finished / "model")
    assert loaded.prompts
    assert loaded.sampling.num_steps == 2
    assert abs(sum(weight for _, weight in loaded.prompts) - 1) < 0.1
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]
    assert [path.name for path in (finished / "samples").iterdir()] == ["step-00000008.png"]
    told = metrics(finished)
    assert [line["step"] for line in told] == list(range(1, 9))
    data = json.loads((finished / "data.json").read_text("utf-8"))
    assert data["training"] == {"haze": 3, "low-light": 3, "face": 3}
    assert data["left_out"] == {"dense-haze": {}, "lol": {}, "hq": {"@eaDir": 1}}
    rows = [json.loads(line) for line in (finished / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert Counter((row["kind"], row["split"]) for row in rows)["haze", "train"] == 3
    files = {file_sha256(path) for path in raw.rglob("*") if path.is_file()}
    assert {row[key] for row in rows for key in ("hq_sha256", "lq_sha256")} <= files
    assert all(row["hq_sha256"] != row["lq_sha256"] for row in rows)
    assert {"val_loss", "val_distance"} <= told[-1].keys()
    result = run(
        ["degrade", str(raw / "faces" / "1.png"), "--flipnet", str(finished / "model"), "--size", "64",
         "--variants", "2", "--device", "cpu", "--out", str(tmp_path / "look")]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "look" / "lq1.png").exists()


def test_a_finished_run_trains_no_more(finished: Path, raw: Path) -> None:
    before = weights_of(finished)
    result = run(words(raw, finished.parent / "config.yaml", finished))
    assert result.exit_code == 0, result.output
    assert [line["step"] for line in metrics(finished)] == list(range(1, 9))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(finished).items())


@pytest.mark.long
def test_a_killed_run_ends_in_the_same_weights(finished: Path, raw: Path, config: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    arguments = words(raw, config, out, "--threads", "1")
    process = CommandProcess(arguments, log)
    wait_for_step(process, out, 4, log)  # one step past a checkpoint
    process.kill()
    process.wait(PATIENCE)
    assert not (out / "checkpoints" / "step-00000008").exists()
    again = CommandProcess(arguments, log)
    assert again.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert_equal_weights(out, finished)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.long
def test_ctrl_c_and_sigterm_write_a_checkpoint(
    number: signal.Signals, finished: Path, raw: Path, config: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    arguments = words(raw, config, out, "--threads", "1")
    process = CommandProcess(arguments, log)
    wait_for_step(process, out, 1, log)
    process.send_signal(number)
    assert process.wait(PATIENCE) == 130, log.read_text("utf-8")
    assert "run the same command again" in log.read_text("utf-8")
    done = metrics(out)[-1]["step"]
    assert (out / "checkpoints" / f"step-{done:08d}").is_dir()
    again = CommandProcess(arguments, log)
    assert again.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert_equal_weights(out, finished)


@pytest.mark.slow
def test_captions_made_ahead_are_trained_on(raw: Path, config: Path, tmp_path: Path) -> None:
    captions, blip = tmp_path / "captions.jsonl", save_blip(tmp_path / "blip")
    images = ["--caption-model", blip, "--device", "cpu", "--out", str(captions)]
    arguments = words(raw, config, tmp_path / "run", "--captions", str(captions), "--steps", "1")
    for folder in ("faces", "Dense_Haze_NTIRE19/GT", "LOLdataset/our485/high"):
        assert run(["caption", "--hq", str(raw / folder), *images]).exit_code == 0
    assert f"captions: of {captions}" in run([*arguments, "--dry-run"]).output
    result = run(arguments)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "run/model").prompts == (), "which are the images' own captions"


def test_pairs_and_faces_are_kept_for_validation_by_name(raw: Path, tmp_path: Path) -> None:
    data = {"held_out": 0.0, "validation": {"lol": ["*/3"], "face": ["[12].png"], "haze": ["*"], "dense-haze": ["9*"]}}
    config = write_config(tmp_path / "config.yaml", {})
    config.write_text(yaml.safe_dump({**CONFIG, "data": {**CONFIG["data"], **data}}), "utf-8")
    plan = run(words(raw, config, tmp_path / "run", "--dry-run")).output
    assert "pairs to train on: 4 haze, 3 low-light, 2 face" in plan
    assert "held out: 1 pair, 2 faces" in plan
    assert "note: validation: nothing fits the pattern of dense-haze 9*" in plan
    data["validation"] = {"face": ["*"], "lol": ["*"], "dense-haze": ["*"]}
    config.write_text(yaml.safe_dump({**CONFIG, "data": {**CONFIG["data"], **data}}), "utf-8")
    assert "no pairs to train on" in run(words(raw, config, tmp_path / "run", "--dry-run")).output


def test_another_configuration_in_the_same_folder_is_refused(finished: Path, raw: Path, tmp_path: Path) -> None:
    other = write_config(tmp_path / "other.yaml", {"learning_rate": 0.002})
    result = run(words(raw, other, finished))
    assert result.exit_code == 1
    assert "holds a run of another configuration" in result.output
    assert "train.learning_rate" in result.output


@pytest.mark.slow
@pytest.mark.long
def test_a_recipe_counts_by_what_it_says_and_not_by_where_it_lies(raw: Path, tmp_path: Path) -> None:
    def plan(folder: str, level: int) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        recipe = {"name": "mine", "steps": [{"gaussian_noise": {"level": [1, level]}}]}
        (tmp_path / folder / "mine.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
        write_config(tmp_path / folder / "config.yaml", {"num_steps": 1})
        text = yaml.safe_load((tmp_path / folder / "config.yaml").read_text("utf-8"))
        text["data"]["presets"] = ["mine.yaml"]
        (tmp_path / folder / "config.yaml").write_text(yaml.safe_dump(text), "utf-8")
        return run(words(raw, tmp_path / folder / "config.yaml", tmp_path / "run")).output

    plan("here", 5)
    assert (tmp_path / "run/model").is_dir()
    assert "another configuration" not in plan("there", 5)
    assert "recipes" in plan("there", 9)


@pytest.mark.long
def test_more_steps_go_on_from_a_finished_run(finished: Path, raw: Path, config: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    result = run(words(raw, config, tmp_path / "run", "--steps", "9"))
    assert result.exit_code == 0, result.output
    assert metrics(tmp_path / "run")[-1]["step"] == 9


def test_an_unknown_key_names_the_nearest(raw: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", {"lerning_rate": 1})
    result = run(words(raw, path, tmp_path / "run"))
    assert result.exit_code == 2
    assert "unknown key `lerning_rate`" in result.output
    assert "learning_rate" in result.output.partition("lerning_rate")[2]
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_the_plan_and_writes_nothing(raw: Path, config: Path, tmp_path: Path) -> None:
    result = run(words(raw, config, tmp_path / "run", "--dry-run"))
    assert result.exit_code == 0, result.output
    assert "haze" in result.output
    assert "low-light" in result.output
    assert not (tmp_path / "run").exists()


def small_example(raw: Path, out: Path) -> list[str]:
    """The example of the help that begins a small run, on the data of these tests."""
    assert train_degrade_command.help is not None
    (line,) = re.findall(r"degrade-kit (train-degrade --config small .*)", train_degrade_command.help)
    places = {"noise=pairs/noise": f"noise={raw / 'noise'}", "faces": str(raw / "faces"), "runs/small": str(out)}
    return [places.get(word, word) for word in shlex.split(line)]


def test_the_small_example_of_the_help_is_planned_with_the_kinds_that_are_there(raw: Path, tmp_path: Path) -> None:
    result = run([*small_example(raw, tmp_path / "run"), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "pairs to train on: 4 noise, 4 face" in result.output
    assert "of the samples: noise 27%, face 73%" in result.output
    assert "weights of low-light, blur, haze are left out" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_run_takes_the_weights_of_the_kinds_that_are_there(raw: Path, config: Path, tmp_path: Path) -> None:
    words = ["train-degrade", "--pairs", f"lol={raw / 'LOLdataset'}", "--config", str(config), "--device", "cpu"]
    result = run([*words, "--steps", "2", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2]


def refusals(raw: Path, config: Path, tmp_path: Path) -> dict[str, list[str]]:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**CONFIG, "data": {**CONFIG["data"], "face_sizes": [16]}}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("stage: another\n")
    (tmp_path / "file").touch()
    noise = ["train-degrade", "--pairs", f"noise={raw / 'noise'}", "--config", str(config), "--out", f"{tmp_path}/r"]
    return {
        "noise has none, only face, haze, low-light have": noise,
        "faces of 16 pixels hold no crop of 32": words(raw, tmp_path / "small.yaml", tmp_path / "run"),
        "holds a run of another configuration": words(raw, config, tmp_path / "other"),
        "cannot write to": words(raw, config, tmp_path / "file" / "run"),
        "no such folder": words(raw, config, tmp_path / "run", "--base-model", "./nowhere"),
        "not in the local cache": words(raw, config, tmp_path / "run", "--base-model", "nobody/nothing"),
        "device gpu7": [*words(raw, config, tmp_path / "run"), "--device", "gpu7"],
    }


@pytest.mark.slow
def test_a_dry_run_finds_what_would_stop_the_run(raw: Path, config: Path, tmp_path: Path) -> None:
    for told, arguments in refusals(raw, config, tmp_path).items():
        dry, real = run([*arguments, "--dry-run"]), run(arguments)
        assert dry.exit_code == real.exit_code != 0, dry.output
        assert told in dry.output
        assert dry.output == real.output


def test_the_configuration_of_a_run_goes_on_with_it(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    options = ["--out", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"]
    result = run(["train-degrade", "--config", str(finished / "config.yaml"), *options])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run/config.yaml").read_bytes() == (finished / "config.yaml").read_bytes()
    other = run(["train-degrade", "--config", str(finished / "config.yaml"), "--seed", "9", *options])
    assert other.exit_code == 1
    assert "config.train.seed: there" in other.output


def test_nothing_to_train_on_is_said(config: Path, tmp_path: Path) -> None:
    result = run(["train-degrade", "--config", str(config), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "no pairs to train on" in result.output


def test_a_tracker_gets_the_numbers(raw: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = write_config(tmp_path / "config.yaml", {"num_steps": 2})
    result = run(words(raw, config, tmp_path / "run", "--report-to", "tensorboard"))
    assert result.exit_code == 0, result.output
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


@pytest.mark.long
def test_two_processes_train_as_one_does(finished: Path, raw: Path, config: Path, tmp_path: Path) -> None:
    if find_spec("ray") is None:  # not imported: it reads its environment then
        pytest.skip("Ray is not installed")
    out, log = tmp_path / "run", tmp_path / "log"
    process = CommandProcess(words(raw, config, out, "--threads", "1", "--workers", "2"), log)
    assert process.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert load(out / "model").prompts
    assert [line["step"] for line in metrics(out)] == list(range(1, 9))
    # The mean of two gradients of half a batch is rounded another way than the gradient of the whole batch.
    assert_equal_weights(out, finished, tolerance=1e-3)


@pytest.mark.long
def test_two_machines_train_as_one_process_does(finished: Path, raw: Path, config: Path, tmp_path: Path) -> None:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    out, log = tmp_path / "run", tmp_path / "log"
    with ray_machines() as machines:
        while machines.add() < 2:  # each has room for one process
            pass
        more = ("--threads", "1", "--workers", "2", "--ray-address", machines.address)
        process = CommandProcess(words(raw, config, out, *more), log, environment=machines.environment)
        assert process.wait(PATIENCE) == 0, log.read_text("utf-8")
    assert [line["step"] for line in metrics(out)] == list(range(1, 9))
    assert_equal_weights(out, finished, tolerance=1e-3)


# ------------------------------------------------------------------------------------------- a FlipNet, trained further


@pytest.fixture(scope="module")
def licensed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished model, with a licence of its own."""
    folder = tmp_path_factory.mktemp("licensed") / "model"
    shutil.copytree(finished / "model", folder)
    (folder / "LICENSE").write_text("Weights for research only.\n\nAll of it.", "utf-8")
    return folder


def further(start: Path, path: Path, /, **more: object) -> Path:
    """A configuration that trains a FlipNet further, as `photos` does, in seconds."""
    train = {**CONFIG["train"], "num_steps": 2, "checkpoint_steps": 2}
    data = {"native": {"*": 1.0}, "small_images": "mirror", "source_words": True, "survey": 20, "held_out": 0.25}
    sections = {"start": str(start), "train": train, "data": data, "sampling": CONFIG["sampling"]}
    path.write_text(yaml.safe_dump({**sections, **more, "validation_images": 2, "validation_size": 32}), "utf-8")
    return path


@pytest.mark.slow
def test_a_flipnet_is_trained_further_on_pairs_of_another_source(raw: Path, licensed: Path, tmp_path: Path) -> None:
    config = further(licensed, tmp_path / "further.yaml")
    pairs = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--config", str(config), "--device", "cpu"]
    pairs += ["--out", str(tmp_path / "run")]

    plan = run([*pairs, "--dry-run"]).output
    assert f"that of the FlipNet {licensed}, which is trained further" in plan
    assert run(pairs).exit_code == 0

    before, after = load(licensed), load(tmp_path / "run" / "model")
    assert after.net.config == before.net.config
    assert len(after.net.tokenizer) == len(before.net.tokenizer) + 1
    assert all(text.endswith(", press") for text, _ in after.prompts)
    (ids,) = after.net.tokenizer(["noise, press"]).input_ids
    assert ids[-2] == len(before.net.tokenizer)
    assert before.net.tokenizer(["noise, press"]).input_ids[0][-2] == before.net.tokenizer.unk_token_id
    mine, theirs = dict(after.net.unet.named_parameters()), dict(before.net.unet.named_parameters())
    change = max(float((mine[name] - theirs[name]).abs().max()) for name in theirs)
    assert 0 < change < 0.01  # two steps from where it began, not from new weights
    assert after.net.head is not None
    assert before.net.head is not None
    assert not torch.equal(after.net.head.weight, before.net.head.weight)  # of haze and darkness; now of noise
    assert (tmp_path / "run" / "model" / "LICENSE").read_text("utf-8").startswith("Weights for research only.")

    saved = [
        "train-degrade",
        "--config",
        str(tmp_path / "run/config.yaml"),
        "--out",
        str(tmp_path / "run"),
        "--dry-run",
    ]
    assert run(saved).exit_code == 0, "a run's own configuration goes on with it"

    elsewhere = [*pairs[:-1], str(tmp_path / "other"), "--dry-run", "--start"]
    assert "that of the FlipNet small, which is trained further" in run([*elsewhere, "small"]).output
    assert "absent" in run([*elsewhere, str(tmp_path / "absent")]).output
    of_another = further(licensed, tmp_path / "another.yaml", base_model="sd15", network={"lora_rank": 4}, start="")
    words = [*pairs[:3], "--config", str(of_another), "--out", str(tmp_path / "other"), "--dry-run"]
    plan = run([*words, "--start", str(licensed)]).output
    assert f"that of the FlipNet {licensed}" in plan, "not the file's base model and network"

    (licensed / "head.safetensors").write_bytes((tmp_path / "run/model/head.safetensors").read_bytes())
    assert "start: there" in run(pairs).output


@pytest.mark.parametrize("grid", [8, 1])
def test_native_crops_begin_on_the_grid_that_is_asked_for(grid: int, tmp_path: Path) -> None:
    for side in ("hq", "lq"):
        (tmp_path / side).mkdir()
        assert cv2.imwrite(str(tmp_path / side / "0.png"), np.indices((96, 96, 1), np.uint8)[[0, 1, 2], ..., 0].T)
    data = DataConfig(grid=grid, native={"*": 1.0}, held_out=0.0)
    asked = DegradeRun(
        config=RunConfig(data=data), pairs=(("press", str(tmp_path)),), faces=None, out_dir=tmp_path, registration=False
    )
    (source,) = pair_sources(asked, read_data(asked), ImageCache(10**6))
    crops = [source.load(0, 64, *map(np.random.default_rng, (0, number))).hq for number in range(40)]
    begins = {int(crop[..., channel].min()) for crop in crops for channel in (1, 2)}
    assert begins <= set(range(0, 33, grid))
    assert len(begins) >= {8: 5, 1: 20}[grid]


@pytest.mark.slow
def test_a_flipnet_trained_further_can_get_blocks_that_overlap(
    raw: Path, licensed: Path, tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    pairs = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--device", "cpu", "--out", str(tmp_path / "run")]
    base = {"lapped": True}
    held = further(licensed, tmp_path / "held.yaml", base=base, train={**CONFIG["train"], "train_base": False})
    result = run([*pairs, "--config", str(held)])
    assert result.exit_code == 2
    assert "base: lapped: a network learns anew in other blocks; set train_base" in result.output

    config = further(licensed, tmp_path / "lapped.yaml", base=base)
    assert run([*pairs, "--config", str(config)]).exit_code == 0
    before, after = load(licensed).net, load(tmp_path / "run" / "model").net
    assert (before.vae.lapped, after.vae.lapped) == (False, True)
    images = from_images(torch.from_numpy(astronaut[None, 64:128, 64:128].copy()))
    assert (after.decode_latents(after.encode_images(images)) - images).abs().max() < 1e-3
    assert not torch.equal(after.vae.scale, before.vae.scale)  # of these pairs, in these blocks


@pytest.mark.slow
def test_a_start_takes_no_other_network(licensed: Path, raw: Path, tmp_path: Path) -> None:
    pairs = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--out", str(tmp_path / "run"), "--dry-run"]
    for more, expected in (
        ({"network": {"lora_rank": 4}}, "leave out network, or start"),
        ({"base_model": str(raw)}, "no folder unet"),
        ({"start": str(raw)}, "not a FlipNet"),
    ):
        config = further(licensed, tmp_path / "wrong.yaml", **more)
        result = run([*pairs, "--config", str(config)])
        assert result.exit_code == 2
        assert expected in result.output


@pytest.mark.slow
def test_faces_beside_photographs_teach_words_and_are_not_drawn(raw: Path, licensed: Path, tmp_path: Path) -> None:
    data = {"native": {"*": 1.0}, "source_words": True, "survey": 20, "held_out": 0.25, "face_share": 0.75}
    config = further(licensed, tmp_path / "faces.yaml", data={**data, "presets": ["gfpgan"], "face_sizes": [64]})
    words = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--hq", str(raw / "faces"), "--config", str(config)]
    words += ["--device", "cpu", "--out", str(tmp_path / "run")]
    assert "of the samples: press 25%, face 75%" in run([*words, "--dry-run"]).output
    assert run(words).exit_code == 0
    prompts = load(tmp_path / "run" / "model").prompts
    assert prompts
    assert all(text.endswith(", press") for text, _ in prompts), "what faces are captioned with is not drawn"


def test_the_photos_configuration_begins_with_the_small_flipnet(raw: Path, tmp_path: Path) -> None:
    words = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--config", "photos"]

    plan = run([*words, "--out", str(tmp_path / "run"), "--dry-run"]).output

    assert "pairs to train on: 4 press" in plan
    assert "base model: that of the FlipNet small, which is trained further; all of it trains" in plan
    assert "450 steps of [12, 6] pairs at [64, 96] pixels" in plan
    faces = run([*words, "--hq", str(raw / "faces"), "--out", str(tmp_path / "run"), "--dry-run"]).output
    assert "of the samples: press 60%, face 40%" in faces


def test_what_weights_do_not_fix_is_inherited_unless_a_run_says_it() -> None:
    small = read_config(SMALL)[0]

    def network(**said: object) -> FlipNetConfig:
        return degrade_run_config({"start": "small", "network": said} if said else {"start": "small"}, {}, "it").network

    assert network() == small
    assert network(start_evenness=0.25) == dataclasses.replace(small, start_evenness=0.25)
    assert network(start_gain=None) == dataclasses.replace(small, start_gain=None)
    assert network(**dataclasses.asdict(small)) == small
    with pytest.raises(ConfigError, match=r"it: start: small: its own network .* leave out network, or start"):
        network(start_gain=0.2, boost_window=5)
    with pytest.raises(ConfigError, match=r"description: set `data: \{exemplars: true\}`"):
        network(description=3)


@pytest.mark.slow
def test_another_start_keeps_what_a_file_says_of_sampling(raw: Path, tmp_path: Path) -> None:
    config = further(SMALL, tmp_path / "mine.yaml", base_model="sd15", network={"lora_rank": 4, "start_gain": 0.2})
    words = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--config", str(config), "--device", "cpu"]
    words += ["--steps", "1", "--out", str(tmp_path / "run"), "--start", "small"]
    assert run([*words, "--dry-run"]).exit_code == 0
    assert run(words).exit_code == 0
    found = read_config(tmp_path / "run" / "model")[0]
    assert found == dataclasses.replace(read_config(SMALL)[0], start_gain=0.2)


def test_what_was_distilled_is_not_trained_further(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"start": "photos"}))
    words = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--config", str(tmp_path / "mine.yaml")]
    result = run([*words, "--out", str(tmp_path / "run"), "--dry-run"])
    assert result.exit_code == 2
    assert "photos: this FlipNet was distilled, and knows the 4 steps of its own solver alone" in result.output
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"start": "photos-teacher"}))
    assert run([*words, "--out", str(tmp_path / "run"), "--dry-run"]).exit_code == 0


@pytest.mark.slow
@pytest.mark.long
def test_a_flipnet_learns_from_exemplars_and_a_killed_run_ends_alike(raw: Path, licensed: Path, tmp_path: Path) -> None:
    data = {"native": {"*": 1.0}, "source_words": True, "survey": 20, "exemplars": True, "face_share": 0.5}
    data |= {"presets": ["gfpgan"], "face_sizes": [64], "held_out": 0.25, "face_sides": [40, 90]}
    config = further(licensed, tmp_path / "exemplars.yaml", data=data)
    pairs = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--hq", str(raw / "faces"), "--config", str(config)]
    pairs += ["--device", "cpu"]
    plan = run([*pairs, "--out", str(tmp_path / "run"), "--dry-run"]).output
    assert "of the samples: press 50%, face 50%" in plan
    assert run([*pairs, "--out", str(tmp_path / "run")]).exit_code == 0
    found = load(tmp_path / "run" / "model").net
    assert found.config.description == read_space(SHIPPED_SPACE.parent).size
    assert found.config.face_sides == (40, 90)
    assert found.describer is not None
    assert found.describer.last.weight.abs().max() > 0, "it trained"
    assert all(text.endswith(", press") for text, _ in load(tmp_path / "run" / "model").prompts), "not those of faces"
    assert found.space is not None

    assert run([*pairs, "--out", str(tmp_path / "again"), "--steps", "1"]).exit_code == 0
    assert run([*pairs, "--out", str(tmp_path / "again")]).exit_code == 0
    again = load(tmp_path / "again" / "model").net
    for name, tensor in found.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name

    begun = further(tmp_path / "run" / "model", tmp_path / "more.yaml", data={**data, "exemplars": False})
    words = [*pairs[:5], "--config", str(begun), "--device", "cpu", "--out", str(tmp_path / "more")]
    assert run(words).exit_code == 0
    kept = load(tmp_path / "more" / "model").net
    assert kept.describer is not None
    assert kept.space is not None


@pytest.mark.slow
def test_exemplars_are_learned_alone_and_words_stay_to_the_bit(
    raw: Path, licensed: Path, tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    train = {**CONFIG["train"], "num_steps": 2, "train_base": False, "describer_alone": True}
    data = {"native": {"*": 1.0}, "source_words": True, "survey": 20, "exemplars": True, "held_out": 0.25}
    config = further(licensed, tmp_path / "alone.yaml", train=train, data=data)
    words = ["train-degrade", "--pairs", f"press={raw / 'noise'}", "--config", str(config), "--device", "cpu"]
    words += ["--out", str(tmp_path / "run")]
    assert "; what it makes of exemplars trains alone" in run([*words, "--dry-run"]).output
    assert run(words).exit_code == 0

    model = tmp_path / "run" / "model"
    for path in sorted(licensed.rglob("*.safetensors")):
        assert (model / path.relative_to(licensed)).read_bytes() == path.read_bytes(), path
    before, after = Degrader(load(licensed), device="cpu"), Degrader(load(model), device="cpu")
    assert after.prompts == before.prompts
    assert after.net.describer is not None
    assert after.net.describer.last.weight.abs().max() > 0, "it trained"
    face = np.ascontiguousarray(astronaut[64:128, 64:128])
    for prompt in ("", before.prompts[0][0]):
        np.testing.assert_array_equal(after.degrade(face, prompt), before.degrade(face, prompt))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": ""}, "expected a finished FlipNet to begin with; set start"),
        ({"data": {}}, "there is nothing to learn; set `data: {exemplars: true}`"),
        ({"train": {"describer_alone": True, "train_base": True}}, "nothing else trains then; leave train_base out"),
    ],
)
def test_what_is_learned_alone_needs_a_finished_network(
    changes: dict[str, Any], message: str, raw: Path, tmp_path: Path
) -> None:
    sections = {"start": "photos-teacher", "train": {"describer_alone": True}, "data": {"exemplars": True}}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**sections, **changes}))
    words = [
        "train-degrade",
        "--pairs",
        f"press={raw / 'noise'}",
        "--config",
        str(path),
        "--out",
        str(tmp_path / "run"),
    ]
    result = run([*words, "--dry-run"])
    assert result.exit_code == 2
    assert f"describer_alone: {message}" in result.output


def test_a_description_is_asked_for_by_its_data(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "network": {**CONFIG["network"], "description": 10}}))
    result = run(words(raw, path, tmp_path / "run", "--dry-run"))
    assert result.exit_code == 2
    assert "network: description: set `data: {exemplars: true}`" in result.output
    path.write_text(yaml.safe_dump({**CONFIG, "data": {**CONFIG["data"], "weights": {}, "face_share": 1.5}}))
    result = run(words(raw, path, tmp_path / "run", "--dry-run"))
    assert result.exit_code == 2
    assert "face_share: expected a share within [0, 1), got 1.5" in result.output


def test_another_base_model_leaves_the_revision_of_the_first_behind(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def check(sections: Mapping[str, Any], *places: object, base_model: str, **others: object) -> None:
        asked.append((base_model, sections.get("revision")))
        raise ConfigError("asked")

    for name in ("check_degrade_paths", "check_restore_paths"):
        monkeypatch.setattr(paths, name, check)
    mine = tmp_path / "mine.yaml"
    mine.write_text("base_model: owner/mine\n")
    exact = tmp_path / "exact.yaml"
    exact.write_text("base_model: owner/mine\nrevision: abc\n")
    for more in (
        [],
        ["--base-model", BASES["sd21"].location],
        ["--base-model", "owner/other"],
        ["--config", str(mine)],
        ["--config", str(exact)],
        ["--config", str(exact), "--base-model", "owner/other"],
    ):
        given = ["--config", "sd21", *more, "--out", str(tmp_path / "run")]
        assert run(["train-degrade", *given, "--pairs", f"noise={raw / 'noise'}"]).exit_code == 2
        assert run(["train-restore", *given, "--shards", str(raw)]).exit_code == 2
    theirs, other = (BASES["sd21"].location, BASES["sd21"].revision), ("owner/other", None)
    expected = [theirs, theirs, other, ("owner/mine", None), ("owner/mine", "abc"), other]
    assert asked == [one for one in expected for _ in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_a_flipnet_stands_on_any_published_base_model(name: str, raw: Path, tmp_path: Path) -> None:
    """Two steps, a saved folder, and an LQ image from it, with nothing but the folder to say which model it is."""
    base, out = save_published(tmp_path / "base", name), tmp_path / "run"
    train = {"num_steps": 2, "batch_size": 2, "crop_sizes": [32], "latent_cache_gigabytes": 0.1}
    mine = tmp_path / "mine.yaml"
    config = {**CONFIG, "network": {"lora_rank": 4}, "train": train, "base": {}, "validation_images": 1}
    mine.write_text(yaml.safe_dump(config), "utf-8")
    given = ["--config", str(mine), "--base-model", str(base), "--out", str(out), "--device", "cpu"]
    pairs = f"dense-haze={raw / 'Dense_Haze_NTIRE19'}"
    trained = run(["train-degrade", *given, "--pairs", pairs, "--hq", str(raw / "faces")])
    assert trained.exit_code == 0, trained.output
    assert len(metrics(out)) == 2
    loaded = load(out / "model")
    assert loaded.net.prediction_type == PUBLISHED[name]["scheduler"].get("prediction_type", "epsilon")
    assert loaded.net.encode_prompts([""]).shape == (1, 77, PUBLISHED[name]["text"]["hidden_size"])
    face = ["degrade", str(raw / "faces/1.png"), "--flipnet", str(out / "model"), "--size", "64", "--variants", "2"]
    made = run([*face, "--prompt", "haze", "--solver-steps", "1", "--out", str(tmp_path / "look")])
    assert made.exit_code == 0, made.output
    assert len(list((tmp_path / "look").glob("*.png"))) >= 1


def test_a_named_base_model_brings_its_revision_and_its_sampling(tmp_path: Path) -> None:
    def planned(*more: str) -> RunConfig:
        found: list[RunConfig] = []
        given = ["--out", str(tmp_path / "run"), "--hq", str(tmp_path), "--download", "--dry-run", *more]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "check_degrade_paths", lambda *places, **others: None)
            patch.setattr(train_degrade, "plan_text", lambda run, processes: found.append(run.config) or "")
            result = run(["train-degrade", *given])
        assert result.exit_code == 0, result.output
        return found[0]

    paper = planned()
    for name, known in BASES.items():
        named = planned("--base-model", name)
        assert (named.base_model, named.revision) == (known.location, known.revision)
        assert named.sampling == (known.sampling or paper.sampling)
        assert named.train == paper.train
    assert BASES["sd-turbo"].sampling is not None
    mine = tmp_path / "mine.yaml"
    mine.write_text("base_model: sd-turbo\nsampling: {num_steps: 2, guidance: 1.0}\n")
    assert planned("--config", "sd21", "--config", str(mine)).sampling.num_steps == 2
    mine.write_text("base_model: sd-turbo\n")
    assert planned("--config", "sd21", "--config", str(mine)).sampling == BASES["sd-turbo"].sampling


@pytest.mark.slow
def test_a_finished_model_has_the_prompts_that_it_keeps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(SMALL, tmp_path / "model")
    config = RunConfig(kept_prompts=0.8, validation_size=96)
    run_here = DegradeRun(config=config, pairs=(), faces=None, out_dir=tmp_path, device="cpu")
    faces = [np.ascontiguousarray(read_demo_photo(photo)[:192, 160:352][::2, ::2]) for photo in DEMO_PHOTOS]
    prompts = (("very dark", 0.5), ("strong compression", 0.3), ("words of a hub", 0.2))

    keep_prompts(run_here, prompts, faces)
    assert read_config(tmp_path / "model")[2] == (("very dark", 0.5), ("words of a hub", 0.2))
    told = json.loads((tmp_path / "prompts.json").read_text("utf-8"))
    assert {row["prompt"]: row["kept"] for row in told["prompts"]} == {"very dark": True, "strong compression": False}
    assert told["images"] == 12, "six of each face"
    assert all(row["images"] == 12 for row in told["prompts"])

    before = (tmp_path / "model" / "flipnet.json").read_bytes()
    keep_prompts(run_here, prompts, [])  # a rerun measures nothing where nothing is there to measure with
    assert "every caption is kept" in caplog.text
    keep_prompts(run_here, prompts, [np.zeros((96, 96, 3), np.uint8)])  # nor where the weights are those of the table
    assert (tmp_path / "model" / "flipnet.json").read_bytes() == before

    asked_for_less = dataclasses.replace(run_here, config=RunConfig(kept_prompts=0.01, validation_size=96))
    keep_prompts(asked_for_less, (("very dark", 0.5), ("words of a hub", 0.2)), faces)
    assert json.loads((tmp_path / "prompts.json").read_text("utf-8"))["least"] == 0.01, "another share, another table"
