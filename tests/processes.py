"""Real processes of `degrade-kit` that start at once: each is a fork of one that has loaded PyTorch already.

A new interpreter takes seconds to load it, which is most of what a training of a few steps costs. The fork is a process
of its own all the same: it can be killed and interrupted, and leaves what a killed process leaves.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PRELOADED = (
    "accelerate",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers.scheduling_ddpm",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "degrade_kit.analysis.figures",
    "degrade_kit.pipelines.cli",
    "degrade_kit.pipelines.distribution.analyze",
    "degrade_kit.pipelines.evaluation.evaluate",
    "degrade_kit.pipelines.match",
    "degrade_kit.pipelines.models.train_degrade",
    "degrade_kit.pipelines.models.train_restore",
)
"""Not Ray, which reads its environment when it is imported."""


SMALL_SEARCH: Final[Mapping[str, Any]] = {"candidates": 12, "rounds": 0, "records": 4, "pool": ()}
"""Arguments by which `fit_recipe` looks for a bank in a second."""


@dataclass(frozen=True)
class Moment:
    """When a process sends itself a signal: just before one of its operations on the files of a folder."""

    folder: Path
    listing: Path
    """File that gets the operations, one a line, if the process ends by itself."""
    operation: int = 0
    """Number of the operation, from 1; 0 for none."""
    signal: int = signal.SIGKILL


class CommandProcess:
    """A command in a process of its own, in a session of its own; it has the part of `subprocess.Popen` that tests use.

    Args:
        arguments: Of `degrade-kit`.
        log: Gets what it prints.
        moment: When it sends itself a signal.
        environment: Variables that it has beside those of the tests.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        moment: Moment | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._process = context.Process(
            target=_command, args=(list(arguments), str(log), moment, dict(environment or {}))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number, and that of its session."""
        assert self._process.pid is not None
        return self._process.pid

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
        os.kill(self.pid, number)


class Counter:
    """An audit hook that counts operations on the files of a folder, and sends the signal before one of them.

    Files that C or Rust libraries open by themselves are not seen; the renames that publish them are.
    """

    def __init__(self, moment: Moment) -> None:
        self._moment, self._folder = moment, os.fspath(moment.folder)
        self._pid = os.getpid()
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one event of the interpreter."""
        if event not in _OPERATIONS or os.getpid() != self._pid or not self._concerns(event, arguments):
            return
        self.seen.append(f"{event} {arguments[0]}")
        if len(self.seen) == self._moment.operation and self.hit():
            os.kill(self._pid, self._moment.signal)

    def hit(self) -> bool:
        """Whether the signal is sent, now that the moment is there."""
        return True

    def _concerns(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "ctypes.dlsym":
            return arguments[1] == "renameat2"
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(self._folder):
            return False
        return event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def look_at_few_samples() -> None:
    """Let a training take its captions and scales from 20 samples in place of 2,000, which take most of a short one.

    And let `match` look for few records, once, and not beside those of banks that ship.
    """
    from degrade_kit.pipelines import match
    from degrade_kit.pipelines.models import train_degrade, train_restore

    quick: Any = functools.partial(match.fit_recipe, **SMALL_SEARCH)
    match.fit_recipe = quick
    train_degrade.caption_prompts.__defaults__ = (20,)
    new_net: Any = train_degrade.new_net
    modules: list[Any] = [train_degrade, train_restore]
    for module in modules:
        module.new_net = lambda *words, **options: new_net(*words, **{**options, "samples": 20})


_OPERATIONS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "ctypes.dlsym"}
)


def _command(arguments: list[str], log: str, moment: Moment | None, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    if "TMPDIR" in environment:
        tempfile.tempdir = None  # the server of forks may have asked already
    # A child ignores SIGINT where the server of forks does, as one does that a shell script starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    from degrade_kit.pipelines.cli import main

    counter = None
    if moment is not None:
        look_at_few_samples()
        counter = Counter(moment)
        sys.addaudithook(counter)
    try:
        main(arguments)
    finally:
        sys.stdout.flush()
        if moment is not None and counter is not None:
            moment.listing.write_text("\n".join(counter.seen), "utf-8")
