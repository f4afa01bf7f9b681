from __future__ import annotations

import pytest
import torch

from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.diffusion import (
    PREDICTION_TYPES,
    add_noise,
    check_prediction_type,
    draw_noise,
    one_step_estimate,
    signal_noise,
    training_target,
)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_right_prediction_gives_the_image_in_one_step(kind: str) -> None:
    alphas = (
        foreign.diffusers()
        .DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        .alphas_cumprod
    )
    timesteps = torch.tensor([0, 500, 990])
    clean, noise = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    a, s = signal_noise(alphas, timesteps, torch.float64)
    noisy = add_noise(clean, noise, a, s)
    checked = check_prediction_type(kind)
    prediction = training_target(checked, clean, noise, a, s)
    assert (one_step_estimate(checked, prediction, noisy, a, s) - clean).abs().max() < 1e-9
    assert torch.allclose(a**2 + s**2, torch.ones_like(a))


def test_noise_and_targets_are_those_of_diffusers() -> None:
    scheduler = foreign.diffusers().DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    timesteps = torch.tensor([3, 700])
    clean, noise = torch.randn(2, 2, 4, 5, 6)
    a, s = signal_noise(scheduler.alphas_cumprod, timesteps)
    assert torch.allclose(add_noise(clean, noise, a, s), scheduler.add_noise(clean, noise, timesteps), atol=1e-6)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    assert torch.allclose(training_target("v_prediction", clean, noise, a, s), velocity, atol=1e-6)


def test_an_unknown_prediction_type_is_named() -> None:
    with pytest.raises(ValueError, match="expected one of epsilon, v_prediction, sample, got 'flow'"):
        check_prediction_type("flow")


def test_offset_noise_moves_the_named_channels_as_a_whole() -> None:
    source = torch.Generator().manual_seed(0)
    noise = draw_noise((200, 4, 16, 16), offset=0.5, offset_channels=(2,), generator=source)
    means = noise.mean((2, 3)).std(0)
    assert 0.4 < means[2] < 0.6
    assert means[[0, 1, 3]].max() < 0.09
    assert draw_noise((200, 4, 16, 16), offset=0.5, generator=source).mean((2, 3)).std(0).min() > 0.4


def test_noise_gain_scales_each_image_as_a_whole() -> None:
    source = torch.Generator().manual_seed(0)
    noise = draw_noise((300, 4, 16, 16), gain=0.2, generator=source)
    logs = noise.std((2, 3)).log()
    assert 0.17 < logs.mean(1).std() < 0.23
    assert logs.std(1).max() < 0.1  # of the channels of one image, by chance
