"""Making images: the condition runs once, and its keys and values serve all steps and all variants.

    naive    every step runs target and condition rows together, twice with guidance
    here     one pass over the condition, then the target rows alone; guidance only where it can change something

For 5 variants in 20 steps that is 101 row evaluations in place of 400 where both prompts are equal, 202 where not.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.config import SamplingConfig
from degrade_kit.flipnet.diffusion import add_noise
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.precision import require_finite
from degrade_kit.flipnet.text import join_tokens


@dataclass(frozen=True, slots=True)
class ExtraTokens:
    """Cross-attention tokens behind the text's, such as face embeddings."""

    tokens: Tensor
    """(B, N, D)."""
    mask: Tensor | None = None
    """(B,) or (B, N); 0 where a token is absent."""


@torch.no_grad()
def sample(
    net: FlipNet,
    images: Tensor,
    noise: Tensor,
    prompts: Sequence[str],
    config: SamplingConfig,
    *,
    extra: ExtraTokens | None = None,
    descriptions: Sequence[Sequence[float]] | None = None,
) -> Tensor:
    """Make V target images for each condition image.

    Args:
        net: The network; the result has the meaning of its mode's target.
        images: Conditions in [-1, 1], (B, 3, H, W), any size from one block on.
        noise: Where the targets start, (B * V, C, h, w) of `latent_size(net, H, W)`, the V of a condition in a row.
        prompts: One for each target, B * V.
        config: How.
        extra: Tokens for all targets of a condition, and for the condition.
        descriptions: Of the photograph that each target is to be degraded like; an empty one is none.

    Returns:
        (B * V, 3, H, W) in [-1, 1].

    Raises:
        ConfigError: If the network knows no descriptions, or others.
        RunError: If the network gives no finite numbers.
    """
    batch, rows = images.shape[0], noise.shape[0]
    if rows % batch or len(prompts) != rows:
        raise ValueError(f"expected noise and prompts for a multiple of {batch} conditions, got {rows}, {len(prompts)}")
    height, width = images.shape[-2:]
    images = _pad(images, net.multiple)
    latents = net.encode_images(images)
    if noise.shape[1:] != latents.shape[1:]:
        raise ValueError(f"noise: expected shape {tuple(latents.shape[1:])} per target, got {tuple(noise.shape[1:])}")
    evaluate = make_denoiser(net, images, latents, prompts, config, extra, descriptions)
    noisy, scheduler = noise, make_scheduler(net, config)
    noisy = noisy * scheduler.init_noise_sigma
    timesteps = [int(timestep) for timestep in scheduler.timesteps]
    fresh = fresh_noises(net, noise, len(timesteps) - 1 if config.solver == "lcm" else 0)
    for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        prediction = evaluate(scheduler.scale_model_input(noisy, timestep), timestep)
        if config.solver != "lcm":
            noisy = cast("Tensor", scheduler.step(prediction, timestep, noisy).prev_sample)
            continue
        # Its own noise would be white, which the network's need not be, and depend on the batch.
        step = scheduler.step(prediction, timestep, noisy, generator=torch.Generator(noisy.device))
        noisy = cast("Tensor", step.denoised)
        if following is not None:
            a, s = net.signal_noise(torch.tensor([following], device=noisy.device))
            noisy = add_noise(noisy, next(fresh), a, s)
    require_finite(noisy, "latents")
    # Before they are clipped, which would make plain white of an infinite number.
    return require_finite(net.decode_latents(noisy), "images")[..., :height, :width].clamp(-1, 1)


def fresh_noises(net: FlipNet, noise: Tensor, count: int) -> Iterator[Tensor]:
    """Draw further noises, each of the form of the first: functions of each row's own first noise alone.

    Args:
        net: Whose noise it is.
        noise: (B * V, C, h, w).
        count: How many.
    """
    if not count:
        return
    digests = [hashlib.blake2b(row.cpu().float().numpy().tobytes(), digest_size=8).digest() for row in noise]
    sources = [torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1) for digest in digests]
    for _ in range(count):
        rows = [net.draw_start((1, *noise.shape[1:]), source) for source in sources]
        yield torch.cat(rows).to(noise.device, noise.dtype)


MIN_SIGNAL: Final = 0.068
"""Least factor of the target in what a few-step solver begins with: that of Stable Diffusion's last timestep. Where a
schedule ends in pure noise, a gated head reads nothing from it, and a single step would have no use for the noise."""


