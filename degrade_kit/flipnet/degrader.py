"""A FlipNet in degradation mode at work: records in, LQ images out, the same whatever else is in the batch.

degrader = Degrader.load("small")
dark, hazy = degrader.degrade(hq, ["dark, strong noise", "light haze"], seeds=[7, 8])
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.batch import from_images, to_images
from degrade_kit.flipnet.checkpoint import Loaded, Prompts, load
from degrade_kit.flipnet.config import Mode
from degrade_kit.flipnet.description import Description, describe_place
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.precision import shorten_frozen
from degrade_kit.flipnet.sampling import SamplingConfig, autocast, choose_device, latent_size, sample
from degrade_kit.image import Image, ImageOrPixels, Pixels, of_type, pixels_of
from degrade_kit.network_ops import FlipNetImage, NetworkCall
from degrade_kit.op_tools import Seat
from degrade_kit.recipe import Recipe
from degrade_kit.record import Record
from degrade_kit.seeding import generator

Exemplar: TypeAlias = str | os.PathLike[str] | Image | Pixels
"""A photograph, or where one is, or a folder of them."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MOST_ROWS, _PIXELS = 4, 4 * 192**2
_MOST_ROWS_OF_GPU, _PIXELS_OF_GPU = 32, 4 * 512**2
"""Images that a network makes at once, and their pixels together. On one core, four of 64 x 64 take 1.4 times as
long as one, and four of 192 x 192 2.1 times."""


