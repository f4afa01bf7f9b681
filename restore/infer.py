"""Restoring faces with what `degrade_kit.flipnet` and `degrade_kit.restore.train` made.

restorer = Restorer.load("runs/restore")
restored = restorer.restore(lq, seed=7)
"""

# Parts of torch's own stubs are without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import from_images, to_images
from degrade_kit.flipnet.checkpoint import Loaded, load
from degrade_kit.flipnet.config import Mode
from degrade_kit.flipnet.degrader import DTYPES, start_noise
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import ExtraTokens, SamplingConfig, autocast, choose_device, sample
from degrade_kit.image import ImageOrPixels, Pixels, of_type, pixels_of, scaled
from degrade_kit.restore.attention import FaceAttention
from degrade_kit.restore.embeddings import FaceEmbedding, load_embedding
from degrade_kit.restore.folder import restorer_folder, trained_size

ColorFix = Literal["none", "wavelet", "adain"]
COLOR_FIXES: tuple[ColorFix, ...] = ("none", "wavelet", "adain")


class Restorer:
    """Makes HQ images of LQ ones.

    Args:
        loaded: The network.
        embedding: Of faces; None for a network that was trained without.
        size: Side of the images that it was trained on, pixels.
        device: Such as `cuda`; the first GPU, or else the CPU, where None.
        dtype: Of the network's arithmetic; weights and solver stay in float32.

    Raises:
        ConfigError: If the model degrades, or the device is not there.
    """

    def __init__(
        self,
        loaded: Loaded,
        embedding: FaceEmbedding | None,
        size: int,
        *,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        if loaded.net.config.mode is not Mode.RESTORE:
            raise ConfigError("this FlipNet was trained to degrade; give a restorer of `degrade-kit train-restore`")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        self.device = choose_device(device)
        self.net: FlipNet = loaded.net.to(self.device)
        self.embedding = None if embedding is None else embedding.to(self.device)
        self.size, self.dtype = size, DTYPES[dtype]
        self.digest, self.sampling = loaded.digest, loaded.sampling

    @classmethod
    def load(
        cls,
        location: str | Path,
        *,
        base_model: str | None = None,
        download: bool = False,
        device: str | None = None,
        dtype: str = "float32",
    ) -> Restorer:
        """Load the folder of a run, or of a model in it.

        Raises:
            ConfigError: If a file is missing or damaged.
        """
        folder = restorer_folder(location)
        loaded = load(folder, base_model=base_model, download=download)
        return cls(loaded, load_embedding(folder), trained_size(folder), device=device, dtype=dtype)

    def restore(
        self,
        lq: ImageOrPixels,
        *,
        seed: int = 0,
        prompt: str = "",
        sampling: SamplingConfig | None = None,
        color_fix: ColorFix = "none",
    ) -> ImageOrPixels:
        """Restore one face that is framed as in FFHQ.

        Args:
            lq: Shape (height, width, 3), RGB; uint8, or float32 in [0, 1]. Its shorter side is scaled to `size`.
            seed: Of the noise.
            prompt: Text condition.
            sampling: How it is made; the model's own settings where None.
            color_fix: See `fix_colors`.

        Returns:
            The image, of the type of `lq`, its shorter side `size` pixels; float32 comes in steps of 1/255.

        Raises:
            ValueError: If `lq` breaks the image contract.
        """
        pixels = scaled(pixels_of(lq, "lq"), self.size)
        [made] = self.run([pixels], [seed], sampling or self.sampling, prompts=[prompt], color_fix=color_fix)
        return of_type(made, lq)

    def attention(
        self, lq: Sequence[Pixels], seeds: Sequence[int], sampling: SamplingConfig, *, prompts: Sequence[str] = ()
    ) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Measure where and what of the face embedding restoration reads; see `degrade_kit.restore.attention`.

        Args:
            lq: As in `run`.
            seeds: As in `run`.
            sampling: As in `run`.
            prompts: As in `run`.

        Returns:
            Of each image, height x width, the share of cross-attention that the face tokens take; and of the tokens, in
            their rows and columns, what each gets of it.

        Raises:
            ConfigError: If the restorer has no face embedding.
        """
        if self.embedding is None:
            raise ConfigError("this restorer was trained without a face embedding, so there is no attention to show")
        with FaceAttention(self.net) as attention:
            self.run(lq, seeds, sampling, prompts=prompts)
        height, width = lq[0].shape[:2]
        tokens = attention.tokens().unflatten(1, self.embedding.source.grid(height, width))
        return list(zip(attention.maps(height, width).numpy(), tokens.numpy(), strict=True))

    def run(
        self,
        lq: Sequence[Pixels],
        seeds: Sequence[int],
        sampling: SamplingConfig,
        *,
        prompts: Sequence[str] = (),
        color_fix: ColorFix = "none",
    ) -> list[Pixels]:
        """Restore images of one size, as one batch.

        Args:
            lq: uint8, each height x width x 3, at the size of the result.
            seeds: Of each image's noise.
            sampling: How.
            prompts: Of each image; empty ones where there are none.
            color_fix: See `fix_colors`.

        Returns:
            Images of the same size.
        """
        height, width = lq[0].shape[:2]
        images = from_images(torch.as_tensor(np.stack(lq))).to(self.device)
        noise = torch.stack([start_noise(self.net, seed, height, width) for seed in seeds]).to(self.device)
        with torch.no_grad(), autocast(self.device, self.dtype):
            found = restore_images(self.net, self.embedding, images, noise, sampling, prompts=prompts or [""] * len(lq))
        return to_images(fix_colors(found.float(), images, color_fix))


@torch.no_grad()
def restore_images(
    net: FlipNet,
    embedding: FaceEmbedding | None,
    images: Tensor,
    noise: Tensor,
    sampling: SamplingConfig,
    *,
    prompts: Sequence[str],
) -> Tensor:
    """Restore LQ images, both (B, 3, H, W) in [-1, 1]; see `degrade_kit.flipnet.sampling.sample`."""
    extra = None if embedding is None else ExtraTokens(embedding(images))
    return sample(net, images, noise, prompts, sampling, extra=extra)


def fix_colors(images: Tensor, like: Tensor, kind: ColorFix) -> Tensor:
    """Give restored images the colours of their LQ images; both (B, 3, H, W) in [-1, 1].

    `adain` moves mean and deviation of each channel (Huang & Belongie 2017); `wavelet` replaces what is coarser than
    about 32 pixels, as StableSR does. Both bring back a colour cast of the LQ image where it has one.
    """
    if kind == "none":
        return images
    if kind == "adain":
        mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True).clamp_min(1e-5)
        wanted = like.std((2, 3), keepdim=True)
        return (images - mean) / deviation * wanted + like.mean((2, 3), keepdim=True)
    if kind == "wavelet":
        return images - _coarse(images) + _coarse(like)
    raise ConfigError(f"color_fix: expected one of {', '.join(COLOR_FIXES)}, got {kind!r}")


def _coarse(images: Tensor, levels: int = 5) -> Tensor:
    """Keep what some levels of an undecimated wavelet transform with the kernel (1, 2, 1) / 4 leave."""
    kernel = images.new_tensor([0.25, 0.5, 0.25])
    flat = images.flatten(0, 1)[:, None]
    for level in range(levels):
        step = 2**level
        padded = F.pad(flat, (step, step, step, step), mode="replicate")
        across = F.conv2d(padded, kernel[None, None, None, :], dilation=step)
        flat = F.conv2d(across, kernel[None, None, :, None], dilation=step)
    return flat.view(images.shape)
