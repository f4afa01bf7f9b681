"""A latent space with nothing to train: blocks of the discrete cosine transform, 8 x 8 as JPEG has them or smaller.

For small FlipNets. An autoencoder loses detail that a small network cannot spare, and noise above all; this one is
orthogonal, so nothing is lost, and what photographs suffer is simple in it: blur and compression fade coefficients,
noise adds to each of them, low light and haze move the first. What a network gets wrong in a coefficient shows as a
square, though. Where blocks are lapped it shows as a wave that fades into its neighbours.
"""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

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
"""Side of a block in pixels, unless another is asked for: that of JPEG, whose grid a network can then see."""

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
        """Return the latents: nothing is drawn."""
        del generator
        return self.latents

    def mode(self) -> Tensor:
        """Return the latents, which are exact."""
        return self.latents


@dataclass(frozen=True)
class SpaceEncoding:
    """What `encode` returns, in the form of diffusers' `AutoencoderKLOutput`."""

    latent_dist: Exact


@dataclass(frozen=True)
class SpaceDecoding:
    """What `decode` returns, in the form of diffusers' `DecoderOutput`."""

    sample: Tensor


class BlockDCT(ModelMixin, ConfigMixin):  # pyright: ignore[reportUntypedBaseClass]
    """Images in [-1, 1], (B, 3, k h, k w), to latents (B, 3 k^2, h, w) and back; the interface of an `AutoencoderKL`.

    Channel k^2 c + k v + u is coefficient (v, u), v counting rows, of colour channel c, less its `mean` and divided by
    its `scale`, both learned from images (`fit`) so that latents have a variance of about 1.

    Lapped, it is the lapped orthogonal transform of Malvar and Staelin (1989) in the form of Tran, Liang and Tu (2003).
    Before the transform, an orthogonal filter mixes the k pixels around each boundary of two blocks, along rows and
    columns, and its inverse takes blocks out of what comes back. So a coefficient reaches over 2 k pixels, while all is
    still orthogonal, and an even colour is still the first coefficient alone. An image's borders are left as they are.

    Args:
        block_size: k, the side of a block in pixels. Blocks of 4 or 2 let a network see small images in more tokens.
        scaling_factor: For diffusers' sake.
        latent_channels: 3 k^2.
        lapped: Whether blocks overlap; k must be even.
    """

    config_name = "config.json"
    basis: Tensor
    overlap: Tensor
    mean: Tensor
    scale: Tensor

    @register_to_config
    def __init__(
        self,
        block_size: int = BLOCK,
        scaling_factor: float = 1.0,
        latent_channels: int = 3 * BLOCK**2,
        lapped: bool = False,
    ) -> None:
        super().__init__()
        if block_size < 1 or latent_channels != 3 * block_size**2:
            raise ValueError(f"expected {3 * block_size**2} channels for blocks of {block_size}, got {latent_channels}")
        if lapped and block_size % 2:
            raise ValueError(f"lapped: expected blocks of an even side, got {block_size}")
        del scaling_factor
        self.block_size, self.latent_channels, self.lapped = block_size, latent_channels, lapped
        self.register_buffer("basis", _basis(block_size), persistent=False)
        self.register_buffer("overlap", _overlap(block_size) if lapped else torch.eye(block_size), persistent=False)
        self.register_buffer("mean", torch.zeros(latent_channels))
        self.register_buffer("scale", torch.ones(latent_channels))

    @property
    def dc_channels(self) -> tuple[int, ...]:
        """The channels that hold a block's mean colour."""
        return (0, self.block_size**2, 2 * self.block_size**2)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set mean and scale to those of these images, (B, 3, H, W)."""
        coefficients = self._coefficients(images)
        self.mean.copy_(coefficients.mean((0, 2, 3)))
        self.scale.copy_(coefficients.std((0, 2, 3)).clamp_min(1e-3))

    def encode(self, images: Tensor) -> SpaceEncoding:
        """Compute the exact latents of images."""
        coefficients = self._coefficients(images)
        return SpaceEncoding(Exact((coefficients - self._shape(self.mean)) / self._shape(self.scale)))

    def decode(self, latents: Tensor) -> SpaceDecoding:
        """Compute the image of latents; not clipped."""
        coefficients = latents * self._shape(self.scale) + self._shape(self.mean)
        blocks = F.conv_transpose2d(coefficients, self.basis.to(latents.dtype), stride=self.block_size)
        return SpaceDecoding(self._mixed(blocks, self.overlap.T) if self.lapped else blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Encode and decode images again."""
        return self.decode(self.encode(images).latent_dist.mode()).sample

    def _coefficients(self, images: Tensor) -> Tensor:
        mixed = self._mixed(images, self.overlap) if self.lapped else images
        return F.conv2d(mixed, self.basis.to(images.dtype), stride=self.block_size)

    def _mixed(self, images: Tensor, matrix: Tensor) -> Tensor:
        """Multiply the pixels around each boundary, half a block on each side, by a matrix, along rows and columns."""
        size, half, matrix = self.block_size, self.block_size // 2, matrix.to(images.dtype)
        for _ in range(2):
            inner = images[..., half:-half].unflatten(-1, (images.shape[-1] // size - 1, size)) @ matrix.T
            images = torch.cat([images[..., :half], inner.flatten(-2), images[..., -half:]], -1).transpose(-1, -2)
        return images

    @staticmethod
    def _shape(vector: Tensor) -> Tensor:
        return vector[:, None, None]


def _basis(block: int) -> Tensor:
    """Orthonormal filters, (3 k^2, 3, k, k)."""
    cosines = _cosines(block)
    blocks = torch.einsum("vy,ux->vuyx", cosines, cosines).reshape(block**2, block, block)
    colours = torch.tensor(_TO_YCC, dtype=torch.float64)
    return torch.einsum("cr,kyx->ckryx", colours, blocks).reshape(-1, 3, block, block).float()


def _cosines(count: int) -> Tensor:
    """The orthonormal discrete cosine transform of the second type, a row for each frequency."""
    place = torch.arange(count, dtype=torch.float64)
    cosines = torch.cos(math.pi / count * (place[None] + 0.5) * place[:, None]) * math.sqrt(2 / count)
    cosines[0] /= math.sqrt(2)
    return cosines


def _overlap(block: int) -> Tensor:
    """The filter across a boundary, (k, k): what differs on both its sides is rotated, and what is equal stays.

    Tran, Liang and Tu, "Lapped transform via time-domain pre- and post-filtering", IEEE TSP 2003: the rotation J C2^T
    C4 J, of cosine transforms of the second and fourth type and the exchange J, makes it the lapped orthogonal
    transform.
    """
    half = block // 2
    place = torch.arange(half, dtype=torch.float64) + 0.5
    fourth = torch.cos(math.pi / half * place[None] * place[:, None]) * math.sqrt(2 / half)
    rotation = (_cosines(half).T @ fourth).flip(0, 1)
    same = torch.eye(half, dtype=torch.float64)
    exchange = same.flip(0)
    sums = torch.cat([torch.cat([same, exchange], 1), torch.cat([exchange, -same], 1)]) / math.sqrt(2)
    return (sums @ torch.block_diag(same, rotation) @ sums).float()


VAE = Any
"""A diffusers autoencoder, or `BlockDCT`: `encode(x).latent_dist`, `decode(z).sample`, `config.scaling_factor`."""
