"""The network that restoration and degradation mode share: a Stable Diffusion U-Net, BoostHubs and LoRA.

It knows rows of a *target* image, which is being made, and of a *condition*, which is looked at; never which of them is
HQ. Shapes: B conditions, V target rows for each, C latent channels, h x w latents.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.boosthub import BoostContext, BoostHub, Pass, Written, attach_boosthubs, token_grids
from degrade_kit.flipnet.config import FlipNetConfig
from degrade_kit.flipnet.description import DescriptionSpace
from degrade_kit.flipnet.diffusion import PredictionType, check_prediction_type, draw_noise, signal_noise
from degrade_kit.flipnet.precision import full_range
from degrade_kit.flipnet.text import encode_prompts

LORA_TARGETS = r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""Every projection of every self- and cross-attention: 8 in each transformer block. A list of the bare names would
match BoostHub's projections too."""


class GatedHead(nn.Module):
    """Turns a small network's output into a prediction of the target: a Wiener filter that the network steers.

    Its channels are F, G and H_0, H_1, ... of a local model of each coefficient, in which x_0 is Gaussian,

        mean      m = w y_0 + sqrt(v) (F + sum_k H_k y_k / r) + sum_j J_j S_j
        variance  q = v exp(G)

    and the prediction is the mean of x_0 given x_t = a x_0 + s e,

        m + k (x_t - a m),   k = a q / (a^2 q + s^2)

    y_0 is the condition and y_1, ... are copies of it that were blurred in image space. w, v and r come from least
    squares over pairs (`fit`), so that a network that says nothing is the best linear filter. A network with fewer
    channels than the latents cannot carry two images through its width; here it says, for every place and coefficient,
    what of the condition is left (H), what is added (F) and how much is random (G), as blur, haze and noise differ.

    S_j, in some channels, is what x_t shows of the difference x_0 - w y_0 when it is averaged over a square: the same
    filter once more, with as many times less noise. Without it each block would have a mean colour of its own.

    The loss is measured in units of what the linear filter leaves open, as in EDM (Karras et al. 2022, Table 1), whose
    preconditioning this is with the condition as prior mean.

    Args:
        channels: C.
        blurs: Standard deviations of the blurred copies, pixels.
        smooth: Sides of the squares, tokens; 0 is the whole image.
        smooth_channels: The channels that are averaged; their noise has an offset of standard deviation `offset`.
        offset: See `FlipNetConfig.noise_offset`.
    """

    weight: Tensor
    variance: Tensor
    scale: Tensor

    def __init__(
        self,
        channels: int,
        blurs: Sequence[float],
        smooth: Sequence[int] = (),
        smooth_channels: Sequence[int] = (),
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.blurs = channels, tuple(blurs)
        self.smooth, self.smooth_channels, self.offset = tuple(smooth), list(smooth_channels), offset
        self.register_buffer("weight", torch.ones(channels))  # w
        self.register_buffer("variance", torch.ones(channels))  # v
        self.register_buffer("scale", torch.ones(channels))  # r

    @property
    def out_channels(self) -> int:
        """What the network must put out."""
        return self.channels * (3 + len(self.blurs)) + len(self.smooth) * len(self.smooth_channels)

    @torch.no_grad()
    def fit(self, targets: Tensor, conditions: Tensor) -> None:
        """Set w, v and r by least squares over latents of pairs, both (B, C, h, w)."""
        power = conditions.square().mean((0, 2, 3)).clamp_min(1e-8)
        self.weight.copy_((targets * conditions).mean((0, 2, 3)) / power)
        self.variance.copy_((targets - _per_channel(self.weight) * conditions).square().mean((0, 2, 3)).clamp_min(1e-4))
        self.scale.copy_(power.sqrt())

    def copies(self, latents: Tensor, images: Tensor, encode: Any) -> Tensor:  # noqa: ANN401 (images to latents)
        """Stack the condition and its blurred copies, (B, 1 + blurs, C, h, w)."""
        return torch.stack([latents, *(encode(gaussian_blur(images, sigma)) for sigma in self.blurs)], dim=1)

    def deviation(self, a: Tensor, s: Tensor) -> Tensor:
        """Estimate the standard deviation of x_0 given x_t and y_0 in the linear filter, (B, C, 1, 1)."""
        variance = _per_channel(self.variance)
        return (variance * s**2 / (a**2 * variance + s**2)).clamp_min(1e-8).sqrt()

    def forward(self, output: Tensor, noisy: Tensor, copies: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """Compute the prediction from the U-Net's output; arguments as of `estimate`."""
        return self.estimate(output, noisy, copies, a, s)[0]

    def estimate(self, output: Tensor, noisy: Tensor, copies: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the prediction, and the q that it supposes.

        Args:
            output: (B * V, out_channels, h, w).
            noisy: x_t, (B * V, C, h, w).
            copies: From `copies`, (B, 1 + blurs, C, h, w).
            a: Factor of the target in `noisy`, (B * V, 1, 1, 1).
            s: Factor of the noise.
        """
        batch = copies.shape[0]
        variance = _per_channel(self.variance)
        output, smooth_gates = output.tensor_split([self.channels * (3 + len(self.blurs))], dim=1)
        output = output.unflatten(1, (-1, self.channels))
        gates = output[:, 2:].unflatten(0, (batch, -1))
        shift = output[:, 0] + (gates * (copies / _per_channel(self.scale))[:, None]).sum(2).flatten(0, 1)
        prior = (
            (copies[:, :1] * _per_channel(self.weight)).expand(-1, noisy.shape[0] // batch, -1, -1, -1).flatten(0, 1)
        )
        mean = torch.addcmul(prior, variance.sqrt(), shift)
        if self.smooth:
            mean = mean + self._smoothed(smooth_gates, noisy - a * prior, a, s)
        local = variance * output[:, 1].clamp(-12, 8).exp()
        return torch.addcmul(mean, a * local / (a**2 * local + s**2), noisy - a * mean), local

    def _smoothed(self, gates: Tensor, seen: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """sum_j J_j S_j, zero in the channels that are not averaged."""
        part = seen[:, self.smooth_channels]
        variance = _per_channel(self.variance)[self.smooth_channels]
        total = torch.zeros_like(part)
        for gate, side in zip(gates.unflatten(1, (len(self.smooth), -1)).unbind(1), self.smooth, strict=True):
            count = side**2 or part.shape[-2] * part.shape[-1]
            average = (
                F.avg_pool2d(part, side, stride=1, padding=side // 2, count_include_pad=False)
                if side
                else part.mean((2, 3), keepdim=True)
            )
            gain = a * variance / (a**2 * variance + s**2 * (self.offset**2 + 1 / count))
            total = torch.addcmul(total, gate, gain * average)
        spread = torch.zeros_like(seen)
        spread[:, self.smooth_channels] = total.to(spread.dtype)
        return spread


def _per_channel(vector: Tensor) -> Tensor:
    return vector[:, None, None]


def gated_head(channels: int, config: FlipNetConfig) -> GatedHead:
    """Build the head that a configuration describes."""
    return GatedHead(channels, config.head_blurs, config.head_smooth, config.noise_offset_channels, config.noise_offset)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (B, 3, H, W) with a Gaussian, mirrored at the borders; cut at 3 sigma."""
    radius = min(int(3 * sigma + 0.5), min(images.shape[-2:]) - 1)
    kernel = torch.as_tensor(
        cv2.getGaussianKernel(2 * radius + 1, sigma)[:, 0], dtype=images.dtype, device=images.device
    )
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect").flatten(0, 1).unsqueeze(1)
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])
    return blurred.view(images.shape)


class DescriptionEmbedding(nn.Module):
    """Turns descriptions of exemplars into what is added inside of the network.

    That is something for the embedding of the timestep, which every layer reads, and for each channel that a gated head
    takes: how much of a coefficient is left and how much is random, as blur, noise and darkness say it at all places.

    No layer has a bias, and the last one begins at zero: a row without a description adds nothing, as does a network
    that has not learned from exemplars yet.

    Args:
        numbers: How many numbers a description has.
        width: Of the embedding of the timestep, and of the channels for a gated head.
    """

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.first = nn.Linear(numbers + 1, 128, bias=False)
        self.last = nn.Linear(128, width, bias=False)
        nn.init.zeros_(self.last.weight)

    def rows(self, descriptions: Sequence[Sequence[float]]) -> Tensor:
        """Write descriptions as rows (B, numbers + 1), with a 1 at the end; an empty one is a row of zeros.

        Raises:
            ConfigError: If one has another count of numbers.
        """
        made = torch.zeros(len(descriptions), self.numbers + 1)
        for row, description in zip(made, descriptions, strict=True):
            if len(description) not in (0, self.numbers):
                raise ConfigError(f"description: expected {self.numbers} numbers, got {len(description)}")
            if description:
                row[:] = torch.tensor([*description, 1.0])
        return made

    def forward(self, rows: Tensor) -> Tensor:
        """Compute what is added, (B, width), for the rows of `rows`."""
        return self.last(F.silu(self.first(rows.to(self.first.weight.dtype))))


class JointPrediction(NamedTuple):
    """What a network says of both branches.

    Attributes:
        target: Prediction of the target rows, (B * V, C, h, w).
        condition: That of the condition rows, (B, C, h, w).
        variance: The q that a gated head supposes of the target, of its shape; None of a plain one.
    """

    target: Tensor
    condition: Tensor
    variance: Tensor | None


class FlipNet(nn.Module):
    """A base model with BoostHubs and LoRA.

    Args:
        unet: `UNet2DConditionModel` of the base model.
        vae: Its autoencoder, frozen.
        text_encoder: CLIP's text model, frozen unless it is trained with a small base model.
        tokenizer: For the text model.
        scheduler: Its noise schedule; only its numbers are used here.
        config: What to add.
    """

    def __init__(
        self,
        unet: Any,  # noqa: ANN401 (diffusers)
        vae: Any,  # noqa: ANN401 (diffusers)
        text_encoder: Any,  # noqa: ANN401 (transformers)
        tokenizer: Any,  # noqa: ANN401 (transformers)
        scheduler: Any,  # noqa: ANN401 (diffusers)
        config: FlipNetConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.unet: Any = unet
        self.vae: Any = vae
        self.text_encoder: Any = text_encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        self.prediction_type: PredictionType = check_prediction_type(scheduler.config.prediction_type)
        self.alphas_cumprod: Tensor = scheduler.alphas_cumprod
        self.context = BoostContext()
        self.hubs: dict[str, BoostHub] = attach_boosthubs(unet, self.context, config.boost_window)
        self.head = gated_head(unet.config.in_channels, config) if config.head == "gated" else None
        self.describer: DescriptionEmbedding | None = None
        self.space: DescriptionSpace | None = None
        """How descriptions are made; kept beside the weights."""
        self._shift: Tensor | None = None
        unet.time_embedding.register_forward_hook(self._add_shift)
        if config.description:
            self.add_describer(config.description)
        expected = unet.config.in_channels if self.head is None else self.head.out_channels
        if unet.config.out_channels != expected or (self.head is not None and self.prediction_type != "sample"):
            raise ValueError(
                f"head {config.head}: expected a network with {expected} output channels"
                f"{'' if self.head is None else ' that predicts the sample'}, "
                f"got {unet.config.out_channels} and {self.prediction_type}"
            )
        if config.lora_rank:
            unet.add_adapter(lora_config(config.lora_rank))
        if getattr(unet, "add_embedding", None) is not None:
            # It pools all tokens, and has no mask for the extra ones that are behind the text's.
            unet.add_embedding.register_forward_pre_hook(self._text_alone)

    def add_describer(self, numbers: int) -> None:
        """Let exemplars be learned from; nothing changes until they are."""
        width = self._embedding_width + (0 if self.head is None else self.head.out_channels)
        self.config = dataclasses.replace(self.config, description=numbers)
        self.describer = DescriptionEmbedding(numbers, width).to(self.unet.device)

    @property
    def _embedding_width(self) -> int:
        return int(self.unet.time_embedding.linear_2.out_features)

    def _add_shift(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, arguments
        return output if self._shift is None else output + self._shift.to(output.dtype)

    def _text_alone(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return arguments[0][:, : self.tokenizer.model_max_length], *arguments[1:]

    @property
    def latent_channels(self) -> int:
        """The channels C of a latent."""
        return int(self.unet.config.in_channels)

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        blocks = getattr(self.vae.config, "block_out_channels", None)
        return 2 ** (len(blocks) - 1) if blocks else int(self.vae.config.block_size)

    @property
    def multiple(self) -> int:
        """What the sides of an image must be divisible by, in pixels."""
        return self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def adapter_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that the paper trains: LoRA and BoostHub."""
        for name, parameter in self.unet.named_parameters():
            if ".attn1.processor." in name or ".lora_" in name:
                yield name, parameter

    def set_trainable(self, *, base: bool = False, adapters: bool = True) -> list[nn.Parameter]:
        """Let gradients reach LoRA and BoostHub, or also the base network and its text model.

        What learns from exemplars trains in any case, where there is such.

        Args:
            base: Whether the base network and its text model train.
            adapters: Whether LoRA and BoostHub do.

        Returns:
            The parameters that train.
        """
        self.requires_grad_(False)
        for _, parameter in self.adapter_parameters():
            parameter.requires_grad_(adapters)
        if base:
            self.unet.requires_grad_(True)
            self.text_encoder.requires_grad_(True)
        if self.describer is not None:
            self.describer.requires_grad_(True)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def encode_images(
        self, images: Tensor, generators: Sequence[torch.Generator] | None = None, *, sample: bool = False
    ) -> Tensor:
        """Encode images in [-1, 1] to scaled latents: the mode of the autoencoder's distribution, or a sample of it.

        Args:
            images: (B, 3, H, W).
            generators: Of the sample, one for each image; PyTorch's global one where None.
            sample: Whether to sample.
        """
        images = images.to(next(iter(self.vae.state_dict().values())).dtype)
        with full_range(self.vae, images.device):
            distribution = self.vae.encode(images).latent_dist
        latents = (
            distribution.sample(None if generators is None else list(generators)) if sample else distribution.mode()
        )
        return _full_precision(latents * self.vae.config.scaling_factor)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode scaled latents to images, about [-1, 1], not clipped; gradients pass.

        In float16 a decoder may overflow: `degrade_kit.flipnet.precision.require_finite` tells.
        """
        dtype = next(iter(self.vae.state_dict().values())).dtype
        with full_range(self.vae, latents.device):
            return _full_precision(self.vae.decode((latents / self.vae.config.scaling_factor).to(dtype)).sample)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts to cross-attention tokens (B, T, D)."""
        return encode_prompts(self.tokenizer, self.text_encoder, prompts)

    def encode_descriptions(self, descriptions: Sequence[Sequence[float]]) -> Tensor | None:
        """Compute what descriptions add inside of the network, (B, width); None where none is given.

        Each is computed alone: the last bit must not depend on those beside it.

        Args:
            descriptions: One for each row; an empty one adds nothing.

        Raises:
            ConfigError: If one is given to a network that knows none, or has another count of numbers.
        """
        if not any(len(description) for description in descriptions):
            return None
        if self.describer is None:
            raise ConfigError("description: this FlipNet was not trained with exemplars")
        rows = self.describer.rows(descriptions).to(self.unet.device)
        return torch.cat([self.describer(row[None]) for row in rows])

    def draw_noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw noise as this network was trained with, (B, C, h, w); see `degrade_kit.flipnet.diffusion.draw_noise`."""
        return self._drawn(shape, self.config.noise_gain, generator)

    def draw_start(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw noise as sampling begins with, (B, C, h, w): less of it differs than in training, where that is said."""
        return self.begin(self._drawn(shape, self.config.gain_at_start, generator))

    def _drawn(self, shape: Sequence[int], gain: float, generator: torch.Generator) -> Tensor:
        return draw_noise(
            shape,
            offset=self.config.noise_offset,
            offset_channels=self.config.noise_offset_channels,
            gain=gain,
            generator=generator,
        )

    def begin(self, noise: Tensor) -> Tensor:
        """Make the start of sampling of drawn noise, (..., C, h, w); see `FlipNetConfig.start_evenness`."""
        if not self.config.start_evenness:
            return noise
        chosen, even = list(self.config.noise_offset_channels), noise.clone()
        part = noise[..., chosen, :, :]
        even[..., chosen, :, :] = part.lerp(part.mean((-2, -1), keepdim=True), self.config.start_evenness)
        return even

    def copies(self, latents: Tensor, images: Tensor) -> Tensor | None:
        """Make what a gated head mixes, (B, 1 + blurs, C, h, w); None for a plain one."""
        return None if self.head is None else self.head.copies(latents, images, self.encode_images)

    def predict_joint(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        condition: Tensor,
        condition_timesteps: Tensor,
        tokens: Tensor,
        *,
        condition_tokens: Tensor,
        mask: Tensor | None = None,
        condition_mask: Tensor | None = None,
        copies: Tensor | None = None,
        shift: Tensor | None = None,
        phi: float = 1.0,
    ) -> JointPrediction:
        """Predict both branches in one call, as in training.

        Args:
            noisy: Target rows, (B * V, C, h, w).
            timesteps: Of the targets, (B * V,).
            condition: Condition rows, (B, C, h, w).
            condition_timesteps: (B,).
            tokens: Cross-attention tokens of the targets, (B * V, T, D).
            condition_tokens: Of the conditions, (B, T, D).
            mask: Which of the tokens the targets may read, (B * V, T); all where None.
            condition_mask: Of the conditions, (B, T).
            copies: From `copies`, where the head is gated.
            shift: Of descriptions, for the targets, (B * V, width); see `encode_descriptions`.
            phi: Enhance weight.
        """
        rows, batch = noisy.shape[0], condition.shape[0]
        self._enter(Pass.JOINT, phi, rows // batch, noisy)
        output = self._unet(
            torch.cat([noisy, condition]),
            torch.cat([timesteps, condition_timesteps]),
            torch.cat([tokens, condition_tokens]),
            None if mask is None or condition_mask is None else torch.cat([mask, condition_mask]),
            None if shift is None else torch.cat([shift, shift.new_zeros(batch, shift.shape[1])]),
        )
        target, of_condition = output[:rows], output[rows:]
        if self.head is None:
            return JointPrediction(target, of_condition, None)
        assert copies is not None, "a gated head needs the condition's copies"
        made, variance = self.head.estimate(target, noisy, copies, *self.signal_noise(timesteps))
        other = self.head(of_condition, condition, torch.zeros_like(copies), *self.signal_noise(condition_timesteps))
        return JointPrediction(made, other, variance)

    def write(
        self, condition: Tensor, timesteps: Tensor, tokens: Tensor, *, mask: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Run the condition alone and return the keys and values that `read` needs; shapes as in `predict_joint`."""
        self.context.store = {}
        self._enter(Pass.WRITE, 1.0, 1, condition)
        with contextlib.suppress(Written):
            self._unet(condition, timesteps, tokens, mask)
        store, self.context.store = self.context.store, {}
        return store

    def read(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        tokens: Tensor,
        store: dict[str, tuple[Tensor, Tensor]] | None,
        *,
        mask: Tensor | None = None,
        copies: Tensor | None = None,
        shift: Tensor | None = None,
        phi: float = 1.0,
    ) -> Tensor:
        """Predict target rows, (B * V, C, h, w), that read what `write` kept of B conditions.

        `shift` is as in `predict_joint`. With `phi` 0, or nothing kept, this is the base model.
        """
        off = store is None or phi == 0
        batch = noisy.shape[0] if store is None else next(iter(store.values()))[0].shape[0]
        self._enter(Pass.OFF if off else Pass.READ, phi, noisy.shape[0] // batch, noisy)
        self.context.store = store or {}
        try:
            output = self._unet(noisy, timesteps, tokens, mask, shift)
        finally:
            self.context.store = {}
        if self.head is None:
            return output
        assert copies is not None, "a gated head needs the condition's copies"
        return self.head(output, noisy, copies, *self.signal_noise(timesteps))

    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the factors a and s of z_t = a z_0 + s e, each (B, 1, 1, 1)."""
        return signal_noise(self.alphas_cumprod, timesteps)

    def _enter(self, step: Pass, phi: float, variants: int, like: Tensor) -> None:
        self.context.step, self.context.phi, self.context.variants = step, phi, variants
        levels = len(self.unet.config.block_out_channels)
        self.context.grids = token_grids(like.shape[-2], like.shape[-1], levels)

    def _unet(
        self, rows: Tensor, timesteps: Tensor, tokens: Tensor, mask: Tensor | None, shift: Tensor | None = None
    ) -> Tensor:
        dtype = self.unet.dtype
        self._shift = None if shift is None else shift[:, : self._embedding_width]
        try:
            output = self.unet(
                rows.to(dtype),
                timesteps,
                encoder_hidden_states=tokens.to(dtype),
                encoder_attention_mask=mask,
                return_dict=False,
            )[0]
        finally:
            self._shift = None
        if shift is not None and self.head is not None:
            output = output + shift[:, self._embedding_width :, None, None].to(output.dtype)
        return _full_precision(output)


def _full_precision(tensor: Tensor) -> Tensor:
    """At least float32: solvers and losses lose too much below."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def lora_config(rank: int) -> Any:  # noqa: ANN401 (peft has no types)
    """Configure the paper's LoRA: rank 64 in all self- and cross-attention layers; alpha is the rank, as in UniCon."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LORA_TARGETS)
