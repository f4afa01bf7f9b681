"""What the tests of training share: a data set and a configuration that train in seconds, and what a run leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import degrade_kit as dk
from degrade_kit.flipnet.weights import read_weights
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.executor import ExecutorConfig, ray_version
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan

SIZE = 32
LOOP: dict[str, Any] = {
    "num_steps": 4,
    "crop_sizes": [SIZE],
    "batch_size": 2,
    "learning_rate": 0.001,
    "warmup_steps": 2,
    "ema_decay": 0.9,
    "checkpoint_steps": 2,
    "validation_steps": 100,
}
CONFIG: dict[str, Any] = {
    "perceptual": "gradient-pyramid",
    "base": {"widths": [32, 32], "layers": 1, "text_width": 32, "text_layers": 1, "text_tokens": 8},
    "network": {"lora_rank": 0, "boost_window": 3, "head": "gated", "head_blurs": [1.5], "condition_text": "null"},
    "autoencoder": {
        "widths": [8, 8, 8],
        "layers": 1,
        "critic_width": 8,
        "adversarial_start": 2,
        "association_patches": 16,
    },
    "reconstruction": LOOP,
    "association": LOOP,
    "restoration": {**LOOP, "loss_weighting": "posterior", "train_base": True},
    "losses": {"face_patch": 2, "embedding_dropout": 0.5},
    "data": {"onthefly": "gfpgan", "held_out": 0.34},
    "sampling": {"num_steps": 2, "guidance": 1.0},
    "validation_images": 2,
}


def make_shards(faces: Path, out: Path, size: int = SIZE) -> Path:
    """Six samples of 32 pixels, or of another side, two LQ images each."""
    config = SynthConfig(
        hq=str(faces), recipe=dk.preset("gfpgan"), variants=2, samples_per_shard=4, image=HqConfig(size=size)
    )
    assert run_plan(make_plan(config), str(out), ExecutorConfig(workers=0)).complete
    return out


def write_config(path: Path, **sections: Mapping[str, Any]) -> Path:
    """The configuration above, with fields of its sections replaced."""
    merged = {**CONFIG, **{name: {**CONFIG[name], **fields} for name, fields in sections.items()}}
    path.write_text(json.dumps(merged), "utf-8")  # which is YAML too, without aliases
    return path


def needs_ray() -> None:
    """Skip where Ray is not installed; it is not imported, which must come after its environment is set."""
    if ray_version() is None:
        pytest.skip("needs Ray")


PATIENCE = 240.0
"""Seconds that a process of a few steps may take on a loaded machine."""


def run(arguments: Sequence[str]) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's metrics."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """All that the last checkpoint of a run, or of a stage of one, holds."""
    last = max((folder / "checkpoints").glob("step-????????"))
    return dict(read_weights(last / "state.safetensors"))
