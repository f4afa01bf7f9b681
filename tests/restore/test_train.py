from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.flipnet.batch import Batch, collate, pair_generators
from degrade_kit.flipnet.checkpoint import BaseReference
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.loop import LoopConfig, TrainState
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig
from degrade_kit.restore.autoencoder import (
    AutoencoderConfig,
    AutoencoderLoss,
    Autoencoders,
    build_autoencoder,
    diagonal,
    encode_mean,
    load_autoencoders,
    save_autoencoders,
)
from degrade_kit.restore.embeddings import FaceEmbedding, LatentSource
from degrade_kit.restore.infer import Restorer
from degrade_kit.restore.losses import GradientPyramid
from degrade_kit.restore.train import RestorationConfig, RestorationLoss, train_autoencoders, train_restorer
from tests.degrade_kit.flipnet.models import CONTEXT, save_base, tiny_base, tiny_flipnet

SMALL = AutoencoderConfig(widths=(8, 8), layers=1, critic_width=8, adversarial_start=2, association_patches=16)
RESTORE = FlipNetConfig(mode=Mode.RESTORE, lora_rank=4)
SIZE = 32


class Stream:
    """Random pairs: blocks of colour, whose HQ image has detail too."""

    def sample(self, number: int, size: int) -> PairSample:
        rng = np.random.default_rng(number)
        lq = rng.integers(40, 216, (size // 4, size // 4, 3)).repeat(4, 0).repeat(4, 1)
        hq = lq + rng.integers(-40, 40, lq.shape)
        return PairSample(hq.astype(np.uint8), lq.astype(np.uint8), "haze", "made")


def small(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "num_steps": 4,
        "batch_size": 2,
        "crop_sizes": (SIZE,),
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "ema_decay": 0.9,
        "checkpoint_steps": 2,
        **changes,
    }


def pairs(count: int = 2) -> Batch:
    return collate([Stream().sample(number, SIZE) for number in range(count)])


def autoencoders() -> Autoencoders:
    torch.manual_seed(0)
    hq, lq = build_autoencoder(SMALL), build_autoencoder(SMALL)
    return Autoencoders(hq, lq, SMALL.critic_width).eval()


def embedding() -> FaceEmbedding:
    torch.manual_seed(1)
    return FaceEmbedding(LatentSource(build_autoencoder(SMALL), 4), CONTEXT)


def restoration(net: FlipNet, face: FaceEmbedding | None, **changes: Any) -> RestorationLoss:  # noqa: ANN401
    fields: dict[str, Any] = {"face_patch": 4, **changes}
    config = RestorationConfig(**fields)
    return RestorationLoss(net, face, GradientPyramid(), TrainConfig(**small()), config)


def generators(count: int = 2) -> list[torch.Generator]:
    return pair_generators(0, 0, 0, count)


# ------------------------------------------------------------------------------------------------------- restoration


def test_gradients_reach_lora_boosthub_and_adapter_alone() -> None:
    net, face = tiny_flipnet(RESTORE), embedding()
    loss = restoration(net, face, embedding_dropout=0.0)
    loss.requires_grad_(False)
    net.set_trainable()
    face.adapter.requires_grad_(True)
    loss(pairs(), generators()).backward()
    trained = {name for name, parameter in loss.named_parameters() if parameter.grad is not None}
    wanted = {f"diffusion.net.unet.{name}" for name, _ in net.adapter_parameters()}
    wanted |= {f"embedding.adapter.{name}" for name, _ in face.adapter.named_parameters()}
    assert trained == wanted
    assert all(parameter.grad.abs().sum() > 0 for parameter in face.adapter.parameters() if parameter.grad is not None)


def after_the_drawn(count: int = 2) -> list[torch.Generator]:
    """Generators from which the embedding's dropout was drawn."""
    sources = generators(count)
    for source in sources:
        torch.rand((), generator=source)
    return sources


def test_without_image_losses_and_embedding_it_is_the_diffusion_loss() -> None:
    net = tiny_flipnet(RESTORE)
    loss = restoration(net, None, image_weight=0.0, perceptual_weight=0.0)
    assert torch.equal(
        loss(pairs(), generators()), DiffusionLoss(net, TrainConfig(**small()))(pairs(), after_the_drawn())
    )


@torch.no_grad()
def test_a_dropped_embedding_leaves_the_text_alone() -> None:
    net = tiny_flipnet(RESTORE)
    with_face, without = restoration(net, embedding(), embedding_dropout=1.0), restoration(net, None)
    assert float(with_face(pairs(), generators())) == pytest.approx(float(without(pairs(), generators())), rel=1e-5)
    seen = restoration(net, embedding(), embedding_dropout=0.0)(pairs(), generators())
    assert float(seen) != pytest.approx(float(without(pairs(), generators())), rel=1e-5)


@torch.no_grad()
def test_the_loss_is_the_sum_of_its_parts() -> None:
    loss = restoration(tiny_flipnet(RESTORE), None, image_weight=2.0, perceptual_weight=0.25)
    total = float(loss(pairs(), generators()))
    parts = {name: float(value) for name, value in loss.parts.items()}
    assert total == pytest.approx(
        parts["diffusion"] + 2 * parts["image_mse"] + 0.25 * parts["image_perceptual"], rel=1e-5
    )


@torch.no_grad()
def test_the_image_losses_look_at_the_one_step_estimate() -> None:
    net = tiny_flipnet(RESTORE)
    loss = restoration(net, None)
    loss(pairs(), generators())
    predicted = DiffusionLoss(net, TrainConfig(**small())).predict(pairs(), after_the_drawn())
    error = (net.decode_latents(predicted.estimate) - pairs().hq).square().mean()
    assert float(loss.parts["image_mse"]) == pytest.approx(float(error), rel=1e-5)


@torch.no_grad()
def test_image_losses_may_be_left_out_or_weighed_by_timestep() -> None:
    net = tiny_flipnet(RESTORE)
    timesteps = torch.tensor([0, 500, 999])
    cut = restoration(net, None, image_loss_t_max=500)._weights(timesteps)
    assert cut.tolist() == [1, 1, 0]
    weighed = restoration(net, None, image_loss_weighting="alpha_bar")._weights(timesteps)
    assert torch.allclose(weighed, net.alphas_cumprod[timesteps])


@torch.no_grad()
def test_a_crop_of_the_estimate_is_compared_with_the_same_place() -> None:
    net = tiny_flipnet(RESTORE)
    loss = restoration(net, None, image_loss_crop=4)
    images = torch.arange(16.0 * 16).view(1, 1, 16, 16).expand(2, 3, -1, -1) * 2  # a latent is 2 pixels wide
    latents = images[:, :1, ::2, ::2].expand(-1, 4, -1, -1)
    cut, seen = loss._cropped(latents, images, generators())
    assert cut.shape == (2, 4, 4, 4)
    assert torch.equal(cut[:, :1], seen[:, :1, ::2, ::2])


def run_restorer(folder: Path, base: Path, config: TrainConfig, **options: Any) -> TrainState:  # noqa: ANN401
    return train_restorer(
        tiny_flipnet(RESTORE, randomize=False),
        embedding(),
        GradientPyramid(),
        Stream(),
        RestorationConfig(face_patch=4),
        config,
        folder,
        BaseReference(location=str(base)),
        sampling=SamplingConfig(num_steps=2, guidance=1.0),
        device="cpu",
        **options,
    )


def everything(state: TrainState) -> list[Tensor]:
    moments = [tensor for parameter in state.parameters for tensor in state.optimizer.state[parameter].values()]
    return [*(parameter.detach() for parameter in state.parameters), *state.averages, *moments]


@pytest.mark.slow
@pytest.mark.long
def test_a_stopped_restoration_ends_in_the_same_weights_and_its_model_restores(tmp_path: Path) -> None:
    base, config = save_base(tiny_base(), tmp_path / "base"), TrainConfig(**small())
    whole = run_restorer(tmp_path / "whole", base, config)
    run_restorer(tmp_path / "parts", base, config, should_stop=lambda: True)
    parts = run_restorer(tmp_path / "parts", base, config, should_stop=lambda: False)
    assert all(torch.equal(one, other) for one, other in zip(everything(whole), everything(parts), strict=True))
    restorer = Restorer.load(tmp_path / "whole" / "model", device="cpu")
    assert restorer.embedding is not None
    assert restorer.size == SIZE
    lq = Stream().sample(0, SIZE).lq
    first, again = (restorer.run([lq], [5], restorer.sampling)[0] for _ in range(2))
    assert first.shape == lq.shape
    assert np.array_equal(first, again)
    other = restorer.run([lq], [6], restorer.sampling)[0]
    assert not np.array_equal(first, other)


# ------------------------------------------------------------------------------------------------------ autoencoders


def run_autoencoders(folder: Path, loop: LoopConfig, *, associate: bool, **options: Any) -> tuple[TrainState, Any]:  # noqa: ANN401
    found = autoencoders()
    state = train_autoencoders(
        found, GradientPyramid(), Stream(), SMALL, loop, folder, associate=associate, device="cpu", **options
    )
    return state, found


@pytest.mark.parametrize("associate", [False, True], ids=["reconstruction", "association"])
def test_a_stopped_stage_ends_in_the_same_weights(tmp_path: Path, associate: bool) -> None:
    loop = LoopConfig(**small())
    whole, _ = run_autoencoders(tmp_path / "whole", loop, associate=associate)
    steps: list[int] = []
    run_autoencoders(
        tmp_path / "parts",
        loop,
        associate=associate,
        report=lambda metrics: steps.append(int(metrics["step"])),
        should_stop=lambda: len(steps) == 1,  # in mid-run, so that the critics begin after it
    )
    parts, _ = run_autoencoders(tmp_path / "parts", loop, associate=associate)
    assert all(torch.equal(one, other) for one, other in zip(everything(whole), everything(parts), strict=True))
    assert ("log_scale" in whole.names) == associate


def test_saved_autoencoders_are_the_same_and_in_diffusers_layout(tmp_path: Path) -> None:
    found = autoencoders()
    save_autoencoders(found, tmp_path / "model")
    again = load_autoencoders(tmp_path / "model")
    mine, theirs = found.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    read = build_autoencoder(AutoencoderConfig(base=str(tmp_path / "model" / "lq")))
    assert torch.equal(read.encoder.conv_in.weight, found.lq.encoder.conv_in.weight)


def test_a_full_disk_leaves_the_last_autoencoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = autoencoders()
    save_autoencoders(found, tmp_path / "model")

    def fails(tensors: dict[str, Tensor], path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("degrade_kit.restore.autoencoder.write_weights", fails)
    with pytest.raises(RunError, match="model: No space left on device"):
        save_autoencoders(found, tmp_path / "model")
    monkeypatch.undo()
    assert load_autoencoders(tmp_path / "model").factor == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["hq/config.json", "lq/diffusion_pytorch_model.safetensors", "critics.safetensors"])
def test_damaged_autoencoders_are_refused(name: str, tmp_path: Path) -> None:
    save_autoencoders(autoencoders(), tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ConfigError, match=path.name):
        load_autoencoders(tmp_path / "model")


def test_numbers_that_are_none_are_not_saved(tmp_path: Path) -> None:
    found = autoencoders()
    with torch.no_grad():
        found.lq.encoder.conv_in.weight[0] = math.nan
    with pytest.raises(ConfigError, match="NaN"):
        save_autoencoders(found, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_critics_wait_for_their_step() -> None:
    found = autoencoders()
    loss = AutoencoderLoss(found, GradientPyramid(), SMALL, associate=False)
    for step, active in ((1, False), (2, True)):
        found.zero_grad()
        loss.step = step
        loss(pairs(), generators()).backward()
        moved = [bool(p.grad.abs().sum() > 0) for p in found.critics.parameters() if p.grad is not None]
        assert len(moved) == len(list(found.critics.parameters()))  # in every step, for processes that wait for them
        assert any(moved) == active
        assert bool(loss.parts["hq_adversarial_weight"] > 0) == active


@pytest.mark.slow
@pytest.mark.long
def test_association_raises_the_diagonal(tmp_path: Path) -> None:
    batch = pairs(4)

    def measured(found: Autoencoders) -> float:
        with torch.no_grad():
            return diagonal(encode_mean(found.hq, batch.hq), encode_mean(found.lq, batch.lq), found.scale())[1]

    loop = LoopConfig(**small(num_steps=30, batch_size=4, checkpoint_steps=100, learning_rate=3e-3))
    before = measured(autoencoders())
    _, found = run_autoencoders(tmp_path, loop, associate=True)
    assert measured(found) > before + 0.02
