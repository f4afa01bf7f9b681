"""Which pair comes when: the order of an epoch, and who takes which part of it.

An *item* is what an epoch gives once: a sample, or, where all variants are wanted, a sample with one of its variants.
The order of an epoch is one permutation of all items, a function of seed and epoch alone. Ranks take turns in it, and
the workers of a rank take turns by whole batches, which is how a DataLoader asks them. So a rank sees the same sequence
of batches with any number of workers, all ranks together always have consumed a beginning of the order, and a number
says how far an epoch has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from degrade_kit.seeding import epoch_generator

Uneven = Literal["pad", "drop"]
"""Where the items do not divide by the ranks, the first of the order come again, or the last are left out."""
VariantChoice = int | Literal["random", "cycle", "all"]
"""Which variant of a sample an epoch takes: that number; one drawn for each sample and epoch; the next one in each
epoch; or each of them, as items of their own."""

Numbers = npt.NDArray[np.int64]


def epoch_order(shard_sizes: Sequence[int], seed: int, epoch: int, *, window: int | None = None) -> Numbers:
    """List the numbers of all items in the order of an epoch.

    Args:
        shard_sizes: Items in each shard; they are numbered shard by shard.
        seed: Of the run.
        epoch: Number of the epoch.
        window: Shards whose items are mixed with each other at a time, None for all. The shards are shuffled first.
            A small window reads few shards at a time, which suits shards that are far away or on a turning disk.

    >>> epoch_order([2, 3], seed=0, epoch=0).tolist() == epoch_order([2, 3], seed=0, epoch=0).tolist()
    True
    >>> sorted(epoch_order([2, 3], seed=0, epoch=1, window=1).tolist())
    [0, 1, 2, 3, 4]
    """
    rng = epoch_generator(seed, epoch, "\0order")
    if window is None or window >= len(shard_sizes):
        return rng.permutation(sum(shard_sizes))
    starts = np.cumsum([0, *shard_sizes])
    turns = rng.permutation(len(shard_sizes))
    parts: list[Numbers] = []
    for at in range(0, len(turns), window):
        items: list[int] = []
        for shard in turns[at : at + window].tolist():
            items += range(int(starts[shard]), int(starts[shard + 1]))
        parts.append(rng.permutation(np.array(items, np.int64)))
    return np.concatenate(parts)


def rank_share(order: Numbers, consumed: int, rank: int, world_size: int, uneven: Uneven) -> Numbers:
    """List the items that a rank has yet to see; as many for each rank.

    Args:
        order: From `epoch_order`.
        consumed: Items at the beginning of the order that all ranks together have seen.
        rank: 0 to `world_size` - 1.
        world_size: Number of ranks.
        uneven: See `Uneven`.

    >>> rank_share(np.arange(7), 0, 1, 2, "pad"), rank_share(np.arange(7), 0, 1, 2, "drop")
    (array([1, 3, 5, 0]), array([1, 3, 5]))
    >>> rank_share(np.arange(7), 4, 1, 2, "pad")
    array([5, 0])
    """
    left = max(len(order) - consumed, 0)
    each = -(-left // world_size) if uneven == "pad" else left // world_size
    return order[(consumed + rank + world_size * np.arange(each)) % max(len(order), 1)]


def worker_share(share: Numbers, batch_size: int, worker: int, num_workers: int) -> Numbers:
    """List the part of a rank's items that a worker reads: every batch whose turn is the worker's.

    >>> worker_share(np.arange(10), 2, 1, 3)
    array([2, 3, 8, 9])
    """
    return share[np.arange(len(share)) // batch_size % num_workers == worker]


@dataclass(frozen=True, slots=True)
class Draws:
    """What is decided about each item in an epoch; arrays over the items, by number."""

    sample: Numbers
    variant: Numbers
    """Number of the stored LQ image."""
    onthefly: npt.NDArray[np.bool_]
    """Whether the LQ image is made anew in place of that."""
    flip: npt.NDArray[np.bool_]
    """Whether both images are mirrored left to right."""
    top: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]
    """Where the crop lies, as a share in [0, 1) of the places that it may have."""


def draw_epoch(
    num_samples: int,
    num_variants: int,
    seed: int,
    epoch: int,
    *,
    variant: VariantChoice = "random",
    onthefly_prob: float = 0.0,
    flip_prob: float = 0.0,
) -> Draws:
    """Decide about all items of an epoch at once; a function of the arguments alone, not of who reads what and when."""
    number = np.arange(num_samples * (num_variants if variant == "all" else 1))
    sample, chosen = number, np.zeros_like(number)
    # One column for each decision, so that none depends on what else is asked for.
    columns = epoch_generator(seed, epoch, "\0draws").random((5, len(number)))
    if variant == "all":
        sample, chosen = np.divmod(number, num_variants)
    elif variant == "random":
        chosen = (columns[0] * num_variants).astype(np.int64)
    elif variant == "cycle":
        chosen = (number + epoch) % num_variants
    else:
        chosen += variant
    return Draws(sample, chosen, columns[1] < onthefly_prob, columns[2] < flip_prob, columns[3], columns[4])