def few_timesteps(net: FlipNet, num_steps: int) -> list[int]:
    """List the timesteps of the solver `lcm`, noisiest first: evenly trailing, the first one with some signal."""
    total = len(net.alphas_cumprod)
    first = int((net.alphas_cumprod.sqrt() >= MIN_SIGNAL).sum()) - 1
    return [first, *(total - total * step // num_steps - 1 for step in range(1, num_steps))]


def latent_size(net: FlipNet, height: int, width: int) -> tuple[int, int, int]:
    """Compute the shape (C, h, w) of the noise for an image of height x width pixels."""
    multiple, factor = net.multiple, net.factor
    return net.latent_channels, -(-height // multiple) * multiple // factor, -(-width // multiple) * multiple // factor


def make_scheduler(net: FlipNet, config: SamplingConfig) -> Any:  # noqa: ANN401 (diffusers)
    """Build the solver from the network's own noise schedule.

    Spacing is trailing: Stable Diffusion's own leaves out the noisiest steps, and dark or flat images drift to grey.
    """
    diffusers = foreign.diffusers()

    kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
            "rescale_betas_zero_snr")  # fmt: skip
    numbers = {key: net.scheduler.config[key] for key in kept if key in net.scheduler.config}
    common = {**numbers, "timestep_spacing": "trailing"}
    if config.solver == "lcm":
        scheduler = diffusers.LCMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
        scheduler.set_timesteps(config.num_steps, original_inference_steps=len(net.alphas_cumprod))
        scheduler.timesteps = torch.tensor(few_timesteps(net, config.num_steps))
        return scheduler
    if config.solver == "ddim":
        scheduler = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    else:
        scheduler = diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(config.num_steps)
    if config.solver == "ddim":
        # Timesteps are rounded, the stride from one to the next is rounded down: in 6, 7 or 11 steps the last one would
        # end a timestep short of the image, and leave its noise there.
        stride = len(net.alphas_cumprod) // config.num_steps
        scheduler.timesteps[-1] = min(int(scheduler.timesteps[-1]), stride - 1)
    return scheduler


Evaluate = Callable[[Tensor, int], Tensor]


def make_denoiser(
    net: FlipNet,
    images: Tensor,
    latents: Tensor,
    prompts: Sequence[str],
    config: SamplingConfig,
    extra: ExtraTokens | None = None,
    descriptions: Sequence[Sequence[float]] | None = None,
) -> Evaluate:
    """Run the condition; returns a function of noisy targets and a timestep that predicts.

    Args:
        net: As in `sample`.
        images: As in `sample`, of whole blocks.
        latents: Of the images.
        prompts: As in `sample`.
        config: As in `sample`.
        extra: As in `sample`.
        descriptions: As in `sample`; guidance does not touch them.
    """
    batch, rows = latents.shape[0], len(prompts)
    texts = _encode_distinct(net, [*prompts, config.negative_prompt, ""])
    positive, negative, null = texts[:rows], texts[rows : rows + 1], texts[rows + 1 :]
    # With equal prompts e_u + g (e_c - e_u) is e_u, whatever g is.
    guided = config.guidance != 1 and not torch.equal(positive, negative.expand_as(positive))
    copies = net.copies(latents, images)
    shift = None if descriptions is None else net.encode_descriptions(descriptions)

    def branch(text: Tensor) -> Evaluate:
        """One prompt for each target; what the condition reads follows it, or is the null prompt."""
        folded, fold_images, fold_copies = batch, latents, copies
        condition_text = null.expand(batch, -1, -1)
        if net.config.condition_text == "same":
            per_condition = text.unflatten(0, (batch, -1))
            condition_text = per_condition[:, 0]
            if not torch.equal(per_condition, per_condition[:, :1].expand_as(per_condition)):
                # Each target its own condition row: they differ in what they read.
                folded, condition_text = rows, text
                fold_images = latents.repeat_interleave(rows // batch, dim=0)
                fold_copies = None if copies is None else copies.repeat_interleave(rows // batch, dim=0)
        tokens, mask = with_extra(text, extra, batch)
        condition_tokens, condition_mask = with_extra(condition_text, extra, batch)
        store = None
        if config.phi:
            zeros = torch.zeros(folded, dtype=torch.long, device=latents.device)
            store = net.write(fold_images, zeros, condition_tokens, mask=condition_mask)

        def evaluate(noisy: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((rows,), timestep, dtype=torch.long, device=noisy.device)
            return net.read(noisy, timesteps, tokens, store, mask=mask, copies=fold_copies, shift=shift, phi=config.phi)

        return evaluate

    conditional = branch(positive)
    if not guided:
        return conditional
    unconditional = branch(negative.expand_as(positive))

    def guide(noisy: Tensor, timestep: int) -> Tensor:
        without = unconditional(noisy, timestep)
        return without + config.guidance * (conditional(noisy, timestep) - without)

    return guide


def _encode_distinct(net: FlipNet, prompts: Sequence[str]) -> Tensor:
    """Encode prompts to tokens, each text once and alone: the last bit must not depend on the texts beside it."""
    distinct = list(dict.fromkeys(prompts))
    encoded = torch.cat([net.encode_prompts([prompt]) for prompt in distinct])
    return encoded[[distinct.index(prompt) for prompt in prompts]]


def with_extra(text: Tensor, extra: ExtraTokens | None, batch: int) -> tuple[Tensor, Tensor | None]:
    """Join extra tokens, those of a condition for all its rows."""
    if extra is None:
        return text, None
    repeat = text.shape[0] // batch
    mask = None if extra.mask is None else extra.mask.repeat_interleave(repeat, dim=0)
    return join_tokens(text, extra.tokens.repeat_interleave(repeat, dim=0), mask)


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Extend to the right and below to whole blocks, by the last pixel."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


@contextlib.contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Run the block in `dtype` where that is a short one."""
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
        yield


def choose_device(name: str | None) -> torch.device:
    """Choose the device of this name; without one the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: If it is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {name}: cannot be used here: {reason}; give another, such as cpu") from error
    return device
