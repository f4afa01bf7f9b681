"""The folder of a training run: whose it is, and what it says of itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import parse_yaml, plain_yaml

FREE = ("num_steps", "checkpoint_steps", "validation_steps", "keep_checkpoints")
"""Fields of a loop that a run may be continued with another value of."""

CONFIGS: Final = Path(__file__).parent / "configs"
"""Configurations that come with the package, by command and name: `small` and `sd21`."""


def read_run_config(name: str, command: str) -> tuple[Path, dict[str, Any]]:
    """The file of a training run's configuration, and its sections before they are checked.

    Args:
        name: A file, or `small` or `sd21`.
        command: Whose configurations `small` and `sd21` are.

    Raises:
        ConfigError: If it cannot be read, or holds something else than `key: value` pairs.
    """
    path = CONFIGS / f"{command}-{name}.yaml" if name in ("small", "sd21") else Path(name)
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read configuration {path}: {error}; expected a file, `small` or `sd21`") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: expected `key: value` pairs, got {data!r}")
    return path, cast("dict[str, Any]", data)


def claim_folder(folder: Path, resolved: dict[str, Any], comparable: Callable[[Any], Any]) -> None:
    """Make a run's folder and its `config.yaml`, or make sure that it is of this very run.

    Args:
        folder: Of the run.
        resolved: Its configuration.
        comparable: Takes a configuration, and gives it without what may change.

    Raises:
        ConfigError: If it holds a run of another configuration.
        RunError: If it cannot be written.
    """
    path = folder / "config.yaml"
    text = plain_yaml(resolved)
    try:
        if path.exists():
            found = comparable(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
            ours = comparable(parse_yaml(text, ""))
            if found != ours:
                raise ConfigError(
                    f"{folder} holds a run of another configuration:\n{difference(found, ours)}\n"
                    "give the old options to go on with it, or another --out"
                )
        folder.mkdir(parents=True, exist_ok=True)
        # Several processes of one run may be here at a time: none must see half a file.
        scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def plain(value: Any) -> Any:  # noqa: ANN401 (a field of a configuration)
    """For YAML."""
    if dataclasses.is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] (any mapping)
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType] (any list)
    return getattr(value, "value", value)


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The keys in which two configurations differ, one a line."""
    lines = list[str]()
    flat_old, flat_new = dict(_flatten("", old)), dict(_flatten("", new))
    for key in sorted(flat_old.keys() | flat_new.keys()):
        if flat_old.get(key) != flat_new.get(key):
            lines.append(f"  {key}: there {flat_old.get(key)!r}, now {flat_new.get(key)!r}")
    return "\n".join(lines)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (parsed YAML)
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[Any]", value)):
            yield from _flatten(f"{prefix}[{i}]", inner)
    else:
        yield prefix, value
