"""Runs on a Ray cluster whose machines come and go: what was waited for, and that nothing is lost, doubled or changed.

The machines are raylets of one process on this machine, by Ray's own utility for such tests. DEGRADE_KIT_ELASTIC is the
number of runs in which machines are added and killed at random, two if not given.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from degrade_kit.files import sha256
from degrade_kit.shards import open_shards

pytestmark = pytest.mark.long
pytest.importorskip("ray")

RUNS = int(os.environ.get("DEGRADE_KIT_ELASTIC", "2"))
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
GPU_TASKS = """
import os, sys
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from tests.pipelines.elastic_work import machine
config = ExecutorConfig(workers=2, ray_address=sys.argv[1], gpus=1, wait=float(sys.argv[2]))
print(sorted(outcome.task for outcome in run_tasks(machine, range(4), config)))
"""


class Machines:
    """A head without processors, and machines that are added to it and killed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._answer("address")

    def add(self, *, cpus: int = 1, gpus: int = 0) -> int:
        return self._tell(f"add {cpus} {gpus}")

    def kill(self, index: int = 0) -> int:
        return self._tell(f"kill {index}")

    def end(self) -> None:
        with self.process:  # which closes its input, and waits
            pass

    def _tell(self, line: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self._answer("nodes"))

    def _answer(self, word: str) -> str:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words[:1] == [word], words
        return words[1]


@pytest.fixture
def machines() -> Iterator[Machines]:
    folder = tempfile.mkdtemp(prefix="dk-", dir="/tmp")  # sockets have short names
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TMPDIR": folder, "PYTHONPATH": str(Path.cwd())}
    found = Machines(environment)
    try:
        yield found
    finally:
        found.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def faces(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(24):
        shutil.copy(faces_dir / "astronaut.png", folder / f"{number:02}.png")
    return folder


def synth_words(faces: Path, out: Path, *words: str | int) -> list[str]:
    """A shard for each face, each of some seconds' work."""
    fixed = ["--size", 256, "--preset", "gfpgan", "--variants", 12, "--samples-per-shard", 1]
    every = ["synth", "--hq", faces, "--shards", out, *fixed, *words]
    return [sys.executable, "-m", "degrade_kit.pipelines.cli", *map(str, every)]


def digests(out: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in sorted(out.glob("*.tar"))}


@pytest.fixture(scope="module")
def undisturbed(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    subprocess.run(synth_words(faces, out, "--workers", 0), check=True, capture_output=True)
    return digests(out)


def test_a_run_waits_for_machines_and_takes_those_that_join_late(
    machines: Machines, faces: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    words = synth_words(faces, tmp_path / "out", "--ray-address", machines.address, "--workers", 2)
    with subprocess.Popen(words, env=machines.environment, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "waiting for 2 CPUs: 0 there, 0 of them free" in line:
                break
        machines.add()
        machines.add()
        rest = run.stderr.read()
    assert run.returncode == 0, rest
    assert digests(tmp_path / "out") == undisturbed


def test_a_run_that_waited_in_vain_says_for_what(machines: Machines, faces: Path, tmp_path: Path) -> None:
    words = synth_words(faces, tmp_path / "out", "--ray-address", machines.address, "--wait", 6)
    run = subprocess.run(words, env=machines.environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1
    assert "no worker found a place in 6 seconds, in which the run waited for 1 CPU: 0 there" in run.stderr
    assert "Traceback" not in run.stderr


def test_gpus_that_come_later_are_waited_for(machines: Machines) -> None:
    machines.add(cpus=2)
    words = [sys.executable, "-c", GPU_TASKS, machines.address]
    vain = subprocess.run(
        [*words, "2"], env=machines.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "waited for 2 GPUs: 0 there" in vain.stderr
    with subprocess.Popen([*words, "300"], env=machines.environment, stdout=subprocess.PIPE, text=True) as run:
        time.sleep(3)
        machines.add(gpus=1)
        assert run.stdout is not None
        assert run.stdout.read().strip() == "[0, 1, 2, 3]"


@pytest.mark.parametrize("seed", range(RUNS))
def test_machines_that_come_and_go_change_nothing(
    seed: int, machines: Machines, faces: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    machines.add(cpus=2)
    words = synth_words(faces, tmp_path / "out", "--ray-address", machines.address, "--workers", 4)
    killed, nodes = 0, 1
    with subprocess.Popen(words, env=machines.environment, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            time.sleep(rng.uniform(0.5, 2.5))
            if nodes > 2 or (nodes and rng.random() < 0.5):
                nodes = machines.kill(rng.randrange(8))
                killed += 1
            else:
                nodes = machines.add(cpus=rng.choice([1, 2]))
        assert run.stderr is not None
        told = run.stderr.read()
    assert run.returncode == 0, told
    assert killed, "the run is too short for this machine"
    assert digests(tmp_path / "out") == undisturbed
    assert open_shards(tmp_path / "out").manifest["num_samples"] == len(undisturbed)
    assert not re.search(r"failed|left out", told), told
