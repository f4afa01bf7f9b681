"""The two autoencoders of faces: one learns HQ images, the other LQ images, and then to say the same of both."""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from degrade_kit.analysis.tensors import first_line
from degrade_kit.checks import checked, each, fields, of_kind, optional
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import expand_home, read_json, whole_folder
from degrade_kit.flipnet import foreign
from degrade_kit.flipnet.batch import Batch
from degrade_kit.flipnet.config import base_place
from degrade_kit.flipnet.weights import check_finite, load_weights, read_weights, write_weights
from degrade_kit.restore.losses import (
    PatchDiscriminator,
    Scope,
    adaptive_weight,
    adversarial_terms,
    association_loss,
    similarity,
)

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
CRITICS_FILE = "critics.safetensors"
SIDES = ("hq", "lq")
MAX_SCALE = 100.0
"""Largest scale of the cosines in the association, as in CLIP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """The autoencoders, and what they are trained for beside the steps."""

    base: str = ""
    """Folder or hub id in diffusers' layout, of an `AutoencoderKL` or of a model that has one, or a name of
    `degrade_kit.flipnet.config.BASES`; empty for new ones."""
    revision: str | None = None
    """Revision of a hub id."""
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of the levels of new ones; a latent is 2^(levels - 1) pixels wide."""
    layers: int = 2
    """Residual blocks at each level of new ones."""
    latent_channels: int = 4
    """Latent channels of new autoencoders."""
    critic_width: int = 64
    """Channels of the discriminators' first layer."""
    perceptual_weight: float = 0.5
    adversarial_weight: float = 0.8
    """Times the ratio of the gradients, as in VQGAN and DAEFR."""
    adversarial_start: int = 30_000
    """Step of the reconstruction stage from which the discriminators take part; in the association stage they do from
    the start."""
    association_scope: Scope = "image"
    """Whether a patch is distinguished from those of its own image, or of the whole batch."""
    association_patches: int = 1024
    """Patches that are drawn of each image for the association; 0 takes all."""

    def __post_init__(self) -> None:
        if any(width < 1 or width % 4 for width in self.widths) or not self.widths:
            raise ConfigError(f"widths: expected multiples of 4, got {list(self.widths)}")
        for name in ("layers", "latent_channels", "critic_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")


def build_autoencoder(config: AutoencoderConfig, *, download: bool = False) -> Any:  # noqa: ANN401 (diffusers)
    """Build a new `AutoencoderKL`, or load the one that the configuration names.

    Raises:
        ConfigError: If it cannot be loaded.
    """
    kind = foreign.diffusers().AutoencoderKL
    if not config.base:
        count = len(config.widths)
        return kind(
            block_out_channels=config.widths,
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            layers_per_block=config.layers,
            latent_channels=config.latent_channels,
            norm_num_groups=math.gcd(32, *config.widths),
        )
    base, revision = base_place(config.base, config.revision)
    base = expand_home(base)
    folder = Path(base)
    local = folder.is_dir()
    whole_model = not (folder / "config.json").is_file() if local else True
    try:
        network, info = kind.from_pretrained(
            base,
            subfolder="vae" if whole_model else None,
            revision=revision,
            use_safetensors=True,
            local_files_only=local or not download,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        hint = "" if local else "; allow the download (--download), or give a folder in diffusers' layout"
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"autoencoder {config.base}: cannot be loaded: {reason}{hint}") from error
    if lost := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise ConfigError(f"autoencoder {config.base}: {len(lost)} of its weights are missing, such as {lost[0]}")
    return network


