"""Latents of a frozen autoencoder, kept for images that come again.

Whole faces, and pairs as large as the crop, are the same images in every epoch, and Stable Diffusion's encoder costs
more than a pass through its U-Net: 1.1 to 0.8 TFLOP at 512 x 512 pixels. What is kept is the distribution, so that each
epoch draws a sample of its own from it.
"""

# Parts of diffusers and of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from degrade_kit.flipnet.precision import full_range
from degrade_kit.image import Pixels

_REMEMBERED: Final = 1 << 18
"""Keys of images that were seen once."""


def image_key(pixels: Pixels) -> bytes:
    """Hash what an image holds, in 16 bytes."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


class LatentCache:
    """Distributions of latents by the images' keys, the least recently used dropped first.

    Images are encoded one by one, known or not: what a batch gets does not depend on what was seen before, so that a
    resumed run equals an uninterrupted one. What is seen for the first time is not kept yet: random crops never come
    again, and would drive out what does.

    Args:
        vae: An `AutoencoderKL`, frozen.
        max_bytes: Memory of this process for what is kept; a face of 512 x 512 pixels takes 128 kB in float32.
    """

    def __init__(self, vae: Any, max_bytes: int) -> None:  # noqa: ANN401 (diffusers)
        self._vae, self._max_bytes = vae, max_bytes
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self.num_bytes = 0
        self.encoded = 0
        """Images that were encoded."""

    @torch.no_grad()
    def sample(self, images: Tensor, keys: Sequence[bytes], generators: Sequence[torch.Generator]) -> Tensor:
        """Draw samples of the images' latents, not yet scaled.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            keys: Of each image; an empty one means that it will not come again.
            generators: Of each sample.
        """
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        moments = [self._moments(images[row : row + 1], key) for row, key in enumerate(keys)]
        return DiagonalGaussianDistribution(torch.cat(moments)).sample(list(generators))  # pyright: ignore[reportArgumentType]

    def _moments(self, image: Tensor, key: bytes) -> Tensor:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key].to(image.device, non_blocking=True)
        self.encoded += 1
        with full_range(self._vae, image.device):
            moments: Tensor = self._vae.encode(image).latent_dist.parameters
        if key and self._comes_again(key) and moments.nbytes <= self._max_bytes:
            self._kept[key] = moments.cpu()
            self.num_bytes += moments.nbytes
            while self.num_bytes > self._max_bytes:
                self.num_bytes -= self._kept.popitem(last=False)[1].nbytes
        return moments

    def _comes_again(self, key: bytes) -> bool:
        if key in self._seen:
            del self._seen[key]
            return True
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False
