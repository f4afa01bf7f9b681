"""Who may import whom, and what must cost nothing to import.

degrade_kit  <-  .analysis  <-  .restore  <-  .pipelines       a package imports only packages to its left

In pipelines, a folder is a thing that a user does; no such feature imports another, and no shared room imports one.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.requirement_lines import tomllib

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("degrade_kit", "degrade_kit.analysis", "degrade_kit.restore", "degrade_kit.pipelines")
LINKED = ("analysis", "restore", "pipelines")
"""Folders at the top of the repository that links in degrade_kit lead to."""
FEATURES = {"inputs", "synth", "dataset", "distribution", "evaluation", "models"}
ABOVE_FEATURES = {"commands", "cli.py", "demo.py", "match.py"}
"""What in pipelines puts features together."""
NOT_INSTALLED = {"tests", "benchmarks", "docs"}
RUNS_A_FLIPNET = {
    ("degrade_kit/network_steps.py", "degrade_kit.flipnet.folder.degrading_model"),
    ("degrade_kit/network_steps.py", "degrade_kit.flipnet.folder.model_folder"),
    ("degrade_kit/network_steps.py", "degrade_kit.flipnet.description.describe_place"),
    ("degrade_kit/network_steps.py", "degrade_kit.flipnet.description.read_space"),
    ("degrade_kit/adapters/base.py", "degrade_kit.flipnet.degrader.Networks"),
}
"""A recipe's step asks a FlipNet's folder what it is and how photographs are described, which needs no torch; a
trainer's options name recipes alone."""
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


def layer_of(name: str) -> str | None:
    """The layer that a dotted name belongs to, None if it is not ours."""
    return max((layer for layer in LAYERS if f"{name}.".startswith(f"{layer}.")), key=len, default=None)


def violation(path: Path, name: str) -> str | None:
    """Say why the file at `path`, relative to the root and by its installed name, must not import `name`."""
    layer, wanted, top = layer_of(".".join(path.with_suffix("").parts)), layer_of(name), name.split(".")[0]
    assert layer is not None
    in_flipnet = path.parts[:2] == ("degrade_kit", "flipnet")
    feeds_torch = path.parts[1] in ("streaming.py", "wds_pipeline.py", "adapters")
    if wanted is not None and LAYERS.index(wanted) > LAYERS.index(layer):
        return f"{layer} is left of {wanted}"
    if top in LINKED:
        return f"installed, {top} is degrade_kit.{top}"
    if top in NOT_INSTALLED:
        return f"{top} is not installed with the packages"
    if top == "ray" and path != Path("degrade_kit/pipelines/executor.py"):
        return "only pipelines/executor.py imports ray"
    if layer == "degrade_kit" and not in_flipnet:
        if name.startswith("degrade_kit.flipnet") and (str(path), name) not in RUNS_A_FLIPNET:
            return "nothing else in degrade_kit imports degrade_kit.flipnet"
        if top in TORCH_FAMILY and not (feeds_torch and top == "torch"):
            return "in degrade_kit, torch and its family belong to flipnet; what feeds trainers may use torch"
    if path.name == "__init__.py" and path.parts[1] in LINKED and name != "__future__.annotations":
        return "the __init__.py of analysis, restore and pipelines import nothing"
    if layer == "degrade_kit.pipelines" and wanted == layer and path.parts[2] not in ABOVE_FEATURES:
        feature = name.split(".")[2] if name.count(".") > 1 else ""
        if feature in ABOVE_FEATURES or f"{feature}.py" in ABOVE_FEATURES:
            return f"{feature} stands above the features"
        if feature in FEATURES and path.parts[2] != feature:
            return f"{path.parts[2]} must not import the feature {feature}: what both need belongs beside them"
    return None