class Degrader:
    """A FlipNet in degradation mode, which makes LQ images.

    Args:
        loaded: From `degrade_kit.flipnet.checkpoint.load`.
        device: Such as `cuda`; the first GPU, or else the CPU, where None.
        dtype: Of the network's arithmetic, one of `DTYPES`; the solver stays in float32.

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
        if self.dtype is torch.bfloat16:
            shorten_frozen(self.net)
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
        """Load a folder, `small` or `photos`; see `degrade_kit.flipnet.checkpoint.load`."""
        return cls(load(location, base_model=base_model, download=download), device=device, dtype=dtype)

    def degrade(
        self,
        hq: ImageOrPixels,
        prompts: str | Sequence[str] = "",
        *,
        like: Exemplar | None = None,
        seeds: Sequence[int] | None = None,
        sampling: SamplingConfig | None = None,
    ) -> list[ImageOrPixels]:
        """Make LQ images of one face.

        Args:
            hq: Shape (height, width, 3), RGB; uint8, or float32 in [0, 1].
            prompts: One for each LQ image; "" is the null prompt.
            like: A photograph that they are to be degraded like, as a file or as its pixels, or a folder of them, of
                which each seed takes one.
            seeds: Of the noise of each; 0, 1, ... where None.
            sampling: How they are made; the model's own settings where None.

        Returns:
            Images of the size and type of `hq`, in the order of the prompts; float32 comes in steps of 1/255.

        Raises:
            ConfigError: If there is no photograph, one cannot be read, or the model was not trained with exemplars.
            ValueError: If there are not as many seeds as prompts, or an image breaks the image contract.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        seeds = range(len(prompts)) if seeds is None else seeds
        if len(seeds) != len(prompts):
            raise ValueError(f"seeds: expected {len(prompts)}, one for each prompt, got {len(seeds)}")
        choices = self.describe(like) if like is not None else ((),)
        records = [
            self.record(prompt, seed, sampling, choices[int(generator(seed, "like", 0).integers(len(choices)))])
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        [made] = self.run([pixels_of(hq, "hq")], [records])
        return [of_type(pixels, hq) for pixels in made]

    def describe(self, like: Exemplar) -> tuple[Description, ...]:
        """Describe how a photograph is degraded, or each of a folder, as records hold it.

        Args:
            like: As for `degrade`: the photograph's own pixels, not enlarged.

        Raises:
            ConfigError: As `degrade`.
            ValueError: As `degrade`.
        """
        space = self.net.space
        if space is None:
            raise ConfigError("like: this FlipNet was not trained with exemplars; give one that was, such as `photos`")
        if isinstance(like, np.ndarray):
            return (space.describe(pixels_of(like, "like")),)
        return describe_place(space, like)

    def record(
        self, prompt: str, seed: int, sampling: SamplingConfig | None = None, description: Description = ()
    ) -> Record:
        """Write the record of one image of this model; settings are the model's own where none are given."""
        return flipnet_record(self.digest, prompt, seed, sampling or self.sampling, description)

    def run(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> list[list[Pixels]]:
        """Make the LQ images of some faces.

        Args:
            hq: uint8, each height x width x 3.
            records: For each face those of its images; each a single step of this model.

        Returns:
            Images of the size of their face.

        Raises:
            ConfigError: If a record is of another model.
        """
        calls = [
            NetworkCall(_step(record), face, Seat(record.seed, (0,)))
            for face, wanted in zip(hq, records, strict=True)
            for record in wanted
        ]
        made = iter(self(calls))
        return [[next(made) for _ in wanted] for wanted in records]

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        """Answer calls of records, those of equal settings and sizes in batches; see `degrade_kit.network_ops.Network`.

        A sum over a larger batch may be taken in another order, and round a pixel another way. So that an image never
        depends on what is beside it, a batch of a size always has equally many rows, the last one again where there
        are not enough calls.

        Raises:
            ConfigError: If a call is of another model.
        """
        groups: dict[Any, list[int]] = {}
        for index, call in enumerate(calls):
            size = bucket(call.pixels.shape[0]), bucket(call.pixels.shape[1])
            groups.setdefault((self._sampling(call.op), size), []).append(index)
        made: dict[int, Pixels] = {}
        for (sampling, size), indices in groups.items():
            rows = self.rows(size)
            for start in range(0, len(indices), rows):
                chosen = indices[start : start + rows]
                filled = [calls[i] for i in chosen] + [calls[chosen[-1]]] * (rows - len(chosen))
                made.update(zip(chosen, self._batch(filled, sampling, size), strict=False))
        return [made[index] for index in range(len(calls))]

    def rows(self, size: tuple[int, int]) -> int:
        """How many images of this height and width are made at once, whatever number is asked for."""
        on_cpu = self.device.type == "cpu"
        most, pixels = (_MOST_ROWS, _PIXELS) if on_cpu else (_MOST_ROWS_OF_GPU, _PIXELS_OF_GPU)
        return min(most, max(1, pixels // (size[0] * size[1])))

    def _batch(self, calls: Sequence[NetworkCall], sampling: SamplingConfig, size: tuple[int, int]) -> list[Pixels]:
        images = from_images(torch.as_tensor(np.stack([_extended(call.pixels, size) for call in calls])))
        noise = torch.stack([seat_noise(self.net, call.seat, *size) for call in calls])
        # Cheaper than no_grad by a tenth on a CPU, to the same bits: no tensor is told of its views and versions.
        with torch.inference_mode(), autocast(self.device, self.dtype):
            found = sample(
                self.net,
                images.to(self.device),
                noise.to(self.device),
                [call.op.prompt for call in calls],
                sampling,
                descriptions=[call.op.description for call in calls],
            )
        shapes = [call.pixels.shape for call in calls]
        return [
            np.ascontiguousarray(image[: shape[0], : shape[1]])
            for image, shape in zip(to_images(found), shapes, strict=True)
        ]

    def _sampling(self, op: FlipNetImage) -> SamplingConfig:
        if op.model != self.digest:
            raise ConfigError(f"the record is of the FlipNet {op.model}; this one is {self.digest}")
        return SamplingConfig(
            num_steps=op.num_steps,
            solver=op.solver,
            guidance=op.guidance,
            negative_prompt=op.negative_prompt,
            phi=op.phi,
        )


class Networks:
    """The FlipNets of a recipe, each loaded when it is first called: what `degrade_kit.apply` takes as its network.

    An object can be sent to other processes before it has loaded anything, such as the workers of a data loader.

    Args:
        models: A recipe, or where models are, by digest.
        base_model: In place of the base model that their folders name.
        download: Whether a base model may be fetched from a hub.
        device: Such as `cuda`; the first GPU, or else the CPU, where None.
        dtype: Of the arithmetic; see `Degrader`.
    """

    def __init__(
        self,
        models: Recipe | Mapping[str, str],
        *,
        base_model: str | None = None,
        download: bool = False,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self._models = models.models if isinstance(models, Recipe) else dict(models)
        self._options: dict[str, Any] = {
            "base_model": base_model,
            "download": download,
            "device": device,
            "dtype": dtype,
        }
        self._loaded: dict[str, Degrader] = {}

    def __call__(self, calls: Sequence[NetworkCall]) -> list[Pixels]:
        """Answer calls, each by its model; see `degrade_kit.network_ops.Network`.

        Raises:
            ConfigError: If a call is of none of these models, or its model cannot be loaded or is another now.
        """
        made: list[Pixels | None] = [None] * len(calls)
        for digest in dict.fromkeys(call.op.model for call in calls):
            chosen = [index for index, call in enumerate(calls) if call.op.model == digest]
            for index, pixels in zip(chosen, self._model(digest)([calls[i] for i in chosen]), strict=True):
                made[index] = pixels
        return [pixels for pixels in made if pixels is not None]

    def rows(self, call: NetworkCall) -> int:
        """How many images like that of this call are made at once."""
        height, width = call.pixels.shape[:2]
        return self._model(call.op.model).rows((bucket(height), bucket(width)))

    @property
    def on_cpu(self) -> bool:
        """Whether the models run on a CPU."""
        return choose_device(self._options["device"]).type == "cpu"

    def load(self) -> Networks:
        """Load all models now; returns itself.

        Raises:
            ConfigError: If one cannot be loaded, or is another now.
        """
        for digest in self._models:
            self._model(digest)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def _model(self, digest: str) -> Degrader:
        if digest not in self._models:
            known = ", ".join(self._models) or "none"
            raise ConfigError(f"the FlipNet {digest} is needed; here is {known}")
        if digest not in self._loaded:
            degrader = Degrader.load(self._models[digest], **self._options)
            if degrader.digest != digest:
                raise ConfigError(f"{self._models[digest]}: expected the FlipNet {digest}, found {degrader.digest}")
            self._loaded[digest] = degrader
        return self._loaded[digest]


def bucket(side: int) -> int:
    """Round a side in pixels up to the next of few: whole 32 up to 256, whole 64 up to 512, whole 128 beyond.

    Images of many sizes, as of faces in photographs, then share batches, and a network meets few shapes. An image is
    extended to the right and below by its last pixels, and what is made there is cut off.

    >>> bucket(32), bucket(33), bucket(257), bucket(512), bucket(513)
    (32, 64, 320, 512, 640)
    """
    step = 32 if side <= 256 else 64 if side <= 512 else 128
    return -(-side // step) * step


def _extended(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, size[0] - height), (0, size[1] - width), (0, 0)), mode="edge")


def flipnet_record(
    digest: str, prompt: str, seed: int, sampling: SamplingConfig, description: Description = ()
) -> Record:
    """Write a record whose only step is an image of the model with this digest."""
    step = FlipNetImage(model=digest, prompt=prompt, description=description, **dataclasses.asdict(sampling))
    return Record(seed, (step,))


def start_noise(net: FlipNet, seed: int, height: int, width: int) -> Tensor:
    """Draw the noise that an image begins with, (C, h, w): a function of the seed, equal on every device."""
    return seat_noise(net, Seat(seed, (0,)), height, width)


def seat_noise(net: FlipNet, seat: Seat, height: int, width: int) -> Tensor:
    """Draw the noise of an operation of a record, as `start_noise` does that of its first."""
    shape = latent_size(net, height, width)
    rng = np.random.Generator(seat.bits())
    noise = rng.standard_normal(shape, np.float32)
    if net.config.noise_gain:
        noise *= np.exp(rng.standard_normal(dtype=np.float32) * np.float32(net.config.gain_at_start))
    if net.config.noise_offset:
        offset = rng.standard_normal(shape[0], np.float32) * np.float32(net.config.noise_offset)
        chosen = list(net.config.noise_offset_channels or range(shape[0]))
        noise[chosen] += offset[chosen, None, None]
    return net.begin(torch.as_tensor(noise))


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
