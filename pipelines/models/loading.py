"""How the pairs of a training reach the network: processes that prepare them, and memory for what is decoded."""

from __future__ import annotations

from degrade_kit.flipnet.loop import LoopConfig
from degrade_kit.flipnet.sampling import choose_device
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
        count // loop.gradient_accumulation * 2 * 3 * side**2
        for side, count in zip(loop.crop_sizes, counts, strict=True)
    )


def cache_bytes(gigabytes: float, data_workers: int) -> int:
    """Memory for decoded images of each process: what is asked for, and a third of the machine's for all of them."""
    there = memory()
    asked = round(gigabytes * 1e9)
    return asked if there is None else min(asked, there // 3 // max(data_workers, 1))