def modules(folder: Path) -> Iterator[Path]:
    """All modules below a folder, through links too."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from modules(entry)
        elif entry.suffix == ".py":
            yield entry


def violations(root: Path) -> list[str]:
    """List each import under `root` that points the wrong way, as `file:line imports name: why not`."""
    found: list[str] = []
    for file in sorted(modules(root / "degrade_kit")):
        path = file.relative_to(root)
        is_package = path.name == "__init__.py"
        module = ".".join(path.parent.parts if is_package else path.with_suffix("").parts)
        for line, name in imported_names(ast.parse(file.read_text("utf-8")), module, is_package):
            if reason := violation(path, name):
                found.append(f"{path}:{line} imports {name}: {reason}")
    return found


@pytest.mark.slow
def test_imports_point_to_the_left() -> None:
    assert all((ROOT / folder / "__init__.py").is_file() for folder in ("degrade_kit", *LINKED))
    assert all((ROOT / "degrade_kit" / name).resolve() == ROOT / name for name in LINKED)
    folders = {entry.name for entry in (ROOT / "pipelines").iterdir() if (entry / "__init__.py").is_file()}
    assert folders == {*FEATURES, "commands", "makers"}
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("degrade_kit/image.py", "import degrade_kit.analysis.features"),
        ("degrade_kit/image.py", "from degrade_kit.restore import train"),
        ("degrade_kit/analysis/features.py", "from degrade_kit.pipelines.cli import main"),
        ("degrade_kit/restore/train.py", "import degrade_kit.pipelines"),
        ("degrade_kit/restore/train.py", "from pipelines import cli"),
        ("degrade_kit/image.py", "import torch"),
        ("degrade_kit/image.py", "def late() -> None:\n    from torch.utils import data"),
        ("degrade_kit/image.py", "import importlib\nimportlib.import_module('torch')"),
        ("degrade_kit/image.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import diffusers"),
        ("degrade_kit/streaming.py", "import diffusers"),
        ("degrade_kit/image.py", "from degrade_kit import flipnet"),
        ("degrade_kit/image.py", "from .flipnet.network import FlipNet"),
        ("degrade_kit/adapters/basicsr.py", "from ..flipnet import network"),
        ("degrade_kit/flipnet/training.py", "import ray"),
        ("degrade_kit/pipelines/cli.py", "import ray.util"),
        ("degrade_kit/pipelines/__init__.py", "from degrade_kit.pipelines import cli"),
        ("degrade_kit/pipelines/synth/plan.py", "from degrade_kit.pipelines.dataset import verify"),
        ("degrade_kit/pipelines/dataset/verify.py", "from degrade_kit.pipelines.synth.plan import Plan"),
        ("degrade_kit/pipelines/makers/config.py", "from degrade_kit.pipelines.synth.plan import Plan"),
        ("degrade_kit/pipelines/sheet.py", "from degrade_kit.pipelines.commands import options"),
        ("degrade_kit/pipelines/cli.py", "from tests.strategies import images"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n")

    assert [entry.split(":")[0] for entry in violations(tmp_path)] == [file]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("degrade_kit/analysis/features.py", "from degrade_kit.image import read_image"),
        ("degrade_kit/pipelines/cli.py", "import degrade_kit.restore, degrade_kit.analysis, degrade_kit"),
        ("degrade_kit/pipelines/dataset/verify.py", "from degrade_kit.pipelines.makers.config import fingerprint"),
        ("degrade_kit/pipelines/synth/output.py", "from degrade_kit.pipelines.synth.plan import Plan"),
        ("degrade_kit/pipelines/demo.py", "from degrade_kit.pipelines.synth.plan import Plan"),
        ("degrade_kit/streaming.py", "import torch"),
        ("degrade_kit/adapters/basicsr.py", "from torch.utils.data import Dataset"),
        ("degrade_kit/flipnet/network.py", "import torch, diffusers\nfrom . import config\nfrom ..image import encode"),
        ("degrade_kit/adapters/__init__.py", "from . import basicsr"),
        ("degrade_kit/pipelines/executor.py", "def start() -> None:\n    import ray"),
        ("degrade_kit/restore/__init__.py", "from __future__ import annotations"),
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
    runpy.run_module("degrade_kit.pipelines.cli", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
else:
    raise AssertionError("python -m degrade_kit.pipelines.cli did nothing")
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


MISTAKES = {
    "synth": [
        "--hq {nowhere} --shards {out}",
        "--hq {faces} --shards {out} --preset nowhere",
        "--hq {faces} --shards {out} --mode flipnet --flipnet {nowhere}",
        "--hq {faces} --shards {out} --mode flipnet --base-model {nowhere}",
        "--hq {faces} --shards {out} --config {nowhere}",
    ],
    "align": ["--input {nowhere} --out {out}", "--input {faces} --out {out} --detector yunet:{nowhere}"],
    "caption": [
        "--hq {nowhere} --out {out}/a.jsonl",
        "--hq {faces} --caption-model {nowhere} --out {out}/a.jsonl",
    ],
    "verify": ["{nowhere}"],
    "inspect": ["{nowhere}"],
    "view": ["{nowhere} --out {out}"],
    "match": ["--real {nowhere} --hq {faces} --shards {out}"],
    "replay": ["{nowhere} 000000000 --out {out}"],
    "bench-read": ["{nowhere}"],
    "export": ["{nowhere} --out {out}", "{nowhere} --to lq-only --out {out}"],
    "join": ["{nowhere} --hq {faces} --out {out}"],
    "preview": ["--hq {nowhere} --out {out}", "--hq {faces} --preset nowhere --out {out}"],
    "presets": ["nowhere"],
    "weights": ["nowhere"],
    "pairs": ["--pairs noise={nowhere} --out {out}"],
    "pairs from-photos": [
        "--real {nowhere} --out {out}",
        "--real {faces} --restorer {nowhere} --out {out}",
    ],
    "degrade": ["{nowhere} --out {out}", "{faces}/a.png --flipnet {nowhere} --out {out}"],
    "make-testset": [
        "--hq {nowhere} --out {out}",
        "--real {nowhere} --out {out}",
        "--hq {faces} --count 1 --flipnet {nowhere} --out {out}",
        "--hq {faces} --count 1 --preset nowhere --out {out}",
    ],
    "analyze-distribution": [
        "--synth a={nowhere} --real b={faces} --out {out}",
        "--synth a={faces} --real b={nowhere} --out {out}",
        "--synth a={faces} --real b={faces} --features checkpoint:{nowhere} --out {out}",
    ],
    "fit-recipe": [
        "--real {nowhere} --hq {faces} --out {out}/a.yaml",
        "--real {faces} --hq {faces} --preset nowhere --out {out}/a.yaml",
    ],
    "evaluate": [
        "--restored {nowhere} --out {out}",
        "--restored {faces} --reference {nowhere} --out {out}",
        "--restored {faces} --protocol nowhere --out {out}",
        "--restored {faces} --weights nowhere={nowhere} --out {out}",
        "--restored {faces} --weights niqe={nowhere} --out {out}",
    ],
    "compare": ["{nowhere} --out {out}"],
    "train-degrade": [
        "--hq {faces} --config {nowhere} --out {out}",
        "--hq {nowhere} --config small --out {out}",
        "--pairs noise={nowhere} --config small --out {out}",
        "--hq {faces} --base-model {nowhere} --out {out}",
    ],
    "distill": ["--hq {nowhere} --out {out}", "--hq {faces} --flipnet {nowhere} --out {out}"],
    "train-restore": [
        "--shards {nowhere} --config small --out {out}",
        "--shards {nowhere} --config {nowhere} --out {out}",
    ],
    "import-recipe": ["{nowhere}"],
    "restore": ["--model {nowhere} --input {faces} --out {out}"],
}
"""Wrong names, by command: each must be said before anything heavy is imported."""
WITHOUT_NAMES = {"demo", "doctor"}
RUN_EACH = """
import json
from pathlib import Path
from click.testing import CliRunner
from degrade_kit.pipelines.cli import main
wrong = []
for words in json.loads(Path({file!r}).read_text()):
    before = set(sys.modules)
    result = CliRunner().invoke(main, words)
    heavy = {heavy!r} & (set(sys.modules) - before)
    said = "nowhere" in result.output and isinstance(result.exception, SystemExit)
    if heavy or not said:
        wrong.append((words, heavy, result.output, repr(result.exception)))