class Autoencoders(nn.Module):
    """Both autoencoders, their discriminators and the scale of the association: all that the two stages train.

    Args:
        hq: An `AutoencoderKL`.
        lq: Another one of the same kind.
        critic_width: See `AutoencoderConfig`.
    """

    def __init__(self, hq: Any, lq: Any, critic_width: int = 64) -> None:  # noqa: ANN401 (diffusers)
        super().__init__()
        self.hq: Any = hq
        self.lq: Any = lq
        self.critics = nn.ModuleDict({side: PatchDiscriminator(critic_width) for side in SIDES})
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        return latent_factor(self.hq)

    def scale(self) -> Tensor:
        """Compute the scale of the cosines."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    def set_trainable(self, *, associate: bool) -> None:
        """Let gradients reach all of it, the scale in the association alone."""
        self.requires_grad_(True)
        self.log_scale.requires_grad_(associate)


def latent_factor(autoencoder: Any) -> int:  # noqa: ANN401 (diffusers)
    """Compute the pixels per latent along a side."""
    return 2 ** (len(autoencoder.config.block_out_channels) - 1)


def encode_mean(autoencoder: Any, images: Tensor) -> Tensor:  # noqa: ANN401 (diffusers)
    """Encode to the mean of the latents' distribution: nothing is drawn, and nothing pulls it to a normal one."""
    return autoencoder.encode(images).latent_dist.mean


def as_patches(latents: Tensor) -> Tensor:
    """Reshape (B, d, h, w) to (B, h w, d)."""
    return latents.flatten(2).transpose(1, 2)


