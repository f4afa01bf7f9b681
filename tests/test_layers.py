"""Who may import whom, and what must cost nothing to import.

degrade_kit  <-  analysis  <-  restore  <-  pipelines          a package imports only packages to its left
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("degrade_kit", "analysis", "restore", "pipelines")
NOT_INSTALLED = {"tests", "benchmarks", "docs"}
TORCH_FAMILY = {"torch", "torchvision", "diffusers", "peft", "transformers", "accelerate"}
IMPORT_CALLS = {"importlib.import_module", "import_module", "__import__"}


def imported_names(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that a module imports, at any depth of its code."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, *filter(None, [node.module]), alias.name])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORT_CALLS and node.args:
            yield node.lineno, ast.unparse(node.args[0]).strip("'")


def violation(path: Path, name: str) -> str | None:
    """Say why the file at `path`, relative to the root, must not import `name`; None if it may."""
    layer, top = path.parts[0], name.split(".")[0]
    in_flipnet = path.parts[:2] == ("degrade_kit", "flipnet")
    feeds_torch = path == Path("degrade_kit/streaming.py") or path.parts[:2] == ("degrade_kit", "adapters")
    if top in LAYERS and LAYERS.index(top) > LAYERS.index(layer):
        return f"{layer} is left of {top}"
    if top in NOT_INSTALLED:
        return f"{top} is not installed with the packages"
    if top == "ray" and path != Path("pipelines/executor.py"):
        return "only pipelines/executor.py imports ray"
    if layer == "degrade_kit" and not in_flipnet:
        if name.startswith("degrade_kit.flipnet"):
            return "nothing else in degrade_kit imports degrade_kit.flipnet"
        if top in TORCH_FAMILY and not (feeds_torch and top == "torch"):
            return "in degrade_kit, torch and its family belong to flipnet; streaming.py and adapters/ may use torch"
    if (
        path.name == "__init__.py"
        and len(path.parts) == 2
        and layer != "degrade_kit"
        and name != "__future__.annotations"
    ):
        return "the __init__.py of analysis, restore and pipelines import nothing"
    return None


def violations(root: Path) -> list[str]:
    """List each import under `root` that points the wrong way, as `file:line imports name: why not`."""
    found: list[str] = []
    for file in sorted(file for layer in LAYERS for file in (root / layer).rglob("*.py")):
        path = file.relative_to(root)
        is_package = path.name == "__init__.py"
        module = ".".join(path.parent.parts if is_package else path.with_suffix("").parts)
        for line, name in imported_names(ast.parse(file.read_text("utf-8")), module, is_package):
            if reason := violation(path, name):
                found.append(f"{path}:{line} imports {name}: {reason}")
    return found


def test_imports_point_to_the_left() -> None:
    assert all((ROOT / layer / "__init__.py").is_file() for layer in LAYERS)
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("degrade_kit/image.py", "import analysis.features"),
        ("degrade_kit/image.py", "from restore import train"),
        ("analysis/features.py", "from pipelines.cli import main"),
        ("restore/train.py", "import pipelines"),
        ("degrade_kit/image.py", "import torch"),
        ("degrade_kit/image.py", "def late() -> None:\n    from torch.utils import data"),
        ("degrade_kit/image.py", "import importlib\nimportlib.import_module('torch')"),
        ("degrade_kit/image.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import diffusers"),
        ("degrade_kit/streaming.py", "import diffusers"),
        ("degrade_kit/image.py", "from degrade_kit import flipnet"),
        ("degrade_kit/image.py", "from .flipnet.network import FlipNet"),
        ("degrade_kit/adapters/basicsr.py", "from ..flipnet import network"),
        ("degrade_kit/flipnet/training.py", "import ray"),
        ("pipelines/cli.py", "import ray.util"),
        ("pipelines/__init__.py", "from pipelines import cli"),
        ("pipelines/cli.py", "from tests.strategies import images"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n")

    assert [entry.split(":")[0] for entry in violations(tmp_path)] == [file]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("analysis/features.py", "from degrade_kit.image import read_image"),
        ("pipelines/cli.py", "import restore, analysis, degrade_kit"),
        ("degrade_kit/streaming.py", "import torch"),
        ("degrade_kit/adapters/basicsr.py", "from torch.utils.data import Dataset"),
        ("degrade_kit/flipnet/network.py", "import torch, diffusers\nfrom . import config\nfrom ..image import encode"),
        ("degrade_kit/adapters/__init__.py", "from . import basicsr"),
        ("pipelines/executor.py", "def start() -> None:\n    import ray"),
        ("restore/__init__.py", "from __future__ import annotations"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, file: str, line: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n")

    assert violations(tmp_path) == []


# webdataset is here since it imports torch wherever torch is installed.
HEAVY = TORCH_FAMILY | {"ray", "sklearn", "scipy", "skimage", "matplotlib", "pandas", "datasets", "lmdb", "webdataset"}
SHOW_HELP = """
import runpy
sys.argv = ["degrade-kit", "--help"]
try:
    runpy.run_module("pipelines.cli", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
else:
    raise AssertionError("python -m pipelines.cli did nothing")
"""


def heavy_modules_after(code: str, stand_ins: Path) -> set[str]:
    """Run `code` in a fresh interpreter and return which heavy packages it loaded.

    Empty packages in the folder `stand_ins` take the place of the real ones, so that an import counts whether or not
    the real package is installed.
    """
    for name in HEAVY:
        (stand_ins / name).mkdir()
        (stand_ins / name / "__init__.py").touch()
    report = f"\nprint('loaded:', *({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{report}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(stand_ins), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return set(result.stdout.rpartition("loaded:")[2].split())


def test_import_degrade_kit_loads_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_modules_after("import degrade_kit", tmp_path) == set()


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_modules_after(SHOW_HELP, tmp_path) == set()


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    assert heavy_modules_after("import degrade_kit, ray, torch", tmp_path) == {"ray", "torch"}
