"""Against the real packages, where they are installed; `benchmarks/peers.py` says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import degrade_kit as dk
from degrade_kit.face_points import COMPONENTS

pytestmark = pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")
needs_gfpgan = pytest.mark.skipif(find_spec("gfpgan") is None, reason="gfpgan is not installed")

SIZE = 64


def run(code: str, *arguments: str) -> str:
    """In a process of its own, since basicsr and its kin warn, log and patch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


CONTRACT = """
import json, sys
import numpy as np
import torch
import degrade_kit.adapters.basicsr as adapter
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.degradations import random_add_jpg_compression
from degrade_kit.errors import ConfigError
from degrade_kit.presets import preset
from degrade_kit.streaming import PairMapDataset, PairOptions
from torchvision.transforms.functional import rgb_to_grayscale

out = sys.argv[1]
opt = {"name": "pairs", "type": "DegradeKitPairs", "phase": "train", "dataroot": out, "num_worker_per_gpu": 2,
       "batch_size_per_gpu": 3, "crop": 48, "use_hflip": True, "onthefly": "codeformer"}
pairs = PairMapDataset(out, PairOptions(crop=48, flip=True, onthefly=preset("codeformer"), dtype="float32"))
dataset = build_dataset(opt)
assert len(dataset) == 6
sampler = EnlargedSampler(dataset, 1, 0)
for epoch in range(2):
    sampler.set_epoch(epoch)
    pairs.set_epoch(epoch)
    expected = {pair["key"]: pair for pair in (pairs[n] for n in range(6))}
    for batch in build_dataloader(dataset, opt, num_gpu=0, sampler=sampler, seed=0):
        assert batch["lq"].shape == batch["gt"].shape == (3, 3, 48, 48)
        for n, key in enumerate(batch["lq_path"]):
            assert torch.equal(batch["lq"][n], expected[key]["lq"]), (epoch, key)
            assert torch.equal(batch["gt"][n], expected[key]["hq"]), (epoch, key)

fourth = build_dataset({**opt, "lq_scale": 4})[0]
assert (fourth["lq"].shape, fourth["gt"].shape) == ((3, 12, 12), (3, 48, 48))

signed = build_dataset({**opt, "mean": [0.5] * 3, "std": [0.5] * 3})[0]
plain = build_dataset(opt)[0]
for name in ("lq", "gt"):
    assert torch.equal(signed[name], (plain[name] - 0.5) / 0.5)
    assert -1 <= signed[name].min() < 0

for wrong, words in [({"use_hfilp": True}, "did you mean `use_hflip`"), ({"dataset_enlarge_ratio": 9}, "expected 1"),
                     ({"mean": [0.5] * 3}, "go together"), ({"onthefly": "gfpgna"}, "did you mean `gfpgan`")]:
    try:
        build_dataset({**opt, **wrong})
    except ConfigError as error:
        assert words in str(error), error
    else:
        raise AssertionError(wrong)

image = torch.rand(2, 3, 8, 8)
for channels in (1, 3):
    assert torch.equal(adapter._rgb_to_grayscale(image, channels), rgb_to_grayscale(image, channels))
assert random_add_jpg_compression(np.random.rand(16, 16, 3).astype(np.float32), (60.0, 61.0)).shape == (16, 16, 3)
print("kept")
"""


def test_samples_keep_the_contract_of_basicsr(made: Path) -> None:
    assert "kept\n" in run(CONTRACT, str(made))


TRAIN = """
import sys
import degrade_kit.adapters.basicsr
if "gfpgan" in sys.argv[2]:
    # Its kernel is CUDA's alone; this is what it computes.
    import basicsr.ops.fused_act.fused_act as fused_act
    from torch.nn.functional import leaky_relu
    fused_act.fused_leaky_relu = lambda x, bias, slope=0.2, scale=2**0.5: (
        leaky_relu(x + bias.reshape(1, -1, 1, 1), slope) * scale)
    import gfpgan.archs, gfpgan.data, gfpgan.models
from basicsr.train import train_pipeline
train_pipeline(sys.argv.pop())
"""


