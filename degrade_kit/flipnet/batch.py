"""Pairs as tensors: what a step of training sees, whatever its loss is."""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from degrade_kit.flipnet.latents import image_key
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.precision import require_finite
from degrade_kit.image import Pixels
from degrade_kit.seeding import generator


class PairStream(Protocol):
    """Where training pairs come from."""

    def sample(self, number: int, size: int) -> PairSample:
        """Make the `number`-th pair of the run, size x size pixels: a function of the arguments and the stream."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of one size, as tensors."""

    hq: Tensor
    """(B, 3, H, W) in [-1, 1]."""
    lq: Tensor
    captions: list[str]
    hq_keys: list[bytes]
    """A key of each image; see `LatentCache.sample`."""
    lq_keys: list[bytes]
    descriptions: list[tuple[float, ...]]
    """Say how each LQ image is degraded, see `PairSample.description`; empty ones where nobody asked for it."""

    def to(self, device: torch.device) -> Batch:
        """Move the images to a device; returns a new batch."""
        return dataclasses.replace(self, hq=self.hq.to(device), lq=self.lq.to(device))


@dataclass(frozen=True, slots=True)
class PixelBatch:
    """A batch as processes hand it on: a byte for a number that takes four in a `Batch`."""

    hq: Tensor
    """(B, H, W, 3), uint8."""
    lq: Tensor
    captions: list[str]
    hq_keys: list[bytes]
    lq_keys: list[bytes]
    descriptions: list[tuple[float, ...]]

    def pin_memory(self) -> PixelBatch:
        """Copy the images to memory that a GPU reads by itself; what PyTorch's loader calls."""
        return dataclasses.replace(self, hq=self.hq.pin_memory(), lq=self.lq.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Make the batch on a device; from pinned memory without waiting for it."""
        hq, lq = (from_images(images.to(device, non_blocking=True)) for images in (self.hq, self.lq))
        return Batch(hq, lq, self.captions, self.hq_keys, self.lq_keys, self.descriptions)


def stack_pixels(pairs: Sequence[PairSample], *, keyed: bool = False) -> PixelBatch:
    """Stack pairs of one size; `keyed` adds the keys that a `LatentCache` needs."""
    hq, lq = (torch.from_numpy(np.stack([getattr(pair, name) for pair in pairs])) for name in ("hq", "lq"))
    hq_keys = [image_key(pair.hq) if keyed else b"" for pair in pairs]
    lq_keys = [image_key(pair.lq) if keyed and not pair.fresh else b"" for pair in pairs]
    descriptions = [pair.description for pair in pairs]
    return PixelBatch(hq, lq, [pair.caption for pair in pairs], hq_keys, lq_keys, descriptions)


def collate(pairs: Sequence[PairSample], *, keyed: bool = False) -> Batch:
    """Stack pairs of one size on the CPU; see `stack`."""
    return stack_pixels(pairs, keyed=keyed).to(torch.device("cpu"))


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy what was drawn on the CPU to a device, without waiting until a GPU has done what it was told before."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def from_images(pixels: Tensor) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_images(images: Tensor) -> list[Pixels]:
    """Convert float (B, 3, H, W) in [-1, 1] to a list of uint8 (H, W, 3).

    Raises:
        RunError: If a number is NaN or infinite.
    """
    require_finite(images, "images")
    rounded = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to("cpu", torch.uint8)
    return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in rounded]


def pair_generators(seed: int, step: int, first: int, count: int) -> list[torch.Generator]:
    """Make the random generators of `count` pairs of a step, from the `first` on."""
    numbers = [generator(seed, f"noise/{first + offset}", step).integers(0, 2**63 - 1) for offset in range(count)]
    return [torch.Generator().manual_seed(int(number)) for number in numbers]
