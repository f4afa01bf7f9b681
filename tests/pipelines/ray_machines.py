"""A Ray cluster whose machines are raylets of one process on this machine, by Ray's own utility for such tests."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
common = {"object_store_memory": 80 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
print("address", cluster.address, flush=True)
nodes = []
for line in sys.stdin:
    word, *numbers = line.split()
    if word == "add":
        cpus, gpus = map(int, numbers)
        try:
            nodes.append(cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=80 << 20, wait=False))
        except Exception:  # a busy machine: Ray gives a raylet 30 seconds to start
            pass
    elif word == "kill" and nodes:
        cluster.remove_node(nodes.pop(int(numbers[0]) % len(nodes)), allow_graceful=False)
    print("nodes", len(nodes), flush=True)
cluster.shutdown()
"""
STARTS = 4
"""How often a head may fail to start: a busy machine takes longer than the 30 seconds that Ray gives it."""


class Machines:
    """A head without processors, and machines that are added to it and killed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        for left in reversed(range(STARTS)):  # each in a process of its own: Ray keeps what a failed start left
            self.process = subprocess.Popen(
                [sys.executable, "-c", CLUSTER],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            words = self._words()
            if words[:1] == ["address"]:
                self.address = words[1]
                return
            self.end()
            assert left, f"Ray's head did not start {STARTS} times"

    def add(self, *, cpus: int = 1, gpus: int = 0) -> int:
        """Add one, and return how many there are: as many as before if it did not start."""
        return self._tell(f"add {cpus} {gpus}")

    def kill(self, index: int = 0) -> int:
        """Kill one, and return how many there are."""
        return self._tell(f"kill {index}")

    def end(self) -> None:
        """End them all."""
        with self.process:  # which closes its input, and waits
            pass

    def _tell(self, line: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        words = self._words()
        assert words[:1] == ["nodes"], words
        return int(words[1])

    def _words(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()


@contextmanager
def ray_machines() -> Generator[Machines]:
    """A head that others join; all of it ends with the block, and leaves no file."""
    folder = tempfile.mkdtemp(prefix="dk-", dir="/tmp")  # sockets have short names
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TMPDIR": folder, "PYTHONPATH": str(Path.cwd())}
    environment["RAY_worker_niceness"] = "0"  # workers that yield to all else never start on a busy machine
    found = Machines(environment)
    try:
        yield found
    finally:
        found.end()
        shutil.rmtree(folder, ignore_errors=True)
