"""The noise process, as pure functions of a scheduler's cumulative products: z_t = a z_0 + s e.

The paper writes alpha_t for their squares; a = sqrt(alphas_cumprod[t]) and s = sqrt(1 - alphas_cumprod[t]) here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")


def check_prediction_type(name: str) -> PredictionType:
    """Return the name if it is a known prediction type.

    Raises:
        ValueError: If it is not.
    """
    if name not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type: expected one of {', '.join(PREDICTION_TYPES)}, got {name!r}")
    return name


def signal_noise(
    alphas_cumprod: Tensor, timesteps: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Compute the factors a and s at these timesteps, shaped (B, 1, 1, 1)."""
    kept = alphas_cumprod.to(timesteps.device, non_blocking=True)[timesteps][:, None, None, None].double()
    return kept.sqrt().to(dtype), (1 - kept).sqrt().to(dtype)


def add_noise(latents: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """Compute z_t from z_0 and the noise e."""
    return a * latents + s * noise


def training_target(kind: PredictionType, latents: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """Compute what the network should predict at z_t.

    v is a e - s z_0 (Salimans & Ho 2022).
    """
    if kind == "epsilon":
        return noise
    return latents if kind == "sample" else a * noise - s * latents


def one_step_estimate(kind: PredictionType, prediction: Tensor, noisy: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """Compute the z_0 that a prediction at z_t stands for; the paper's Eq. 3 where it is of epsilon."""
    if kind == "epsilon":
        return (noisy - s * prediction) / a
    return prediction if kind == "sample" else a * noisy - s * prediction


def draw_noise(
    shape: Sequence[int],
    *,
    offset: float = 0.0,
    offset_channels: Sequence[int] = (),
    gain: float = 0.0,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw white noise of variance 1, (B, C, h, w), plus one number per image and channel of deviation `offset`.

    Noise need not be white or Gaussian: x_0 and e may be drawn in any way, the deterministic sampler follows
    E[dz/dt | z], and so carries the distribution of e to that of x_0 (Lipman et al. 2023, Albergo & Vanden-Eijnden
    2023). What one number of e decides in a large image, one number of the start noise decides in sampling.

    Args:
        shape: (B, C, h, w).
        offset: See `FlipNetConfig.noise_offset`.
        offset_channels: Which channels get it; all where empty.
        gain: See `FlipNetConfig.noise_gain`.
        generator: Source of the numbers.
        device: Of the generator, and of the result.
    """
    noise = torch.randn(tuple(shape), generator=generator, device=device)
    if gain:
        noise = noise * torch.exp(torch.randn((shape[0], 1, 1, 1), generator=generator, device=device) * gain)
    if offset:
        shift = torch.randn((shape[0], shape[1], 1, 1), generator=generator, device=device) * offset
        noise = noise + (shift * _channel_mask(shape[1], offset_channels, shift.device) if offset_channels else shift)
    return noise


def _channel_mask(count: int, chosen: Sequence[int], device: torch.device) -> Tensor:
    mask = torch.zeros(count, device=device)
    mask[list(chosen)] = 1
    return mask[:, None, None]
