"""Real processes of `degrade-kit` that start at once: each is a fork of one that has loaded PyTorch already.

A new interpreter takes seconds to load it, which is most of what a training of a few steps costs. The fork is a process
of its own all the same: it can be killed and interrupted, and leaves what a killed process leaves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PRELOADED = (
    "accelerate",
    "degrade_kit.pipelines.cli",
    "degrade_kit.pipelines.models.train_degrade",
    "degrade_kit.pipelines.models.train_restore",
)
"""Not Ray, which reads its environment when it is imported."""


class CommandProcess:
    """A command in a process of its own, in a session of its own; it has the part of `subprocess.Popen` that tests use.

    Args:
        arguments: Of `degrade-kit`.
        log: Gets what it prints.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._process = context.Process(target=_command, args=(list(arguments), str(log)))
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, None while it runs; -9 after SIGKILL, as in `subprocess`."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait for its end, `timeout` seconds at most."""
        self._process.join(timeout)
        status = self._process.exitcode
        assert status is not None, f"still running after {timeout} s"
        return status

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """Send any signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _command(arguments: list[str], log: str) -> None:
    os.setsid()
    # A child ignores SIGINT where the server of forks does, as one does that a shell script starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    from degrade_kit.pipelines.cli import main

    try:
        main(arguments)
    finally:
        sys.stdout.flush()
