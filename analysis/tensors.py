"""The one reader of weight files that others made: safetensors, or PyTorch's own format without its power to run code.

What `evaluate` reads, `train-restore` reads too. Files of this toolkit's own, which are safetensors of exactly one
network, are read by `degrade_kit.flipnet.weights`, whose checks of the container, the names and the shapes serve here
too.
"""

# torch has parts without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.weights import bare_names, check_finite, check_shapes, read_weights

_WRAPPERS: Final = ("state_dict", "model", "params_ema", "params")
"""Keys under which training scripts put a state dictionary; of BasicSR's two, the averaged weights go first."""
_MAX_WRAPPED: Final = 10


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Read a state dictionary, out of whatever a training script wrapped it in.

    Wrappers such as `{"state_dict": ...}`, `{"params_ema": ...}` and `{"params": ...}` are taken off, one in another
    too, and so are the prefixes of DataParallel and torch.compile. What is no tensor, such as a step number, is left
    out.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        ConfigError: If the file is missing, damaged or cut short, cannot be read without running code from it, holds no
            tensors, or holds NaN or infinity.
    """
    found = read_plain(path, what)
    for _ in range(_MAX_WRAPPED):  # one may hold itself
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = cast("Mapping[Any, Any]", inner)
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"{path}: holds no tensors; expected {what}")
    check_finite(tensors, str(path))
    return bare_names(tensors)


def read_plain(path: Path, what: str) -> Mapping[Any, Any]:
    """Read the dictionary that a file holds: tensors, numbers, text and NumPy arrays.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        ConfigError: If it is missing, damaged or cut short, or cannot be read without running code from it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected {what}")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        with torch.serialization.safe_globals(_array_parts()):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path}: cannot be read without running code, or is no torch file; expected {what}: {first_line(error)}"
        ) from error
    except Exception as error:  # of damaged files torch lets nearly any type through: IndexError, AttributeError, ...
        raise ConfigError(f"{path}: damaged or cut short; expected {what}: {first_line(error)}") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: expected {what}: a dictionary, found {type(found).__name__}")
    return cast("Mapping[Any, Any]", found)


def first_line(error: Exception) -> str:
    """What an error of torch says, without the pages that may follow."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _array_parts() -> list[Any]:
    """List what a pickled NumPy array of numbers consists of; none of it runs code of the file's."""
    numpy_2 = int(np.__version__.partition(".")[0]) >= 2
    module: Any = importlib.import_module("numpy._core.multiarray" if numpy_2 else "numpy.core.multiarray")
    build = module._reconstruct
    kinds = [type(np.dtype(kind)) for kind in ("float32", "float64", "int64")]
    # The second name is that under which NumPy 1 wrote it.
    return [build, (build, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, *kinds]


def select(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, what: str) -> dict[str, Tensor]:
    """Take the tensors that a network needs, of the shapes that it has, and leave the rest of a file.

    Batch counters, which older files lack, keep the network's own value.

    Args:
        tensors: What a file holds.
        wanted: The network's own state dictionary.
        path: For messages.
        what: What the network is, for messages.

    Raises:
        ConfigError: If some are missing or of another shape.
    """
    kept = {
        name: tensors.get(name, value)
        for name, value in wanted.items()
        if name in tensors or name.endswith("num_batches_tracked")
    }
    check_shapes(wanted, kept, f"{path}: not {what}")
    return kept


def load_published(network: nn.Module, path: Path, what: str, published_name: Callable[[str], str] = str) -> None:
    """Fill a network from a file that others made, and freeze it.

    Args:
        network: To be filled; it is in evaluation mode then.
        path: The file.
        what: What the network is, for messages.
        published_name: From the network's name of a tensor to the file's.

    Raises:
        ConfigError: As `read_tensors` and `select`.
    """
    wanted = network.state_dict()
    found = select(read_tensors(path, what), {published_name(name): wanted[name] for name in wanted}, path, what)
    network.load_state_dict({name: found[published_name(name)] for name in wanted})
    network.requires_grad_(False).eval()
