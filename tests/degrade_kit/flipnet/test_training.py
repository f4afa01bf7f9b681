from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.checkpoint import BaseReference, load
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig, checkpoints, collate, step_generator, train
from tests.degrade_kit.flipnet.models import gated_flipnet, tiny_flipnet

BASE = BaseReference(location="base")


class Stream:
    """Noise and the same, darker."""

    def sample(self, number: int, size: int) -> PairSample:
        hq = np.random.default_rng(number % 4).integers(0, 256, (size, size, 3), np.uint8)
        return PairSample(hq, hq // 3, "low light", "low-light")


def small_config(**changes: Any) -> TrainConfig:  # noqa: ANN401 (fields)
    fields: dict[str, Any] = {
        "num_steps": 6,
        "crop_sizes": (32,),
        "crop_batches": (4,),
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "checkpoint_steps": 3,
        "loss_weighting": "posterior",
        "condition_loss": 0.0,
        "train_base": True,
    }
    return TrainConfig(**{**fields, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder).net.unet.state_dict()


def same_weights(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loss_is_the_equation(kind: str) -> None:
    """L = E || e - e_theta(x_tx, y_ty, t_x, t_y, c) ||^2 over the rows of both branches (spec Eq. 7)."""
    net = tiny_flipnet(prediction_type=kind)
    config = TrainConfig(num_steps=1, crop_sizes=(32,), caption_dropout=0.0)
    batch = collate([Stream().sample(number, 32) for number in range(3)])
    seen: dict[str, Any] = {}
    inner = net.predict_joint

    def spy(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (as predict_joint)
        seen["arguments"], seen["result"] = arguments, inner(*arguments, **options)
        return seen["result"]

    net.predict_joint = spy
    torch.manual_seed(5)  # of the autoencoder's sample
    found = float(DiffusionLoss(net, config)(batch, torch.Generator().manual_seed(1)).detach())

    torch.manual_seed(5)
    with torch.no_grad():
        target, condition = net.encode_images(batch.lq, sample=True), net.encode_images(batch.hq, sample=True)
    noisy, timesteps, noisy_condition, condition_timesteps = seen["arguments"][:4]
    total: list[np.ndarray[Any, Any]] = []
    for clean, noised, steps, prediction in (
        (target, noisy, timesteps, seen["result"][0]),
        (condition, noisy_condition, condition_timesteps, seen["result"][1]),
    ):
        alpha = net.alphas_cumprod.numpy()[steps.numpy()][:, None, None, None]
        noise = (noised.detach().numpy() - np.sqrt(alpha) * clean.numpy()) / np.sqrt(1 - alpha)
        velocity = np.sqrt(alpha) * noise - np.sqrt(1 - alpha) * clean.numpy()
        wanted = noise if kind == "epsilon" else velocity
        total.append((prediction.detach().numpy() - wanted) ** 2)
    assert found == pytest.approx(float(np.concatenate(total).mean()), rel=1e-3)


@pytest.mark.parametrize(("mode", "target"), [(Mode.DEGRADE, "lq"), (Mode.RESTORE, "hq")])
def test_the_mode_decides_which_image_is_made(mode: Mode, target: str) -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=2, mode=mode))
    batch = collate([Stream().sample(0, 32)])
    order: list[torch.Tensor] = []
    inner = net.encode_images

    def spy(images: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401 (as encode_images)
        order.append(images)
        return inner(images, *arguments, **options)

    net.encode_images = spy
    DiffusionLoss(net, TrainConfig(num_steps=1))(batch, torch.Generator())
    assert torch.equal(order[0], getattr(batch, target))


@pytest.mark.parametrize(("share", "noised"), [(0.0, False), (1.0, True)])
def test_the_condition_is_clean_or_noised_as_asked(share: float, noised: bool) -> None:
    net = tiny_flipnet()
    seen: list[Any] = []
    inner = net.predict_joint

    def spy(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (as predict_joint)
        seen.append(arguments)
        return inner(*arguments, **options)

    net.predict_joint = spy
    config = TrainConfig(num_steps=1, condition_noise=share)
    DiffusionLoss(net, config)(collate([Stream().sample(0, 32)] * 4), torch.Generator().manual_seed(3))
    assert bool((seen[0][3] > 0).any()) is noised


def test_the_loss_falls_on_one_batch() -> None:
    net = gated_flipnet(randomize=False)
    net.set_trainable(base=True)
    config = small_config()
    loss_module = DiffusionLoss(net, config)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    batch = collate([Stream().sample(number, 32) for number in range(4)])
    losses: list[float] = []
    for step in range(40):
        loss = loss_module(batch, step_generator(0, step % 2, 0, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


def test_a_run_that_was_stopped_ends_in_the_same_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    train(gated_flipnet(randomize=False), Stream(), small_config(), tmp_path / "whole", BASE, device="cpu")
    steps: list[int] = []
    train(
        gated_flipnet(randomize=False),
        Stream(),
        small_config(),
        tmp_path / "parts",
        BASE,
        device="cpu",
        report=lambda metrics: steps.append(int(metrics["step"])),
        should_stop=lambda: len(steps) == 3,  # asked before the fourth is reported
    )
    assert steps == [1, 2, 3, 4]
    train(gated_flipnet(randomize=False), Stream(), small_config(), tmp_path / "parts", BASE, device="cpu")
    assert same_weights(tmp_path / "whole/model", tmp_path / "parts/model")
    assert [path.name for path in checkpoints(tmp_path / "parts")] == ["step-00000004", "step-00000006"]


def test_numbers_that_are_not_finite_skip_a_step_and_end_a_run(tmp_path: Path) -> None:
    net = gated_flipnet(randomize=False)
    seen: list[int] = []

    class Poisoned(Stream):
        def sample(self, number: int, size: int) -> PairSample:
            step = number // 4096
            if step in self.bad:
                with torch.no_grad():
                    net.unet.conv_out.bias.fill_(torch.nan)
            return super().sample(number, size)

        bad = (2,)

    with pytest.raises(RunError, match="three steps in a row gave no finite numbers"):
        train(
            net,
            Poisoned(),
            small_config(checkpoint_steps=1),
            tmp_path,
            BASE,
            device="cpu",
            report=lambda metrics: seen.append(int(metrics["skipped"])),
        )
    assert seen[:2] == [0, 0]
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]


def test_a_damaged_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    train(gated_flipnet(randomize=False), Stream(), small_config(num_steps=3), tmp_path, BASE, device="cpu")
    path = checkpoints(tmp_path)[-1] / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ConfigError, match="cut short"):
        train(gated_flipnet(randomize=False), Stream(), small_config(), tmp_path, BASE, device="cpu")


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0])
    train(
        gated_flipnet(randomize=False),
        Stream(),
        small_config(validation_steps=2),
        tmp_path,
        BASE,
        device="cpu",
        validate=lambda net, step: {"val_distance": next(scores)},
    )
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 4
    assert not same_weights(tmp_path / "best", tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_shares": (0.5, 0.5)}, "crop_shares: expected one for each"),
        ({"crop_batches": (1, 2)}, "crop_batches: expected one for each"),
        ({"noise_draws": 0}, "noise_draws: expected 1 or more"),
        ({"caption_dropout": 1.5}, "caption_dropout: expected a share"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**change)
