"""Runs on a Ray cluster whose machines come and go: what was waited for, and that nothing is lost, doubled or changed.

DEGRADE_KIT_ELASTIC is the number of runs of each kind in which machines are added and killed at random, two if not
given.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from degrade_kit.files import sha256
from degrade_kit.shards import open_shards
from tests.pipelines.ray_machines import Machines, ray_machines

pytestmark = pytest.mark.long
pytest.importorskip("ray")

RUNS = int(os.environ.get("DEGRADE_KIT_ELASTIC", "2"))
GPU_TASKS = """
import os, sys
from degrade_kit.pipelines.executor import ExecutorConfig, run_tasks
from tests.pipelines.elastic_work import machine
config = ExecutorConfig(workers=2, ray_address=sys.argv[1], gpus=1, wait=float(sys.argv[2]))
print(sorted(outcome.task for outcome in run_tasks(machine, range(4), config)))
"""


@pytest.fixture
def machines() -> Iterator[Machines]:
    with ray_machines() as found:
        yield found


@pytest.fixture(scope="module")
def faces(faces_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(24):
        shutil.copy(faces_dir / "astronaut.png", folder / f"{number:02}.png")
    return folder


KINDS = {
    "recipe": "--size 256 --samples-per-shard 1 --preset gfpgan --variants 12",
    "flipnet": "--size 128 --samples-per-shard 3 --mode flipnet --flipnet small --solver-steps 6",
}
"""What makes LQ images; a shard is some seconds' work."""


def synth_words(faces: Path, out: Path, *words: str | int, kind: str = "recipe") -> list[str]:
    every = ["synth", "--hq", faces, "--shards", out, *KINDS[kind].split(), *words]
    return [sys.executable, "-m", "degrade_kit.pipelines.cli", *map(str, every)]


def digests(out: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in sorted(out.glob("*.tar"))}


def undisturbed_run(kind: str, faces: Path, folder: Path) -> dict[str, str]:
    subprocess.run(synth_words(faces, folder / "out", "--workers", 0, kind=kind), check=True, capture_output=True)
    return digests(folder / "out")


@pytest.fixture(scope="module")
def undisturbed(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return undisturbed_run("recipe", faces, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed_flipnet(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("torch")
    return undisturbed_run("flipnet", faces, tmp_path_factory.mktemp("undisturbed"))


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


def wait_for_shards(run: subprocess.Popen[str], out: Path, more: int) -> None:
    """Wait until a run has made so many more, but a minute at most: it may need machines for the next one."""
    wanted, end = len(list(out.glob("*.tar"))) + more, time.monotonic() + 60
    while run.poll() is None and len(list(out.glob("*.tar"))) < wanted and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(RUNS))
def test_machines_that_come_and_go_change_nothing(
    seed: int, kind: str, machines: Machines, faces: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expected = request.getfixturevalue({"recipe": "undisturbed", "flipnet": "undisturbed_flipnet"}[kind])
    rng = random.Random(seed)
    machines.add(cpus=2)
    words = synth_words(faces, tmp_path / "out", "--ray-address", machines.address, "--workers", 4, kind=kind)
    killed, nodes = 0, 1
    with subprocess.Popen(words, env=machines.environment, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            wait_for_shards(run, tmp_path / "out", rng.randint(0, 2) if nodes else 0)
            time.sleep(rng.uniform(0, 2))
            if nodes > 2 or (nodes and rng.random() < 0.5):
                nodes = machines.kill(rng.randrange(8))
                killed += 1
            else:
                nodes = machines.add(cpus=rng.choice([1, 2]))
        assert run.stderr is not None
        told = run.stderr.read()
    assert run.returncode == 0, told
    assert killed
    assert digests(tmp_path / "out") == expected
    assert open_shards(tmp_path / "out").manifest["num_samples"] == 24
    assert not re.search(r"failed|left out", told), told
