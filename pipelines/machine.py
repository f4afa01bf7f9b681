"""What a job may use of the machine that it runs on, which containers and schedulers make less than there is."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")
_SHARED_MEMORY: Final = Path("/dev/shm")


def processors() -> int:
    """Count the processors that this process may use: those it may run on, and no more than its quota of time."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota()
    return there if quota is None else max(1, min(there, math.ceil(quota)))


def default_threads() -> int:
    """Threads to ask of a library that counts the machine's processors and knows no quota; 0 leaves the choice to it.

    Sixty-four threads that share the time of two processors take many times as long as two.
    """
    quota = _cpu_quota()
    return 0 if quota is None or "OMP_NUM_THREADS" in os.environ else processors()


def keep_to_threads() -> None:
    """Have one thread in libraries where this process may not start as many as they would; before they are loaded.

    OpenBLAS, which NumPy and SciPy bring one each of, ends a process by SIGINT then, as Ctrl-C does, and OpenMP without
    a word of ours.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    tried, wanted = list[threading.Thread](), threading.Event()
    try:
        for _ in range(2 * min(64, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)):
            thread = threading.Thread(target=wanted.wait, daemon=True)
            thread.start()
            tried.append(thread)
    except RuntimeError:
        os.environ["OMP_NUM_THREADS"] = "1"
    finally:
        wanted.set()
        for thread in tried:
            thread.join()


def default_data_workers(*, on_gpu: bool, batch_bytes: int) -> int:
    """Processes that prepare pairs beside a GPU, 8 at most; none on a CPU, which has the network to compute itself.

    Args:
        on_gpu: Whether the network is on a GPU.
        batch_bytes: Size of a batch of pixels; those that are prepared ahead lie in shared memory, which containers
            have little of.
    """
    if not on_gpu:
        return 0
    here = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1))  # processes of this training on this machine
    count = min(8, max(1, processors() // here - 1))
    shared = shared_memory()
    # Of each worker the batches ahead, and one in work.
    return count if shared is None else min(count, shared // 2 // (here * 3 * max(batch_bytes, 1)))


def memory() -> int | None:
    """Bytes of memory that this process may use, or None where the system does not tell."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    limits = [
        _number(folder / name) for folder in _cgroups("memory") for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min([there, *(limit for limit in limits if limit is not None)])


def shared_memory() -> int | None:
    """Bytes that are free in /dev/shm, or None where there is none that can be written to."""
    if not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        return None
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return None


def _cpu_quota() -> float | None:
    """Processors' worth of time that this process and those beside it get; None for no limit."""
    found: list[float] = []
    for folder in _cgroups("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")  # version 2: `max 100000`, `150000 100000`
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.strip().isdecimal() and int(quota) > 0 and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _cgroups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, its own first, then those above, which bind it too.

    In a container its own group is often mounted as the root, while the path that the kernel tells is the host's: both
    are tried.
    """
    for line in _text(_OWN_CGROUPS).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        inside = Path(path.lstrip("/"))
        yield from (root / part for part in (inside, *inside.parents))


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