def options(made: Path, name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Of a run of two steps, as an option file has them."""
    train_set = {
        "name": "pairs",
        "type": "DegradeKitPairs",
        "dataroot": str(made),
        "use_hflip": True,
        "num_worker_per_gpu": 1,
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": 1,
        "prefetch_mode": None,
    }
    optimiser = {"type": "Adam", "lr": 1e-3}
    train = {
        "ema_decay": 0,
        "optim_g": dict(optimiser),
        "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
        "total_iter": 4,  # three steps are an epoch
        "warmup_iter": -1,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }
    return {
        "name": name,
        "scale": 1,
        "num_gpu": 0,
        "manual_seed": 0,
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1000, "use_tb_logger": False, "wandb": {"project": None}},
        "dist_params": {"backend": "gloo", "port": 29500},
        **changes,
        "datasets": {"train": {**train_set, **changes.get("datasets", {})}},
        "train": {**train, **changes.get("train", {})},
    }


def trained(tmp_path: Path, opt: dict[str, Any]) -> str:
    file = tmp_path / f"{opt['name']}.yml"
    file.write_text(yaml.safe_dump(opt, sort_keys=False))
    return run(TRAIN, "-opt", str(file), str(tmp_path))


def test_the_trainer_of_basicsr_runs_on_shards(made: Path, tmp_path: Path) -> None:
    network = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 1}
    network |= {"res_scale": 1, "img_range": 255.0, "rgb_mean": [0.5, 0.5, 0.5]}
    log = trained(tmp_path, options(made, "sr", model_type="SRModel", network_g=network))
    assert "Number of train images: 6" in log
    assert "iter:       4" in log
    assert "End of training" in log


GFPGAN = {
    "type": "GFPGANv1Clean",
    "num_style_feat": 8,
    "channel_multiplier": 1,
    "narrow": 0.0625,
    "fix_decoder": False,
    "num_mlp": 1,
    "input_is_latent": True,
    "different_w": True,
    "sft_half": True,
}
"""The smallest generator that GFPGAN makes; its side is to be added."""

LOSSES = {
    "optim_d": {"type": "Adam", "lr": 1e-3},
    "L1_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    "gan_opt": {"type": "GANLoss", "gan_type": "wgan_softplus", "loss_weight": 0.1},
    "pyramid_loss_weight": 1,
    "remove_pyramid_loss": 100,
    "r1_reg_weight": 10,
    "net_d_reg_every": 100,
}


@needs_gfpgan
def test_the_trainer_of_gfpgan_runs_on_shards(made: Path, tmp_path: Path) -> None:
    half = [0.5, 0.5, 0.5]
    opt = options(
        made,
        "gfpgan",
        model_type="GFPGANModel",
        network_g={**GFPGAN, "out_size": SIZE},
        network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4},
        datasets={"mean": half, "std": half, "onthefly": "gfpgan"},
        train=dict(LOSSES),
    )
    log = trained(tmp_path, opt)
    assert "iter:       4" in log
    assert "l_g_pix" in log
    assert "End of training" in log


@pytest.fixture(scope="session")
def with_landmarks(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces of 512 pixels, for which GFPGAN's sizes of regions are written, with points where FFHQ has them."""
    root = tmp_path_factory.mktemp("landmarks")
    five = [[96.0, 120], [160, 120], [128, 155], [103, 180], [153, 180]]
    points = {"astronaut.png": five, "nested/hopper.png": [[x / 2, y / 2] for x, y in five]}
    (root / "points.json").write_text(json.dumps(points))
    report = dk.synthesize(faces_dir, root / "out", landmarks=root / "points.json", preset="gfpgan", workers=0)
    assert report.num_samples == 2
    return root / "out"


@pytest.mark.long
@needs_gfpgan
def test_the_facial_discriminators_of_gfpgan_train_on_shards(with_landmarks: Path, tmp_path: Path) -> None:
    half = [0.5, 0.5, 0.5]
    parts = {f"network_d_{part}": {"type": "FacialComponentDiscriminator"} for part in COMPONENTS}
    opt = options(
        with_landmarks,
        "gfpgan-components",
        model_type="GFPGANModel",
        network_g={**GFPGAN, "out_size": 512},
        network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4},
        **parts,
        datasets={"mean": half, "std": half, "crop_components": True, "eye_enlarge_ratio": 1.4},
        train={
            **LOSSES,
            "optim_component": {"type": "Adam", "lr": 1e-3},
            "gan_component_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 1},
            "comp_style_weight": 200,
            "total_iter": 1,
        },
    )
    log = trained(tmp_path, opt)
    assert "iter:       1" in log
    for part in COMPONENTS:
        assert f"l_g_gan_{part}" in log, "the generator learns of the discriminator of this part"
        assert f"l_d_{part}" in log, "and it of the generator"
    assert "l_g_comp_style_loss" in log
    assert "nan" not in log