assert not wrong, "\\n".join(map(str, wrong))
"""


def test_the_type_checker_is_told_of_every_link() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pyright"]
    links = {path.name for path in (ROOT / "degrade_kit").iterdir() if path.is_symlink()}
    assert links == set(LINKED)
    assert {f"degrade_kit/{name}" for name in links} <= set(settings["include"])


@pytest.mark.slow
def test_every_command_says_a_wrong_name_before_it_loads_anything_heavy(
    tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    from degrade_kit.pipelines.cli import main

    assert {*MISTAKES, *WITHOUT_NAMES} == set(main.commands)
    places = {"nowhere": str(tmp_path / "nowhere"), "faces": str(tmp_path / "faces"), "out": str(tmp_path / "out")}
    (tmp_path / "faces").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "faces/a.png")
    lines = [
        [*name.split(), *(word.format_map(places) for word in line.split())]
        for name, listed in MISTAKES.items()
        for line in listed
    ]
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    (tmp_path / "stand_ins").mkdir()
    code = RUN_EACH.format(file=str(tmp_path / "lines.json"), heavy=HEAVY)

    assert heavy_modules_after(code, tmp_path / "stand_ins") == set()
    assert not (tmp_path / "out").exists()


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    assert heavy_modules_after("import degrade_kit, ray, torch", tmp_path) == {"ray", "torch"}
