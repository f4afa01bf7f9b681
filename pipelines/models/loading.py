"""How the pairs of a training reach the network: who prepares them, and how many the device holds at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar, cast

from degrade_kit.errors import ConfigError
from degrade_kit.files import decode_json, local_path, read_regular
from degrade_kit.flipnet.base_small import SmallBase
from degrade_kit.flipnet.config import base_place
from degrade_kit.flipnet.folder import BASE_DIR, NETWORKS, model_folder, read_config, weight_files
from degrade_kit.flipnet.loop import LoopConfig
from degrade_kit.flipnet.memory import SD_LEVELS, SD_MILLIONS, Training, accumulation
from degrade_kit.flipnet.sampling import choose_device
from degrade_kit.flipnet.weights import count_weights
from degrade_kit.pipelines.machine import default_data_workers, memory


def resolved_data_workers(asked: int | None, device: str | None, loop: LoopConfig) -> int:
    """Decide how many processes prepare pairs.

    Args:
        asked: A number that is obeyed; None leaves it to the machine.
        device: Where the network is; the first GPU, or else the CPU, where None.
        loop: Whose batches they prepare.
    """
    if asked is not None:
        return asked
    on_gpu = choose_device(device).type == "cuda"
    return default_data_workers(on_gpu=on_gpu, batch_bytes=batch_bytes(loop)) if on_gpu else 0


def batch_bytes(loop: LoopConfig) -> int:
    """Size of the largest batch of pixels that a loop asks for, both images of each pair.

    >>> batch_bytes(LoopConfig(batch_size=16, gradient_accumulation=4))
    6291456
    """
    counts = loop.crop_batches or (loop.batch_size,) * len(loop.crop_sizes)
    return max(
        count // max(loop.gradient_accumulation, 1) * 2 * 3 * side**2
        for side, count in zip(loop.crop_sizes, counts, strict=True)
    )


def cache_bytes(gigabytes: float, data_workers: int) -> int:
    """Memory for decoded images of each process: what is asked for, and a third of the machine's for all of them."""
    there = memory()
    asked = round(gigabytes * 1e9)
    return asked if there is None else min(asked, there // 3 // max(data_workers, 1))


_L = TypeVar("_L", bound=LoopConfig)


def fitted(loop: _L, training: Training, device: str | None, *, processes: int, there: float | None = None) -> _L:
    """Settle into how many parts a step's pairs fall, by the device's memory.

    Args:
        loop: Whose `gradient_accumulation` may be 0.
        training: What it takes.
        device: Where the network is; the first GPU, or else the CPU, where None.
        processes: That share the pairs.
        there: Gigabytes of the device, in place of what it says.

    Raises:
        ConfigError: If what is asked for cannot fit.
    """
    there = device_gigabytes(device) if there is None else there
    pairs = most_pairs(loop)
    if not loop.gradient_accumulation:
        parts = 1 if there is None else accumulation(pairs, processes, training.fitting(there))
        return dataclasses.replace(loop, gradient_accumulation=parts)
    at_once = max(1, pairs // processes // loop.gradient_accumulation)
    needed = training.gigabytes(at_once)
    if there is not None and needed > there:
        raise ConfigError(
            f"memory: {at_once} pairs at a time take about {needed:.0f} GB, {device or 'the device'} has {there:.0f}; "
            f"{training.fitting(there)} fit. Give gradient_accumulation 0 in the configuration, which takes as many "
            "parts as it needs, or more --workers"
        )
    return loop


def process_count() -> int:
    """Count the processes of this training; 1 where it has no others."""
    import torch.distributed as processes

    return processes.get_world_size() if processes.is_available() and processes.is_initialized() else 1


def most_pairs(loop: LoopConfig) -> int:
    """Pairs of the largest step, over all processes."""
    return max(loop.crop_batches or (loop.batch_size,))


def device_gigabytes(device: str | None) -> float | None:
    """Memory of the device that a network trains on; None where it does not tell."""
    place = choose_device(device)
    if place.type == "cuda":
        import torch

        return cast("Any", torch.cuda).get_device_properties(place).total_memory / 1e9
    there = memory() if place.type == "cpu" else None
    return None if there is None else there / 1e9


def training_of(
    loop: LoopConfig,
    *,
    start: str,
    base_model: str,
    revision: str | None,
    small: SmallBase,
    lora_rank: int,
    draws: int,
    decodes: bool = False,
    perceptual: bool = False,
) -> Training:
    """Describe a training by its configuration and the sizes of its base model's files, without loading any.

    Args:
        loop: Crops, checkpoints and precision.
        start: FlipNet that is trained further; empty for none.
        base_model: Folder or hub id; empty for a new one.
        revision: Of a hub id.
        small: Sizes of a new base model.
        lora_rank: Of the FlipNet; with 0 all of it trains.
        draws: Target rows of each pair.
        decodes: Whether losses look at decoded images.
        perceptual: Whether one of them is VGG19's.
    """
    if start:
        folder = model_folder(start)
        reference = read_config(folder)[1]
        bundled = reference.location == BASE_DIR
        base_model, revision = (str(folder / BASE_DIR), None) if bundled else (reference.location, reference.revision)
    (channels, layers), millions, factor = (small.widths, small.layers), 12.0, small.block_size
    if base_model:
        (channels, layers), millions, factor = _base_sizes(base_model, revision)
    trained = millions if not lora_rank else millions * (50 + 0.21 * lora_rank) / SD_MILLIONS
    return Training(
        frozen=0.0 if not lora_rank else millions,
        trained=trained,
        channels=channels,
        layers=layers,
        size=max(loop.crop_sizes),
        factor=factor,
        draws=draws,
        checkpoints=loop.gradient_checkpointing,
        short=loop.mixed_precision == "bf16",
        decodes=decodes and bool(base_model),
        perceptual=perceptual,
        encodes=bool(lora_rank),
    )


def _base_sizes(base_model: str, revision: str | None) -> tuple[tuple[tuple[int, ...], int], float, int]:
    """Levels, millions of numbers and factor of a base model; those of Stable Diffusion where it is not here yet."""
    base_model, revision = base_place(base_model, revision)
    folder = local_path(base_model)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(base_model, "unet/config.json", revision=revision)
        if not isinstance(cached, str):
            return SD_LEVELS, SD_MILLIONS, 8
        folder = Path(cached).parent.parent
    try:
        unet, vae = (decode_json(read_regular(folder / part / "config.json")) for part in ("unet", "vae"))
        levels = tuple(int(width) for width in unet["block_out_channels"]), int(unet.get("layers_per_block", 2))
        factor = int(vae.get("block_size", 2 ** (len(vae.get("block_out_channels", (0,))) - 1)))
        millions = sum(count_weights(path) for part in NETWORKS for path in weight_files(folder / part)) / 1e6
    except (OSError, ValueError, KeyError, TypeError):
        return SD_LEVELS, SD_MILLIONS, 8
    return levels, millions, factor


def memory_text(loop: LoopConfig, training: Training, device: str | None, *, processes: int) -> str:
    """Say in a plan how many pairs a device computes at a time, and what that takes."""
    there = device_gigabytes(device) if processes == 1 else None
    known = fitted(loop, training, device, processes=processes, there=there) if there is not None else loop
    share = most_pairs(loop) // processes
    if not known.gradient_accumulation:
        table = ", ".join(f"{count} {training.gigabytes(count):.0f} GB" for count in (1, 2, 4, 8, 16) if count <= share)
        return f"memory: estimated for pairs at a time on each of {processes} devices: {table}; what fits is taken"
    at_once = max(1, share // known.gradient_accumulation)
    room = "" if there is None else f" of {there:.0f}"
    return (
        f"memory: {at_once} pairs at a time on each device, about {training.gigabytes(at_once):.0f}{room} GB; "
        f"{known.gradient_accumulation} parts to a step"
    )
