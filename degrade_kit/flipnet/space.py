"""A latent space with nothing to train: 8 x 8 blocks of the discrete cosine transform, as JPEG has them.

For small FlipNets. An autoencoder loses detail that a small network cannot spare, and noise above all; this one is
orthogonal, so nothing is lost, and what photographs suffer is simple in it: blur and compression fade coefficients,
noise adds to each of them, low light and haze move the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import (
    ConfigMixin,
    register_to_config,  # pyright: ignore[reportUnknownVariableType] (no types)
)
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

BLOCK = 8
"""Side of a block in pixels: that of JPEG, whose grid a network can then see."""

_TO_YCC = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (-1 / math.sqrt(6), -1 / math.sqrt(6), 2 / math.sqrt(6)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
)
"""An orthogonal stand-in for JPEG's luminance and two chrominances."""


@dataclass(frozen=True)
class Exact:
    """The latents of an image where an autoencoder has a distribution of them."""

    latents: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents."""
        del generator
        return self.latents

    def mode(self) -> Tensor:
        """The latents."""
        return self.latents


@dataclass(frozen=True)
class Encoded:
    """As diffusers' `AutoencoderKLOutput`."""

    latent_dist: Exact


@dataclass(frozen=True)
class Decoded:
    """As diffusers' `DecoderOutput`."""

    sample: Tensor


class BlockDCT(ModelMixin, ConfigMixin):  # pyright: ignore[reportUntypedBaseClass]
    """Images in [-1, 1], (B, 3, 8 h, 8 w), to latents (B, 192, h, w) and back; the interface of an `AutoencoderKL`.

    Channel 64 c + 8 v + u is coefficient (v, u), v counting rows, of colour channel c, less its `mean` and divided by
    its `scale`, both learned from images (`fit`) so that latents have a variance of about 1.
    """

    config_name = "config.json"
    basis: Tensor
    mean: Tensor
    scale: Tensor

    @register_to_config
    def __init__(self, block_size: int = BLOCK, scaling_factor: float = 1.0, latent_channels: int = 192) -> None:
        super().__init__()
        if block_size != BLOCK or latent_channels != 3 * BLOCK**2:
            raise ValueError(
                f"expected blocks of {BLOCK} and {3 * BLOCK**2} channels, got {block_size}, {latent_channels}"
            )
        del scaling_factor
        self.register_buffer("basis", _basis(), persistent=False)
        self.register_buffer("mean", torch.zeros(latent_channels))
        self.register_buffer("scale", torch.ones(latent_channels))

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return 3 * BLOCK**2

    @property
    def dc_channels(self) -> tuple[int, ...]:
        """The channels that hold a block's mean colour."""
        return (0, BLOCK**2, 2 * BLOCK**2)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set mean and scale to those of these images, (B, 3, H, W)."""
        coefficients = F.conv2d(images, self.basis, stride=BLOCK)
        self.mean.copy_(coefficients.mean((0, 2, 3)))
        self.scale.copy_(coefficients.std((0, 2, 3)).clamp_min(1e-3))

    def encode(self, images: Tensor) -> Encoded:
        """Exact latents."""
        coefficients = F.conv2d(images, self.basis.to(images.dtype), stride=BLOCK)
        return Encoded(Exact((coefficients - self._shape(self.mean)) / self._shape(self.scale)))

    def decode(self, latents: Tensor) -> Decoded:
        """The image of latents; not clipped."""
        coefficients = latents * self._shape(self.scale) + self._shape(self.mean)
        return Decoded(F.conv_transpose2d(coefficients, self.basis.to(latents.dtype), stride=BLOCK))

    def forward(self, images: Tensor) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(images).latent_dist.mode()).sample

    @staticmethod
    def _shape(vector: Tensor) -> Tensor:
        return vector[:, None, None]


def _basis() -> Tensor:
    """Orthonormal filters, (192, 3, 8, 8)."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    cosines = torch.cos(math.pi / BLOCK * (place[None] + 0.5) * place[:, None]) * math.sqrt(2 / BLOCK)
    cosines[0] /= math.sqrt(2)
    blocks = torch.einsum("vy,ux->vuyx", cosines, cosines).reshape(BLOCK**2, BLOCK, BLOCK)
    colours = torch.tensor(_TO_YCC, dtype=torch.float64)
    return torch.einsum("cr,kyx->ckryx", colours, blocks).reshape(-1, 3, BLOCK, BLOCK).float()


VAE = Any
"""A diffusers autoencoder, or `BlockDCT`: `encode(x).latent_dist`, `decode(z).sample`, `config.scaling_factor`."""
