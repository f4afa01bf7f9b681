"""The generator of a sample: a function of the run's seed, the source's relative path and the variant alone."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, path: str, variant: int) -> np.random.Generator:
    """Generator for one LQ image.

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
