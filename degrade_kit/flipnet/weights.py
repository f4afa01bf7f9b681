"""Weights from files: safetensors only, every number finite, every name and shape as expected, or one short error."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from degrade_kit.checks import COUNT, by_name, each, fields
from degrade_kit.errors import ConfigError
from degrade_kit.files import decode_json, open_regular
from degrade_kit.flipnet import foreign

_MAX_HEADER = 100_000_000  # the format's own limit, bytes
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, under the names that they have in their network.

    Raises:
        ConfigError: If it is missing, cut short, of another kind, or holds a number that is none.
    """
    from safetensors import SafetensorError

    _check_container(path)
    try:
        tensors: dict[str, Tensor] = foreign.safetensors_torch().load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: not a safetensors file that can be read: {error}") from error
    check_finite(tensors, str(path))
    return bare_names(tensors)


def count_weights(path: Path) -> int:
    """Count the numbers in a safetensors file by its header alone.

    Raises:
        ConfigError: As `read_weights`.
    """
    from safetensors import safe_open

    _check_container(path)
    with cast("Any", safe_open)(path, "pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no dict)


def bare_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel and torch.compile put in front of every name, in whatever order.

    >>> list(bare_names({"module._orig_mod.a": torch.ones(1), "module._orig_mod.b": torch.ones(1)}))
    ['a', 'b']
    """
    found = dict(tensors)
    while found and (prefix := next((each for each in _PREFIXES if all(name.startswith(each) for name in found)), "")):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: If it cannot be written; safetensors' own error is none.
    """
    from safetensors import SafetensorError

    try:
        foreign.safetensors_torch().save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ConfigError: Naming how many tensors have them, and the first.
    """
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise ConfigError(f"{where}: {len(bad)} of {len(tensors)} tensors contain NaN or infinity; first {bad[0]}")


def check_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes.

    Raises:
        ConfigError: With counts, three examples and, where it is clear, what the file seems to be.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    if not (missing or unexpected or wrong):
        return
    examples = [
        *(f"{name} is {_shape(found[name])}, expected {_shape(expected[name])}" for name in wrong),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is not known" for name in unexpected),
    ][:3]
    guess = _guess(found.values()) if wrong else ""
    raise ConfigError(
        f"{where}: weights of another network: {len(missing)} missing, {len(unexpected)} unexpected, {len(wrong)} of "
        f"another shape; {'; '.join(examples)}{guess}"
    )


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from a safetensors file, all of it or nothing.

    Raises:
        ConfigError: As `read_weights` and `check_shapes`.
    """
    tensors = read_weights(path)
    check_shapes(module.state_dict(), tensors, str(path))
    module.load_state_dict(tensors)


def network_fingerprint(module: nn.Module) -> str:
    """Hash of a network: names, shapes and up to 64 numbers of each tensor, rounded to half precision.

    A base model that was changed, or another one, is told at once; one that was loaded in half precision is the same.
    """
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // 64)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(flat[::step][:64].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_container(path: Path) -> None:
    """Tell a missing, cut or foreign file before it is mapped into memory."""
    try:
        with open_regular(path) as stream:
            start = stream.read(8)
            size = path.stat().st_size
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            plausible = 2 <= length <= min(size, _MAX_HEADER)
            # Only then: a header may be as long as a pickle's or a zip archive's first bytes say.
            if not plausible and (start[:2] == b"PK" or start[:1] == b"\x80"):
                raise ConfigError(
                    f"{path}: a pickled torch file, which may run code when it is read; convert it to safetensors first"
                )
            if not plausible:
                raise ConfigError(f"{path}: not a safetensors file, or cut short ({size} bytes; it begins {start!r})")
            try:
                header = decode_json(stream.read(length), _MAX_HEADER)
                header = by_name(fields({"data_offsets": each(COUNT)}))(
                    {name: entry for name, entry in fields({})(header, "").items() if name != "__metadata__"}, "header"
                )
                ends = [entry["data_offsets"][1] for entry in header.values()]
            except (ValueError, RecursionError, IndexError, ConfigError) as error:
                raise ConfigError(f"{path}: not a safetensors file, or cut short: {error}") from error
            expected = 8 + length + max(ends, default=0)
            if size != expected:
                raise ConfigError(f"{path}: cut short: its header says {expected} bytes, it has {size}")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error


_KNOWN_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}


def _guess(tensors: Iterable[Tensor]) -> str:
    """What the widest attention input reminds of."""
    widths = {tensor.shape[1] for tensor in tensors if tensor.ndim == 2}
    known = [text for width, text in _KNOWN_WIDTHS.items() if width in widths]
    return f" (it has layers as wide as those of {' and '.join(known)})" if len(known) == 1 else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
