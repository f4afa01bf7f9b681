"""Training of degradation mode: the diffusion loss on both branches, and nothing else (FlipNet Sec. 4; spec Eq. 7).

The loop itself, which serves other losses too, is `degrade_kit.flipnet.loop`.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import Batch, PairStream, moved
from degrade_kit.flipnet.checkpoint import BASE_DIR, BaseReference, Prompts, save
from degrade_kit.flipnet.diffusion import add_noise, one_step_estimate, training_target
from degrade_kit.flipnet.latents import LatentCache
from degrade_kit.flipnet.loop import LoopConfig, Report, Trainee, TrainState, state_of, train_loop
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.precision import shorten_frozen
from degrade_kit.flipnet.sampling import ExtraTokens, SamplingConfig, with_extra
from degrade_kit.flipnet.space import BlockDCT

log = logging.getLogger(__name__)


Weighting = Literal["uniform", "min_snr", "posterior", "relative"]
_OF_HEAD: Final = ("posterior", "relative")
_LEAST_ERROR: Final = 0.05
"""Added to an error before its logarithm: what is nearly perfect counts no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(LoopConfig):
    """Everything that decides a FlipNet's weights, beside the data and the network."""

    noise_draws: int = 1
    """Target rows for each pair, each with its own timestep and noise; the condition runs once for all of them."""
    caption_dropout: float = 0.5
    """Share of pairs whose prompt is empty."""
    description_dropout: float = 0.3
    """Share of pairs whose exemplar is not shown, so that prompts work alone too; of a network that knows exemplars."""
    description_noise: float = 0.15
    """Standard deviation of what is added to a description's numbers, which are of unit deviation over kinds of
    degradation: few photographs would be known by their numbers."""
    condition_noise: float = 1.0
    """Share of pairs whose condition is noised at a timestep of its own, as in the paper; the others see it clean, as
    in sampling."""
    condition_loss: float = 1.0
    """Weight of the loss on the condition's rows; 1 in the paper."""
    loss_weighting: Weighting = "uniform"
    """Over timesteps. `min_snr`: min(SNR, 5) (Hang et al. 2023) for the sample, the same over SNR for epsilon;
    `posterior`, of a gated head only: the error in units of what a linear estimate leaves open, as in EDM; `relative`:
    the logarithm of that of each row, so that a loud or dark photograph counts no more than a nearly clean one."""
    channel_weighting: float = 0.0
    """Exponent of a latent channel's scale in its loss weight, for `BlockDCT`: 0 treats every coefficient alike, 2 is
    the squared error of pixels."""
    variance_weight: float = 0.0
    """Weight of a second loss, of a gated head only: how likely the errors are under the variance that it says, as in
    Nichol and Dhariwal (ICML 2021) without a gradient through the mean, weighted as in Seitzer et al. (ICLR 2022). In
    nearly pure noise the first loss does not depend on that variance at all, so that a network is slow to learn from
    it how strong a noise its words ask for; then it sees none in its own images, and makes less."""
    latent_cache_gigabytes: float = 0.0
    """Memory of each process for latents of images that come again; see `degrade_kit.flipnet.latents`. 4,000 faces of
    512 pixels and their mirror images take 1 GB."""
    train_base: bool = False
    """Train the base network and its text model too: for a small base model that starts from nothing."""
    describer_alone: bool = False
    """Train what a finished network makes of descriptions, and nothing else: what it does by words stays to the bit."""

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)  # `super()` fails in a dataclass with slots
        if self.noise_draws < 1:
            raise ConfigError(f"noise_draws: expected 1 or more, got {self.noise_draws}")
        if not self.variance_weight >= 0:
            raise ConfigError(f"variance_weight: expected 0 or more, got {self.variance_weight}")
        if not self.latent_cache_gigabytes >= 0:
            raise ConfigError(f"latent_cache_gigabytes: expected 0 or more, got {self.latent_cache_gigabytes}")
        if self.describer_alone and self.train_base:
            raise ConfigError("describer_alone: nothing else trains then; leave train_base out")
        if not 0 <= self.description_noise <= 10:
            raise ConfigError(f"description_noise: expected a number within [0, 10], got {self.description_noise}")
        for name in ("caption_dropout", "condition_noise", "description_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a share within [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the network said of the target rows of a batch, (B * V, C, h, w), and how far off it was."""

    loss: Tensor
    """Loss of both branches; a scalar."""
    estimate: Tensor
    """The z_0 that each prediction stands for; gradients pass."""
    timesteps: Tensor
    """(B * V,)."""


class DiffusionLoss(nn.Module):
    """The loss of one batch: a module, so that data-parallel wrappers see a forward pass."""

    channel_weights: Tensor

    def __init__(self, net: FlipNet, config: TrainConfig) -> None:
        super().__init__()
        self.net, self.config = net, config
        weights = torch.ones(net.latent_channels)
        if config.channel_weighting:
            if not isinstance(net.vae, BlockDCT):
                raise ConfigError("channel_weighting: only a BlockDCT's channels have scales")
            weights = net.vae.scale.float() ** config.channel_weighting
        if config.loss_weighting in _OF_HEAD and net.head is None:
            raise ConfigError(f"loss_weighting: {config.loss_weighting} needs a gated head")
        if config.variance_weight and net.head is None:
            raise ConfigError("variance_weight: needs a gated head")
        self.latents: LatentCache | None = None
        if config.latent_cache_gigabytes:
            if isinstance(net.vae, BlockDCT):
                raise ConfigError("latent_cache_gigabytes: a BlockDCT costs less than looking its latents up")
            self.latents = LatentCache(net.vae, int(config.latent_cache_gigabytes * 1e9))
        self.register_buffer("channel_weights", (weights / weights.mean())[:, None, None], persistent=False)

    def forward(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Compute the mean squared error of the prediction, weighted; a scalar.

        Args:
            batch: The pairs.
            generators: On the CPU, one for each pair; see `pair_generators`.
        """
        return self.predict(batch, generators).loss

    def predict(
        self, batch: Batch, generators: Sequence[torch.Generator], extra: ExtraTokens | None = None
    ) -> Predicted:
        """Compute the loss, and the estimate that further losses may look at.

        Args:
            batch: The pairs.
            generators: On the CPU, one for each pair.
            extra: Cross-attention tokens of each pair, for its target and its condition.
        """
        net, config = self.net, self.config
        target_images, condition_images = net.config.mode.flip(batch.hq, batch.lq)
        target_keys, condition_keys = net.config.mode.flip(batch.hq_keys, batch.lq_keys)
        draws, device = config.noise_draws, target_images.device
        with torch.no_grad():
            target = self._encode(target_images, target_keys, generators).repeat_interleave(draws, dim=0)
            condition = self._encode(condition_images, condition_keys, generators)
            copies = net.copies(condition, condition_images)
        random = _Random(generators, device)
        dropped = random.chances(config.caption_dropout)
        captions = ["" if drop else caption for drop, caption in zip(dropped, batch.captions, strict=True)]
        noise = random.noise(net, target.shape)
        timesteps = random.timesteps(net, target.shape[0])
        a, s = net.signal_noise(timesteps)
        noisy = add_noise(target, noise, a, s)

        condition_noise = random.noise(net, condition.shape)
        condition_timesteps = random.timesteps(net, condition.shape[0])
        noised = moved(torch.tensor(random.chances(config.condition_noise)), device)
        condition_timesteps = torch.where(noised, condition_timesteps, 0)
        a_c, s_c = net.signal_noise(condition_timesteps)
        noised = noised[:, None, None, None]
        condition_noise = torch.where(noised, condition_noise, 0)  # there is none to be found in a clean one
        noisy_condition = torch.where(noised, add_noise(condition, condition_noise, a_c, s_c), condition)

        with torch.set_grad_enabled(config.train_base and torch.is_grad_enabled()):
            tokens = net.encode_prompts(captions)
            same = net.config.condition_text == "same"
            condition_tokens = tokens if same else net.encode_prompts([""]).expand_as(tokens)
        shift = self._shift(batch.descriptions, random)
        tokens, mask = with_extra(tokens.repeat_interleave(draws, dim=0), extra, condition.shape[0])
        condition_tokens, condition_mask = with_extra(condition_tokens, extra, condition.shape[0])
        prediction, of_condition, variance = net.predict_joint(
            noisy,
            timesteps,
            noisy_condition,
            condition_timesteps,
            tokens,
            condition_tokens=condition_tokens,
            mask=mask,
            condition_mask=condition_mask,
            copies=copies,
            shift=None if shift is None else shift.repeat_interleave(draws, dim=0),
        )
        loss = self._error(prediction, training_target(net.prediction_type, target, noise, a, s), timesteps)
        if config.variance_weight:
            assert variance is not None
            left = s**2 * variance / (a**2 * variance + s**2)  # where x_t is seen
            loss = loss + config.variance_weight * self._variance_error(target - prediction.detach(), left, a, s)
        if config.condition_loss:
            wanted = training_target(net.prediction_type, condition, condition_noise, a_c, s_c)
            error = self._error(of_condition, wanted, condition_timesteps)
            # The mean over all rows of both branches, as one loss over the joint batch would be.
            rows, more = target.shape[0], condition.shape[0] * config.condition_loss
            loss = (rows * loss + more * error) / (rows + more)
        return Predicted(loss, one_step_estimate(net.prediction_type, prediction, noisy, a, s), timesteps)

    def _shift(self, descriptions: Sequence[tuple[float, ...]], random: _Random) -> Tensor | None:
        """What descriptions add inside of the network, (B, width); those that are not shown add nothing."""
        describer = self.net.describer
        if describer is None:
            return None
        dropped = random.chances(self.config.description_dropout)
        noise = random.normal(describer.numbers) * self.config.description_noise
        shown = [() if drop else description for drop, description in zip(dropped, descriptions, strict=True)]
        rows = describer.rows(shown)
        rows[:, :-1] += noise * rows[:, -1:]  # where there is one
        return describer(moved(rows, self.net.unet.device))

    def _encode(self, images: Tensor, keys: Sequence[bytes], generators: Sequence[torch.Generator]) -> Tensor:
        if self.latents is None:
            return self.net.encode_images(images, generators, sample=True)
        latents = self.latents.sample(images.to(self.net.vae.dtype), keys, generators)
        return latents.float() * self.net.vae.config.scaling_factor

    def _error(self, prediction: Tensor, wanted: Tensor, timesteps: Tensor) -> Tensor:
        error = prediction.float() - wanted.float()
        if self.config.loss_weighting in _OF_HEAD:
            assert self.net.head is not None
            error = error / self.net.head.deviation(*self.net.signal_noise(timesteps))
        rows = (error.square() * self.channel_weights).mean((1, 2, 3))
        if self.config.loss_weighting == "relative":
            return (rows + _LEAST_ERROR).log().mean()
        return (rows * self._timestep_weights(timesteps)).mean()

    def _variance_error(self, error: Tensor, variance: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """The negative log-likelihood of the errors, each times the root of its variance (beta-NLL)."""
        assert self.net.head is not None
        unit = self.net.head.deviation(a, s)
        squares, variance = (error.float() / unit).square(), (variance.float() / unit.square()).clamp_min(1e-4)
        unlikely = 0.5 * (squares / variance + variance.log()) * variance.detach().sqrt()
        return (unlikely * self.channel_weights).mean()

    def _timestep_weights(self, timesteps: Tensor) -> Tensor:
        alpha = self.net.alphas_cumprod.to(timesteps.device, non_blocking=True)[timesteps].float()
        kind = self.net.prediction_type
        if self.config.loss_weighting != "min_snr":
            return torch.ones_like(alpha)
        snr = alpha / (1 - alpha).clamp_min(1e-8)
        capped = snr.clamp_max(5.0)
        return {"sample": capped, "epsilon": capped / snr.clamp_min(1e-8), "v_prediction": capped / (snr + 1)}[kind]


class _Random:
    """Draws on the CPU, so that a device changes no number: each pair's rows from the pair's generator."""

    def __init__(self, sources: Sequence[torch.Generator], device: torch.device) -> None:
        self._sources, self._device = sources, device

    def chances(self, share: float) -> list[bool]:
        """Draw for each pair whether it is in this share."""
        return [bool(torch.rand((), generator=source) < share) for source in self._sources]

    def normal(self, count: int) -> Tensor:
        """Draw `count` normal numbers for each pair, (B, count), on the CPU."""
        return torch.stack([torch.randn(count, generator=source) for source in self._sources])

    def timesteps(self, net: FlipNet, count: int) -> Tensor:
        """Draw the timesteps of `count` rows, equally many for each pair."""
        each = count // len(self._sources)
        drawn = [torch.randint(0, len(net.alphas_cumprod), (each,), generator=source) for source in self._sources]
        return moved(torch.cat(drawn), self._device)

    def noise(self, net: FlipNet, shape: Sequence[int]) -> Tensor:
        """Draw the noise of shape[0] rows, equally many for each pair."""
        each = (shape[0] // len(self._sources), *shape[1:])
        drawn = [net.draw_noise(each, source) for source in self._sources]
        return moved(torch.cat(drawn), self._device)


def new_state(net: FlipNet, config: TrainConfig) -> TrainState:
    """Make the state before the first step."""
    net.set_trainable(base=config.train_base, adapters=not config.describer_alone)
    return state_of(net, config)


Validate = Callable[[FlipNet, int], dict[str, float]]


def train(
    net: FlipNet,
    stream: PairStream,
    config: TrainConfig,
    run_dir: Path,
    base: BaseReference,
    *,
    prompts: Prompts = (),
    sampling: SamplingConfig | None = None,
    more: Callable[[Path], None] = lambda folder: None,
    validate: Validate = lambda net, step: {},
    report: Report = lambda metrics: None,
    should_stop: Callable[[], bool] = lambda: False,
    num_workers: int = 0,
    device: str | None = None,
    trackers: Sequence[str] = (),
) -> TrainState:
    """Train from the last checkpoint of `run_dir`, or from the start, to the last step.

    Args:
        net: New, or with the weights to start from.
        stream: The pairs.
        config: How.
        run_dir: Gets `checkpoints/step-NNNNNNNN`, `model` (the averaged weights, ready to sample) and `best` (those of
            the lowest `val_distance`, or `val_loss` where there is none).
        base: Where the base model of `net` is.
        prompts: To be saved with the model.
        sampling: To be saved with the model.
        more: See `degrade_kit.flipnet.checkpoint.save`.
        validate: Called with the averaged weights in the network; returns numbers, which are reported.
        report: Called with the numbers of a step or a validation.
        should_stop: Asked after each step; a checkpoint is written before returning.
        num_workers: Processes that prepare pairs; 0 prepares them in this one. The pairs are the same.
        device: Such as `cuda:1` or `cpu`; Accelerate's choice, a GPU if there is one, where None.
        trackers: Of Accelerate, such as `tensorboard`.

    Raises:
        ConfigError: If the device is not there, or the last checkpoint is damaged or of another network.
        RunError: If three steps in a row give no finite numbers, or a checkpoint cannot be written.
    """
    # A base model that is bundled lies there in half precision already.
    half = config.train_base or (config.describer_alone and base.location == BASE_DIR)

    def store(folder: Path) -> None:
        save(net, folder, base, prompts=prompts, sampling=sampling, half=half, more=more)

    def trainee() -> Trainee:
        if config.gradient_checkpointing:
            net.unet.enable_gradient_checkpointing()
            net.unet.train()  # in which it acts, and which means nothing else to it
        state = new_state(net, config)
        if config.mixed_precision == "bf16" and base.location != BASE_DIR:  # a bundled base is saved again, in full
            shorten_frozen(net)
        return Trainee(
            state=state,
            loss=DiffusionLoss(net, config),
            save=store,
            validate=lambda step: validate(net, step),
        )

    return train_loop(
        net,
        trainee,
        stream,
        config,
        run_dir,
        report=report,
        should_stop=should_stop,
        num_workers=num_workers,
        device=device,
        trackers=trackers,
        keyed=config.latent_cache_gigabytes > 0,
    )
