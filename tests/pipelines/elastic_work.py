"""Work for tests on clusters, in a module that their workers can import."""

from __future__ import annotations

import os


def machine(task: int) -> int:
    """Do nothing, in a process that has a GPU of its own."""
    assert os.environ["CUDA_VISIBLE_DEVICES"], "a worker sees the GPU that it was given"
    return task
