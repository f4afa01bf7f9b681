"""A FlipNet in degradation mode at work: records in, LQ images out, the same whatever else is in the batch.

degrader = Degrader.load("small")
dark, hazy = degrader.degrade(hq, ["dark, strong noise", "light haze"], seeds=[7, 8])
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import from_images, to_images
from degrade_kit.flipnet.checkpoint import Loaded, Prompts, load
from degrade_kit.flipnet.config import Mode
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.sampling import SamplingConfig, autocast, choose_device, latent_size, sample
from degrade_kit.image import ImageOrPixels, Pixels, of_type, pixels_of
from degrade_kit.ops import FlipNetImage, Seat
from degrade_kit.record import Record

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Degrader:
    """A FlipNet in degradation mode, which makes LQ images.

    Args:
        loaded: From `degrade_kit.flipnet.checkpoint.load`.
        device: Such as `cuda`; the first GPU, or else the CPU, where None.
        dtype: Of the network's arithmetic, one of `DTYPES`; weights and solver stay in float32.

    Raises:
        ConfigError: If the model restores, the device is not there, or the type is unknown.
    """

    def __init__(self, loaded: Loaded, *, device: str | None = None, dtype: str = "float32") -> None:
        if loaded.net.config.mode is not Mode.DEGRADE:
            raise ConfigError("this FlipNet was trained to restore; give one that degrades")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        self.device = choose_device(device)
        self.net: FlipNet = loaded.net.to(self.device)
        if self.device.type == "cuda":
            self.net.unet.to(memory_format=torch.channels_last)
        self.dtype = DTYPES[dtype]
        self.digest, self.prompts, self.sampling = loaded.digest, loaded.prompts, loaded.sampling

    @classmethod
    def load(
        cls,
        location: str,
        *,
        base_model: str | None = None,
        download: bool = False,
        device: str | None = None,
        dtype: str = "float32",
    ) -> Degrader:
        """Load a folder, or `small`; see `degrade_kit.flipnet.checkpoint.load`."""
        return cls(load(location, base_model=base_model, download=download), device=device, dtype=dtype)

    def degrade(
        self,
        hq: ImageOrPixels,
        prompts: str | Sequence[str] = "",
        *,
        seeds: Sequence[int] | None = None,
        sampling: SamplingConfig | None = None,
    ) -> list[ImageOrPixels]:
        """Make LQ images of one face.

        Args:
            hq: Shape (height, width, 3), RGB; uint8, or float32 in [0, 1].
            prompts: One for each LQ image; "" is the null prompt.
            seeds: Of the noise of each; 0, 1, ... where None.
            sampling: How they are made; the model's own settings where None.

        Returns:
            Images of the size and type of `hq`, in the order of the prompts; float32 comes in steps of 1/255.

        Raises:
            ValueError: If there are not as many seeds as prompts, or `hq` breaks the image contract.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        seeds = range(len(prompts)) if seeds is None else seeds
        if len(seeds) != len(prompts):
            raise ValueError(f"seeds: expected {len(prompts)}, one for each prompt, got {len(seeds)}")
        records = [self.record(prompt, seed, sampling) for prompt, seed in zip(prompts, seeds, strict=True)]
        [made] = self.run([pixels_of(hq, "hq")], [records])
        return [of_type(pixels, hq) for pixels in made]

    def record(self, prompt: str, seed: int, sampling: SamplingConfig | None = None) -> Record:
        """Write the record of one image of this model; settings are the model's own where none are given."""
        return flipnet_record(self.digest, prompt, seed, sampling or self.sampling)

    def run(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> list[list[Pixels]]:
        """Make the LQ images of some faces.

        Args:
            hq: uint8, each height x width x 3.
            records: For each face those of its images; each a single step of this model.

        Returns:
            Images of the size of their face. Those of faces of one size, with equally many records of equal settings,
            are made in one batch.

        Raises:
            ConfigError: If a record is of another model.
        """
        made: list[list[Pixels]] = [[] for _ in hq]
        groups: dict[Any, list[int]] = {}
        for index, (face, wanted) in enumerate(zip(hq, records, strict=True)):
            if wanted:
                settings = tuple(self._sampling(record) for record in wanted)
                key = (face.shape, len(wanted), settings[0]) if len(set(settings)) == 1 else index
                groups.setdefault(key, []).append(index)
        for indices in groups.values():
            images = self._batch([hq[i] for i in indices], [records[i] for i in indices])
            for index, found in zip(indices, images, strict=True):
                made[index] = found
        return made

    def _batch(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> Iterator[list[Pixels]]:
        settings = {self._sampling(record) for wanted in records for record in wanted}
        if len(settings) > 1:  # of one face: records of different settings, one by one
            for face, wanted in zip(hq, records, strict=True):
                yield [next(self._batch([face], [[record]]))[0] for record in wanted]
            return
        flat = [record for wanted in records for record in wanted]
        height, width = hq[0].shape[:2]
        images = from_images(torch.as_tensor(np.stack(hq))).to(self.device)
        noise = torch.stack([start_noise(self.net, record.seed, height, width) for record in flat]).to(self.device)
        prompts = [_step(record).prompt for record in flat]
        with autocast(self.device, self.dtype):
            found = to_images(sample(self.net, images, noise, prompts, settings.pop()))
        variants = len(flat) // len(hq)
        for start in range(0, len(flat), variants):
            yield found[start : start + variants]

    def _sampling(self, record: Record) -> SamplingConfig:
        step = _step(record)
        if step.model != self.digest:
            raise ConfigError(f"the record is of the FlipNet {step.model}; this one is {self.digest}")
        return SamplingConfig(
            num_steps=step.num_steps,
            solver=step.solver,
            guidance=step.guidance,
            negative_prompt=step.negative_prompt,
            phi=step.phi,
        )


def flipnet_record(digest: str, prompt: str, seed: int, sampling: SamplingConfig) -> Record:
    """Write a record whose only step is an image of the model with this digest."""
    return Record(seed, (FlipNetImage(model=digest, prompt=prompt, **dataclasses.asdict(sampling)),))


def start_noise(net: FlipNet, seed: int, height: int, width: int) -> Tensor:
    """Draw the noise that an image begins with, (C, h, w): a function of the seed, equal on every device."""
    shape = latent_size(net, height, width)
    rng = np.random.Generator(Seat(seed, (0,)).bits())
    noise = rng.standard_normal(shape, np.float32)
    if net.config.noise_gain:
        noise *= np.exp(rng.standard_normal(dtype=np.float32) * np.float32(net.config.noise_gain))
    if net.config.noise_offset:
        offset = rng.standard_normal(shape[0], np.float32) * np.float32(net.config.noise_offset)
        chosen = list(net.config.noise_offset_channels or range(shape[0]))
        noise[chosen] += offset[chosen, None, None]
    return torch.as_tensor(noise)


def draw_prompt(prompts: Prompts, rng: np.random.Generator) -> str:
    """Draw one of the prompts, as often as their weights say; the null prompt where there are none."""
    if not prompts:
        return ""
    weights = np.array([weight for _, weight in prompts], np.float64)
    return prompts[int(rng.choice(len(prompts), p=weights / weights.sum()))][0]


def _step(record: Record) -> FlipNetImage:
    if len(record.steps) == 1 and isinstance(record.steps[0], FlipNetImage):
        return record.steps[0]
    raise ConfigError(f"expected a record of a FlipNet's image, got {record.to_json()[:200]}")
