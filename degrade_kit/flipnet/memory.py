"""What training a FlipNet takes of a device's memory: an estimate from sizes alone, before anything is loaded.

The numbers of a U-Net follow its configuration: what checkpoints keep is one tensor for each block, and a step back
through one block keeps some dozen more. Both were set by counting the live storages of a step of Stable Diffusion 2.1
at 512 pixels, on fake tensors under bfloat16's autocast: 0.21 GB of kept tensors and 0.14 GB of one block for each
pair. Those of its decoder were counted in float32: 6.0 GB for an image, 0.86 GB with checkpoints. No GPU was at hand:
an estimate is to be compared with what yours says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from degrade_kit.errors import ConfigError

SD_LEVELS: Final = (320, 640, 1280, 1280), 2
"""Channels of the levels of Stable Diffusion's U-Net, 1.5, 2.1 and Turbo alike, and blocks in each."""
SD_MILLIONS: Final = 1290
"""Numbers of Stable Diffusion 2.1: 866 of its U-Net, 84 of its autoencoder, 340 of its text model."""
FIXED_GIGABYTES: Final = 1.5
"""Gigabytes of CUDA's context, its libraries and what an allocator cannot use."""
_BLOCK_TENSORS: Final = 14
"""Tensors of the size of its input that a step back through one block keeps."""
_DECODER: Final = {False: 3.6, True: 0.6}
"""Gigabytes for decoding an image of 512 x 512 pixels with gradients under bfloat16, without checkpoints and with."""
_ENCODER: Final = 0.3
"""The same for encoding without gradients."""
_VGG: Final = 0.6
"""The same for the perceptual loss of VGG19, in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What decides how much memory a training takes."""

    frozen: float
    """Numbers that do not train, millions."""
    trained: float
    """Numbers that do, millions: each has a gradient, two moments and an average."""
    channels: tuple[int, ...]
    """Channels of the U-Net's levels."""
    layers: int
    """Blocks in each level."""
    size: int
    """Side of the crops, pixels."""
    factor: int = 8
    """Pixels per latent along a side."""
    draws: int = 1
    """Target rows of each pair."""
    checkpoints: bool = False
    """Whether activations are computed again on the way back."""
    short: bool = False
    """Whether numbers that do not train are kept in 16 bits."""
    decodes: bool = False
    """Whether losses look at decoded images."""
    perceptual: bool = False
    """Whether one of them is VGG19's."""
    encodes: bool = True
    """Whether an autoencoder of Stable Diffusion's size encodes the images."""

    def fixed(self) -> float:
        """Estimate the gigabytes that do not depend on the pairs."""
        return FIXED_GIGABYTES + (self.frozen * (2 if self.short else 4) + self.trained * 20) / 1000

    def each(self) -> float:
        """Estimate the gigabytes that a pair takes, of those that are computed at a time."""
        side, rows = self.size // self.factor, 1 + self.draws
        sizes = [width * (side >> level) ** 2 for level, width in enumerate(self.channels)]
        blocks = 2 * (2 * self.layers + 1)  # residual and attention, down and up again
        inputs = blocks * sum(sizes[:-1]) + blocks / 2 * sizes[-1]
        kept = inputs + _BLOCK_TENSORS * sizes[0] if self.checkpoints else _BLOCK_TENSORS * inputs
        unet = rows * kept * 4 / 1e9
        area = (self.size / 512) ** 2
        decoder = self.draws * area * (_DECODER[self.checkpoints] + _VGG * self.perceptual) if self.decodes else 0.0
        return max(unet + decoder, _ENCODER * area if self.encodes else 0.0)

    def gigabytes(self, pairs: int) -> float:
        """Estimate what a step of so many pairs at a time takes."""
        return self.fixed() + pairs * self.each()

    def fitting(self, gigabytes: float) -> int:
        """Count the pairs that fit into a device's memory at a time, a tenth of which is left free; 0 for none."""
        return max(0, int((0.9 * gigabytes - self.fixed()) / self.each()))


def accumulation(pairs: int, processes: int, fitting: int) -> int:
    """Find the fewest equal parts of a step's pairs that fit.

    Args:
        pairs: Of a step, over all processes.
        processes: That share them.
        fitting: Pairs that fit into a process's device at a time.

    Raises:
        ConfigError: If not even one pair fits, or the processes cannot share the pairs equally.

    >>> accumulation(16, 1, 5), accumulation(16, 8, 5), accumulation(12, 2, 6)
    (4, 1, 1)
    """
    share, rest = divmod(pairs, processes)
    if rest or not share:
        raise ConfigError(f"batch size {pairs}: expected a multiple of the number of processes, {processes}")
    for parts in range(1, share + 1):
        if share % parts == 0 and share // parts <= fitting:
            return parts
    raise ConfigError(
        "memory: not even one pair fits into the device; give smaller crop_sizes, gradient_checkpointing, a smaller "
        "base model or a device with more memory"
    )
