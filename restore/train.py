"""Training of a restorer in three stages: reconstruction and association of the autoencoders, then restoration mode.

All three run in `degrade_kit.flipnet.training.train_loop`, with its checkpoints, averages and exact resuming; here is
what they lower and what they leave.
"""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import Batch, PairStream
from degrade_kit.flipnet.checkpoint import BASE_DIR, BaseReference, save
from degrade_kit.flipnet.loop import LoopConfig, Trainee, TrainState, state_of, train_loop
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.precision import shorten_frozen
from degrade_kit.flipnet.sampling import ExtraTokens, SamplingConfig
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig
from degrade_kit.restore.autoencoder import AutoencoderConfig, AutoencoderLoss, Autoencoders, save_autoencoders
from degrade_kit.restore.embeddings import EmbeddingKind, FaceEmbedding, save_embedding
from degrade_kit.restore.folder import RESTORER_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorationConfig:
    """What restoration mode trains for, beside the diffusion loss."""

    embedding: EmbeddingKind = "bfr"
    """Cross-attention tokens of the LQ face."""
    face_patch: int = 4
    """Side of the square of latents that is one token of `bfr`; 1 is the paper's literal reading."""
    embedding_dropout: float = 0.3
    """Share of pairs whose embedding is masked."""
    image_weight: float = 1.0
    """Weight of the squared error of the pixels, in [-1, 1], of the one-step estimate."""
    perceptual_weight: float = 0.01
    """Weight of its perceptual distance."""
    vgg_layers: tuple[str, ...] = ("conv5_4",)
    """Layers of VGG19 before their ReLU, for the perceptual loss `vgg19`; the paper names none."""
    image_loss_weighting: Literal["uniform", "alpha_bar"] = "uniform"
    """Over timesteps. Uniform is the paper's; an estimate from much noise is much too large where the network predicts
    noise, and `alpha_bar` weighs it by the share of the signal."""
    image_loss_t_max: int = 999
    """Timestep beyond which these two losses are left out."""
    image_loss_crop: int = 0
    """Side of the square of latents, at a random place, that is decoded for them; 0 decodes all. The decoder of Stable
    Diffusion costs more than its network."""

    def __post_init__(self) -> None:
        if self.face_patch < 1:
            raise ConfigError(f"face_patch: expected 1 or more, got {self.face_patch}")
        if not 0 <= self.embedding_dropout <= 1:
            raise ConfigError(f"embedding_dropout: expected a share within [0, 1], got {self.embedding_dropout}")
        if self.image_loss_crop < 0:
            raise ConfigError(f"image_loss_crop: expected 0 or more, got {self.image_loss_crop}")


