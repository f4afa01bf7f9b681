"""The scripts in `examples/` run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a script with this interpreter's commands first on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.run(
        [EXAMPLES / name, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_restorer_is_trained_and_compared_with_its_inputs(tmp_path: Path, faces_dir: Path) -> None:
    pytest.importorskip("diffusers")
    out = tmp_path / "with a space"
    found = run("restore_faces.sh", "--faces", faces_dir, "--out", out, "--steps", 1, "--count", 3)

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
