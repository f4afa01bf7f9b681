"""What an import and `--help` load, with all that is really installed here; how long they take is printed only."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUNS = 5
# Beyond what degrade_kit needs to degrade an image: NumPy, OpenCV, PyYAML.
HEAVY = {
    *("torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "ray", "datasets", "webdataset"),
    *("pandas", "scipy", "sklearn", "skimage", "matplotlib", "umap", "bokeh", "lmdb", "fsspec", "pyarrow", "PIL"),
}
IMAGES = {"numpy", "cv2", "yaml"}
SHOW_HELP = """
import degrade_kit.pipelines.cli
sys.stdout = io.StringIO()
try:
    degrade_kit.pipelines.cli.main([*{arguments!r}, "--help"])
except SystemExit as stop:
    assert not stop.code, stop.code
assert "Usage:" in sys.stdout.getvalue()
sys.stdout = sys.__stdout__
"""


def loaded_by(code: str, runs: int = RUNS) -> tuple[set[str], float]:
    """Run code in new interpreters; return the packages that it loads and the least seconds that it takes."""
    report = "print(time.perf_counter() - start, *{name.partition('.')[0] for name in sys.modules})"
    results = [
        subprocess.run(
            [sys.executable, "-c", f"import io, sys, time\nstart = time.perf_counter()\n{code}\n{report}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.split()
        for _ in range(runs)
    ]
    return set(results[0][1:]), min(float(result[0]) for result in results)


def show(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{line}, least of {RUNS} runs\n")


def test_import_loads_no_heavy_package(capsys: pytest.CaptureFixture[str]) -> None:
    packages, seconds = loaded_by("import degrade_kit")

    show(f"import degrade_kit: {seconds:.3f} s", capsys)
    assert packages & (HEAVY | IMAGES) == set()


def test_a_promised_name_loads_what_it_needs_alone() -> None:
    packages, _ = loaded_by("import degrade_kit as dk; dk.preset, dk.apply", runs=1)

    assert packages & HEAVY == set()
    assert {"numpy", "cv2"} <= packages


def test_the_command_line_loads_no_image_library(capsys: pytest.CaptureFixture[str]) -> None:
    packages, seconds = loaded_by("import degrade_kit.pipelines.cli")

    show(f"import degrade_kit.pipelines.cli: {seconds:.3f} s", capsys)
    assert packages & (HEAVY | IMAGES) == set()


@pytest.mark.parametrize(
    "command",
    [
        *("synth", "verify", "presets", "preview", "inspect", "replay", "doctor", "pairs"),
        *("evaluate", "compare", "make-testset", "weights"),
    ],
)
def test_help_of_a_command_loads_no_heavy_package(command: str) -> None:
    packages, _ = loaded_by(SHOW_HELP.format(arguments=[command]), runs=1)

    assert packages & HEAVY == set()


def test_help_loads_no_image_library(capsys: pytest.CaptureFixture[str]) -> None:
    packages, seconds = loaded_by(SHOW_HELP.format(arguments=[]))

    show(f"degrade-kit --help: {seconds:.3f} s", capsys)
    assert packages & (HEAVY | IMAGES) == set()
