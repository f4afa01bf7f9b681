"""Modules that are no package's, such as those of docs/, imported from their paths."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any


@cache
def load_module(path: Path) -> Any:  # noqa: ANN401 (a module, whose names no type checker knows)
    """Import a file of Python, once."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