class AutoencoderLoss(nn.Module):
    """The loss of a batch of pairs in the reconstruction stage or, with `associate`, in the association stage.

    L_ae = L1 + 0.5 perceptual + 0.8 w adversarial for each autoencoder and images of its own side, and their
    discriminators' hinge loss; L_asso adds the association of the patches of both latents.

    Args:
        autoencoders: What trains.
        perceptual: Distance of images, one number each.
        config: Weights.
        associate: Which stage.
    """

    def __init__(
        self, autoencoders: Autoencoders, perceptual: nn.Module, config: AutoencoderConfig, *, associate: bool
    ) -> None:
        super().__init__()
        self.autoencoders, self.perceptual = autoencoders, perceptual
        self.config, self.associate = config, associate
        self.step = 0
        """Decides whether the discriminators take part."""
        self.parts: dict[str, Tensor] = {}
        """What the last loss consisted of."""

    def forward(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Compute the loss of a batch; a scalar.

        Args:
            batch: The pairs.
            generators: One for each pair, of the patches that are associated.
        """
        self.parts = {}
        latents: list[Tensor] = []
        loss = batch.hq.new_zeros(())
        for side, images in zip(SIDES, (batch.hq, batch.lq), strict=True):
            latent, of_side = self._side(side, images)
            latents.append(as_patches(latent))
            loss = loss + of_side
        if self.associate:
            hq, lq = self._chosen(latents, generators)
            association = association_loss(hq, lq, self.autoencoders.scale(), self.config.association_scope)
            self.parts["association"] = association.detach()
            loss = loss + association
        return loss

    def reconstruction(self, images: Tensor, found: Tensor) -> Tensor:
        """Compute the loss without the discriminator's part."""
        return (images - found).abs().mean() + self.config.perceptual_weight * self.perceptual(found, images).mean()

    def _side(self, side: str, images: Tensor) -> tuple[Tensor, Tensor]:
        autoencoder = getattr(self.autoencoders, side)
        latent = encode_mean(autoencoder, images)
        found = autoencoder.decode(latent).sample
        reconstruction = self.reconstruction(images, found)
        fooling, judging = adversarial_terms(cast("PatchDiscriminator", self.autoencoders.critics[side]), images, found)
        active = self.associate or self.step >= self.config.adversarial_start
        weight = reconstruction.new_zeros(())
        if active and torch.is_grad_enabled():
            weight = adaptive_weight(reconstruction, fooling, autoencoder.decoder.conv_out.weight)
        self.parts |= {
            f"{side}_reconstruction": reconstruction.detach(),
            f"{side}_critic": judging.detach(),
            f"{side}_adversarial_weight": weight,
        }
        # Times 0, and not left out, before the start: every parameter has a gradient in every step.
        adversarial = self.config.adversarial_weight * weight * fooling + float(active) * judging
        return latent, reconstruction + adversarial

    def _chosen(self, latents: Sequence[Tensor], generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        hq, lq = latents
        count, patches = self.config.association_patches, hq.shape[1]
        if not count or count >= patches:
            return hq, lq
        drawn = [torch.randperm(patches, generator=source)[:count] for source in generators]
        places = torch.stack(drawn).to(hq.device)[..., None].expand(-1, -1, hq.shape[2])
        return hq.gather(1, places), lq.gather(1, places)


def save_autoencoders(autoencoders: Autoencoders, folder: Path) -> None:
    """Write `hq` and `lq` in diffusers' layout, and what a further stage needs; whole or not at all.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        with whole_folder(folder) as scratch:
            weights = autoencoders.state_dict()
            tensors = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in weights.items()}
            check_finite(tensors, "the autoencoders to save")
            for side in SIDES:
                getattr(autoencoders, side).save_config(scratch / side)
                of_side = {name[3:]: tensor for name, tensor in tensors.items() if name.startswith(f"{side}.")}
                write_weights(of_side, scratch / side / WEIGHTS_FILE)
            others = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] not in SIDES}
            write_weights(others, scratch / CRITICS_FILE)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error


def load_autoencoders(folder: Path) -> Autoencoders:
    """Load what `save_autoencoders` wrote.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    hq, lq = (load_autoencoder(folder / side) for side in SIDES)
    first = read_weights(folder / CRITICS_FILE).get("critics.hq.layers.0.weight")
    width = 64 if first is None else int(first.shape[0])  # without it the file is refused below
    autoencoders = Autoencoders(hq, lq, width)
    others = nn.Module()
    others.critics, others.log_scale = autoencoders.critics, autoencoders.log_scale
    load_weights(others, folder / CRITICS_FILE)
    return autoencoders


def load_autoencoder(folder: Path) -> Any:  # noqa: ANN401 (diffusers)
    """Load one autoencoder from its folder, all of it or nothing.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    path = folder / "config.json"
    try:
        network = autoencoder_from(read_json(path), folder / WEIGHTS_FILE)
    except ConfigError as error:
        raise ConfigError(
            f"{path}: expected the configuration of an autoencoder of `train-restore`: {error}"
        ) from error
    load_weights(network, folder / WEIGHTS_FILE)
    return network.eval()


def autoencoder_from(config: Any, weights: Path) -> Any:  # noqa: ANN401 (parsed JSON, diffusers)
    """Make the autoencoder that a file describes.

    Args:
        config: What the file says.
        weights: Where its weights are, which are still to be read.

    Raises:
        ConfigError: If it describes none, or one far larger than its weights are.
    """
    checked(config, _AUTOENCODER, "autoencoder")
    kind = foreign.diffusers().AutoencoderKL
    try:
        with torch.device("meta"):  # costs no memory
            numbers = sum(parameter.numel() for parameter in kind.from_config(config).parameters())
        # A file may hold the encoder alone, in half precision.
        if weights.is_file() and numbers > 4 * weights.stat().st_size:
            raise ConfigError(f"it has {numbers:,} numbers, {weights} has {weights.stat().st_size:,} bytes")
        return kind.from_config(config)
    except ConfigError:
        raise
    except Exception as error:  # diffusers lets any type through: ZeroDivisionError, IndexError, RuntimeError, ...
        raise ConfigError(f"no autoencoder can be made of it: {first_line(error)}") from error


_AUTOENCODER = fields(
    {"block_out_channels": each(range(1, 2049))},
    may={
        **{name: optional(of_kind(range(1, 17))) for name in ("layers_per_block", "in_channels", "out_channels")},
        "latent_channels": optional(of_kind(range(1, 1025))),
        **{name: optional(each(str)) for name in ("down_block_types", "up_block_types")},
    },
)
"""What decides how long it takes to make."""


@torch.no_grad()
def diagonal(hq: Tensor, lq: Tensor, scale: Tensor | float) -> tuple[float, float]:
    """Measure how clearly patches know their own: mean softmax and hit rate on the diagonal of M, both ways.

    Args:
        hq: Latents, (B, d, h, w).
        lq: As `hq`.
        scale: Of the cosines.
    """
    shares: list[float] = []
    hits: list[float] = []
    for one, other in zip(as_patches(hq), as_patches(lq), strict=True):
        matrix = similarity(one, other, scale)
        places = torch.arange(matrix.shape[0], device=matrix.device)
        for logits in (matrix, matrix.T):
            shares.append(float(logits.softmax(-1).diagonal().mean()))
            hits.append(float((logits.argmax(-1) == places).float().mean()))
    return sum(shares) / len(shares), sum(hits) / len(hits)
