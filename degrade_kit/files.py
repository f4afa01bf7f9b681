"""Files of this toolkit, in one place: written whole or not at all, hashed, and YAML without surprises."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from degrade_kit.errors import ConfigError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole, or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    scratch.write_bytes(data)
    scratch.replace(path)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """Parse YAML without tags, aliases or Python objects: a configuration needs none, and they can do harm."""
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{where}: YAML aliases (*name) are not allowed here")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: of numbers and dates
        raise ConfigError(f"{where}: not plain YAML: {error}") from error


def plain_yaml(data: Mapping[str, Any]) -> str:
    """YAML without aliases, which recipe files may not have."""
    return cast("Any", yaml).dump(data, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 (as PyYAML has it)
        return True
