"""Generators, each a function of a seed and of what it is for, never of who runs and when."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, path: str, variant: int) -> np.random.Generator:
    """Make the random generator of one LQ image.

    Worker and shard counts, other files, the order of work and resuming cannot change what it yields, and neither can
    moving the whole folder: `path` is relative to it.

    Args:
        seed: Seed of the run.
        path: Name of the source as `Sources.names` has it: relative, with forward slashes.
        variant: Number of the LQ image of that source, from 0.

    >>> generator(0, "a.png", 0).random() == generator(0, "a.png", 0).random()
    True
    >>> generator(0, "a.png", 0).random() == generator(0, "a.png", 1).random()
    False
    """
    text = b"%d\0%s\0%d" % (seed, path.encode("utf-8", "surrogateescape"), variant)
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def epoch_generator(seed: int, epoch: int, name: str, variant: int = 0) -> np.random.Generator:
    """Make the generator for what each epoch of a training decides anew; none is equal to one of `generator`.

    Args:
        seed: Seed of the training.
        epoch: Number of the epoch, from 0.
        name: Name of a source, or of a purpose where it begins with a zero character, which no source's name has.
        variant: As in `generator`.

    >>> epoch_generator(0, 1, "a.png").random() == epoch_generator(0, 2, "a.png").random()
    False
    """
    return generator(seed, f"epoch {epoch}\0{name}", variant)
