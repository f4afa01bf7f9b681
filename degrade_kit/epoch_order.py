"""Which pair comes when: the order of an epoch, and who takes which part of it.

An *item* is what an epoch gives once: a sample, or, where all variants are wanted, a sample with one of its variants.
The order of an epoch is one permutation of all items, a function of seed and epoch alone. Ranks take turns in it, and
the workers of a rank take turns by whole batches, which is how a DataLoader asks them. So a rank sees the same sequence
of batches with any number of workers, all ranks together always have consumed a beginning of the order, and a number
says how far an epoch has come.
"""

from __future__ import annotations

import dataclasses
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


SEVERITY_BINS = 10
"""Parts of a range of severities that are drawn equally often where they are balanced."""


def severity_range(wanted: tuple[float, float], epoch: int, curriculum: int) -> tuple[float, float]:
    """Return the range of severities of an epoch: its upper end grows to 1 over the epochs of a curriculum.

    >>> [severity_range((0.0, 0.3), epoch, 7)[1] for epoch in (0, 7, 9)]
    [0.3, 1.0, 1.0]
    >>> severity_range((0.0, 0.3), 5, 0)
    (0.0, 0.3)
    """
    low, high = wanted
    return low, high + (1 - high) * min(epoch / curriculum, 1.0) if curriculum else high


def pick_by_severity(
    draws: Draws,
    severities: npt.NDArray[np.float64],
    wanted: tuple[float, float],
    seed: int,
    epoch: int,
    *,
    stay: bool,
    balanced: bool = False,
) -> Draws:
    """Take stored LQ images of a range of severities alone.

    An epoch keeps its items: one whose LQ image lies in the range stays as it is; another takes one of its sample's
    that does, and where none does, any pair of the data set that does. Balanced, each item draws a part of the range
    first, equally often those in which anything lies, and then a pair of that part: samples may come several times.

    Args:
        draws: What was drawn for the epoch.
        severities: Of all stored LQ images, shape (samples, variants).
        wanted: Least and greatest severity.
        seed: Of the run.
        epoch: Number of the epoch.
        stay: Whether an item's own sample comes first; no sense where each item is one variant.
        balanced: Whether all severities are equally likely.

    Raises:
        ValueError: If nothing lies in the range.
    """
    within = (severities >= wanted[0]) & (severities <= wanted[1])
    pool = np.argwhere(within)
    if not len(pool):
        raise ValueError(f"no LQ image has a severity within [{wanted[0]:g}, {wanted[1]:g}]")
    numbers = epoch_generator(seed, epoch, "\0severity").random((2, len(draws.sample)))
    sample, variant = draws.sample.copy(), draws.variant.copy()
    if balanced:
        # The ends of the parts are those of what there is, so that no part is beyond all images.
        found = severities[within]
        low, high = float(found.min()), float(found.max())
        part = ((found - low) / max(high - low, 1e-9) * SEVERITY_BINS).astype(np.int64).clip(0, SEVERITY_BINS - 1)
        pools = [pool[part == number] for number in range(SEVERITY_BINS) if (part == number).any()]
        chosen = (numbers[0] * len(pools)).astype(np.int64)
        for number, own in enumerate(pools):
            here = chosen == number
            sample[here], variant[here] = own[(numbers[1][here] * len(own)).astype(np.int64)].T
        return dataclasses.replace(draws, sample=sample, variant=variant)
    outside = ~within[sample, variant]
    if stay:
        # Of a sample's variants in the range, one by a number in [0, 1); those without any go to the whole pool.
        counts = within.sum(axis=1)
        own = outside & (counts[sample] > 0)
        turn = (numbers[0][own] * counts[sample[own]]).astype(np.int64)
        variant[own] = (np.cumsum(within[sample[own]], axis=1) > turn[:, None]).argmax(axis=1)
        outside &= counts[sample] == 0
    sample[outside], variant[outside] = pool[(numbers[1][outside] * len(pool)).astype(np.int64)].T
    return dataclasses.replace(draws, sample=sample, variant=variant)
