"""Tensors from files that others made: safetensors, or PyTorch's own format without its power to run code."""

# torch has parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from degrade_kit.errors import ConfigError

_WRAPPERS = ("state_dict", "model", "params_ema", "params")


def read_tensors(path: Path) -> dict[str, Any]:
    """A state dictionary, out of whatever a training script wrapped it in, without the prefix of DataParallel.

    Raises:
        ConfigError: If the file cannot be read without running code from it, holds no tensors, or NaN or infinity.
    """
    found = read_plain(path)
    for wrapper in _WRAPPERS:
        if isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    import torch

    tensors = {name.removeprefix("module."): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ConfigError(f"{path}: holds no tensors")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ConfigError(f"{path}: {len(broken)} of {len(tensors)} tensors hold NaN or infinity, such as {broken[0]}")
    return tensors


def read_plain(path: Path) -> dict[str, Any]:
    """The dictionary that a file holds: tensors, numbers, text and NumPy arrays.

    Raises:
        ConfigError: If it cannot be read without running code from it.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            return importlib.import_module("safetensors.torch").load_file(path)
        with torch.serialization.safe_globals(_array_parts()):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path}: no weights that can be read without running code: {said}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a dictionary, found {type(found).__name__}")
    return found


def _array_parts() -> list[Any]:
    """What a pickled NumPy array of numbers consists of; none of it runs code of the file's."""
    numpy_2 = int(np.__version__.partition(".")[0]) >= 2
    module: Any = importlib.import_module("numpy._core.multiarray" if numpy_2 else "numpy.core.multiarray")
    build = module._reconstruct
    kinds = [type(np.dtype(kind)) for kind in ("float32", "float64", "int64")]
    # The second name is that under which NumPy 1 wrote it.
    return [build, (build, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, *kinds]


def select(tensors: Mapping[str, Any], wanted: Mapping[str, Any], path: Path, network: str) -> dict[str, Any]:
    """The tensors that a network needs, of the shapes that it has.

    Args:
        tensors: What a file holds.
        wanted: The network's own state dictionary.
        path: For the message.
        network: What it is, for the message.

    Raises:
        ConfigError: If some are missing or of another shape.
    """
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(
            f"{path}: not the weights of {network}: {len(missing)} of {len(wanted)} are missing, such as {missing[0]}"
        )
    other = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    if other:
        shapes = f"{tuple(tensors[other[0]].shape)} in place of {tuple(wanted[other[0]].shape)}"
        raise ConfigError(
            f"{path}: not the weights of {network}: {len(other)} are of another shape, such as {other[0]}: {shapes}"
        )
    return {name: tensors.get(name, value) for name, value in wanted.items()}
