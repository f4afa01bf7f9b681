"""The device that networks run on: the same rule in every command."""

from __future__ import annotations

from degrade_kit.pipelines.executor import ExecutorConfig


def check_device(name: str | None, executor: ExecutorConfig | None = None) -> None:
    """Stop before any work at a device that is not here.

    Without a name, networks take the first GPU, or else the CPU: there is nothing to check, and torch, which takes
    seconds to import, is left alone.

    Args:
        name: Such as `cuda:1`.
        executor: Where the work runs; machines of a cluster have devices of their own, which its workers look for.

    Raises:
        ConfigError: If there is no such device.
    """
    if name in (None, "cpu") or (executor is not None and executor.ray_address is not None):
        return
    from degrade_kit.flipnet.sampling import choose_device

    choose_device(name)
