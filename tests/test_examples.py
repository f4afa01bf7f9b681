"""The scripts in `examples/` run as they stand."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from degrade_kit.pipelines.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script with this interpreter's commands first on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run(
        [EXAMPLES / name, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_a_restorer_is_trained_and_compared_with_its_inputs(tmp_path: Path, faces_dir: Path) -> None:
    pytest.importorskip("diffusers")
    out = tmp_path / "with a space"
    found = run("restore_faces.sh", "--hq", faces_dir, "--out", out, "--steps", 1, "--count", 3)

    assert found.returncode == 0, found.stdout + found.stderr
    table = (out / "table" / "compare.md").read_text()
    assert "| LQ |" in table
    assert "| restored |" in table
    assert "(3 images" in table
    assert len(list((out / "restored").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("words", "says"), [(("--stepz", "1"), "unknown option --stepz"), (("--steps",), "a value after")]
)
def test_a_wrong_option_is_told(words: tuple[str, ...], says: str) -> None:
    found = run("restore_faces.sh", *words)

    assert found.returncode == 2
    assert says in found.stderr


# ---------------------------------------------------------------------------------------------------------------- Slurm

# Stand-ins for what the scripts ask Slurm: srun runs the command behind its options here, scontrol names the node.
SRUN = '#!/bin/sh\nwhile case $1 in --*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n'
SCONTROL = "#!/bin/sh\necho 127.0.0.1\n"


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Environment of a Slurm job."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "slurm").mkdir(exist_ok=True)
        (tmp_path / "slurm" / name).write_text(text)
        (tmp_path / "slurm" / name).chmod(0o755)
    path = [str(tmp_path / "slurm"), str(Path(sys.executable).parent), os.environ["PATH"]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
    return {**kept, "PATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}


def submit(name: str, environment: dict[str, str], *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [EXAMPLES / name, *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_job_array_makes_one_data_set(slurm: dict[str, str], tmp_path: Path, faces_dir: Path) -> None:
    """All tasks at once, each told its number as Slurm does."""
    words = (faces_dir, tmp_path / "out", "--size", 64, "--samples-per-shard", 2)
    jobs = [submit("synth_array.sbatch", {**slurm, "SLURM_ARRAY_TASK_ID": str(number)}, *words) for number in range(3)]
    printed = [job.communicate(timeout=300)[0] for job in jobs]

    assert [job.returncode for job in jobs] == [0, 0, 0], "\n".join(printed)
    assert (tmp_path / "out/manifest.json").is_file()
    checked = CliRunner().invoke(main, ["verify", str(tmp_path / "out"), "--workers", "0"])
    assert checked.exit_code == 0, checked.output


@pytest.mark.long
def test_a_ray_cluster_in_one_job_makes_one_data_set(slurm: dict[str, str], tmp_path: Path, faces_dir: Path) -> None:
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="dk-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # The script's port is 20000 and the job's number modulo 20000.
        number = next(n for n in range(os.getpid(), os.getpid() + 100) if is_free(20000 + n % 20000))
        environment = {
            **slurm,
            "SLURM_JOB_ID": str(number),
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_NODELIST": "node",
            "SLURM_CPUS_PER_TASK": "1",
            "RAY_TMPDIR": folder,
        }
        job = submit("synth_ray.sbatch", environment, faces_dir, tmp_path / "out", "--size", 64)
        printed = job.communicate(timeout=300)[0]

    assert job.returncode == 0, printed
    assert (tmp_path / "out/manifest.json").is_file()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("name", ["synth_array.sbatch", "synth_ray.sbatch"])
def test_a_job_without_its_folders_is_told_how(name: str, slurm: dict[str, str]) -> None:
    job = submit(name, {**slurm, "SLURM_ARRAY_TASK_ID": "0"}, "faces")
    assert "usage: sbatch examples/" in job.communicate(timeout=60)[0]
    assert job.returncode == 2