class RestorationLoss(nn.Module):
    """L_rm = L_ldm + image_weight L_mse + perceptual_weight L_p (FlipNet Eq. 8) of a batch of pairs.

    Args:
        net: Restores.
        embedding: Its adapter trains with the network; None for a network without.
        perceptual: Distance of images, one number each.
        train: Of the diffusion loss.
        config: Of the others.
    """

    def __init__(
        self,
        net: FlipNet,
        embedding: FaceEmbedding | None,
        perceptual: nn.Module,
        train: TrainConfig,
        config: RestorationConfig,
    ) -> None:
        super().__init__()
        self.diffusion = DiffusionLoss(net, train)
        self.embedding, self.perceptual = embedding, perceptual
        self.config = config
        self.parts: dict[str, Tensor] = {}
        """What the last loss consisted of."""

    def forward(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Compute the loss of a batch, a scalar; see `DiffusionLoss`."""
        config = self.config
        # Drawn without an embedding too: runs with and without one see the same noise.
        kept = [bool(torch.rand((), generator=source) >= config.embedding_dropout) for source in generators]
        extra = None
        if self.embedding is not None:
            tokens = self.embedding(batch.lq)
            extra = ExtraTokens(tokens, torch.tensor(kept, device=tokens.device))
        predicted = self.diffusion.predict(batch, generators, extra)
        self.parts = {"diffusion": predicted.loss.detach()}
        if not (config.image_weight or config.perceptual_weight):
            return predicted.loss
        wanted = batch.hq.repeat_interleave(predicted.estimate.shape[0] // batch.hq.shape[0], dim=0)
        latents, wanted = self._cropped(predicted.estimate, wanted, generators)
        found = self.diffusion.net.decode_latents(latents)
        weights = self._weights(predicted.timesteps)
        error = ((found - wanted).square().mean((1, 2, 3)) * weights).mean()
        distance = (self.perceptual(found, wanted) * weights).mean()
        self.parts |= {"image_mse": error.detach(), "image_perceptual": distance.detach()}
        return predicted.loss + config.image_weight * error + config.perceptual_weight * distance

    def _weights(self, timesteps: Tensor) -> Tensor:
        weights = (timesteps <= self.config.image_loss_t_max).float()
        if self.config.image_loss_weighting == "alpha_bar":
            weights = weights * self.diffusion.net.alphas_cumprod.to(timesteps.device)[timesteps].float()
        return weights

    def _cropped(self, latents: Tensor, images: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        side, factor = self.config.image_loss_crop, self.diffusion.net.factor
        height, width = latents.shape[-2:]
        if not side or side >= min(height, width):
            return latents, images
        rows = latents.shape[0] // len(generators)
        cut: list[Tensor] = []
        seen: list[Tensor] = []
        for row in range(latents.shape[0]):
            source = generators[row // rows]
            top, left = (int(torch.randint(0, size - side + 1, (), generator=source)) for size in (height, width))
            cut.append(latents[row, :, top : top + side, left : left + side])
            top, left, span = top * factor, left * factor, side * factor
            seen.append(images[row, :, top : top + span, left : left + span])
        return torch.stack(cut), torch.stack(seen)


def train_autoencoders(
    autoencoders: Autoencoders,
    perceptual: nn.Module,
    stream: PairStream,
    config: AutoencoderConfig,
    loop: LoopConfig,
    run_dir: Path,
    *,
    associate: bool,
    validate: Callable[[Autoencoders, int], dict[str, float]] = lambda autoencoders, step: {},
    **options: Any,  # noqa: ANN401 (of train_loop)
) -> TrainState:
    """Train one of the two stages, to `run_dir/model`; see `train_loop` for the rest."""
    loss = AutoencoderLoss(autoencoders, perceptual, config, associate=associate)

    def begin_step(step: int) -> None:
        loss.step = step

    def trainee() -> Trainee:
        loss.requires_grad_(False)
        autoencoders.set_trainable(associate=associate)
        if loop.gradient_checkpointing:
            for autoencoder in (autoencoders.hq, autoencoders.lq):
                autoencoder.enable_gradient_checkpointing()
                autoencoder.train()  # in which it acts, and which means nothing else to it
        return Trainee(
            state=state_of(autoencoders, loop),
            loss=loss,
            save=lambda folder: save_autoencoders(autoencoders, folder),
            validate=lambda step: validate(autoencoders, step),
            parts=lambda: loss.parts,
            begin_step=begin_step,
        )

    return train_loop(loss, trainee, stream, loop, run_dir, **options)


def train_restorer(
    net: FlipNet,
    embedding: FaceEmbedding | None,
    perceptual: nn.Module,
    stream: PairStream,
    config: RestorationConfig,
    loop: TrainConfig,
    run_dir: Path,
    base: BaseReference,
    *,
    sampling: SamplingConfig,
    validate: Callable[[RestorationLoss, int], dict[str, float]] = lambda loss, step: {},
    **options: Any,  # noqa: ANN401 (of train_loop)
) -> TrainState:
    """Train restoration mode, to `run_dir/model`; see `train_loop` for the rest."""
    loss = RestorationLoss(net, embedding, perceptual, loop, config)

    def more(folder: Path) -> None:
        if embedding is not None:
            save_embedding(embedding, folder)
        about = {"size": max(loop.crop_sizes)}
        (folder / RESTORER_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def trainee() -> Trainee:
        loss.requires_grad_(False)
        net.set_trainable(base=loop.train_base)
        if embedding is not None:
            embedding.adapter.requires_grad_(True)
        if loop.gradient_checkpointing:
            net.unet.enable_gradient_checkpointing()
            net.unet.train()  # in which it acts, and which means nothing else to it
            if (config.image_weight or config.perceptual_weight) and hasattr(net.vae, "enable_gradient_checkpointing"):
                # Decoding one image of 512 pixels for these losses keeps 6.0 GB in float32 without it, 0.9 with it.
                net.vae.enable_gradient_checkpointing()
        state = state_of(loss, loop)
        if loop.mixed_precision == "bf16" and base.location != BASE_DIR:  # a bundled base is saved again, in full
            shorten_frozen(net)
        return Trainee(
            state=state,
            loss=loss,
            save=lambda folder: save(net, folder, base, sampling=sampling, half=loop.train_base, more=more),
            validate=lambda step: validate(loss, step),
            parts=lambda: loss.parts,
        )

    return train_loop(loss, trainee, stream, loop, run_dir, **options)
